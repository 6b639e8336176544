//! A greylist in a directory of its own.
//!
//! - Unproven records live in a bounded table in memory. Proven ones live in `proven.redb`.
//! - Every change of either is appended to the journal before it is answered, so that a kill of the process loses nothing; the
//!   journal is synced each second off the answer path, so that a power cut costs some senders one more retry.
//! - A thread of the store's own syncs, moves proven records into the database, keeps the journal short and sweeps.
//!
//! Opening replays the journal. What is damaged is set aside and reported. The database's lock keeps other processes out; the
//! hash key stands in the database and in each generation of the journal.

mod files;
mod journal;
mod maintenance;
mod proven;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use self::journal::{End, Header, Journal};
use self::maintenance::Maintenance;
use self::proven::ProvenRecords;
use super::attempt::{Answer, Attempt};
use super::fault::StoreFault;
use super::key::{HashKey, Key};
use super::model::{self, Proven, Records, Unproven, Write};
use super::table::{Shards, Table};
use super::timestamp::Timestamp;
use super::{Stats, Store, StoreFuture};

const DATABASE: &str = "proven.redb";

/// A greylist in a directory. Closed when dropped.
#[derive(Debug)]
pub struct EmbeddedStore {
    state: Arc<State>,
    maintenance: Maintenance,
}

impl EmbeddedStore {
    /// Opens the greylist in `directory`, which is created when missing, with at most `capacity` unproven records. `now` names files
    /// that have to be set aside and rules what is expired.
    pub fn open(directory: &Path, capacity: usize, now: Timestamp) -> Result<Self, StoreFault> {
        let state = Arc::new(State::open(directory, capacity, now)?);
        let maintenance = Maintenance::start(Arc::clone(&state))?;
        Ok(Self { state, maintenance })
    }
}

impl Store for EmbeddedStore {
    fn attempt<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        Box::pin(async move { self.state.decide(attempt, now, true) })
    }

    fn peek<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        Box::pin(async move { self.state.decide(attempt, now, false) })
    }

    fn stats(&self) -> StoreFuture<'_, Stats> {
        Box::pin(async {
            let proven = self.state.proven.len()? + self.state.proven.waiting_len() as u64;
            Ok(Stats { unproven: self.state.unproven_len(), proven })
        })
    }

    /// Blocks its thread until all is on the disk: shutdown has nothing better to do.
    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async {
            self.state.closed.store(true, Ordering::Release);
            self.maintenance.finish()
        })
    }
}

/// What the answering threads and the maintenance thread share.
#[derive(Debug)]
struct State {
    directory: PathBuf,
    hash_key: HashKey,
    unproven: Shards<Table<Unproven>>,
    proven: ProvenRecords,
    journal: Journal,
    /// The time of the latest attempt, in milliseconds: the maintenance thread has no other clock.
    now: AtomicU64,
    closed: AtomicBool,
}

impl State {
    fn open(directory: &Path, capacity: usize, now: Timestamp) -> Result<Self, StoreFault> {
        files::create_directory(directory)?;
        refuse_newer_formats(directory)?;
        let (proven, hash_key) =
            ProvenRecords::open(&directory.join(DATABASE), now, || new_hash_key(directory))?;
        files::remove_temporary(directory)?;

        let unproven: Shards<Table<Unproven>> = Table::sharded(capacity);
        let generations = journal::generations(directory)?;
        let mut damaged = Vec::new();
        for (_, path) in &generations {
            let mut proofs = Vec::new();
            let end = replay(path, &hash_key, |write| match write {
                Write::Unproven(key, record) => unproven.lock(key.shard()).insert(key, record, now),
                Write::Proven(key, record) => proofs.push((key, record)),
            })?;
            proofs.into_iter().try_for_each(|(key, record)| proven.restore(key, record))?;
            if let End::Damaged(at) = end {
                damaged.push((path.as_path(), at));
            }
        }

        let replacement = generations.last().map_or(0, |(newest, _)| newest + 1);
        let journal = Journal::begin(directory, hash_key, replacement + 1)?;
        let state = Self {
            directory: directory.to_owned(),
            hash_key,
            unproven,
            proven,
            journal,
            now: AtomicU64::new(now.as_millis()),
            closed: AtomicBool::new(false),
        };
        if !generations.is_empty() {
            state.replace_generations(replacement, now, &damaged)?;
        }
        Ok(state)
    }

    fn decide(&self, attempt: &Attempt, now: Timestamp, record: bool) -> Result<Answer, StoreFault> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreFault::Closed);
        }
        let keys = self.hash_key.keys(attempt);
        // Held until what is decided stands in the journal and in memory: so the journal has the changes of each key in their
        // order, and no other attempt of this triplet comes in between.
        let mut unproven = self.unproven.lock(keys.shard);
        let records = View { unproven: &unproven, proven: &self.proven };
        let decision = model::decide(&keys, &attempt.rules, now, &records)?;
        if record && !decision.writes.is_empty() {
            self.now.store(now.as_millis(), Ordering::Relaxed);
            self.proven.check_room()?;
            self.journal.append(&decision.writes)?;
            for write in &decision.writes {
                match *write {
                    Write::Unproven(key, record) => unproven.insert(key, record, now),
                    Write::Proven(key, record) => self.proven.put(key, record),
                }
            }
        }
        Ok(decision.answer)
    }

    /// Shortens the journal: what is not expired goes into generation `replacement`, all before it are removed, or set aside where
    /// they are `damaged` from some byte on. Attempts go on meanwhile, in the generation after it.
    fn replace_generations(
        &self,
        replacement: u64,
        now: Timestamp,
        damaged: &[(&Path, u64)],
    ) -> Result<(), StoreFault> {
        let unproven = self.unproven.each().flat_map(|shard| {
            shard.kept(now).map(|(key, record)| Write::Unproven(key, record)).collect::<Vec<_>>()
        });
        // Looked at when every shard was locked once: whoever wrote to an earlier generation is done with its attempt then.
        let waiting = std::iter::once_with(|| self.proven.waiting()).flatten();
        let proven = waiting.map(|(key, record)| Write::Proven(key, record));
        self.journal.write_generation(replacement, unproven.chain(proven))?;

        // Oldest first, so that no older state of a record comes back if we die in between.
        for (generation, path) in journal::generations(&self.directory)? {
            if generation >= replacement {
                break;
            }
            match damaged.iter().find(|(damaged, _)| *damaged == path) {
                None => files::remove(&path)?,
                Some((_, at)) => {
                    let aside = files::set_aside(&path, now)?;
                    tracing::warn!(
                        file = %path.display(), byte = at, set_aside = %aside.display(),
                        "the greylist journal is damaged from this byte on, or of another store; what stands before was read"
                    );
                }
            }
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Relaxed))
    }

    fn unproven_len(&self) -> u64 {
        self.unproven.each().map(|shard| shard.len() as u64).sum()
    }
}

struct View<'a> {
    unproven: &'a Table<Unproven>,
    proven: &'a ProvenRecords,
}

impl Records for View<'_> {
    fn unproven(&self, triplet: &Key) -> Result<Option<Unproven>, StoreFault> {
        Ok(self.unproven.get(triplet))
    }

    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        self.proven.get(key)
    }
}

/// Before anything is touched, the database included: a later version may have changed that, too.
fn refuse_newer_formats(directory: &Path) -> Result<(), StoreFault> {
    for (_, path) in journal::generations(directory)? {
        match journal::read_header(&path) {
            Ok(Header::Newer(found)) => {
                return Err(StoreFault::NewerFormat { path, found, known: journal::FORMAT });
            }
            // Removed meanwhile by the process that has the directory open, as we shall find out.
            Err(StoreFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Ok(_) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// For a new database: the hash key of the journal, where there is one, or its records would be lost.
fn new_hash_key(directory: &Path) -> Result<HashKey, StoreFault> {
    for (_, path) in journal::generations(directory)?.iter().rev() {
        if let Header::Intact(hash_key) = journal::read_header(path)? {
            return Ok(hash_key);
        }
    }
    HashKey::random()
}

fn replay(path: &Path, hash_key: &HashKey, apply: impl FnMut(Write)) -> Result<End, StoreFault> {
    match journal::read_header(path)? {
        Header::Intact(found) if found == *hash_key => journal::replay(path, apply),
        _ => Ok(End::Damaged(0)),
    }
}
