//! AppleSingle and AppleDouble (RFC 1740): what a Macintosh keeps beside a file, its real name among it.
//!
//! A header of 26 bytes, the last two the number of entries; then for each its id, offset and length.

use super::entry::{self, Entry};
use super::names;
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::scanner::{Place, Scanner};

/// Ids of entries: the content, which only AppleSingle has, and the name.
const DATA_FORK: u32 = 1;
const REAL_NAME: u32 = 3;
const HEADER: usize = 26;

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
    for entry in data.get(HEADER..).unwrap_or_default().chunks_exact(12).take(usize::from(count)) {
        scanner.budget.work(entry.len() as u64)?;
        let [id, offset, length] =
            [0, 4, 8].map(|at| u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
        let rest = data.get(offset as usize..).unwrap_or_default();
        let bytes = &rest[..rest.len().min(length as usize)];
        match id {
            REAL_NAME => names.extend(names::readings(crate::content::filename::end_of_name(bytes))),
            DATA_FORK => content = Some(bytes),
            _ => {}
        }
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
}
