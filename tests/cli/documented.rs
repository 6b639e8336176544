//! Every `greylag` command that README and `--help` show does what they say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::dns::Dns;
use crate::support::greylag::{Greylag, Setup};
use crate::support::mail;
use crate::support::process::{self, Process, loopback, temp_dir};
use crate::{greylag, outcome};

/// A line of the log that `greylag test` judges anew.
const LOGGED: &str = "2026-11-23T13:51:28Z INFO decision protocol=milter stage=rcpt queue_id=- client=198.51.100.10 client_name=- \
    helo=localhost sender=a@example.org recipients=b@example.net action=reject reason=helo.localhost reply=- helo_dns=- identities=- \
    login=- tls=- micros=73 mode=enforce detail=-\n";

#[test]
fn every_command_of_the_documentation_works() {
    let documented = commands();
    for subcommand in ["serve", "check", "test", "explain", "scan", "reload", "status", "greylist"] {
        assert!(documented.iter().any(|words| words[0] == subcommand), "no {subcommand} in {documented:?}");
    }
    let dns = Dns::start();
    let dir = temp_dir();
    fs::write(dir.path().join("message.eml"), mail::plain("documented")).unwrap();
    fs::write(dir.path().join("mail.log"), LOGGED).unwrap();
    fs::write(dir.path().join("invoice.zip"), mail::zip("invoice.txt", b"1")).unwrap();
    let running = Greylag::start(Setup::default());
    let state = running.control_socket().parent().unwrap().to_owned();
    for words in documented {
        let words: Vec<String> = words
            .iter()
            .map(|word| word.replace("/run/greylag/control.sock", running.control_socket().to_str().unwrap()))
            .filter_map(|word| filled_in(&word, dir.path()))
            .collect();
        match words[0].as_str() {
            "serve" => serves(&words, dir.path()),
            "explain" => {
                let words = [&words[..], &["--dns".into(), dns.address().to_string()]].concat();
                ends(&words, dir.path(), &state);
            }
            _ => ends(&words, dir.path(), &state),
        }
    }
}

/// The words behind `greylag` of each command: code spans and blocks of the README, examples of `--help`.
fn commands() -> BTreeSet<Vec<String>> {
    let readme = ["/README.md", "/policies/README.md"]
        .map(|file| fs::read_to_string(format!("{}{file}", env!("CARGO_MANIFEST_DIR"))).unwrap())
        .concat();
    let spans = readme.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("greylag "));
    let blocks = readme.split("```").skip(1).step_by(2).flat_map(str::lines).filter_map(|line| {
        let line = line.trim_start_matches("$ ");
        line.strip_prefix("greylag ")
            .or_else(|| line.strip_prefix("cargo run ")?.split_once(" -- ").map(|it| it.1))
    });
    let mut found: BTreeSet<Vec<String>> = spans.chain(blocks).map(words).collect();
    for subcommand in ["", "serve", "check", "test", "explain", "scan", "reload", "status", "greylist"] {
        let help =
            greylag(&[subcommand, "--help"].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>()).out;
        let (_, examples) = help.split_once("\nExamples:\n").unwrap();
        let examples = examples.split("\n\n").next().unwrap().replace("\\\n", " ");
        let lines = examples.lines().filter_map(|line| line.strip_prefix("  greylag "));
        found.extend(lines.map(words));
    }
    found
}

/// Words as a shell sees them, as far as the documentation goes, up to a comment.
fn words(command: &str) -> Vec<String> {
    let command = command.split(" #").next().unwrap();
    command.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
}

/// What a user puts in the place of a placeholder; `None` for what may be left out.
fn filled_in(word: &str, dir: &Path) -> Option<String> {
    Some(match word {
        "IP" => "198.51.100.10".into(),
        "NAME" => "localhost".into(),
        "SENDER" => "a@example.org".into(),
        "RECIPIENT" => "b@example.net".into(),
        "FILE…" | "[MESSAGE.eml]" | "/var/mail/alice" => "message.eml".into(),
        "DIR" => concat!(env!("CARGO_MANIFEST_DIR"), "/policies").into(),
        "LINE" => LOGGED.trim_end().into(),
        "[DIR]" => return None,
        _ => word
            .replace("/etc/greylag/policies", concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))
            .replace("/run/greylag", dir.to_str().unwrap()),
    })
}

/// The command does its work, whatever it finds. What asks the daemon finds it by the state directory.
fn ends(words: &[String], dir: &Path, state: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    let found = outcome(command.args(words).current_dir(dir).env("STATE_DIRECTORY", state));
    assert!(matches!(found.code, Some(0 | 1)) && found.errors.is_empty(), "{words:?}: {found:?}");
    assert!(!found.out.is_empty(), "{words:?} says nothing");
}

/// The command serves, on ports of its own in place of the documented ones.
fn serves(words: &[String], dir: &Path) {
    let [milter, policy, admin] = std::array::from_fn(|_| process::free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    command.args(words).current_dir(dir).env("STATE_DIRECTORY", dir);
    for (service, port) in [("--milter", milter), ("--policy", policy), ("--admin", admin)] {
        command.args([service, &loopback(port).to_string()]);
    }
    let mut process = Process::spawn(&mut command, &dir.join("log"));
    let ready = || process::http_get(admin, "/readyz").is_some_and(|(code, _)| code == 200);
    process.wait_until("ready", ready);
    process.terminate();
}
