//! RAR archives of versions 4 and 5, plain, self-extracting or a volume of several: the names of their files.
//!
//! Both are a row of blocks, each a header and perhaps data, so all names are found by walking from header to header,
//! whether or not the checksums are right: some unpackers do not look. What is stored without compression is looked
//! into. No reader here unpacks RAR's own compression (no free one is kept well enough to meet hostile mail), so a
//! container that is compressed by it is `unreadable_container`, and so is an archive cut or broken off between two
//! blocks. Where the headers themselves are encrypted, nothing can be told.

mod v4;
mod v5;

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::entry::{self, Entry};
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::scanner::{Place, Scanner};
use crate::reason::Reason;

/// What both versions begin with; behind it 0 for version 4, 1 and 0 for version 5.
const MARK: &[u8] = b"Rar!\x1a\x07";
static MARKS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));
/// Work of a block, in bytes.
const BLOCK: u64 = 64;
/// The longest first header that is checked behind other data. A main header holds flags, an offset and perhaps a name, one of
/// encryption a salt. A checksum over the most that headers may have, at every mark, would make seconds of a megabyte.
const MAX_FIRST: usize = 4 << 10;

/// The archive in a file, behind its mark.
enum Version<'r> {
    V4(&'r [u8]),
    V5(&'r [u8]),
}

/// Whether a file begins as RAR archives do.
pub(super) fn begins(data: &[u8]) -> bool {
    version(data).is_some()
}

/// Whether an archive begins somewhere in a file, as behind the program of a self-extracting one.
pub(super) fn is_embedded(data: &[u8]) -> bool {
    find(data).is_some()
}

fn version(data: &[u8]) -> Option<Version<'_>> {
    match data.strip_prefix(MARK)? {
        [0, blocks @ ..] => Some(Version::V4(blocks)),
        [1, 0, blocks @ ..] => Some(Version::V5(blocks)),
        _ => None,
    }
}

/// The first archive whose first header is intact: programs that read RAR have the mark in them, too.
fn find(data: &[u8]) -> Option<Version<'_>> {
    MARKS.find_iter(data).filter_map(|at| version(&data[at..])).find(|version| match version {
        Version::V4(blocks) => v4::begins(blocks),
        Version::V5(blocks) => v5::begins(blocks),
    })
}

/// A file, or one of the service records beside it.
struct Member<'r> {
    names: Vec<String>,
    size: u64,
    is_directory: bool,
    is_encrypted: bool,
    /// Its data, where they are stored as they are.
    stored: Option<&'r [u8]>,
}

/// A block, as far as this reader cares.
enum Block<'r> {
    Member(Member<'r>),
    /// Everything behind it is encrypted.
    Encryption,
    /// The last block.
    End,
    Other,
}

/// Where the first archive in a file ends.
pub(super) fn end(data: &[u8]) -> usize {
    let rest = match version(data).or_else(|| find(data)) {
        Some(Version::V4(blocks)) => behind(blocks, v4::block),
        Some(Version::V5(blocks)) => behind(blocks, v5::block),
        None => &[],
    };
    data.len() - rest.len()
}

/// What stands behind the last of the blocks.
fn behind<'r>(mut blocks: &'r [u8], next: fn(&mut &'r [u8]) -> Option<Block<'r>>) -> &'r [u8] {
    loop {
        match next(&mut blocks) {
            Some(Block::End) => return blocks,
            Some(Block::Member(_) | Block::Other) if !blocks.is_empty() => {}
            _ => return &[],
        }
    }
}

/// Looks into the archive `data`, whose files are in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let is_whole = match version(data).or_else(|| find(data)) {
        // Before RAR 3 there was no block that ends an archive.
        Some(Version::V4(blocks)) => walk(scanner, place, blocks, v4::block)?.is_some(),
        Some(Version::V5(blocks)) => walk(scanner, place, blocks, v5::block)? == Some(Ending::Marked),
        None => false,
    };
    if !is_whole {
        scanner.unreadable_in(place);
    }
    Ok(())
}

/// How a row of blocks ended.
#[derive(PartialEq, Eq)]
enum Ending {
    /// By a block that says so.
    Marked,
    /// With the file.
    Unmarked,
}

/// Goes from block to block; `next` takes one off the rest. Returns how they ended, unless they broke off.
fn walk<'r>(
    scanner: &mut Scanner<'_>,
    place: &Place,
    mut rest: &'r [u8],
    next: fn(&mut &'r [u8]) -> Option<Block<'r>>,
) -> Result<Option<Ending>, Exceeded> {
    let mut is_empty = true;
    while !rest.is_empty() {
        scanner.budget.work(BLOCK)?;
        match next(&mut rest) {
            Some(Block::Member(member)) => judge(scanner, place, member)?,
            Some(Block::Encryption) => {
                scanner.found_in(place, Reason::AttachmentEncryptedHeader, View::Entry);
                return Ok(Some(Ending::Marked));
            }
            Some(Block::End) => return Ok(Some(Ending::Marked)),
            Some(Block::Other) => {}
            None => return Ok(None),
        }
        is_empty = false;
    }
    Ok((!is_empty).then_some(Ending::Unmarked))
}

fn judge(scanner: &mut Scanner<'_>, place: &Place, member: Member<'_>) -> Result<(), Exceeded> {
    if member.names.is_empty() || member.is_directory {
        return Ok(());
    }
    scanner.budget.entry()?;
    let entry = Entry {
        names: &member.names,
        size: member.size,
        is_encrypted: member.is_encrypted,
        view: View::Entry,
    };
    match member.stored {
        Some(mut stored) => entry::scan(scanner, place, &entry, Some(&mut stored)),
        None => entry::scan(scanner, place, &entry, None),
    }
    .map(drop)
}
