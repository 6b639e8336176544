//! The header of a 7z archive (7zFormat.txt), as far as the names in it: they stand at its end, behind all the rest.
//!
//! The crate that unpacks the archive reads the header, too, but takes memory by the numbers in it. So this reader goes
//! first: it pays for the header as it is decoded, and bounds every number.

#![expect(clippy::disallowed_types, reason = "each decoder here is read through the budget")]

use std::io::{self, Read};

use lzma_rust2::{Lzma2Reader, LzmaReader};

use super::{LIMIT_KIB, MARK, lzma_tables};
use crate::content::archive::names;
use crate::content::budget::{Budget, Exceeded, MAX_DICTIONARY};

/// The largest header that is read, in bytes.
const MAX_HEADER: u64 = 8 << 20;
/// Headers packed in headers.
const MAX_PACKED: u32 = 4;
/// Files, folders and streams of an archive; and coders of a folder.
const MAX_COUNT: u64 = 1 << 17;
const MAX_CODERS: u64 = 8;
/// What the start of an archive takes, behind which all offsets count.
const START: usize = 32;

/// Ids of what is in a header.
mod id {
    pub(super) const END: u8 = 0x00;
    pub(super) const HEADER: u8 = 0x01;
    pub(super) const ARCHIVE_PROPERTIES: u8 = 0x02;
    pub(super) const MAIN_STREAMS: u8 = 0x04;
    pub(super) const FILES: u8 = 0x05;
    pub(super) const PACKED: u8 = 0x06;
    pub(super) const UNPACKED: u8 = 0x07;
    pub(super) const SUBSTREAMS: u8 = 0x08;
    pub(super) const SIZE: u8 = 0x09;
    pub(super) const CHECKSUM: u8 = 0x0a;
    pub(super) const FOLDER: u8 = 0x0b;
    pub(super) const UNPACKED_SIZE: u8 = 0x0c;
    pub(super) const SUBSTREAM_COUNT: u8 = 0x0d;
    pub(super) const NAMES: u8 = 0x11;
    pub(super) const PACKED_HEADER: u8 = 0x17;
}

/// Coders, by their method.
const COPY: &[u8] = &[0];
const LZMA2: &[u8] = &[0x21];
const LZMA: &[u8] = &[3, 1, 1];
const AES: &[u8] = &[6, 0xf1, 7, 1];

/// Why there are no names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoNames {
    /// The header is encrypted.
    Encrypted,
    /// The header is damaged, or packed in a way that 7-Zip never does.
    Damaged,
    Exceeded(Exceeded),
}

impl From<Exceeded> for NoNames {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

/// Where an archive ends whose start is intact: with its header.
pub(super) fn end(archive: &[u8]) -> Option<usize> {
    let (crc, start) = archive.get(MARK.len() + 2..START)?.split_at(4);
    let number = |at: usize| start.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let (offset, size) = (number(0)?, number(8)?);
    let is_intact = crc == crc32fast::hash(start).to_le_bytes() && size > 0;
    part(archive, offset, size).filter(|_| is_intact)?;
    usize::try_from(offset.checked_add(size)?).ok()?.checked_add(START)
}

/// The names of all files and directories.
pub(super) fn names(budget: &mut Budget<'_>, archive: &[u8]) -> Result<Vec<String>, NoNames> {
    let start = archive.strip_prefix(MARK).and_then(|rest| rest.get(..START - MARK.len()));
    let mut start = Fields(start.ok_or(NoNames::Damaged)?);
    start.take(2)?;
    let crc = start.u32()?;
    if crc32fast::hash(start.0) != crc {
        return Err(NoNames::Damaged);
    }
    let (offset, size) = (start.u64()?, start.u64()?);
    // An empty archive has no header.
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut header = part(archive, offset, size).ok_or(NoNames::Damaged)?.to_vec();
    for _ in 0..MAX_PACKED {
        budget.work(header.len() as u64)?;
        let mut fields = Fields(&header);
        match fields.byte()? {
            id::HEADER => return fields.names(),
            id::PACKED_HEADER => header = unpack(budget, archive, &fields.streams()?)?,
            _ => return Err(NoNames::Damaged),
        }
    }
    Err(NoNames::Damaged)
}

/// The bytes at this offset behind the start of the archive.
fn part(archive: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let offset = usize::try_from(offset).ok()?.checked_add(START)?;
    archive.get(offset..)?.get(..usize::try_from(size).ok()?)
}

/// How the streams of an archive are packed; of what is in it, as much as a packed header needs.
struct Streams {
    packed_at: u64,
    packed_size: u64,
    coders: Vec<Coder>,
    size: u64,
}

struct Coder {
    method: Vec<u8>,
    properties: Vec<u8>,
}

fn unpack(budget: &mut Budget<'_>, archive: &[u8], streams: &Streams) -> Result<Vec<u8>, NoNames> {
    if streams.coders.iter().any(|coder| coder.method == AES) {
        return Err(NoNames::Encrypted);
    }
    let packed = part(archive, streams.packed_at, streams.packed_size).ok_or(NoNames::Damaged)?;
    let [coder] = streams.coders.as_slice() else { return Err(NoNames::Damaged) };
    if streams.size > MAX_HEADER {
        return Err(NoNames::Exceeded(Exceeded::Bytes));
    }
    budget.work(lzma_tables(&coder.properties))?;
    let decoder = decoder(coder, packed, streams.size);
    let unpacked = budget.inflating(decoder.map_err(|_| NoNames::Damaged)?).up_to(streams.size)?;
    if unpacked.bytes.len() as u64 == streams.size { Ok(unpacked.bytes) } else { Err(NoNames::Damaged) }
}

fn decoder<'a>(coder: &Coder, packed: &'a [u8], size: u64) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match (coder.method.as_slice(), coder.properties.as_slice()) {
        (COPY, _) => Box::new(packed),
        (LZMA, [properties, dictionary @ ..]) => {
            let dictionary = dictionary.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            let dictionary = dictionary.min(MAX_DICTIONARY as u32);
            Box::new(LzmaReader::new_with_props(packed, size, *properties, dictionary, None)?)
        }
        (LZMA2, [bits]) => {
            let dictionary = (2 | u64::from(bits & 1)) << (bits / 2 + 11).min(40);
            let dictionary = dictionary.min(MAX_DICTIONARY) as u32;
            Box::new(Lzma2Reader::new_mem_limit(packed, dictionary, LIMIT_KIB as u32, None)?)
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// Fields one behind the other. What is missing is damage.
struct Fields<'h>(&'h [u8]);

impl From<Missing> for NoNames {
    fn from(Missing: Missing) -> Self {
        Self::Damaged
    }
}

/// A field goes beyond the end, or says what cannot be.
struct Missing;

impl<'h> Fields<'h> {
    fn take(&mut self, size: u64) -> Result<&'h [u8], Missing> {
        let size = usize::try_from(size).map_err(|_| Missing)?;
        let (taken, rest) = self.0.split_at_checked(size).ok_or(Missing)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Missing> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Missing> {
        let bytes = self.take(4)?.first_chunk().ok_or(Missing)?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, Missing> {
        let bytes = self.take(8)?.first_chunk().ok_or(Missing)?;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// A number: the ones that the first byte begins with say how many bytes follow, lowest first; what is left of the
    /// first byte goes on top of them.
    fn number(&mut self) -> Result<u64, Missing> {
        let first = self.byte()?;
        let more = first.leading_ones();
        let low = self.take(more.into())?;
        let low = low.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let high = if more < 7 { u64::from(first) & (0x7f >> more) } else { 0 };
        Ok(low | high << (8 * more.min(7)))
    }

    fn count(&mut self, max: u64) -> Result<u64, Missing> {
        self.number().and_then(|number| if number <= max { Ok(number) } else { Err(Missing) })
    }

    /// Skips checksums of `count` streams; all have one, or those that a bit says.
    fn checksums(&mut self, count: u64) -> Result<Vec<bool>, Missing> {
        let all = self.byte()? != 0;
        let bits = if all { &[] } else { self.take(count.div_ceil(8))? };
        let has =
            |at: u64| all || bits.get((at / 8) as usize).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0);
        let defined: Vec<bool> = (0..count).map(has).collect();
        self.take(4 * defined.iter().filter(|defined| **defined).count() as u64)?;
        Ok(defined)
    }

    fn streams(&mut self) -> Result<Streams, Missing> {
        let mut streams = Streams { packed_at: 0, packed_size: 0, coders: Vec::new(), size: 0 };
        let mut folders = Vec::new();
        loop {
            match self.byte()? {
                id::END => return Ok(streams),
                id::PACKED => self.packed(&mut streams)?,
                id::UNPACKED => folders = self.unpacked(&mut streams)?,
                id::SUBSTREAMS => self.substreams(&folders)?,
                _ => return Err(Missing),
            }
        }
    }

    fn packed(&mut self, streams: &mut Streams) -> Result<(), Missing> {
        streams.packed_at = self.number()?;
        let count = self.count(MAX_COUNT)?;
        loop {
            match self.byte()? {
                id::END => return Ok(()),
                id::SIZE => {
                    for stream in 0..count {
                        let size = self.number()?;
                        if stream == 0 {
                            streams.packed_size = size;
                        }
                    }
                }
                id::CHECKSUM => drop(self.checksums(count)?),
                _ => return Err(Missing),
            }
        }
    }

    /// The folders; for each, whether it has a checksum.
    fn unpacked(&mut self, streams: &mut Streams) -> Result<Vec<bool>, Missing> {
        if self.byte()? != id::FOLDER {
            return Err(Missing);
        }
        let count = self.count(MAX_COUNT)?;
        if self.byte()? != 0 {
            return Err(Missing);
        }
        let mut outputs = 0;
        for folder in 0..count {
            let (coders, folder_outputs) = self.folder()?;
            outputs += folder_outputs;
            if folder == 0 {
                streams.coders = coders;
            }
        }
        let mut has_checksum = vec![false; count as usize];
        loop {
            match self.byte()? {
                id::END => return Ok(has_checksum),
                id::UNPACKED_SIZE => {
                    for output in 0..outputs {
                        let size = self.number()?;
                        if output == 0 {
                            streams.size = size;
                        }
                    }
                }
                id::CHECKSUM => has_checksum = self.checksums(count)?,
                _ => return Err(Missing),
            }
        }
    }

    /// The coders of a folder, and how many outputs they have.
    fn folder(&mut self) -> Result<(Vec<Coder>, u64), Missing> {
        let (mut coders, mut inputs, mut outputs) = (Vec::new(), 0, 0);
        for _ in 0..self.count(MAX_CODERS)? {
            let flags = self.byte()?;
            let method = self.take(u64::from(flags & 0xf))?.to_vec();
            let is_complex = flags & 0x10 != 0;
            inputs += if is_complex { self.count(MAX_CODERS)? } else { 1 };
            outputs += if is_complex { self.count(MAX_CODERS)? } else { 1 };
            let size = if flags & 0x20 != 0 { self.number()? } else { 0 };
            coders.push(Coder { method, properties: self.take(size)?.to_vec() });
        }
        let pairs = u64::checked_sub(outputs, 1).ok_or(Missing)?;
        let packed = u64::checked_sub(inputs, pairs).ok_or(Missing)?;
        for _ in 0..2 * pairs + if packed > 1 { packed } else { 0 } {
            self.number()?;
        }
        Ok((coders, outputs))
    }

    fn substreams(&mut self, folders: &[bool]) -> Result<(), Missing> {
        let mut counts = vec![1; folders.len()];
        let mut kind = self.byte()?;
        if kind == id::SUBSTREAM_COUNT {
            let mut left = MAX_COUNT;
            for count in &mut counts {
                *count = self.count(left)?;
                left -= *count;
            }
            kind = self.byte()?;
        }
        // The size of the last stream of a folder is what is left of it.
        if kind == id::SIZE {
            for _ in 0..counts.iter().map(|count| count.saturating_sub(1)).sum() {
                self.number()?;
            }
            kind = self.byte()?;
        }
        if kind == id::CHECKSUM {
            let lacking = counts.iter().zip(folders).filter(|(count, has)| **count != 1 || !**has);
            self.checksums(lacking.map(|(count, _)| count).sum())?;
            kind = self.byte()?;
        }
        if kind == id::END { Ok(()) } else { Err(Missing) }
    }

    /// The names in the header whose id was read.
    fn names(&mut self) -> Result<Vec<String>, NoNames> {
        loop {
            match self.byte()? {
                id::ARCHIVE_PROPERTIES => {
                    while self.byte()? != id::END {
                        let size = self.number()?;
                        self.take(size)?;
                    }
                }
                id::MAIN_STREAMS => drop(self.streams()?),
                id::FILES => break,
                // No files at all.
                id::END => return Ok(Vec::new()),
                _ => return Err(NoNames::Damaged),
            }
        }
        let count = self.number()?;
        if count > MAX_COUNT {
            return Err(NoNames::Exceeded(Exceeded::Entries));
        }
        let mut names = Vec::new();
        loop {
            let property = self.byte()?;
            if property == id::END {
                break;
            }
            let size = self.number()?;
            let mut value = Fields(self.take(size)?);
            if property == id::NAMES {
                // In UTF-16, each ended by a NUL. They are not in another stream.
                if value.byte()? != 0 {
                    return Err(NoNames::Damaged);
                }
                let units: Vec<&[u8]> = value.0.chunks_exact(2).collect();
                names = units
                    .split_inclusive(|unit| *unit == [0, 0])
                    .map(|name| names::utf16(&name[..name.len() - 1].concat()))
                    .collect();
            }
        }
        // The crate makes room for as many files as are said to be there.
        if names.len() as u64 == count { Ok(names) } else { Err(NoNames::Damaged) }
    }
}
