//! Opening a store: what is newer is refused, what is damaged or older set aside, and the journal replayed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;

use super::database::Records as Database;
use super::journal::{self, End, Entry, Header, Journal};
use super::running::Running;
use super::{State, files, tag};
use crate::store::model::Write;
use crate::store::{HashKey, StoreFault, Timestamp};

const DATABASE: &str = "greylist.redb";

/// The name of the database of earlier versions.
const OLD_DATABASE: &str = "proven.redb";

impl State {
    pub(super) fn open(directory: &Path, capacity: usize, now: Timestamp) -> Result<Self, StoreFault> {
        files::create_directory(directory)?;
        refuse_newer_formats(directory)?;
        let (database, hash_key) =
            Database::open(&directory.join(DATABASE), now, || new_hash_key(directory))?;
        journal::remove_unfinished(directory)?;
        set_aside_older_formats(directory, now)?;

        let generations = journal::generations(directory)?;
        let running = Running::new(capacity);
        running.reserve(most_clocks(&generations));
        let mut damaged = Vec::new();
        for (generation, path) in &generations {
            let end = match journal::read_header(path)? {
                Header::Intact(found) if found == hash_key => {
                    journal::replay(path, |entry| restore(entry, *generation, &running, &database, now))?
                }
                _ => End::Damaged(0),
            };
            match end {
                End::Whole => {}
                End::CutShort(at) => tracing::warn!(
                    file = %path.display(), byte = at,
                    "the greylist journal ends within an entry, as a kill or a power cut leaves it; all before it was read"
                ),
                End::Damaged(at) => damaged.push((path.as_path(), at)),
            }
        }

        let replacement = generations.last().map_or(0, |(newest, _)| newest + 1);
        let journal = Journal::begin(directory, hash_key, replacement + 1)?;
        let releases = ArcSwap::from_pointee(database.releases()?);
        let state = Self {
            directory: directory.to_owned(),
            hash_key,
            running,
            releases,
            releasing: Mutex::new(()),
            database,
            journal,
            proven: AtomicU64::new(0),
            now: AtomicU64::new(now.as_millis()),
            journal_seen: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            removals: AtomicU64::new(0),
        };
        if !damaged.is_empty() {
            state.settle()?;
            state.replace_generations(replacement, now, &damaged)?;
        }
        Ok(state)
    }
}

/// As many clocks as the journal has at most.
fn most_clocks(generations: &[(u64, PathBuf)]) -> usize {
    let lens = generations.iter().filter_map(|(_, path)| path.metadata().ok()).map(|metadata| metadata.len());
    usize::try_from(lens.sum::<u64>() / journal::CLOCK_LEN).unwrap_or(usize::MAX)
}

fn restore(
    entry: Entry,
    generation: u64,
    running: &Running,
    database: &Database,
    now: Timestamp,
) -> Result<(), StoreFault> {
    match entry {
        Entry::Write(Write::Begin(key, clock)) => {
            running.shard_of(&key).clocks.begin(key, clock, tag(generation), now);
        }
        Entry::Write(Write::End(key)) => running.shard_of(&key).clocks.end(&key),
        Entry::Write(Write::Prove(key, proof)) => database.restore(key, proof)?,
        Entry::Write(Write::Stand(identity, standing)) => database.stand(identity, standing),
        Entry::Forget(key) => database.forget(&[key]),
    }
    Ok(())
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

/// Keys were made by other rules then: nothing of it would ever be found again.
fn set_aside_older_formats(directory: &Path, now: Timestamp) -> Result<(), StoreFault> {
    let mut old = Vec::new();
    for (_, path) in journal::generations(directory)? {
        if matches!(journal::read_header(&path)?, Header::Older(_)) {
            old.push(path);
        }
    }
    old.push(directory.join(OLD_DATABASE));
    for path in old.into_iter().filter(|path| path.exists()) {
        let aside = files::set_aside(&path, "old", now)?;
        tracing::warn!(
            file = %path.display(), set_aside = %aside.display(),
            "an earlier version of Greylag wrote this, with other keys; begun anew, so known senders are greylisted once more"
        );
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
