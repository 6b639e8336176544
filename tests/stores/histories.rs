//! Random histories: each answer of each store is that of the pure model over plain maps.

use std::collections::HashMap;
use std::time::Duration;

use greylag::store::model::{Proven, Records, Unproven, Write, decide};
use greylag::store::{
    Answer, Attempt, EmbeddedStore, HashKey, Identity, IdentityKind, Key, MemoryStore, Rules, Store,
    StoreFault, Timestamp,
};
use proptest::prelude::*;

use super::{CAPACITY, RULES, at, peek, record};

/// The model over plain maps that forget nothing.
struct Oracle {
    hash_key: HashKey,
    unproven: HashMap<Key, Unproven>,
    proven: HashMap<Key, Proven>,
}

impl Oracle {
    fn record(&mut self, attempt: &Attempt, now: Timestamp) -> Answer {
        let decision = decide(&self.hash_key.keys(attempt), &attempt.rules, now, &*self).unwrap();
        for write in decision.writes {
            match write {
                Write::Unproven(key, record) => drop(self.unproven.insert(key, record)),
                Write::Proven(key, record) => drop(self.proven.insert(key, record)),
            }
        }
        decision.answer
    }
}

impl Records for Oracle {
    fn unproven(&self, triplet: &Key) -> Result<Option<Unproven>, StoreFault> {
        Ok(self.unproven.get(triplet).copied())
    }

    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        Ok(self.proven.get(key).copied())
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Time goes on.
    Pass(Duration),
    /// The clock is set back; by an hour in all at most, as stores keep expired records for so long.
    SetBack(Duration),
    Attempt(Attempt),
    /// The embedded store is closed and opened again.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = prop::sample::select(vec![1, 60, 119, 120, 3_600, 172_799, 172_801, 400_000, 3_110_401]);
    prop_oneof![
        4 => seconds.prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
        1 => (1_u64..2_000).prop_map(|seconds| Step::SetBack(Duration::from_secs(seconds))),
        12 => attempt().prop_map(Step::Attempt),
        1 => Just(Step::Reopen),
    ]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let identity = (0..2_u8, 0..3_u8).prop_map(|(kind, n)| Identity {
        kind: if kind == 0 { IdentityKind::Network } else { IdentityKind::Address },
        key: format!("192.0.2.{n}"),
    });
    let identities = prop::collection::vec(identity, 1..4);
    (identities, 0..2_u8, 0..3_u8, prop::bool::weighted(0.8)).prop_map(
        |(identities, sender, recipient, promote_pairs)| Attempt {
            identities,
            sender: format!("{sender}@sender.test"),
            recipient: format!("{recipient}@example.test"),
            rules: Rules { promote_pairs, ..RULES },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stores_answer_as_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        let memory = MemoryStore::new(CAPACITY).unwrap();
        let mut embedded = EmbeddedStore::open(directory.path(), CAPACITY, at(0)).unwrap();
        let hash_key = HashKey::from_bytes([5; 16]);
        let mut oracle = Oracle { hash_key, unproven: HashMap::new(), proven: HashMap::new() };
        let (mut now, mut latest) = (at(0), at(0));
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                Step::Pass(span) => now = now.plus(span),
                Step::SetBack(span) => {
                    let earliest = Timestamp::from_millis(latest.as_millis() - 3_600_000);
                    now = Timestamp::from_millis(now.as_millis() - span.as_millis() as u64).max(earliest);
                }
                Step::Reopen => {
                    drop(embedded);
                    embedded = EmbeddedStore::open(directory.path(), CAPACITY, now).unwrap();
                }
                Step::Attempt(attempt) => {
                    let stores = [&memory as &dyn Store, &embedded];
                    let peeked = stores.map(|store| peek(store, &attempt, now));
                    let answers = stores.map(|store| record(store, &attempt, now));
                    let expected = oracle.record(&attempt, now);
                    prop_assert_eq!(answers, [expected; 2], "step {}", index);
                    prop_assert_eq!(peeked, answers, "step {}", index);
                }
            }
            latest = latest.max(now);
        }
    }
}
