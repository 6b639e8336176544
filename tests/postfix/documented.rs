//! What the README shows of a session with swaks.

use std::process::{Command, Stdio};

use crate::support::dns::HELO;
use crate::support::postfix::HookUp;
use crate::{RECIPIENT, SENDER, Site};

#[test]
fn swaks_sees_what_the_readme_shows() {
    let readme = include_str!("../../README.md").replace("you@your.domain", RECIPIENT);
    let mut blocks = readme.split("\n```").skip(1).step_by(2);
    let session = blocks.find_map(|block| block.trim_start().strip_prefix("$ swaks ")).unwrap();
    let (arguments, shown) = session.split_once('\n').unwrap();
    let put_off = blocks.next().unwrap().trim_start();

    let site = Site::start(HookUp::Milter, &[]);
    let seen = swaks(&site, arguments);
    let mut rest = seen.as_str();
    for line in shown.lines() {
        let at = rest.find(&format!("{line}\n")).unwrap_or_else(|| panic!("no {line:?} in {seen}"));
        rest = &rest[at + line.len()..];
    }
    let ordinary = arguments.replace("mon-serveur", HELO).replace("a@example.org", SENDER);
    let seen = swaks(&site, &ordinary);
    assert!(put_off.starts_with("<** 451 4.7.1 ") && seen.contains(put_off), "no {put_off:?} in {seen}");
}

fn swaks(site: &Site, arguments: &str) -> String {
    let server = format!("--server 127.0.0.1:{} ", site.postfix.port());
    let arguments = arguments.replace("--server 127.0.0.1 ", &server);
    let mut command = Command::new("swaks");
    let output = command.args(arguments.split_whitespace()).stdin(Stdio::null()).output();
    let output = output.expect("swaks runs: apt-get install swaks");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
