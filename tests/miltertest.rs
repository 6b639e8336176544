//! Drives the milter with `miltertest`, a foreign implementation of the MTA's side. One script a flow in `tests/miltertest/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use support::dns::Dns;
use support::greylag::{Greylag, Setup};
use support::process;

#[test]
fn negotiates_only_what_it_uses() {
    run("negotiate.lua", NO_GREYLIST);
}

#[test]
fn accepts_clean_messages_one_after_another() {
    run("accept.lua", NO_GREYLIST);
}

#[test]
fn refuses_a_bogus_helo_at_each_recipient() {
    run("helo.lua", NO_GREYLIST);
}

#[test]
fn refuses_a_forbidden_attachment_at_the_end_of_the_message() {
    run("attachment.lua", NO_GREYLIST);
}

#[test]
fn greylists_the_first_try_and_accepts_the_retry() {
    run("greylist.lua", "min_delay = \"1s\"\n");
}

const NO_GREYLIST: &str = "mode = \"off\"\n";

/// Runs a script against a Greylag of its own; the script fails with a Lua error and exit code 1.
fn run(script: &str, greylist: &str) {
    let dns = Dns::start();
    let greylag = Greylag::start(Setup {
        policies: &[("greylist.toml", greylist)],
        dns: Some(dns.address()),
        ..Setup::default()
    });
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/miltertest");
    let output = Command::new(process::program("miltertest"))
        .current_dir(scripts)
        .args(["-D", &format!("socket=inet:{}@127.0.0.1", greylag.ports().milter), "-s", script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
