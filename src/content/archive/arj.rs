//! ARJ archives: the names of their files, by a walk from header to header.
//!
//! A header is `60 ea`, the size of its basic part, that part, its CRC-32, then extended parts; a size of 0 ends the
//! archive. The first header is the archive's own. What is stored without compression is looked into; no reader here
//! unpacks ARJ's own compression, so a container compressed by it is `unreadable_container`.

use super::entry::{self, Entry};
use super::{PREFIX, names};
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::scanner::{Place, Scanner};

const MARK: &[u8] = b"\x60\xea";
/// The largest basic header there can be.
const MAX_HEADER: usize = 2600;
/// Flag of a file: encrypted ("garbled").
const GARBLED: u8 = 1;
/// The type of the archive's own header, and of a directory.
const MAIN: u8 = 2;
const DIRECTORY: u8 = 3;
/// Work of a header, in bytes.
const HEADER: u64 = 64;

/// Whether a file begins with the intact header of an archive.
pub(super) fn begins(data: &[u8]) -> bool {
    match header(&mut &*data) {
        Some(header) => header.kind == MAIN && header.is_intact,
        // A comment makes the first header longer than what is at hand.
        None => data.len() == PREFIX && data.starts_with(MARK) && data[3] < 11 && data[10] == MAIN,
    }
}

/// Looks into the archive `data`, whose files are in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let mut rest = data;
    let mut headers = 0u64;
    while let Some(header) = header(&mut rest) {
        scanner.budget.work(HEADER)?;
        headers += 1;
        if header.kind == MAIN && headers == 1 {
            continue;
        }
        let (mut content, after) = rest.split_at((header.packed_size as usize).min(rest.len()));
        rest = after;
        if header.kind == DIRECTORY {
            continue;
        }
        scanner.budget.entry()?;
        let names = names::readings(header.name);
        let is_encrypted = header.flags & GARBLED != 0;
        let size = u64::from(header.size);
        let entry = Entry { names: &names, size, is_encrypted, view: View::Entry };
        let content: Option<&mut dyn std::io::Read> =
            if header.method == 0 { Some(&mut content) } else { None };
        entry::scan(scanner, place, &entry, content)?;
    }
    // What ends it is a header of no size, or in a volume the end of the file.
    if headers == 0 || !(rest.is_empty() || rest.starts_with(b"\x60\xea\0\0")) {
        scanner.unreadable_in(place);
    }
    Ok(())
}

struct Header<'a> {
    flags: u8,
    method: u8,
    kind: u8,
    packed_size: u32,
    size: u32,
    name: &'a [u8],
    is_intact: bool,
}

/// The header that `rest` begins with, taken off it; none at the end.
fn header<'a>(rest: &mut &'a [u8]) -> Option<Header<'a>> {
    let after_mark = rest.strip_prefix(MARK)?;
    let (size, after) = after_mark.split_first_chunk()?;
    let size = usize::from(u16::from_le_bytes(*size));
    let (basic, after) = after.split_at_checked(size).filter(|_| (30..=MAX_HEADER).contains(&size))?;
    let (crc, mut after) = after.split_first_chunk()?;
    loop {
        let (size, behind) = after.split_first_chunk()?;
        after = behind;
        match u16::from_le_bytes(*size) {
            0 => break,
            // The extended part has a checksum of its own.
            size => after = after.get(usize::from(size) + 4..)?,
        }
    }
    *rest = after;
    let number =
        |at: usize| basic.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |n| u32::from_le_bytes(*n));
    let name = basic.get(usize::from(basic[0])..).unwrap_or_default();
    Some(Header {
        flags: basic[4],
        method: basic[5],
        kind: basic[6],
        packed_size: number(12),
        size: number(16),
        name: names::until_nul(name),
        is_intact: crc32fast::hash(basic) == u32::from_le_bytes(*crc),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::archive::tests::{causes, tree};

    fn plain(flags: u8, method: u8, kind: u8, name: &str, size: usize) -> Vec<u8> {
        let mut basic = vec![30, 11, 1, 0, flags, method, kind, 0, 0, 0, 0, 0];
        basic.extend((size as u32).to_le_bytes());
        basic.extend((size as u32).to_le_bytes());
        basic.resize(30, 0);
        basic.extend(name.as_bytes());
        basic.extend([0, 0]);
        let size = (basic.len() as u16).to_le_bytes();
        [MARK, &size, &basic, &crc32fast::hash(&basic).to_le_bytes(), &[2, 0, 1, 1, 0, 0, 0, 0], &[0, 0]]
            .concat()
    }

    fn file(flags: u8, method: u8, name: &str, data: &[u8]) -> Vec<u8> {
        [plain(flags, method, 0, name, data.len()), data.to_vec()].concat()
    }

    fn archive(files: &[Vec<u8>]) -> Vec<u8> {
        [plain(0, 0, MAIN, "x.arj", 0), files.concat(), b"\x60\xea\0\0".to_vec()].concat()
    }

    #[test]
    fn names_are_seen_and_stored_containers_opened() {
        let inner = archive(&[file(0, 1, "evil.exe", b"packed")]);
        let outer = archive(&[
            file(0, 1, "a.txt", b"packed"),
            plain(0, 0, DIRECTORY, "d.exe", 0),
            file(0, 0, "b.arj", &inner),
        ]);
        assert_eq!(tree("x.arj", &outer), ["x.arj", " a.txt", " b.arj", "  evil.exe"]);
        assert_eq!(causes("x.dat", &outer), ["attachment.forbidden_extension x.dat/b.arj/evil.exe"]);
    }

    #[test]
    fn only_the_first_header_is_the_archive_s_own() {
        let second = [plain(0, 0, MAIN, "evil.bat", 4), b"data".to_vec()].concat();
        let found = causes("x.arj", &archive(&[second]));
        assert_eq!(found, ["attachment.forbidden_extension x.arj/evil.bat"]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        assert_eq!(causes("x.arj", b"text"), ["attachment.unreadable_container x.arj"]);
        let packed = archive(&[file(0, 1, "b.zip", b"packed")]);
        assert_eq!(causes("x.arj", &packed), ["attachment.unreadable_container x.arj/b.zip"]);
        let encrypted =
            archive(&[file(GARBLED, 1, "a.txt", b"packed"), file(GARBLED, 0, "b.zip", b"packed")]);
        assert_eq!(
            causes("x.arj", &encrypted),
            ["attachment.encrypted_entry x.arj/a.txt", "attachment.encrypted_nested x.arj/b.zip"]
        );
        let mut broken = archive(&[file(0, 1, "a.txt", b"packed")]);
        let end = broken.len() - 4;
        broken[end..].copy_from_slice(b"junk");
        assert_eq!(causes("x.arj", &broken), ["attachment.unreadable_container x.arj"]);
        for cut in 0..broken.len() {
            causes("x.arj", &broken[..cut]);
        }
    }
}
