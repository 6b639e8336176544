//! What Postfix says to the milter and waits for, by what the policies need.

use crate::support::dns::{Dns, HELO};
use crate::support::greylag::{Greylag, Setup};
use crate::support::mail;
use crate::support::postfix::{HookUp, Ports, Postfix};
use crate::support::process::eventually;
use crate::support::sink::Sink;
use crate::support::smtp::Smtp;
use crate::support::tap::Tap;
use crate::{CLIENT, NO_GREYLIST, RECIPIENT, SENDER};

const OFF: &str = "mode = \"off\"\n";

/// Sends a message with a program in it and returns what Postfix was told at its end, and the conversation with the milter.
fn converse(policies: &[(&str, &str)]) -> (String, String) {
    let (reply, tap) = send_tapped(policies);
    (reply, tap.conversations().pop().unwrap())
}

fn send_tapped(policies: &[(&str, &str)]) -> (String, Tap) {
    let dns = Dns::start();
    let greylag = Greylag::start(Setup { policies, dns: Some(dns.address()), ..Setup::default() });
    let tap = Tap::start(greylag.ports().milter);
    let sink = Sink::start();
    let ports = Ports { milter: tap.port(), ..greylag.ports() };
    let postfix = Postfix::start(HookUp::Milter, ports, &sink);
    let mut smtp = Smtp::connect_as(postfix.port(), CLIENT, HELO);
    let reply = smtp.send(SENDER, RECIPIENT, &mail::with_attachment("program", "evil.exe", b"MZ not really"));
    smtp.quit();
    // XCLIENT begins a session anew.
    eventually("the session is over", || {
        tap.conversations().last().is_some_and(|last| last.contains('M') && last.ends_with('.'))
    });
    (reply, tap)
}

#[test]
fn only_macros_that_are_read_are_sent() {
    let (_, tap) = send_tapped(&[NO_GREYLIST]);
    let expected = [
        "B:i",
        "C:_",
        "C:j",
        "C:v",
        "C:{client_resolve}",
        "C:{daemon_addr}",
        "C:{daemon_port}",
        "E:i",
        "L:i",
        "M:{mail_addr}",
        "R:{rcpt_addr}",
        "T:i",
    ];
    assert_eq!(tap.macros(), expected);
}

#[test]
fn what_the_shipped_policies_say_nothing_to_is_not_waited_for() {
    let tagged = ("attachments.toml", "forbidden_extension = \"tag\"\n");
    let (reply, conversation) = converse(&[NO_GREYLIST, tagged]);
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert_eq!(conversation, "OoCHMcRcTcLBEicAQ.");
}

#[test]
fn greylisting_alone_is_sent_no_content() {
    let off = ["address", "helo", "recipients", "auth", "content", "attachments"];
    let files = off.map(|check| format!("{check}.toml"));
    let mut policies: Vec<(&str, &str)> = files.iter().map(|file| (file.as_str(), OFF)).collect();
    let (reply, conversation) = converse(&policies);
    assert!(reply.starts_with("451 4.7.1 "), "{reply}");
    assert_eq!(conversation, "OoCHMcRyAQ.");

    policies.push(("scopes.toml", "[[scope]]\nname = \"all\"\ntls = false\nset.greylist.mode = \"off\"\n"));
    let (reply, conversation) = converse(&policies);
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert_eq!(conversation, "OoCHMcRcTcEcAQ.");
}

#[test]
fn content_alone_is_answered_at_its_end() {
    let off = ["address", "helo", "recipients", "auth", "content", "greylist"];
    let files = off.map(|check| format!("{check}.toml"));
    let policies: Vec<(&str, &str)> = files.iter().map(|file| (file.as_str(), OFF)).collect();
    let (reply, conversation) = converse(&policies);
    assert!(reply.starts_with("554 5.7.0 Forbidden attachment: evil.exe"), "{reply}");
    assert_eq!(conversation, "OoCHMRTcLBEyAQ.");
}

#[test]
fn a_body_that_only_other_recipients_have_read_is_skipped() {
    let off = ["address", "helo", "recipients", "auth", "content", "greylist", "attachments"];
    let files = off.map(|check| format!("{check}.toml"));
    let scanned = |domain: &str| {
        format!(
            "[[scope]]\nname = \"scanned\"\nrecipient = [\"@{domain}\"]\nset.attachments.mode = \"enforce\"\n"
        )
    };
    for (domain, accepted, expected) in [
        ("example.net", "250 2.0.0 ", "OoCHMRTcLBsEcAQ."),
        ("example.test", "554 5.7.0 ", "OoCHMRTcLBcEyAQ."),
    ] {
        let scopes = scanned(domain);
        let mut policies: Vec<(&str, &str)> = files.iter().map(|file| (file.as_str(), OFF)).collect();
        policies.push(("scopes.toml", &scopes));
        let (reply, conversation) = converse(&policies);
        assert!(reply.starts_with(accepted), "{reply}");
        assert_eq!(conversation, expected, "{domain} is scanned");
    }
}
