//! A greylist in memory, forgotten at exit: for tests, and for trying Greylag out.

use std::collections::HashMap;
use std::sync::Mutex;

use super::attempt::{Answer, Attempt, Held, Query, Release};
use super::clocks::Clocks;
use super::fault::StoreFault;
use super::key::{HashKey, IdentityKey, Key, NetworkKey};
use super::model::{self, Proofs, Proven, Records, Standing, Standings, Write};
use super::table::{Shards, Table, is_forgettable, lock};
use super::timestamp::Timestamp;
use super::{Stats, Store, StoreFuture, at_hand, later};

/// A greylist in memory.
#[derive(Debug)]
pub struct MemoryStore {
    hash_key: HashKey,
    proven: Shards<Table<Proven>>,
    rest: Mutex<Rest>,
}

#[derive(Debug)]
struct Rest {
    clocks: Clocks,
    standings: Table<Standing>,
    releases: HashMap<Key, Timestamp>,
}

impl MemoryStore {
    /// An empty store for at most `capacity` unproven and as many proven records; when full, the oldest go.
    pub fn new(capacity: usize) -> Result<Self, StoreFault> {
        let rest =
            Rest { clocks: Clocks::new(capacity), standings: Table::new(capacity), releases: HashMap::new() };
        Ok(Self { hash_key: HashKey::random()?, proven: Table::sharded(capacity), rest: Mutex::new(rest) })
    }

    fn decide(&self, attempt: &Attempt, now: Timestamp, record: bool) -> Result<Answer, StoreFault> {
        let keys = self.hash_key.keys(attempt);
        if let Some(known) = model::known(&keys, &attempt.rules, now, &self.proven)?
            && (!record || known.writes.is_empty())
        {
            return Ok(known.answer);
        }
        let mut rest = lock(&self.rest);
        let view = View { proven: &self.proven, rest: &rest };
        let decision = model::decide(attempt, &self.hash_key, &keys, now, &view)?;
        if record {
            self.apply(&decision.writes, &mut rest, now);
        }
        Ok(decision.answer)
    }

    fn add_identities(&self, attempt: &Attempt, made: Timestamp) -> Result<(), StoreFault> {
        let keys = self.hash_key.keys(attempt);
        let mut rest = lock(&self.rest);
        let view = View { proven: &self.proven, rest: &rest };
        let writes = model::add_identities(attempt, &self.hash_key, &keys, made, &view)?;
        self.apply(&writes, &mut rest, made);
        Ok(())
    }

    fn apply(&self, writes: &[Write], rest: &mut Rest, now: Timestamp) {
        for write in writes {
            match *write {
                Write::Begin(key, clock) => rest.clocks.begin(key, clock, 0, now),
                Write::End(key) => rest.clocks.end(&key),
                Write::Prove(key, proof) => self.prove(key, proof, now),
                Write::Stand(identity, Some(standing)) => {
                    rest.standings.insert(identity.as_key(), standing, now);
                }
                Write::Stand(identity, None) => rest.standings.remove(&identity.as_key()),
            }
        }
    }

    fn prove(&self, key: Key, proof: Proven, now: Timestamp) {
        let mut shard = self.proven.lock(key.shard());
        let proof = shard.get(&key).map_or(proof, |present| present.later(proof));
        shard.insert(key, proof, now);
    }

    fn show(&self, query: &Query) -> Vec<Held> {
        let wanted = self.hash_key.query(query);
        let rest = lock(&self.rest);
        let waiting = rest.clocks.find_in(0..rest.clocks.places(), |key| key.matches(&wanted));
        let mut held: Vec<Held> =
            waiting.into_iter().map(|(_, first_seen)| Held::Waiting { first_seen }).collect();
        for shard in self.proven.each() {
            let proofs = shard.iter().filter(|(key, _)| key.matches(&wanted));
            held.extend(proofs.map(|(key, proof)| Held::proven(&key, proof)));
        }
        let standing = wanted.standing().and_then(|identity| rest.standings.get(&identity.as_key()));
        held.extend(standing.as_ref().map(Held::standing));
        let releases = rest.releases.iter().filter(|(key, _)| key.matches(&wanted));
        held.extend(releases.map(|(_, expires)| Held::Release { expires: *expires }));
        held
    }

    fn forget(&self, query: &Query) -> u64 {
        let wanted = self.hash_key.query(query);
        let mut forgotten = 0;
        let mut rest = lock(&self.rest);
        for (key, _) in rest.clocks.find_in(0..rest.clocks.places(), |key| key.matches(&wanted)) {
            rest.clocks.end(&key);
            forgotten += 1;
        }
        for mut shard in self.proven.each() {
            let keys: Vec<Key> =
                shard.iter().map(|(key, _)| key).filter(|key| key.matches(&wanted)).collect();
            keys.iter().for_each(|key| shard.remove(key));
            forgotten += keys.len() as u64;
        }
        if let Some(identity) = wanted.standing().map(IdentityKey::as_key)
            && rest.standings.get(&identity).is_some()
        {
            rest.standings.remove(&identity);
            forgotten += 1;
        }
        let before = rest.releases.len();
        rest.releases.retain(|key, _| !key.matches(&wanted));
        forgotten + (before - rest.releases.len()) as u64
    }
}

struct View<'a> {
    proven: &'a Shards<Table<Proven>>,
    rest: &'a Rest,
}

impl Proofs for Shards<Table<Proven>> {
    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        Ok(self.lock(key.shard()).get(key))
    }
}

impl Proofs for View<'_> {
    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        self.proven.proven(key)
    }
}

impl Standings for View<'_> {
    fn standing(&self, identity: &IdentityKey) -> Result<Option<Standing>, StoreFault> {
        Ok(self.rest.standings.get(&identity.as_key()))
    }
}

impl Records for View<'_> {
    fn clock(&self, triplet: &Key) -> Result<Option<Timestamp>, StoreFault> {
        Ok(self.rest.clocks.get(triplet))
    }

    fn running(&self, network: NetworkKey) -> Result<u32, StoreFault> {
        Ok(self.rest.clocks.running(network))
    }

    fn oldest(&self, network: NetworkKey) -> impl Iterator<Item = (Key, Timestamp)> {
        self.rest.clocks.oldest_of(network)
    }

    fn release(&self, key: &Key) -> Result<Option<Timestamp>, StoreFault> {
        Ok(self.rest.releases.get(key).copied())
    }
}

impl Store for MemoryStore {
    fn attempt<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        at_hand(self.decide(attempt, now, true))
    }

    fn peek<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        at_hand(self.decide(attempt, now, false))
    }

    fn add_identities<'a>(&'a self, attempt: &'a Attempt, made: Timestamp) -> StoreFuture<'a, ()> {
        at_hand(self.add_identities(attempt, made))
    }

    fn release<'a>(&'a self, release: &'a Release, now: Timestamp) -> StoreFuture<'a, ()> {
        later(async move {
            let mut rest = lock(&self.rest);
            rest.releases.retain(|_, expires| !is_forgettable(*expires, now));
            rest.releases.insert(self.hash_key.release(release), release.expires);
            Ok(())
        })
    }

    fn show<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, Vec<Held>> {
        at_hand(Ok(self.show(query)))
    }

    fn forget<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, u64> {
        at_hand(Ok(self.forget(query)))
    }

    fn stats(&self) -> StoreFuture<'_, Stats> {
        later(async {
            let proven = self.proven.each().map(|shard| shard.len() as u64).sum();
            let rest = lock(&self.rest);
            Ok(Stats {
                unproven: rest.clocks.len() as u64,
                proven,
                standings: rest.standings.len() as u64,
                releases: rest.releases.len() as u64,
            })
        })
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        at_hand(Ok(()))
    }
}
