use super::*;
use crate::store::Timestamp;
use crate::store::model::Standing;

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
    let mut bytes = Vec::new();
    encode(entry, &mut bytes);
    bytes
}

fn replayed(bytes: &[u8]) -> (Vec<Entry>, End) {
    let mut found = Vec::new();
    let mut entries = Entries { from: bytes, at: 0 };
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
    assert_eq!(journal.append(history[..2].iter().copied()).unwrap(), 4);
    assert_eq!(journal.append(history[2..].iter().copied()).unwrap(), 4);
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
    journal.append(history[..1].iter().copied()).unwrap();
    {
        let mut current = lock(&journal.current);
        (&*current.file).write_all(&[BEGIN; 11]).unwrap();
        current.torn = true;
    }
    journal.append(history[1..].iter().copied()).unwrap();
    assert_eq!(std::fs::read(journal.path(1)).unwrap(), image(&history));
}

#[test]
fn a_disk_that_takes_no_writes_is_a_fault() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
    lock(&journal.current).file = Arc::new(File::open(journal.path(1)).unwrap());
    let fault = journal.append(history(1).into_iter()).unwrap_err().to_string();
    let start = format!("cannot append to {}: ", journal.path(1).display());
    assert!(fault.starts_with(&start), "{fault}");
    assert!(journal.append(history(1).into_iter()).is_err());
}

#[test]
fn rotation_leaves_a_number_free_for_what_replaces_the_past() {
    let directory = tempfile::tempdir().unwrap();
    let history = history(3);
    let journal = Journal::begin(directory.path(), HashKey::from_bytes([9; 16]), 1).unwrap();
    journal.append(history.iter().copied()).unwrap();
    assert_eq!(journal.rotate().unwrap(), 2);
    journal.append(history[..1].iter().copied()).unwrap();
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
