//! The Redis store over real servers: what is said at start, several Greylags on one store, outages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod outages;
mod several;
mod start;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use greylag::store::{
    Answer, Attempt, Identity, IdentityKind, RedisStore, Rules, Store, StoreFault, StoreUrl, Timestamp,
};

use support::redis::Redis;

/// Opens a store; what it tells of its state goes into `changes`.
async fn open_watched(url: &str, changes: &Arc<Mutex<Vec<bool>>>) -> Result<Arc<dyn Store>, StoreFault> {
    let changes = Arc::clone(changes);
    let url: StoreUrl = url.parse().unwrap();
    url.open(1_000, Timestamp::EPOCH, move |up| changes.lock().unwrap().push(up)).await
}

async fn open(url: &str) -> Result<Arc<dyn Store>, StoreFault> {
    open_watched(url, &Arc::default()).await
}

/// A store that takes the times of the tests.
async fn open_with_given_times(url: &str) -> RedisStore {
    RedisStore::open_with_given_times(url.parse().unwrap()).await.unwrap()
}

fn attempt(client: &str, sender: &str, recipient: &str) -> Attempt {
    Attempt {
        identities: vec![Identity { kind: IdentityKind::Network, key: client.into() }],
        client: [192, 0, 2, 1].into(),
        sender: sender.to_owned(),
        recipient: recipient.to_owned(),
        never_promote: false,
        mail_counted: false,
        rules: Rules::DEFAULT,
    }
}

/// An attempt that no other test on the same server makes.
fn fresh_attempt() -> Attempt {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    attempt("192.0.2.0/24", &format!("{number}@sender.test"), "r@example.test")
}

/// `seconds` after some moment in 2026.
const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
}

const fn first_seen() -> Answer {
    Answer::FirstSeen { wait: Rules::DEFAULT.min_delay }
}

/// How often the server was sent a command, by its own count.
fn calls(redis: &Redis, command: &str) -> u64 {
    let stats = redis.ask(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}
