//! A greylist in memory, forgotten at exit: for tests, and for trying Greylag out.

use super::attempt::{Answer, Attempt};
use super::fault::StoreFault;
use super::key::{HashKey, Key};
use super::model::{self, Proven, Records, Unproven, Write};
use super::table::{Shards, Table};
use super::timestamp::Timestamp;
use super::{Stats, Store, StoreFuture};

/// A greylist in memory.
#[derive(Debug)]
pub struct MemoryStore {
    hash_key: HashKey,
    unproven: Shards<Table<Unproven>>,
    proven: Shards<Table<Proven>>,
}

impl MemoryStore {
    /// An empty store for at most `capacity` unproven and as many proven records; when full, the oldest go.
    pub fn new(capacity: usize) -> Result<Self, StoreFault> {
        Ok(Self {
            hash_key: HashKey::random()?,
            unproven: Table::sharded(capacity),
            proven: Table::sharded(capacity),
        })
    }

    fn decide(&self, attempt: &Attempt, now: Timestamp, record: bool) -> Result<Answer, StoreFault> {
        let keys = self.hash_key.keys(attempt);
        let mut unproven = self.unproven.lock(keys.shard);
        let records = View { unproven: &unproven, proven: &self.proven };
        let decision = model::decide(&keys, &attempt.rules, now, &records)?;
        for write in decision.writes.iter().filter(|_| record) {
            match *write {
                Write::Unproven(key, record) => unproven.insert(key, record, now),
                Write::Proven(key, record) => self.prove(key, record, now),
            }
        }
        Ok(decision.answer)
    }

    fn prove(&self, key: Key, record: Proven, now: Timestamp) {
        let mut shard = self.proven.lock(key.shard());
        let record = shard.get(&key).map_or(record, |present| present.later(record));
        shard.insert(key, record, now);
    }
}

struct View<'a> {
    unproven: &'a Table<Unproven>,
    proven: &'a Shards<Table<Proven>>,
}

impl Records for View<'_> {
    fn unproven(&self, triplet: &Key) -> Result<Option<Unproven>, StoreFault> {
        Ok(self.unproven.get(triplet))
    }

    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        Ok(self.proven.lock(key.shard()).get(key))
    }
}

impl Store for MemoryStore {
    fn attempt<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        Box::pin(async move { self.decide(attempt, now, true) })
    }

    fn peek<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        Box::pin(async move { self.decide(attempt, now, false) })
    }

    fn stats(&self) -> StoreFuture<'_, Stats> {
        Box::pin(async {
            Ok(Stats {
                unproven: self.unproven.each().map(|shard| shard.len() as u64).sum(),
                proven: self.proven.each().map(|shard| shard.len() as u64).sum(),
            })
        })
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
