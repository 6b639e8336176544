//! Compound files (MS-CFB): Outlook messages (`.msg`) with their attachments, Office documents with embedded objects and
//! macros, encrypted documents.
//!
//! A compound file is a file system of storages and streams; what it is shows in their names.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use cfb::CompoundFile;
use memchr::memmem;

use super::entry::{self, Entry};
use super::names;
use crate::content::View;
use crate::content::budget::{Exceeded, contained};
use crate::content::filename::end_of_name;
use crate::content::scanner::{Place, Scanner};
use crate::reason::Reason;

const MARK: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
/// Work of finding a stream again, in bytes for each entry: hostile directories are lists instead of trees.
const LOOK_UP: u64 = 64;
/// Streams of an attachment in a message (MS-OXMSG 2.2.2): a property's id and type.
const PROPERTY: &str = "__SUBSTG1.0_";
/// The properties that are names: the long one, the short one, the extension, the transport name, the display name.
const NAMES: [&str; 5] = ["3707", "3704", "3703", "370C", "3001"];
const DISPLAY_NAME: usize = 4;
/// The content of an attachment.
const DATA: &str = "37010102";
/// Streams that hold a file (MS-OLEDS 2.3.6 and what applications use).
const NATIVE: &str = "\u{1}Ole10Native";
const PACKAGES: [&str; 3] = ["Package", "CONTENTS", "EmbeddedOdf"];
/// Streams of a document whose content is encrypted (MS-OFFCRYPTO 2.3).
const ENCRYPTED: &str = "EncryptedPackage";
/// The stream of macros, and their storage in a workbook (MS-OVBA 2.2).
const MACROS: [&str; 2] = ["_VBA_PROJECT", "_VBA_PROJECT_CUR"];

/// Whether a file begins as compound files do.
pub(super) fn begins(data: &[u8]) -> bool {
    data.starts_with(MARK)
}

/// The compound file in `data`, whatever stands before it; empty where there is none.
pub(super) fn find(data: &[u8]) -> &[u8] {
    memmem::find(data, MARK).map_or(&[], |at| &data[at..])
}

/// Looks into the compound file `data`, whose content is in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let Some(Ok(file)) = contained(|| CompoundFile::open(Cursor::new(data))) else {
        scanner.unreadable_in(place);
        return Ok(());
    };
    let mut document = Document { file, entries: 0 };
    let found = document.list(scanner)?;
    if found.has_macros {
        scanner.found_in(place, Reason::AttachmentMacros, View::Entry);
    }
    if found.is_encrypted {
        scanner.found_in(place, Reason::AttachmentEncryptedEntry, View::Entry);
    }
    for attachment in found.attachments.into_values() {
        document.attachment(scanner, place, &attachment)?;
    }
    for path in &found.objects {
        document.object(scanner, place, path)?;
    }
    Ok(())
}

/// What the names of storages and streams tell.
#[derive(Default)]
struct Found {
    has_macros: bool,
    is_encrypted: bool,
    /// By their storage.
    attachments: BTreeMap<PathBuf, Attachment>,
    /// Streams that hold a file.
    objects: Vec<PathBuf>,
}

/// The streams of an attachment of a message. Recipients have names, too, but nothing else that is looked for.
#[derive(Default)]
struct Attachment {
    /// By their place in [`NAMES`]; one property may be there as text of either kind.
    names: BTreeMap<usize, Vec<PathBuf>>,
    data: Option<PathBuf>,
}

struct Document<'d> {
    file: CompoundFile<Cursor<&'d [u8]>>,
    entries: u64,
}

impl<'d> Document<'d> {
    fn list(&mut self, scanner: &mut Scanner<'_>) -> Result<Found, Exceeded> {
        let mut found = Found::default();
        let mut walk = self.file.walk();
        while let Some(Some(entry)) = contained(|| walk.next()) {
            // A path is as long as the nesting is deep.
            scanner.budget.work(LOOK_UP + 16 * entry.path().as_os_str().len() as u64)?;
            self.entries += 1;
            let name = entry.name();
            // Names are compared without case (MS-CFB 2.6.4).
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            found.has_macros |= MACROS.into_iter().any(is);
            if !entry.is_stream() {
                continue;
            }
            found.is_encrypted |= is(ENCRYPTED);
            let path = || entry.path().to_path_buf();
            if is(NATIVE) || PACKAGES.into_iter().any(is) {
                found.objects.push(path());
            }
            let name = name.to_ascii_uppercase();
            let Some(property) = name.strip_prefix(PROPERTY) else { continue };
            let storage = entry.path().parent().map(Path::to_path_buf).unwrap_or_default();
            if let Some(at) = NAMES.iter().position(|id| property.starts_with(id)) {
                let attachment = found.attachments.entry(storage).or_default();
                attachment.names.entry(at).or_default().push(path());
            } else if property == DATA {
                found.attachments.entry(storage).or_default().data = Some(path());
            }
        }
        Ok(found)
    }

    fn attachment(
        &mut self,
        scanner: &mut Scanner<'_>,
        place: &Place,
        attachment: &Attachment,
    ) -> Result<(), Exceeded> {
        // What has no data of its own is a message, which has a subject, or a recipient; neither names a file.
        let is_file = |at: &usize| attachment.data.is_some() || *at < DISPLAY_NAME;
        let mut names = Vec::new();
        for path in attachment.names.iter().filter(|(at, _)| is_file(at)).flat_map(|(_, paths)| paths) {
            let Some(stream) = self.stream(scanner, path)? else { continue };
            let name = scanner.budget.inflating(stream).up_to(u64::MAX)?.bytes;
            if path.to_string_lossy().to_ascii_uppercase().ends_with("001F") {
                names.extend(names::utf16_ended(&name));
            } else {
                names.extend(names::readings_ended(&name));
            }
        }
        match &attachment.data {
            Some(path) => match self.stream(scanner, path)? {
                Some(mut stream) => file(scanner, place, &names, stream.len(), &mut stream),
                None => file(scanner, place, &names, 0, &mut io::empty()),
            },
            None if names.is_empty() => Ok(()),
            None => file(scanner, place, &names, 0, &mut io::empty()),
        }
    }

    /// A file that was embedded in a document.
    fn object(&mut self, scanner: &mut Scanner<'_>, place: &Place, path: &Path) -> Result<(), Exceeded> {
        let Some(mut stream) = self.stream(scanner, path)? else { return Ok(()) };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.eq_ignore_ascii_case(NATIVE) {
            return file(scanner, place, &[name], stream.len(), &mut stream);
        }
        let bytes = scanner.budget.inflating(stream).up_to(u64::MAX)?.bytes;
        let (names, mut content) = native(&bytes).unwrap_or_else(|| (vec![name], &bytes));
        file(scanner, place, &names, content.len() as u64, &mut content)
    }

    fn stream(
        &mut self,
        scanner: &mut Scanner<'_>,
        path: &Path,
    ) -> Result<Option<cfb::Stream<Cursor<&'d [u8]>>>, Exceeded> {
        scanner.budget.work(self.entries * LOOK_UP)?;
        Ok(contained(|| self.file.open_stream(path)).and_then(Result::ok))
    }
}

fn file(
    scanner: &mut Scanner<'_>,
    place: &Place,
    names: &[String],
    size: u64,
    content: &mut dyn Read,
) -> Result<(), Exceeded> {
    scanner.budget.entry()?;
    let entry = Entry { names, size, is_encrypted: false, view: View::Entry };
    entry::scan(scanner, place, &entry, Some(content)).map(drop)
}

/// The names and the content of a file that was dropped into a document: sizes, flags, a label, the file's name, the
/// path of a temporary copy, the content.
fn native(stream: &[u8]) -> Option<(Vec<String>, &[u8])> {
    package(stream.get(4..)?)
}

/// The same behind its size.
pub(super) fn package(object: &[u8]) -> Option<(Vec<String>, &[u8])> {
    let mut rest = object.get(2..)?;
    let mut names = Vec::new();
    for _ in 0..2 {
        let text = names::until_nul(rest);
        names.extend(names::readings(end_of_name(text)));
        rest = rest.get(text.len() + 1..)?;
    }
    let mut sized = rest.get(4..)?;
    for part in 0..2 {
        let (size, after) = sized.split_first_chunk()?;
        let size = u32::from_le_bytes(*size) as usize;
        if part == 1 {
            return Some((names, &after[..size.min(after.len())]));
        }
        let (path, after) = after.split_at_checked(size)?;
        names.extend(names::readings(end_of_name(names::until_nul(path))));
        sized = after;
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tar::tests::file as tar;
    use super::*;
    use crate::content::archive::tests::{causes, report, tree};
    use std::io::Write;

    /// A compound file of these streams; their storages are made, too.
    pub(in crate::content::archive) fn compound(streams: &[(&str, &[u8])]) -> Vec<u8> {
        let mut file = CompoundFile::create(Cursor::new(Vec::new())).unwrap();
        for (path, data) in streams {
            file.create_storage_all(Path::new(path).parent().unwrap()).unwrap();
            file.create_stream(path).unwrap().write_all(data).unwrap();
        }
        file.flush().unwrap();
        file.into_inner().into_inner()
    }

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn attachments_of_messages_are_judged_and_opened() {
        let (tar, text) = (tar("evil.exe", b"MZ"), utf16("b.tar"));
        let message = compound(&[
            ("/__substg1.0_0037001F", &utf16("see example.com")),
            ("/__recip_version1.0_#00000000/__substg1.0_3001001F", &utf16("bob@example.com")),
            ("/__attach_version1.0_#00000000/__substg1.0_3707001F", &text),
            ("/__attach_version1.0_#00000000/__substg1.0_37010102", &tar),
            ("/__attach_version1.0_#00000001/__substg1.0_3001001F", &utf16("example.com")),
            (
                "/__attach_version1.0_#00000001/__substg1.0_3701000D/__attach_version1.0_#00000000/__substg1.0_3704001E",
                b"evil.scr",
            ),
            (
                "/__attach_version1.0_#00000001/__substg1.0_3701000D/__attach_version1.0_#00000000/__substg1.0_37010102",
                b"MZ",
            ),
        ]);
        assert_eq!(tree("x.msg", &message), ["x.msg", " b.tar", "  evil.exe", " evil.scr"]);
        assert_eq!(
            causes("x.msg", &message)[..2],
            [
                "attachment.forbidden_extension x.msg/b.tar/evil.exe",
                "attachment.forbidden_extension x.msg/evil.scr"
            ]
        );
    }

    #[test]
    fn every_spelling_of_a_name_is_judged_to_its_end() {
        let folder = "d/".repeat(600);
        let (ansi, wide) = (format!("{folder}evil.js"), utf16(&format!("{folder}evil.js\0")));
        for (first, second) in [
            (("3707001E", &b"evil.js"[..]), ("3707001F", &utf16("a.txt")[..])),
            (("3704001E", b"evil.js"), ("3704001F", &utf16("a.txt"))),
            (("3707001E", b"a.txt"), ("3707001F", &utf16("evil.js\0"))),
            (("3707001E", ansi.as_bytes()), ("3704001E", b"a.txt")),
            (("3707001F", &wide), ("3704001E", b"a.txt")),
        ] {
            let [first, second] = [first, second].map(|(id, name)| (format!("/a/{PROPERTY}{id}"), name));
            let data = format!("/a/{PROPERTY}{DATA}");
            let message = compound(&[(&first.0, first.1), (&second.0, second.1), (&data, b"x")]);
            let report = report("x.msg", &message);
            let found: Vec<_> = report.found.iter().map(|found| found.extension.as_deref()).collect();
            assert_eq!(found, [Some("js")], "{}", first.0);
        }
    }

    #[test]
    fn objects_in_documents_are_judged_and_opened() {
        let mut native = vec![0, 0, 0, 0, 2, 0];
        native.extend(b"invoice.pdf\0C:\\evil.exe\0\0\0\x03\0\x09\0\0\0C:\\t.pdf\0");
        native.extend([2, 0, 0, 0, b'h', b'i']);
        let document = compound(&[("/ObjectPool/_1/\u{1}Ole10Native", &native), ("/WordDocument", b"text")]);
        assert_eq!(causes("x.doc", &document), ["attachment.forbidden_extension x.doc/C:\\evil.exe"]);
        let package = compound(&[("/MBD0/Package", &tar("evil.exe", b"MZ"))]);
        assert_eq!(causes("x.xls", &package), ["attachment.forbidden_extension x.xls/Package/evil.exe"]);
    }

    #[test]
    fn macros_and_encryption_are_told() {
        let macros = compound(&[("/Macros/VBA/_VBA_PROJECT", b"\xcc\x61")]);
        assert_eq!(causes("x.doc", &macros), ["attachment.macros x.doc"]);
        let encrypted = compound(&[("/EncryptedPackage", b"noise"), ("/EncryptionInfo", b"noise")]);
        assert_eq!(causes("x.docx", &encrypted), ["attachment.encrypted_entry x.docx"]);
        assert_eq!(causes("x.doc", &compound(&[("/WordDocument", b"text")])), [""; 0]);
    }

    #[test]
    fn damage_is_told_and_ends_nothing() {
        let whole = compound(&[
            ("/a/__substg1.0_37010102", &[b'x'; 9000]),
            ("/a/__substg1.0_3707001F", &utf16("a.txt")),
        ]);
        assert_eq!(causes("x.doc", &whole[..600]), ["attachment.unreadable_container x.doc"]);
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            causes("x.doc", &damaged);
            causes("x.doc", &whole[..at]);
        }
    }
}
