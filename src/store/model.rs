//! The greylist's behaviour, without a store: given the records an attempt finds, what is answered and what is written.
//!
//! There are two kinds of records. An *unproven* one is the clock of a triplet under one identity. A *proven* one lets a pair
//! (identity, sender), or a triplet, pass. Whoever applies the writes of a [`Decision`] in the order of the attempts, with no
//! other write to the same unproven records in between, behaves as [`decide`] says; of two proven writes to one key
//! the later expiry counts, so their order is of no account.

use std::time::Duration;

use super::attempt::{Answer, KnownBy, Rules};
use super::fault::StoreFault;
use super::key::{AttemptKeys, IdentityKeys, Key, MAX_IDENTITIES};
use super::timestamp::Timestamp;

/// The clock of a triplet under one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// When the triplet was first attempted.
    pub first_seen: Timestamp,
    /// Last moment at which it may mature. What comes later is a first attempt again.
    pub expires: Timestamp,
}

impl Unproven {
    /// Written over a record that matured: when the proof it made is forgotten one day, its old clock must not count again.
    pub const SPENT: Self = Self { first_seen: Timestamp::EPOCH, expires: Timestamp::EPOCH };

    fn begin(now: Timestamp, rules: &Rules) -> Self {
        Self { first_seen: now, expires: now.plus(rules.retry_window) }
    }
}

/// Lets a pair or a triplet pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Last moment at which it does.
    pub expires: Timestamp,
}

impl Proven {
    fn renew(now: Timestamp, rules: &Rules) -> Self {
        Self { expires: now.plus(rules.pass_ttl) }
    }

    /// Of two records under one key, the one that counts.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if other.expires > self.expires { other } else { self }
    }

    /// Less than 7/8 of its life is left. Renewing only then spares nearly every write for busy senders.
    fn is_worn(self, now: Timestamp, rules: &Rules) -> bool {
        self.expires.since(now) < rules.pass_ttl - rules.pass_ttl / 8
    }
}

/// Looks records up. Expired ones may be returned or not, to the same effect.
pub trait Records {
    /// The unproven record of a triplet.
    fn unproven(&self, triplet: &Key) -> Result<Option<Unproven>, StoreFault>;

    /// The proven record of a pair or a triplet.
    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault>;
}

/// One record to write, over whatever the key has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The clock of a triplet.
    Unproven(Key, Unproven),
    /// The proof of a pair or a triplet.
    Proven(Key, Proven),
}

/// What comes of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is answered.
    pub answer: Answer,
    /// What has to be recorded before the answer is given. Empty, and without allocation, for most known senders.
    pub writes: Vec<Write>,
}

/// Decides about an attempt at `now`.
pub fn decide(
    keys: &AttemptKeys,
    rules: &Rules,
    now: Timestamp,
    records: &impl Records,
) -> Result<Decision, StoreFault> {
    match known(keys, rules, now, records)? {
        Some(decision) => Ok(decision),
        None => waiting(keys, rules, now, records),
    }
}

/// Every proven identity is looked at, not only the first: all that are in use have to be renewed.
fn known(
    keys: &AttemptKeys,
    rules: &Rules,
    now: Timestamp,
    records: &impl Records,
) -> Result<Option<Decision>, StoreFault> {
    let live = |key: &Key| records.proven(key).map(|found| found.filter(|proven| now <= proven.expires));
    let mut known_by = None;
    let mut writes = Vec::new();
    for identity in keys.identities() {
        let pair = if rules.promote_pairs { live(&identity.pair)? } else { None };
        let (by, proven) = match pair {
            Some(proven) => (KnownBy::Pair, proven),
            None => match live(&identity.triplet)? {
                Some(proven) => (KnownBy::Triplet, proven),
                None => continue,
            },
        };
        known_by = known_by.or(Some(by));
        // A triplet proven while pairs were not promoted proves its pair now.
        let promotes = rules.promote_pairs && by == KnownBy::Triplet;
        if promotes || proven.is_worn(now, rules) {
            writes.push(Write::Proven(provable(identity, rules), Proven::renew(now, rules)));
        }
    }
    Ok(known_by.map(|by| Decision { answer: Answer::Known { by }, writes }))
}

/// The earliest clock of all identities decides; each identity is proven by its own clock only.
fn waiting(
    keys: &AttemptKeys,
    rules: &Rules,
    now: Timestamp,
    records: &impl Records,
) -> Result<Decision, StoreFault> {
    let mut clocks = [None; MAX_IDENTITIES];
    for (clock, identity) in clocks.iter_mut().zip(keys.identities()) {
        *clock = records
            .unproven(&identity.triplet)?
            .filter(|record| *record != Unproven::SPENT && now <= record.expires)
            .map(|record| record.first_seen);
    }
    let earliest = clocks.into_iter().flatten().min();
    let answer = earliest.map_or(Answer::FirstSeen { wait: rules.min_delay }, |first| {
        retry(now.since(first), rules.min_delay)
    });

    let mut writes = Vec::with_capacity(2 * keys.identities().len());
    for (clock, identity) in clocks.into_iter().zip(keys.identities()) {
        match clock {
            Some(first) if first <= now => {
                if now.since(first) >= rules.min_delay {
                    writes.push(Write::Proven(provable(identity, rules), Proven::renew(now, rules)));
                    writes.push(Write::Unproven(identity.triplet, Unproven::SPENT));
                }
            }
            // Never seen under this identity; or seen at a time yet to come, by a clock that was set back since: the earlier
            // moment counts, or the client would wait until that time comes again.
            _ => writes.push(Write::Unproven(identity.triplet, Unproven::begin(now, rules))),
        }
    }
    Ok(Decision { answer, writes })
}

fn retry(waited: Duration, min_delay: Duration) -> Answer {
    match min_delay.checked_sub(waited) {
        None | Some(Duration::ZERO) => Answer::Matured { waited },
        Some(wait) => Answer::TooEarly { wait },
    }
}

const fn provable(identity: &IdentityKeys, rules: &Rules) -> Key {
    if rules.promote_pairs { identity.pair } else { identity.triplet }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Attempt, HashKey, Identity, IdentityKind};
    use std::collections::HashMap;

    const DELAY: Duration = Duration::from_millis(100);
    const WINDOW: Duration = Duration::from_millis(1_000);
    const TTL: Duration = Duration::from_millis(8_000);
    const RULES: Rules = Rules { min_delay: DELAY, retry_window: WINDOW, pass_ttl: TTL, promote_pairs: true };
    const TRIPLETS_ONLY: Rules = Rules { promote_pairs: false, ..RULES };

    #[derive(Default)]
    struct Plain {
        unproven: HashMap<Key, Unproven>,
        proven: HashMap<Key, Proven>,
    }

    impl Records for Plain {
        fn unproven(&self, triplet: &Key) -> Result<Option<Unproven>, StoreFault> {
            Ok(self.unproven.get(triplet).copied())
        }

        fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
            Ok(self.proven.get(key).copied())
        }
    }

    impl Plain {
        /// Attempts under the address identities in `clients` (separated by blanks), and counts the writes.
        fn attempt(&mut self, clients: &str, recipient: &str, rules: Rules, at: u64) -> (Answer, usize) {
            let identity = |key: &str| Identity { kind: IdentityKind::Address, key: key.into() };
            let attempt = Attempt {
                identities: clients.split(' ').map(identity).collect(),
                sender: "a@sender.test".into(),
                recipient: recipient.into(),
                rules,
            };
            let keys = HashKey::from_bytes([1; 16]).keys(&attempt);
            let decision = decide(&keys, &rules, Timestamp::from_millis(at), self).unwrap();
            for write in &decision.writes {
                match *write {
                    Write::Unproven(key, record) => drop(self.unproven.insert(key, record)),
                    Write::Proven(key, record) => drop(self.proven.insert(key, record)),
                }
            }
            (decision.answer, decision.writes.len())
        }
    }

    const fn first() -> Answer {
        Answer::FirstSeen { wait: DELAY }
    }

    const fn early(wait: u64) -> Answer {
        Answer::TooEarly { wait: Duration::from_millis(wait) }
    }

    const fn matured(waited: u64) -> Answer {
        Answer::Matured { waited: Duration::from_millis(waited) }
    }

    const PAIR: Answer = Answer::Known { by: KnownBy::Pair };
    const TRIPLET: Answer = Answer::Known { by: KnownBy::Triplet };

    /// Runs attempts of (identities, recipient, ms, expected answer, expected number of writes) against one store.
    fn run(rules: Rules, attempts: &[(&str, &str, u64, Answer, usize)]) {
        let mut records = Plain::default();
        for (clients, recipient, at, answer, writes) in attempts {
            let got = records.attempt(clients, recipient, rules, 10_000 + at);
            assert_eq!(got, (*answer, *writes), "{clients} to {recipient} at {at}");
        }
    }

    #[test]
    fn an_early_retry_never_restarts_the_clock() {
        run(
            RULES,
            &[
                ("A", "r", 0, first(), 1),
                ("A", "r", 0, early(100), 0),
                ("A", "r", 99, early(1), 0),
                ("A", "r", 100, matured(100), 2),
                ("A", "r", 101, PAIR, 0),
            ],
        );
    }

    #[test]
    fn the_retry_window_includes_its_last_moment() {
        run(RULES, &[("A", "r", 0, first(), 1), ("A", "r", 1_000, matured(1_000), 2)]);
        run(
            RULES,
            &[("A", "r", 0, first(), 1), ("A", "r", 1_001, first(), 1), ("A", "r", 1_002, early(99), 0)],
        );
    }

    #[test]
    fn a_proven_pair_passes_for_every_recipient() {
        let begin =
            [("A", "r1", 0, first(), 1), ("A", "r2", 50, first(), 1), ("A", "r1", 100, matured(100), 2)];
        run(RULES, &[&begin[..], &[("A", "r2", 101, PAIR, 0), ("A", "r3", 101, PAIR, 0)]].concat());
        let apart =
            [("A", "r1", 101, TRIPLET, 0), ("A", "r2", 101, early(49), 0), ("A", "r3", 101, first(), 1)];
        run(TRIPLETS_ONLY, &[&begin[..], &apart].concat());
    }

    #[test]
    fn proven_records_slide_and_are_renewed_below_seven_eighths_only() {
        run(
            RULES,
            &[
                ("A", "r", 0, first(), 1),
                ("A", "r", 100, matured(100), 2),
                ("A", "r", 1_100, PAIR, 0),
                ("A", "r", 1_101, PAIR, 1),
                ("A", "r", 9_101, PAIR, 1),
                ("A", "r", 17_102, first(), 1),
            ],
        );
    }

    #[test]
    fn a_clock_that_made_a_proof_does_not_count_again_when_the_proof_is_forgotten() {
        let rules = Rules { pass_ttl: Duration::from_millis(10), ..RULES };
        run(
            rules,
            &[
                ("A", "r", 0, first(), 1),
                ("A", "r", 100, matured(100), 2),
                ("A", "r", 110, PAIR, 1),
                ("A", "r", 121, first(), 1),
            ],
        );
    }

    #[test]
    fn any_identity_matures_a_triplet_by_the_earliest_clock() {
        run(
            RULES,
            &[
                ("spf A", "r", 0, first(), 2),
                ("spf B", "r", 60, early(40), 1),
                // Matures by "spf", which is proven; "B" keeps its own clock, which began at 60.
                ("spf B", "r", 100, matured(100), 2),
                ("B", "r", 120, early(40), 0),
                ("spf C", "other", 120, PAIR, 0),
                ("B", "r", 160, matured(100), 2),
                ("B", "other", 160, PAIR, 0),
                ("A", "r", 160, matured(160), 2),
            ],
        );
    }

    #[test]
    fn all_proven_identities_are_renewed() {
        run(
            RULES,
            &[
                ("A B", "r", 0, first(), 2),
                ("A B", "r", 100, matured(100), 4),
                ("A B", "r", 4_000, PAIR, 2),
                ("B", "r", 12_000, PAIR, 1),
            ],
        );
    }

    #[test]
    fn a_clock_set_back_makes_the_earlier_moment_count() {
        run(
            RULES,
            &[
                ("A", "r", 5_000, first(), 1),
                ("A", "r", 0, early(100), 1),
                ("A", "r", 50, early(50), 0),
                ("A", "r", 100, matured(100), 2),
                ("A", "r", 0, PAIR, 0),
            ],
        );
    }

    #[test]
    fn switching_promotion_loses_no_proof_of_the_triplet() {
        let mut records = Plain::default();
        records.attempt("A", "r", TRIPLETS_ONLY, 10_000);
        assert_eq!(records.attempt("A", "r", TRIPLETS_ONLY, 10_100), (matured(100), 2));
        assert_eq!(records.attempt("A", "r", RULES, 10_101), (TRIPLET, 1));
        assert_eq!(records.attempt("A", "other", RULES, 10_102), (PAIR, 0));
        assert_eq!(records.attempt("A", "other", TRIPLETS_ONLY, 10_103), (first(), 1));
    }

    #[test]
    fn without_any_identity_an_attempt_stays_a_first_one() {
        let keys = HashKey::from_bytes([1; 16]).keys(&Attempt {
            identities: vec![],
            sender: String::new(),
            recipient: "r".into(),
            rules: RULES,
        });
        let decision = decide(&keys, &RULES, Timestamp::EPOCH, &Plain::default()).unwrap();
        assert_eq!(decision, Decision { answer: first(), writes: vec![] });
    }

    #[test]
    fn extreme_times_and_rules_do_not_overflow() {
        let mut records = Plain::default();
        let forever = Rules {
            min_delay: Duration::MAX,
            retry_window: Duration::MAX,
            pass_ttl: Duration::MAX,
            promote_pairs: true,
        };
        assert_eq!(records.attempt("A", "r", forever, u64::MAX).0, Answer::FirstSeen { wait: Duration::MAX });
        let Answer::TooEarly { wait } = records.attempt("A", "r", forever, 0).0 else { panic!("too early") };
        assert_eq!(wait, Duration::MAX);
        let at_once = Rules { min_delay: Duration::ZERO, ..forever };
        assert_eq!(records.attempt("A", "r", at_once, 5).0, matured(5));
        assert_eq!(records.attempt("A", "r", at_once, u64::MAX).0, PAIR);
    }
}
