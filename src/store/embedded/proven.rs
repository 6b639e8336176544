//! Proven records: a database on disk, and before it in memory what still waits to be written there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::files;
use crate::store::model::Proven;
use crate::store::table::{KeyMap, Shards, is_forgettable};
use crate::store::{HashKey, Key, StoreFault, Timestamp};

/// The format this version writes, and the newest it reads.
const FORMAT: u32 = 1;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
const META_HASH_KEY: &str = "hash_key";

/// Key to moment of expiry, in milliseconds since the epoch.
const PROVEN: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("proven");

/// Memory the database may use for its pages.
const CACHE_BYTES: usize = 64 << 20;

/// Records that may wait: many minutes of the busiest server. Where so many wait, the database takes none.
const MAX_WAITING: usize = 1_000_000;

/// The proven records.
pub(super) struct ProvenRecords {
    path: PathBuf,
    waiting: Shards<KeyMap<Proven>>,
    waiting_len: AtomicUsize,
    /// The table as of the last commit, kept open because opening it costs more than looking something up.
    committed: ArcSwap<ReadOnlyTable<&'static [u8; 16], u64>>,
    database: Database,
}

impl std::fmt::Debug for ProvenRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProvenRecords").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ProvenRecords {
    /// Opens or creates the database at `path`, and locks it against other processes. Returns the store's hash key with it,
    /// which is `new_hash_key` in a new database. A damaged one is set aside and reported.
    pub(super) fn open(
        path: &Path,
        now: Timestamp,
        new_hash_key: impl FnOnce() -> Result<HashKey, StoreFault>,
    ) -> Result<(Self, HashKey), StoreFault> {
        let database = match open_database(path) {
            Err(error) if is_damage(&error) => {
                let aside = files::set_aside(path, now)?;
                tracing::error!(
                    file = %path.display(), %error, set_aside = %aside.display(),
                    "the database of proven records is damaged; begun anew, so known senders are greylisted once more"
                );
                open_database(path)
            }
            opened => opened,
        };
        let database = database.map_err(|error| database_fault(path, error))?;
        let hash_key = match read_meta(&database, path)? {
            Some(hash_key) => hash_key,
            None => initialise(&database, path, new_hash_key()?)?,
        };
        let committed =
            ArcSwap::from_pointee(committed_table(&database).map_err(|error| database_fault(path, error))?);
        let (waiting, waiting_len) = (Shards::new(KeyMap::default), AtomicUsize::new(0));
        Ok((Self { path: path.to_owned(), waiting, waiting_len, committed, database }, hash_key))
    }

    /// The record of a pair or a triplet.
    pub(super) fn get(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        // In this order: a record leaves `waiting` only when `committed` has it.
        if let Some(record) = self.waiting.lock(key.shard()).get(key) {
            return Ok(Some(*record));
        }
        let found = self.committed.load().get(key.as_bytes()).map_err(|error| self.fault(error))?;
        Ok(found.map(|expires| Proven { expires: Timestamp::from_millis(expires.value()) }))
    }

    /// Fails when so many records wait that no more may be taken.
    pub(super) fn check_room(&self) -> Result<(), StoreFault> {
        match self.waiting_len() {
            waiting if waiting < MAX_WAITING => Ok(()),
            waiting => Err(StoreFault::Behind { path: self.path.clone(), waiting }),
        }
    }

    /// Takes a record, to be written by the next [`Self::flush`].
    pub(super) fn put(&self, key: Key, record: Proven) {
        let mut waiting = self.waiting.lock(key.shard());
        match waiting.get_mut(&key) {
            Some(present) => *present = present.later(record),
            None => {
                waiting.insert(key, record);
                self.waiting_len.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes a record of the journal, unless the database has it already.
    pub(super) fn restore(&self, key: Key, record: Proven) -> Result<(), StoreFault> {
        if self.get(&key)?.is_none_or(|present| present.expires < record.expires) {
            self.put(key, record);
        }
        Ok(())
    }

    /// The records that wait for the database.
    pub(super) fn waiting(&self) -> Vec<(Key, Proven)> {
        let pairs =
            |shard: &KeyMap<Proven>| shard.iter().map(|(key, record)| (*key, *record)).collect::<Vec<_>>();
        self.waiting.each().flat_map(|shard| pairs(&shard)).collect()
    }

    /// How many records wait for the database.
    pub(super) fn waiting_len(&self) -> usize {
        self.waiting_len.load(Ordering::Relaxed)
    }

    /// Records in the database.
    pub(super) fn len(&self) -> Result<u64, StoreFault> {
        self.committed.load().len().map_err(|error| self.fault(error))
    }

    /// Writes all records that wait, in one commit.
    pub(super) fn flush(&self) -> Result<(), StoreFault> {
        let mut batch = self.waiting();
        if batch.is_empty() {
            return Ok(());
        }
        batch.sort_unstable_by_key(|(key, _)| *key);
        self.commit(|table| {
            for (key, record) in &batch {
                table.insert(key.as_bytes(), record.expires.as_millis())?;
            }
            Ok(())
        })?;
        for (key, written) in batch {
            let mut waiting = self.waiting.lock(key.shard());
            if waiting.get(&key) == Some(&written) {
                waiting.remove(&key);
                self.waiting_len.fetch_sub(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Removes what may be forgotten at `now` among the keys that begin with `first_byte`: a 256th of all.
    pub(super) fn sweep(&self, first_byte: u8, now: Timestamp) -> Result<(), StoreFault> {
        let bound = |fill: u8| {
            let mut key = [fill; 16];
            key[0] = first_byte;
            key
        };
        let (first, last) = (bound(0), bound(0xff));
        self.commit(|table| {
            table.retain_in::<&[u8; 16], _>(&first..=&last, |_, expires| {
                !is_forgettable(Timestamp::from_millis(expires), now)
            })
        })
    }

    fn commit(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, &'static [u8; 16], u64>) -> Result<(), redb::StorageError>,
    ) -> Result<(), StoreFault> {
        let try_commit = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            // After a kill the file opens at once, where it would be read as a whole otherwise.
            transaction.set_quick_repair(true);
            change(&mut transaction.open_table(PROVEN)?)?;
            transaction.commit()?;
            self.committed.store(Arc::new(committed_table(&self.database)?));
            Ok(())
        };
        try_commit().map_err(|error| database_fault(&self.path, error))
    }

    fn fault(&self, error: redb::StorageError) -> StoreFault {
        database_fault(&self.path, error.into())
    }
}

fn open_database(path: &Path) -> Result<Database, redb::Error> {
    let mut builder = Database::builder();
    // Checked as a whole: redb trusts what it reads later, and may panic over a file that was altered.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create(path)?)
}

fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) => true,
        redb::Error::Io(error) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

fn database_fault(path: &Path, error: redb::Error) -> StoreFault {
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreFault::InUse { path: path.to_owned() },
        error => StoreFault::Database { path: path.to_owned(), source: Box::new(error) },
    }
}

/// The hash key of a database of ours; `None` for one that was just created.
fn read_meta(database: &Database, path: &Path) -> Result<Option<HashKey>, StoreFault> {
    let try_read = || -> Result<_, redb::Error> {
        let meta = match database.begin_read()?.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            meta => meta?,
        };
        let (format, hash_key) = (meta.get(META_FORMAT)?, meta.get(META_HASH_KEY)?);
        let format = format.and_then(|bytes| Some(u32::from_le_bytes(bytes.value().try_into().ok()?)));
        let hash_key = hash_key.and_then(|bytes| Some(HashKey::from_bytes(bytes.value().try_into().ok()?)));
        Ok(Some((format.unwrap_or_default(), hash_key)))
    };
    match try_read().map_err(|error| database_fault(path, error))? {
        None => Ok(None),
        Some((FORMAT, Some(hash_key))) => Ok(Some(hash_key)),
        Some((found, _)) if found > FORMAT => {
            Err(StoreFault::NewerFormat { path: path.to_owned(), found, known: FORMAT })
        }
        Some(_) => {
            let foreign = redb::Error::Corrupted("the database lacks its format or its hash key".to_owned());
            Err(database_fault(path, foreign))
        }
    }
}

fn initialise(database: &Database, path: &Path, hash_key: HashKey) -> Result<HashKey, StoreFault> {
    let try_write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(PROVEN)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, &FORMAT.to_le_bytes()[..])?;
        meta.insert(META_HASH_KEY, &hash_key.as_bytes()[..])?;
        drop(meta);
        Ok(transaction.commit()?)
    };
    try_write().map_err(|error| database_fault(path, error))?;
    Ok(hash_key)
}

fn committed_table(database: &Database) -> Result<ReadOnlyTable<&'static [u8; 16], u64>, redb::Error> {
    Ok(database.begin_read()?.open_table(PROVEN)?)
}
