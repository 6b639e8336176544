//! The clocks that run, in shards that are locked one by one.
//!
//! All clocks of one (sender, recipient) are in one shard, so an attempt needs no other. Only the account of its network is spread
//! over all of them. A total that is never too low tells whether that may be full; where it may, the attempt takes all shards.

use std::sync::{Arc, MutexGuard};

use smallvec::{SmallVec, smallvec};

use crate::store::clocks::{Clocks, Totals};
use crate::store::key::{AttemptKeys, Key, MAX_IDENTITIES, NetworkKey};
use crate::store::model::Write;
use crate::store::table::Shards;
use crate::store::timestamp::Timestamp;

/// Many more than there are threads that meet, and so few that all can be taken for each attempt of a network that floods us.
const SHARDS: usize = 16;

/// Clocks looked at for each time their lock is taken, where all are.
const PLACES_AT_ONCE: usize = 4096;

/// All clocks.
#[derive(Debug)]
pub(super) struct Running {
    shards: Shards<Shard, SHARDS>,
    totals: Arc<Totals>,
}

/// The clocks of one shard.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) clocks: Clocks,
    /// Room for what an attempt writes.
    pub(super) writes: Vec<Write>,
}

impl Running {
    /// Room for `capacity` clocks, in equal shares.
    pub(super) fn new(capacity: usize) -> Self {
        let totals = Arc::new(Totals::default());
        let shard = || Shard {
            clocks: Clocks::counted_in(Arc::clone(&totals), capacity.div_ceil(SHARDS)),
            writes: Vec::new(),
        };
        Self { shards: Shards::new(shard), totals }
    }

    /// Makes room for so many clocks at once.
    pub(super) fn reserve(&self, count: usize) {
        // Shards are not equally full.
        let share = count.div_ceil(SHARDS);
        self.each().for_each(|mut shard| shard.clocks.reserve(share + share / 64));
    }

    /// Locks what the attempt with these keys needs, whose clocks count for `network`, of which at most `cap` may run.
    pub(super) fn lock(&self, keys: &AttemptKeys, network: NetworkKey, cap: u32) -> Locked<'_> {
        self.lock_shard(keys.release().clock_shard(), network, cap)
    }

    fn lock_shard(&self, shard: u8, network: NetworkKey, cap: u32) -> Locked<'_> {
        let clocks = self.shards.lock(shard);
        let running = self.totals.at_most(network);
        if running.saturating_add(MAX_IDENTITIES as u32) > cap {
            drop(clocks);
            return self.lock_all();
        }
        Locked { shards: smallvec![clocks], running: Some(running) }
    }

    /// Locks all clocks.
    pub(super) fn lock_all(&self) -> Locked<'_> {
        Locked { shards: self.shards.each().collect(), running: None }
    }

    /// Locks the shard of this clock.
    pub(super) fn shard_of(&self, key: &Key) -> MutexGuard<'_, Shard> {
        self.shards.lock(key.clock_shard())
    }

    /// The shards one after the other, each locked while it is looked at.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.each()
    }

    /// The clocks whose key is as wanted, with their beginnings.
    pub(super) fn find(&self, is_wanted: impl Fn(&Key) -> bool) -> Vec<(Key, Timestamp)> {
        let mut found = Vec::new();
        for shard in 0..SHARDS as u8 {
            for first in (0..).step_by(PLACES_AT_ONCE) {
                let Shard { clocks, .. } = &*self.shards.lock(shard);
                if first >= clocks.places() {
                    break;
                }
                found.extend(clocks.find_in(first..first + PLACES_AT_ONCE, &is_wanted));
            }
        }
        found
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.each().map(|shard| shard.clocks.len()).sum()
    }
}

/// What an attempt has locked: one shard, or all.
pub(super) struct Locked<'a> {
    /// Locked in this order by everybody.
    shards: SmallVec<[MutexGuard<'a, Shard>; 1]>,
    /// Where it is one: how many clocks run for the network at most. Other attempts may begin some meanwhile, so that its account
    /// may have some more than the cap.
    running: Option<u32>,
}

impl Locked<'_> {
    /// When the clock of `key` began, which is in a shard that is locked.
    pub(super) fn get(&self, key: &Key) -> Option<Timestamp> {
        self.shards[self.place_of(key)].clocks.get(key)
    }

    /// The clocks among which that of `key` is or has to be.
    pub(super) fn clocks_of(&mut self, key: &Key) -> &mut Clocks {
        let place = self.place_of(key);
        &mut self.shards[place].clocks
    }

    fn place_of(&self, key: &Key) -> usize {
        if self.shards.len() == 1 { 0 } else { usize::from(key.clock_shard()) % SHARDS }
    }

    /// How many clocks run for a network: exactly, or at most where there is room in its account anyway.
    pub(super) fn running(&self, network: NetworkKey) -> u32 {
        let counted = || self.shards.iter().map(|shard| shard.clocks.running(network)).sum();
        self.running.unwrap_or_else(counted)
    }

    /// The clocks of a network in the shards that are locked, the one first begun first.
    pub(super) fn oldest_of(&self, network: NetworkKey) -> impl Iterator<Item = (Key, Timestamp)> {
        Clocks::oldest_in(self.shards.iter().map(|shard| &shard.clocks), network)
    }

    /// Room for what an attempt writes, empty.
    pub(super) fn room(&mut self) -> &mut Vec<Write> {
        &mut self.shards[0].writes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::store::embedded::State;
    use crate::store::model::Clock;
    use crate::store::{Answer, Attempt, Identity, IdentityKind, Query, Rules};

    fn key(n: u64) -> Key {
        let mixed = u128::from(n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        Key::from_bytes(mixed.to_le_bytes())
    }

    fn network(n: u64) -> NetworkKey {
        NetworkKey::from_number((n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)).unwrap()
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_000 * secs)
    }

    fn begin(clocks: &mut Locked<'_>, n: u64, of: u64) {
        let clock =
            Clock { first_seen: at(n), lasts: Duration::from_secs(48 * 3600), network: Some(network(of)) };
        clocks.clocks_of(&key(n)).begin(key(n), clock, 0, at(n));
    }

    #[test]
    fn one_shard_is_locked_as_long_as_its_network_has_room_for_certain() {
        let running = Running::new(1_000);
        for n in 0..30 {
            let mut clocks = running.lock_shard(key(n).clock_shard(), network(7), 24);
            let before = n as u32;
            let is_one = before + MAX_IDENTITIES as u32 <= 24;
            assert_eq!(
                (clocks.shards.len(), clocks.running(network(7))),
                (if is_one { 1 } else { SHARDS }, before)
            );
            begin(&mut clocks, n, 7);
            assert_eq!(clocks.get(&key(n)), Some(at(n)));
        }
        assert_eq!(running.lock_shard(0, network(8), 24).shards.len(), 1, "another network");
        assert_eq!(running.lock_shard(0, network(8), 3).shards.len(), SHARDS, "a cap that is soon met");
        let mut all = running.lock_all();
        (0..10).for_each(|n| all.clocks_of(&key(n)).end(&key(n)));
        drop(all);
        assert_eq!((running.len(), running.lock_shard(0, network(7), 24).running), (20, Some(20)));
    }

    #[test]
    fn the_oldest_of_a_network_are_those_of_all_shards_in_their_order() {
        let running = Running::new(1_000);
        let mut all = running.lock_all();
        (0..200).for_each(|n| begin(&mut all, n, n % 2));
        assert!(all.shards.iter().all(|shard| shard.clocks.len() > 0), "some shard has none");
        let expected: Vec<_> = (0..100).map(|n| (key(2 * n), at(2 * n))).collect();
        assert_eq!(all.oldest_of(network(0)).collect::<Vec<_>>(), expected);
        assert_eq!((all.running(network(0)), all.running(network(2))), (100, 0));
        drop(all);
        let mut found = running.find(|wanted| *wanted == key(3) || *wanted == key(150));
        found.sort_by_key(|(_, began)| *began);
        assert_eq!(found, [(key(3), at(3)), (key(150), at(150))]);
    }

    fn attempt(state: &State, client: [u8; 4], sender: &str, secs: u64) -> Answer {
        let attempt = Attempt {
            identities: vec![Identity { kind: IdentityKind::Address, key: format!("{client:?}").into() }],
            client: client.into(),
            sender: sender.into(),
            recipient: "r@example.test".into(),
            never_promote: false,
            mail_counted: false,
            rules: Rules { network_cap: 100, ..Rules::DEFAULT },
        };
        state.record(&attempt, at(secs)).unwrap()
    }

    #[test]
    fn a_network_gets_as_many_clocks_as_its_cap_wherever_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path(), 10_000, at(0)).unwrap();
        let new = Answer::FirstSeen { wait: Duration::from_secs(120) };
        for n in 0..150 {
            let answer = attempt(&state, [192, 0, 2, n], &format!("s{n}"), 1_000 + u64::from(n));
            let waits = 120 - u64::from(n).saturating_sub(100);
            let capped = Answer::Capped { wait: Some(Duration::from_secs(waits)) };
            assert_eq!(answer, if n < 100 { new } else { capped }, "{n}");
        }
        assert_eq!(attempt(&state, [198, 51, 100, 1], "s", 1_150), new);
        // Those of 1000 and 1001 are old enough to go for others, and go in this order.
        assert_eq!(attempt(&state, [192, 0, 2, 200], "late", 1_241), new);
        assert_eq!(attempt(&state, [192, 0, 2, 0], "s0", 1_242), new);
        assert_eq!(state.running.len(), 102);
    }

    #[test]
    fn threads_begin_few_more_clocks_for_a_network_than_its_cap() {
        const THREADS: u32 = 4;
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path(), 10_000, at(0)).unwrap();
        let begun = AtomicU32::new(0);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (state, begun) = (&state, &begun);
                scope.spawn(move || {
                    for n in 0..100 {
                        if let Answer::FirstSeen { .. } =
                            attempt(state, [192, 0, 2, 1], &format!("{thread}-{n}"), 1_000)
                        {
                            begun.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let begun = begun.into_inner();
        assert!((100..100 + THREADS).contains(&begun), "{begun} clocks");
        // And one by which the rest is judged.
        assert_eq!(state.running.len() as u32, begun + 1);
    }

    #[test]
    fn nothing_matures_by_a_clock_that_is_being_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path(), 10_000, at(0)).unwrap();
        for round in 0..1_000 {
            let sender = format!("s{round}");
            let query = Query { sender: Some(sender.clone()), ..Query::default() };
            attempt(&state, [192, 0, 2, 1], &sender, 1_000);
            let start = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    attempt(&state, [192, 0, 2, 1], &sender, 1_120)
                });
                start.wait();
                state.forget(&query).unwrap();
            });
            let answer = attempt(&state, [192, 0, 2, 1], &sender, 1_121);
            assert!(
                matches!(answer, Answer::FirstSeen { .. } | Answer::TooEarly { .. }),
                "{round}: {answer:?}"
            );
            state.forget(&query).unwrap();
        }
    }
}
