//! `greylag greylist`: asking the running daemon about its greylist.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;

use greylag::store::Timestamp;
use serde_json::{Value, json};

use crate::support::greylag::{Greylag, Setup, Store};
use crate::support::policy::{PolicyClient, PolicyRequest};
use crate::support::process::{loopback, temp_dir};
use crate::{Outcome, outcome};

const SENDER: &str = "shop@sender.test";
const RECIPIENT: &str = "me@example.org";
const FIRST_SEEN: &str = "DEFER_IF_PERMIT 4.7.1 Greylisted, try again in 120 seconds";

/// A daemon with nothing but its greylist in force.
fn start(store: Store<'_>) -> Greylag {
    let policies = [
        ("greylist.toml", "client_identity = [\"network\"]\n"),
        ("auth.toml", "mode = \"off\"\n"),
        ("helo.toml", "mode = \"off\"\n"),
    ];
    Greylag::start(Setup { policies: &policies, store, ..Setup::default() })
}

fn ask(greylag: &Greylag, arguments: &[&str]) -> Outcome {
    let control = format!("unix:{}", greylag.control_socket().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    outcome(command.arg("greylist").args(arguments).args(["--control", &control]))
}

fn json_of(greylag: &Greylag, arguments: &[&str]) -> Value {
    let found = ask(greylag, &[arguments, &["--json"]].concat());
    assert_eq!((found.code, &*found.errors), (Some(0), ""), "{arguments:?}");
    serde_json::from_str(&found.out).unwrap()
}

fn said(greylag: &Greylag, arguments: &[&str]) -> String {
    let found = ask(greylag, arguments);
    assert_eq!((found.code, &*found.errors), (Some(0), ""), "{arguments:?}");
    found.out
}

/// What the policy service says of a mail.
fn attempt(greylag: &Greylag, sender: &str, recipient: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = PolicyClient::tcp(loopback(greylag.ports().policy)).await;
        let request = PolicyRequest::rcpt(recipient)
            .with("sender", sender)
            .with("client_address", "192.0.2.77")
            .with("sasl_username", "");
        client.ask(&request).await.unwrap()
    })
}

#[test]
fn what_is_greylisted_is_released_and_passes_at_once() {
    let mut greylag = start(Store::Embedded);
    assert_eq!(attempt(&greylag, SENDER, RECIPIENT), FIRST_SEEN);
    let triplet =
        ["show", "--sender", SENDER, "--recipient", RECIPIENT, "--identity", "network:192.0.2.0/24"];
    let shown = said(&greylag, &triplet);
    assert!(shown.starts_with("waits for its retry, first seen ") && shown.lines().count() == 1, "{shown}");

    let released = said(&greylag, &["release", "--sender", SENDER, "--recipient", "Me+x@Example.org"]);
    assert_eq!(released, "mail of <shop@sender.test> to <me@example.org> passes for 2 d\n");
    assert_eq!(attempt(&greylag, SENDER, RECIPIENT), "DUNNO");
    assert_eq!(greylag.log_lines(&["reason=greylist.released", "action=accept"]).len(), 1);
    assert_eq!(greylag.metrics().sum("greylag_greylist_total", &[("outcome", "released")]), 1.0);
    assert_eq!(attempt(&greylag, SENDER, "other@example.org"), FIRST_SEEN);

    let released = json_of(
        &greylag,
        &[
            "release",
            "--identity",
            "network:192.0.2.9/24",
            "--recipient",
            "other@example.org",
            "--for",
            "10m",
        ],
    );
    let now = Timestamp::from(std::time::SystemTime::now()).as_millis() / 1_000;
    let left = released["expires"].as_u64().unwrap() - now;
    assert!((580..=600).contains(&left), "{left}");
    assert_eq!(
        (&released["of"], &released["recipient"]),
        (&json!("network:192.0.2.0/24"), &json!("other@example.org"))
    );
    assert_eq!(attempt(&greylag, "anybody@sender.test", "other@example.org"), "DUNNO");

    greylag.restart();
    assert_eq!(attempt(&greylag, SENDER, RECIPIENT), "DUNNO");
    let stats = json!({ "waiting": 3, "proven": 0, "standings": 0, "releases": 2 });
    assert_eq!(json_of(&greylag, &["stats"]), stats);
    assert_eq!(
        said(&greylag, &["stats"]),
        "waiting for a retry: 3\nproven: 0\nidentities on their way to pass as a whole, or there: 0\n\
         rules of release: 2\n"
    );

    assert_eq!(said(&greylag, &["forget", "--recipient", RECIPIENT]), "2 records forgotten\n");
    assert_eq!(said(&greylag, &triplet), "nothing is held\n");
    assert_eq!(attempt(&greylag, SENDER, RECIPIENT), FIRST_SEEN);
}

#[test]
fn what_cannot_be_asked_is_said() {
    let greylag = start(Store::Memory);
    for (arguments, code, error) in [
        (&["show"][..], 64, "<--sender <ADDRESS>|--recipient <ADDRESS>|--identity <KIND:NAME>>"),
        (&["show", "--identity", "192.0.2.1"], 64, "expected spf:DOMAIN, host:DOMAIN, network:NETWORK or"),
        (
            &["release", "--sender", SENDER],
            64,
            "name the --recipient, and either the --sender or the --identity",
        ),
        (
            &["release", "--sender", SENDER, "--recipient", "r", "--for", "48"],
            64,
            "a number needs a unit: \"48s\"",
        ),
        (
            &["release", "--sender", SENDER, "--recipient", "r", "--for", "500ms"],
            64,
            "invalid value '500ms' for '--for <TIME>': a release lasts a second at least",
        ),
        (
            &["release", "--sender", SENDER, "--recipient", "r", "--for", "0s"],
            64,
            "a release lasts a second at least",
        ),
        (&["release", "--sender", SENDER, "--recipient", ""], 64, "name the --recipient, and either"),
        (&["release", "--sender", SENDER, "--recipient", "<>"], 64, "name the --recipient, and either"),
        (&["release", "--recipient", RECIPIENT], 64, "name the --recipient, and either"),
        (&["wipe"], 64, "unrecognized subcommand 'wipe'"),
    ] {
        let found = ask(&greylag, arguments);
        assert!(found.code == Some(code) && found.errors.contains(error), "{arguments:?}: {found:?}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    let nobody = outcome(command.args(["greylist", "stats", "--control", "unix:/nonexistent/control.sock"]));
    assert_eq!(nobody.code, Some(69));
    assert!(nobody.errors.contains("no Greylag answers at /nonexistent/control.sock"), "{nobody:?}");
}

#[test]
fn what_the_daemon_cannot_do_is_told_from_a_daemon_that_is_not_there() {
    let dir = temp_dir();
    let path = dir.path().join("control.sock");
    let control = format!("unix:{}", path.display());
    let listener = UnixListener::bind(&path).unwrap();
    for (arguments, answer, code, error) in [
        (
            &["stats"][..],
            "{\"err\":{\"message\":\"the store is away\"}}\n",
            1,
            "greylag: the daemon says: the store is away\n".to_owned(),
        ),
        (
            &["forget", "--sender", SENDER],
            "{\"err\":{\"message\":\"the store is away\"}}\n",
            1,
            "greylag: the daemon says: the store is away\n".to_owned(),
        ),
        (
            &["stats"],
            "",
            69,
            format!("greylag: the daemon at {} gave no answer: it closed the connection\n", path.display()),
        ),
    ] {
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
            outcome(command.arg("greylist").args(arguments).args(["--control", &control]))
        });
        assert_eq!((found.code, found.out.as_str()), (Some(code), ""), "{arguments:?}");
        assert_eq!(found.errors, error, "{arguments:?}");
    }
}
