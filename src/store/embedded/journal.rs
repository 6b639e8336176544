//! The journal: every change of the greylist, appended before it is answered.
//!
//! A generation of it is one file, `journal-NUMBER`: a header of 32 bytes (magic, format, hash key, CRC), then records of
//! 37 bytes (kind, key, first seen, expires, CRC); numbers are little-endian. Generations are replayed in ascending order, and
//! of two records with one key the later counts. A generation may thus be replaced by a shorter one that holds only what was
//! live at any moment after its end: that is how the journal is kept short.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::files::{self, fault};
use crate::store::model::{Proven, Unproven, Write};
use crate::store::table::lock;
use crate::store::{HashKey, Key, StoreFault, Timestamp};

/// The format this version writes, and the newest it reads.
pub(super) const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"greyjrnl";
const NAME: &str = "journal-";
const HEADER_LEN: usize = 32;

/// Size of a record in bytes.
pub(super) const RECORD_LEN: usize = 37;

/// The generation being appended to.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    hash_key: HashKey,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    generation: u64,
    file: Arc<File>,
    /// Bytes that are whole records.
    len: u64,
    /// Bytes that are on the disk for sure.
    synced: u64,
    /// A write failed halfway: what stands behind `len` has to go before anything is appended.
    torn: bool,
}

impl Journal {
    /// Begins generation `generation`, which must not exist.
    pub(super) fn begin(directory: &Path, hash_key: HashKey, generation: u64) -> Result<Self, StoreFault> {
        let current = Mutex::new(Current::begin(directory, &hash_key, generation)?);
        Ok(Self { directory: directory.to_owned(), hash_key, current })
    }

    /// Appends all of `writes` by one `write`, which a kill of the process does not undo.
    pub(super) fn append(&self, writes: &[Write]) -> Result<(), StoreFault> {
        let mut bytes = Vec::with_capacity(writes.len() * RECORD_LEN);
        writes.iter().for_each(|write| bytes.extend_from_slice(&encode(write)));
        let mut current = lock(&self.current);
        current.append(&bytes).map_err(|error| fault("append to", &self.path(current.generation))(error))
    }

    /// Waits until what was appended is on the disk.
    pub(super) fn sync(&self) -> Result<(), StoreFault> {
        let (file, generation, len) = {
            let current = lock(&self.current);
            if current.synced == current.len {
                return Ok(());
            }
            (Arc::clone(&current.file), current.generation, current.len)
        };
        file.sync_data().map_err(|error| fault("sync", &self.path(generation))(error))?;
        let mut current = lock(&self.current);
        if current.generation == generation {
            current.synced = len;
        }
        Ok(())
    }

    /// Size of the current generation in bytes.
    pub(super) fn len(&self) -> u64 {
        lock(&self.current).len
    }

    /// Begins a new generation. Returns the number left free before it, for the file that will replace all earlier ones.
    pub(super) fn rotate(&self) -> Result<u64, StoreFault> {
        let generation = lock(&self.current).generation;
        let next = Current::begin(&self.directory, &self.hash_key, generation + 2)?;
        *lock(&self.current) = next;
        Ok(generation + 1)
    }

    /// Writes a whole generation at once.
    pub(super) fn write_generation(
        &self,
        generation: u64,
        writes: impl Iterator<Item = Write>,
    ) -> Result<(), StoreFault> {
        files::create(&self.path(generation), |file| {
            file.write_all(&header(&self.hash_key))?;
            writes.into_iter().try_for_each(|write| file.write_all(&encode(&write)))
        })?;
        Ok(())
    }

    fn path(&self, generation: u64) -> PathBuf {
        generation_path(&self.directory, generation)
    }
}

impl Current {
    fn begin(directory: &Path, hash_key: &HashKey, generation: u64) -> Result<Self, StoreFault> {
        let file =
            files::create(&generation_path(directory, generation), |file| file.write_all(&header(hash_key)))?;
        let len = HEADER_LEN as u64;
        Ok(Self { generation, file: Arc::new(file), len, synced: len, torn: false })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.torn = false;
        }
        self.torn = true;
        (&*self.file).write_all(bytes)?;
        self.torn = false;
        self.len += bytes.len() as u64;
        Ok(())
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

/// What the header of a generation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Keys of the records are made with this hash key.
    Intact(HashKey),
    /// A later version wrote it.
    Newer(u32),
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
        if !fill(from, &mut bytes)? || !checksum_holds(&bytes) || !bytes.starts_with(MAGIC) {
            return Ok(Self::Damaged);
        }
        Ok(match u32::from_le_bytes(part(&bytes, 8)) {
            FORMAT => Self::Intact(HashKey::from_bytes(part(&bytes, 12))),
            newer => Self::Newer(newer),
        })
    }
}

/// How far a generation could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// To its end.
    Whole,
    /// Up to this byte, where something stands that is no record.
    Damaged(u64),
}

/// Replays the generation at `path`: every record up to its end, or to the first that is damaged.
pub(super) fn replay(path: &Path, apply: impl FnMut(Write)) -> Result<End, StoreFault> {
    File::open(path).and_then(|file| replay_from(BufReader::new(file), apply)).map_err(fault("read", path))
}

fn replay_from(mut from: impl Read, mut apply: impl FnMut(Write)) -> io::Result<End> {
    let Header::Intact(_) = Header::read(&mut from)? else { return Ok(End::Damaged(0)) };
    let mut at = HEADER_LEN as u64;
    loop {
        let mut first = [0];
        if !fill(&mut from, &mut first)? {
            return Ok(End::Whole);
        }
        let mut bytes = [first[0]; RECORD_LEN];
        if !fill(&mut from, &mut bytes[1..])? {
            return Ok(End::Damaged(at));
        }
        let Some(write) = decode(&bytes) else { return Ok(End::Damaged(at)) };
        apply(write);
        at += RECORD_LEN as u64;
    }
}

fn generation_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("{NAME}{generation:08}"))
}

fn header(hash_key: &HashKey) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[12..28].copy_from_slice(hash_key.as_bytes());
    sign(&mut bytes);
    bytes
}

const UNPROVEN: u8 = 1;
const PROVEN: u8 = 2;

fn encode(write: &Write) -> [u8; RECORD_LEN] {
    let (kind, key, first_seen, expires) = match write {
        Write::Unproven(key, record) => (UNPROVEN, key, record.first_seen, record.expires),
        Write::Proven(key, record) => (PROVEN, key, Timestamp::EPOCH, record.expires),
    };
    let mut bytes = [0; RECORD_LEN];
    bytes[0] = kind;
    bytes[1..17].copy_from_slice(key.as_bytes());
    bytes[17..25].copy_from_slice(&first_seen.as_millis().to_le_bytes());
    bytes[25..33].copy_from_slice(&expires.as_millis().to_le_bytes());
    sign(&mut bytes);
    bytes
}

fn decode(bytes: &[u8; RECORD_LEN]) -> Option<Write> {
    if !checksum_holds(bytes) {
        return None;
    }
    let key = Key::from_bytes(part(bytes, 1));
    let first_seen = Timestamp::from_millis(u64::from_le_bytes(part(bytes, 17)));
    let expires = Timestamp::from_millis(u64::from_le_bytes(part(bytes, 25)));
    match bytes[0] {
        UNPROVEN => Some(Write::Unproven(key, Unproven { first_seen, expires })),
        PROVEN => Some(Write::Proven(key, Proven { expires })),
        _ => None,
    }
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

/// `N` bytes from `at` on, which the caller knows to be there.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
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
mod tests {
    use super::*;

    fn history(records: u8) -> Vec<Write> {
        let write = |n: u8| {
            let key = Key::from_bytes([n; 16]);
            let expires = Timestamp::from_millis(1_000 + u64::from(n));
            match n % 3 {
                0 => Write::Proven(key, Proven { expires }),
                1 => Write::Unproven(key, Unproven { first_seen: Timestamp::from_millis(n.into()), expires }),
                _ => Write::Unproven(key, Unproven::SPENT),
            }
        };
        (0..records).map(write).collect()
    }

    fn replayed(bytes: &[u8]) -> (Vec<Write>, End) {
        let mut writes = Vec::new();
        let end = replay_from(bytes, |write| writes.push(write)).unwrap();
        (writes, end)
    }

    fn image(history: &[Write]) -> Vec<u8> {
        let mut bytes = header(&HashKey::from_bytes([9; 16])).to_vec();
        history.iter().for_each(|write| bytes.extend_from_slice(&encode(write)));
        bytes
    }

    #[test]
    fn what_was_appended_is_replayed() {
        let directory = tempfile::tempdir().unwrap();
        let history = history(9);
        let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 4).unwrap();
        journal.append(&history[..2]).unwrap();
        journal.append(&history[2..]).unwrap();
        journal.sync().unwrap();
        let [(4, path)] = &generations(directory.path()).unwrap()[..] else { panic!("one generation") };
        assert_eq!(read_header(path).unwrap(), Header::Intact(HashKey::from_bytes([9; 16])));
        let mut writes = Vec::new();
        assert_eq!(replay(path, |write| writes.push(write)).unwrap(), End::Whole);
        assert_eq!(writes, history);
        assert_eq!(std::fs::read(path).unwrap(), image(&history));
        assert_eq!(journal.len(), image(&history).len() as u64);
    }

    #[test]
    fn truncated_at_any_byte_it_replays_a_prefix() {
        let history = history(7);
        let image = image(&history);
        for len in 0..image.len() {
            let (writes, end) = replayed(&image[..len]);
            let whole = len.saturating_sub(HEADER_LEN) / RECORD_LEN;
            assert_eq!(writes, history[..whole], "cut at {len}");
            let boundary = HEADER_LEN + whole * RECORD_LEN;
            let expected = match len {
                _ if len < HEADER_LEN => End::Damaged(0),
                _ if len == boundary => End::Whole,
                _ => End::Damaged(boundary as u64),
            };
            assert_eq!(end, expected, "cut at {len}");
        }
    }

    #[test]
    fn with_any_byte_flipped_it_replays_a_prefix() {
        let history = history(7);
        let image = image(&history);
        for at in 0..image.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = image.clone();
                bytes[at] ^= flip;
                let whole = at.saturating_sub(HEADER_LEN) / RECORD_LEN;
                let (writes, end) = replayed(&bytes);
                assert_eq!(writes, history[..whole], "flip at {at}");
                let start = if at < HEADER_LEN { 0 } else { HEADER_LEN + whole * RECORD_LEN };
                assert_eq!(end, End::Damaged(start as u64), "flip at {at}");
            }
        }
    }

    #[test]
    fn a_tail_of_zeros_is_damage() {
        let history = history(2);
        let bytes = [image(&history), vec![0; 100]].concat();
        assert_eq!(replayed(&bytes), (history, End::Damaged((HEADER_LEN + 2 * RECORD_LEN) as u64)));
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = header(&HashKey::from_bytes([9; 16]));
        bytes[8] = 77;
        assert_eq!(Header::read(&mut &bytes[..]).unwrap(), Header::Damaged);
        sign(&mut bytes);
        assert_eq!(Header::read(&mut &bytes[..]).unwrap(), Header::Newer(77));
    }

    #[test]
    fn after_a_torn_write_the_tail_is_cut_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let history = history(2);
        let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
        journal.append(&history[..1]).unwrap();
        {
            let mut current = lock(&journal.current);
            (&*current.file).write_all(&[UNPROVEN; 11]).unwrap();
            current.torn = true;
        }
        journal.append(&history[1..]).unwrap();
        assert_eq!(std::fs::read(journal.path(1)).unwrap(), image(&history));
    }

    #[test]
    fn a_disk_that_takes_no_writes_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
        lock(&journal.current).file = Arc::new(File::open(journal.path(1)).unwrap());
        let fault = journal.append(&history(1)).unwrap_err().to_string();
        let start = format!("cannot append to {}: ", journal.path(1).display());
        assert!(fault.starts_with(&start), "{fault}");
        assert!(journal.append(&history(1)).is_err());
    }

    #[test]
    fn rotation_leaves_a_number_free_for_what_replaces_the_past() {
        let directory = tempfile::tempdir().unwrap();
        let history = history(3);
        let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
        journal.append(&history).unwrap();
        assert_eq!(journal.rotate().unwrap(), 2);
        journal.append(&history[..1]).unwrap();
        journal.write_generation(2, history[1..].iter().copied()).unwrap();
        let found = generations(directory.path()).unwrap();
        let numbers: Vec<u64> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let mut writes = Vec::new();
        for (_, path) in &found[1..] {
            assert_eq!(replay(path, |write| writes.push(write)).unwrap(), End::Whole);
        }
        assert_eq!(writes, [&history[1..], &history[..1]].concat());
    }
}
