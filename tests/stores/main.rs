//! The greylist stores: one suite of scenarios over each of them, random histories against the pure model, damage, and kills.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it did not expect")]

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod histories;
mod kill;
mod shared;
mod suite;

use std::sync::OnceLock;
use std::time::Duration;

use greylag::store::{
    Answer, Attempt, EmbeddedStore, Identity, IdentityKind, KnownBy, MemoryStore, Rules, Store, StoreFault,
    Timestamp,
};

/// The defaults of policies/greylist.toml.
const RULES: Rules = Rules::DEFAULT;

/// Room for all a test records.
const CAPACITY: usize = 100_000;

/// An attempt of the client with these identities, separated by blanks.
fn attempt(clients: &str, sender: &str, recipient: &str) -> Attempt {
    let identity = |key: &str| Identity { kind: IdentityKind::Network, key: key.into() };
    Attempt {
        identities: clients.split_whitespace().map(identity).collect(),
        client: [192, 0, 2, 1].into(),
        sender: sender.to_owned(),
        recipient: recipient.to_owned(),
        never_promote: false,
        mail_counted: false,
        rules: RULES,
    }
}

/// `seconds` after some moment in 2026.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
}

/// Waits for a store's answer, on one runtime for all tests: a store may have tasks of its own there.
fn wait_for<T>(future: impl Future<Output = Result<T, StoreFault>>) -> Result<T, StoreFault> {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    RUNTIME.get_or_init(runtime).block_on(future)
}

type Reopen = Box<dyn Fn(Timestamp) -> Box<dyn Store>>;

/// A store under test.
struct Subject {
    name: &'static str,
    store: Option<Box<dyn Store>>,
    /// Opens it again, with all it had; `None` for one that forgets.
    reopen: Option<Reopen>,
}

impl Subject {
    fn memory(capacity: usize) -> Self {
        Self { name: "memory", store: Some(Box::new(MemoryStore::new(capacity).unwrap())), reopen: None }
    }

    fn embedded(capacity: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = move |now| {
            Box::new(EmbeddedStore::open(directory.path(), capacity, now).unwrap()) as Box<dyn Store>
        };
        Self { name: "embedded", store: Some(open(at(0))), reopen: Some(Box::new(open)) }
    }

    fn store(&self) -> &dyn Store {
        &**self.store.as_ref().unwrap()
    }

    /// Closes the store and opens it again, if it remembers.
    fn restart(&mut self, now: Timestamp) {
        if let Some(reopen) = &self.reopen {
            wait_for(self.store().close()).unwrap();
            self.store = None;
            self.store = Some(reopen(now));
        }
    }
}

/// Every kind of store, as `name: how to make one`. What is tested of all stores is tested of each of these.
macro_rules! every_store {
    ($of_each:ident!($($more:tt)*)) => {
        $of_each! {
            memory: crate::Subject::memory(crate::CAPACITY),
            embedded: crate::Subject::embedded(crate::CAPACITY),
            redis: crate::shared::redis();
            $($more)*
        }
    };
}
pub(crate) use every_store;

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
    Answer::Matured { waited: Duration::from_secs(seconds), identity: IdentityKind::Network }
}

const KNOWN_PAIR: Answer = Answer::Known { by: KnownBy::Pair, identity: IdentityKind::Network };
const KNOWN_TRIPLET: Answer = Answer::Known { by: KnownBy::Triplet, identity: IdentityKind::Network };
