//! `greylag explain`, with a DNS of the tests' own.

use std::fs;

use serde_json::Value;

use crate::support::dns::{Dns, HELO};
use crate::support::mail;
use crate::support::process::temp_dir;
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
