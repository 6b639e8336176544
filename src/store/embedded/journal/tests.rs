use super::*;
use crate::store::embedded::State;
use crate::store::model::Standing;
use crate::store::{Answer, Attempt, Identity, IdentityKind, Rules, Timestamp};

fn history(entries: u8) -> Vec<Entry> {
    let entry = |n: u8| {
        let (key, identity) = (Key::from_bytes([n; 16]), IdentityKey::from_bytes([n; 16]));
        let time = |plus: u64| Timestamp::from_millis(1_000 + u64::from(n) + plus);
        Entry::Write(match n % 6 {
            0 => Write::Prove(key, Proven { expires: time(0) }),
            1 => {
                let network = NetworkKey::from_number(u64::from(n) / 6);
                Write::Begin(
                    key,
                    Clock { first_seen: time(1), lasts: Duration::from_secs(n.into()), network },
                )
            }
            2 => Write::End(key),
            3 => {
                let standing = Standing {
                    promoted: n > 6,
                    expires: time(2),
                    since: time(3),
                    senders: Default::default(),
                    recipients: Default::default(),
                    day: time(4),
                    first_seen: 5,
                    matured: 6,
                };
                Write::Stand(identity, Some(standing))
            }
            4 => Write::Stand(identity, None),
            _ => return Entry::Forget(key),
        })
    };
    (0..entries).map(entry).collect()
}

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut bytes = Entries::new();
    encode(entry, &mut bytes);
    bytes.into_vec()
}

fn replayed(bytes: &[u8]) -> (Vec<Entry>, End) {
    let mut found = Vec::new();
    let mut entries = Reading { from: bytes, at: 0 };
    loop {
        match entries.next().unwrap() {
            Next::Entry(entry) => found.push(entry),
            Next::End(end) => return (found, end),
        }
    }
}

fn image(history: &[Entry]) -> Vec<u8> {
    let mut bytes = header(&HashKey::from_bytes([9; 16])).to_vec();
    history.iter().for_each(|entry| bytes.extend(encoded(entry)));
    bytes
}

fn entries_of(path: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    let end = replay(path, |entry| {
        entries.push(entry);
        Ok(())
    });
    assert_eq!(end.unwrap(), End::Whole);
    entries
}

fn append(journal: &Journal, entries: impl Iterator<Item = Entry>) -> Result<(), StoreFault> {
    journal.check()?;
    journal.queue(entries);
    journal.write(journal.queued())
}

/// Where the header and each entry end.
fn boundaries(history: &[Entry]) -> Vec<usize> {
    let ends = history.iter().scan(HEADER_LEN, |end, entry| {
        *end += encoded(entry).len();
        Some(*end)
    });
    std::iter::once(HEADER_LEN).chain(ends).collect()
}

#[test]
fn what_was_appended_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let history = history(9);
    let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 4).unwrap();
    append(&journal, history[..2].iter().copied()).unwrap();
    append(&journal, history[2..].iter().copied()).unwrap();
    journal.sync().unwrap();
    let [(4, path)] = &generations(directory.path()).unwrap()[..] else { panic!("one generation") };
    assert_eq!(read_header(path).unwrap(), Header::Intact(HashKey::from_bytes([9; 16])));
    assert_eq!(entries_of(path), history);
    assert_eq!(std::fs::read(path).unwrap(), image(&history));
    assert_eq!(journal.len(), image(&history).len() as u64);
}

#[test]
fn truncated_at_any_byte_it_replays_a_prefix() {
    let history = history(13);
    let (image, boundaries) = (image(&history), boundaries(&history));
    for len in 0..image.len() {
        let (entries, end) = replayed(&image[..len]);
        let whole = boundaries.iter().filter(|boundary| **boundary <= len).count().saturating_sub(1);
        assert_eq!(entries, history[..whole], "cut at {len}");
        let expected = match len {
            _ if len < HEADER_LEN => End::Damaged(0),
            _ if len == boundaries[whole] => End::Whole,
            _ => End::CutShort(boundaries[whole] as u64),
        };
        assert_eq!(end, expected, "cut at {len}");
    }
}

#[test]
fn with_any_byte_flipped_it_replays_a_prefix() {
    let history = history(13);
    let (image, boundaries) = (image(&history), boundaries(&history));
    for at in 0..image.len() {
        for flip in [0x01, 0x04, 0x80, 0xff] {
            let mut bytes = image.clone();
            bytes[at] ^= flip;
            let whole = boundaries.iter().filter(|boundary| **boundary <= at).count().saturating_sub(1);
            let (entries, end) = replayed(&bytes);
            assert_eq!(entries, history[..whole], "flip at {at}");
            let start = if at < HEADER_LEN { 0 } else { boundaries[whole] };
            // What became the kind of a longer entry may reach beyond the end.
            let expected = match fields_of(bytes[start]).filter(|_| at == start && at >= HEADER_LEN) {
                Some(fields) if start + 1 + 16 + fields + 4 > bytes.len() => End::CutShort(start as u64),
                _ => End::Damaged(start as u64),
            };
            assert_eq!(end, expected, "flip at {at}");
        }
    }
}

#[test]
fn a_tail_of_zeros_is_damage() {
    let history = history(2);
    let bytes = [image(&history), vec![0; 100]].concat();
    assert_eq!(replayed(&bytes), (history.clone(), End::Damaged(image(&history).len() as u64)));
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let mut bytes = header(&HashKey::from_bytes([9; 16]));
    bytes[8] = 77;
    assert_eq!(Header::read(&mut &bytes[..]).unwrap(), Header::Damaged);
    sign(&mut bytes);
    assert_eq!(Header::read(&mut &bytes[..]).unwrap(), Header::Newer(77));
    bytes[8] = 1;
    sign(&mut bytes);
    assert_eq!(Header::read(&mut &bytes[..]).unwrap(), Header::Older(1));
}

#[test]
fn after_a_torn_write_the_tail_is_cut_before_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let history = history(2);
    let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
    append(&journal, history[..1].iter().copied()).unwrap();
    journal.current.wait(|current| {
        (&*current.file).write_all(&[BEGIN; 11]).unwrap();
        current.torn = true;
    });
    append(&journal, history[1..].iter().copied()).unwrap();
    assert_eq!(std::fs::read(journal.path(1)).unwrap(), image(&history));
}

/// Puts a file that takes no writes in the place of the current one, which is returned.
fn break_disk(journal: &Journal) -> Arc<File> {
    journal.put_file(Arc::new(File::open(journal.path(journal.generation())).unwrap()))
}

impl Journal {
    /// Puts a file in the place of the current one, which is returned.
    pub(in crate::store::embedded) fn put_file(&self, file: Arc<File>) -> Arc<File> {
        self.current.wait(|current| std::mem::replace(&mut current.file, file))
    }

    pub(in crate::store::embedded) fn is_being_written(&self) -> bool {
        self.current.attempt(|_| ()).is_none()
    }
}

#[test]
fn a_disk_that_takes_no_writes_is_a_fault_and_only_what_was_under_way_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let history = history(9);
    let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
    append(&journal, history[..1].iter().copied()).unwrap();
    let file = break_disk(&journal);
    // Two attempts at once: the second queued its changes before the first failed.
    journal.queue(history[1..3].iter().copied());
    journal.queue(history[3..5].iter().copied());
    let place = journal.queued();
    let assert_fault = |done: Result<(), StoreFault>| {
        let fault = done.unwrap_err().to_string();
        let start = format!("cannot append to {}: ", journal.path(1).display());
        assert!(fault.starts_with(&start), "{fault}");
    };
    for _ in 0..2 {
        assert_fault(journal.write(place));
        assert_fault(journal.check());
        assert_fault(append(&journal, history[5..].iter().copied()));
        assert_fault(journal.rotate().map(drop));
    }
    assert_eq!((journal.queued(), journal.generation()), (place, 1));

    journal.put_file(file);
    journal.check().unwrap();
    assert_eq!(std::fs::read(journal.path(1)).unwrap(), image(&history[..5]));
    append(&journal, history[5..].iter().copied()).unwrap();
    assert_eq!(std::fs::read(journal.path(1)).unwrap(), image(&history));
}

#[test]
fn a_disk_that_hangs_is_a_fault_once_very_much_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
    let entry = Entry::Write(Write::End(Key::from_bytes([1; 16])));
    let len = encoded(&entry).len() as u64;
    while journal.queued().0 + len <= MAX_QUEUED {
        journal.queue(std::iter::once(entry));
    }
    journal.check().unwrap();
    journal.queue(std::iter::once(entry));
    let fault = journal.check().unwrap_err();
    assert!(matches!(&fault, StoreFault::Stalled { path } if *path == journal.path(1)), "{fault:?}");
    journal.write(journal.queued()).unwrap();
    journal.check().unwrap();
    assert_eq!(journal.len(), HEADER_LEN as u64 + (MAX_QUEUED / len + 1) * len);
}

#[test]
fn nobody_is_answered_by_what_is_not_in_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let open = || State::open(directory.path(), 1_000, Timestamp::EPOCH).unwrap();
    let attempt = |state: &State, sender: &str, secs: u64| {
        let attempt = Attempt {
            identities: vec![Identity { kind: IdentityKind::Address, key: "192.0.2.1".into() }],
            client: [192, 0, 2, 1].into(),
            sender: sender.into(),
            recipient: "r@example.test".into(),
            never_promote: false,
            mail_counted: false,
            rules: Rules::DEFAULT,
        };
        state.record(&attempt, Timestamp::from_millis(1_000 * secs))
    };
    let wait = |secs| Answer::TooEarly { wait: Duration::from_secs(secs) };
    let state = open();
    let file = break_disk(&state.journal);
    for (sender, secs) in [("a", 1_000), ("a", 1_001), ("b", 1_002)] {
        let answer = attempt(&state, sender, secs);
        assert!(matches!(answer, Err(StoreFault::Io { action: "append to", .. })), "{sender}: {answer:?}");
    }
    state.journal.put_file(file);
    // The clock runs since the attempt under way when writing failed; nothing came of those after it.
    assert_eq!(attempt(&state, "a", 1_010).unwrap(), wait(110));
    assert_eq!(attempt(&state, "b", 1_020).unwrap(), Answer::FirstSeen { wait: Duration::from_secs(120) });
    drop(state);
    let state = open();
    assert_eq!(attempt(&state, "a", 1_030).unwrap(), wait(90));
    assert_eq!(attempt(&state, "b", 1_030).unwrap(), wait(110));
}

#[test]
fn what_others_queued_is_written_by_whoever_comes_first() {
    let directory = tempfile::tempdir().unwrap();
    let history = history(9);
    let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
    assert_eq!(journal.queue(history[..2].iter().copied()), 1);
    let first = journal.queued();
    assert_eq!(journal.queue(history[2..4].iter().copied()), 1);
    assert_eq!(std::fs::read(journal.path(1)).unwrap(), image(&[]));
    journal.write(first).unwrap();
    assert_eq!(std::fs::read(journal.path(1)).unwrap(), image(&history[..4]));
    journal.queue(history[4..5].iter().copied());
    journal.write(first).unwrap();
    assert_eq!(std::fs::read(journal.path(1)).unwrap(), image(&history[..4]), "not asked for");
    journal.rotate().unwrap();
    assert_eq!(entries_of(&journal.path(1)), history[..5]);
    assert_eq!(journal.queue(history[5..].iter().copied()), 3);
    journal.sync().unwrap();
    assert_eq!(entries_of(&journal.path(3)), history[5..]);
}

#[test]
fn entries_of_many_threads_keep_the_order_in_which_they_were_queued() {
    const THREADS: u8 = 4;
    const EACH: u64 = 5_000;
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (journal, order) = (&journal, &order);
            scope.spawn(move || {
                for n in 0..EACH {
                    let mut key = [thread; 16];
                    key[..8].copy_from_slice(&n.to_le_bytes());
                    let entry = Entry::Write(Write::End(Key::from_bytes(key)));
                    let place = {
                        let mut order = lock(order);
                        order.push(entry);
                        journal.queue(std::iter::once(entry));
                        journal.queued()
                    };
                    journal.write(place).unwrap();
                    assert!(journal.written.load(Ordering::Acquire) >= place.0);
                }
            });
        }
        for _ in 0..5 {
            journal.rotate().unwrap();
        }
    });
    let files = generations(directory.path()).unwrap();
    assert_eq!(files.len(), 6);
    let found: Vec<Entry> = files.iter().flat_map(|(_, path)| entries_of(path)).collect();
    assert!(found == order.into_inner().unwrap(), "another order, or not all");
}

#[test]
fn rotation_leaves_a_number_free_for_what_replaces_the_past() {
    let directory = tempfile::tempdir().unwrap();
    let history = history(3);
    let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
    append(&journal, history.iter().copied()).unwrap();
    assert_eq!(journal.rotate().unwrap(), 2);
    append(&journal, history[..1].iter().copied()).unwrap();
    let write = |writer: &mut GenerationWriter<'_, '_>| {
        history[1..].iter().for_each(|entry| writer.push(entry).unwrap());
        Ok(())
    };
    journal.write_generation(2, write).unwrap();
    let found = generations(directory.path()).unwrap();
    let numbers: Vec<u64> = found.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let left: Vec<Entry> = found[1..].iter().flat_map(|(_, path)| entries_of(path)).collect();
    assert_eq!(left, [&history[1..], &history[..1]].concat());
}

#[test]
fn the_length_of_a_clocks_entry_is_known() {
    let begins = history(2).pop().unwrap();
    assert_eq!(encoded(&begins).len() as u64, CLOCK_LEN);
}
