//! A bounded table whose records expire, in shards that are locked one by one.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::key::Key;
use super::model::{Proven, Standing};
use super::timestamp::Timestamp;

/// Parts of a table: many more than there are threads, so that they seldom meet; a divisor of 256.
const SHARDS: usize = 64;

/// Due records looked at for each one inserted: more than one, so that sweeping outruns filling.
const SWEEP_STEPS: usize = 2;

/// Expired records stay for so long: a clock that was ahead, and is set right, finds what it knew.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// Records that were renewed are passed over when room is needed, up to this many.
const EVICTION_STEPS: usize = 8;

/// A record with its own expiry.
pub(super) trait Expiring: Copy {
    fn expires(self) -> Timestamp;
}

impl Expiring for Standing {
    fn expires(self) -> Timestamp {
        self.expires
    }
}

impl Expiring for Proven {
    fn expires(self) -> Timestamp {
        self.expires
    }
}

/// Whether a record that is good until `expires` may be forgotten at `now`.
pub(super) fn is_forgettable(expires: Timestamp, now: Timestamp) -> bool {
    expires.plus(CLOCK_SLACK) < now
}

/// A value in `COUNT` parts, a divisor of 256, each under its own lock.
#[derive(Debug)]
pub(super) struct Shards<T, const COUNT: usize = SHARDS>(Box<[Mutex<T>]>);

impl<T, const COUNT: usize> Shards<T, COUNT> {
    pub(super) fn new(make: impl Fn() -> T) -> Self {
        Self((0..COUNT).map(|_| Mutex::new(make())).collect())
    }

    /// Locks the part that keeps the records of `shard`.
    pub(super) fn lock(&self, shard: u8) -> MutexGuard<'_, T> {
        lock(&self.0[usize::from(shard) % COUNT])
    }

    /// The parts one after the other, each locked while it is looked at.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.0.iter().map(lock)
    }
}

/// Locks `mutex`, whether or not a thread panicked with it: what we keep under locks is whole after every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records by key, at most `capacity` of them. Each key in `records` has exactly one place in `queue`.
#[derive(Debug)]
pub(super) struct Table<R> {
    records: KeyMap<R>,
    queue: VecDeque<(Timestamp, Key)>,
    capacity: usize,
}

impl<R: Expiring> Table<R> {
    /// Shards of tables that hold at most `capacity` records together.
    pub(super) fn sharded(capacity: usize) -> Shards<Self> {
        Shards::new(|| Self::new(capacity.div_ceil(SHARDS)))
    }

    /// A table that holds at most `capacity` records.
    pub(super) fn new(capacity: usize) -> Self {
        Self { records: HashMap::default(), queue: VecDeque::new(), capacity: capacity.max(1) }
    }

    pub(super) fn get(&self, key: &Key) -> Option<R> {
        self.records.get(key).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// All records.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, R)> {
        self.records.iter().map(|(key, record)| (*key, *record))
    }

    /// Removes a record, which takes a look at all: somebody asked for it by hand.
    pub(super) fn remove(&mut self, key: &Key) {
        if self.records.remove(key).is_some() {
            self.queue.retain(|(_, queued)| queued != key);
        }
    }

    /// Writes over whatever `key` has now. Sweeps a little, and makes room by letting the oldest record go.
    pub(super) fn insert(&mut self, key: Key, record: R, now: Timestamp) {
        self.sweep(now);
        if let Some(present) = self.records.get_mut(&key) {
            *present = record;
            return;
        }
        if self.records.len() >= self.capacity {
            self.evict();
        }
        self.records.insert(key, record);
        self.queue.push_back((record.expires(), key));
    }

    fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEEP_STEPS {
            match self.queue.pop_front_if(|(due, _)| is_forgettable(*due, now)) {
                Some((due, key)) => self.drop_unless_renewed(due, key),
                None => return,
            };
        }
    }

    fn evict(&mut self) {
        for step in 0..=EVICTION_STEPS {
            let Some((due, key)) = self.queue.pop_front() else { return };
            if step == EVICTION_STEPS {
                self.records.remove(&key);
            } else if self.drop_unless_renewed(due, key) {
                return;
            }
        }
    }

    /// Drops the record that was queued until `due`; queues it again, and returns false, if it lasts longer by now.
    fn drop_unless_renewed(&mut self, due: Timestamp, key: Key) -> bool {
        let renewed = self.records.get(&key).map(|record| record.expires()).filter(|expires| *expires > due);
        match renewed {
            Some(expires) => self.queue.push_back((expires, key)),
            None => drop(self.records.remove(&key)),
        }
        renewed.is_none()
    }
}

/// Keys are keyed hashes already.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map from keys that needs no hashing.
pub(super) type KeyMap<R> = HashMap<Key, R, BuildHasherDefault<KeyHasher>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn table(capacity: usize) -> Table<Proven> {
        Table::new(capacity)
    }

    fn key(n: u8) -> Key {
        Key::from_bytes([n; 16])
    }

    fn until(millis: u64) -> Proven {
        Proven { expires: Timestamp::from_millis(millis) }
    }

    fn keys(table: &Table<Proven>) -> Vec<Key> {
        assert_eq!(table.queue.len(), table.records.len());
        let mut keys: Vec<Key> = table.records.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn when_full_the_oldest_record_that_was_not_renewed_goes() {
        let now = Timestamp::from_millis(0);
        let mut table = table(3);
        (1..=3).for_each(|n| table.insert(key(n), until(100), now));
        table.insert(key(1), until(200), now);
        table.insert(key(4), until(100), now);
        assert_eq!(keys(&table), [key(1), key(3), key(4)]);
        assert_eq!(table.get(&key(1)), Some(until(200)));
    }

    #[test]
    fn when_all_are_renewed_one_goes_nevertheless() {
        let now = Timestamp::from_millis(0);
        let mut table = table(20);
        (1..=20).for_each(|n| table.insert(key(n), until(100), now));
        (1..=20).for_each(|n| table.insert(key(n), until(200), now));
        table.insert(key(21), until(100), now);
        assert_eq!(keys(&table).len(), 20);
        assert_eq!(table.get(&key(21)), Some(until(100)));
    }

    #[test]
    fn expired_records_are_swept_away_by_later_inserts_once_no_clock_can_want_them_back() {
        let slack = CLOCK_SLACK.as_millis() as u64;
        let mut table = table(100);
        (1..=10).for_each(|n| table.insert(key(n), until(100), Timestamp::from_millis(0)));
        table.insert(key(1), until(900), Timestamp::from_millis(50));
        (11..=15).for_each(|n| table.insert(key(n), until(1_000), Timestamp::from_millis(100 + slack)));
        assert_eq!(keys(&table), (1..=15).map(key).collect::<Vec<_>>());
        (16..=20).for_each(|n| table.insert(key(n), until(1_000), Timestamp::from_millis(101 + slack)));
        assert_eq!(keys(&table), [vec![key(1)], (11..=20).map(key).collect()].concat());
        table.remove(&key(1));
        assert_eq!(keys(&table), (11..=20).map(key).collect::<Vec<_>>());
        assert_eq!(table.iter().count(), 10);
    }

    #[test]
    fn shards_hold_the_capacity_together() {
        let shards = Table::<Proven>::sharded(640);
        for n in 0..10_000_u64 {
            let key = Key::from_bytes(
                (u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)).to_le_bytes(),
            );
            shards.lock(key.shard()).insert(key, until(100), Timestamp::EPOCH);
        }
        assert_eq!(shards.each().map(|shard| shard.len()).sum::<usize>(), 640);
    }
}
