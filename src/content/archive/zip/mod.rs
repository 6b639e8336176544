//! Zip archives (APPNOTE.TXT 6.3.10): every name of every header; entries that are containers are inflated and
//! looked into.
//!
//! Files are not inflated but for their first bytes, so that a bomb costs nothing as long as it is a leaf.

#![expect(clippy::disallowed_types, reason = "each decoder here is read through the budget")]

mod raw;

use std::collections::{BTreeMap, HashSet};
use std::io::Cursor;

use flate2::bufread::DeflateDecoder;
use memchr::memmem;
use zip::read::{ArchiveOffset, Config, OwnedZipFileEntry};
// Unstable for the crate, hence its exact version in Cargo.toml; the stable archive type drops entries of the
// same name.
use zip::unstable::read::ZipIterable;
use zip::{CompressionMethod, ZipReadOptions};

use self::raw::{Header, Origin};
use super::PREFIX;
use crate::content::budget::{Exceeded, Inflated};
use crate::content::filename::{self, Content};
use crate::content::scanner::{Place, Scanner};
use crate::content::{Kind, View};
use crate::reason::Reason;

/// Work of starting a decoder by method, in bytes; deflate costs no more than its entry. Measured for the first
/// 512 bytes: bzip2 decodes a block of 900 kB before its first byte (33 ms), PPMd clears its memory (60 ms),
/// LZMA and the others take 10 µs.
const fn start_of_decoder(method: CompressionMethod) -> u64 {
    match method {
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

/// Whether files with this extension are zips.
pub(super) fn is_extension(extension: &str) -> bool {
    matches!(extension, "zip" | "zipx")
}

/// Whether a file has a zip in it: a directory header, and behind it the record that ends a directory.
pub(super) fn is_embedded(data: &[u8]) -> bool {
    memmem::rfind(data, b"PK\x05\x06").is_some_and(|end| memmem::rfind(&data[..end], b"PK\x01\x02").is_some())
}

/// Looks into the zip `data`, a file called `name`, whose entries are in `place`.
pub(in crate::content) fn scan(
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
    if !is_listed && !is_found && (begins(data) || is_extension(&filename::extension(name))) {
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
        self.names.insert(raw::end_of_name(entry.name_raw()).to_vec());
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
        let name = entry.name.trim_end_matches('/');
        let begins = match (&entry.packed, entry.is_encrypted) {
            (Packed::Unreachable, _) | (_, true) => None,
            (packed, false) => Some(self.inflate(scanner, packed, PREFIX as u64)?.bytes),
        };
        let content =
            begins.as_ref().map_or(Content::Unknown, |prefix| Content::Known { prefix, size: entry.size });
        let extension = filename::extension(name);
        let kind = super::kind_of_entry(&extension, begins.as_deref().unwrap_or_default());
        let shown = filename::shown(name);
        let path = self.place.path_of(&shown);
        scanner.node(self.place, shown, kind, entry.size);
        scanner.names(&[name.to_owned()], content, self.place, entry.view)?;
        if entry.is_encrypted {
            let reason = if super::is_archive(&extension) {
                Reason::AttachmentEncryptedNested
            } else {
                Reason::AttachmentEncryptedEntry
            };
            scanner.found(reason, path, None, entry.view);
            return Ok(());
        }
        if kind == Kind::File {
            return Ok(());
        }
        let inflated = self.inflate(scanner, &entry.packed, u64::MAX)?;
        if !inflated.intact || (inflated.bytes.len() as u64) < entry.size {
            scanner.unreadable(path, entry.view);
        }
        if inflated.bytes.is_empty() {
            return Ok(());
        }
        if let (Packed::Stored(start, data), Kind::Zip) = (&entry.packed, kind) {
            self.inside.insert(*start, start + data.len());
        }
        scanner.open(kind, name, &inflated.bytes, self.place)
    }

    /// Judges a name whose content is judged under another one.
    fn name(&self, scanner: &mut Scanner<'_>, name: &[u8], view: View) -> Result<(), Exceeded> {
        let name = String::from_utf8_lossy(name).trim_end_matches('/').to_owned();
        scanner.names(&[name], Content::Unknown, self.place, view)
    }

    /// The content of an entry up to `limit` bytes.
    fn inflate(
        &self,
        scanner: &mut Scanner<'_>,
        packed: &Packed<'_>,
        limit: u64,
    ) -> Result<Inflated, Exceeded> {
        match packed {
            Packed::Stored(_, data) => scanner.budget.inflating(*data).up_to(limit),
            Packed::Deflated(data) => scanner.budget.inflating(DeflateDecoder::new(*data)).up_to(limit),
            Packed::Other(entry) => {
                scanner.budget.work(start_of_decoder(entry.compression()))?;
                let mut archive = Cursor::new(self.data);
                // `as_ref` matters: an entry that owns its metadata reads all its data when it is dropped.
                let options = ZipReadOptions::new().ignore_crc32(true);
                match entry.as_ref().with_reader(&mut archive, options) {
                    Ok(decoder) => scanner.budget.inflating(decoder).up_to(limit),
                    Err(_) => Ok(Inflated::default()),
                }
            }
            Packed::Unreachable => Ok(Inflated::default()),
        }
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
