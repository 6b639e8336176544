//! `greylag explain`, with a DNS of the tests' own.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::dns::{Dns, HELO};
use crate::support::greylag::{Greylag, Setup};
use crate::support::mail;
use crate::support::milter::{Mta, OFFER};
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
    let notes = "Note: judged by the built-in policy;\n      the greylist store was not consulted; ";
    assert!(found.out.contains(notes), "{}", found.out);

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
    assert!(
        found.out.contains("  greylist     off         by greylist.toml:1: mode = \"off\"\n"),
        "{}",
        found.out
    );
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
    let off = "  greylist     off         by scopes.toml:4, scope quick: mode = \"off\"\n";
    assert!(scoped.out.contains(off), "{}", scoped.out);
    assert!(scoped.out.contains("  scopes       quick (scopes.toml:1)\n"), "{}", scoped.out);
    assert_eq!(state(), before);

    let control = format!("unix:{}", greylag.control_socket().display());
    let recent = crate::greylag(&["explain", "--recent", "--control", &control, "--json"]);
    let mails: Value = serde_json::from_str(&recent.out).unwrap();
    let steps = mails.as_array().unwrap().iter().map(|mail| mail["steps"].as_array().unwrap().len());
    assert_eq!(steps.sum::<usize>(), 2, "{}", recent.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_by_listener_hold_for_the_listener_that_is_named() {
    let policies = [
        ("greylist.toml", "mode = \"off\"\n"),
        ("auth.toml", "mode = \"off\"\n"),
        ("scopes.toml", "[[scope]]\nname = \"mua\"\nlistener = [\"$POLICY\"]\nset.helo.mode = \"off\"\n"),
    ];
    let greylag = Greylag::start(Setup { policies: &policies, ..Setup::default() });
    let listener = loopback(greylag.ports().policy);
    let mut client = PolicyClient::tcp(listener).await;
    let request = PolicyRequest::rcpt("me@example.org").with("helo_name", "x");
    assert_eq!(client.ask(&request).await.as_deref(), Some("DUNNO"));

    let left_out = "the policy has scopes by listener, which was not given: none of them holds";
    let found = through(&greylag, "me@example.org", &[]);
    assert_eq!((found.code, found.errors.as_str()), (Some(1), ""));
    assert!(found.out.contains("  => reject: 550 5.7.1 Access denied - bogus HELO [4]\n"), "{}", found.out);
    assert!(found.out.contains(left_out), "{}", found.out);

    let listener = listener.to_string();
    let found = through(&greylag, "me@example.org", &["--listener", &listener]);
    assert_eq!((found.code, found.errors.as_str()), (Some(0), ""));
    let off = "  helo         off         by scopes.toml:4, scope mua: mode = \"off\"\n";
    assert!(found.out.contains(off) && !found.out.contains("has scopes by"), "{}", found.out);
    let found = through(&greylag, "me@example.org", &["--listener", "127.0.0.1:1"]);
    assert_eq!(found.code, Some(1), "{}", found.out);
    assert!(!found.out.contains("has scopes by"), "{}", found.out);
}

#[test]
fn scopes_by_tls_and_policy_context_are_told_what_is_not_given() {
    let dns = Dns::start();
    let dir = temp_dir();
    fs::write(dir.path().join("greylist.toml"), "mode = \"off\"\n").unwrap();
    let policies = dir.path().to_str().unwrap();
    for (condition, given, note) in [
        (
            "policy_context = [\"submission\"]",
            ["--policy-context", "submission"],
            "the policy has scopes by policy_context, which was not given: none of them holds",
        ),
        (
            "tls = true",
            ["--tls", "TLSv1.3"],
            "the policy has scopes by tls, which was not given: the session is taken as not encrypted",
        ),
    ] {
        let scope = format!("[[scope]]\nname = \"s\"\n{condition}\nset.helo.mode = \"off\"\n");
        fs::write(dir.path().join("scopes.toml"), scope).unwrap();
        let mail = ["--helo", "localhost", "--to", "bob@example.test", "--policies", policies, "--json"];
        let outcome = |more: &[&str]| {
            let found = explain(&dns, &[&mail[..], more].concat());
            let answer = json(&found);
            let notes = answer["notes"].as_array().unwrap().clone();
            (found.code, notes.contains(&note.into()))
        };
        assert_eq!(outcome(&[]), (Some(1), true), "{condition}");
        assert_eq!(outcome(&given), (Some(0), false), "{condition}");
        assert_eq!(outcome(&[given[0], ""]), (Some(1), true), "{condition}");
        // With two policies it is told of either.
        let found = explain(&dns, &["--helo", "x", "--to", "b@x.test", "--against", policies]);
        assert!(found.out.contains(note), "{condition}: {}", found.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_judges_a_message_too() {
    let policies = [
        ("greylist.toml", "mode = \"off\"\n"),
        ("auth.toml", "mode = \"off\"\n"),
        ("helo.toml", "mode = \"off\"\n"),
        (
            "content.toml",
            "[[rule]]\nname = \"r\"\nin = [\"body\"]\nwords = [\"lottery\"]\naction = \"reject\"\n",
        ),
    ];
    let configuration = "message_memory = \"1MiB\"\n";
    let greylag = Greylag::start(Setup { policies: &policies, configuration, ..Setup::default() });
    let dir = temp_dir();
    let file = dir.path().join("message.eml");
    // Larger than a request without a message may be.
    let text = format!("Subject: x\n\n{}the lottery\n", "words and words\n".repeat(20_000));
    fs::write(&file, text).unwrap();
    let found = through(&greylag, "me@example.org", &[file.to_str().unwrap()]);
    assert_eq!((found.code, found.errors.as_str()), (Some(1), ""), "{}", found.out);
    for part in [
        "content.body_rule: ",
        "  => reject: 554 5.7.1 Spam Message Rejected\n",
        "  look-up      content rules: 1 matched (",
        "Note: the running daemon was asked, ",
    ] {
        assert!(found.out.contains(part), "no {part:?} in {}", found.out);
    }
    assert_eq!(greylag.log_lines(&["decision"]), [""; 0]);

    // What is found in the message is told once.
    fs::write(&file, "Subject: x\n\nsee http//bank.test/\n").unwrap();
    let found = through(&greylag, "me@example.org", &[file.to_str().unwrap()]);
    assert_eq!(
        (found.code, found.out.matches("content.malformed_link: ").count()),
        (Some(0), 1),
        "{}",
        found.out
    );

    fs::write(&file, "x".repeat(2 << 20)).unwrap();
    let found = through(&greylag, "me@example.org", &[file.to_str().unwrap()]);
    assert_eq!((found.code, found.out.as_str()), (Some(69), ""));
    let told =
        "the daemon says: the message is larger than `message_memory` of greylag.toml, 1048576 bytes\n";
    assert!(found.errors.ends_with(told), "{}", found.errors);
}

#[test]
fn without_the_daemon_the_policy_and_the_servers_of_its_configuration_hold() {
    let dns = Dns::start();
    let dir = temp_dir();
    let policies = dir.path().join("policies");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("helo.toml"), "localhost = \"tag\"\n").unwrap();
    fs::write(policies.join("greylist.toml"), "mode = \"off\"\n").unwrap();
    let config = dir.path().join("greylag.toml");
    let text = format!("policies = \"policies\"\ndns = [\"{}\"]\n", dns.address());
    fs::write(&config, text).unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let found = explain(&dns, &[&["--helo", "localhost", "--to", "bob@example.test"], &config[..]].concat());
    assert_eq!((found.code, found.errors.as_str()), (Some(0), ""), "{}", found.out);
    let by = format!("Note: judged by the policy in {};\n", policies.display());
    assert!(found.out.contains("  => tag\n") && found.out.contains(&by), "{}", found.out);

    let line = "decision protocol=policy stage=rcpt client=192.0.2.1 client_name=- helo=localhost sender=<> \
        recipients=b@x.test action=reject reason=helo.localhost reply=\"550 5.7.1 no\" mode=enforce";
    let mail = ["--client", "198.51.100.10", "--helo", "localhost", "--from", "a@x.test", "--to", "b@y.test"];
    for question in [&["--from-log", line][..], &mail] {
        let against = ["--against", concat!(env!("CARGO_MANIFEST_DIR"), "/policies")];
        let found = greylag(&[&["explain"], question, &config[..], &against].concat());
        assert_eq!((found.code, found.errors.as_str()), (Some(1), ""), "{}", found.out);
        assert!(
            found.out.contains(&format!("Note: - is the policy in {}, ", policies.display())),
            "{}",
            found.out
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_is_not_answered_tells_how_long_it_was_waited_for() {
    // Takes packets and answers none.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mail = ["--client", "198.51.100.10", "--from", "alice@sender.example", "--helo", HELO];
    let rest = ["--to", "bob@example.test", "--dns", &address, "--json"];
    let found = crate::greylag(&[&["explain"], &mail[..], &rest].concat());
    let lookups = &json(&found)["stages"][0]["lookups"];
    let answers =
        lookups.as_array().unwrap().iter().filter(|it| it["answer"].as_str().unwrap().contains("timeout"));
    let waited: Vec<u64> = answers.map(|it| it["micros"].as_u64().unwrap()).collect();
    assert!(!waited.is_empty() && waited.iter().all(|micros| *micros >= 1_000_000), "{lookups}");
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

/// Every kind of refusal that a daemon of these policies logs, reproduced from its line.
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_refusal_is_reproduced_from_its_line() {
    refusals_are_reproduced("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_refusal_is_reproduced_from_its_line_in_json() {
    refusals_are_reproduced("log_format = \"json\"\n").await;
}

async fn refusals_are_reproduced(configuration: &str) {
    let dns = Dns::start();
    let policies = [
        ("address.toml", "mode = \"enforce\"\n"),
        ("recipients.toml", "max_recipients = 2\n"),
        (
            "content.toml",
            "[[rule]]\nname = \"lottery\"\nin = [\"body\"]\nwords = [\"lottery\"]\naction = \"reject\"\n",
        ),
        (
            "scopes.toml",
            "[[scope]]\nname = \"quick\"\nrecipient = [\"@quick.test\"]\nset.greylist.mode = \"off\"\n",
        ),
    ];
    let dns_server = Some(dns.address());
    let setup = Setup { policies: &policies, dns: dns_server, configuration, ..Setup::default() };
    let greylag = Greylag::start(setup);
    let mut client = PolicyClient::tcp(loopback(greylag.ports().policy)).await;
    let request = |recipient: &str, instance: &str| {
        PolicyRequest::rcpt(recipient)
            .with("client_address", "198.51.100.10")
            .with("client_name", "unknown")
            .with("sender", "alice@sender.example")
            .with("helo_name", HELO)
            .with("instance", instance)
    };
    client.ask(&request("a@quick.test", "1").with("helo_name", "localhost")).await.unwrap();
    client.ask(&request("-a@quick.test", "2")).await.unwrap();
    client.ask(&request("bob@example.org", "3")).await.unwrap();
    client.ask(&request("a@quick.test", "4").with("helo_name", "does-not-exist.example")).await.unwrap();
    client.ask(&request("a@quick.test", "5").with("client_address", "203.0.113.77")).await;
    client
        .ask(&PolicyRequest::at("DATA").with("recipient_count", "3").with("helo_name", HELO))
        .await
        .unwrap();
    milter_mails(&greylag).await;

    let control = format!("unix:{}", greylag.control_socket().display());
    let directory = greylag.policies();
    let is_json = !configuration.is_empty();
    let lines = greylag.log_lines(&[if is_json { "\"protocol\":" } else { "decision protocol=" }]);
    let mut reproduced = Vec::new();
    for line in &lines {
        let word = |key: &str| logged(line, key, is_json);
        if !["reject", "defer"].contains(&word("action").as_str()) {
            continue;
        }
        let reply = word("reply");
        for asked in [["--control", &control], ["--policies", directory.to_str().unwrap()]] {
            let found = crate::greylag(&[&["explain", "--json", "--from-log", line][..], &asked].concat());
            assert_eq!((found.code, found.errors.as_str()), (Some(1), ""), "{line}");
            let stage = &json(&found)["stages"][0];
            let told = ["action", "reason", "reply"].map(|key| stage[key].as_str().unwrap_or("-").to_owned());
            assert_eq!(told, [word("action"), word("reason"), reply.clone()], "{line}\n{found:?}");
        }
        reproduced.push(word("reason"));
    }
    reproduced.sort();
    let expected = [
        "address.invalid_local_part",
        "attachment.forbidden_extension",
        "auth.spf_fail",
        "auth.spf_fail",
        "content.body_rule",
        "greylist.first_seen",
        "helo.localhost",
        "helo.unresolvable",
        "recipients.too_many",
        "recipients.too_many",
    ];
    assert_eq!(reproduced, expected, "{lines:#?}");
}

/// What a decision line says of `key`.
fn logged(line: &str, key: &str, is_json: bool) -> String {
    if is_json {
        let object: Value = serde_json::from_str(line).unwrap();
        return object[key].as_str().unwrap_or("-").to_owned();
    }
    let rest = line.split(&format!(" {key}=")).nth(1).unwrap();
    let quoted = rest.strip_prefix('"').and_then(|quoted| quoted.split('"').next());
    quoted.unwrap_or_else(|| rest.split(' ').next().unwrap()).to_owned()
}

/// A mail of `client` to `recipients`, and what is told of each and of the content.
async fn milter_mail(greylag: &Greylag, client: &str, recipients: &[&str], content: &str) {
    let mut mta = Mta::tcp(loopback(greylag.ports().milter)).await;
    mta.negotiate(OFFER).await;
    mta.connect(&format!("[{client}]"), SocketAddr::new(client.parse().unwrap(), 4242)).await;
    mta.helo(HELO).await;
    mta.mail("<alice@sender.example>").await;
    for recipient in recipients {
        mta.rcpt(recipient).await;
    }
    mta.data().await;
    mta.content(content).await;
    mta.quit().await;
}

async fn milter_mails(greylag: &Greylag) {
    let plain = |text: &str| format!("From: alice@sender.example\r\nTo: a@quick.test\r\n\r\n{text}\r\n");
    let attached = String::from_utf8(mail::with_attachment("x", "evil.exe", b"MZ")).unwrap();
    let sender = "198.51.100.10";
    milter_mail(greylag, sender, &["<a@quick.test>", "<b@quick.test>", "<c@quick.test>"], &plain("Hello"))
        .await;
    milter_mail(greylag, sender, &["<a@quick.test>"], &plain("You won the lottery")).await;
    milter_mail(greylag, sender, &["<a@quick.test>"], &attached).await;
    milter_mail(greylag, "203.0.113.77", &["<a@quick.test>"], &plain("Hello")).await;
}

#[test]
fn lines_come_from_standard_input_too_and_others_are_told() {
    let line = "decision protocol=policy stage=rcpt client=192.0.2.1 client_name=- helo=localhost sender=<> \
        recipients=b@x.test action=reject reason=helo.localhost reply=\"550 5.7.1 no\" mode=enforce";
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    command.args(["explain", "--from-log", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text = format!("INFO started\n{line}\nNov 23 mx greylag[7]: {line}\n");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert_eq!(out.matches("  => reject: 550 5.7.1 Access denied - bogus HELO [5]\n").count(), 2, "{out}");
    assert_eq!(
        out.matches("Note: the log says reject for helo.localhost: 550 5.7.1 no;\n").count(),
        2,
        "{out}"
    );

    let found = greylag(&["explain", "--from-log", "INFO started"]);
    assert_eq!((found.code, found.out.as_str()), (Some(66), ""));
    assert!(found.errors.contains("there is no decision line of Greylag"), "{found:?}");
    let found = greylag(&["explain", "--from-log", &line.replace("rcpt", "lunch")]);
    assert_eq!((found.code, found.out.as_str()), (Some(66), ""));
    assert!(found.errors.contains("nothing is decided at a stage named \"lunch\""), "{found:?}");
}

#[test]
fn two_policies_are_compared() {
    let dns = Dns::start();
    let dir = temp_dir();
    let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
    for (path, localhost) in [(&one, "reject"), (&other, "tag")] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("greylist.toml"), "mode = \"off\"\n").unwrap();
        fs::write(path.join("helo.toml"), format!("localhost = {localhost:?}\n")).unwrap();
    }
    let (one, other) = (one.to_str().unwrap(), other.to_str().unwrap());
    let both = ["--to", "bob@example.test", "--policies", one, "--against", other];
    let found = explain(&dns, &[&["--helo", "localhost"][..], &both].concat());
    assert_eq!((found.code, found.errors.as_str()), (Some(1), ""), "{}", found.out);
    for line in [
        "  - helo         reject      helo.localhost, by helo.toml:1: localhost = \"reject\"\n",
        "  + helo         tag         helo.localhost, by helo.toml:1: localhost = \"tag\"\n",
        "  - => reject: 550 5.7.1 Access denied - bogus HELO [5]\n  + => tag\n",
        &format!("Note: - is the policy in {one}, + is that in {other};\n"),
    ] {
        assert!(found.out.contains(line), "no {line:?} in {}", found.out);
    }
    let found = explain(&dns, &[&["--helo", HELO, "--json"][..], &both].concat());
    assert_eq!((found.code, &json(&found)["differs"]), (Some(0), &false.into()), "{}", found.out);

    let line = "decision protocol=policy stage=rcpt client=192.0.2.1 client_name=- helo=localhost sender=<> \
        recipients=b@x.test action=reject reason=helo.localhost reply=\"550 5.7.1 no\" mode=enforce";
    let found = greylag(&["explain", "--from-log", line, "--policies", one, "--against", other]);
    assert_eq!((found.code, found.errors.as_str()), (Some(1), ""));
    assert!(found.out.contains("  + => tag\n"), "{}", found.out);
}
