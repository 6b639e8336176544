//! `greylag explain`, with a DNS of the tests' own.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::dns::{Dns, HELO};
use crate::support::greylag::{Greylag, Setup};
use crate::support::mail;
use crate::support::policy::{PolicyClient, PolicyRequest};
use crate::support::process::{loopback, temp_dir};
use crate::{Outcome, greylag};

fn explain(dns: &Dns, arguments: &[&str]) -> Outcome {
    let dns = dns.address().to_string();
    let first = ["explain", "--client", "198.51.100.10", "--from", "alice@sender.example", "--dns", &dns];
    greylag(&[&first, arguments].concat())
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

#[test]
fn each_bogus_helo_is_named() {
    let dns = Dns::start();
    for (helo, reason, number) in [
        ("127.0.0.1", "helo.bare_address", 2),
        ("[192.168.1.1]", "helo.address_literal", 3),
        ("mon-serveur", "helo.unqualified", 4),
        ("localhost", "helo.localhost", 5),
        ("a..b", "helo.invalid_syntax", 6),
        ("fakedomain.xyz", "helo.banned", 7),
        ("does-not-exist.example", "helo.unresolvable", 9),
    ] {
        let arguments = ["--helo", helo, "--to", "bob@example.test"];
        let reply = format!("550 5.7.1 Access denied - bogus HELO [{number}]");

        let found = explain(&dns, &arguments);
        assert_eq!((found.code, found.errors.as_str()), (Some(1), ""), "{helo}");
        assert!(
            found.out.contains(&format!("  helo         reject      {reason}: ")),
            "{helo}: {}",
            found.out
        );
        assert!(found.out.contains(&format!("  => reject: {reply}\n")), "{helo}: {}", found.out);

        let found = explain(&dns, &[&arguments[..], &["--json"]].concat());
        let stage = &json(&found)["stages"][0];
        assert_eq!(found.code, Some(1), "{helo}");
        assert_eq!(stage["reply"], reply.as_str(), "{helo}");
        let reasons: Vec<_> = stage["findings"].as_array().unwrap().iter().map(|it| &it["reason"]).collect();
        assert_eq!(reasons, [reason], "{helo}");
    }
    let missing = explain(&dns, &["--to", "bob@example.test"]);
    assert!(missing.out.contains("550 5.7.1 Access denied - bogus HELO [1]"), "{}", missing.out);
}

#[test]
fn a_first_try_is_greylisted_and_postmaster_is_not() {
    let dns = Dns::start();
    let arguments = ["--helo", HELO, "--to", "bob@example.test", "--to", "postmaster@example.test"];
    let found = explain(&dns, &arguments);
    assert_eq!((found.code, found.errors.as_str()), (Some(1), ""));
    assert!(
        found.out.contains("  => defer: 451 4.7.1 Greylisted, try again in 120 seconds\n"),
        "{}",
        found.out
    );
    assert!(found.out.contains("recipient postmaster@example.test\n"), "{}", found.out);
    assert!(found.out.contains("Note: the greylist store was not consulted"), "{}", found.out);

    let found = explain(&dns, &[&arguments[..], &["--json"]].concat());
    let stages = &json(&found)["stages"];
    assert_eq!((&stages[0]["action"], &stages[1]["action"]), (&"defer".into(), &"accept".into()));
    assert_eq!(stages[0]["findings"].as_array().unwrap().last().unwrap()["reason"], "greylist.first_seen");
}

#[test]
fn a_message_is_judged_too() {
    let dns = Dns::start();
    let dir = temp_dir();
    let file = dir.path().join("message.eml");
    let nested = mail::zip("b.zip", &mail::zip("evil.exe", b"MZ"));
    fs::write(&file, mail::with_attachment("nested", "a.zip", &nested)).unwrap();
    let policies = dir.path().join("policies");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("greylist.toml"), "mode = \"off\"\n").unwrap();
    let (file, policies) = (file.to_str().unwrap(), policies.to_str().unwrap());
    let arguments = ["--helo", HELO, "--to", "bob@example.test", "--policies", policies, file];
    let reply = "554 5.7.0 Forbidden attachment: a.zip/b.zip/evil.exe - files of type exe are not accepted, remove it \
                 and send again";

    let found = explain(&dns, &arguments);
    assert_eq!((found.code, found.errors.as_str()), (Some(1), ""));
    assert!(found.out.contains("  greylist     off\n"), "{}", found.out);
    assert!(found.out.contains("attachment.forbidden_extension: "), "{}", found.out);
    assert!(found.out.contains(&format!("  => reject: {reply}\n")), "{}", found.out);

    let found = explain(&dns, &[&arguments[..], &["--json"]].concat());
    assert_eq!(json(&found)["stages"][1]["reply"], reply);

    let clean = dir.path().join("clean.eml");
    fs::write(&clean, mail::plain("clean")).unwrap();
    let found = explain(&dns, &[&arguments[..6], &[clean.to_str().unwrap()]].concat());
    assert_eq!((found.code, found.errors.as_str()), (Some(0), ""), "{}", found.out);

    let found = explain(&dns, &[&arguments[..6], &["/nonexistent.eml"]].concat());
    assert_eq!((found.code, found.out.as_str()), (Some(66), ""));
    assert!(found.errors.starts_with("greylag explain: cannot read /nonexistent.eml: "), "{}", found.errors);
}

/// Asks `greylag explain` about a mail through the daemon.
fn through(greylag: &Greylag, recipient: &str, more: &[&str]) -> Outcome {
    let control = format!("unix:{}", greylag.control_socket().display());
    let mail = ["explain", "--client", "192.0.2.77", "--helo", "x", "--from", "shop@sender.test", "--to"];
    crate::greylag(&[&mail[..], &[recipient, "--control", &control], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_tells_by_its_own_greylist_and_records_nothing() {
    let policies = [
        ("greylist.toml", "client_identity = [\"network\"]\nmin_delay = \"1s\"\n"),
        ("auth.toml", "mode = \"off\"\n"),
        ("helo.toml", "mode = \"off\"\n"),
        (
            "scopes.toml",
            "[[scope]]\nname = \"quick\"\nrecipient = [\"@quick.test\"]\nset.greylist.mode = \"off\"\n",
        ),
    ];
    let greylag = Greylag::start(Setup { policies: &policies, ..Setup::default() });
    let mut client = PolicyClient::tcp(loopback(greylag.ports().policy)).await;
    let request = PolicyRequest::rcpt("me@example.org")
        .with("sender", "shop@sender.test")
        .with("client_address", "192.0.2.77");
    let deferred = client.ask(&request).await.unwrap();
    assert_eq!(deferred, "DEFER_IF_PERMIT 4.7.1 Greylisted, try again in 1 seconds");
    let early = through(&greylag, "me@example.org", &[]);
    assert!(early.out.contains("greylist.too_early: "), "{}", early.out);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let due = through(&greylag, "me@example.org", &[]);
    assert!(due.out.contains("would pass now by its network, after 1 s ("), "{}", due.out);
    assert_eq!(client.ask(&request).await.as_deref(), Some("DUNNO"));

    let state = || {
        let metrics = greylag.metrics();
        let counted = ["greylag_decisions_total", "greylag_lookups_total", "greylag_greylist_total"];
        (counted.map(|name| metrics.sum(name, &[])), greylag.log_lines(&["decision"]).len())
    };
    let before = state();
    assert!(before.0[0] >= 2.0 && before.1 == 2, "{before:?}");
    let known = through(&greylag, "me@example.org", &[]);
    assert_eq!((known.code, known.errors.as_str()), (Some(0), ""));
    for part in [
        "  greylist     accept      greylist.known: ",
        "  look-up      greylist, of network:192.0.2.0/24: known by its network, with this sender (",
        "  => accept\n",
        "Note: the running daemon was asked, ",
    ] {
        assert!(known.out.contains(part), "no {part:?} in {}", known.out);
    }
    // Asked twice, it is never seen twice.
    for _ in 0..2 {
        let other = ["--from", "other@sender.test"];
        let control = format!("unix:{}", greylag.control_socket().display());
        let first = ["explain", "--client", "203.0.113.9", "--to", "you@example.org", "--control", &control];
        let found = crate::greylag(&[&first[..], &other, &["--json"]].concat());
        let stage = &json(&found)["stages"][0];
        assert_eq!((found.code, &stage["reason"]), (Some(1), &"greylist.first_seen".into()), "{found:?}");
        assert_eq!(stage["reply"], "451 4.7.1 Greylisted, try again in 1 seconds");
        assert_eq!(stage["lookups"][0]["answer"], "never seen, would wait 1 s");
    }
    let scoped = through(&greylag, "me@quick.test", &[]);
    assert!(scoped.out.contains("  greylist     off\n"), "{}", scoped.out);
    assert!(scoped.out.contains("  scopes       quick\n"), "{}", scoped.out);
    assert_eq!(state(), before);

    let control = format!("unix:{}", greylag.control_socket().display());
    let recent = crate::greylag(&["explain", "--recent", "--control", &control, "--json"]);
    let mails: Value = serde_json::from_str(&recent.out).unwrap();
    let steps = mails.as_array().unwrap().iter().map(|mail| mail["steps"].as_array().unwrap().len());
    assert_eq!(steps.sum::<usize>(), 2, "{}", recent.out);
}

#[test]
fn a_daemon_that_is_named_and_missing_is_an_error() {
    let mail = ["explain", "--client", "192.0.2.77", "--from", "a@sender.test", "--to", "b@example.org"];
    let found = greylag(&[&mail[..], &["--control", "unix:/nonexistent/control.sock"]].concat());
    assert_eq!((found.code, found.out.as_str()), (Some(69), ""));
    assert!(
        found.errors.starts_with("greylag: no Greylag answers at /nonexistent/control.sock: "),
        "{found:?}"
    );
}
