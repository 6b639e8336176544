//! What a reload costs those who are being answered: the policy protocol at 5,000 requests a second, with and without reloads.
//!
//! `cargo bench --bench reload` prints the percentiles of both and their ratio.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark fails by panicking"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use support::greylag::{Greylag, Setup};
use support::load::{Answered, Load};
use support::policy::PolicyRequest;
use support::process::loopback;

const RATE: u32 = 5_000;
const PHASE: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(1);
/// Entries of the list that each reload reads anew.
const ENTRIES: usize = 10_000;

#[tokio::main]
async fn main() {
    let greylag = Greylag::start(Setup {
        policies: &[("auth.toml", "mode = \"off\""), ("greylist.toml", "min_delay = \"1s\"")],
        ..Setup::default()
    });
    std::fs::create_dir(greylag.policies().join("lists")).unwrap();
    let load = Load {
        address: loopback(greylag.ports().policy),
        request: PolicyRequest::rcpt("bob@example.org").with("helo_name", "[192.0.2.1]"),
        rate: RATE,
        connections: 16,
        duration: PHASE,
    };
    // The first one warms up.
    Load { duration: Duration::from_secs(2), ..load.clone() }.run().await;
    let before = percentiles("before", &load.run().await);
    let sending = load.clone();
    let sending = tokio::spawn(async move { sending.run().await });
    let reloading = tokio::task::spawn_blocking(move || reload(greylag));
    let during = sending.await.unwrap();
    let during = percentiles("during", &during);
    let (greylag, reloads, took) = reloading.await.unwrap();
    let after = percentiles("after", &load.run().await);
    drop(greylag);
    println!("{reloads} reloads of {ENTRIES} list entries each, {took:.1?} each");
    println!("p99 during / before: {:.2}", during / before);
    println!("p99 after / before: {:.2}", after / before);
}

/// Reloads a changed list every [`EVERY`] while a phase lasts; returns how often, and how long each took.
fn reload(greylag: Greylag) -> (Greylag, u32, Duration) {
    let begin = Instant::now();
    let (mut reloads, mut took) = (0, Duration::ZERO);
    std::fs::write(greylag.policies().join("helo.toml"), "banned_names = [\"file:lists/banned.txt\"]\n")
        .unwrap();
    while begin.elapsed() + EVERY < PHASE {
        let mut list = String::new();
        (0..ENTRIES).for_each(|number| writeln!(list, "host{number}.round{reloads}.test").unwrap());
        std::fs::write(greylag.policies().join("lists/banned.txt"), list).unwrap();
        let asked = Instant::now();
        greylag.reload();
        took += asked.elapsed();
        reloads += 1;
        std::thread::sleep(EVERY);
    }
    (greylag, reloads, took / reloads.max(1))
}

/// Prints the latencies and returns the 99th percentile in microseconds.
fn percentiles(phase: &str, connections: &[Vec<Answered>]) -> f64 {
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    for answer in connections.iter().flatten() {
        histogram += u64::try_from((answer.answered - answer.sent).as_micros()).unwrap();
    }
    let at = |quantile| histogram.value_at_quantile(quantile);
    let (p50, p99, p999, most) = (at(0.5), at(0.99), at(0.999), histogram.max());
    println!(
        "{phase:>8}: {} answers, p50 {p50} µs, p99 {p99} µs, p99.9 {p999} µs, max {most} µs",
        histogram.len()
    );
    p99 as f64
}
