//! Zip archives (APPNOTE.TXT 6.3.10): every name of every header; entries that are containers are inflated and
//! looked into.
//!
//! Files are not inflated but for their first bytes, so that a bomb costs nothing as long as it is a leaf.

#![expect(clippy::disallowed_types, reason = "each decoder here is read through the budget")]

mod raw;

use std::collections::{BTreeMap, HashSet};
use std::io::{Cursor, Read};

use flate2::bufread::DeflateDecoder;
use memchr::memmem;
use zip::read::{ArchiveOffset, Config, OwnedZipFileEntry};
// Unstable for the crate, hence its exact version in Cargo.toml; the stable archive type drops entries of the
// same name.
use zip::unstable::read::ZipIterable;
use zip::{CompressionMethod, ZipReadOptions};

use self::raw::{Header, Origin};
use super::entry;
use crate::content::budget::Exceeded;
use crate::content::filename::{self, Content};
use crate::content::scanner::{Place, Scanner};
use crate::content::{Kind, View};

/// Work of starting a decoder by method, in bytes; deflate costs no more than its entry. Measured for the first
/// 512 bytes: bzip2 decodes a block of 900 kB before its first byte (33 ms), PPMd clears its memory (60 ms),
/// LZMA and the others take 10 µs.
const fn start_of_decoder(method: CompressionMethod) -> u64 {
    match method {
        CompressionMethod::Stored | CompressionMethod::Deflated => 0,
        CompressionMethod::Bzip2 => 4 << 20,
        CompressionMethod::Ppmd => 32 << 20,
        _ => 64 << 10,
    }
}

/// Whether a file begins as zips do: with an entry, with the end of an empty one, or with the mark of a split one.
pub(super) fn begins(data: &[u8]) -> bool {
    let data = data.strip_prefix(b"PK00").or_else(|| data.strip_prefix(b"PK\x07\x08")).unwrap_or(data);
    data.starts_with(b"PK\x03\x04") || data.starts_with(b"PK\x05\x06")
}

/// Whether a file has a zip in it: a directory header, and behind it the record that ends a directory.
pub(super) fn is_embedded(data: &[u8]) -> bool {
    memmem::rfind(data, b"PK\x05\x06").is_some_and(|end| memmem::rfind(&data[..end], b"PK\x01\x02").is_some())
}

/// Looks into the zip `data`, a file called `name`, whose entries are in `place`.
pub(super) fn scan(
    scanner: &mut Scanner<'_>,
    name: &str,
    data: &[u8],
    place: &Place,
) -> Result<(), Exceeded> {
    scanner.budget.work(data.len() as u64)?;
    let (names, listed, inside) = Default::default();
    let mut archive = Archive { data, place, names, listed, inside };
    let is_listed = archive.central_directory(scanner)?;
    let is_found = archive.headers(scanner)?;
    if !is_listed && !is_found && (begins(data) || super::kind_of_name(name) == Some(Kind::Zip)) {
        scanner.unreadable(place.path_of(""), View::CentralDirectory);
    }
    Ok(())
}

/// One archive while it is looked into.
struct Archive<'z> {
    data: &'z [u8],
    place: &'z Place,
    /// Names judged so far.
    names: HashSet<Vec<u8>>,
    /// Local headers that the central directory leads to, and agrees with on how the data are stored.
    listed: HashSet<usize>,
    /// Stored zips that were looked into, from start to end; the headers in them are theirs.
    inside: BTreeMap<usize, usize>,
}

/// An entry under one reading of the archive.
struct Entry<'z> {
    name: String,
    size: u64,
    is_encrypted: bool,
    packed: Packed<'z>,
    view: View,
}

/// Where the content of an entry comes from.
enum Packed<'z> {
    /// As it is, from this place in the archive on.
    Stored(usize, &'z [u8]),
    Deflated(&'z [u8]),
    /// By a method that the zip crate decodes, if any.
    Other(&'z OwnedZipFileEntry),
    /// Nowhere: the entry is encrypted or has no local header.
    Unreachable,
}

impl<'z> Archive<'z> {
    /// Judges what the central directory lists. Returns whether it could be read to its end.
    fn central_directory(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, Exceeded> {
        let config = Config { archive_offset: ArchiveOffset::Detect };
        let Ok(mut listing) = ZipIterable::try_new(Cursor::new(self.data), config) else { return Ok(false) };
        let Ok(entries) = listing.files() else { return Ok(false) };
        for entry in entries {
            let Ok(entry) = entry else { return Ok(false) };
            scanner.budget.entry()?;
            self.listed_entry(scanner, &OwnedZipFileEntry::from(entry))?;
        }
        Ok(true)
    }

    fn listed_entry(&mut self, scanner: &mut Scanner<'_>, entry: &OwnedZipFileEntry) -> Result<(), Exceeded> {
        self.names.insert(filename::end_of_name(entry.name_raw()).to_vec());
        let start = usize::try_from(entry.header_start()).unwrap_or(usize::MAX);
        let local = Header::local(self.data, start);
        let method = entry.compression();
        if local.as_ref().is_some_and(|local| is_same_method(local.method, method)) {
            self.listed.insert(start);
        }
        if entry.is_dir() && entry.size() == 0 && entry.compressed_size() == 0 {
            return Ok(());
        }
        let is_encrypted = entry.encrypted() || local.as_ref().is_some_and(Header::is_encrypted);
        let length = usize::try_from(entry.compressed_size()).unwrap_or(usize::MAX);
        if !is_encrypted {
            scanner.budget.work(start_of_decoder(method))?;
        }
        let packed = match (local, method) {
            (None, _) => Packed::Unreachable,
            (Some(local), CompressionMethod::Stored) => {
                Packed::Stored(local.end, self.packed(local.end, length))
            }
            (Some(local), CompressionMethod::Deflated) => Packed::Deflated(self.packed(local.end, length)),
            (Some(_), _) => Packed::Other(entry),
        };
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let view = View::CentralDirectory;
        self.entry(scanner, &Entry { name, size: entry.size(), is_encrypted, packed, view })
    }

    /// Judges headers wherever they stand. Returns whether there is one of a central directory.
    fn headers(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, Exceeded> {
        let mut has_directory = false;
        let mut from = 0;
        while let Some(header) = raw::next_header(self.data, from) {
            from = header.offset + 1;
            if let Some((_, end)) = self.inside.range(..=header.offset).next_back()
                && *end > header.offset
            {
                from = *end;
                continue;
            }
            has_directory |= header.origin == Origin::Central;
            self.header(scanner, &header)?;
        }
        Ok(has_directory)
    }

    fn header(&mut self, scanner: &mut Scanner<'_>, header: &Header<'_>) -> Result<(), Exceeded> {
        scanner.budget.work(header.name.len() as u64)?;
        let is_new = self.names.insert(header.name.to_vec());
        if let Some(name) = header.unicode_name
            && self.names.insert(name.to_vec())
        {
            self.name(scanner, name, View::UnicodePath)?;
        }
        if header.is_directory() {
            return Ok(());
        }
        match header.origin {
            Origin::Local if !self.listed.contains(&header.offset) => self.unlisted_entry(scanner, header),
            Origin::Local if is_new => self.name(scanner, header.name, View::LocalHeader),
            Origin::Central if is_new => {
                scanner.budget.entry()?;
                self.name(scanner, header.name, View::CentralDirectory)
            }
            Origin::Local | Origin::Central => Ok(()),
        }
    }

    fn unlisted_entry(&mut self, scanner: &mut Scanner<'_>, header: &Header<'_>) -> Result<(), Exceeded> {
        scanner.budget.entry()?;
        let archive = self.data;
        let data = header.data(archive);
        let packed = match header.method {
            0 => Packed::Stored(header.end, data),
            8 => Packed::Deflated(data),
            _ => Packed::Unreachable,
        };
        let name = String::from_utf8_lossy(header.name).into_owned();
        // The largest number stands for a size in a ZIP64 field, which is not read here.
        let size = if header.size == u32::MAX { 0 } else { u64::from(header.size) };
        let is_encrypted = header.is_encrypted();
        self.entry(scanner, &Entry { name, size, is_encrypted, packed, view: View::LocalHeader })
    }

    /// Judges one entry, and looks into it where it is a container.
    fn entry(&mut self, scanner: &mut Scanner<'_>, entry: &Entry<'_>) -> Result<(), Exceeded> {
        let names = [entry.name.trim_end_matches('/').to_owned()];
        let shared = entry::Entry {
            names: &names,
            size: entry.size,
            is_encrypted: entry.is_encrypted,
            view: entry.view,
        };
        let mut scan = |content: Option<&mut dyn Read>| entry::scan(scanner, self.place, &shared, content);
        let opened = match &entry.packed {
            Packed::Stored(_, data) => scan(Some(&mut &**data))?,
            Packed::Deflated(data) => scan(Some(&mut DeflateDecoder::new(*data)))?,
            Packed::Other(_) if entry.is_encrypted => scan(None)?,
            Packed::Other(listed) => {
                let mut archive = Cursor::new(self.data);
                // `as_ref` matters: an entry that owns its metadata reads all its data when it is dropped.
                let options = ZipReadOptions::new().ignore_crc32(true);
                match listed.as_ref().with_reader(&mut archive, options) {
                    Ok(mut decoder) => scan(Some(&mut decoder))?,
                    Err(_) => scan(None)?,
                }
            }
            Packed::Unreachable => scan(None)?,
        };
        if let (Packed::Stored(start, data), Kind::Zip, false) =
            (&entry.packed, opened.kind, entry.is_encrypted)
        {
            self.inside.insert(*start, start + data.len());
        }
        Ok(())
    }

    /// Judges a name whose content is judged under another one.
    fn name(&self, scanner: &mut Scanner<'_>, name: &[u8], view: View) -> Result<(), Exceeded> {
        let name = String::from_utf8_lossy(name).trim_end_matches('/').to_owned();
        scanner.names(&[name], Content::Unknown, self.place, view)
    }

    /// The bytes from `start` on, `length` of them or as many as there are.
    fn packed(&self, start: usize, length: usize) -> &'z [u8] {
        let rest = self.data.get(start..).unwrap_or_default();
        &rest[..rest.len().min(length)]
    }
}

/// Whether both headers would have the data unpacked in the same way.
const fn is_same_method(local: u16, central: CompressionMethod) -> bool {
    match central {
        CompressionMethod::Stored => local == 0,
        CompressionMethod::Deflated => local == 8,
        _ => local != 0 && local != 8,
    }
}
