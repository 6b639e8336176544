//! Zip archives (APPNOTE.TXT 6.3.10): every name of every header; entries that are containers are inflated and
//! looked into.
//!
//! Files are not inflated but for their first bytes, so that a bomb costs nothing as long as it is a leaf.

mod consistency;
mod inflater;
mod raw;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{Cursor, Read};

use memchr::memmem;
use zip::read::{ArchiveOffset, Config, OwnedZipFileEntry};
// Unstable for the crate, hence its exact version in Cargo.toml; the stable archive type drops entries of the
// same name.
use zip::unstable::read::ZipIterable;
use zip::{CompressionMethod, ZipReadOptions};

use self::consistency::Consistency;
use self::inflater::Inflater;
use self::raw::{Header, Origin};
use super::{entry, names, pdf, sevenz};
use crate::content::budget::{Exceeded, MAX_DICTIONARY};
use crate::content::filename::{self, Content};
use crate::content::scanner::{Place, Scanner};
use crate::content::{Kind, View};
use crate::reason::Reason;

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

/// Memory that a decoder may ask for, in bytes.
const fn dictionary(method: CompressionMethod) -> u64 {
    match method {
        CompressionMethod::Lzma | CompressionMethod::Xz | CompressionMethod::Ppmd => MAX_DICTIONARY,
        _ => 8 << 20,
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

/// Where the last zip in a file ends, but for a comment.
pub(super) fn end(data: &[u8]) -> usize {
    memmem::rfind(data, b"PK\x05\x06").map_or(data.len(), |at| at + raw::END_SIZE)
}

/// Looks into the zip `data`, a file with these `names`, whose entries are in `place`.
pub(super) fn scan(
    scanner: &mut Scanner<'_>,
    names: &[String],
    data: &[u8],
    place: &Place,
) -> Result<(), Exceeded> {
    scanner.budget.work(data.len() as u64)?;
    let mut archive = Archive::new(data, place);
    let is_listed = archive.central_directory(scanner);
    let mut found = |reason: Reason| scanner.found_in(place, reason, View::CentralDirectory);
    // A bomb of entries that share their data may have used up the budget; its cause is told all the same.
    if archive.consistency.seal() {
        found(Reason::AttachmentZipOverlap);
    }
    let is_listed = is_listed?;
    if archive.consistency.has_duplicates {
        found(Reason::AttachmentZipDuplicate);
    }
    if !raw::has_one_directory(data) {
        archive.consistency.search_deflated_too();
    }
    let is_found = archive.headers(scanner)?;
    let mut found = |reason: Reason| scanner.found_in(place, reason, View::CentralDirectory);
    if archive.has_macros {
        found(Reason::AttachmentMacros);
    }
    let is_zip = begins(data) || names.iter().any(|name| super::kind_of_name(name) == Some(Kind::Zip));
    // A document may have several zips attached, and none of them is its own.
    let is_ambiguous = archive.consistency.is_inconsistent && (is_zip || !pdf::begins(data));
    if archive.is_masked {
        found(Reason::AttachmentEncryptedHeader);
    } else if is_listed && is_ambiguous {
        found(Reason::AttachmentZipInconsistent);
    } else if !is_listed && !is_found && is_zip {
        found(Reason::AttachmentUnreadableContainer);
    }
    Ok(())
}

/// One archive while it is looked into.
struct Archive<'z> {
    data: &'z [u8],
    place: &'z Place,
    /// Names judged so far.
    names: HashSet<Cow<'z, [u8]>>,
    /// Local headers that the central directory leads to, and agrees with on how the data are stored.
    listed: BTreeSet<usize>,
    /// Stored zips that were looked into, from start to end; the headers in them are theirs.
    inside: BTreeMap<usize, usize>,
    consistency: Consistency<'z>,
    /// Whether headers are there without what they should say, as it is encrypted (APPNOTE.TXT 7.2).
    is_masked: bool,
    has_macros: bool,
    /// Kept from entry to entry, as a new one takes longer than what is read of most of them.
    inflater: Option<Inflater<'z>>,
}

/// An entry under one reading of the archive.
struct Entry<'z, 'e> {
    name: &'e [u8],
    size: u64,
    is_encrypted: bool,
    packed: Packed<'z, 'e>,
    view: View,
}

/// Where the content of an entry comes from.
enum Packed<'z, 'e> {
    /// As it is, from this place in the archive on.
    Stored(usize, &'z [u8]),
    Deflated(&'z [u8]),
    /// By a method that the zip crate decodes, if any.
    Other(&'e OwnedZipFileEntry),
    /// Nowhere: the entry is encrypted or has no local header.
    Unreachable,
}

impl<'z> Archive<'z> {
    fn new(data: &'z [u8], place: &'z Place) -> Self {
        Self {
            data,
            place,
            names: HashSet::new(),
            listed: BTreeSet::new(),
            inside: BTreeMap::new(),
            consistency: Consistency::default(),
            is_masked: false,
            has_macros: false,
            inflater: None,
        }
    }

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
        let start = usize::try_from(entry.header_start()).unwrap_or(usize::MAX);
        let local = Header::local(self.data, start);
        let central = usize::try_from(entry.central_header_start());
        let central = central.ok().and_then(|start| Header::central(self.data, start));
        let name = filename::end_of_name(entry.name_raw());
        self.names.insert(match &central {
            Some(central) if central.name == name => central.name.into(),
            _ => name.to_vec().into(),
        });
        let content = (entry.crc32(), entry.size());
        self.consistency.listed(central.as_ref(), local.as_ref(), content, entry.compressed_size());
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
        if let (Some(local), CompressionMethod::Lzma) = (&local, method) {
            // The version and the size of the properties come before them (APPNOTE.TXT 5.8.8).
            scanner.budget.work(sevenz::lzma_tables(self.packed(local.end + 4, 1)))?;
        }
        let packed = match (local, method) {
            (None, _) => Packed::Unreachable,
            (Some(local), CompressionMethod::Stored) => {
                Packed::Stored(local.end, self.packed(local.end, length))
            }
            (Some(local), CompressionMethod::Deflated) => Packed::Deflated(self.packed(local.end, length)),
            (Some(_), _) => Packed::Other(entry),
        };
        let view = View::CentralDirectory;
        self.entry(scanner, &Entry { name, size: entry.size(), is_encrypted, packed, view })
    }

    /// Judges headers wherever they stand. Returns whether there is one of a central directory.
    fn headers(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, Exceeded> {
        let mut has_directory = false;
        let mut from = 0;
        while let Some(header) = self.next_header(from) {
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

    /// The next header at or behind `from`. In deflated data only those count to which the directory leads.
    fn next_header(&self, mut from: usize) -> Option<Header<'z>> {
        while from < self.data.len() {
            let deflated = self.consistency.end_of_deflated(from);
            let searched = match deflated.map(|end| (end, self.listed.range(from..end).next())) {
                Some((_, Some(listed))) => *listed..*listed + 1,
                Some((end, None)) => end..end,
                None => from..self.consistency.next_deflated(from).map_or(self.data.len(), |start| start + 1),
            };
            from = searched.end;
            if let Some(header) = raw::next_header(self.data, searched) {
                return Some(header);
            }
        }
        None
    }

    fn header(&mut self, scanner: &mut Scanner<'_>, header: &Header<'z>) -> Result<(), Exceeded> {
        scanner.budget.work(header.name.len() as u64)?;
        let is_new = self.names.insert(header.name.into());
        if let Some(name) = header.unicode_name
            && self.names.insert(name.into())
        {
            self.name(scanner, name, View::UnicodePath)?;
        }
        self.is_masked |= header.is_masked();
        if header.is_directory() {
            return Ok(());
        }
        let is_unlisted = match header.origin {
            Origin::Local => !self.listed.contains(&header.offset),
            Origin::Central => is_new,
        };
        // What lies in an entry that is listed is a part of its content.
        self.consistency.is_inconsistent |= is_unlisted && !self.consistency.is_inside(header.offset);
        match header.origin {
            Origin::Local if is_unlisted => self.unlisted_entry(scanner, header),
            Origin::Local if is_new => self.name(scanner, header.name, View::LocalHeader),
            Origin::Central if is_new => {
                scanner.budget.entry()?;
                self.name(scanner, header.name, View::CentralDirectory)
            }
            Origin::Local | Origin::Central => Ok(()),
        }
    }

    fn unlisted_entry(&mut self, scanner: &mut Scanner<'_>, header: &Header<'z>) -> Result<(), Exceeded> {
        scanner.budget.entry()?;
        let archive = self.data;
        let data = header.data(archive);
        let packed = match header.method {
            0 => Packed::Stored(header.end, data),
            8 => Packed::Deflated(data),
            _ => Packed::Unreachable,
        };
        let name = header.name;
        // The largest number stands for a size in a ZIP64 field, which is not read here.
        let size = if header.size == u32::MAX { 0 } else { u64::from(header.size) };
        let is_encrypted = header.is_encrypted();
        self.entry(scanner, &Entry { name, size, is_encrypted, packed, view: View::LocalHeader })
    }

    /// Judges one entry, and looks into it where it is a container.
    fn entry(&mut self, scanner: &mut Scanner<'_>, entry: &Entry<'z, '_>) -> Result<(), Exceeded> {
        let names = names(entry.name);
        self.has_macros |= names.iter().any(|name| is_macro(self.data, name));
        let shared = entry::Entry {
            names: &names,
            size: entry.size,
            is_encrypted: entry.is_encrypted,
            view: entry.view,
        };
        let dictionary = scanner.budget.dictionary(match &entry.packed {
            Packed::Other(listed) => dictionary(listed.compression()),
            _ => 0,
        })?;
        let mut scan = |content: Option<&mut dyn Read>| entry::scan(scanner, self.place, &shared, content);
        let opened = match &entry.packed {
            Packed::Stored(_, data) => scan(Some(&mut &**data))?,
            Packed::Deflated(data) => {
                let mut inflater = self.inflater.take().unwrap_or_default();
                inflater.reset(data);
                let opened = scan(Some(&mut inflater))?;
                self.inflater = Some(inflater);
                opened
            }
            Packed::Other(_) if entry.is_encrypted => scan(None)?,
            Packed::Other(listed) => {
                let mut archive = Cursor::new(self.data);
                // `as_ref` matters: an entry that owns its metadata reads all its data when it is dropped.
                let options = ZipReadOptions::new().ignore_crc32(true);
                match listed.as_ref().with_reader(&mut archive, options) {
                    Ok(decoder) => scan(Some(&mut dictionary.of(decoder)))?,
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
        scanner.names(&names(name), Content::Unknown, self.place, view)
    }

    /// The bytes from `start` on, `length` of them or as many as there are.
    fn packed(&self, start: usize, length: usize) -> &'z [u8] {
        let rest = self.data.get(start..).unwrap_or_default();
        &rest[..rest.len().min(length)]
    }
}

/// The readings of an entry's name, without the slash that a directory's ends in.
fn names(name: &[u8]) -> Vec<String> {
    let mut readings = names::readings(name);
    for reading in &mut readings {
        reading.truncate(reading.trim_end_matches('/').len());
    }
    readings
}

/// Whether an entry of a document holds macros: the part that Office has for them, a sheet of Excel 4 macros, or in an
/// OpenDocument file a module or script, but for the lists of modules, which it may have without any.
fn is_macro(document: &[u8], name: &str) -> bool {
    const LISTS: [&str; 4] = ["script-lb.xml", "script-lc.xml", "dialog-lb.xml", "dialog-lc.xml"];
    let begins = |folder: &str| {
        name.split_at_checked(folder.len()).is_some_and(|(begins, _)| begins.eq_ignore_ascii_case(folder))
    };
    let file = &name[name.rfind('/').map_or(0, |slash| slash + 1)..];
    let ends = |extension: &str| {
        let at = file.len().checked_sub(extension.len()).and_then(|at| file.get(at..));
        at.is_some_and(|ending| ending.eq_ignore_ascii_case(extension))
    };
    if file.eq_ignore_ascii_case("vbaproject.bin") || begins("xl/macrosheets/") {
        return true;
    }
    let is_list = LISTS.iter().any(|list| file.eq_ignore_ascii_case(list));
    let is_module = begins("basic/") && ends(".xml") && !is_list;
    let is_script = begins("scripts/") && !file.is_empty();
    // Its first entry says what it is, and is not compressed.
    (is_module || is_script)
        && memmem::find(super::prefix(document), b"mimetypeapplication/vnd.oasis.opendocument").is_some()
}

/// Whether both headers would have the data unpacked in the same way.
const fn is_same_method(local: u16, central: CompressionMethod) -> bool {
    match central {
        CompressionMethod::Stored => local == 0,
        CompressionMethod::Deflated => local == 8,
        _ => local != 0 && local != 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header of either kind for `a`, whose data are deflated and so long.
    fn header(mark: &[u8], size: usize, length: u32) -> Vec<u8> {
        let mut out = vec![0; size];
        out[..4].copy_from_slice(mark);
        // A central header has a version more before its fields, up to the length of the name.
        let shift = if size == 46 { 2 } else { 0 };
        out[8 + shift] = 8;
        out[18 + shift..22 + shift].copy_from_slice(&length.to_le_bytes());
        out[26 + shift] = 1;
        out.push(b'a');
        out
    }

    /// A piece of an archive, and the length that the directory and the header say its data have where both list it.
    fn piece() -> impl Strategy<Value = (Vec<u8>, Option<u32>)> {
        let local = |length| header(b"PK\x03\x04", 30, length);
        prop_oneof![
            (0..200u32).prop_map(move |length| (local(length), Some(length))),
            (0..200u32).prop_map(move |length| (local(length), None)),
            Just((header(b"PK\x01\x02", 46, 0), None)),
            prop::sample::select(vec![&b"P"[..], b"K", b"PK", b"PK\x03", b"\x03\x04", b"data"])
                .prop_map(|bytes| (bytes.to_vec(), None)),
        ]
    }

    proptest! {
        #[test]
        fn headers_are_passed_over_only_where_data_are_deflated(pieces in prop::collection::vec(piece(), 0..24)) {
            let place = Place::default();
            let mut data = Vec::new();
            let mut listed = Vec::new();
            for (bytes, length) in &pieces {
                listed.extend(length.map(|length| (data.len(), length, header(b"PK\x01\x02", 46, length))));
                data.extend(bytes);
            }
            let mut archive = Archive::new(&data, &place);
            for (at, length, directory) in &listed {
                let (local, central) = (Header::local(&data, *at), Header::central(directory, 0));
                archive.consistency.listed(central.as_ref(), local.as_ref(), (0, 0), (*length).into());
                archive.listed.insert(*at);
            }
            prop_assert!(!archive.consistency.is_inconsistent);
            archive.consistency.seal();

            let counts = |at: &usize| archive.consistency.end_of_deflated(*at).is_none() || archive.listed.contains(at);
            let all = (0..data.len()).filter(|at| raw::next_header(&data, *at..*at + 1).is_some());
            let mut from = 0;
            let next = || archive.next_header(from).map(|header| header.offset).inspect(|at| from = at + 1);
            let found: Vec<usize> = std::iter::from_fn(next).collect();
            prop_assert_eq!(found, all.filter(counts).collect::<Vec<_>>());
        }
    }
}
