//! The journal: every change of the greylist, appended before it is answered.
//!
//! It is a row of files, `journal-NUMBER`, its generations. Each has a header of 32 bytes (magic, format, hash key, CRC), then
//! entries (kind, key, fields by kind, CRC); numbers are little-endian. Generations are replayed in ascending order. So the oldest
//! may be dropped once none of their clocks runs and their proofs are in the database; and several may be replaced by one with
//! what is left of them, under a number after theirs.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smallvec::SmallVec;

use super::encoding::{self, Reader, STANDING_LEN, Writer};
use super::files::{self, fault};
use super::turn::Turn;
use crate::store::model::{Clock, Proven, Write};
use crate::store::table::lock;
use crate::store::{HashKey, IdentityKey, Key, NetworkKey, StoreFault};

/// The format this version writes, and the only one it reads.
pub(super) const FORMAT: u32 = 2;

const MAGIC: &[u8; 8] = b"greyjrnl";
const NAME: &str = "journal-";
const HEADER_LEN: usize = 32;

/// Size of the entry of a clock that begins, in bytes.
pub(super) const CLOCK_LEN: u64 = (1 + 16 + CLOCK_FIELDS + 4) as u64;

const CLOCK_FIELDS: usize = 8 + 4 + 8;
const MAX_ENTRY_LEN: usize = 1 + 16 + STANDING_LEN + 4;

/// Room for the entries of what is commonly written at once.
const USUAL_LEN: usize = 4096;

/// So many bytes may wait for the disk: more than a second of the busiest server.
const MAX_QUEUED: u64 = 16 << 20;

/// The entries of what an attempt commonly writes.
type Entries = SmallVec<[u8; 6 * CLOCK_LEN as usize]>;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// What an attempt wrote.
    Write(Write),
    /// Somebody had a proof forgotten.
    Forget(Key),
}

/// The generation being appended to, and what waits to be.
///
/// Attempts queue their changes in the order in which memory has them, under a lock held for as long as it takes to copy them. They
/// are written by the first who then wants to be sure of its own: all at once, while others go on. Whoever comes meanwhile waits for
/// the end of that write, without a thread that waits with it.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    hash_key: HashKey,
    /// Whoever has its turn may take the lock of the queue, not the other way round.
    current: Turn<Current>,
    queue: Mutex<Queue>,
    /// Where the queue ends.
    queued: AtomicU64,
    /// How much of all that was ever queued is in a file.
    written: AtomicU64,
    /// The last write failed.
    failing: AtomicBool,
}

/// How much was queued until a moment, in bytes since the journal was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Place {
    /// Nothing was queued yet.
    pub(super) const START: Self = Self(0);
}

/// Changes that are not in the file.
#[derive(Debug)]
struct Queue {
    /// The generation they will be in.
    generation: u64,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Current {
    generation: u64,
    file: Arc<File>,
    /// Bytes that are whole entries.
    len: u64,
    /// Bytes that are on the disk for sure.
    synced: u64,
    /// A write failed halfway: what stands behind `len` has to go before anything is appended.
    torn: bool,
    /// What is being appended; kept where that failed.
    bytes: Vec<u8>,
}

impl Journal {
    /// Begins generation `generation`, which must not exist.
    pub(super) fn begin(directory: &Path, hash_key: HashKey, generation: u64) -> Result<Self, StoreFault> {
        Ok(Self {
            directory: directory.to_owned(),
            hash_key,
            current: Turn::new(Current::begin(directory, &hash_key, generation)?),
            queue: Mutex::new(Queue { generation, bytes: Vec::with_capacity(USUAL_LEN) }),
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        })
    }

    /// Queues `entries`, to be written together. Returns the generation they will be in.
    pub(super) fn queue(&self, entries: impl Iterator<Item = Entry>) -> u64 {
        let mut bytes = Entries::new();
        entries.for_each(|entry| encode(&entry, &mut bytes));
        let mut queue = lock(&self.queue);
        queue.bytes.extend_from_slice(&bytes);
        self.queued.fetch_add(bytes.len() as u64, Ordering::Release);
        queue.generation
    }

    /// Where the queue ends now.
    pub(super) fn queued(&self) -> Place {
        Place(self.queued.load(Ordering::Acquire))
    }

    /// Fails as long as what is queued cannot be written, or very much is. So no more is queued where a disk fails than was under way
    /// when that began, and not without bounds where it hangs.
    pub(super) fn check(&self) -> Result<(), StoreFault> {
        let place = self.queued();
        if self.failing.load(Ordering::Acquire) {
            return self.try_write(place).unwrap_or_else(|| Err(self.stalled()));
        }
        let waiting = place.0.saturating_sub(self.written.load(Ordering::Acquire));
        if waiting <= MAX_QUEUED { Ok(()) } else { Err(self.stalled()) }
    }

    /// What is said where the disk hangs.
    fn stalled(&self) -> StoreFault {
        StoreFault::Stalled { path: self.path(lock(&self.queue).generation) }
    }

    /// Returns once all that was queued before `place` is in the file, which a kill of the process does not undo.
    pub(super) fn write(&self, place: Place) -> Result<(), StoreFault> {
        if self.has_written(place) {
            Ok(())
        } else {
            self.current.wait(|current| self.write_queue(place, current))
        }
    }

    /// The same, unless that takes longer than a moment because somebody else writes.
    pub(super) fn try_write(&self, place: Place) -> Option<Result<(), StoreFault>> {
        if self.has_written(place) {
            return Some(Ok(()));
        }
        self.current.attempt(|current| self.write_queue(place, current))
    }

    /// The same, however long it takes, without a thread that waits.
    pub(super) async fn written(&self, place: Place) -> Result<(), StoreFault> {
        self.current.until(|| self.try_write(place)).await
    }

    /// Whether all that was queued before `place` is in the file, and the last write did not fail.
    pub(super) fn keeps_up_with(&self, place: Place) -> bool {
        self.has_written(place) && !self.failing.load(Ordering::Acquire)
    }

    fn has_written(&self, place: Place) -> bool {
        self.written.load(Ordering::Acquire) >= place.0
    }

    fn write_queue(&self, place: Place, current: &mut Current) -> Result<(), StoreFault> {
        // Meanwhile somebody may have written it with his own.
        if self.has_written(place) {
            return Ok(());
        }
        current.take(&mut lock(&self.queue));
        self.write_taken(current)
    }

    /// Writes what was taken from the queue.
    fn write_taken(&self, current: &mut Current) -> Result<(), StoreFault> {
        let written = current.write();
        self.failing.store(written.is_err(), Ordering::Release);
        let len = written.map_err(|error| fault("append to", &self.path(current.generation))(error))?;
        self.written.fetch_add(len, Ordering::Release);
        Ok(())
    }

    /// Waits until what was queued is on the disk.
    pub(super) fn sync(&self) -> Result<(), StoreFault> {
        self.write(self.queued())?;
        let unsynced = self.current.wait(|current| {
            let is_synced = current.synced == current.len;
            (!is_synced).then(|| (Arc::clone(&current.file), current.generation, current.len))
        });
        let Some((file, generation, len)) = unsynced else { return Ok(()) };
        file.sync_data().map_err(|error| fault("sync", &self.path(generation))(error))?;
        self.current.wait(|current| {
            if current.generation == generation {
                current.synced = len;
            }
        });
        Ok(())
    }

    /// Size of the current generation in bytes.
    pub(super) fn len(&self) -> u64 {
        self.current.wait(|current| current.len)
    }

    /// Number of the current generation.
    pub(super) fn generation(&self) -> u64 {
        lock(&self.queue).generation
    }

    /// Begins a new generation. The number before it is left free, for a file that replaces all earlier ones.
    pub(super) fn rotate(&self) -> Result<u64, StoreFault> {
        let generation = self.generation();
        let next = Current::begin(&self.directory, &self.hash_key, generation + 2)?;
        let last = self.current.wait(|current| {
            // Before the lock is held: attempts would wait for the disk with it. What is left then is little.
            current.take(&mut lock(&self.queue));
            self.write_taken(current)?;
            let mut queue = lock(&self.queue);
            current.take(&mut queue);
            self.write_taken(current)?;
            queue.generation = next.generation;
            Ok::<_, StoreFault>(std::mem::replace(current, next))
        })?;
        last.file.sync_data().map_err(|error| fault("sync", &self.path(generation))(error))?;
        Ok(generation + 1)
    }

    /// Writes a whole generation at once.
    pub(super) fn write_generation(
        &self,
        generation: u64,
        write: impl FnOnce(&mut GenerationWriter<'_, '_>) -> Result<(), StoreFault>,
    ) -> Result<(), StoreFault> {
        let mut fault_within = None;
        let written = files::create(&self.path(generation), |file| {
            file.write_all(&header(&self.hash_key))?;
            let mut writer = GenerationWriter { file, bytes: Entries::new() };
            write(&mut writer).map_err(|fault| {
                fault_within = Some(fault);
                io::Error::other("another file failed")
            })
        });
        match fault_within {
            Some(fault) => Err(fault),
            None => written.map(drop),
        }
    }

    fn path(&self, generation: u64) -> PathBuf {
        generation_path(&self.directory, generation)
    }
}

/// A generation that is being written.
pub(super) struct GenerationWriter<'a, 'b> {
    file: &'a mut BufWriter<&'b File>,
    bytes: Entries,
}

impl GenerationWriter<'_, '_> {
    pub(super) fn push(&mut self, entry: &Entry) -> io::Result<()> {
        self.bytes.clear();
        encode(entry, &mut self.bytes);
        self.file.write_all(&self.bytes)
    }
}

impl Current {
    fn begin(directory: &Path, hash_key: &HashKey, generation: u64) -> Result<Self, StoreFault> {
        let file =
            files::create(&generation_path(directory, generation), |file| file.write_all(&header(hash_key)))?;
        let len = HEADER_LEN as u64;
        let bytes = Vec::with_capacity(USUAL_LEN);
        Ok(Self { generation, file: Arc::new(file), len, synced: len, torn: false, bytes })
    }

    /// Takes what is queued, to be written.
    fn take(&mut self, queue: &mut Queue) {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, &mut queue.bytes);
        } else {
            self.bytes.append(&mut queue.bytes);
        }
    }

    /// Writes what was taken, by one `write`. Returns how many bytes that were.
    fn write(&mut self) -> io::Result<u64> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.torn = false;
        }
        self.torn = true;
        (&*self.file).write_all(&self.bytes)?;
        self.torn = false;
        let len = self.bytes.len() as u64;
        self.len += len;
        self.bytes.clear();
        // Whoever had very much forgotten is not to be remembered by it.
        self.bytes.shrink_to(USUAL_LEN);
        Ok(len)
    }
}

/// The generations in a directory, in the order in which they are replayed.
pub(super) fn generations(directory: &Path) -> Result<Vec<(u64, PathBuf)>, StoreFault> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix(NAME)?.parse::<u64>().ok();
    let mut found: Vec<_> =
        files::list(directory)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort();
    Ok(found)
}

/// Removes generations that were being written when the process died. Nothing else in the directory is ours to remove.
pub(super) fn remove_unfinished(directory: &Path) -> Result<(), StoreFault> {
    let unfinished = |path: &PathBuf| {
        let number = path.file_stem()?.to_str()?.strip_prefix(NAME)?.parse().ok()?;
        (*path == files::temporary(&generation_path(directory, number)) && path.is_file()).then_some(())
    };
    files::list(directory)?
        .iter()
        .filter(|path| unfinished(path).is_some())
        .try_for_each(|path| files::remove(path))
}

/// What the header of a generation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Keys of the entries are made with this hash key.
    Intact(HashKey),
    /// A later version wrote it.
    Newer(u32),
    /// An earlier version wrote it, whose keys were made by other rules.
    Older(u32),
    /// Not readable.
    Damaged,
}

/// Reads the header of the generation at `path`.
pub(super) fn read_header(path: &Path) -> Result<Header, StoreFault> {
    File::open(path).and_then(|mut file| Header::read(&mut file)).map_err(fault("read", path))
}

impl Header {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut bytes = [0; HEADER_LEN];
        if !fill(from, &mut bytes)? || !checksum_holds(&bytes) {
            return Ok(Self::Damaged);
        }
        let mut reader = Reader(&bytes);
        let (magic, format, key) = (reader.take::<8>(), reader.take().map(u32::from_le_bytes), reader.take());
        Ok(match (magic, format, key) {
            (Some(magic), _, _) if magic != *MAGIC => Self::Damaged,
            (_, Some(FORMAT), Some(key)) => Self::Intact(HashKey::from_bytes(key)),
            (_, Some(format), _) if format > FORMAT => Self::Newer(format),
            (_, Some(format), _) => Self::Older(format),
            _ => Self::Damaged,
        })
    }
}

/// How far a generation could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// To its end.
    Whole,
    /// Up to this byte, where an entry begins that the file ends within: what a kill leaves of a `write` under way, which was not
    /// answered yet.
    CutShort(u64),
    /// Up to this byte, where something stands that is no entry.
    Damaged(u64),
}

/// Replays the generation at `path`: every entry up to its end, or to the first that is damaged.
pub(super) fn replay(
    path: &Path,
    mut apply: impl FnMut(Entry) -> Result<(), StoreFault>,
) -> Result<End, StoreFault> {
    let file = File::open(path).map_err(fault("read", path))?;
    let mut entries = Reading { from: BufReader::with_capacity(1 << 18, file), at: 0 };
    loop {
        match entries.next().map_err(fault("read", path))? {
            Next::Entry(entry) => apply(entry)?,
            Next::End(end) => return Ok(end),
        }
    }
}

/// Reads entries one after the other.
struct Reading<R> {
    from: R,
    at: u64,
}

enum Next {
    Entry(Entry),
    End(End),
}

impl<R: Read> Reading<R> {
    fn next(&mut self) -> io::Result<Next> {
        if self.at == 0 {
            let Header::Intact(_) = Header::read(&mut self.from)? else {
                return Ok(Next::End(End::Damaged(0)));
            };
            self.at = HEADER_LEN as u64;
        }
        let mut bytes = [0; MAX_ENTRY_LEN];
        let (kind, rest) = bytes.split_at_mut(1);
        if !fill(&mut self.from, kind)? {
            return Ok(Next::End(End::Whole));
        }
        let damaged = Next::End(End::Damaged(self.at));
        let Some(fields) = kind.first().and_then(|kind| fields_of(*kind)) else { return Ok(damaged) };
        let len = 16 + fields + 4;
        let Some(rest) = rest.get_mut(..len) else { return Ok(damaged) };
        if !fill(&mut self.from, rest)? {
            return Ok(Next::End(End::CutShort(self.at)));
        }
        let Some(entry) = bytes.get(..1 + len).and_then(decode) else { return Ok(damaged) };
        self.at += 1 + len as u64;
        Ok(Next::Entry(entry))
    }
}

fn generation_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("{NAME}{generation:08}"))
}

fn header(hash_key: &HashKey) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    let mut writer = Writer { bytes: &mut bytes, at: 0 };
    writer.put(MAGIC);
    writer.put(&FORMAT.to_le_bytes());
    writer.put(hash_key.as_bytes());
    sign(&mut bytes);
    bytes
}

const BEGIN: u8 = 1;
const END: u8 = 2;
const PROVE: u8 = 3;
const STAND: u8 = 4;
const FALL: u8 = 5;
const FORGET: u8 = 6;

/// Bytes of the fields that follow the key of an entry of this kind.
const fn fields_of(kind: u8) -> Option<usize> {
    Some(match kind {
        BEGIN => CLOCK_FIELDS,
        END | FALL | FORGET => 0,
        PROVE => 8,
        STAND => STANDING_LEN,
        _ => return None,
    })
}

fn encode(entry: &Entry, to: &mut Entries) {
    let mut bytes = [0; MAX_ENTRY_LEN];
    let mut writer = Writer { bytes: &mut bytes, at: 0 };
    match entry {
        Entry::Write(Write::Begin(key, clock)) => {
            writer.put(&[BEGIN]);
            writer.put(key.as_bytes());
            writer.put(&clock.first_seen.as_millis().to_le_bytes());
            writer.put(&u32::try_from(clock.lasts.as_secs()).unwrap_or(u32::MAX).to_le_bytes());
            writer.put(&clock.network.map_or(0, NetworkKey::number).to_le_bytes());
        }
        Entry::Write(Write::End(key)) => {
            writer.put(&[END]);
            writer.put(key.as_bytes());
        }
        Entry::Write(Write::Prove(key, proof)) => {
            writer.put(&[PROVE]);
            writer.put(key.as_bytes());
            writer.put(&proof.expires.as_millis().to_le_bytes());
        }
        Entry::Write(Write::Stand(identity, Some(standing))) => {
            writer.put(&[STAND]);
            writer.put(identity.as_bytes());
            encoding::put_standing(standing, &mut writer);
        }
        Entry::Write(Write::Stand(identity, None)) => {
            writer.put(&[FALL]);
            writer.put(identity.as_bytes());
        }
        Entry::Forget(key) => {
            writer.put(&[FORGET]);
            writer.put(key.as_bytes());
        }
    }
    let len = writer.at + 4;
    if let Some(bytes) = bytes.get_mut(..len) {
        sign(bytes);
        to.extend_from_slice(bytes);
    }
}

fn decode(bytes: &[u8]) -> Option<Entry> {
    if !checksum_holds(bytes) {
        return None;
    }
    let (content, _) = bytes.split_last_chunk::<4>()?;
    let mut reader = Reader(content);
    let [kind] = reader.take::<1>()?;
    let key = reader.take::<16>()?;
    let identity = IdentityKey::from_bytes(key);
    let key = Key::from_bytes(key);
    Some(Entry::Write(match kind {
        BEGIN => {
            let first_seen = reader.time()?;
            let lasts = Duration::from_secs(reader.take().map(u32::from_le_bytes)?.into());
            let network = NetworkKey::from_number(reader.number()?);
            Write::Begin(key, Clock { first_seen, lasts, network })
        }
        END => Write::End(key),
        PROVE => Write::Prove(key, Proven { expires: reader.time()? }),
        STAND => Write::Stand(identity, Some(encoding::standing(reader.0)?)),
        FALL => Write::Stand(identity, None),
        FORGET => return Some(Entry::Forget(key)),
        _ => return None,
    }))
}

/// Writes the CRC of all that stands before it into the last four bytes.
fn sign(bytes: &mut [u8]) {
    if let Some((content, crc)) = bytes.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(content).to_le_bytes();
    }
}

fn checksum_holds(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<4>().is_some_and(|(content, crc)| crc32fast::hash(content).to_le_bytes() == *crc)
}

/// Fills `buffer`; `false` when `from` ends before.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
