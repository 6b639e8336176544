//! One entry of an archive, whatever the archive: its names are judged, and it is looked into where it is a container.

use std::io::Read;

use super::PREFIX;
use crate::content::budget::{Exceeded, Inflated};
use crate::content::filename::{self, Content};
use crate::content::scanner::{Place, Scanner};
use crate::content::{Kind, View, salvage};
use crate::reason::Reason;

/// What the headers of an archive say of an entry.
pub(super) struct Entry<'e> {
    /// Its names under every reading; the first is shown.
    pub(super) names: &'e [String],
    /// Its size as declared, 0 where it is not.
    pub(super) size: u64,
    pub(super) is_encrypted: bool,
    /// The view that shows it.
    pub(super) view: View,
}

/// What became of an entry.
pub(super) struct Opened {
    pub(super) kind: Kind,
    /// Whether the beginning of its content could be read.
    pub(super) is_readable: bool,
}

/// Bytes that room is made for at once where a container says that it has them; it may lie.
const ROOM: u64 = 64 << 10;
/// Bytes behind which a disc image has shown what it is; its first block may say nothing.
const DISC: u64 = 0x9400;

/// Whether a file that begins so may be the image of a disc: a block of zeros, or one that a computer starts from.
fn may_be_disc(begins: &[u8]) -> bool {
    begins.len() == PREFIX && (begins.ends_with(b"\x55\xaa") || begins.iter().all(|byte| *byte == 0))
}

/// Whether a browser opens a file of this name that begins so: a page or a picture with a script.
fn is_page(names: &[String], begins: &[u8]) -> bool {
    const EXTENSIONS: [&str; 6] = ["htm", "html", "shtml", "xht", "xhtml", "svg"];
    let is_named = |name: &String| EXTENSIONS.contains(&&*filename::extension(name));
    names.iter().any(is_named) || salvage::begins_page(begins)
}

/// Looks for files in a page, as far as what is set aside for pages allows: whole sites are sent, too.
fn page(
    scanner: &mut Scanner<'_>,
    mut begins: Inflated,
    content: &mut dyn Read,
    inside: &Place,
) -> Result<(), Exceeded> {
    if inside.depth > scanner.budget.max_depth() {
        return Ok(());
    }
    let (limit, before) = (scanner.budget.page_left(), begins.bytes.len());
    scanner.budget.inflating(content).onto(&mut begins, limit)?;
    let bytes = begins.bytes;
    scanner.budget.page((bytes.len() - before) as u64)?;
    let bytes = salvage::from_utf16(&bytes).unwrap_or(bytes);
    salvage::scan(scanner, &bytes, inside)
}

/// Judges `entry` of the archive `place`. Its `content` is read to the first [`PREFIX`] bytes, and to the end only where
/// that is a container, so that a bomb costs nothing as long as it is a leaf. No `content` means that it is encrypted,
/// or packed in a way that no reader here knows.
pub(super) fn scan(
    scanner: &mut Scanner<'_>,
    place: &Place,
    entry: &Entry<'_>,
    mut content: Option<&mut dyn Read>,
) -> Result<Opened, Exceeded> {
    let name = entry.names.first().map_or("", String::as_str);
    let mut begins = match &mut content {
        Some(content) if !entry.is_encrypted => {
            Some(scanner.budget.inflating(&mut **content).up_to(PREFIX as u64)?)
        }
        _ => None,
    };
    let is_readable = begins.as_ref().is_some_and(|begins| begins.intact);
    if let (Some(begins), Some(content)) = (&mut begins, &mut content)
        && may_be_disc(&begins.bytes)
    {
        scanner.budget.inflating(&mut **content).onto(begins, DISC)?;
    }
    let prefix = begins.as_ref().map(|begins| begins.bytes.as_slice());
    let known = prefix.map_or(Content::Unknown, |prefix| Content::Known { prefix, size: entry.size });
    let kind = super::kind_of_entry(entry.names, super::prefix(prefix.unwrap_or_default()));
    let path = || place.path_of(&filename::shown(name));
    scanner.node(place, filename::shown(name), kind, entry.size);
    scanner.names(entry.names, known, place, entry.view)?;
    if entry.is_encrypted {
        let is_archive = entry.names.iter().any(|name| super::is_archive(&filename::extension(name)));
        let reason =
            if is_archive { Reason::AttachmentEncryptedNested } else { Reason::AttachmentEncryptedEntry };
        scanner.found(reason, path(), None, entry.view);
    } else if kind != Kind::File {
        let mut whole = begins.unwrap_or_default();
        if let Some(content) = content.filter(|_| whole.intact) {
            whole.bytes.reserve(usize::try_from(entry.size.min(ROOM)).unwrap_or_default());
            scanner.budget.inflating(content).onto(&mut whole, u64::MAX)?;
        }
        let Inflated { bytes, intact } = whole;
        if !intact || (bytes.len() as u64) < entry.size {
            scanner.unreadable(path(), entry.view);
        }
        if !bytes.is_empty() {
            scanner.file_type(name, &bytes, place, entry.view);
            scanner.open(kind, name, &bytes, place)?;
        }
    } else if let (Some(begins), Some(content)) = (begins, content)
        && is_readable
        && is_page(entry.names, &begins.bytes)
    {
        page(scanner, begins, content, &place.child(&filename::shown(name)))?;
    }
    Ok(Opened { kind, is_readable })
}
