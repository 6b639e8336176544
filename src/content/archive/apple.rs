//! AppleSingle and AppleDouble (RFC 1740), and MacBinary before them: what a Macintosh keeps beside a file, its real name among it.
//!
//! A header of 26 bytes, the last two the number of entries; then for each its id, offset and length.

use super::entry::{self, Entry};
use super::names;
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::filename::end_of_name;
use crate::content::scanner::{Place, Scanner};

/// Ids of entries: the content, which only AppleSingle has, and the name.
const DATA_FORK: u32 = 1;
const REAL_NAME: u32 = 3;
/// Names that are looked at: a file has one, but any number of entries may lead to the same bytes.
const MAX_NAMES: usize = 64;
const HEADER: usize = 26;
const MACBINARY: usize = 128;

/// Whether a file begins as AppleSingle or AppleDouble.
pub(super) fn begins(data: &[u8]) -> bool {
    matches!(data, [0, 5, 0x16, 0 | 7, 0, 1 | 2, 0, 0, ..])
}

/// Looks into the file `data`, whose content is in `place`.
pub(super) fn scan(
    scanner: &mut Scanner<'_>,
    name: &str,
    data: &[u8],
    place: &Place,
) -> Result<(), Exceeded> {
    let count = data.get(HEADER - 2..HEADER).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]));
    let (mut names, mut content) = (Vec::new(), None);
    let mut has_more_names = false;
    for entry in data.get(HEADER..).unwrap_or_default().chunks_exact(12).take(usize::from(count)) {
        scanner.budget.work(entry.len() as u64)?;
        let [id, offset, length] =
            [0, 4, 8].map(|at| u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
        let rest = data.get(offset as usize..).unwrap_or_default();
        let bytes = &rest[..rest.len().min(length as usize)];
        match id {
            REAL_NAME if names.len() >= MAX_NAMES => has_more_names = true,
            REAL_NAME => {
                let bytes = end_of_name(bytes);
                scanner.budget.work(bytes.len() as u64)?;
                names.extend(names::readings(bytes));
            }
            DATA_FORK => content = Some(bytes),
            _ => {}
        }
    }
    if has_more_names {
        // Any of them may be the one that counts.
        scanner.unreadable_in(place);
    }
    match content {
        Some(mut content) => {
            scanner.budget.entry()?;
            names.push(name.to_owned());
            let size = content.len() as u64;
            let entry = Entry { names: &names, size, is_encrypted: false, view: View::Entry };
            entry::scan(scanner, place, &entry, Some(&mut content)).map(drop)
        }
        None if names.is_empty() => Ok(()),
        None => {
            scanner.budget.entry()?;
            let entry = Entry { names: &names, size: 0, is_encrypted: false, view: View::Entry };
            entry::scan(scanner, place, &entry, Some(&mut &[][..])).map(drop)
        }
    }
}

/// Whether a file begins as MacBinary (version 1 to 3): a header of 128 bytes in which the bytes are 0 that must be, with a
/// name, sizes, and from version 2 on a checksum.
pub(super) fn is_macbinary(data: &[u8]) -> bool {
    let Some(header) = data.get(..MACBINARY) else { return false };
    let name = &header[2..];
    let length = usize::from(header[1]);
    let has_name = (1..=63).contains(&length)
        && !name[..length].iter().any(u8::is_ascii_control)
        && name[length..63].iter().all(|byte| *byte == 0);
    let has_zeros = header[0] == 0 && header[74] == 0 && header[82] == 0;
    let has_type = header[65..73]
        .iter()
        .all(|byte| *byte == 0 || byte.is_ascii_graphic() || *byte == b' ' || *byte >= 0x80);
    has_name
        && has_zeros
        && has_type
        && matches!(header[122], 0 | 129 | 130)
        && header[83] < 0x7f
        && header[87] < 0x7f
}

/// Looks into the file `data` in MacBinary, whose content is in `place`.
pub(super) fn scan_macbinary(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let (Some(header), Some(rest)) = (data.get(..MACBINARY), data.get(MACBINARY..)) else { return Ok(()) };
    let length = usize::from(header[1]).min(63);
    let names = names::readings(&header[2..2 + length]);
    let size = u32::from_be_bytes([header[83], header[84], header[85], header[86]]) as usize;
    let content = &rest[..rest.len().min(size)];
    scanner.budget.entry()?;
    let entry = Entry { names: &names, size: content.len() as u64, is_encrypted: false, view: View::Entry };
    entry::scan(scanner, place, &entry, Some(&mut &*content)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::tar::tests::file;
    use super::*;
    use crate::content::archive::tests::causes;

    fn apple(kind: u8, entries: &[(u32, &[u8])]) -> Vec<u8> {
        let mut out = vec![0, 5, 0x16, kind, 0, 2, 0, 0];
        out.extend([0; 16]);
        out.extend((entries.len() as u16).to_be_bytes());
        let mut at = HEADER + 12 * entries.len();
        for (id, bytes) in entries {
            for number in [*id, at as u32, bytes.len() as u32] {
                out.extend(number.to_be_bytes());
            }
            at += bytes.len();
        }
        entries.iter().for_each(|(_, bytes)| out.extend(*bytes));
        out
    }

    #[test]
    fn the_real_name_and_the_content_are_judged() {
        let double = apple(7, &[(9, &[0; 32]), (REAL_NAME, b"evil.exe")]);
        assert_eq!(causes("a.txt", &double), ["attachment.forbidden_extension a.txt/evil.exe"]);
        let single = apple(0, &[(REAL_NAME, b"a.tar"), (DATA_FORK, &file("evil.exe", b"MZ"))]);
        assert_eq!(causes("a.txt", &single), ["attachment.forbidden_extension a.txt/a.tar/evil.exe"]);
        assert_eq!(causes("a.txt", &apple(7, &[(2, b"resource")])), [""; 0]);
        for cut in 0..single.len() {
            causes("a.txt", &single[..cut]);
        }
    }

    #[test]
    fn names_without_end_are_not_kept() {
        let names = |count: usize, last: (u32, &'static [u8])| {
            let mut entries = vec![(REAL_NAME, &b"a.txt"[..]); count];
            entries.push(last);
            causes("a.txt", &apple(7, &entries))
        };
        assert_eq!(names(63, (REAL_NAME, b"evil.exe")), ["attachment.forbidden_extension a.txt/evil.exe"]);
        assert_eq!(names(64, (2, b"resource")), [""; 0]);
        assert_eq!(names(64, (REAL_NAME, b"evil.exe")), ["attachment.unreadable_container a.txt"]);
    }

    #[test]
    fn macbinary_is_told_and_opened() {
        let inner = file("evil.exe", b"MZ");
        let mut header = vec![0; MACBINARY];
        header[1..7].copy_from_slice(b"\x05b.tar");
        header[65..73].copy_from_slice(b"TEXTttxt");
        header[83..87].copy_from_slice(&(inner.len() as u32).to_be_bytes());
        header[122] = 129;
        let whole = [header.as_slice(), &inner].concat();
        assert_eq!(causes("a.bin", &whole), ["attachment.forbidden_extension a.bin/b.tar/evil.exe"]);
        header[1..10].copy_from_slice(b"\x08evil.exe");
        assert_eq!(causes("a.bin", &header), ["attachment.forbidden_extension a.bin/evil.exe"]);
        assert_eq!(causes("a.bin", &[0; 400]), [""; 0]);
    }
}
