//! Containers other than messages: what tells them, and one file for each kind that can be read.

mod apple;
mod arj;
mod cab;
mod cms;
mod compressed;
mod entry;
mod lzh;
mod lzw;
mod names;
mod ole;
mod pdf;
mod rar;
mod rtf;
mod sevenz;
mod tar;
mod tnef;
mod unix;
mod zip;

use super::budget::Exceeded;
use super::scanner::{Place, Scanner};
use super::{Kind, filename, magic, message};

/// Bytes of a file that tell what it is.
pub(super) const PREFIX: usize = 512;

/// Extensions of archives of every kind, readable here or not: what is in one inside an encrypted archive,
/// nobody can tell.
const ARCHIVES: [&str; 35] = [
    "zip", "zipx", "jar", "rar", "7z", "tar", "tgz", "tbz", "tbz2", "txz", "tzst", "gz", "bz2", "xz", "zst",
    "lzma", "z", "cab", "arj", "lzh", "lha", "ace", "alz", "egg", "iso", "eml", "msg", "tnef", "wim", "lz4",
    "cpio", "zoo", "arc", "sit", "xar",
];

/// How archives begin that no reader here lists: nobody can tell what is in them.
const UNLISTED: [(usize, &[u8]); 11] = [
    (0, b"ALZ\x01"),
    (0, b"EGGA\0\x01"),
    (0, b"xar!\0\x1c\0\x01"),
    (0, b"StuffIt (c)1997-"),
    (10, b"rLau"),
    (20, b"\xdc\xa7\xc4\xfd"),
    (0, b"7kSt"),
    (0, b"UHA\x06"),
    (0, b"ArC\x01"),
    // What Microsoft's `compress` makes; `expand` is part of Windows still.
    (0, b"SZDD\x88\xf0\x27\x33"),
    (0, b"KWAJ\x88\xf0\x27\xd1"),
];

/// Fields that a message begins with, in lower case. Those of MIME alone tell a message from a quoted letterhead.
const MIME_FIELDS: [&[u8]; 4] =
    [b"mime-version:", b"content-type:", b"content-disposition:", b"content-transfer-encoding:"];

/// What kind of container a file is, by its names and its content.
pub(super) fn kind(names: &[String], data: &[u8], is_message: bool) -> Kind {
    match kind_of_entry(names, prefix(data)) {
        Kind::File if is_message => Kind::Message,
        Kind::File if zip::is_embedded(data) => Kind::Zip,
        Kind::File if rar::is_embedded(data) => Kind::Rar,
        Kind::File if sevenz::is_embedded(data) => Kind::SevenZ,
        kind => kind,
    }
}

/// What kind of container an archive entry is, by its names and its first bytes: the content decides where it is
/// known, as it does for unpackers.
fn kind_of_entry(names: &[String], begins: &[u8]) -> Kind {
    let claimed = || names.iter().find_map(|name| kind_of_name(name));
    kind_of_content(begins)
        .or_else(claimed)
        .unwrap_or_else(|| if looks_like_message(begins) { Kind::Message } else { Kind::File })
}

/// Whether a file is opened as a message, by its names, its first bytes, and whether its type says that it is one.
pub(super) fn is_message(names: &[String], begins: &[u8], is_message: bool) -> bool {
    match kind_of_entry(names, begins) {
        Kind::Message => true,
        Kind::File => is_message,
        _ => false,
    }
}

/// Whether a file begins with a header of tar.
pub(super) fn is_tar(begins: &[u8]) -> bool {
    tar::begins(begins)
}

fn kind_of_content(begins: &[u8]) -> Option<Kind> {
    type Begins = fn(&[u8]) -> bool;
    const KINDS: [(Kind, Begins); 16] = [
        (Kind::Zip, zip::begins),
        (Kind::SevenZ, sevenz::begins),
        (Kind::Rar, rar::begins),
        (Kind::Cab, cab::begins),
        (Kind::Arj, arj::begins),
        (Kind::Lzh, lzh::begins),
        (Kind::Ole, ole::begins),
        (Kind::Tnef, tnef::begins),
        (Kind::Apple, apple::begins),
        (Kind::Cms, cms::begins),
        (Kind::Tar, tar::begins),
        (Kind::Cpio, unix::is_cpio),
        (Kind::Ar, unix::is_ar),
        (Kind::Rtf, rtf::begins),
        (Kind::Unlisted, is_unlisted),
        (Kind::MacBinary, apple::is_macbinary),
    ];
    let kind = KINDS.into_iter().find(|(_, is_its)| is_its(begins)).map(|(kind, _)| kind);
    kind.or_else(|| compressed::kind_of_content(begins))
}

fn is_unlisted(begins: &[u8]) -> bool {
    UNLISTED.iter().any(|(at, mark)| begins.get(*at..).is_some_and(|rest| magic::starts_with(rest, mark)))
        || is_arc(begins)
}

/// Whether a file begins as ARC does: a mark, a method, then a DOS name that ends in NUL.
fn is_arc(begins: &[u8]) -> bool {
    let [0x1a, 1..=11, name @ ..] = begins else { return false };
    let length = name.iter().take(13).take_while(|byte| byte.is_ascii_graphic()).count();
    length > 0 && name.get(length) == Some(&0) && name[..length].contains(&b'.')
}

fn kind_of_name(name: &str) -> Option<Kind> {
    let extension = filename::extension(name);
    match &*extension {
        "zip" | "zipx" => Some(Kind::Zip),
        "7z" => Some(Kind::SevenZ),
        "rar" => Some(Kind::Rar),
        "cab" => Some(Kind::Cab),
        "arj" => Some(Kind::Arj),
        "lzh" | "lha" => Some(Kind::Lzh),
        "p7m" | "p7z" => Some(Kind::Cms),
        "cpio" => Some(Kind::Cpio),
        "zoo" | "alz" | "egg" | "sitx" => Some(Kind::Unlisted),
        "tnef" => Some(Kind::Tnef),
        "dat" if name.eq_ignore_ascii_case("winmail.dat") => Some(Kind::Tnef),
        "eml" | "mht" | "mhtml" | "mim" | "mbox" => Some(Kind::Message),
        // A message of Outlook, unless it is text.
        "msg" => Some(Kind::Message),
        "tar" => Some(Kind::Tar),
        extension => compressed::kind_of_extension(extension),
    }
}

/// What stands behind the archive that a file begins as. Behind one of another kind, where the file is called otherwise, it
/// is the whole: one program opens the one, another the other.
fn behind<'d>(kind: Kind, other: Kind, names: &[String], data: &'d [u8]) -> &'d [u8] {
    let end = match kind {
        Kind::Zip if other != Kind::Zip => zip::end(data),
        Kind::SevenZ => sevenz::end(data),
        Kind::Rar => rar::end(data),
        _ if kind != other && names.iter().any(|name| kind_of_name(name) == Some(other)) => 0,
        _ => data.len(),
    };
    data.get(end..).unwrap_or_default()
}

/// What else a file that begins as `kind` may be opened as, from its beginning on: a tar by its first header, and what its
/// names say. A `.msg` that is no text is opened by its content alone.
fn readings(kind: Kind, names: &[String], data: &[u8]) -> Vec<Kind> {
    let claimed = names.iter().filter(|name| filename::extension(name) != "msg");
    let claimed = claimed.filter_map(|name| kind_of_name(name));
    let mut others = Vec::new();
    for other in claimed.chain(tar::begins(data).then_some(Kind::Tar)) {
        // These are looked for wherever they begin.
        let is_done = other == kind || matches!(other, Kind::Zip | Kind::SevenZ | Kind::Rar);
        if !is_done && !others.contains(&other) {
            others.push(other);
        }
    }
    others
}

/// Looks into a container of this `kind`, with all its `names`; its entries are in `place`.
pub(super) fn scan(
    scanner: &mut Scanner<'_>,
    kind: Kind,
    names: &[String],
    data: &[u8],
    place: &Place,
) -> Result<(), Exceeded> {
    scanner.budget.work(data.len() as u64)?;
    read(scanner, kind, names, data, place)?;
    type IsIn = fn(&[u8]) -> bool;
    let others: [(Kind, IsIn); 3] =
        [(Kind::Zip, zip::is_embedded), (Kind::SevenZ, sevenz::is_embedded), (Kind::Rar, rar::is_embedded)];
    for (other, is_in) in others {
        let rest = behind(kind, other, names, data);
        scanner.budget.work(rest.len() as u64)?;
        if is_in(rest) {
            scanner.leniently(|scanner| read(scanner, other, names, rest, place))?;
        }
    }
    for other in readings(kind, names, data) {
        scanner.budget.work(data.len() as u64)?;
        scanner.leniently(|scanner| read(scanner, other, names, data, place))?;
    }
    Ok(())
}

fn read(
    scanner: &mut Scanner<'_>,
    kind: Kind,
    names: &[String],
    data: &[u8],
    place: &Place,
) -> Result<(), Exceeded> {
    let name = names.first().map_or("", String::as_str);
    match kind {
        Kind::File => Ok(()),
        Kind::Message => message::scan(scanner, data, place),
        Kind::Zip => zip::scan(scanner, names, data, place),
        Kind::Tar => tar::scan(scanner, data, place),
        Kind::SevenZ => sevenz::scan(scanner, data, place),
        Kind::Rar => rar::scan(scanner, data, place),
        Kind::Cab => cab::scan(scanner, data, place),
        Kind::Arj => arj::scan(scanner, data, place),
        Kind::Lzh => lzh::scan(scanner, data, place),
        Kind::Ole => ole::scan(scanner, data, place),
        Kind::Tnef => tnef::scan(scanner, data, place),
        Kind::Cms => cms::scan(scanner, name, data, place),
        Kind::Apple => apple::scan(scanner, name, data, place),
        Kind::MacBinary => apple::scan_macbinary(scanner, data, place),
        Kind::Cpio => unix::scan_cpio(scanner, data, place),
        Kind::Ar => unix::scan_ar(scanner, data, place),
        Kind::Rtf => rtf::scan(scanner, data, place),
        Kind::Unlisted => {
            scanner.unreadable_in(place);
            Ok(())
        }
        Kind::Gzip
        | Kind::Bzip2
        | Kind::Xz
        | Kind::Lzma
        | Kind::Lzip
        | Kind::Zstd
        | Kind::Lz4
        | Kind::Compress => compressed::scan(scanner, kind, name, data, place),
    }
}

/// The first bytes of a file.
pub(super) fn prefix(data: &[u8]) -> &[u8] {
    &data[..data.len().min(PREFIX)]
}

/// The little-endian number at `at`, 0 past the end.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]))
}

/// The little-endian number at `at`, 0 past the end.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// The names of files that are attached to a document in PDF: one for each string that may hold a name, `None` where it holds none.
pub(super) fn names_in_pdf(data: &[u8]) -> impl Iterator<Item = Option<String>> {
    pdf::names(data)
}

/// Whether the extension is that of an archive or an attached message.
fn is_archive(extension: &str) -> bool {
    ARCHIVES.contains(&extension)
}

/// Whether a file begins with header fields, MIME's among them; in a mailbox behind a line with the sender.
pub(super) fn looks_like_message(begins: &[u8]) -> bool {
    if !begins.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'>' | b'-')) {
        return false;
    }
    let sender = begins.strip_prefix(b">").unwrap_or(begins).starts_with(b"From ");
    let skipped = if sender { memchr::memchr(b'\n', begins).map_or(0, |end| end + 1) } else { 0 };
    let begins = &begins[skipped..];
    let lines = || begins.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let is_field = |line: &[u8]| {
        let name = line.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        name > 1 && line[name..].trim_ascii_start().starts_with(b":")
    };
    let is_mime = |line: &[u8]| {
        let begins =
            |field: &&[u8]| line.get(..field.len()).is_some_and(|name| name.eq_ignore_ascii_case(field));
        MIME_FIELDS.iter().any(begins)
    };
    lines().next().is_some_and(is_field) && lines().take_while(|line| !line.is_empty()).any(is_mime)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::checks::AttachmentSettings;
    use crate::content::{Cancel, DEPTH_CAP, Report, scan_file};
    use std::io::{Cursor, Write};
    use std::num::NonZeroU32;

    pub(super) fn report(name: &str, data: &[u8]) -> Report {
        scan_file(name, data, &AttachmentSettings::default(), &Cancel::default())
    }

    /// The causes found in a file, each with its path.
    pub(super) fn causes(name: &str, data: &[u8]) -> Vec<String> {
        let line = |found: &crate::content::Found| format!("{} {}", found.reason, found.path);
        report(name, data).found.iter().map(|found| line(found).trim_end().to_owned()).collect()
    }

    /// The names in the tree of a file, a space before each for its depth.
    pub(super) fn tree(name: &str, data: &[u8]) -> Vec<String> {
        let line = |node: &crate::content::Node| format!("{}{}", " ".repeat(node.depth as usize), node.name);
        report(name, data).tree.iter().map(line).collect()
    }

    #[test]
    fn containers_are_told_by_name_or_content() {
        for (extension, data, expected) in [
            ("zip", &b"anything"[..], Kind::Zip),
            ("txt", b"PK\x03\x04...", Kind::Zip),
            ("txt", b"PK\x05\x06...", Kind::Zip),
            ("txt", b"PK00PK\x03\x04...", Kind::Zip),
            ("jpg", b"\xff\xd8...PK\x01\x02...PK\x05\x06...", Kind::Zip),
            ("txt", b"PK is short for Phil Katz", Kind::File),
            ("eml", b"", Kind::Message),
            ("", b"From: a@b\r\nContent-Type: text/plain\r\n\r\nx", Kind::Message),
            ("", b"MIME-Version: 1.0\n\nx", Kind::Message),
            ("", b"From a@b Thu Nov 26 10:00:00 2026\nMIME-Version: 1.0\n\nx", Kind::Message),
            ("", b"From here on\nall is well", Kind::File),
            ("", b"From: a@b\r\nTo: c@d\r\n\r\nContent-Type: x", Kind::File),
            ("", b"Dear all,\r\nContent-Type: text/plain\r\n", Kind::File),
            ("", b"", Kind::File),
        ] {
            let names = [format!("a.{extension}")];
            assert_eq!(kind(&names, data, false), expected, "{extension} {}", data.escape_ascii());
        }
        assert_eq!(kind(&["a.txt".to_owned()], b"x", true), Kind::Message);
        assert_eq!(kind(&["a.zip".to_owned()], b"x", true), Kind::Zip);
    }

    /// A zip of these files.
    pub(super) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, data) in files {
            writer.start_file(*name, ::zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(data).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    /// A zip whose one entry, stored, is all of `data` but its first bytes, over which the header is written.
    fn over(mut data: Vec<u8>) -> Vec<u8> {
        let start = 30 + 5;
        let size = (data.len() as u32 - start).to_le_bytes();
        let fields =
            [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0], &size[..], &size, &[5, 0, 0, 0]].concat();
        data[..start as usize].copy_from_slice(&[b"PK\x03\x04", &fields[..], b"r.txt"].concat());
        let directory = data.len() as u32;
        data.extend([b"PK\x01\x02\x14\0", &fields[..], &[0; 14], b"r.txt"].concat());
        let length = data.len() as u32 - directory;
        data.extend([b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &length.to_le_bytes()[..]].concat());
        data.extend([&directory.to_le_bytes()[..], &[0, 0]].concat());
        data
    }

    #[test]
    fn what_begins_as_several_kinds_is_read_as_each() {
        let tar = [tar::tests::file("AAAA", b"hi"), tar::tests::file("evil.js", b"x")].concat();
        for name in ["a.tar", "a.zip", "a.dat"] {
            let expected = format!("attachment.forbidden_extension {name}/evil.js");
            assert_eq!(causes(name, &over(tar.clone())), [expected]);
        }
        let mail = b"Content-Type: x/y; name=evil.js\r\n\r\nfoo\r\n";
        let cabinet = [b"MSCF", &[0; 20][..], &[3, 1, 0, 0], b"\r\n"].concat();
        for mail in [
            over([&[b'x'; 40], &b"\r\nX: y\r\n"[..], mail].concat()),
            [&cabinet, &mail[..]].concat(),
            [b"\x1f\x8b\x08\0\r\n", &mail[..]].concat(),
        ] {
            let found = causes("fwd.eml", &mail);
            let expected = "attachment.forbidden_extension fwd.eml/evil.js".to_owned();
            assert!(found.contains(&expected), "{found:?}");
        }
        let harmless =
            over([&[b'x'; 40], &b"\r\nX: y\r\nContent-Type: x/y; name=a.pdf\r\n\r\nfoo"[..]].concat());
        assert_eq!(causes("fwd.eml", &harmless), [""; 0]);
        // A message of Outlook holds the header of the mail it was, and is no such mail.
        let outlook =
            ole::tests::compound(&[("/__substg1.0_007D001E", b"\r\nContent-Type: x/y; name=evil.js\r\n")]);
        assert_eq!(causes("a.msg", &outlook), [""; 0]);
    }

    #[test]
    fn a_zip_behind_other_data_is_ambiguous_whatever_it_is_called() {
        let mut archive = zip(&[("a.txt", b"x")]);
        let at = memchr::memmem::rfind(&archive, b"a.txt").unwrap();
        archive[at] = b'b';
        let data = [b"JUNK", &archive[..]].concat();
        for name in ["a.dat", "a.docx", "a.zip"] {
            assert_eq!(causes(name, &data), [format!("attachment.zip_inconsistent {name}")]);
        }
    }

    #[test]
    fn the_deepest_nesting_of_every_kind_fits_the_stack() {
        let zip = |inner: &[u8]| zip(&[("a", inner)]);
        type Wrap<'w> = &'w dyn Fn(&[u8]) -> Vec<u8>;
        let kinds: [Wrap<'_>; 5] = [
            &|inner| tar::tests::file("a", inner),
            &|inner| compressed::tests::gzip("", inner),
            &|inner| ole::tests::compound(&[("/Package", inner)]),
            &|inner| tnef::tests::tnef(&[tnef::tests::data(inner)]),
            &zip,
        ];
        let settings = AttachmentSettings {
            max_depth: NonZeroU32::MIN.saturating_add(DEPTH_CAP - 1),
            ..AttachmentSettings::default()
        };
        for (index, wrap) in kinds.iter().enumerate() {
            let nested = (0..DEPTH_CAP).fold(b"text".to_vec(), |inner, _| wrap(&inner));
            let settings = settings.clone();
            // As much as threads of the pool have.
            let scan = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
                let report = scan_file("a", &nested, &settings, &Cancel::default());
                (report.found, report.tree.last().map(|node| node.depth))
            });
            assert_eq!(scan.unwrap().join().unwrap(), (vec![], Some(DEPTH_CAP)), "kind {index}");
        }
    }
}
