//! A greylist in a directory of its own.
//!
//! - Clocks run in a bounded table in memory. Proofs, standings and rules of release live in `greylist.redb`.
//! - Every change is appended to the journal before it is answered, so that a kill of the process loses nothing; the journal is
//!   synced each second off the answer path, so that a power cut costs some senders one more retry.
//! - A thread of the store's own syncs, moves proofs and standings into the database, drops generations of the journal whose
//!   clocks are all over, and sweeps.
//!
//! Who is known by a proof is answered without a lock of clocks, others under that of few of them ([`running`]); and no thread that
//! answers waits for the disk while another writes ([`turn`]). Opening replays the journal. What is damaged is set aside
//! and reported. The database's lock keeps other processes out; the hash key stands in the database and in each generation of the
//! journal.

mod database;
mod encoding;
#[cfg(test)]
mod failing;
mod files;
mod filter;
#[cfg(test)]
mod forgetting;
#[cfg(test)]
mod hanging;
mod journal;
mod maintenance;
mod opening;
mod running;
mod turn;
mod watching;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use self::database::{Glance, Records as Database};
use self::journal::{Entry, Journal, Place};
use self::maintenance::Maintenance;
use self::running::{Locked, Running};
use super::attempt::{Answer, Attempt, Held, Query, Release};
use super::fault::StoreFault;
use super::key::{AttemptKeys, HashKey, IdentityKey, Key, NetworkKey};
use super::model::{self, Decision, Proofs, Proven, Records, Standing, Standings, Unproven, Write};
use super::table::{is_forgettable, lock};
use super::timestamp::Timestamp;
use super::{Lasting, Stats, Store, StoreFuture, at_hand, later};

/// Records forgotten for each write of the journal.
const FORGOTTEN_AT_ONCE: usize = 4096;

/// A greylist in a directory. Closed when dropped.
#[derive(Debug)]
pub struct EmbeddedStore {
    state: Arc<State>,
    maintenance: Maintenance,
}

impl EmbeddedStore {
    /// Opens the greylist in `directory`, which is created when missing, with at most `capacity` clocks. `now` names files that have
    /// to be set aside and rules what is expired.
    pub fn open(directory: &Path, capacity: usize, now: Timestamp) -> Result<Self, StoreFault> {
        let state = Arc::new(State::open(directory, capacity, now)?);
        let maintenance = Maintenance::start(Arc::clone(&state))?;
        Ok(Self { state, maintenance })
    }

    /// Does what may take long on a thread that may wait.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let state = Arc::clone(&self.state);
        tokio::task::spawn_blocking(move || work(&state)).await.unwrap_or(Err(StoreFault::Closed))
    }

    /// Answers once the journal has all that the answer goes by. Whoever asks has a deadline of his own.
    fn recorded<'a, T: Send + 'a>(&'a self, decided: Result<Decided<T>, StoreFault>) -> StoreFuture<'a, T> {
        let journal = &self.state.journal;
        let Decided { answer, recorded_at } = match decided {
            Ok(decided) => decided,
            Err(fault) => return at_hand(Err(fault)),
        };
        match journal.try_write(recorded_at) {
            Some(written) => at_hand(written.map(|()| answer)),
            None => later(async move { journal.written(recorded_at).await.map(|()| answer) }),
        }
    }
}

/// What was decided, and from where on the journal has all that it goes by: its own changes and those of others. It must not be
/// told before.
#[derive(Debug)]
struct Decided<T> {
    answer: T,
    recorded_at: Place,
}

impl Store for EmbeddedStore {
    fn attempt<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        self.recorded(self.state.decide(attempt, now, true))
    }

    fn peek<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        at_hand(self.state.decide(attempt, now, false).map(|decided| decided.answer))
    }

    fn lasting(&self, attempt: &Attempt, now: Timestamp) -> Option<Lasting> {
        // Before anything is read, so that what is removed meanwhile is noticed.
        let removals = self.removals()?;
        let keys = self.state.hash_key.keys(attempt);
        let until = model::known_until(&keys, &attempt.rules, now, &self.state.database).ok()??;
        Some(Lasting { until, removals })
    }

    fn removals(&self) -> Option<u64> {
        Some(self.state.removals.load(Ordering::Acquire))
    }

    fn add_identities<'a>(&'a self, attempt: &'a Attempt, made: Timestamp) -> StoreFuture<'a, ()> {
        self.recorded(self.state.add_identities(attempt, made))
    }

    fn release<'a>(&'a self, release: &'a Release, now: Timestamp) -> StoreFuture<'a, ()> {
        let (key, expires) = (self.state.hash_key.release(release), release.expires);
        later(self.aside(move |state| state.release(key, expires, now)))
    }

    fn show<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, Vec<Held>> {
        let query = query.clone();
        later(self.aside(move |state| state.show(&query)))
    }

    fn forget<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, u64> {
        let query = query.clone();
        later(self.aside(move |state| {
            let forgotten = state.forget(&query);
            // Afterwards, and whatever came of it.
            state.removals.fetch_add(1, Ordering::Release);
            forgotten
        }))
    }

    fn stats(&self) -> StoreFuture<'_, Stats> {
        later(async { self.state.stats() })
    }

    /// Blocks its thread until all is on the disk: shutdown has nothing better to do.
    fn close(&self) -> StoreFuture<'_, ()> {
        later(async {
            self.state.closed.store(true, Ordering::Release);
            self.state.removals.fetch_add(1, Ordering::Release);
            self.maintenance.finish()
        })
    }
}

/// What the answering threads and the maintenance thread share.
#[derive(Debug)]
struct State {
    directory: PathBuf,
    hash_key: HashKey,
    /// The clocks of a triplet are locked from what an attempt reads until its changes are queued for the journal and stand in memory:
    /// so the journal has the changes of each key in their order, and no other attempt of the triplet comes in between.
    running: Running,
    /// Changed by who has `releasing`.
    releases: ArcSwap<HashMap<Key, Timestamp>>,
    releasing: Mutex<()>,
    database: Database,
    journal: Journal,
    /// How often something was proven: an attempt that finds no proof looks again under the lock only if this has changed.
    proven: AtomicU64,
    /// The time of the latest attempt, in milliseconds: the maintenance thread has no other clock.
    now: AtomicU64,
    /// Size of the journal when the maintenance thread looked last.
    journal_seen: AtomicU64,
    closed: AtomicBool,
    /// How often it was forgotten who is known.
    removals: AtomicU64,
}

impl State {
    fn decide(&self, attempt: &Attempt, now: Timestamp, record: bool) -> Result<Decided<Answer>, StoreFault> {
        self.check_open()?;
        let keys = self.hash_key.keys(attempt);
        let (mut glance, proven) = (self.database.glance(), self.proven.load(Ordering::Acquire));
        if let Some(Decision { answer, writes }) = model::known(&keys, &attempt.rules, now, &self.database)? {
            // Where the journal has no proof yet, it has the clock that just matured: after a kill this mail passes by that.
            if writes.is_empty() || !record {
                return Ok(Decided { answer, recorded_at: Place::START });
            }
            self.renew(&writes, now)?;
            self.renew_standings(attempt, &keys, &writes, now)?;
            return Ok(Decided { answer, recorded_at: self.journal.queued() });
        }
        let unproven = Unproven::new(attempt, &self.hash_key, &keys);
        self.database.glance_at(&mut glance, unproven.standings())?;
        let mut clocks = self.running.lock(&keys, unproven.network(), attempt.rules.network_cap);
        let room = std::mem::take(clocks.room());
        let view = View { state: self, clocks: &clocks, glance: Some(&glance) };
        let Decision { answer, mut writes } = if self.proven.load(Ordering::Acquire) == proven {
            unproven.decide(now, &view, room)?
        } else {
            model::decide(attempt, &self.hash_key, &keys, now, &view)?
        };
        if record {
            self.change(&writes, &mut clocks, now)?;
        }
        writes.clear();
        *clocks.room() = writes;
        Ok(Decided { answer, recorded_at: self.journal.queued() })
    }

    fn add_identities(&self, attempt: &Attempt, made: Timestamp) -> Result<Decided<()>, StoreFault> {
        self.check_open()?;
        let keys = self.hash_key.keys(attempt);
        let mut clocks = self.lock(attempt, &keys);
        let view = View { state: self, clocks: &clocks, glance: None };
        let writes = model::add_identities(attempt, &self.hash_key, &keys, made, &view)?;
        self.change(&writes, &mut clocks, made)?;
        Ok(Decided { answer: (), recorded_at: self.journal.queued() })
    }

    /// Renews proofs, without a lock of clocks. The database has them before the journal: so a generation that is not
    /// appended to any more has none that the database will not get.
    fn renew(&self, writes: &[Write], now: Timestamp) -> Result<(), StoreFault> {
        self.note_time(now);
        self.database.check_room()?;
        self.journal.check()?;
        for write in writes {
            if let Write::Prove(key, proof) = *write {
                self.prove(key, proof);
            }
        }
        self.journal.queue(writes.iter().copied().map(Entry::Write));
        Ok(())
    }

    /// Renews the standings beside the proofs of `writes`. Few need it, so that few take a lock.
    fn renew_standings(
        &self,
        attempt: &Attempt,
        keys: &AttemptKeys,
        writes: &[Write],
        now: Timestamp,
    ) -> Result<(), StoreFault> {
        let renewed = || model::renew_standings(attempt, &self.hash_key, keys, now, writes, &self.database);
        if renewed()?.is_empty() {
            return Ok(());
        }
        let mut clocks = self.lock(attempt, keys);
        self.change(&renewed()?, &mut clocks, now)
    }

    /// Locks the clocks that an attempt needs.
    fn lock(&self, attempt: &Attempt, keys: &AttemptKeys) -> Locked<'_> {
        let network = self.hash_key.cap_network(attempt.client);
        self.running.lock(keys, network, attempt.rules.network_cap)
    }

    /// Changes what is in memory, and queues that for the journal.
    fn change(&self, writes: &[Write], clocks: &mut Locked<'_>, now: Timestamp) -> Result<(), StoreFault> {
        if writes.is_empty() {
            return Ok(());
        }
        self.note_time(now);
        self.database.check_room()?;
        self.journal.check()?;
        let generation = self.journal.queue(writes.iter().copied().map(Entry::Write));
        for write in writes {
            match *write {
                Write::Begin(key, clock) => clocks.clocks_of(&key).begin(key, clock, tag(generation), now),
                Write::End(key) => clocks.clocks_of(&key).end(&key),
                Write::Prove(key, proof) => self.prove(key, proof),
                Write::Stand(identity, standing) => self.database.stand(identity, standing),
            }
        }
        Ok(())
    }

    /// Whoever looked in vain before must look again when it has the lock: the count is raised once the proof is there.
    fn prove(&self, key: Key, proof: Proven) {
        self.database.prove(key, proof);
        self.proven.fetch_add(1, Ordering::Release);
    }

    fn release(&self, key: Key, expires: Timestamp, now: Timestamp) -> Result<(), StoreFault> {
        self.check_open()?;
        let _releasing = lock(&self.releasing);
        let mut releases = HashMap::clone(&self.releases.load());
        releases.retain(|_, expires| !is_forgettable(*expires, now));
        releases.insert(key, expires);
        self.set_releases(releases)
    }

    fn set_releases(&self, releases: HashMap<Key, Timestamp>) -> Result<(), StoreFault> {
        self.database.write_releases(&releases)?;
        self.releases.store(Arc::new(releases));
        Ok(())
    }

    fn show(&self, query: &Query) -> Result<Vec<Held>, StoreFault> {
        self.check_open()?;
        let wanted = self.hash_key.query(query);
        let waiting = self.running.find(|key| key.matches(&wanted));
        let mut held: Vec<Held> =
            waiting.into_iter().map(|(_, first_seen)| Held::Waiting { first_seen }).collect();
        held.extend(self.database.find(&wanted)?.iter().map(|(key, proof)| Held::proven(key, *proof)));
        if let Some(identity) = wanted.standing() {
            held.extend(self.database.standing(&identity)?.as_ref().map(Held::standing));
        }
        let releases = self.releases.load();
        let releases = releases.iter().filter(|(key, _)| key.matches(&wanted));
        held.extend(releases.map(|(_, expires)| Held::Release { expires: *expires }));
        Ok(held)
    }

    /// Clocks end before proofs are looked for, so that none matures in between. Of proofs the journal is told first, so that nothing of
    /// it comes back when it is replayed. What takes long, to look for them and to write, is done without a lock, and the rest by and
    /// by: mail goes on meanwhile.
    fn forget(&self, query: &Query) -> Result<u64, StoreFault> {
        self.check_open()?;
        let wanted = self.hash_key.query(query);
        let clocks = self.running.find(|key| key.matches(&wanted));
        let standing = match wanted.standing() {
            Some(identity) => self.database.standing(&identity)?.map(|_| identity),
            None => None,
        };
        let mut writes: Vec<Write> = clocks.iter().map(|(key, _)| Write::End(*key)).collect();
        writes.extend(standing.map(|identity| Write::Stand(identity, None)));
        for writes in writes.chunks(FORGOTTEN_AT_ONCE) {
            self.change(writes, &mut self.running.lock_all(), self.now())?;
            self.journal.write(self.journal.queued())?;
        }
        let proofs: Vec<Key> = self.database.find(&wanted)?.into_iter().map(|(key, _)| key).collect();
        for proofs in proofs.chunks(FORGOTTEN_AT_ONCE) {
            self.journal.check()?;
            self.journal.queue(proofs.iter().copied().map(Entry::Forget));
            self.journal.write(self.journal.queued())?;
        }
        if !proofs.is_empty() {
            self.database.forget(&proofs);
            self.settle()?;
        }
        let _releasing = lock(&self.releasing);
        let mut releases = HashMap::clone(&self.releases.load());
        let before = releases.len();
        releases.retain(|key, _| !key.matches(&wanted));
        let released = before - releases.len();
        if released > 0 {
            self.set_releases(releases)?;
        }
        Ok((writes.len() + proofs.len() + released) as u64)
    }

    fn stats(&self) -> Result<Stats, StoreFault> {
        Ok(Stats {
            unproven: self.running.len() as u64,
            proven: self.database.proofs()?,
            standings: self.database.standings()?,
            releases: self.releases.load().len() as u64,
        })
    }

    fn check_open(&self) -> Result<(), StoreFault> {
        if self.closed.load(Ordering::Acquire) { Err(StoreFault::Closed) } else { Ok(()) }
    }

    fn note_time(&self, now: Timestamp) {
        let now = now.as_millis();
        // Written once a millisecond at most: every attempt reads what lies beside it.
        if self.now.load(Ordering::Relaxed) != now {
            self.now.store(now, Ordering::Relaxed);
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
impl State {
    /// Records an attempt, and waits for the journal.
    fn record(&self, attempt: &Attempt, now: Timestamp) -> Result<Answer, StoreFault> {
        let Decided { answer, recorded_at } = self.decide(attempt, now, true)?;
        self.journal.write(recorded_at).map(|()| answer)
    }
}

/// What a clock remembers of the generation it was begun in.
const fn tag(generation: u64) -> u16 {
    generation as u16
}

/// What an attempt reads while it has its clocks locked.
struct View<'a, 'b> {
    state: &'a State,
    clocks: &'a Locked<'b>,
    /// When it looked for its proofs in vain, if it did.
    glance: Option<&'a Glance>,
}

impl Proofs for View<'_, '_> {
    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        match self.glance {
            Some(glance) => self.state.database.proven_since(glance, key),
            None => self.state.database.proven(key),
        }
    }
}

impl Standings for View<'_, '_> {
    fn standing(&self, identity: &IdentityKey) -> Result<Option<Standing>, StoreFault> {
        match self.glance {
            Some(glance) => self.state.database.standing_since(glance, identity),
            None => self.state.database.standing(identity),
        }
    }
}

impl Records for View<'_, '_> {
    fn clock(&self, triplet: &Key) -> Result<Option<Timestamp>, StoreFault> {
        Ok(self.clocks.get(triplet))
    }

    fn running(&self, network: NetworkKey) -> Result<u32, StoreFault> {
        Ok(self.clocks.running(network))
    }

    fn oldest(&self, network: NetworkKey) -> impl Iterator<Item = (Key, Timestamp)> {
        self.clocks.oldest_of(network)
    }

    fn release(&self, key: &Key) -> Result<Option<Timestamp>, StoreFault> {
        Ok(self.state.releases.load().get(key).copied())
    }
}
