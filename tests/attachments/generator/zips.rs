//! Zip archives that readers do not agree on (2.3).

use super::Harmless::{self, IsRefused, Passes};
use super::{Payload, bytes::Bytes as _};
use crate::build::{nested_zip_of, zip};

/// One entry, and what its headers say of it.
#[derive(Clone)]
pub(crate) struct Entry {
    local_name: Vec<u8>,
    central_name: Vec<u8>,
    data: Vec<u8>,
    method: u16,
    local_flags: u16,
    central_flags: u16,
    local_extra: Vec<u8>,
    central_extra: Vec<u8>,
    declared_size: u32,
    comment: Vec<u8>,
}

impl Entry {
    pub(crate) fn stored(name: &str, data: &[u8]) -> Self {
        Self {
            local_name: name.into(),
            central_name: name.into(),
            data: data.to_vec(),
            method: 0,
            local_flags: 0,
            central_flags: 0,
            local_extra: Vec::new(),
            central_extra: Vec::new(),
            declared_size: data.len() as u32,
            comment: Vec::new(),
        }
    }

    fn sizes(&self) -> Vec<u8> {
        Vec::new().u32(crc32fast::hash(&self.data)).u32(self.data.len() as u32).u32(self.declared_size)
    }

    fn local(&self) -> Vec<u8> {
        b"PK\x03\x04"
            .to_vec()
            .u16(20)
            .u16(self.local_flags)
            .u16(self.method)
            .u32(0x5a21_0000)
            .bytes(&self.sizes())
            .u16(self.local_name.len() as u16)
            .u16(self.local_extra.len() as u16)
            .bytes(&self.local_name)
            .bytes(&self.local_extra)
            .bytes(&self.data)
    }

    fn central(&self, offset: usize) -> Vec<u8> {
        b"PK\x01\x02"
            .to_vec()
            .u16(20)
            .u16(20)
            .u16(self.central_flags)
            .u16(self.method)
            .u32(0x5a21_0000)
            .bytes(&self.sizes())
            .u16(self.central_name.len() as u16)
            .u16(self.central_extra.len() as u16)
            .u16(self.comment.len() as u16)
            .u16(0)
            .u16(0)
            .u32(0)
            .u32(offset as u32)
            .bytes(&self.central_name)
            .bytes(&self.central_extra)
            .bytes(&self.comment)
    }
}

/// The end record of a directory of `count` entries.
fn end(count: usize, size: usize, offset: usize, comment: &[u8]) -> Vec<u8> {
    b"PK\x05\x06"
        .to_vec()
        .u32(0)
        .u16(count as u16)
        .u16(count as u16)
        .u32(size as u32)
        .u32(offset as u32)
        .u16(comment.len() as u16)
        .bytes(comment)
}

/// The ZIP64 end record of a directory of one entry, and the locator of such a record.
fn end64(size: usize, offset: usize) -> Vec<u8> {
    let versions = b"PK\x06\x06".to_vec().u64(44).u16(45).u16(45).u32(0).u32(0);
    versions.u64(1).u64(1).u64(size as u64).u64(offset as u64)
}

fn locator(offset: usize) -> Vec<u8> {
    b"PK\x06\x07".to_vec().u32(0).u64(offset as u64).u32(1)
}

/// A zip whose directory lists `listed` of `entries`.
pub(crate) fn listing(entries: &[Entry], listed: &[usize], comment: &[u8]) -> Vec<u8> {
    let (mut out, mut offsets) = (Vec::new(), Vec::new());
    for entry in entries {
        offsets.push(out.len());
        out.extend(entry.local());
    }
    let directory: Vec<u8> = listed.iter().flat_map(|at| entries[*at].central(offsets[*at])).collect();
    let tail = end(listed.len(), directory.len(), out.len(), comment);
    [out, directory, tail].concat()
}

pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    listing(entries, &(0..entries.len()).collect::<Vec<_>>(), b"")
}

/// A zip of one entry with these packed bytes, that says another size.
pub(crate) fn with_sizes(name: &str, packed: &[u8], method: u16, size: u32) -> Vec<u8> {
    archive(&[Entry { method, declared_size: size, ..Entry::stored(name, packed) }])
}

/// A zip whose `count` entries are all the same eight mebibytes.
pub(crate) fn overlapping(count: usize) -> Vec<u8> {
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut deflated, &[b"PK\x03\x04".to_vec(), vec![0; 8 << 20]].concat()).unwrap();
    let entry = Entry {
        method: 8,
        declared_size: (8 << 20) + 4,
        ..Entry::stored("b.zip", &deflated.finish().unwrap())
    };
    let local = entry.local();
    let named = |n: usize| Entry { central_name: format!("{n:05}.zip").into(), ..entry.clone() }.central(0);
    let directory: Vec<u8> = (0..count).flat_map(named).collect();
    let tail = end(count, directory.len(), local.len(), b"");
    [local, directory, tail].concat()
}

/// An Info-ZIP Unicode path field for `name`.
fn unicode_path(name: &str, of: &[u8], intact: bool) -> Vec<u8> {
    let crc = crc32fast::hash(of) ^ u32::from(!intact);
    let field = vec![1].u32(crc).bytes(name.as_bytes());
    Vec::new().u16(0x7075).u16(field.len() as u16).bytes(&field)
}

/// An archive of a text in which, deflated by a block of bytes as they are (RFC 1951, 3.2.4), the payload lies as an entry.
struct Cloak {
    /// What is listed, up to its directory.
    archive: Vec<u8>,
    listed: Entry,
    /// From where to where the directory lies that lists the payload.
    hidden: std::ops::Range<usize>,
}

/// The text stands behind `before`; behind the hidden directory there is what `tail` makes of where that is.
fn cloak(payload: &Payload, before: &[u8], tail: fn(std::ops::Range<usize>) -> Vec<u8>) -> Cloak {
    let text = b"some ordinary text. ".repeat(40);
    let entry = Entry::stored(payload.name, payload.data);
    let at = before.len() + 30 + "x.txt".len() + 5 + text.len();
    let directory = entry.central(at);
    let hidden = at + entry.local().len()..at + entry.local().len() + directory.len();
    let content = [text, entry.local(), directory, tail(hidden.clone())].concat();
    let size = content.len() as u16;
    let packed = vec![1].u16(size).u16(!size).bytes(&content);
    let listed = Entry { method: 8, declared_size: size.into(), ..Entry::stored("x.txt", &packed) };
    Cloak { archive: [before, &listed.local()].concat(), listed, hidden }
}

/// Archives whose payload is only listed by a directory in deflated data, to which some readers come by another way.
fn cloaked(payload: &Payload) -> Vec<(&'static str, Vec<u8>)> {
    let finish = |cloak: Cloak, records: Vec<u8>| {
        let directory = cloak.listed.central(0);
        let tail = end(1, directory.len(), cloak.archive.len(), b"");
        [cloak.archive, directory, records, tail].concat()
    };
    let nothing = |_| Vec::new();
    let records =
        |hidden: std::ops::Range<usize>| [end64(hidden.len(), hidden.start), locator(hidden.end)].concat();
    vec![
        ("second directory by a ZIP64 locator", {
            let cloak = cloak(payload, b"", nothing);
            let at = cloak.archive.len() + cloak.listed.central(0).len();
            let records = [end64(cloak.hidden.len(), cloak.hidden.start), locator(at)].concat();
            finish(cloak, records)
        }),
        (
            "second directory by a ZIP64 locator in deflated data",
            finish(cloak(payload, b"", records), Vec::new()),
        ),
        (
            "second directory by an end record in deflated data",
            finish(cloak(payload, b"", |hidden| end(1, hidden.len(), hidden.start, b"")), Vec::new()),
        ),
        ("second directory by the offset, the first by the size", {
            let before = [b'J'; 2000];
            let cloak = cloak(payload, &before, nothing);
            // As if that much stood before the archive.
            let shift = cloak.archive.len() - cloak.hidden.start;
            let directory = cloak.listed.central(before.len() - shift);
            let tail = end(1, directory.len(), cloak.hidden.start, b"");
            [cloak.archive, directory, tail].concat()
        }),
    ]
}

/// Zips with the payload in them.
pub(crate) fn zips(payload: &Payload) -> Vec<(&'static str, Vec<u8>, Harmless)> {
    let mut all: Vec<_> =
        passing(payload).into_iter().map(|(what, archive)| (what, archive, Passes)).collect();
    all.extend(cloaked(payload).into_iter().map(|(what, archive)| (what, archive, Passes)));
    all.extend(refused(payload).into_iter().map(|(what, archive)| (what, archive, IsRefused)));
    all
}

fn passing(payload: &Payload) -> Vec<(&'static str, Vec<u8>)> {
    let (name, data) = (payload.name, payload.data);
    let plain = zip(&[("readme.txt", b"hello"), (name, data)]);
    let entry = Entry::stored(name, data);
    let ok = Entry::stored("other.txt", data);
    let with = |change: fn(&mut Entry)| {
        let mut entry = entry.clone();
        change(&mut entry);
        archive(&[entry])
    };
    vec![
        ("zip", plain.clone()),
        ("stored zip", archive(std::slice::from_ref(&entry))),
        ("zip in a zip", zip(&[("b.zip", &plain)])),
        ("zips three deep", nested_zip_of(3, name, data)),
        ("zip behind a text", [b"this is no program\r\n".repeat(20), plain.clone()].concat()),
        ("zip behind a picture", [b"\xff\xd8\xff\xe0\0\x10JFIF".repeat(20), plain.clone()].concat()),
        ("comment of 65,535 bytes", listing(std::slice::from_ref(&entry), &[0], &[b'c'; 65_535])),
        ("name in a folder", archive(&[Entry::stored(&format!("a/b/{name}"), data)])),
        ("name with backslashes", archive(&[Entry::stored(&format!("a\\b\\{name}"), data)])),
        ("name with dots behind", archive(&[Entry::stored(&format!("{name}. ."), data)])),
        ("name in upper case", archive(&[Entry::stored(&name.to_uppercase(), data)])),
        ("name marked as UTF-8", with(|entry| (entry.local_flags, entry.central_flags) = (0x800, 0x800))),
        (
            "name in code page 437",
            archive(&[Entry {
                local_name: [b"\x81\x84", name.as_bytes()].concat(),
                central_name: [b"\x81\x84", name.as_bytes()].concat(),
                ..entry.clone()
            }]),
        ),
        ("unknown method", with(|entry| entry.method = 77)),
        ("encrypted", with(|entry| (entry.local_flags, entry.central_flags) = (1, 1))),
        ("data descriptor", {
            let mut entry = entry.clone();
            (entry.local_flags, entry.central_flags) = (8, 8);
            let crc = crc32fast::hash(data);
            let mut local = entry.local();
            local[14..26].fill(0);
            let size = data.len() as u32;
            local.extend(b"PK\x07\x08".to_vec().u32(crc).u32(size).u32(size));
            let directory = entry.central(0);
            let tail = end(1, directory.len(), local.len(), b"");
            [local, directory, tail].concat()
        }),
        ("zip64", {
            let mut entry = entry.clone();
            let extra = |size: usize| Vec::new().u16(1).u16(16).u64(size as u64).u64(size as u64);
            entry.local_extra = extra(data.len());
            entry.central_extra = extra(data.len());
            let (mut local, mut central) = (entry.local(), entry.central(0));
            local[18..26].fill(0xff);
            central[20..28].fill(0xff);
            let at = local.len();
            let end64 = end64(central.len(), at);
            let mut tail = end(1, 0, 0, b"");
            tail[8..20].fill(0xff);
            let locator = locator(at + central.len());
            [local, central, end64, locator, tail].concat()
        }),
        (
            "Unicode path is another",
            archive(&[Entry { central_extra: unicode_path(name, b"other.txt", true), ..ok.clone() }]),
        ),
        (
            "Unicode path with a wrong checksum",
            archive(&[Entry { central_extra: unicode_path(name, b"other.txt", false), ..ok.clone() }]),
        ),
        (
            "Unicode path in the local header",
            archive(&[Entry { local_extra: unicode_path(name, b"other.txt", true), ..ok.clone() }]),
        ),
        ("behind much junk", [plain.clone(), vec![b'j'; 70_000]].concat()),
        ("offset of the directory is wrong", {
            let mut archive = archive(std::slice::from_ref(&entry));
            let at = archive.len() - 22;
            archive[at + 16..at + 20].fill(0xee);
            archive
        }),
        ("disk numbers are wrong", {
            let mut archive = archive(std::slice::from_ref(&entry));
            let at = archive.len() - 22;
            archive[at + 4..at + 8].fill(7);
            archive
        }),
        ("the same zip in two names", zip(&[("a.zip", &plain), ("b.zip", &plain)])),
    ]
}

fn refused(payload: &Payload) -> Vec<(&'static str, Vec<u8>)> {
    let (name, data) = (payload.name, payload.data);
    let plain = zip(&[(name, data)]);
    let other = zip(&[("other.txt", b"hello")]);
    let entry = Entry::stored(name, data);
    let ok = Entry::stored("other.txt", data);
    let names = |local: &str, central: &str| Entry {
        local_name: local.into(),
        central_name: central.into(),
        ..entry.clone()
    };
    let inner = zip(&[("a.txt", b"x")]);
    let encrypted = |name: &str| Entry { local_flags: 1, central_flags: 1, ..Entry::stored(name, &inner) };
    vec![
        ("local name differs", archive(&[names(name, "other.txt")])),
        ("central name differs", archive(&[names("other.txt", name)])),
        ("first of two zips", [plain.clone(), other.clone()].concat()),
        ("second of two zips", [other.clone(), plain.clone()].concat()),
        ("zip in the comment of a zip", listing(std::slice::from_ref(&ok), &[0], &plain)),
        ("entry that is not listed", listing(&[ok.clone(), entry.clone()], &[0], b"")),
        ("directory that lists nothing", listing(std::slice::from_ref(&entry), &[], b"")),
        (
            "two entries of one name",
            archive(&[entry.clone(), Entry { data: b"other".to_vec(), declared_size: 5, ..entry.clone() }]),
        ),
        ("encrypted by its local header only", archive(&[Entry { local_flags: 1, ..entry.clone() }])),
        ("encrypted by its central header only", archive(&[Entry { central_flags: 1, ..entry.clone() }])),
        ("zip in an encrypted zip", archive(&[encrypted("a.zip")])),
        ("no directory", entry.local()),
        ("directory cut off", plain[..plain.len() - 30].to_vec()),
        ("count of entries is zero", {
            let mut archive = archive(std::slice::from_ref(&entry));
            let at = archive.len() - 22;
            archive[at + 8..at + 12].fill(0);
            archive
        }),
        ("directory is masked", {
            let masked = Entry {
                central_name: vec![b'1'; name.len()],
                local_name: vec![b'1'; name.len()],
                local_flags: 0x2001,
                central_flags: 0x2001,
                ..entry.clone()
            };
            archive(&[masked])
        }),
    ]
}
