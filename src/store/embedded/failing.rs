//! Tests of what becomes of records while the disk fails, and afterwards.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::*;

/// A file of which nothing is read while there is one beside it with this extension,
const READS_FAIL: &str = "reads-fail";
/// and where nothing is written while there is one with this.
const WRITES_FAIL: &str = "writes-fail";

#[derive(Debug)]
struct Disk {
    path: PathBuf,
    file: FileBackend,
}

impl Disk {
    fn check(&self, failure: &str) -> io::Result<()> {
        let fails = self.path.with_extension(failure).exists();
        if fails { Err(io::Error::other(failure.to_owned())) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check(READS_FAIL)?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(WRITES_FAIL)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check(WRITES_FAIL)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(WRITES_FAIL)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

/// A database on such a disk, which keeps no page in memory.
fn open(path: &Path) -> Result<redb::Database, redb::Error> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let disk = Disk { path: path.to_owned(), file: FileBackend::new(file)? };
    Ok(redb::Database::builder().set_cache_size(0).create_with_backend(disk)?)
}

fn key(n: u16) -> Key {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    Key::from_bytes(bytes)
}

const PROOF: Proven = Proven { expires: Timestamp::from_millis(1_000) };

/// Records of which that of `key(1)` is in the database.
fn records(directory: &Path) -> (Database, PathBuf) {
    let path = directory.join("greylist.redb");
    let (records, _) = Database::open_by(open, &path, Timestamp::EPOCH, HashKey::random).unwrap();
    records.prove(key(1), PROOF);
    records.flush().unwrap();
    (records, path)
}

#[test]
fn what_waited_while_writes_failed_is_written_once_they_succeed() {
    let directory = tempfile::tempdir().unwrap();
    let (records, path) = records(directory.path());
    let failure = path.with_extension(WRITES_FAIL);
    std::fs::write(&failure, "").unwrap();
    records.prove(key(2), PROOF);
    for _ in 0..2 {
        assert!(matches!(records.flush(), Err(StoreFault::Database { .. })));
    }
    assert_eq!((records.waiting(), records.proven(&key(2)).unwrap()), (1, Some(PROOF)));
    std::fs::remove_file(&failure).unwrap();
    records.flush().unwrap();
    assert_eq!((records.waiting(), records.proofs().unwrap()), (0, 2));
    let releases = HashMap::from([(key(3), Timestamp::from_millis(2_000))]);
    records.write_releases(&releases).unwrap();
    drop(records);

    let (records, _) = Database::open(&path, Timestamp::EPOCH, HashKey::random).unwrap();
    assert_eq!([1, 2, 3].map(|n| records.proven(&key(n)).unwrap()), [Some(PROOF), Some(PROOF), None]);
    assert_eq!(records.releases().unwrap(), releases);
}

#[test]
fn what_could_not_be_read_is_read_once_the_database_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let (records, path) = records(directory.path());
    let failure = path.with_extension(READS_FAIL);
    // More than fit into one page, which would be in memory.
    (2..1_000).for_each(|n| records.prove(key(n), PROOF));
    records.flush().unwrap();
    let commits = records.commits();
    records.mend().unwrap();
    assert_eq!(records.commits(), commits, "opened anew though nothing failed");
    std::fs::write(&failure, "").unwrap();
    assert!(matches!(records.proven(&key(1)), Err(StoreFault::Database { .. })));
    assert!(matches!(records.mend(), Err(StoreFault::Database { .. })));
    std::fs::remove_file(&failure).unwrap();
    assert!(matches!(records.proven(&key(1)), Err(StoreFault::Database { .. })));
    records.mend().unwrap();
    assert_eq!((records.proven(&key(1)).unwrap(), records.commits()), (Some(PROOF), commits + 1));
    let files = files::list(directory.path()).unwrap();
    assert_eq!(files, [path], "something was set aside");
}
