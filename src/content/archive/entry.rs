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
    let is_named = |name: &String| EXTENSIONS.contains(&filename::extension(name).as_ref());
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
            scanner.open(kind, entry.names, &bytes, place)?;
        }
    } else if let (Some(begins), Some(content)) = (begins, content)
        && is_readable
        && is_page(entry.names, &begins.bytes)
    {
        page(scanner, begins, content, &place.child(&filename::shown(name)))?;
    }
    Ok(Opened { kind, is_readable })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::AttachmentSettings;
    use crate::content::Cancel;
    use std::io;

    /// Content that cannot be read on behind these bytes.
    struct Damaged<'a>(&'a [u8]);

    impl Read for Damaged<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() { Err(io::ErrorKind::InvalidData.into()) } else { self.0.read(out) }
        }
    }

    /// What is found about an entry that an archive calls `name`.
    fn found(name: &str, mut content: impl Read) -> Vec<(Reason, String)> {
        let (settings, cancel) = (AttachmentSettings::default(), Cancel::default());
        let mut scanner = Scanner::new(1 << 20, &settings, &cancel);
        let names = [name.to_owned()];
        let entry = Entry { names: &names, size: 0, is_encrypted: false, view: View::Entry };
        let result = scan(&mut scanner, &Place::default(), &entry, Some(&mut content)).map(drop);
        let report = scanner.finish(result, &Place::default());
        report.found.into_iter().map(|found| (found.reason, found.path)).collect()
    }

    #[test]
    fn a_disc_image_that_cannot_be_read_on_is_known_by_what_came() {
        let mut disc = vec![0; 0x8800];
        disc[0x8000..0x8007].copy_from_slice(b"\x01CD001\x01");
        let forbidden = [(Reason::AttachmentForbiddenType, "notes.pdf".to_owned())];
        assert_eq!(found("notes.pdf", Damaged(&disc[..PREFIX])), []);
        assert_eq!(found("notes.pdf", Damaged(&disc[..0x8000])), []);
        assert_eq!(found("notes.pdf", Damaged(&disc)), forbidden);
        assert_eq!(found("notes.pdf", &disc[..]), forbidden);
    }
}
