//! Damaged, foreign and newer files: never a panic, never silence, and no more lost than is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use greylag::store::{Answer, Attempt, EmbeddedStore, Store, StoreFault};

use super::{CAPACITY, KNOWN_PAIR, at, attempt, first_seen, peek, record, too_early, wait_for};

const HEADER: usize = 32;

/// What `proven@sender.test` writes: a clock that begins; a proof, the end of the clock, and the standing of its address.
const BEFORE: usize = CLOCK + 29 + 21 + 118;
/// A clock that begins.
const CLOCK: usize = 41;
const ATTEMPTS: usize = 6;

fn triplet(n: usize) -> Attempt {
    let attempt = attempt("192.0.2.0/24", &format!("{n}@sender.test"), "r@example.test");
    // An address without a standing.
    Attempt { client: [192, 0, 2, 2].into(), ..attempt }
}

fn open(directory: &Path) -> Result<EmbeddedStore, StoreFault> {
    EmbeddedStore::open(directory, CAPACITY, at(1_000))
}

/// A store in which `proven@sender.test` is proven and [`ATTEMPTS`] triplets wait, one journal entry each after [`BEFORE`].
fn prepared() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let proven = attempt("192.0.2.0/24", "proven@sender.test", "r@example.test");
    record(&store, &proven, at(0));
    record(&store, &proven, at(120));
    (0..ATTEMPTS).for_each(|n| assert_eq!(record(&store, &triplet(n), at(1_000)), first_seen()));
    wait_for(store.close()).unwrap();
    drop(store);
    let [journal] = &named(directory.path(), "journal-")[..] else { panic!("one journal") };
    assert_eq!(fs::metadata(journal).unwrap().len() as usize, HEADER + BEFORE + ATTEMPTS * CLOCK);
    let journal = journal.clone();
    (directory, journal)
}

fn named(directory: &Path, part: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().contains(part));
    paths.sort();
    paths
}

fn copy(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for path in named(directory, "") {
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn proven(store: &EmbeddedStore) -> Answer {
    peek(store, &attempt("192.0.2.0/24", "proven@sender.test", "other@example.test"), at(1_060))
}

/// Which of the triplets the store remembers.
fn remembered(store: &EmbeddedStore) -> Vec<bool> {
    let is_known = |n| match peek(store, &triplet(n), at(1_060)) {
        answer if answer == too_early(60) => true,
        answer if answer == first_seen() => false,
        answer => panic!("triplet {n}: {answer:?}"),
    };
    (0..ATTEMPTS).map(is_known).collect()
}

#[test]
fn of_a_damaged_journal_all_records_before_the_damage_are_kept() {
    let (original, journal) = prepared();
    let len = HEADER + BEFORE + ATTEMPTS * CLOCK;
    for place in (0..len).step_by(11) {
        for truncate in [false, true] {
            let directory = copy(original.path());
            let journal = directory.path().join(journal.file_name().unwrap());
            let mut bytes = fs::read(&journal).unwrap();
            if truncate {
                bytes.truncate(place);
            } else {
                bytes[place] ^= 0x10;
            }
            fs::write(&journal, &bytes).unwrap();

            let kept = place.saturating_sub(HEADER + BEFORE) / CLOCK;
            let expected: Vec<bool> = (0..ATTEMPTS).map(|n| n < kept).collect();
            // A kill may end a file within an entry: that is no damage.
            let is_damage = !truncate || place < HEADER;
            for _ in 0..2 {
                let store = open(directory.path()).unwrap();
                assert_eq!(remembered(&store), expected, "byte {place}, truncated: {truncate}");
                assert_eq!(proven(&store), KNOWN_PAIR, "byte {place}, truncated: {truncate}");
                let aside = named(directory.path(), ".damaged-");
                assert_eq!(aside.len(), usize::from(is_damage), "byte {place}, truncated: {truncate}");
                aside.iter().for_each(|path| assert_eq!(fs::read(path).unwrap(), bytes));
            }
        }
    }
}

#[test]
fn a_damaged_database_is_set_aside_and_the_journal_still_counts() {
    let (original, _) = prepared();
    let len = fs::metadata(original.path().join("greylist.redb")).unwrap().len() as usize;
    let mut set_aside = 0;
    for (place, truncate) in (0..len)
        .step_by(len / 150)
        .map(|place| (place, false))
        .chain((0..400).step_by(9).map(|place| (place, false)))
        .chain((1..len).step_by(len / 20).map(|place| (place, true)))
    {
        let directory = copy(original.path());
        let database = directory.path().join("greylist.redb");
        let mut bytes = fs::read(&database).unwrap();
        if truncate {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 0xff;
        }
        fs::write(&database, &bytes).unwrap();
        let store = open(directory.path()).unwrap();
        assert_eq!(remembered(&store), [true; ATTEMPTS], "byte {place}, truncated: {truncate}");
        assert_eq!(proven(&store), KNOWN_PAIR, "byte {place}: the journal has it, too");
        set_aside += named(directory.path(), "greylist.redb.damaged-").len();
    }
    assert!(set_aside > 20, "{set_aside} were set aside");
}

#[test]
fn what_is_no_database_at_all_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("greylist.redb"), "not a database\n".repeat(1_000)).unwrap();
    fs::write(directory.path().join("journal-00000007"), "nor a journal").unwrap();
    fs::write(directory.path().join("journal-00000008.tmp"), "half a jour").unwrap();
    let store = open(directory.path()).unwrap();
    assert_eq!(remembered(&store), [false; ATTEMPTS]);
    let aside: Vec<_> =
        named(directory.path(), ".damaged-").iter().map(|path| fs::read(path).unwrap().len()).collect();
    assert_eq!(aside, [15_000, 13]);
    assert_eq!(named(directory.path(), ".tmp"), Vec::<PathBuf>::new());
}

#[test]
fn nothing_is_removed_but_a_journal_that_was_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let others = ["notes.tmp", "journal-8.tmp", "journal-x.tmp", "journal-00000008.old.tmp"];
    let mut kept: Vec<PathBuf> = others.iter().map(|name| directory.path().join(name)).collect();
    for path in &kept {
        fs::write(path, "mine").unwrap();
    }
    let folder = directory.path().join("folder.tmp");
    fs::create_dir(&folder).unwrap();
    fs::write(directory.path().join("journal-00000008.tmp"), "half a jour").unwrap();
    drop(open(directory.path()).unwrap());
    kept.push(folder);
    kept.sort();
    assert_eq!(named(directory.path(), ".tmp"), kept);
}

#[test]
fn a_journal_of_another_store_is_set_aside() {
    let ((one, journal), (other, _)) = (prepared(), prepared());
    fs::copy(&journal, other.path().join("journal-00000099")).unwrap();
    let store = open(other.path()).unwrap();
    assert_eq!(remembered(&store), [true; ATTEMPTS]);
    let aside = named(other.path(), "journal-00000099.damaged-");
    assert_eq!(aside.len(), 1);
    drop(one);
}

#[test]
fn a_newer_journal_is_refused_and_left_alone() {
    let (directory, journal) = prepared();
    let mut bytes = fs::read(&journal).unwrap();
    bytes[8] = 3;
    let crc = crc32fast::hash(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
    fs::write(&journal, &bytes).unwrap();
    let before = named(directory.path(), "");
    let fault = open(directory.path()).unwrap_err();
    let expected = format!(
        "{} has format 3, and this version of Greylag knows formats up to 2: run a later version, or use another directory",
        journal.display()
    );
    assert_eq!(fault.to_string(), expected);
    assert_eq!(named(directory.path(), ""), before);
    assert_eq!(fs::read(&journal).unwrap(), bytes);
}

#[test]
fn what_an_earlier_version_wrote_is_set_aside() {
    let (directory, journal) = prepared();
    let mut bytes = fs::read(&journal).unwrap();
    bytes[8] = 1;
    let crc = crc32fast::hash(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
    fs::write(&journal, &bytes).unwrap();
    fs::write(directory.path().join("proven.redb"), "old").unwrap();
    let store = open(directory.path()).unwrap();
    assert_eq!(remembered(&store), [false; ATTEMPTS]);
    assert_eq!(proven(&store), KNOWN_PAIR);
    let aside: Vec<_> =
        named(directory.path(), ".old-").iter().map(|path| fs::read(path).unwrap().len()).collect();
    assert_eq!(aside, [bytes.len(), 3]);
}

const META: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");

/// Makes a database say that it has this format; returns the one it had.
fn change_format(database: &Path, format: u32) -> u32 {
    let transaction = redb::Database::open(database).unwrap().begin_write().unwrap();
    let before = {
        let mut table = transaction.open_table(META).unwrap();
        let before = table.insert("format", &format.to_le_bytes()[..]).unwrap().unwrap();
        u32::from_le_bytes(before.value().try_into().unwrap())
    };
    transaction.commit().unwrap();
    before
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let (directory, journal) = prepared();
    let path = directory.path().join("greylist.redb");
    assert_eq!(change_format(&path, 4), 3);
    let fault = open(directory.path()).unwrap_err();
    assert!(
        matches!(&fault, StoreFault::NewerFormat { path: at, found: 4, known: 3 } if *at == path),
        "{fault}"
    );
    assert!(journal.exists());
    assert_eq!(named(directory.path(), ".damaged-"), Vec::<PathBuf>::new());
}

#[test]
fn a_database_of_the_format_before_is_read_and_then_only_by_this_version() {
    let (directory, _) = prepared();
    let path = directory.path().join("greylist.redb");
    assert_eq!(change_format(&path, 2), 3);
    for _ in 0..2 {
        let store = open(directory.path()).unwrap();
        assert_eq!((proven(&store), remembered(&store)), (KNOWN_PAIR, vec![true; ATTEMPTS]));
    }
    assert_eq!(change_format(&path, 3), 3);
    assert_eq!(named(directory.path(), ".damaged-"), Vec::<PathBuf>::new());
}

#[test]
fn one_directory_cannot_be_opened_twice() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let path = directory.path().join("greylist.redb");
    let fault = open(directory.path()).unwrap_err().to_string();
    assert_eq!(fault, format!("{} is in use: is another Greylag running on it?", path.display()));
    assert_eq!(record(&store, &triplet(0), at(0)), first_seen());
    drop(store);
    open(directory.path()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let inside = file.join("greylist");
    let fault = open(&inside).unwrap_err().to_string();
    assert!(fault.starts_with(&format!("cannot create the directory {}: ", inside.display())), "{fault}");
}
