//! What bombs take: processor time and memory of a process that scans one of them, and what it says of it. The tests hold them to their
//! cause and to their work; this measures what a machine makes of that.
//!
//! `cargo bench --ignore-rust-version --bench bombs`; further words choose the bombs whose names have them. Linux only: it reads /proc.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::panic,
    reason = "it shares the tests' modules, and fails by panicking"
)]

#[path = "../tests/attachments/bombs.rs"]
mod bombs;
#[path = "../tests/attachments/build.rs"]
mod build;
#[path = "../tests/attachments/generator/mod.rs"]
mod generator;

use std::env;
use std::fs;
use std::process::Command;

/// The argument that makes this process scan one file instead of starting others.
const SCAN: &str = "--scan-file";
const MAX_CPU_SECONDS: f64 = 1.0;
const MAX_MEBIBYTES: f64 = 200.0;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [option, file] = arguments.as_slice()
        && option == SCAN
    {
        return scan(file);
    }
    let wanted = |what: &str| {
        let mut words = arguments.iter().filter(|word| !word.starts_with("--")).peekable();
        words.peek().is_none() || words.any(|word| what.contains(word.as_str()))
    };
    println!("{:<34} {:>10} {:>8} {:>8}  causes", "bomb", "bytes", "ms CPU", "MiB");
    let mut over = Vec::new();
    for bomb in bombs::all().filter(|bomb| wanted(bomb.what)) {
        let (seconds, mebibytes, causes) = measure(&bomb.mail);
        println!(
            "{:<34} {:>10} {:>8.1} {mebibytes:>8.1}  {causes}",
            bomb.what,
            bomb.mail.len(),
            seconds * 1000.0
        );
        if seconds > MAX_CPU_SECONDS || mebibytes > MAX_MEBIBYTES {
            over.push(bomb.what);
        }
    }
    assert!(over.is_empty(), "over a second of CPU or {MAX_MEBIBYTES} MiB: {over:?}");
}

/// CPU seconds, the most memory in MiB, and the causes found by a process that scans `mail` and does nothing else.
fn measure(mail: &[u8]) -> (f64, f64, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bomb.eml");
    fs::write(&file, mail).unwrap();
    let output = Command::new(env::current_exe().unwrap()).arg(SCAN).arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.splitn(3, ' ');
    let mut number = || words.next().unwrap().parse::<f64>().unwrap();
    (number(), number(), words.next().unwrap().trim().to_owned())
}

fn scan(file: &str) {
    let report = build::scan(&fs::read(file).unwrap());
    let causes: Vec<String> = report.found.iter().map(|found| found.reason.to_string()).collect();
    let schedule = fs::read_to_string("/proc/self/schedstat").unwrap();
    let nanoseconds: f64 = schedule.split(' ').next().unwrap().parse().unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: f64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let distinct: std::collections::BTreeSet<_> = causes.into_iter().collect();
    let causes = distinct.into_iter().collect::<Vec<_>>().join(", ");
    println!(
        "{} {} {}",
        nanoseconds / 1e9,
        kibibytes / 1024.0,
        if causes.is_empty() { "none" } else { &causes }
    );
}
