//! What a file is by its content, whatever its name says.
//!
//! Two questions: is it of a type that the lists of forbidden extensions name ([`file_type`]), and does it begin so
//! surely as a container or program that it is worth decoding where nothing declares it ([`is_sure`])? The first
//! may go by little, as a sender attached the file; the second must not take chance for evidence.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A type of file, told by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileType {
    /// Its usual extension, as replies name it.
    pub(super) name: &'static str,
    /// The extension that decides whether it is forbidden: programs of every system go with `exe`.
    pub(super) listed_as: &'static str,
}

impl FileType {
    const fn of(name: &'static str) -> Self {
        Self { name, listed_as: name }
    }

    const fn program(name: &'static str) -> Self {
        Self { name, listed_as: "exe" }
    }
}

/// How a file of a type begins.
const BEGINNINGS: [(&[u8], FileType); 17] = [
    (b"\x7fELF", FileType::program("elf")),
    (b"\xfe\xed\xfa\xce\0\0", FileType::program("macho")),
    (b"\xfe\xed\xfa\xcf\x01\0", FileType::program("macho")),
    (b"\xce\xfa\xed\xfe", FileType::program("macho")),
    (b"\xcf\xfa\xed\xfe", FileType::program("macho")),
    (b"L\0\0\0\x01\x14\x02\0", FileType::of("lnk")),
    (b"ITSF\x03\0\0\0", FileType::of("chm")),
    (b"ITSF\x02\0\0\0", FileType::of("chm")),
    (b"?_\x03\0", FileType::of("hlp")),
    (b"vhdxfile", FileType::of("vhdx")),
    (b"conectix", FileType::of("vhd")),
    (b"MSWIM\0\0\0", FileType::of("wim")),
    // [MS-ONESTORE] §2.3.1, guidFileType of a section and of a table of contents.
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3", FileType::of("one")),
    (b"\xa1\x2f\xff\x43\xd9\xef\x76\x4c\x9e\xe2\x10\xea\x57\x22\x76\x5f", FileType::of("one")),
    (b"MSCF\0\0\0\0", FileType::of("cab")),
    (b"#!/", FileType::of("sh")),
    (b"!<arch>\ndebian-binary", FileType::of("deb")),
];

/// What stands at a fixed place behind the beginning.
const INSIDE: [(usize, &[u8], FileType); 9] = [
    (7, b"**ACE**", FileType::of("ace")),
    (0x171, b"MICROSOFT PIFEX", FileType::of("pif")),
    (54, b"FAT1", FileType::of("img")),
    (82, b"FAT32   ", FileType::of("img")),
    (3, b"NTFS    ", FileType::of("img")),
    (3, b"EXFAT   ", FileType::of("img")),
    (512, b"EFI PART", FileType::of("img")),
    // ISO 9660 and UDF volumes begin behind 16 sectors of 2048 bytes, or of 2352 in a raw image.
    (0x8001, b"CD001", FileType::of("iso")),
    (0x9311, b"CD001", FileType::of("iso")),
];

/// Where a UDF volume without ISO 9660 says so (ECMA-167 2/9.1).
const UDF: (usize, &[u8], FileType) = (0x8001, b"BEA01", FileType::of("udf"));

/// Bytes at the end of disk images that tell what they are.
const TRAILER: usize = 512;

/// The type of a file that begins with `data`; types told by what stands further inside or at the end are found
/// where `data` is the whole.
pub(super) fn file_type(data: &[u8]) -> Option<FileType> {
    if is_program(data) {
        return Some(FileType::program("exe"));
    }
    type_by_bytes(data).or_else(|| script(data))
}

/// The same as the slice's own, which calls a function even where the first byte tells; most data is looked at in vain.
pub(super) fn starts_with(data: &[u8], magic: &[u8]) -> bool {
    data.first() == magic.first() && data.starts_with(magic)
}

/// The type of a file that is no text.
fn type_by_bytes(data: &[u8]) -> Option<FileType> {
    let begins = BEGINNINGS.iter().find(|(magic, _)| starts_with(data, magic)).map(|(_, found)| *found);
    let inside = || {
        let mut places = INSIDE.iter().chain([&UDF]);
        places.find(|(at, magic, _)| data.get(*at..).is_some_and(|rest| starts_with(rest, magic)))
    };
    begins
        .or_else(|| fat_binary(data))
        .or_else(|| inside().map(|(_, _, found)| *found))
        .or_else(|| is_partitioned(data).then_some(FileType::of("img")))
        .or_else(|| installer(data))
        .or_else(|| disk_image(data))
}

/// A program of DOS or Windows, as `MZ` and something that is no text follow.
fn is_program(data: &[u8]) -> bool {
    let header = &data[..data.len().min(64)];
    header.strip_prefix(b"MZ").or_else(|| header.strip_prefix(b"ZM")).is_some_and(|rest| {
        rest.len() >= 2 && rest.iter().any(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31))
    })
}

/// Whether the header that `MZ` begins holds together: chance does not write such.
fn is_sure_program(data: &[u8]) -> bool {
    let word = |at: usize| data.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    if !data.starts_with(b"MZ") {
        return false;
    }
    let new_header = new_header_at(data).and_then(|at| data.get(at..));
    if new_header.is_some_and(|header| {
        [b"PE\0\0".as_slice(), b"NE", b"LE", b"LX"].iter().any(|magic| header.starts_with(magic))
    }) {
        return true;
    }
    // Bytes in the last page, pages, relocations, size of the header in paragraphs.
    word(2).is_some_and(|bytes| bytes < 512)
        && word(4).is_none_or(|pages| pages < 4096)
        && word(6).is_none_or(|relocations| relocations < 4096)
        && word(8).is_none_or(|paragraphs| paragraphs < 256)
        && data.get(28..60).is_none_or(|reserved| reserved.iter().filter(|byte| **byte == 0).count() >= 16)
}

/// Where a program says that the header stands which DOS does not know.
fn new_header_at(data: &[u8]) -> Option<usize> {
    let bytes = data.get(0x3c..0x40)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

/// Whether a disk begins so: four entries of partitions behind the program that starts it, one of them in use.
fn is_partitioned(data: &[u8]) -> bool {
    const ENTRIES: std::ops::Range<usize> = 446..510;
    let Some(entries) = data.get(ENTRIES).filter(|_| data[ENTRIES.end..].starts_with(b"\x55\xaa")) else {
        return false;
    };
    let (mut used, mut is_right) = (0, true);
    for entry in entries.chunks_exact(16) {
        let is_used = entry[4] != 0 && entry[8..12] != [0; 4] && entry[12..] != [0; 4];
        used += usize::from(is_used);
        is_right &= matches!(entry[0], 0 | 0x80) && (is_used || entry.iter().all(|byte| *byte == 0));
    }
    is_right && used > 0
}

/// Mach-O for several processors: like a Java class but for what is a count of processors here and a version there.
fn fat_binary(data: &[u8]) -> Option<FileType> {
    let mark = [b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf"].into_iter().find(|mark| data.starts_with(*mark))?;
    let count = data.strip_prefix(mark)?.first_chunk().map(|count| u32::from_be_bytes(*count))?;
    (1..=30).contains(&count).then_some(FileType::program("macho"))
}

/// Windows Installer packages, patches and transforms: compound files whose root has this class ([MS-CFB] §2.6.1).
fn installer(data: &[u8]) -> Option<FileType> {
    const CLASSES: [(&[u8], &str); 3] = [(b"\x84", "msi"), (b"\x86", "msp"), (b"\x82", "mst")];
    const CLASS_TAIL: &[u8] = b"\x10\x0c\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
    if !data.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return None;
    }
    let shift = u16::from_le_bytes(data.get(30..32)?.try_into().ok()?);
    let sector = u32::from_le_bytes(data.get(48..52)?.try_into().ok()?);
    let size = 1usize.checked_shl(u32::from(shift)).filter(|size| (512..=4096).contains(size))?;
    let root = usize::try_from(sector).ok()?.checked_add(1)?.checked_mul(size)?;
    let class = data.get(root.checked_add(0x50)?..)?;
    let found = CLASSES
        .iter()
        .find(|(first, _)| class.strip_prefix(*first).is_some_and(|rest| rest.starts_with(CLASS_TAIL)));
    found.map(|(_, name)| FileType::of(name))
}

/// Disk images told by their last block.
fn disk_image(data: &[u8]) -> Option<FileType> {
    let trailer = &data[data.len().checked_sub(TRAILER)?..];
    if trailer.starts_with(b"conectix") {
        Some(FileType::of("vhd"))
    } else if trailer.starts_with(b"koly\0\0\0\x04") {
        Some(FileType::of("dmg"))
    } else {
        None
    }
}

/// How an encoded script begins; its length follows, in base64.
static ENCODED_SCRIPT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"#@~^"));

/// Scripts that no other file begins like: encoded ones and HTML applications.
fn script(data: &[u8]) -> Option<FileType> {
    let begins = super::archive::prefix(data);
    if let Some(at) = ENCODED_SCRIPT.find(begins)
        && begins.get(at + 10..at + 12) == Some(b"==")
    {
        return Some(FileType::of("vbe"));
    }
    let application = b"<hta:application";
    let mut tags = memchr::memchr_iter(b'<', begins).filter_map(|at| begins.get(at..at + application.len()));
    tags.any(|tag| tag.eq_ignore_ascii_case(application)).then_some(FileType::of("hta"))
}

/// How containers begin, each with at least four bytes that chance does not write.
const CONTAINERS: [&[u8]; 17] = [
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK00PK\x03\x04",
    b"PK\x07\x08PK\x03\x04",
    b"Rar!\x1a\x07",
    b"7z\xbc\xaf\x27\x1c",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x1f\x8b\x08\0",
    b"\x1f\x8b\x08\x08",
    b"LZIP\x01",
    b"MSCF\0\0\0\0",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"\x78\x9f\x3e\x22",
    b"\0\x05\x16\x07\0\x02\0\0",
    b"\0\x05\x16\0\0\x02\0\0",
    b"EGGA\0\x01",
];

/// Bytes that [`is_sure`] looks at.
pub(super) const SURE: usize = 512;

/// Whether a file that begins so is surely a message, a container or a program, though nothing says that there is a file.
pub(super) fn is_sure(begins: &[u8]) -> bool {
    is_sure_file(begins) || super::archive::looks_like_message(begins)
}

/// The same of all that is no message.
pub(super) fn is_sure_file(begins: &[u8]) -> bool {
    let at = |at: usize| begins.get(at..).unwrap_or_default();
    CONTAINERS.iter().any(|magic| starts_with(begins, magic))
        || is_sure_program(begins)
        || (begins.starts_with(b"BZh") && at(4).starts_with(b"1AY&SY"))
        || (at(2).starts_with(b"-lh") && begins.get(6) == Some(&b'-'))
        || (begins.starts_with(b"\x60\xea") && matches!(begins.get(3..5), Some([0..=10, 20..=60])))
        || (at(257).starts_with(b"ustar") && super::archive::is_tar(begins))
        || (!begins.starts_with(b"#!") && type_by_bytes(begins).is_some_and(|found| found.name != "exe"))
        // A script is text, so a look at the first byte spares the search in most of what is none.
        || (begins.first().is_some_and(|byte| byte.is_ascii_whitespace() || matches!(byte, b'<' | b'#' | 0xef))
            && script(begins).is_some())
}

/// Whether more of a file, of which this is too little to be sure, could show that it is a program.
pub(super) fn is_told_by_more(begins: &[u8]) -> bool {
    begins.starts_with(b"MZ") && new_header_at(begins).is_some_and(|at| (begins.len()..SURE).contains(&at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(data: &[u8]) -> Option<&'static str> {
        file_type(data).map(|found| found.name)
    }

    fn at(offset: usize, magic: &[u8]) -> Vec<u8> {
        let mut data = vec![b' '; offset];
        data.extend_from_slice(magic);
        data.resize(data.len() + 600, b' ');
        data
    }

    #[test]
    fn types_are_told_by_content() {
        let mut msi = vec![0; 2048];
        msi[..8].copy_from_slice(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
        msi[30] = 9;
        msi[48] = 1;
        msi[1024 + 0x50..1024 + 0x60].copy_from_slice(b"\x84\x10\x0c\0\0\0\0\0\xc0\0\0\0\0\0\0\x46");
        let mut partitioned = vec![0; 512];
        partitioned[446..462].copy_from_slice(b"\x80\0\x02\0\x07\0\0\0\0\x08\0\0\0\0\x10\0");
        partitioned[510..].copy_from_slice(b"\x55\xaa");
        let mut dmg = vec![0; 2048];
        dmg[1536..1544].copy_from_slice(b"koly\0\0\0\x04");
        for (data, expected) in [
            (b"MZ\x90\0\x03\0\0\0".to_vec(), "exe"),
            (b"ZM\x90\0\x03\0\0\0".to_vec(), "exe"),
            (b"\x7fELF\x02\x01".to_vec(), "elf"),
            (b"\xcf\xfa\xed\xfe\x07\0\0\x01".to_vec(), "macho"),
            (b"\xca\xfe\xba\xbe\0\0\0\x02".to_vec(), "macho"),
            (b"L\0\0\0\x01\x14\x02\0\0\0".to_vec(), "lnk"),
            (b"ITSF\x03\0\0\0".to_vec(), "chm"),
            (b"MSCF\0\0\0\0x".to_vec(), "cab"),
            (b"vhdxfile".to_vec(), "vhdx"),
            (at(7, b"**ACE**"), "ace"),
            (at(0x8001, b"CD001"), "iso"),
            (at(0x8001, b"BEA01"), "udf"),
            (at(0x171, b"MICROSOFT PIFEX"), "pif"),
            (at(54, b"FAT12   "), "img"),
            (at(3, b"EXFAT   "), "img"),
            (at(512, b"EFI PART"), "img"),
            (partitioned, "img"),
            (b"\xca\xfe\xba\xbf\0\0\0\x02".to_vec(), "macho"),
            (msi, "msi"),
            (dmg, "dmg"),
            (b"#@~^EAAAAA==abc".to_vec(), "vbe"),
            (b"<html><HTA:Application id=x>".to_vec(), "hta"),
        ] {
            assert_eq!(name(&data), Some(expected), "{}", data[..data.len().min(60)].escape_ascii());
        }
    }

    #[test]
    fn ordinary_files_have_no_such_type() {
        let mut document = vec![0; 2048];
        document[..8].copy_from_slice(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
        document[30] = 9;
        for data in [
            &b"MZ is short for Mark Zbikowski, who wrote the format in the early days of DOS."[..],
            b"MZ",
            b"\xca\xfe\xba\xbe\0\0\0\x34",
            b"%PDF-1.7",
            b"PK\x03\x04",
            b"\xff\xd8\xff\xe0",
            b"Hello #@~^ there",
            b"<html><body>",
            &document,
            b"",
        ] {
            assert_eq!(name(data), None, "{}", data.escape_ascii());
        }
    }

    #[test]
    fn chance_is_no_evidence() {
        let program =
            b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert!(is_sure(program));
        assert!(is_sure(b"MZ\x90\0"));
        assert!(is_sure(b"PK\x03\x04\x14\0"));
        assert!(is_sure(b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nx"));
        for data in [&b"MZ\xff\xff\x12\x99"[..], b"MZ", b"Hello", b"\x1f\x8b\x99", b"#!/bin/sh", b""] {
            assert!(!is_sure(data), "{}", data.escape_ascii());
        }
        assert!(!is_sure(&at(257, b"ustar")), "a word in the middle of a text");
        // Of all words that may follow `MZ` by chance, few make a header.
        let random = (0..20_000u32).map(|n| n.wrapping_mul(2_654_435_761)).filter(|n| {
            let tail: Vec<u8> =
                (0..62u32).map(|at| (n.rotate_left(at % 31).wrapping_mul(at + 7) >> 13) as u8).collect();
            is_sure(&[b"MZ", tail.as_slice()].concat())
        });
        assert!(random.count() <= 2);
    }
}
