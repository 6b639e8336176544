//! The command line of the real program: output, exit codes, signals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod documented;
mod explain;
mod greylist;
mod recent;
mod reload;
mod scan;
mod serve;
mod terminal;

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use support::process::temp_dir;

/// How a command ended and what it said.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    out: String,
    errors: String,
}

fn greylag(arguments: &[&str]) -> Outcome {
    outcome(Command::new(env!("CARGO_BIN_EXE_greylag")).args(arguments))
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), out: text(output.stdout), errors: text(output.stderr) }
}

#[test]
fn help_is_no_error_shows_examples_and_fits_a_terminal() {
    for arguments in
        ["", "serve", "check", "test", "explain", "scan", "reload", "status", "greylist", "generate"]
    {
        let arguments: Vec<&str> = [arguments].into_iter().filter(|it| !it.is_empty()).collect();
        let found = greylag(&[&arguments[..], &["--help"]].concat());
        assert_eq!((found.code, found.errors.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(found.out.contains("\nExamples:\n  greylag "), "{arguments:?}: {}", found.out);
        for line in found.out.lines() {
            assert!(line.chars().count() <= 100, "{arguments:?}: {line}");
        }
    }
    assert_eq!(greylag(&["--version"]).out, concat!("greylag ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_is_64_and_says_what_is_wrong() {
    for (arguments, error) in [
        (&[][..], "Usage: greylag <COMMAND>"),
        (&["sreve"], "unrecognized subcommand 'sreve'"),
        (&["scan"], "<FILE>..."),
        (&["scan", "--colour", "x"], "unexpected argument '--colour'"),
        (&["serve", "--milter", "nonsense"], "has no port: expected HOST:PORT or unix:PATH"),
        (&["serve", "--dns", "ns.example.test"], "expected an address, with a port where it is not 53"),
        (&["explain", "--client", "192.0.2"], "invalid value '192.0.2' for '--client <IP>'"),
        (&["explain", "--client", "192.0.2.1", "--from", "a@x.test"], "--to <ADDRESS>"),
        (&["check", "--config", "x", "y"], "cannot be used with"),
    ] {
        let found = greylag(arguments);
        assert_eq!((found.code, found.out.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(found.errors.contains(error), "{arguments:?}: {}", found.errors);
    }
}

#[test]
fn check_tells_good_policies_from_bad_ones() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let found = greylag(&["check", shipped]);
    assert_eq!((found.code, found.errors.as_str()), (Some(0), ""), "{}", found.out);
    assert!(found.out.ends_with(" 0 errors, 0 warnings\n"), "{}", found.out);

    let dir = temp_dir();
    fs::write(dir.path().join("helo.toml"), "mdoe = 1\n").unwrap();
    fs::write(dir.path().join("greylist.toml"), "min_delay = \"soon\"\n").unwrap();
    let found = greylag(&["check", dir.path().to_str().unwrap()]);
    assert_eq!(found.code, Some(78), "{}", found.out);
    for part in ["helo.toml:1:1", "did you mean `mode`?", "greylist.toml:1:13", "2 errors"] {
        assert!(found.out.contains(part), "no {part:?} in {}", found.out);
    }

    let found = greylag(&["check", "/nonexistent"]);
    assert_eq!(found.code, Some(78), "{}", found.out);
    assert!(found.out.contains("No such file or directory"), "{}", found.out);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let dir = temp_dir();
    let file = dir.path().join("clean.txt");
    fs::write(&file, "text").unwrap();
    // More output than a pipe holds, so that it meets the closed end.
    let files = vec![file; 5000];
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    command.arg("scan").args(files).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0]).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(69));
}
