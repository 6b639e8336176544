//! TNEF (MS-OXTNEF), the `winmail.dat` of Outlook and Exchange: the attachments in it, and messages in those.
//!
//! A mark and a key, then attributes: level, id, length, data, checksum. One of them opens an attachment; behind it
//! come those with its names and its data, in any order. Checksums are not looked at, as readers differ on them, and
//! where the row of attributes is broken, the next thing that looks like one is searched for: a mail program may do so.

mod properties;

use encoding_rs::Encoding;

use super::entry::{self, Entry};
use super::names;
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::filename::end_of_name;
use crate::content::scanner::{Place, Scanner};

const MARK: &[u8] = b"\x78\x9f\x3e\x22";
/// The mark and the key.
const START: usize = 6;
/// What an attribute has before its data: level, id, length. Behind them is a checksum.
const HEADER: usize = 9;
const CHECKSUM: usize = 2;
/// Work of an attribute, in bytes.
const ATTRIBUTE: u64 = 64;
/// Names of an attachment that are looked at.
const MAX_NAMES: usize = 64;
/// An object begins with the id of its interface.
const INTERFACE: usize = 16;

/// Ids of attributes (MS-OXTNEF 2.1.3.2), without their type.
mod id {
    pub(super) const ATTACH_DATA: u16 = 0x800f;
    pub(super) const ATTACH_TITLE: u16 = 0x8010;
    pub(super) const ATTACH_TRANSPORT_NAME: u16 = 0x9001;
    pub(super) const ATTACH_REND_DATA: u16 = 0x9002;
    pub(super) const ATTACHMENT: u16 = 0x9005;
    pub(super) const OEM_CODEPAGE: u16 = 0x9007;
}

/// Ids of properties in [`id::ATTACHMENT`] (MS-OXPROPS).
mod property {
    pub(super) const DISPLAY_NAME: u16 = 0x3001;
    pub(super) const DATA: u16 = 0x3701;
    pub(super) const EXTENSION: u16 = 0x3703;
    pub(super) const FILE_NAME: u16 = 0x3704;
    pub(super) const LONG_FILE_NAME: u16 = 0x3707;
    pub(super) const TRANSPORT_NAME: u16 = 0x370c;
}

/// Whether a file begins as TNEF does.
pub(super) fn begins(data: &[u8]) -> bool {
    data.starts_with(MARK)
}

/// Looks into the file `data`, whose attachments are in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let mut rest = data.strip_prefix(MARK).and_then(|_| data.get(START..)).unwrap_or_default();
    let (mut is_empty, mut is_cut) = (true, false);
    let mut codepage = None;
    let mut attachment = Attachment::default();
    while let Some((attribute, skipped)) = next_attribute(&mut rest) {
        scanner.budget.work(ATTRIBUTE + skipped)?;
        is_empty = false;
        is_cut = attribute.is_cut;
        match attribute.id {
            id::OEM_CODEPAGE => {
                codepage = attribute.data.first_chunk().and_then(|cp| encoding(u32::from_le_bytes(*cp)))
            }
            id::ATTACH_REND_DATA => std::mem::take(&mut attachment).judge(scanner, place)?,
            id::ATTACH_TITLE | id::ATTACH_TRANSPORT_NAME => attachment.name(attribute.data, codepage),
            id::ATTACH_DATA => attachment.data.push(attribute.data),
            id::ATTACHMENT => {
                scanner.budget.work(attribute.data.len() as u64)?;
                attachment.properties(attribute.data, codepage);
            }
            _ => {}
        }
    }
    attachment.judge(scanner, place)?;
    if is_empty || is_cut {
        scanner.unreadable_in(place);
    }
    Ok(())
}

struct Attribute<'t> {
    id: u16,
    data: &'t [u8],
    is_cut: bool,
}

/// The next attribute, taken off `rest`, and how many bytes were skipped to find it.
fn next_attribute<'t>(rest: &mut &'t [u8]) -> Option<(Attribute<'t>, u64)> {
    let at = (0..rest.len().checked_sub(HEADER)? + 1).find(|at| is_attribute(&rest[*at..]))?;
    let header = &rest[at..];
    let length = header[5..HEADER].first_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
    let behind = &header[HEADER..];
    let data = &behind[..length.min(behind.len())];
    *rest = behind.get(data.len() + CHECKSUM..).unwrap_or_default();
    let id = u16::from_le_bytes([header[1], header[2]]);
    Some((Attribute { id, data, is_cut: length > behind.len() }, at as u64))
}

/// Whether bytes look like an attribute: level 1 or 2, then an id that has a type and is in a range of MAPI's.
fn is_attribute(bytes: &[u8]) -> bool {
    matches!(bytes, [1 | 2, _, 0x80 | 0x90 | 0x00, 0..=9, 0, _, _, _, _, ..])
}

/// What is known of an attachment so far.
#[derive(Default)]
struct Attachment<'t> {
    names: Vec<String>,
    display_names: Vec<String>,
    /// Whether there were more of them than are kept.
    has_more_names: bool,
    data: Vec<&'t [u8]>,
}

impl<'t> Attachment<'t> {
    fn name(&mut self, name: &[u8], codepage: Option<&'static Encoding>) {
        self.names.extend(readings(name, codepage));
        self.cut_names();
    }

    fn cut_names(&mut self) {
        for names in [&mut self.names, &mut self.display_names] {
            self.has_more_names |= names.len() > MAX_NAMES;
            names.truncate(MAX_NAMES);
        }
    }

    fn properties(&mut self, data: &'t [u8], codepage: Option<&'static Encoding>) {
        for found in properties::read(data) {
            let text = || match found.kind {
                properties::UNICODE => names::utf16_ended(found.value),
                _ => readings(found.value, codepage),
            };
            match found.id {
                property::LONG_FILE_NAME
                | property::FILE_NAME
                | property::EXTENSION
                | property::TRANSPORT_NAME => {
                    self.names.extend(text());
                }
                property::DISPLAY_NAME => self.display_names.extend(text()),
                property::DATA if found.kind == properties::OBJECT => {
                    self.data.push(found.value.get(INTERFACE..).unwrap_or_default());
                }
                property::DATA => self.data.push(found.value),
                _ => {}
            }
            self.cut_names();
        }
    }

    fn judge(mut self, scanner: &mut Scanner<'_>, place: &Place) -> Result<(), Exceeded> {
        if self.has_more_names {
            // Any of them may be the one that counts.
            scanner.unreadable_in(place);
        }
        // The display name of a message is its subject, which names no file.
        if !self.data.iter().any(|data| begins(data)) {
            self.names.append(&mut self.display_names);
        }
        if self.data.is_empty() && !self.names.is_empty() {
            self.data.push(&[]);
        }
        for mut data in self.data {
            scanner.budget.entry()?;
            let size = data.len() as u64;
            let entry = Entry { names: &self.names, size, is_encrypted: false, view: View::Entry };
            entry::scan(scanner, place, &entry, Some(&mut data))?;
        }
        Ok(())
    }
}

/// The readings of a name of one byte a character: in the code page the file says, and in those it may be in.
fn readings(name: &[u8], codepage: Option<&'static Encoding>) -> Vec<String> {
    let name = end_of_name(names::until_nul(name));
    let decoded = codepage.filter(|_| !name.is_ascii()).map(|codepage| codepage.decode(name).0.into_owned());
    decoded.into_iter().chain(names::readings(name)).collect()
}

/// The encoding of a Windows code page.
fn encoding(codepage: u32) -> Option<&'static Encoding> {
    let label = match codepage {
        932 => "shift_jis".to_owned(),
        936 => "gbk".to_owned(),
        949 => "euc-kr".to_owned(),
        950 => "big5".to_owned(),
        65001 => "utf-8".to_owned(),
        other => format!("windows-{other}"),
    };
    Encoding::for_label(label.as_bytes())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tar::tests::file as tar;
    use super::*;
    use crate::content::archive::tests::{causes, tree};

    /// An attribute of this level; its checksum is wrong.
    fn attribute(level: u8, id: u16, data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u32).to_le_bytes();
        [&[level], &id.to_le_bytes()[..], &[6, 0], &length, data, &[0xff, 0xff]].concat()
    }

    pub(in crate::content::archive) fn tnef(attributes: &[Vec<u8>]) -> Vec<u8> {
        let version = attribute(1, 0x9006, &[0, 0, 1, 0]);
        let codepage = attribute(1, id::OEM_CODEPAGE, &[0xa4, 3, 0, 0, 0, 0, 0, 0]);
        [MARK, &[1, 0], &version, &codepage, &attributes.concat()].concat()
    }

    fn open() -> Vec<u8> {
        attribute(2, id::ATTACH_REND_DATA, &[0; 14])
    }

    fn title(name: &[u8]) -> Vec<u8> {
        attribute(2, id::ATTACH_TITLE, name)
    }

    pub(in crate::content::archive) fn data(data: &[u8]) -> Vec<u8> {
        attribute(2, id::ATTACH_DATA, data)
    }

    /// A MAPI attribute with one property.
    fn mapi(kind: u16, id: u16, value: &[u8]) -> Vec<u8> {
        let size = (value.len() as u32).to_le_bytes();
        let mut row =
            [&[1, 0, 0, 0], &kind.to_le_bytes()[..], &id.to_le_bytes(), &[1, 0, 0, 0], &size, value].concat();
        row.resize(row.len().next_multiple_of(4), 0);
        attribute(2, id::ATTACHMENT, &row)
    }

    #[test]
    fn attachments_are_judged_and_containers_opened() {
        let inner = tar("evil.exe", b"MZ");
        let file = tnef(&[open(), title(b"a.txt\0"), data(b"text"), open(), title(b"b.tar\0"), data(&inner)]);
        assert_eq!(tree("winmail.dat", &file), ["winmail.dat", " a.txt", " b.tar", "  evil.exe"]);
        let expected = ["attachment.forbidden_extension winmail.dat/b.tar/evil.exe"];
        assert_eq!(causes("winmail.dat", &file), expected);
        assert_eq!(causes("x", &file), ["attachment.forbidden_extension x/b.tar/evil.exe"]);
        assert_eq!(causes("winmail.dat", &tnef(&[])), [""; 0]);
    }

    #[test]
    fn every_name_of_an_attachment_is_judged() {
        let long: Vec<u8> = "evil.exe\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for attributes in [
            vec![open(), data(b"MZ"), title(b"evil.exe\0")],
            vec![open(), title(b"evil.exe\0")],
            vec![open(), title(b"a.txt\0"), data(b"x"), mapi(0x1f, property::LONG_FILE_NAME, &long)],
            vec![open(), title(b"a.txt\0"), data(b"x"), mapi(0x1e, property::DISPLAY_NAME, b"evil.exe\0")],
            vec![open(), attribute(2, id::ATTACH_TRANSPORT_NAME, b"evil.exe\0"), data(b"x")],
            vec![title(b"evil.exe\0"), data(b"x")],
            vec![b"junk \x01 junk".to_vec(), open(), title(b"evil.exe\0"), data(b"x")],
            vec![open(), title(b"a.txt\0"), b"\0\0\0".to_vec(), title(b"evil.exe\0"), data(b"x")],
        ] {
            let found = causes("winmail.dat", &tnef(&attributes));
            assert_eq!(found, ["attachment.forbidden_extension winmail.dat/evil.exe"]);
        }
        // Code page 932: a character whose second byte is a backslash.
        let japanese = tnef(&[open(), title(b"\x95\x5c.txt\0"), data(b"x")]);
        assert_eq!(tree("winmail.dat", &japanese), ["winmail.dat", " \u{8868}.txt"]);
    }

    #[test]
    fn names_without_end_are_not_kept() {
        let long: Vec<u8> = "evil.exe\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let attached = |decoy: &[u8], count: usize| {
            let last = mapi(0x1f, property::LONG_FILE_NAME, &long);
            causes("winmail.dat", &tnef(&[open(), decoy.repeat(count), last, data(b"x")]))
        };
        assert_eq!(attached(&title(b"a.txt\0"), 63), ["attachment.forbidden_extension winmail.dat/evil.exe"]);
        let subject = mapi(0x1e, property::DISPLAY_NAME, b"a.txt\0");
        for (decoy, count) in [(title(b"a.txt\0"), 64), (subject, 65)] {
            let found = attached(&decoy, count);
            assert!(found.contains(&"attachment.unreadable_container winmail.dat".to_owned()), "{found:?}");
        }
    }

    #[test]
    fn messages_in_attachments_are_opened() {
        let inner = tnef(&[open(), title(b"evil.exe\0"), data(b"MZ")]);
        let object = [&[0; INTERFACE][..], &inner].concat();
        let outer = tnef(&[
            open(),
            mapi(0x1e, property::DISPLAY_NAME, b"see example.com\0"),
            mapi(0x0d, property::DATA, &object),
        ]);
        assert_eq!(
            causes("winmail.dat", &outer),
            ["attachment.forbidden_extension winmail.dat/tnef/evil.exe"]
        );
        let deep = (0..20).fold(inner, |inner, _| tnef(&[open(), data(&inner)]));
        assert_eq!(
            causes("winmail.dat", &deep),
            ["attachment.limit_depth winmail.dat/tnef/tnef/tnef/tnef/tnef/tnef/tnef/tnef"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        assert_eq!(causes("winmail.dat", b"text"), ["attachment.unreadable_container winmail.dat"]);
        let whole = tnef(&[open(), title(b"a.txt\0"), data(&[b'x'; 100])]);
        let cut = &whole[..whole.len() - 50];
        assert_eq!(causes("winmail.dat", cut), ["attachment.unreadable_container winmail.dat"]);
        for cut in 0..whole.len() {
            causes("winmail.dat", &whole[..cut]);
        }
    }
}
