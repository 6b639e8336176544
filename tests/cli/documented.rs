//! Every command that README and `--help` show does what they say.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
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
    for subcommand in
        ["serve", "check", "test", "explain", "scan", "reload", "status", "greylist", "generate"]
    {
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
            "generate" => {
                let what = words[1].clone();
                ends(&["generate".into(), what, "generated".into()], dir.path(), &state);
            }
            "explain" => {
                let words = [&words[..], &["--dns".into(), dns.address().to_string()]].concat();
                ends(&words, dir.path(), &state);
            }
            _ => ends(&words, dir.path(), &state),
        }
    }
}

/// What runs each other command of the README's blocks; `swaks` needs a Postfix and is in `tests/postfix/documented.rs`, and Cargo and
/// `.ci/test` run this test.
const OTHERS: [(&str, Option<Run>); 8] = [
    ("cargo run ", None),
    ("cargo build ", None),
    (".ci/test", None),
    ("swaks ", None),
    ("install ", Some(installs)),
    ("systemctl ", Some(installs)),
    ("curl ", Some(answers)),
    ("exec 3<>", Some(answers)),
];

type Run = fn(&str, &Installed<'_>);

/// Where the commands of the README work instead of in the real system.
struct Installed<'a> {
    root: &'a Path,
    running: &'a Greylag,
}

#[test]
fn every_other_command_of_the_readme_works() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let dir = temp_dir();
    for directory in ["usr/local/bin", "etc/systemd/system", "stub"] {
        fs::create_dir_all(dir.path().join(directory)).unwrap();
    }
    // There is no systemd where tests run; what it would be told is looked at.
    let systemctl = dir.path().join("stub/systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/asked\"\n").unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let policies = [("auth.toml", "mode = \"off\"\n")];
    let running = Greylag::start(Setup { policies: &policies, ..Setup::default() });
    let installed = Installed { root: dir.path(), running: &running };

    let mut seen = BTreeSet::new();
    for command in others(&readme) {
        let (start, run) = OTHERS
            .iter()
            .find(|(start, _)| command.starts_with(start))
            .unwrap_or_else(|| panic!("no test runs `{command}` of the README"));
        seen.insert(*start);
        if let Some(run) = run {
            run(&command, &installed);
        }
    }
    assert_eq!(seen.len(), OTHERS.len(), "{seen:?}");

    let asked = fs::read_to_string(dir.path().join("stub/asked")).unwrap();
    assert_eq!(asked, "daemon-reload\nenable --now greylag\n");
    let unit = fs::read_to_string(dir.path().join("etc/systemd/system/greylag.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert_eq!(start, "/usr/local/bin/greylag serve --policies /etc/greylag/policies");
    let policies = dir.path().join("etc/greylag/policies");
    let found = outcome(Command::new(dir.path().join("usr/local/bin/greylag")).arg("check").arg(policies));
    assert_eq!(found.code, Some(0), "{found:?}");
}

/// The lines of the README's blocks that are commands: behind `$`, or all of a block that begins with a program. Lines that share a
/// shell's file are one command, with what they print behind them.
fn others(readme: &str) -> Vec<String> {
    let blocks = readme.split("\n```").skip(1).step_by(2);
    let mut commands: Vec<String> = Vec::new();
    for block in blocks.filter_map(|block| block.strip_prefix('\n')) {
        let first = block.split_whitespace().next().unwrap_or_default();
        let is_program = matches!(first, "cargo" | "install" | ".ci/test" | "apt-get" | "curl" | "greylag");
        let mut is_ours = false;
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) if command.starts_with("printf ") => {
                    let last = commands.last_mut().unwrap();
                    *last += &format!("; {command}");
                }
                Some(command) => commands.push(command.to_owned()),
                None if is_program => commands.push(line.to_owned()),
                // What the last one prints.
                None if is_ours => *commands.last_mut().unwrap() += &format!("\n{line}"),
                None => {}
            }
            is_ours |= line.starts_with("$ ");
        }
    }
    commands.retain(|command| !command.starts_with("greylag ") && !command.trim().is_empty());
    commands
}

/// Runs in the shell, in the repository, with the system's directories somewhere else.
fn in_shell(command: &str, installed: &Installed<'_>) -> String {
    let root = installed.root.display();
    let command = command
        .replace("target/release/greylag", env!("CARGO_BIN_EXE_greylag"))
        .replace("/usr/local/bin/", &format!("{root}/usr/local/bin/"))
        .replace(" /etc/", &format!(" {root}/etc/"))
        .replace("10033", &installed.running.ports().policy.to_string())
        .replace("10035", &installed.running.admin_port().to_string());
    let path = format!("{root}/stub:{}", std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-ec", &command]).current_dir(env!("CARGO_MANIFEST_DIR")).env("PATH", path);
    let found = outcome(&mut shell);
    assert_eq!((found.code, found.errors.as_str()), (Some(0), ""), "{command}");
    found.out
}

fn installs(command: &str, installed: &Installed<'_>) {
    assert_eq!(in_shell(command, installed), "");
}

/// The command prints what the README says, which is of a daemon that was asked once.
fn answers(command: &str, installed: &Installed<'_>) {
    let (command, says) = command.split_once('\n').unwrap_or((command, ""));
    let out = in_shell(command, installed);
    assert!(!out.is_empty(), "{command}");
    let names = |text: &str| text.split(['{', ' ']).next().unwrap_or_default().to_owned();
    // Counters say what was decided here, not there.
    match command.contains("/metrics") {
        true => assert_eq!(names(&out), names(says)),
        false if says.is_empty() => assert_eq!(out.trim(), "ok"),
        false => assert_eq!(out.trim_end(), says),
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
    for subcommand in
        ["", "serve", "check", "test", "explain", "scan", "reload", "status", "greylist", "generate"]
    {
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
