//! What commands show on a terminal, and nowhere else.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use crate::greylag;
use crate::support::process::temp_dir;

const ESCAPE: char = '\x1b';

/// All that the command shows on a terminal of its own.
fn on_a_terminal(arguments: &[&str]) -> String {
    let words = [&[env!("CARGO_BIN_EXE_greylag")], arguments].concat();
    let mut command = Command::new("script");
    command.args(["-qec", &words.join(" "), "/dev/null"]).stdin(Stdio::null());
    let output = command.output().expect("script runs: apt-get install bsdutils");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn colours_are_for_terminals() {
    let dir = temp_dir();
    fs::write(dir.path().join("helo.toml"), "mdoe = 1\n").unwrap();
    let policies = dir.path().to_str().unwrap();
    for arguments in [&["check", policies][..], &["sreve"], &["--help"], &["test", policies]] {
        let shown = on_a_terminal(arguments);
        assert!(shown.contains(ESCAPE), "{arguments:?}: {shown}");
        let found = greylag(arguments);
        assert!(!found.out.contains(ESCAPE) && !found.errors.contains(ESCAPE), "{arguments:?}: {found:?}");
    }
}

#[test]
fn what_takes_longer_than_a_second_says_what_it_is_at() {
    // A DNS server that takes questions and answers none.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dns = silent.local_addr().unwrap().to_string();
    let mail = ["--client", "198.51.100.10", "--helo", "mx.example.org", "--from", "a@example.org"];
    let arguments = [&["explain"], &mail[..], &["--to", "b@example.net", "--dns", &dns]].concat();
    let shown = on_a_terminal(&arguments);
    assert!(shown.contains("\r\x1b[Kjudging the mail (1 s)\r\x1b[K"), "{shown:?}");
    assert!(!greylag(&arguments).errors.contains("judging"));
}
