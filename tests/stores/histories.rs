//! Random histories: each answer of each store is that of the pure model over plain maps.

use std::collections::HashMap;
use std::time::Duration;

use greylag::store::model::{self, Proofs, Proven, Records, Standing, Standings, Write, decide};
use greylag::store::{
    Answer, Attempt, HashKey, Identity, IdentityKey, IdentityKind, Key, NetworkKey, Promotion, Query,
    Release, ReleaseOf, Rules, StoreFault, Timestamp,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::support::redis::Cluster;
use super::{RULES, Subject, at, every_store, peek, record, shared, wait_for};

/// The model over plain maps and lists that forget nothing.
struct Oracle {
    hash_key: HashKey,
    clocks: HashMap<Key, (Timestamp, Option<NetworkKey>)>,
    /// Keys of `clocks`, in the order in which they began.
    order: Vec<Key>,
    proven: HashMap<Key, Proven>,
    standings: HashMap<IdentityKey, Standing>,
    releases: HashMap<Key, Timestamp>,
}

impl Oracle {
    fn new() -> Self {
        Self {
            hash_key: HashKey::from_bytes([5; 16]),
            clocks: HashMap::new(),
            order: Vec::new(),
            proven: HashMap::new(),
            standings: HashMap::new(),
            releases: HashMap::new(),
        }
    }

    fn record(&mut self, attempt: &Attempt, now: Timestamp) -> Answer {
        let keys = self.hash_key.keys(attempt);
        let decision = decide(attempt, &self.hash_key, &keys, now, &*self).unwrap();
        self.apply(decision.writes);
        decision.answer
    }

    fn add_identities(&mut self, attempt: &Attempt, made: Timestamp) {
        let keys = self.hash_key.keys(attempt);
        let writes = model::add_identities(attempt, &self.hash_key, &keys, made, &*self).unwrap();
        self.apply(writes);
    }

    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Begin(key, clock) => {
                    self.end(&key);
                    self.clocks.insert(key, (clock.first_seen, clock.network));
                    self.order.push(key);
                }
                Write::End(key) => self.end(&key),
                Write::Prove(key, proof) => {
                    let proof = self.proven.get(&key).map_or(proof, |present| present.later(proof));
                    self.proven.insert(key, proof);
                }
                Write::Stand(identity, Some(standing)) => drop(self.standings.insert(identity, standing)),
                Write::Stand(identity, None) => drop(self.standings.remove(&identity)),
            }
        }
    }

    fn end(&mut self, key: &Key) {
        self.clocks.remove(key);
        self.order.retain(|begun| begun != key);
    }

    fn add_release(&mut self, release: &Release) {
        self.releases.insert(self.hash_key.release(release), release.expires);
    }

    fn forget(&mut self, query: &Query) {
        let wanted = self.hash_key.query(query);
        self.clocks.retain(|key, _| !key.matches(&wanted));
        self.order.retain(|key| !key.matches(&wanted));
        self.proven.retain(|key, _| !key.matches(&wanted));
        self.releases.retain(|key, _| !key.matches(&wanted));
        if let Some(identity) = wanted.standing() {
            self.standings.remove(&identity);
        }
    }

    fn of(&self, network: NetworkKey) -> impl Iterator<Item = (Key, Timestamp)> {
        self.order.iter().filter_map(move |key| {
            let (first_seen, of) = self.clocks.get(key)?;
            (*of == Some(network)).then_some((*key, *first_seen))
        })
    }
}

impl Proofs for Oracle {
    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        Ok(self.proven.get(key).copied())
    }
}

impl Standings for Oracle {
    fn standing(&self, identity: &IdentityKey) -> Result<Option<Standing>, StoreFault> {
        Ok(self.standings.get(identity).copied())
    }
}

impl Records for Oracle {
    fn clock(&self, triplet: &Key) -> Result<Option<Timestamp>, StoreFault> {
        Ok(self.clocks.get(triplet).map(|(first_seen, _)| *first_seen))
    }

    fn running(&self, network: NetworkKey) -> Result<u32, StoreFault> {
        Ok(self.of(network).count() as u32)
    }

    fn oldest(&self, network: NetworkKey) -> impl Iterator<Item = (Key, Timestamp)> {
        self.of(network)
    }

    fn release(&self, key: &Key) -> Result<Option<Timestamp>, StoreFault> {
        Ok(self.releases.get(key).copied())
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Time goes on.
    Pass(Duration),
    /// The clock is set back; by an hour in all at most, as stores keep expired records for so long.
    SetBack(Duration),
    Attempt(Attempt),
    /// Many attempts at one time, as of one mail to many.
    Burst(Attempt, u8),
    /// Further identities of an attempt made some seconds ago.
    Late(Attempt, u64),
    Release(Release, Duration),
    Forget(Query),
    /// Every store that remembers is closed and opened again.
    Restart,
}

/// Small numbers, so that few steps reach them.
const SMALL: Rules = Rules {
    promotion: Some(Promotion {
        senders: 2,
        recipients: 2,
        span: Duration::from_secs(3_600),
        first_seen_per_matured: 3,
    }),
    network_cap: 6,
    ..RULES
};

fn step() -> impl Strategy<Value = Step> {
    let seconds = prop::sample::select(vec![
        1, 60, 119, 120, 120, 240, 241, 3_600, 86_400, 172_799, 172_801, 400_000, 3_110_401,
    ]);
    let query = (prop::option::of(0..3_u8), prop::option::of(0..3_u8), identity()).prop_map(
        |(sender, recipient, identity)| Query {
            sender: sender.map(name_sender),
            recipient: recipient.map(name_recipient),
            identity: (sender.is_none() && recipient.is_none()).then_some(identity),
        },
    );
    let release =
        (0..3_u8, 0..3_u8, identity(), any::<bool>()).prop_map(|(recipient, sender, identity, by_sender)| {
            Release {
                recipient: name_recipient(recipient),
                of: if by_sender {
                    ReleaseOf::Sender(name_sender(sender))
                } else {
                    ReleaseOf::Identity(identity)
                },
                expires: Timestamp::EPOCH,
            }
        });
    prop_oneof![
        8 => seconds.prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
        1 => (1_u64..2_000).prop_map(|seconds| Step::SetBack(Duration::from_secs(seconds))),
        20 => attempt().prop_map(Step::Attempt),
        3 => (attempt(), 1..5_u8).prop_map(|(attempt, recipients)| Step::Burst(attempt, recipients)),
        2 => (attempt(), 0..300_u64).prop_map(|(attempt, ago)| Step::Late(attempt, ago)),
        1 => (release, 1..200_000_u64)
            .prop_map(|(release, seconds)| Step::Release(release, Duration::from_secs(seconds))),
        1 => query.prop_map(Step::Forget),
        1 => Just(Step::Restart),
    ]
}

fn name_sender(n: u8) -> String {
    if n == 0 { String::new() } else { format!("{n}@sender.test") }
}

fn name_recipient(n: u8) -> String {
    format!("{n}@{}.test", n % 2)
}

fn identity() -> impl Strategy<Value = Identity> {
    (prop::sample::select(&IdentityKind::ALL[..]), 0..3_u8).prop_map(|(kind, n)| Identity {
        kind,
        key: if kind < IdentityKind::Network { format!("{n}.test") } else { format!("192.0.2.{n}") }.into(),
    })
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let identities = prop::collection::vec(identity(), 1..4).prop_map(|mut identities| {
        identities.sort_by_key(|identity| (identity.kind, identity.key.clone()));
        identities.dedup();
        identities
    });
    let rules = (prop::bool::weighted(0.8), prop::bool::weighted(0.8), prop::bool::weighted(0.5)).prop_map(
        |(promote_pairs, promotes, capped)| Rules {
            promote_pairs,
            promotion: SMALL.promotion.filter(|_| promotes),
            network_cap: if capped { SMALL.network_cap } else { RULES.network_cap },
            ..RULES
        },
    );
    let weights = (prop::bool::weighted(0.1), prop::bool::weighted(0.3));
    (identities, 0..2_u8, 0..4_u8, 0..3_u8, 0..4_u8, weights, rules).prop_map(
        |(identities, network, host, sender, recipient, (never_promote, mail_counted), rules)| Attempt {
            identities,
            client: [192, 0, network, host].into(),
            sender: name_sender(sender),
            recipient: name_recipient(recipient),
            never_promote,
            mail_counted,
            rules,
        },
    )
}

fn history(subject: &mut Subject, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut oracle = Oracle::new();
    let (mut now, mut latest) = (at(0), at(0));
    let compare = |subject: &Subject, oracle: &mut Oracle, attempt: &Attempt, now, index| {
        let peeked = peek(subject.store(), attempt, now);
        let answer = record(subject.store(), attempt, now);
        let expected = oracle.record(attempt, now);
        prop_assert_eq!(answer, expected, "{}, step {}", subject.name, index);
        prop_assert_eq!(peeked, expected, "{}, step {}", subject.name, index);
        Ok(())
    };
    for (index, step) in steps.into_iter().enumerate() {
        match step {
            Step::Pass(span) => now = now.plus(span),
            Step::SetBack(span) => {
                let earliest = Timestamp::from_millis(latest.as_millis() - 3_600_000);
                now = Timestamp::from_millis(now.as_millis() - span.as_millis() as u64).max(earliest);
            }
            Step::Restart => subject.restart(now),
            Step::Attempt(attempt) => compare(subject, &mut oracle, &attempt, now, index)?,
            Step::Burst(attempt, recipients) => {
                for n in 0..recipients {
                    let attempt = Attempt { recipient: name_recipient(n), ..attempt.clone() };
                    compare(subject, &mut oracle, &attempt, now, index)?;
                }
            }
            Step::Late(attempt, ago) => {
                let made = Timestamp::from_millis(now.as_millis() - ago * 1_000);
                wait_for(subject.store().add_identities(&attempt, made)).unwrap();
                oracle.add_identities(&attempt, made);
            }
            Step::Release(release, span) => {
                let release = Release { expires: now.plus(span), ..release };
                wait_for(subject.store().release(&release, now)).unwrap();
                oracle.add_release(&release);
            }
            Step::Forget(query) => {
                wait_for(subject.store().forget(&query)).unwrap();
                oracle.forget(&query);
            }
        }
        latest = latest.max(now);
    }
    Ok(())
}

macro_rules! histories {
    ($($store:ident: $make:expr),+;) => {
        $(proptest! {
            #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

            #[test]
            fn $store(steps in prop::collection::vec(step(), 1..120)) {
                history(&mut $make, steps)?;
            }
        })+
    };
}

every_store! { histories!() }

/// All in one test, as a Cluster takes seconds to start.
#[test]
fn cluster() {
    let cluster = Cluster::start();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() });
    let steps = prop::collection::vec(step(), 1..120);
    runner.run(&steps, |steps| history(&mut shared::cluster(&cluster), steps)).unwrap();
}
