//! The greylist stores: one suite of scenarios over each of them, random histories against the pure model, damage, and kills.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it did not expect")]

mod damage;
mod histories;
mod kill;
mod suite;

use std::time::Duration;

use greylag::store::{Answer, Attempt, Identity, IdentityKind, KnownBy, Rules, Store, StoreFault, Timestamp};

/// The defaults of policies/greylist.toml.
const RULES: Rules = Rules {
    min_delay: Duration::from_secs(120),
    retry_window: Duration::from_secs(48 * 3600),
    pass_ttl: Duration::from_secs(36 * 86_400),
    promote_pairs: true,
};

/// Room for all a test records.
const CAPACITY: usize = 100_000;

/// An attempt of the client with these identities, separated by blanks.
fn attempt(clients: &str, sender: &str, recipient: &str) -> Attempt {
    let identity = |key: &str| Identity { kind: IdentityKind::Network, key: key.to_owned() };
    Attempt {
        identities: clients.split_whitespace().map(identity).collect(),
        sender: sender.to_owned(),
        recipient: recipient.to_owned(),
        rules: RULES,
    }
}

/// `seconds` after some moment in 2026.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
}

fn wait_for<T>(future: impl Future<Output = Result<T, StoreFault>>) -> Result<T, StoreFault> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn record(store: &dyn Store, attempt: &Attempt, now: Timestamp) -> Answer {
    wait_for(store.attempt(attempt, now)).unwrap()
}

fn peek(store: &dyn Store, attempt: &Attempt, now: Timestamp) -> Answer {
    wait_for(store.peek(attempt, now)).unwrap()
}

const fn first_seen() -> Answer {
    Answer::FirstSeen { wait: RULES.min_delay }
}

const fn too_early(seconds: u64) -> Answer {
    Answer::TooEarly { wait: Duration::from_secs(seconds) }
}

const fn matured(seconds: u64) -> Answer {
    Answer::Matured { waited: Duration::from_secs(seconds) }
}

const KNOWN_PAIR: Answer = Answer::Known { by: KnownBy::Pair };
const KNOWN_TRIPLET: Answer = Answer::Known { by: KnownBy::Triplet };
