//! The headers of a zip as they stand in its bytes, whether or not a directory leads to them (APPNOTE.TXT 4.3.7,
//! 4.3.12).
//!
//! Unpackers disagree on damaged and ambiguous archives: some read the local headers, some the last central
//! directory, some the first. A name that any of them could show is in one of these headers.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use crate::content::archive::{u16_at, u32_at};
use crate::content::filename::end_of_name;

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
/// The end record, that of ZIP64, and the locator of the latter (APPNOTE.TXT 4.3.16, 4.3.14, 4.3.15).
const END: &[u8; 4] = b"PK\x05\x06";
const END64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR: &[u8; 4] = b"PK\x06\x07";
/// What each of them begins with.
static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"PK"));
/// Bytes of a local header before its name.
const LOCAL_SIZE: usize = 30;
/// Bytes of a central directory header before its name.
const CENTRAL_SIZE: usize = 46;
/// Bytes of the end record without its comment, and of the locator.
pub(super) const END_SIZE: usize = 22;
const LOCATOR_SIZE: usize = 20;
/// Extra field: the name in UTF-8 (APPNOTE.TXT 4.6.9).
const UNICODE_PATH: u16 = 0x7075;
/// Flag bits: encrypted; sizes follow the data; the directory itself is encrypted (APPNOTE.TXT 4.4.4).
const ENCRYPTED: u16 = 1 << 0;
const SIZES_FOLLOW: u16 = 1 << 3;
const MASKED: u16 = 1 << 13;

/// Where a header stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Local,
    Central,
}

/// A header of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header<'z> {
    pub(super) origin: Origin,
    /// Where the header begins.
    pub(super) offset: usize,
    /// Where the header ends; for a local header, where the data begin.
    pub(super) end: usize,
    /// The end of the name.
    pub(super) name: &'z [u8],
    /// The end of the name in the Unicode path field.
    pub(super) unicode_name: Option<&'z [u8]>,
    flags: u16,
    /// Compression method (APPNOTE.TXT 4.4.5).
    pub(super) method: u16,
    pub(super) compressed_size: u32,
    pub(super) size: u32,
}

impl<'z> Header<'z> {
    /// The local header at `offset`.
    pub(super) fn local(archive: &'z [u8], offset: usize) -> Option<Self> {
        let fixed = archive.get(offset..)?.get(..LOCAL_SIZE)?;
        let name_length = usize::from(u16_at(fixed, 26));
        let name_start = offset + LOCAL_SIZE;
        let extra_start = name_start + name_length;
        let end = extra_start + usize::from(u16_at(fixed, 28));
        fixed.starts_with(LOCAL).then_some(())?;
        Some(Self {
            origin: Origin::Local,
            offset,
            end,
            name: end_of_name(archive.get(name_start..extra_start)?),
            unicode_name: archive.get(extra_start..end).and_then(unicode_name),
            flags: u16_at(fixed, 6),
            method: u16_at(fixed, 8),
            compressed_size: u32_at(fixed, 18),
            size: u32_at(fixed, 22),
        })
    }

    /// The central directory header at `offset`.
    pub(super) fn central(archive: &'z [u8], offset: usize) -> Option<Self> {
        let fixed = archive.get(offset..)?.get(..CENTRAL_SIZE)?;
        let name_start = offset + CENTRAL_SIZE;
        let extra_start = name_start + usize::from(u16_at(fixed, 28));
        let end = extra_start + usize::from(u16_at(fixed, 30));
        Some(Self {
            origin: Origin::Central,
            offset,
            end,
            name: end_of_name(archive.get(name_start..extra_start)?),
            unicode_name: archive.get(extra_start..end).and_then(unicode_name),
            flags: u16_at(fixed, 8),
            method: u16_at(fixed, 10),
            compressed_size: u32_at(fixed, 20),
            size: u32_at(fixed, 24),
        })
    }

    /// Whether the header says that the content, or the directory itself, is encrypted.
    pub(super) const fn is_encrypted(&self) -> bool {
        self.flags & (ENCRYPTED | MASKED) != 0
    }

    /// Whether the header lacks its fields, as the directory is encrypted.
    pub(super) const fn is_masked(&self) -> bool {
        self.flags & MASKED != 0
    }

    /// Whether checksum and sizes follow the data.
    pub(super) const fn has_sizes_behind(&self) -> bool {
        self.flags & SIZES_FOLLOW != 0
    }

    /// Whether the entry is a directory: a final slash and no content.
    pub(super) fn is_directory(&self) -> bool {
        self.name.ends_with(b"/") && self.size == 0 && self.compressed_size == 0
    }

    /// The data behind a local header: as long as it says, to the end of the archive where it does not.
    pub(super) fn data(&self, archive: &'z [u8]) -> &'z [u8] {
        let rest = archive.get(self.end..).unwrap_or_default();
        let unknown = self.flags & SIZES_FOLLOW != 0 || self.compressed_size == u32::MAX;
        if unknown { rest } else { &rest[..rest.len().min(self.compressed_size as usize)] }
    }
}

/// Whether every reader comes to the same directory, so that none is led to what looks like another one in deflated data: the archive
/// ends with its end record, which stands right behind the directory it tells of, and nothing leads elsewhere.
pub(super) fn has_one_directory(archive: &[u8]) -> bool {
    let Some(end) = memmem::rfind(archive, END) else { return false };
    let (size, offset) = (u32_at(archive, end + 12) as usize, u32_at(archive, end + 16) as usize);
    let from = end.saturating_sub(usize::from(u16::MAX));
    size.checked_add(offset) == Some(end)
        && end + END_SIZE + usize::from(u16_at(archive, end + 20)) == archive.len()
        && !archive[end.saturating_sub(LOCATOR_SIZE)..].starts_with(LOCATOR)
        && !MARK.find_iter(&archive[from..end]).any(|at| leads_to_directory(archive, from + at))
}

/// Whether readers may take what stands at `at` for the way to a directory. They look for it in as many bytes as a comment may have:
/// older libzip for the first end record that leads to one, minizip for any ZIP64 locator that does. Those of an archive in the
/// archive count from its own beginning, and lead nowhere.
fn leads_to_directory(archive: &[u8], at: usize) -> bool {
    let is_at = |offset: u32, mark| archive.get(offset as usize..).is_some_and(|rest| rest.starts_with(mark));
    let record = &archive[at..];
    (record.starts_with(END) && is_at(u32_at(record, 16), CENTRAL))
        || (record.starts_with(LOCATOR) && is_at(u32_at(record, 8), END64))
}

/// The first header with a name that begins `within`.
pub(super) fn next_header(archive: &[u8], within: Range<usize>) -> Option<Header<'_>> {
    let end = archive.len().min(within.end.saturating_add(1));
    let mut starts = MARK.find_iter(archive.get(within.start..end)?).map(|at| within.start + at);
    starts.find_map(|offset| {
        let header = match archive.get(offset..offset + 4)? {
            magic if magic == LOCAL => Header::local(archive, offset),
            magic if magic == CENTRAL => Header::central(archive, offset),
            _ => None,
        };
        header.filter(|header| !header.name.is_empty())
    })
}

/// The name in the Unicode path field, whether or not its checksum fits the other name: some unpackers do not look.
fn unicode_name(mut extra: &[u8]) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let size = usize::from(u16_at(extra, 2));
        let field = extra.get(4..4 + size)?;
        if u16_at(extra, 0) == UNICODE_PATH {
            return field.get(5..).map(end_of_name);
        }
        extra = &extra[4 + size..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(name: &[u8], extra: &[u8], flags: u16, compressed_size: u32, data: &[u8]) -> Vec<u8> {
        let mut out = LOCAL.to_vec();
        out.extend([20, 0]);
        out.extend(flags.to_le_bytes());
        out.extend([0; 10]);
        out.extend(compressed_size.to_le_bytes());
        out.extend((data.len() as u32).to_le_bytes());
        out.extend((name.len() as u16).to_le_bytes());
        out.extend((extra.len() as u16).to_le_bytes());
        [&out, name, extra, data].concat()
    }

    fn headers(archive: &[u8]) -> Vec<Header<'_>> {
        let mut from = 0;
        let next = || next_header(archive, from..archive.len()).inspect(|header| from = header.offset + 1);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn local_headers_are_read_as_they_stand() {
        let extra = [&[1, 0, 2, 0, 9, 9][..], &[0x75, 0x70, 10, 0, 1, 0, 0, 0, 0], b"u.exe"].concat();
        let archive =
            [b"junk PK".to_vec(), local(b"a.txt", &extra, 1, 2, b"xyz"), b"PK\x03\x04".to_vec()].concat();
        let found = headers(&archive);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].offset, found[0].name), (7, &b"a.txt"[..]));
        assert_eq!(found[0].unicode_name, Some(&b"u.exe"[..]));
        assert!(found[0].is_encrypted());
        assert_eq!(found[0].data(&archive), b"xy");
    }

    #[test]
    fn headers_are_found_where_they_begin_within_what_is_searched() {
        let archive = [&b"junk"[..], &local(b"a", b"", 0, 0, b"")].concat();
        let found = |within| next_header(&archive, within).map(|header| header.offset);
        assert_eq!(
            (found(0..4), found(0..5), found(4..5), found(5..usize::MAX)),
            (None, Some(4), Some(4), None)
        );
    }

    /// A directory header that says nothing, behind this, and its end record, that tells of it at `offset`.
    fn ending(before: &[u8], offset: usize, comment: &[u8]) -> Vec<u8> {
        let mut end = [END.as_slice(), &[0; 18]].concat();
        end[12..16].copy_from_slice(&10u32.to_le_bytes());
        end[16..20].copy_from_slice(&(offset as u32).to_le_bytes());
        end[20..22].copy_from_slice(&(comment.len() as u16).to_le_bytes());
        [before, CENTRAL, &[b'd'; 6], &end, comment].concat()
    }

    #[test]
    fn one_directory_is_one_for_every_reader() {
        assert!(
            has_one_directory(&ending(b"", 0, b"")) && has_one_directory(&ending(b"files", 5, b"comment"))
        );
        assert!(!has_one_directory(&ending(b"files", 0, b"")), "its offset leads elsewhere");
        assert!(
            !has_one_directory(&[ending(b"files", 5, b""), b"junk".to_vec()].concat()),
            "something is behind it"
        );
        assert!(!has_one_directory(&ending(b"", 0, &ending(b"", 0, b""))), "the comment has another");
        assert!(!has_one_directory(b"") && !has_one_directory(&END.repeat(5)));
        let mut empty = [LOCATOR.as_slice(), &[0; 16], END, &[0; 18]].concat();
        empty[36] = 20;
        assert!(!has_one_directory(&empty), "a locator stands before it");
        empty[..4].fill(0);
        assert!(has_one_directory(&empty));
    }

    #[test]
    fn records_in_data_count_where_they_lead_to_a_directory() {
        let inside = |record: &[u8], distance: usize| {
            let before = [END64, CENTRAL, record, &vec![b'x'; distance - 10 - record.len()]].concat();
            has_one_directory(&ending(&before, before.len(), b""))
        };
        let end = |offset: u8| [END.as_slice(), &[0; 12], &[offset, 0, 0, 0, 0, 0]].concat();
        let locator = |offset: u8| [LOCATOR.as_slice(), &[0, 0, 0, 0, offset], &[0; 11]].concat();
        for (nowhere, somewhere) in [(end(0), end(4)), (locator(4), locator(0))] {
            assert!(inside(&nowhere, 100) && !inside(&somewhere, 100) && !inside(&somewhere, 0xffff));
            assert!(inside(&somewhere, 0x1_0000), "no reader looks so far");
        }
    }

    #[test]
    fn data_of_unknown_length_go_to_the_end() {
        let archive = local(b"a", b"", SIZES_FOLLOW, 0, b"xyz");
        assert_eq!(Header::local(&archive, 0).unwrap().data(&archive), b"xyz");
        let archive = local(b"a/", b"", 0, 0, b"");
        assert!(Header::local(&archive, 0).unwrap().is_directory());
    }

    #[test]
    fn no_cut_reads_past_the_end() {
        let archive = local(b"a.txt", &[0x75, 0x70, 200, 0, 1], 0, 3, b"xyz");
        for length in 0..archive.len() {
            let expected = usize::from(length >= 35);
            assert_eq!(headers(&archive[..length]).len(), expected, "{length}");
        }
    }
}
