//! What was answered survives `kill -9`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use greylag::store::{Attempt, EmbeddedStore, Rules, StoreFault, Timestamp};

use super::{CAPACITY, KNOWN_PAIR, at, attempt, first_seen, matured, peek, record, too_early};

/// Set for the child: the directory of its store, and the number of its first triplet.
const CHILD_DIRECTORY: &str = "GREYLAG_TEST_STORE_DIRECTORY";
const CHILD_START: &str = "GREYLAG_TEST_STORE_START";

const ROUNDS: u64 = 30;

/// Threads of the child, each with numbers of its own.
const THREADS: u64 = 4;

/// Answers after which the child is killed.
const ANSWERS: u64 = 200;

#[test]
fn what_was_answered_survives_a_kill() {
    if let Some(directory) = std::env::var_os(CHILD_DIRECTORY) {
        let start = std::env::var(CHILD_START).unwrap().parse().unwrap();
        attempt_until_killed(Path::new(&directory), start);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let mut child = spawn(directory.path(), round * THREADS * 1_000_000);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut since_start = 0;
        for line in lines.map(Result::unwrap) {
            // The test harness writes lines of its own.
            let Some(number) = line.strip_prefix("acknowledged ") else { continue };
            acknowledged.push(number.parse::<u64>().unwrap());
            since_start += 1;
            if since_start == ANSWERS {
                let fault = open(directory.path()).unwrap_err();
                assert!(matches!(fault, StoreFault::InUse { .. }), "{fault}");
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(since_start >= ANSWERS, "the child of round {round} died by itself");

        let store = open(directory.path()).unwrap();
        for number in &acknowledged {
            let (triplet, now) = (triplet(*number), moment(*number));
            if is_retried(*number) {
                assert_eq!(peek(&store, &triplet, now.plus(super::RULES.min_delay)), KNOWN_PAIR, "{number}");
            } else {
                assert_eq!(peek(&store, &triplet, now), too_early(120), "{number}");
                assert_eq!(
                    peek(&store, &triplet, now.plus(super::RULES.min_delay)),
                    matured(120),
                    "{number}"
                );
            }
        }
    }
    let damaged = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let damaged: Vec<_> = damaged.filter(|name| name.to_string_lossy().contains("damaged")).collect();
    assert!(damaged.is_empty(), "{damaged:?}");
}

fn spawn(directory: &Path, start: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::what_was_answered_survives_a_kill", "--nocapture"])
        .env(CHILD_DIRECTORY, directory)
        .env(CHILD_START, start.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The child: says the number of each triplet once the store has answered.
fn attempt_until_killed(directory: &Path, start: u64) -> ! {
    let store = open(directory).unwrap();
    let stdout = Mutex::new(std::io::stdout());
    writeln!(stdout.lock().unwrap()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, stdout) = (&store, &stdout);
            scope.spawn(move || {
                for number in start + thread * 1_000_000.. {
                    let (triplet, now) = (triplet(number), moment(number));
                    assert_eq!(record(store, &triplet, now), first_seen());
                    if is_retried(number) {
                        assert_eq!(record(store, &triplet, now.plus(super::RULES.min_delay)), matured(120));
                    }
                    let mut stdout = stdout.lock().unwrap();
                    writeln!(stdout, "acknowledged {number}").unwrap();
                    stdout.flush().unwrap();
                }
            });
        }
    });
    unreachable!("killed before it runs out of numbers")
}

fn open(directory: &Path) -> Result<EmbeddedStore, StoreFault> {
    EmbeddedStore::open(directory, CAPACITY, at(0))
}

fn triplet(number: u64) -> Attempt {
    let attempt = attempt("192.0.2.0/24", &format!("{number}@sender.test"), "r@example.test");
    let rules = Rules { network_cap: u32::MAX, ..super::RULES };
    Attempt { rules, ..attempt }
}

fn moment(number: u64) -> Timestamp {
    at(number % 1_000)
}

const fn is_retried(number: u64) -> bool {
    number.is_multiple_of(3)
}
