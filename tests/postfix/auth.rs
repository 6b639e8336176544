//! SPF and DKIM as a sender meets them.

use mail_auth::dkim::Canonicalization;

use crate::support::dkim::sign;
use crate::support::dns::HELO;
use crate::support::postfix::HookUp;
use crate::support::smtp::Smtp;
use crate::{NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

/// A host that the sender's SPF record does not name: it forwards.
const FORWARDER: &str = "203.0.113.20";
const REFUSAL: &str = "550 5.7.23 SPF: sender.example does not permit 203.0.113.20 to send its mail; \
                       add it to the SPF record, or sign with DKIM";

fn mail(subject: &str) -> String {
    // Without the last two, Postfix would add them below the others.
    format!(
        "From: Alice <{SENDER}>\nTo: {RECIPIENT}\nSubject: {subject}\nDate: Mon, 23 Nov 2026 12:00:00 +0000\n\
         Message-Id: <1@sender.example>\n\nHello Bob\n"
    )
}

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

#[test]
fn forwarded_mail_is_saved_by_its_authors_signature_and_refused_without() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST]);
    let mut smtp = Smtp::connect_as(site.postfix.port(), FORWARDER, HELO);
    let signed = sign(&mail("forwarded"), "sender.example", Canonicalization::Relaxed);
    assert_queued(&smtp.send(SENDER, RECIPIENT, &crlf(&signed)));
    let delivered = String::from_utf8(site.sink.next().data).unwrap();
    assert!(delivered.ends_with(&signed.replace('\n', "\r\n")), "{delivered}");
    let results = "spf=fail smtp.mailfrom=sender.example;\r\n\tdkim=pass header.d=sender.example";
    assert!(delivered.contains(results), "{delivered}");

    for (what, message) in [
        ("not signed", mail("plain")),
        ("changed on the way", signed.replace("Hello Bob", "Hello Eve")),
        ("signed by another domain", sign(&mail("other"), "example.org", Canonicalization::Relaxed)),
    ] {
        assert_eq!(smtp.send(SENDER, RECIPIENT, &crlf(&message)), REFUSAL, "{what}");
    }
    site.sink.assert_empty();
    let refused = site.greylag.log_lines(&[
        "stage=end_of_message",
        "reason=auth.spf_fail",
        "action=reject",
        " spf=fail ",
    ]);
    assert_eq!(refused.len(), 3);
}

#[test]
fn a_policy_service_sees_no_signature_and_refuses_at_the_recipient() {
    let site = Site::start(HookUp::Policy, &[NO_GREYLIST]);
    let mut smtp = Smtp::connect_as(site.postfix.port(), FORWARDER, HELO);
    smtp.mail(SENDER);
    let (code, text) = REFUSAL.split_at("550 5.7.23 ".len());
    let expected = format!("{code}<{RECIPIENT}>: Recipient address rejected: {text}");
    assert_eq!(smtp.rcpt(RECIPIENT), expected);
}

#[test]
fn with_both_hooks_the_milter_judges_what_fails_spf() {
    let site = Site::start(HookUp::Both, &[NO_GREYLIST]);
    let mut smtp = Smtp::connect_as(site.postfix.port(), FORWARDER, HELO);
    let signed = sign(&mail("forwarded"), "sender.example", Canonicalization::Relaxed);
    assert_queued(&smtp.send(SENDER, RECIPIENT, &crlf(&signed)));
    site.sink.next();
    assert_eq!(smtp.send(SENDER, RECIPIENT, &crlf(&mail("plain"))), REFUSAL);
    site.sink.assert_empty();
    assert_eq!(site.greylag.log_lines(&["stage=rcpt", "protocol=policy", "action=accept"]).len(), 2);
    let judged = ["stage=end_of_message", "protocol=milter", "reason=auth.spf_fail"];
    assert_eq!(site.greylag.log_lines(&judged).len(), 2);
}

#[test]
fn with_both_hooks_what_fails_spf_is_tagged_once_and_not_where_it_is_excused() {
    let site = Site::start(HookUp::Both, &[NO_GREYLIST, ("auth.toml", "spf_fail = \"tag\"\n")]);
    let mut smtp = Smtp::connect_as(site.postfix.port(), FORWARDER, HELO);
    let tags = |message: &str, smtp: &mut Smtp| {
        assert_queued(&smtp.send(SENDER, RECIPIENT, &crlf(message)));
        String::from_utf8(site.sink.next().data).unwrap().matches("X-Greylag: ").count()
    };
    let signed = sign(&mail("forwarded"), "sender.example", Canonicalization::Relaxed);
    assert_eq!(tags(&signed, &mut smtp), 0);
    assert_eq!(tags(&mail("plain"), &mut smtp), 1);
}
