//! Tar archives (POSIX.1-2024 pax, and GNU tar's own format): blocks of 512 bytes, a header before each file.
//!
//! Names: of the header, with the `ustar` prefix before it and without; of a pax header (`path`) and of a GNU long name
//! before it. Unpackers disagree on sizes: some believe the header, some the pax header before it (CVE-2025-62518),
//! some that links have no data. All are followed: each place where a header may stand is looked at once, in order.

use std::collections::BTreeMap;

use memchr::memmem;

use super::entry::{self, Entry};
use super::names;
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::filename::end_of_name;
use crate::content::scanner::{Place, Scanner};

const BLOCK: usize = 512;
/// Names of one file that are looked at.
const MAX_NAMES: usize = 16;

/// Whether a file begins with a tar header.
pub(super) fn begins(begins: &[u8]) -> bool {
    Header::read(begins).is_some()
}

/// Looks into the archive `data`, whose files are in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    // Where headers may stand, and what is said of the file there by the headers before it.
    let mut ahead = BTreeMap::from([(0, Extended::default())]);
    let mut is_tar = data.iter().all(|byte| *byte == 0);
    while let Some((at, extended)) = ahead.pop_first() {
        scanner.budget.work(BLOCK as u64)?;
        let Some(block) = data.get(at..at + BLOCK) else { continue };
        let Some(header) = Header::read(block) else {
            // Zeros, or damage: like GNU tar, look for the next header.
            ahead.entry(at + BLOCK).or_default();
            continue;
        };
        is_tar = true;
        if extended.has_more_names {
            // Any of them may be the one that counts.
            scanner.unreadable_in(place);
        }
        let content = &data[at + BLOCK..];
        let next = |size: u64| at + BLOCK + (size as usize).min(content.len()).next_multiple_of(BLOCK);
        if header.is_extension() {
            let content = &content[..content.len().min(header.size as usize)];
            scanner.budget.work(content.len() as u64)?;
            let extended = extended.with(&header, content);
            if header.kind == b'g' {
                file(scanner, place, &extended.names, 0, &[])?;
            }
            if header.has_odd_size {
                ahead.entry(next(0)).or_default();
            }
            ahead.entry(next(header.size)).or_default().merge(extended);
            continue;
        }
        let sizes = header.sizes(&extended);
        let names = [extended.names.as_slice(), &header.names].concat();
        for size in &sizes {
            ahead.entry(next(*size)).or_default();
        }
        for (reading, size) in sizes.iter().enumerate() {
            // Before there was a type for directories, their names ended in a slash.
            let is_directory = header.kind == b'5' || header.names.iter().any(|name| name.ends_with(b"/"));
            if is_directory && (reading > 0 || *size == 0) {
                continue;
            }
            let content = &content[..content.len().min(*size as usize)];
            file(scanner, place, &names, *size, content)?;
        }
    }
    if !is_tar {
        scanner.unreadable_in(place);
    }
    Ok(())
}

fn file(
    scanner: &mut Scanner<'_>,
    place: &Place,
    names: &[Vec<u8>],
    size: u64,
    mut content: &[u8],
) -> Result<(), Exceeded> {
    scanner.budget.entry()?;
    let names: Vec<String> = names.iter().flat_map(|name| names::readings(name)).collect();
    let entry = Entry { names: &names, size, is_encrypted: false, view: View::Entry };
    entry::scan(scanner, place, &entry, Some(&mut content)).map(drop)
}

/// What pax headers and GNU long names say of the file behind them.
#[derive(Default)]
struct Extended {
    names: Vec<Vec<u8>>,
    /// Whether there were more names than are kept.
    has_more_names: bool,
    size: Option<u64>,
}

impl Extended {
    /// This, and what the extension `header` with this `content` says.
    fn with(mut self, header: &Header, content: &[u8]) -> Self {
        match header.kind {
            b'L' => self.names.push(end_of_name(names::until_nul(content)).to_vec()),
            b'x' | b'X' | b'g' => {
                for (key, value) in pax_records(content) {
                    match key {
                        b"path" | b"GNU.sparse.name" => self.names.push(end_of_name(value).to_vec()),
                        b"size" => self.size = decimal(value),
                        _ => {}
                    }
                }
                // A record whose length is wrong is skipped by some and read by others.
                let mut paths = memmem::find_iter(content, b" path=");
                for at in paths.by_ref().take(MAX_NAMES) {
                    let value = content[at + 6..].split(|byte| *byte == b'\n').next().unwrap_or_default();
                    let value = end_of_name(value).to_vec();
                    if !self.names.contains(&value) {
                        self.names.push(value);
                    }
                }
                self.has_more_names |= paths.next().is_some();
            }
            _ => {}
        }
        // The last of several counts, and so is the first to be kept.
        self.names.reverse();
        self.cut_names();
        self
    }

    fn merge(&mut self, other: Self) {
        self.names.extend(other.names);
        self.has_more_names |= other.has_more_names;
        self.cut_names();
        self.size = other.size.or(self.size);
    }

    fn cut_names(&mut self) {
        self.has_more_names |= self.names.len() > MAX_NAMES;
        self.names.truncate(MAX_NAMES);
    }
}

/// The records `LENGTH KEY=VALUE\n` of a pax header. One of a wrong length ends them.
fn pax_records(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let space = rest.iter().take(20).position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length)?;
        rest = &rest[length..];
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let equals = memchr::memchr(b'=', record)?;
        Some((&record[..equals], &record[equals + 1..]))
    })
}

/// The header of a file.
struct Header {
    names: Vec<Vec<u8>>,
    size: u64,
    /// Whether something follows the digits of the size, for which some take it to be 0.
    has_odd_size: bool,
    /// `0` a file, `5` a directory, `x` a pax header for the next file, …
    kind: u8,
}

impl Header {
    /// The header in the block that `data` begins with, if its checksum is right, as a sum of bytes with or without
    /// sign, or it has the mark: some unpackers do not look at the sum.
    fn read(data: &[u8]) -> Option<Self> {
        let block: &[u8; BLOCK] = data.first_chunk()?;
        let checksum = octal(&block[148..156])?;
        let outside = block[..148].iter().chain(&block[156..]);
        let spaces = 8 * u64::from(b' ');
        let has_mark = &block[257..262] == b"ustar" && block[0] != 0 && octal(&block[100..108]).is_some();
        let sum: u64 = outside.clone().map(|byte| u64::from(*byte)).sum();
        let signed: i64 = outside.map(|byte| i64::from(*byte as i8)).sum();
        let is_right = checksum == sum + spaces || i64::try_from(checksum) == Ok(signed + spaces as i64);
        if !is_right && !has_mark {
            return None;
        }
        let name = names::until_nul(&block[..100]);
        let mut names = vec![name.to_vec()];
        let prefix = names::until_nul(&block[345..500]);
        if &block[257..262] == b"ustar" && !prefix.is_empty() {
            names.insert(0, [prefix, b"/", name].concat());
        }
        let size = &block[124..136];
        Some(Self { names, size: number(size), has_odd_size: is_odd(size), kind: block[156] })
    }

    /// Whether the header is about the file behind it.
    const fn is_extension(&self) -> bool {
        matches!(self.kind, b'x' | b'X' | b'g' | b'L' | b'K')
    }

    /// The sizes that unpackers may take the data to have, each once.
    fn sizes(&self, extended: &Extended) -> Vec<u64> {
        let may_be_none = matches!(self.kind, b'1'..=b'6') || self.has_odd_size;
        let mut sizes = vec![extended.size.unwrap_or(self.size)];
        for other in [Some(self.size), may_be_none.then_some(0)].into_iter().flatten() {
            if !sizes.contains(&other) {
                sizes.push(other);
            }
        }
        sizes
    }
}

/// Whether a field has a number in GNU tar's way for large ones: big-endian behind a byte 0x80.
fn is_binary(field: &[u8]) -> bool {
    field.first().is_some_and(|byte| byte & 0x80 != 0)
}

/// A number in octal digits, or in GNU tar's way.
fn number(field: &[u8]) -> u64 {
    if is_binary(field) {
        let tail = field.last_chunk().map_or(0, |tail| u64::from_be_bytes(*tail));
        return tail & (u64::MAX >> 1);
    }
    octal(field).unwrap_or(0)
}

/// The digits that a value begins with.
fn decimal(value: &[u8]) -> Option<u64> {
    let length = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[..length]).ok()?.parse().ok()
}

/// The octal digits in a field, behind spaces and tabs. What follows them some read over.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let length = digits.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    u64::from_str_radix(std::str::from_utf8(&digits[..length]).ok()?, 8).ok()
}

/// Whether a field has something else than spaces around octal digits before its end or a NUL.
fn is_odd(field: &[u8]) -> bool {
    let text = names::until_nul(field);
    !is_binary(field) && text.iter().any(|byte| !matches!(byte, b' ' | b'0'..=b'7'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::content::archive::tests::{causes, tree};

    /// A header and its data.
    pub(in crate::content::archive) fn entry(name: &str, kind: u8, size: u64, data: &[u8]) -> Vec<u8> {
        let mut block = [0u8; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut out = [&block, data].concat();
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        out
    }

    pub(in crate::content::archive) fn file(name: &str, data: &[u8]) -> Vec<u8> {
        entry(name, b'0', data.len() as u64, data)
    }

    fn pax(records: &[(&str, &str)]) -> Vec<u8> {
        let record = |(key, value): &(&str, &str)| {
            let length = key.len() + value.len() + 3;
            let digits = (length + (length + 2).to_string().len()).to_string().len();
            format!("{} {key}={value}\n", length + digits)
        };
        let records: String = records.iter().map(record).collect();
        entry("pax", b'x', records.len() as u64, records.as_bytes())
    }

    #[test]
    fn each_file_is_judged_and_containers_are_opened() {
        let inner = file("evil.exe", b"MZ");
        let archive = [file("a.txt", b"text"), file("b.tar", &inner), vec![0; 1024]].concat();
        assert_eq!(tree("x.tar", &archive), ["x.tar", " a.txt", " b.tar", "  evil.exe"]);
        assert_eq!(causes("x.tar", &archive), ["attachment.forbidden_extension x.tar/b.tar/evil.exe"]);
        assert_eq!(causes("x", &archive), ["attachment.forbidden_extension x/b.tar/evil.exe"]);
    }

    #[test]
    fn names_of_extensions_are_judged_beside_that_of_the_header() {
        let long = entry("././@LongLink", b'L', 9, b"evil.exe\0");
        for archive in [
            [long.clone(), file("a.txt", b"x")].concat(),
            [pax(&[("path", "evil.exe")]), file("a.txt", b"x")].concat(),
            [pax(&[("path", "a.txt")]), file("evil.exe", b"x")].concat(),
            [long, pax(&[("path", "a.txt")]), file("b.txt", b"x")].concat(),
            [pax(&[("path", "evil.exe"), ("path", "a.txt")]), file("b.txt", b"x")].concat(),
        ] {
            assert_eq!(causes("x.tar", &archive), ["attachment.forbidden_extension x.tar/evil.exe"]);
        }
    }

    #[test]
    fn names_without_end_are_not_kept() {
        let decoys = |count: usize| {
            let decoys: Vec<_> = (0..count).map(|n| format!("a{n}.txt")).collect();
            decoys.iter().map(|name| pax(&[("path", name)])).collect::<Vec<_>>().concat()
        };
        let archive = |count| [decoys(count), pax(&[("path", "evil.exe")]), file("a.txt", b"x")].concat();
        assert_eq!(causes("x.tar", &archive(15)), ["attachment.forbidden_extension x.tar/evil.exe"]);
        let last_ones = [("path", "evil.exe")].into_iter().chain([("path", "a.txt"); 16]).collect::<Vec<_>>();
        let many = [pax(&last_ones), file("a.txt", b"x")].concat();
        assert_eq!(causes("x.tar", &many), ["attachment.unreadable_container x.tar"]);
        // Two headers that lead to the same place, the first with as many names as are kept.
        let records: Vec<_> = (0..16).map(|n| format!("a{n}.txt")).collect();
        let records: Vec<_> = records.iter().map(|name| ("path", name.as_str())).collect();
        let hidden = pax(&[("path", "evil.exe")]);
        let mut outer = pax(&records);
        let size = outer.len();
        outer[124..135].copy_from_slice(format!("{:011o}", size - BLOCK + hidden.len()).as_bytes());
        let merged = [
            pax(&[("size", &size.to_string())]),
            entry("readme.txt", b'0', 0, b""),
            outer,
            hidden,
            file("a.txt", b"x"),
        ]
        .concat();
        let found = causes("x.tar", &merged);
        assert!(found.contains(&"attachment.unreadable_container x.tar".to_owned()), "{found:?}");
    }

    #[test]
    fn every_size_is_followed() {
        let hidden = file("evil.exe", b"MZ");
        let length = hidden.len().to_string();
        for archive in [
            // The header says that the hidden one is data, the pax header that it is not, and the other way round.
            [pax(&[("size", "0")]), file("a.txt", &hidden)].concat(),
            [pax(&[("size", &length)]), entry("a.txt", b'0', 0, b""), hidden.clone()].concat(),
            [pax(&[("size", "0;")]), file("a.txt", &hidden)].concat(),
            [entry("link", b'2', hidden.len() as u64, b""), hidden.clone()].concat(),
            [entry("dir", b'5', hidden.len() as u64, b""), hidden.clone()].concat(),
            // Behind the end, and behind damage.
            [file("a.txt", b""), vec![0; 2048], hidden.clone()].concat(),
            [file("a.txt", b""), vec![b'x'; 512], hidden.clone()].concat(),
        ] {
            let expected = "attachment.forbidden_extension x.tar/evil.exe".to_owned();
            assert!(causes("x.tar", &archive).contains(&expected));
        }
        // Not all read a number that something else than digits is in.
        for size in [*b"0000000024;\0", *b"\t0000000024\0", *b"0000000024x\0"] {
            let odd = |name: &str, kind: u8, data: &[u8]| {
                let mut entry = entry(name, kind, data.len() as u64, data);
                entry[124..136].copy_from_slice(&size);
                entry
            };
            let first = file("readme.txt", b"hello");
            let pax = odd("pax", b'x', b"16 path=evil.js\n    ");
            let named = [first.clone(), pax, file("a.txt", b"x")].concat();
            assert_eq!(causes("x.tar", &named), ["attachment.forbidden_extension x.tar/evil.js"]);
            let nested = [first, odd("b.zip", b'0', b"PK\x03\x04, but cut short.")].concat();
            assert_eq!(tree("x.tar", &nested), ["x.tar", " readme.txt", " b.zip", " b.zip"]);
            assert_eq!(causes("x.tar", &nested), ["attachment.unreadable_container x.tar/b.zip"]);
        }
        // What all take for data is data.
        let data = [&[b'x'; BLOCK], hidden.as_slice()].concat();
        assert_eq!(causes("x.tar", &file("a.txt", &data)), [""; 0]);
    }

    #[test]
    fn what_is_no_tar_is_unreadable() {
        assert_eq!(causes("x.tar", b"text"), ["attachment.unreadable_container x.tar"]);
        assert_eq!(causes("x.tar", &[0; 10240]), [""; 0]);
        let cut = file("b.tar", &file("a.txt", &[b'x'; 4096]));
        assert_eq!(causes("x.tar", &cut[..2048]), ["attachment.unreadable_container x.tar/b.tar"]);
        let mut signed = file("a\u{e9}.txt", b"x");
        signed[148..155].fill(b'7');
        assert!(begins(&signed));
        signed[257] = 0;
        assert!(!begins(&signed));
    }

    #[test]
    fn no_cut_and_no_size_reads_past_the_end() {
        let archive =
            [pax(&[("path", "a"), ("size", "99999999999")]), entry("a", b'0', u64::MAX >> 31, b"x")].concat();
        for length in 0..archive.len() {
            causes("x.tar", &archive[..length]);
        }
        assert_eq!(number(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), u64::MAX >> 1);
    }
}
