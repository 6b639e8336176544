//! The harness tested without Greylag: what the other tests take for granted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use support::mail;
use support::metrics::Metrics;
use support::postfix::{HookUp, Ports, Postfix};
use support::process;
use support::sink::Sink;
use support::smtp::Smtp;

#[test]
fn postfix_alone_delivers_byte_for_byte_and_shows_the_client_we_play() {
    let sink = Sink::start();
    let postfix = Postfix::start_with("", &sink);
    let mut smtp = Smtp::connect_as(postfix.port(), "198.51.100.10", "mail.sender.example");
    let message = mail::plain("identical");
    let reply = smtp.send("alice@sender.example", "bob@example.test", &message);
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    assert_eq!(smtp.mail("second@sender.example"), "250 2.1.0 Ok");
    assert_eq!(
        smtp.rcpt("mallory@elsewhere.example"),
        "454 4.7.1 <mallory@elsewhere.example>: Relay access denied"
    );
    assert_eq!(smtp.rset(), "250 2.0.0 Ok");
    assert_eq!(smtp.quit(), "221 2.0.0 Bye");

    let delivered = sink.next();
    assert_eq!(delivered.sender, "alice@sender.example");
    assert_eq!(delivered.recipients, ["bob@example.test"]);
    let received = delivered.data.strip_suffix(message.as_slice()).expect("the message as it was sent");
    let received = String::from_utf8_lossy(received);
    assert!(
        received.starts_with("Received: from mail.sender.example (unknown [198.51.100.10])"),
        "{received}"
    );
    sink.assert_empty();
}

#[test]
fn while_greylag_is_down_the_milter_hook_up_defers_and_the_policy_hook_up_accepts() {
    let sink = Sink::start();
    let nobody = Ports { milter: process::free_port(), policy: process::free_port() };

    let postfix = Postfix::start(HookUp::Milter, nobody, &sink);
    let mut smtp = Smtp::connect_as(postfix.port(), "198.51.100.10", "mail.sender.example");
    assert_eq!(smtp.mail("alice@sender.example"), "451 4.7.1 Service unavailable - try again later");
    drop(postfix);

    let postfix = Postfix::start(HookUp::Policy, nobody, &sink);
    let mut smtp = Smtp::connect_as(postfix.port(), "198.51.100.10", "mail.sender.example");
    let reply = smtp.send("alice@sender.example", "bob@example.test", &mail::plain("unchecked"));
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    assert_eq!(sink.next().recipients, ["bob@example.test"]);
}

#[test]
fn metrics_are_read_with_their_labels() {
    let metrics = Metrics::parse(
        "# HELP d_total Decisions.\n# TYPE d_total counter\nd_total{check=\"helo\",action=\"reject\"} 2\n\
         d_total{check=\"helo\",action=\"accept\"} 3\nup 1\n",
    );
    assert_eq!(metrics.sum("d_total", &[("check", "helo")]), 5.0);
    assert_eq!(metrics.sum("d_total", &[("check", "helo"), ("action", "reject")]), 2.0);
    assert_eq!(metrics.sum("d_total", &[("check", "greylist")]), 0.0);
    assert_eq!(metrics.sum("up", &[]), 1.0);
}
