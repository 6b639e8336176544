//! Monitor mode: what checks would have done is counted and logged, and nothing else happens.

use crate::support::mail;
use crate::support::metrics::Metrics;
use crate::support::postfix::HookUp;
use crate::{RECIPIENT, SENDER, Site, assert_queued};

const MONITOR: &str = "mode = \"monitor\"\n";
const WATCHED: [(&str, &str); 4] = [
    ("helo.toml", MONITOR),
    ("greylist.toml", MONITOR),
    ("recipients.toml", "mode = \"monitor\"\nmax_recipients = 1\n"),
    ("attachments.toml", MONITOR),
];

#[test]
fn the_milter_changes_nothing_and_counts_what_it_would_have_done() {
    let site = Site::start(HookUp::Milter, &WATCHED);
    let message = mail::with_attachment("watched", "evil.exe", b"MZ not really");
    let mut smtp = site.connect();
    smtp.ehlo("localhost");
    assert_eq!(smtp.mail(SENDER), "250 2.1.0 Ok");
    for recipient in [RECIPIENT, "o'brien@example.test"] {
        assert_eq!(smtp.rcpt(recipient), "250 2.1.5 Ok");
    }
    assert_queued(&smtp.data(&message));
    let delivered = site.sink.next();
    assert_eq!(delivered.recipients, [RECIPIENT, "o'brien@example.test"]);
    let added = delivered.data.strip_suffix(message.as_slice()).expect("the message as it was sent");
    assert!(!String::from_utf8_lossy(added).contains("X-Greylag"), "{added:?}");

    let metrics = site.greylag.metrics();
    for (reason, action, times) in [
        ("helo.localhost", "reject", 2.0),
        ("greylist.first_seen", "defer", 2.0),
        ("address.invalid_local_part", "reject", 1.0),
        // At the second RCPT and at DATA.
        ("recipients.too_many", "defer", 1.0),
        ("recipients.too_many", "reject", 1.0),
        ("attachment.forbidden_extension", "reject", 1.0),
    ] {
        assert_eq!(would(&metrics, reason, action), times, "{reason}");
        let lines = site.greylag.log_lines(&[&format!("action={action} reason={reason} "), "mode=monitor"]);
        assert_eq!(lines.len() as f64, times, "{lines:?}");
    }
    assert_eq!(metrics.sum("greylag_would_total", &[]), 8.0);
    assert_eq!(metrics.sum("greylag_decisions_total", &[]), 4.0);
    assert_eq!(metrics.sum("greylag_decisions_total", &[("action", "accept"), ("reason", "none")]), 4.0);
}

#[test]
fn the_policy_service_does_so_too_and_a_scope_may_enforce() {
    let enforced = "[[scope]]\nname = \"x\"\nrecipient = [\"@example.net\"]\nset.helo.mode = \"enforce\"\n";
    let policies: Vec<_> = WATCHED.into_iter().chain([("scopes.toml", enforced)]).collect();
    let site = Site::start(HookUp::Policy, &policies);
    let message = mail::plain("watched");
    let mut smtp = site.connect();
    smtp.ehlo("localhost");
    smtp.mail(SENDER);
    assert_eq!(smtp.rcpt(RECIPIENT), "250 2.1.5 Ok");
    assert_eq!(
        smtp.rcpt("carol@example.net"),
        "550 5.7.1 <carol@example.net>: Recipient address rejected: Access denied - bogus HELO [5]"
    );
    assert_queued(&smtp.data(&message));
    let delivered = site.sink.next();
    let added = delivered.data.strip_suffix(message.as_slice()).expect("the message as it was sent");
    assert!(!String::from_utf8_lossy(added).contains("X-Greylag"), "{added:?}");

    let metrics = site.greylag.metrics();
    assert_eq!(would(&metrics, "helo.localhost", "reject"), 1.0);
    assert_eq!(would(&metrics, "greylist.first_seen", "defer"), 1.0, "it is not asked about who is refused");
    assert_eq!(metrics.sum("greylag_decisions_total", &[("action", "reject")]), 1.0);
}

fn would(metrics: &Metrics, reason: &str, action: &str) -> f64 {
    metrics.sum("greylag_would_total", &[("reason", reason), ("action", action)])
}
