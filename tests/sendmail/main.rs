//! Greylag behind a real Sendmail, hooked up as `deploy/sendmail/` says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

use std::thread::sleep;
use std::time::Duration;

use support::dns::{Dns, HELO};
use support::greylag::{Greylag, Setup};
use support::mail;
use support::process::eventually;
use support::sendmail::Sendmail;
use support::sink::Sink;
use support::smtp::Smtp;
use support::tap::Tap;

const GREYLIST_2S: (&str, &str) = ("greylist.toml", "min_delay = \"2s\"\n");
const NO_GREYLIST: (&str, &str) = ("greylist.toml", "mode = \"off\"\n");
/// Sendmail has no XCLIENT, so the tests come from 127.0.0.1, which the shipped scopes exempt: these do not.
const NOBODY_EXEMPT: (&str, &str) = ("scopes.toml", "");

const SENDER: &str = "alice@sender.example";
const RECIPIENT: &str = "bob@example.test";

/// A mail exchanger with Greylag, and what is around it.
struct Site {
    sendmail: Sendmail,
    tap: Tap,
    greylag: Greylag,
    sink: Sink,
    _dns: Dns,
}

impl Site {
    fn start(policy: (&str, &str)) -> Self {
        Self::start_with(&[NOBODY_EXEMPT, policy])
    }

    fn start_with(policies: &[(&str, &str)]) -> Self {
        Self::start_serving(&[], policies)
    }

    fn start_serving(virtual_users: &[(&str, &str)], policies: &[(&str, &str)]) -> Self {
        let dns = Dns::start();
        let greylag = Greylag::start(Setup { policies, dns: Some(dns.address()), ..Setup::default() });
        let sink = Sink::start();
        let tap = Tap::start(greylag.ports().milter);
        let sendmail = Sendmail::start(tap.port(), &sink, virtual_users);
        Self { sendmail, tap, greylag, sink, _dns: dns }
    }

    /// What was said on the one connection to the milter that had a mail.
    fn conversation(&self) -> String {
        let of_mail = || self.tap.conversations().into_iter().find(|said| said.contains('M'));
        eventually("the session is over", || of_mail().is_some_and(|said| said.ends_with('.')));
        of_mail().unwrap()
    }

    /// A session that has greeted with `helo`.
    fn connect(&self, helo: &str) -> Smtp {
        let mut smtp = Smtp::connect(self.sendmail.port());
        let reply = smtp.ehlo(helo);
        assert!(reply.starts_with("250-mx.example.test "), "EHLO {helo}: {reply}");
        smtp
    }
}

#[test]
fn no_spelling_of_an_address_escapes_the_greylist() {
    let site = Site::start(NOBODY_EXEMPT);
    for (sender, recipient) in [
        ("<alice@sender.example>", "<bob@example.test>"),
        ("<alice@sender.example>", "postmaster@<bob@example.test>"),
        ("<alice@sender.example>", "postmaster@<bob%example.test>"),
        ("<alice@sender.example>", "<bob@example.test(c)>"),
        ("<alice@sender.example>", "<bob@(y)example.test>"),
        ("<alice@sender.example>", "<bob@example.test(c@other.example)>"),
        ("<alice@sender.example>", "<\"bob\"@example.test>"),
        ("<alice@sender.example(x@other.example)>", "<bob@example.test>"),
        ("carol@<alice@sender.example>", "<bob@example.test>"),
    ] {
        let mut smtp = site.connect(HELO);
        smtp.command(&format!("MAIL FROM:{sender}"));
        let reply = smtp.command(&format!("RCPT TO:{recipient}"));
        assert!(
            reply.starts_with("451 4.7.1 ") && reply.contains("Greylisted"),
            "{sender} {recipient}: {reply}"
        );
        smtp.quit();
    }
    // It is one triplet.
    assert_eq!(site.greylag.log_lines(&["greylist.first_seen"]).len(), 1);
    assert_eq!(site.greylag.log_lines(&["greylist.too_early"]).len(), 8);
}

/// Sendmail says of a local recipient, or sender, only whose account it is.
#[test]
fn no_spelling_of_a_local_address_escapes_its_scope_or_tells_whose_it_is() {
    let scope =
        "[[scope]]\nname = \"school\"\nrecipient = [\"@school.test\"]\nset.greylist.mode = \"enforce\"\n";
    let policies = [("greylist.toml", "mode = \"off\"\n"), ("scopes.toml", scope)];
    let users = [("info@school.test", "john.private"), ("far@school.test", "john@private.example")];
    let site = Site::start_serving(&users, &policies);
    let spellings = [
        "<USER@school.test>",
        "<\"USER\"@school.test>",
        "<USER@school.test(x)>",
        "<@a.test:USER@school.test>",
        "<@[IPv6:::1]:USER@school.test>",
        "postmaster@<USER@school.test>",
        "<USER%school.test>",
        "<USER%school.test@mx.example.test>",
        "<\"USER@school.test\">",
        "<\"USER@school.test\"@mx.example.test>",
        "<school.test!USER>",
        "list:USER@school.test;",
    ];
    for user in ["bob", "info", "far"] {
        for path in spellings.map(|spelling| spelling.replace("USER", user)) {
            let mut smtp = site.connect(HELO);
            smtp.mail(SENDER);
            let reply = smtp.command(&format!("RCPT TO:{path}"));
            assert!(reply.starts_with("451 4.7.1 <") && reply.contains(">... Greylisted"), "{path}: {reply}");
            assert!(reply.contains(user) && !reply.contains("private"), "{path}: {reply}");
            smtp.quit();
        }
    }
    // Each user is one triplet.
    assert_eq!(site.greylag.log_lines(&["greylist.first_seen"]).len(), 3);
    assert_eq!(site.greylag.log_lines(&["greylist.too_early"]).len(), 3 * (spellings.len() - 1));

    // Of a sender, too, it is the domain that SPF is asked of.
    for sender in ["<\"info\"@school.test>", "<info%school.test@mx.example.test>"] {
        let mut smtp = site.connect(HELO);
        smtp.command(&format!("MAIL FROM:{sender}"));
        smtp.rcpt("bob@school.test");
        smtp.quit();
    }
    assert_eq!(site.greylag.log_lines(&["stage=rcpt", "sender=info@school.test"]).len(), 2);
}

#[test]
fn the_first_try_is_deferred_and_the_retry_delivered() {
    let site = Site::start(GREYLIST_2S);
    let mut smtp = site.connect(HELO);
    assert_eq!(
        smtp.send(SENDER, RECIPIENT, b""),
        "451 4.7.1 <bob@example.test>... Greylisted, try again in 2 seconds",
        "the recipient once"
    );
    smtp.quit();
    sleep(Duration::from_millis(2100));

    let mut smtp = site.connect(HELO);
    assert_accepted(&smtp.send(SENDER, RECIPIENT, &mail::plain("retried")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT]);
}

#[test]
fn a_bogus_helo_is_refused_at_each_recipient() {
    let site = Site::start(NO_GREYLIST);
    let bogus = [
        ("127.0.0.1", 2),
        ("[192.168.1.1]", 3),
        ("mon-serveur", 4),
        ("localhost", 5),
        ("fakedomain.xyz", 7),
        ("does-not-exist.example", 9),
    ];
    for (name, number) in bogus {
        let mut smtp = site.connect(name);
        assert_eq!(smtp.mail(SENDER), "250 2.1.0 <alice@sender.example>... Sender ok", "HELO {name}");
        for recipient in [RECIPIENT, "carol@example.test"] {
            let refused = format!("550 5.7.1 <{recipient}>... Access denied - bogus HELO [{number}]");
            assert_eq!(smtp.rcpt(recipient), refused, "HELO {name}");
        }
    }
}

#[test]
fn a_session_carries_several_messages_each_delivered_as_it_was_sent() {
    let site = Site::start(NO_GREYLIST);
    let mut smtp = site.connect(HELO);
    for (subject, recipient) in [("first", RECIPIENT), ("second", "carol@example.test")] {
        let message = mail::plain(subject);
        assert_accepted(&smtp.send(SENDER, recipient, &message));
        let delivered = site.sink.next();
        assert_eq!(
            (delivered.sender.as_str(), delivered.recipients.as_slice()),
            (SENDER, &[recipient.to_owned()][..])
        );
        // Sendmail lays header fields out anew, so it is the body that shows whether bytes stay as they are.
        let ((header, body), (_, sent)) = (split(&delivered.data), split(&message));
        assert_eq!(String::from_utf8_lossy(body), String::from_utf8_lossy(sent));
        assert!(header.contains(&format!("\r\nSubject: {subject}\r\n")), "{header}");
        assert!(!header.contains("X-Greylag"), "nothing to say, nothing added: {header}");
    }
    assert_eq!(smtp.quit(), "221 2.0.0 mx.example.test closing connection");
}

#[test]
fn a_tagged_message_is_delivered_with_the_reason_in_its_header() {
    let site = Site::start(NO_GREYLIST);
    let mut smtp = site.connect("no-address.example");
    assert_accepted(&smtp.send(SENDER, RECIPIENT, &mail::plain("tagged")));
    let delivered = site.sink.next();
    let (header, _) = split(&delivered.data);
    assert!(header.contains("X-Greylag: tag; reason=helo.no_address\r\n"), "{header}");
}

#[test]
fn a_program_in_a_zip_in_a_zip_is_refused_and_the_session_goes_on() {
    let site = Site::start(NO_GREYLIST);
    let nested = mail::zip("b.zip", &mail::zip("evil.exe", b"MZ not really"));
    let mut smtp = site.connect(HELO);
    assert_eq!(
        smtp.send(SENDER, RECIPIENT, &mail::with_attachment("nested", "a.zip", &nested)),
        "554 5.7.0 Forbidden attachment: a.zip/b.zip/evil.exe - files of type exe are not accepted, remove it and \
         send again"
    );
    let harmless = mail::zip("b.zip", &mail::zip("report.txt", b"numbers"));
    assert_accepted(&smtp.send(SENDER, RECIPIENT, &mail::with_attachment("harmless", "a.zip", &harmless)));
    assert!(String::from_utf8_lossy(&site.sink.next().data).contains("Subject: harmless"));
    site.sink.assert_empty();
}

#[test]
fn the_first_100_recipients_go_through() {
    let site = Site::start(NO_GREYLIST);
    let recipients: Vec<String> = (1..=130).map(|n| format!("user{n:03}@example.test")).collect();
    let (taken, excess) = recipients.split_at(100);
    let mut smtp = site.connect(HELO);
    smtp.mail(SENDER);
    for recipient in taken {
        assert_eq!(smtp.rcpt(recipient), format!("250 2.1.5 <{recipient}>... Recipient ok"));
    }
    for recipient in excess {
        assert!(smtp.rcpt(recipient).starts_with("452 4.5.3 "), "{recipient}");
    }
    assert_accepted(&smtp.data(&mail::plain("to-many")));
    assert_eq!(site.sink.next().recipients, taken);
}

#[test]
fn what_the_shipped_policies_say_nothing_to_is_not_waited_for() {
    let site = Site::start(NO_GREYLIST);
    let mut smtp = site.connect(HELO);
    assert_accepted(&smtp.send(SENDER, RECIPIENT, &mail::plain("first")));
    smtp.quit();
    assert_eq!(site.conversation(), "OoCHMcRcTcLBEic.");
}

#[test]
fn a_body_that_only_other_recipients_have_read_is_skipped() {
    let off = ["address", "helo", "recipients", "auth", "content", "greylist", "attachments"];
    let files = off.map(|check| format!("{check}.toml"));
    let mut policies: Vec<(&str, &str)> =
        files.iter().map(|file| (file.as_str(), "mode = \"off\"\n")).collect();
    let scopes = "[[scope]]\nname = \"scanned\"\nrecipient = [\"@example.net\"]\n\
                  set.attachments.mode = \"enforce\"\n";
    policies.push(("scopes.toml", scopes));
    let site = Site::start_with(&policies);
    let program = mail::with_attachment("program", "evil.exe", &[b'x'; 200_000]);
    let mut smtp = site.connect(HELO);
    assert_accepted(&smtp.send(SENDER, RECIPIENT, &program));
    assert!(site.sink.next().data.ends_with(split(&program).1), "it is delivered whole");
    assert!(smtp.send(SENDER, "dave@example.net", &program).starts_with("554 5.7.0 "));
    smtp.quit();
    assert_eq!(site.conversation(), "OoCHMRTcLBsEcMRTcLBcBcBcBcBcEy.");
}

#[test]
fn while_greylag_is_down_mail_is_deferred() {
    let mut site = Site::start(NO_GREYLIST);
    site.greylag.kill();
    let mut smtp = site.connect(HELO);
    assert_eq!(smtp.mail(SENDER), "451 4.3.2 Please try again later");
    smtp.quit();

    site.greylag.start_again();
    let mut smtp = site.connect(HELO);
    assert_accepted(&smtp.send(SENDER, RECIPIENT, &mail::plain("back")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT]);
}

fn assert_accepted(reply: &str) {
    assert!(reply.starts_with("250 2.0.0 ") && reply.ends_with(" Message accepted for delivery"), "{reply}");
}

/// Header and body of a message.
fn split(message: &[u8]) -> (String, &[u8]) {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").expect("an empty line") + 2;
    (String::from_utf8_lossy(&message[..end]).into_owned(), &message[end + 2..])
}
