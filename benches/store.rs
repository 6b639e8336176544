//! The embedded greylist at size: memory, start-up, and the time of decisions while new triplets arrive.
//!
//! `cargo bench --bench store -- [unproven|proven] [records]`; without arguments both, with a million records each. What it takes once
//! opened again is measured in a process of its own, in which nothing is left of the filling.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark tells what it measured")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use greylag::store::{
    Answer, Attempt, EmbeddedStore, Identity, IdentityKind, Rules, Store, StoreFault, Timestamp,
};
use hdrhistogram::Histogram;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// New triplets a second while decisions are timed, and for how long.
const ARRIVALS: u32 = 2_000;
const TIMED: Duration = Duration::from_secs(20);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let records = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    if let [command, what, directory, _] = words.as_slice()
        && command == "reopen"
    {
        return reopened(what, Path::new(directory), records);
    }
    let is_asked = |name: &str| {
        words.iter().any(|word| word == name) || words.iter().all(|word| word.parse::<u32>().is_ok())
    };
    if is_asked("unproven") {
        unproven(records);
    }
    if is_asked("proven") {
        proven(records);
    }
}

fn unproven(records: u32) {
    let directory = tempfile::tempdir().unwrap();
    let before = resident_mib();
    let store = open(directory.path(), records);
    let began = Instant::now();
    for n in 0..records {
        assert!(matches!(record(&store, &attempt(n), at(n)), Ok(Answer::FirstSeen { .. })));
    }
    let took = began.elapsed();
    println!("unproven: {records} recorded, {:.0}/s", f64::from(records) / took.as_secs_f64());
    println!("unproven: {} MiB resident, {before} MiB before", resident_mib());
    drop(store);
    reopen("unproven", directory.path(), records);
}

fn proven(records: u32) {
    let directory = tempfile::tempdir().unwrap();
    let before = resident_mib();
    let store = open(directory.path(), records);
    let (began, worked, wrote) = (Instant::now(), processor_time(), written());
    for n in 0..records {
        record(&store, &attempt(n), START).unwrap();
        // Where the database is behind, it is given time: nobody wants a million proofs a minute.
        while let Err(StoreFault::Behind { .. }) =
            record(&store, &attempt(n), START.plus(Rules::DEFAULT.min_delay))
        {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    drop(store);
    let took = began.elapsed();
    println!(
        "proven: {records} proven and written out, {:.0}/s, {:.1} us of processor time and {} bytes written for each",
        f64::from(records) / took.as_secs_f64(),
        (processor_time() - worked).as_secs_f64() * 1e6 / f64::from(records),
        (written() - wrote) / u64::from(records),
    );
    let database = std::fs::metadata(directory.path().join("greylist.redb")).unwrap();
    println!("proven: {} MiB on the disk, {before} MiB resident before", database.blocks() / 2_048);
    reopen("proven", directory.path(), records);
}

/// Opens the store in another process and looks things up there.
fn reopen(what: &str, directory: &Path, records: u32) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("reopen").arg(what).arg(directory).arg(records.to_string());
    assert!(command.status().unwrap().success());
}

fn reopened(what: &str, directory: &Path, records: u32) {
    let empty = resident_mib();
    let (began, before) = (Instant::now(), processor_time());
    let store = open(directory, records);
    let (took, worked) = (began.elapsed().as_secs_f64(), (processor_time() - before).as_secs_f64());
    println!("{what}: opened again in {took:.2} s, {worked:.2} s of processor time");
    println!("{what}: {} MiB resident once opened again, {empty} MiB before", resident_mib());
    match what {
        "proven" => time_decisions(what, &store, records, |_| Answer::Known {
            by: greylag::store::KnownBy::Pair,
            identity: IdentityKind::Network,
        }),
        _ => time_decisions(what, &store, records, |n| Answer::TooEarly { wait: early(n, records) }),
    }
    println!("{what}: {} MiB resident after look-ups", resident_mib());
}

/// Times look-ups of what is known, and first attempts, as these arrive at their rate.
fn time_decisions(what: &str, store: &EmbeddedStore, records: u32, expected: impl Fn(u32) -> Answer) {
    let mut known = Histogram::<u64>::new(3).unwrap();
    let mut new = Histogram::<u64>::new(3).unwrap();
    let began = Instant::now();
    let mut made = 0;
    while began.elapsed() < TIMED {
        let due = (began.elapsed().as_secs_f64() * f64::from(ARRIVALS)) as u32;
        while made < due {
            let first = attempt(records + made);
            new.record(nanos(|| assert!(record(store, &first, at(records)).is_ok()))).unwrap();
            let number = made.wrapping_mul(2_654_435_761) % records;
            let seen = attempt(number);
            let mut answer = None;
            known.record(nanos(|| answer = record(store, &seen, at(records)).ok())).unwrap();
            // The table is full: the oldest have gone.
            let is_as_expected =
                answer == Some(expected(number)) || matches!(answer, Some(Answer::FirstSeen { .. }));
            assert!(is_as_expected, "{answer:?}");
            made += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    for (kind, times) in [("known", known), ("new", new)] {
        let micros = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
        println!(
            "{what}: {kind} triplets at {ARRIVALS}/s: p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, most {:.1} us, of {}",
            micros(0.5),
            micros(0.99),
            micros(0.999),
            micros(1.0),
            times.len()
        );
    }
}

/// What this process has used so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Bytes this process has sent to the disk so far.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

fn open(directory: &Path, records: u32) -> EmbeddedStore {
    EmbeddedStore::open(directory, records as usize, START).unwrap()
}

fn record(store: &EmbeddedStore, attempt: &Attempt, now: Timestamp) -> Result<Answer, StoreFault> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut answer = std::pin::pin!(store.attempt(attempt, now));
    loop {
        match answer.as_mut().poll(&mut context) {
            std::task::Poll::Ready(answer) => return answer,
            // The store's own thread has the journal just now.
            std::task::Poll::Pending => std::thread::yield_now(),
        }
    }
}

/// One of very many triplets, from 16 million networks.
fn attempt(n: u32) -> Attempt {
    let [a, b, c, _] = n.wrapping_mul(2_654_435_761).to_be_bytes();
    Attempt {
        identities: vec![Identity { kind: IdentityKind::Network, key: format!("{a}.{b}.{c}.0/24").into() }],
        client: [a, b, c, 1].into(),
        sender: format!("{n}@sender.test"),
        recipient: format!("{}@example.test", n % 1_000),
        never_promote: false,
        mail_counted: false,
        rules: Rules::DEFAULT,
    }
}

/// All within a minute, so that none matures.
fn at(n: u32) -> Timestamp {
    START.plus(Duration::from_micros(u64::from(n) % 60_000_000))
}

fn early(n: u32, records: u32) -> Duration {
    Rules::DEFAULT.min_delay.saturating_sub(at(records).since(at(n)))
}

fn nanos(work: impl FnOnce()) -> u64 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos() as u64
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}
