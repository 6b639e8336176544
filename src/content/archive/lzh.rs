//! LHA archives: `-lh0-` to `-lhx-`, `-lz?-`, `-pm?-`.
//!
//! A row of headers, each with the data of its file behind it; a zero byte ends it. The names of a header and of its
//! extensions are all judged.

#![expect(clippy::disallowed_types, reason = "each decoder here is read through the budget")]

use std::io::Read;

use delharc::decode::DecoderAny;
use delharc::{LhaDecodeReader, LhaHeader};

use super::entry::{self, Entry};
use super::names;
use crate::content::View;
use crate::content::budget::{Exceeded, contained};
use crate::content::filename::end_of_name;
use crate::content::scanner::{Place, Scanner};

/// Work of a header and of starting a decoder, in bytes.
const START: u64 = 64 << 10;
/// Extensions of headers: the name, and the directory.
const NAME: u8 = 1;
const DIRECTORY: u8 = 2;

/// Whether a file begins with the header of an entry, by the method in it.
pub(super) fn begins(data: &[u8]) -> bool {
    matches!(data, [_, _, b'-', b'l', b'h' | b'z', _, b'-', ..] | [_, _, b'-', b'p', b'm', _, b'-', ..])
}

/// Looks into the archive `data`, whose files are in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let mut rest = data;
    let mut is_empty = true;
    let is_whole = loop {
        if !is_empty && (rest.is_empty() || rest[0] == 0) {
            // Behind a header whose length is wrong there is a zero of its file, and more files.
            break rest.iter().all(|byte| *byte == 0);
        }
        scanner.budget.work(START)?;
        let Some(Ok(Some(header))) = contained(|| LhaHeader::read(&mut rest)) else { break false };
        is_empty = false;
        let size = usize::try_from(header.compressed_size).unwrap_or(usize::MAX).min(rest.len());
        let (packed, after) = rest.split_at(size);
        rest = after;
        if !header.is_directory() || header.original_size > 0 {
            file(scanner, place, header, packed)?;
        }
    };
    if !is_whole {
        scanner.unreadable_in(place);
    }
    Ok(())
}

fn file(scanner: &mut Scanner<'_>, place: &Place, header: LhaHeader, packed: &[u8]) -> Result<(), Exceeded> {
    scanner.budget.entry()?;
    let names = names(&header);
    let size = header.original_size;
    let mut reader = LhaDecodeReader::default();
    let is_known = contained(|| {
        let decoder = DecoderAny::new_from_header(&header, packed);
        let is_known = decoder.is_supported();
        reader.begin_with_header_and_decoder(header, decoder);
        is_known
    });
    let content = if is_known == Some(true) { Some(&mut reader as &mut dyn Read) } else { None };
    let entry = Entry { names: &names, size, is_encrypted: false, view: View::Entry };
    entry::scan(scanner, place, &entry, content).map(drop)
}

/// The path as unpackers put it together, then the names as they stand in the header.
fn names(header: &LhaHeader) -> Vec<String> {
    let mut all: Vec<String> = contained(|| header.parse_pathname_to_str()).into_iter().collect();
    all.extend(names::readings(end_of_name(&header.filename)));
    let extensions = contained(|| header.iter_extra().map(<[u8]>::to_vec).collect::<Vec<_>>());
    for extension in extensions.unwrap_or_default() {
        if let [NAME | DIRECTORY, name @ ..] = extension.as_slice() {
            all.extend(names::readings(end_of_name(name)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tar::tests::file as tar;
    use crate::content::archive::tests::{causes, tree};

    /// An entry of level 0 without compression.
    fn entry(method: &str, name: &[u8], data: &[u8]) -> Vec<u8> {
        let mut body = method.as_bytes().to_vec();
        body.extend((data.len() as u32).to_le_bytes());
        body.extend((data.len() as u32).to_le_bytes());
        body.extend([0, 0, 0, 0, 0x20, 0, name.len() as u8]);
        body.extend(name);
        body.extend([0, 0]);
        let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        [&[body.len() as u8, sum], body.as_slice(), data].concat()
    }

    #[test]
    fn files_are_judged_and_containers_opened() {
        let inner = tar("evil.exe", b"MZ");
        let outer = [entry("-lh0-", b"a.txt", b"text"), entry("-lh0-", b"b.tar", &inner), vec![0]].concat();
        assert_eq!(tree("x.lzh", &outer), ["x.lzh", " a.txt", " b.tar", "  evil.exe"]);
        assert_eq!(causes("x.dat", &outer), ["attachment.forbidden_extension x.dat/b.tar/evil.exe"]);
        let names = [entry("-lh5-", b"dir\\evil.exe", b"packed"), vec![0]].concat();
        assert_eq!(causes("x.lha", &names), ["attachment.forbidden_extension x.lha/dir/evil.exe"]);
        let hidden = [entry("-lh0-", b"a.txt\0evil.exe", b"text"), vec![0]].concat();
        assert_eq!(causes("x.lha", &hidden).len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        assert_eq!(causes("x.lzh", b"text"), ["attachment.unreadable_container x.lzh"]);
        let unknown = [entry("-lh3-", b"b.zip", b"packed"), vec![0]].concat();
        assert_eq!(causes("x.lzh", &unknown), ["attachment.unreadable_container x.lzh/b.zip"]);
        for cut in 0..unknown.len() {
            causes("x.lzh", &unknown[..cut]);
        }
        let ended = |end: &[u8]| [&entry("-lh0-", b"a.txt", b"text"), end].concat();
        assert_eq!(causes("x.lzh", &ended(&[0; 100])), [""; 0]);
        let hidden = ended(&[&[0], &entry("-lh0-", b"evil.js", b"text")[..], &[0]].concat());
        assert_eq!(causes("x.lzh", &hidden), ["attachment.unreadable_container x.lzh"]);
        let broken = [entry("-lh0-", b"a.txt", b"text"), b"junk".to_vec()].concat();
        assert_eq!(causes("x.lzh", &broken), ["attachment.unreadable_container x.lzh"]);
    }
}
