//! Envelope paths that say more than RFC 5321 has: Postfix finds an address in them, and that one is judged.

use crate::support::dns::HELO;
use crate::support::postfix::HookUp;
use crate::support::smtp::Smtp;
use crate::{CLIENT, NO_GREYLIST, SENDER, Site};

#[test]
fn no_spelling_of_a_recipient_escapes_the_greylist() {
    let site = Site::start(HookUp::Milter, &[]);
    for path in [
        "<bob@example.test>",
        "postmaster@<bob%example.test>",
        "<bob@example.test(c@other.example>",
        "<bob@example.test(c)>",
        "<bob@(y)example.test>",
        "<bob@example\\.test>",
        "<bob%example.test>",
        "<example.test!bob>",
        "<\"bob\"@example.test>",
        "<bob @example.test>",
    ] {
        let mut smtp = site.connect();
        smtp.mail(SENDER);
        let reply = smtp.command(&format!("RCPT TO:{path}"));
        assert!(reply.starts_with("451 4.7.1 <bob@example.test>... Greylisted"), "{path}: {reply}");
        smtp.quit();
    }
    // None is so long that only its beginning is looked at.
    let long = "a".repeat(1100);
    for (path, named) in [
        (format!("postmaster@{long}<bob@example.test>"), "bob@example.test"),
        (format!("<postmaster@{long}<bob@example.test>>"), "bob@example.test"),
        (format!("<bob+{long}@example.test>"), "bob+aaaa"),
    ] {
        let mut smtp = site.connect();
        smtp.mail(SENDER);
        let reply = smtp.command(&format!("RCPT TO:{path}"));
        assert!(reply.starts_with(&format!("451 4.7.1 <{named}")), "{path}: {reply}");
        assert!(reply.contains("... Greylisted"), "{path}: {reply}");
        smtp.quit();
    }
    // It is one recipient, so it is one triplet.
    assert_eq!(site.greylag.log_lines(&["greylist.first_seen"]).len(), 1);
}

#[test]
fn no_spelling_of_a_sender_escapes_spf() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST]);
    let long = format!("{}@no-spf.example<alice@sender.example>", "x".repeat(1010));
    for path in [
        &long,
        "<alice@sender.example(x)>",
        "<alice@sender.example(x@[198.51.100.10]>",
        "alice@<alice@sender.example>",
        "<alice%sender.example>",
        "<\"alice\"@sender.example>",
    ] {
        let mut smtp = Smtp::connect_as(site.postfix.port(), "203.0.113.20", HELO);
        let reply = smtp.command(&format!("MAIL FROM:{path}"));
        assert!(reply.starts_with("250 "), "{path}: {reply}");
        assert!(smtp.rcpt(crate::RECIPIENT).starts_with("250 "), "{path}");
        let reply = smtp.data(b"Subject: forged\r\n\r\nHello\r\n");
        assert!(reply.starts_with("550 5.7.23 SPF: sender.example does not permit"), "{path}: {reply}");
        smtp.quit();
    }
    site.sink.assert_empty();
    // The null sender has more than one spelling, too.
    let mut smtp = Smtp::connect_as(site.postfix.port(), CLIENT, HELO);
    smtp.command("MAIL FROM:<;>");
    smtp.rcpt(crate::RECIPIENT);
    assert_eq!(site.greylag.log_lines(&["stage=rcpt", "sender=<>"]).len(), 1);
}

#[test]
fn no_quoted_recipient_is_the_postmaster_to_the_policy_service() {
    let site = Site::start(HookUp::Policy, &[]);
    for (path, is_role) in [
        ("<postmaster@example.test>", true),
        ("<\"postmaster\"@example.test>", true),
        ("<@relay.test:postmaster@example.test>", true),
        ("<\"<postmaster\"@example.test>", false),
        ("<\" postmaster\"@example.test>", false),
        ("<\"@a:postmaster\"@example.test>", false),
    ] {
        let mut smtp = site.connect();
        smtp.mail(SENDER);
        let reply = smtp.command(&format!("RCPT TO:{path}"));
        let expected = if is_role { "250 2.1.5 Ok" } else { "450 4.7.1 " };
        assert!(reply.starts_with(expected), "{path}: {reply}");
        smtp.quit();
    }
}
