//! `greylag explain --recent`: what the running daemon decided lately.

use std::process::Command;

use crate::support::greylag::{Greylag, Setup};
use crate::support::policy::{PolicyClient, PolicyRequest};
use crate::support::process::loopback;
use crate::{Outcome, outcome};

fn recent(greylag: &Greylag, arguments: &[&str]) -> Outcome {
    let control = format!("unix:{}", greylag.control_socket().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    outcome(command.args(["explain", "--recent", "--control", &control]).args(arguments))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_tells_why_it_refused_a_mail_a_moment_ago() {
    let greylag = Greylag::start(Setup { policies: &[("auth.toml", "mode = \"off\"")], ..Setup::default() });
    let mut client = PolicyClient::tcp(loopback(greylag.ports().policy)).await;
    let request = |recipient, instance| {
        PolicyRequest::rcpt(recipient).with("helo_name", "localhost").with("instance", instance)
    };
    for (recipient, instance) in
        [("first@example.org", "1"), ("bob@example.org", "2"), ("carol@example.org", "2")]
    {
        let action = client.ask(&request(recipient, instance)).await;
        assert_eq!(action.as_deref(), Some("550 5.7.1 Access denied - bogus HELO [5]"));
    }

    let found = recent(&greylag, &["--recipient", "Bob@example.org"]);
    assert_eq!((found.code, found.errors.as_str()), (Some(0), ""));
    let lines: Vec<&str> = found.out.lines().collect();
    assert!(
        lines[0].ends_with(
            " s ago by policy: client 192.0.2.1 (mx.example.test), HELO localhost, sender alice@example.test"
        ),
        "{}",
        found.out
    );
    assert!(lines[1].starts_with("  rcpt bob@example.org: reject helo.localhost ("), "{}", found.out);
    let told = "    reply      550 5.7.1 Access denied - bogus HELO [5]";
    let saw = "    helo       reject helo.localhost: HELO \"localhost\"";
    for expected in [told, saw] {
        assert_eq!(lines.iter().filter(|line| **line == expected).count(), 2, "{}", found.out);
    }
    assert!(found.out.contains("\n  rcpt carol@example.org: reject "), "the whole mail: {}", found.out);
    assert!(!found.out.contains("first@"), "{}", found.out);

    let bracketed =
        recent(&greylag, &["--recipient", "<bob@example.org>", "--sender", "<alice@example.test>"]);
    assert_eq!(bracketed.out.lines().skip(1).collect::<Vec<_>>(), lines[1..], "{}", bracketed.out);

    let found = recent(&greylag, &["--json", "--last", "5"]);
    let mails: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(mails.as_array().map(Vec::len), Some(2));
    assert_eq!(mails[1]["steps"][1]["decision"]["recipients"][0], "carol@example.org");
    let found = recent(&greylag, &["--sender", "nobody@example.test"]);
    assert_eq!(found.out, "the daemon remembers no such mail\n");
}
