//! The headers of a zip as they stand in its bytes, whether or not a directory leads to them (APPNOTE.TXT 4.3.7,
//! 4.3.12).
//!
//! Unpackers disagree on damaged and ambiguous archives: some read the local headers, some the last central
//! directory, some the first. A name that any of them could show is in one of these headers.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::content::archive::{u16_at, u32_at};
use crate::content::filename::end_of_name;

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
/// What each of them begins with.
static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"PK"));
/// Bytes of a local header before its name.
const LOCAL_SIZE: usize = 30;
/// Bytes of a central directory header before its name.
const CENTRAL_SIZE: usize = 46;
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
