//! Proofs, standings and releases: a database on disk, and before it in memory what still waits to be written there.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata, StorageError, TableDefinition,
    TransactionError, WriteTransaction,
};

use super::encoding;
use super::files;
use super::filter::Filter;
use crate::store::model::{Proofs, Proven, Standing, Standings};
use crate::store::table::{KeyMap, Shards, is_forgettable, lock};
use crate::store::{HashKey, IdentityKey, Key, QueryKeys, StoreFault, Timestamp};

/// The format this version writes, and the newest it reads.
const FORMAT: u32 = 3;

/// The format before, which had longer standings. They are read as they are, and shorter when they are next written.
const LONG_STANDINGS: u32 = 2;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
const META_HASH_KEY: &str = "hash_key";

/// Key to moment of expiry, in milliseconds since the epoch.
const PROVEN: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("proven");

/// Identity to standing.
const STANDINGS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("standings");

/// Key to moment of expiry.
const RELEASES: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("releases");

/// Memory the database may use for its pages. The system keeps the file in memory, too, where there is room.
const CACHE_BYTES: usize = 32 << 20;

/// Records that may wait: many minutes of the busiest server. Where so many wait, the database takes none.
const MAX_WAITING: usize = 1_000_000;

/// The database.
pub(super) struct Records {
    path: PathBuf,
    /// `None`: forgotten.
    proofs: Shards<KeyMap<Option<Proven>>>,
    /// How many proofs wait, without those forgotten.
    waiting: AtomicUsize,
    standings: Shards<KeyMap<Option<Standing>>>,
    /// Held by who writes out what waits: nobody else may have written a later state of a record meanwhile.
    flushing: Mutex<()>,
    /// Which keys of proofs and standings neither wait nor were ever committed.
    filter: Filter,
    /// The tables as of the last commit, kept open because opening one costs more than looking something up.
    committed: ArcSwap<Committed>,
    /// How often `committed` was replaced. It is counted before what was committed leaves what waits.
    commits: AtomicU64,
    /// `None` while it could not be opened anew.
    database: Mutex<Option<Database>>,
    /// Opens it.
    open: Opener,
}

/// How a database is opened.
pub(super) type Opener = fn(&Path) -> Result<Database, redb::Error>;

/// When an attempt looked at the database before it locked its clocks, and what it found: nothing of that has to be read from the disk
/// again while others wait for them.
#[derive(Debug)]
pub(super) struct Glance {
    commits: u64,
    standings: [Option<(IdentityKey, Option<Standing>)>; 2],
}

struct Committed {
    proofs: ReadOnlyTable<&'static [u8; 16], u64>,
    standings: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Records {
    /// Opens or creates the database at `path`, and locks it against other processes. Returns the store's hash key with it,
    /// which is `new_hash_key` in a new database. A damaged one is set aside and reported.
    pub(super) fn open(
        path: &Path,
        now: Timestamp,
        new_hash_key: impl FnOnce() -> Result<HashKey, StoreFault>,
    ) -> Result<(Self, HashKey), StoreFault> {
        Self::open_by(open_database, path, now, new_hash_key)
    }

    /// The same by `open`.
    pub(super) fn open_by(
        open: Opener,
        path: &Path,
        now: Timestamp,
        new_hash_key: impl FnOnce() -> Result<HashKey, StoreFault>,
    ) -> Result<(Self, HashKey), StoreFault> {
        let database = match open(path) {
            Err(error) if is_damage(&error) => {
                let aside = files::set_aside(path, "damaged", now)?;
                tracing::error!(
                    file = %path.display(), %error, set_aside = %aside.display(),
                    "the database of proven records is damaged; begun anew, so known senders are greylisted once more"
                );
                open(path)
            }
            opened => opened,
        };
        let database = database.map_err(|error| database_fault(path, error))?;
        let hash_key = match read_meta(&database, path)? {
            Some(hash_key) => hash_key,
            None => initialise(&database, path, new_hash_key()?)?,
        };
        let committed = Committed::open(&database).map_err(|error| database_fault(path, error))?;
        let filter = committed.filter().map_err(|error| database_fault(path, error.into()))?;
        let records = Self {
            path: path.to_owned(),
            proofs: Shards::new(KeyMap::default),
            waiting: AtomicUsize::new(0),
            standings: Shards::new(KeyMap::default),
            flushing: Mutex::new(()),
            filter,
            committed: ArcSwap::from_pointee(committed),
            commits: AtomicU64::new(0),
            database: Mutex::new(Some(database)),
            open,
        };
        Ok((records, hash_key))
    }

    /// Fails when so many records wait that no more may be taken.
    pub(super) fn check_room(&self) -> Result<(), StoreFault> {
        match self.waiting() {
            waiting if waiting < MAX_WAITING => Ok(()),
            waiting => Err(StoreFault::Behind { path: self.path.clone(), waiting }),
        }
    }

    /// Takes a proof, to be written by the next [`Self::flush`].
    pub(super) fn prove(&self, key: Key, proof: Proven) {
        self.filter.insert(&key);
        let mut proofs = self.proofs.lock(key.shard());
        let waiting = proofs.entry(key).or_default();
        match waiting {
            Some(present) => *present = present.later(proof),
            None => {
                *waiting = Some(proof);
                self.waiting.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes a proof of the journal, unless the database has it already.
    pub(super) fn restore(&self, key: Key, proof: Proven) -> Result<(), StoreFault> {
        if self.proven(&key)?.is_none_or(|present| present.expires < proof.expires) {
            self.prove(key, proof);
        }
        Ok(())
    }

    /// A glance at the database, to be taken before anything is read that need not be read again under a lock.
    pub(super) fn glance(&self) -> Glance {
        Glance { commits: self.commits.load(Ordering::Acquire), standings: [None; 2] }
    }

    /// Reads the standings of these identities, of which an attempt has two at most, but for those that wait.
    pub(super) fn glance_at(
        &self,
        glance: &mut Glance,
        identities: impl Iterator<Item = IdentityKey>,
    ) -> Result<(), StoreFault> {
        for (place, identity) in glance.standings.iter_mut().zip(identities) {
            if self.may_have_standing(&identity) && self.waiting_standing(&identity).is_none() {
                *place = Some((identity, self.committed_standing(&identity)?));
            }
        }
        Ok(())
    }

    /// What was committed is as it was at this glance. To be asked after what waits.
    fn is_unchanged_since(&self, glance: &Glance) -> bool {
        self.commits.load(Ordering::Acquire) == glance.commits
    }

    /// The proof under a key for which none was found, that is good still, after `glance`.
    pub(super) fn proven_since(&self, glance: &Glance, key: &Key) -> Result<Option<Proven>, StoreFault> {
        if !self.filter.may_have(key) {
            return Ok(None);
        }
        match self.waiting_proof(key) {
            None if self.is_unchanged_since(glance) => Ok(None),
            None => self.committed_proof(key),
            Some(waiting) => Ok(waiting),
        }
    }

    /// The standing of an identity, without reading it where `glance` has it.
    pub(super) fn standing_since(
        &self,
        glance: &Glance,
        identity: &IdentityKey,
    ) -> Result<Option<Standing>, StoreFault> {
        if !self.may_have_standing(identity) {
            return Ok(None);
        }
        if let Some(waiting) = self.waiting_standing(identity) {
            return Ok(waiting);
        }
        let read = glance.standings.iter().flatten().find(|(read, _)| read == identity);
        match read {
            Some((_, found)) if self.is_unchanged_since(glance) => Ok(*found),
            _ => self.committed_standing(identity),
        }
    }

    fn waiting_proof(&self, key: &Key) -> Option<Option<Proven>> {
        self.proofs.lock(key.shard()).get(key).copied()
    }

    fn committed_proof(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        // Kept while what is found is looked at: without it, redb may give the page to somebody else.
        let committed = self.committed.load();
        let found = committed.proofs.get(key.as_bytes()).map_err(|error| self.fault(error))?;
        Ok(found.map(|expires| Proven { expires: Timestamp::from_millis(expires.value()) }))
    }

    fn may_have_standing(&self, identity: &IdentityKey) -> bool {
        self.filter.may_have(&identity.as_key())
    }

    fn waiting_standing(&self, identity: &IdentityKey) -> Option<Option<Standing>> {
        let key = identity.as_key();
        self.standings.lock(key.shard()).get(&key).copied()
    }

    fn committed_standing(&self, identity: &IdentityKey) -> Result<Option<Standing>, StoreFault> {
        let committed = self.committed.load();
        let found = committed.standings.get(identity.as_bytes()).map_err(|error| self.fault(error))?;
        Ok(found.and_then(|bytes| encoding::stored_standing(bytes.value())))
    }

    /// Takes a standing, to be written by the next [`Self::flush`].
    pub(super) fn stand(&self, identity: IdentityKey, standing: Option<Standing>) {
        let key = identity.as_key();
        self.filter.insert(&key);
        self.standings.lock(key.shard()).insert(key, standing);
    }

    /// How many proofs wait for the database.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many proofs the database has, and those that wait.
    pub(super) fn proofs(&self) -> Result<u64, StoreFault> {
        let written = self.committed.load().proofs.len().map_err(|error| self.fault(error))?;
        Ok(written + self.waiting() as u64)
    }

    /// How many standings the database has.
    pub(super) fn standings(&self) -> Result<u64, StoreFault> {
        self.committed.load().standings.len().map_err(|error| self.fault(error))
    }

    /// Writes out all that waits, in one commit.
    pub(super) fn flush(&self) -> Result<(), StoreFault> {
        let _flushing = lock(&self.flushing);
        let mut proofs: Vec<(Key, Option<Proven>)> = Vec::new();
        for shard in self.proofs.each() {
            proofs.extend(shard.iter().map(|(key, proof)| (*key, *proof)));
        }
        let mut standings: Vec<(Key, Option<Standing>)> = Vec::new();
        for shard in self.standings.each() {
            standings.extend(shard.iter().map(|(identity, standing)| (*identity, *standing)));
        }
        if proofs.is_empty() && standings.is_empty() {
            return Ok(());
        }
        proofs.sort_unstable_by_key(|(key, _)| *key);
        standings.sort_unstable_by_key(|(identity, _)| *identity);
        self.commit(|transaction| {
            let mut table = transaction.open_table(PROVEN)?;
            for (key, proof) in &proofs {
                match proof {
                    Some(proof) => table.insert(key.as_bytes(), proof.expires.as_millis())?,
                    None => table.remove(key.as_bytes())?,
                };
            }
            let mut table = transaction.open_table(STANDINGS)?;
            for (identity, standing) in &standings {
                match standing {
                    Some(standing) => {
                        table.insert(identity.as_bytes(), &encoding::of_stored_standing(standing)[..])?
                    }
                    None => table.remove(identity.as_bytes())?,
                };
            }
            Ok(())
        })?;
        for (key, written) in proofs {
            let mut shard = self.proofs.lock(key.shard());
            if shard.get(&key) == Some(&written) {
                shard.remove(&key);
                self.waiting.fetch_sub(usize::from(written.is_some()), Ordering::Relaxed);
            }
        }
        for (identity, written) in standings {
            let mut shard = self.standings.lock(identity.shard());
            if shard.get(&identity) == Some(&written) {
                shard.remove(&identity);
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
        self.commit(|transaction| {
            let mut table = transaction.open_table(PROVEN)?;
            table.retain_in::<&[u8; 16], _>(&first..=&last, |_, expires| {
                !is_forgettable(Timestamp::from_millis(expires), now)
            })?;
            let mut table = transaction.open_table(STANDINGS)?;
            table.retain_in::<&[u8; 16], _>(&first..=&last, |_, bytes| {
                encoding::stored_standing(bytes)
                    .is_some_and(|standing| !is_forgettable(standing.expires, now))
            })?;
            Ok(())
        })
    }

    /// The proofs that are wanted.
    pub(super) fn find(&self, wanted: &QueryKeys) -> Result<Vec<(Key, Proven)>, StoreFault> {
        let mut found: KeyMap<Option<Proven>> = KeyMap::default();
        // In this order, too.
        for shard in self.proofs.each() {
            found.extend(
                shard.iter().filter(|(key, _)| key.matches(wanted)).map(|(key, proof)| (*key, *proof)),
            );
        }
        let (first, last) = wanted.bounds();
        let committed = self.committed.load();
        let range = committed.proofs.range::<&[u8; 16]>(first.as_bytes()..=last.as_bytes());
        for entry in range.map_err(|error| self.fault(error))? {
            let (key, expires) = entry.map_err(|error| self.fault(error))?;
            let key = Key::from_bytes(*key.value());
            if key.matches(wanted) {
                let expires = Timestamp::from_millis(expires.value());
                found.entry(key).or_insert(Some(Proven { expires }));
            }
        }
        Ok(found.into_iter().filter_map(|(key, proof)| Some((key, proof?))).collect())
    }

    /// Forgets proofs, which the next [`Self::flush`] removes from the database.
    pub(super) fn forget(&self, keys: &[Key]) {
        for key in keys {
            if let Some(Some(_)) = self.proofs.lock(key.shard()).insert(*key, None) {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// The rules of release.
    pub(super) fn releases(&self) -> Result<HashMap<Key, Timestamp>, StoreFault> {
        let try_read = || -> Result<HashMap<Key, Timestamp>, redb::Error> {
            let mut releases = HashMap::new();
            let mut database = lock(&self.database);
            let (database, _) = self.begin(&mut database)?;
            for entry in database.begin_read()?.open_table(RELEASES)?.range::<&[u8; 16]>(..)? {
                let (key, expires) = entry?;
                releases.insert(Key::from_bytes(*key.value()), Timestamp::from_millis(expires.value()));
            }
            Ok(releases)
        };
        try_read().map_err(|error| database_fault(&self.path, error))
    }

    /// Writes these rules of release, and no others.
    pub(super) fn write_releases(&self, releases: &HashMap<Key, Timestamp>) -> Result<(), StoreFault> {
        self.commit(|transaction| {
            let mut table = transaction.open_table(RELEASES)?;
            table.retain(|key, _| releases.contains_key(&Key::from_bytes(*key)))?;
            for (key, expires) in releases {
                table.insert(key.as_bytes(), expires.as_millis())?;
            }
            Ok(())
        })
    }

    /// Opens the database anew if a read or a write of it failed.
    pub(super) fn mend(&self) -> Result<(), StoreFault> {
        let begun = self.begin(&mut lock(&self.database)).map(drop);
        begun.map_err(|error| database_fault(&self.path, error))
    }

    fn commit(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreFault> {
        let mut database = lock(&self.database);
        let try_commit = |database: &mut Option<Database>| -> Result<(), redb::Error> {
            let (database, mut transaction) = self.begin(database)?;
            // After a kill the file opens at once, where it would be read as a whole otherwise.
            transaction.set_quick_repair(true);
            change(&transaction)?;
            transaction.commit()?;
            self.look_at(database)
        };
        try_commit(&mut database).map_err(|error| {
            // At once, as a disk that takes no writes may well be read. If it may not, whoever comes next tries again.
            let _ = self.begin(&mut database);
            database_fault(&self.path, error)
        })
    }

    /// Begins to write to the database, which is opened anew where it has to be: once a read or a write failed, redb does neither until
    /// the database is closed. The file stays where it is, whatever is wrong with it: what failed is the disk.
    fn begin<'a>(
        &self,
        database: &'a mut Option<Database>,
    ) -> Result<(&'a Database, WriteTransaction), redb::Error> {
        if let Some(Err(TransactionError::Storage(StorageError::PreviousIo))) =
            database.as_ref().map(Database::begin_write)
        {
            // Before it is opened anew, as it has the file locked.
            *database = None;
        }
        let database = match database {
            Some(database) => database,
            None => {
                let opened = (self.open)(&self.path)?;
                self.look_at(&opened)?;
                database.insert(opened)
            }
        };
        let transaction = database.begin_write()?;
        Ok((database, transaction))
    }

    /// Has everybody read from `database` as it is now.
    fn look_at(&self, database: &Database) -> Result<(), redb::Error> {
        self.committed.store(Arc::new(Committed::open(database)?));
        self.commits.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// How often what was committed was replaced.
    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    fn fault(&self, error: StorageError) -> StoreFault {
        database_fault(&self.path, error.into())
    }
}

impl Proofs for Records {
    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        if !self.filter.may_have(key) {
            return Ok(None);
        }
        // In this order: a record leaves what waits only when `committed` has it.
        self.waiting_proof(key).map_or_else(|| self.committed_proof(key), Ok)
    }
}

impl Standings for Records {
    fn standing(&self, identity: &IdentityKey) -> Result<Option<Standing>, StoreFault> {
        if !self.may_have_standing(identity) {
            return Ok(None);
        }
        // In this order, too.
        self.waiting_standing(identity).map_or_else(|| self.committed_standing(identity), Ok)
    }
}

impl Committed {
    fn open(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        Ok(Self { proofs: transaction.open_table(PROVEN)?, standings: transaction.open_table(STANDINGS)? })
    }

    /// A filter that has all keys.
    fn filter(&self) -> Result<Filter, StorageError> {
        let filter = Filter::new(self.proofs.len()? + self.standings.len()?);
        for entry in self.proofs.range::<&[u8; 16]>(..)? {
            filter.insert(&Key::from_bytes(*entry?.0.value()));
        }
        for entry in self.standings.range::<&[u8; 16]>(..)? {
            filter.insert(&Key::from_bytes(*entry?.0.value()));
        }
        Ok(filter)
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
        Some((LONG_STANDINGS, Some(hash_key))) => {
            upgrade(database).map_err(|error| database_fault(path, error))?;
            Ok(Some(hash_key))
        }
        Some((found, _)) if found > FORMAT => {
            Err(StoreFault::NewerFormat { path: path.to_owned(), found, known: FORMAT })
        }
        Some(_) => {
            let foreign = redb::Error::Corrupted("the database lacks its format or its hash key".to_owned());
            Err(database_fault(path, foreign))
        }
    }
}

/// From now on it has what only this version reads.
fn upgrade(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(META_FORMAT, &FORMAT.to_le_bytes()[..])?;
    Ok(transaction.commit()?)
}

fn initialise(database: &Database, path: &Path, hash_key: HashKey) -> Result<HashKey, StoreFault> {
    let try_write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(PROVEN)?;
        transaction.open_table(STANDINGS)?;
        transaction.open_table(RELEASES)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, &FORMAT.to_le_bytes()[..])?;
        meta.insert(META_HASH_KEY, &hash_key.as_bytes()[..])?;
        drop(meta);
        Ok(transaction.commit()?)
    };
    try_write().map_err(|error| database_fault(path, error))?;
    Ok(hash_key)
}
