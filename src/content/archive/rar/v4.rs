//! Blocks of version 4 and before: checksum, type, flags and size of the header in seven bytes, then what the type has.

use super::{Block, MAX_FIRST, Member};
use crate::content::archive::{names, u16_at, u32_at};

/// Types of blocks. A service block is built as a file is: a comment (`CMT`), a stream (`STM`), rights (`ACL`) …
const MAIN: u8 = 0x73;
const FILE: u8 = 0x74;
const SERVICE: u8 = 0x7a;
const END: u8 = 0x7b;
/// Bytes that every header has, those of the main header, and those of a file before its name.
const FIXED: usize = 7;
const MAIN_FIXED: usize = 13;
const FILE_FIXED: usize = 32;
/// Flags of the main header: a comment is in it, which its checksum leaves out (unrar, arcread.cpp); all headers behind it are
/// encrypted.
const COMMENT: u16 = 0x02;
const HEADERS_ENCRYPTED: u16 = 0x80;
/// Flags of a file: encrypted, sizes of 64 bits, a name in Unicode behind the plain one, a salt behind the name.
const ENCRYPTED: u16 = 0x04;
const LARGE: u16 = 0x100;
const UNICODE: u16 = 0x200;
const SALT: u16 = 0x400;
/// Three bits of a file's flags that are all set for a directory.
const DIRECTORY: u16 = 0xe0;
/// Flag of every block: data follow, their size is in the next four bytes.
const HAS_DATA: u16 = 0x8000;
/// The method of what is stored as it is.
const STORED: u8 = 0x30;

/// Whether the first block is an intact main header.
pub(super) fn begins(blocks: &[u8]) -> bool {
    let Some(header) = header(&mut &*blocks).filter(|header| header[2] == MAIN) else { return false };
    let has_comment = u16_at(header, 3) & COMMENT != 0;
    let sealed = if has_comment { &header[..header.len().min(MAIN_FIXED)] } else { header };
    sealed.len() <= MAX_FIRST && crc32fast::hash(&sealed[2..]) as u16 == u16_at(header, 0)
}

/// The next block, taken off `rest`; none where there is none.
pub(super) fn block<'r>(rest: &mut &'r [u8]) -> Option<Block<'r>> {
    let header = header(rest)?;
    let (kind, flags) = (header[2], u16_at(header, 3));
    let is_file = matches!(kind, FILE | SERVICE);
    let mut data_size = if is_file || flags & HAS_DATA != 0 { u64::from(u32_at(header, 7)) } else { 0 };
    if is_file && flags & LARGE != 0 {
        data_size |= u64::from(u32_at(header, FILE_FIXED)) << 32;
    }
    let size = usize::try_from(data_size).unwrap_or(usize::MAX).min(rest.len());
    let (data, after) = rest.split_at(size);
    *rest = after;
    Some(match kind {
        MAIN if flags & HEADERS_ENCRYPTED != 0 => Block::Encryption,
        FILE | SERVICE => Block::Member(member(header, flags, data, kind == SERVICE)),
        END => Block::End,
        0x72..=0x79 => Block::Other,
        _ => return None,
    })
}

fn header<'r>(rest: &mut &'r [u8]) -> Option<&'r [u8]> {
    let size = usize::from(u16_at(rest.get(..FIXED)?, 5));
    let (header, after) = rest.split_at_checked(size)?;
    if size < FIXED {
        return None;
    }
    *rest = after;
    Some(header)
}

fn member<'r>(header: &[u8], flags: u16, data: &'r [u8], is_service: bool) -> Member<'r> {
    let is_large = flags & LARGE != 0;
    let name_at = FILE_FIXED + if is_large { 8 } else { 0 };
    let name_size = usize::from(u16_at(header, 26));
    let behind = header.get(name_at..).unwrap_or_default();
    let (name, after) = behind.split_at(name_size.min(behind.len()));
    let names = match (is_service, name) {
        (false, name) if flags & UNICODE != 0 => unicode_names(name),
        (false, name) => names::readings(name),
        // The name of the stream is behind what the block is for.
        (true, b"STM") => {
            vec![names::utf16(if flags & SALT != 0 { after.get(8..).unwrap_or_default() } else { after })]
        }
        (true, _) => Vec::new(),
    };
    let high = if is_large { u64::from(u32_at(header, FILE_FIXED + 4)) << 32 } else { 0 };
    Member {
        names,
        size: u64::from(u32_at(header, 11)) | high,
        is_directory: flags & DIRECTORY == DIRECTORY && !is_service,
        is_encrypted: flags & ENCRYPTED != 0,
        stored: (header.get(25) == Some(&STORED)).then_some(data),
    }
}

/// The name in its two spellings: the plain one, a NUL, and the Unicode one as differences to it; or UTF-8 alone.
fn unicode_names(field: &[u8]) -> Vec<String> {
    let plain = names::until_nul(field);
    let mut names = names::readings(plain);
    if let Some(coded) = field.get(plain.len() + 1..) {
        names.insert(0, decoded(plain, coded).unwrap_or_default());
        // For some a run ends with the plain name, for others it goes on into what stands behind.
        names.extend(decoded(field, coded).filter(|other| *other != names[0]));
    }
    names
}

/// The Unicode name. Behind a high byte, two bits a step, four steps a byte, say what comes: a low byte, a low byte to
/// go with the high byte, both bytes, or a run of the plain name's, corrected by a number or not.
fn decoded(plain: &[u8], coded: &[u8]) -> Option<String> {
    let mut coded = coded.iter().copied();
    let high = u16::from(coded.next()?) << 8;
    let mut units: Vec<u16> = Vec::new();
    'name: while let Some(steps) = coded.next() {
        for shift in [6, 4, 2, 0] {
            let Some(byte) = coded.next() else { break 'name };
            match steps >> shift & 3 {
                0 => units.push(u16::from(byte)),
                1 => units.push(u16::from(byte) | high),
                2 => units.push(u16::from(byte) | u16::from(coded.next().unwrap_or(0)) << 8),
                _ => {
                    let correction = if byte & 0x80 != 0 { coded.next() } else { None };
                    for _ in 0..usize::from(byte & 0x7f) + 2 {
                        let Some(of_plain) = plain.get(units.len()).copied() else { break };
                        units.push(match correction {
                            Some(correction) => u16::from(of_plain.wrapping_add(correction)) | high,
                            None => u16::from(of_plain),
                        });
                    }
                }
            }
        }
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::archive::rar::MARK;
    use crate::content::archive::tests::{causes, tree};

    fn plain(kind: u8, flags: u16, fields: &[u8]) -> Vec<u8> {
        let size = (FIXED + fields.len()) as u16;
        let body = [&[kind], &flags.to_le_bytes()[..], &size.to_le_bytes(), fields].concat();
        [&(crc32fast::hash(&body) as u16).to_le_bytes(), body.as_slice()].concat()
    }

    fn member(kind: u8, flags: u16, method: u8, name: &[u8], after: &[u8], data: &[u8]) -> Vec<u8> {
        let size = (data.len() as u32).to_le_bytes();
        let mut fields = [size, size].concat();
        fields.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 29, method]);
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0x20, 0, 0, 0]);
        if flags & LARGE != 0 {
            fields.extend([0; 8]);
        }
        [plain(kind, flags | HAS_DATA, &[&fields, name, after].concat()), data.to_vec()].concat()
    }

    fn file(flags: u16, method: u8, name: &[u8], data: &[u8]) -> Vec<u8> {
        member(FILE, flags, method, name, &[], data)
    }

    fn archive(blocks: &[Vec<u8>]) -> Vec<u8> {
        let (main, end) = (plain(MAIN, 0, &[0; 6]), plain(END, 0x4000, &[]));
        [MARK, &[0], &main, &blocks.concat(), &end].concat()
    }

    #[test]
    fn names_are_seen_and_stored_containers_opened() {
        let inner = archive(&[file(0, 0x33, b"evil.exe", b"packed")]);
        let outer = archive(&[
            file(0, 0x33, b"dir\\a.txt", b"packed"),
            file(DIRECTORY, STORED, b"dir.exe", b""),
            file(LARGE, STORED, b"b.rar", &inner),
        ]);
        assert_eq!(tree("x.rar", &outer), ["x.rar", " dir\\a.txt", " b.rar", "  evil.exe"]);
        assert_eq!(causes("x.dat", &outer), ["attachment.forbidden_extension x.dat/b.rar/evil.exe"]);
        let packed = archive(&[file(0, 0x33, b"b.zip", b"packed")]);
        assert_eq!(causes("x.rar", &packed), ["attachment.unreadable_container x.rar/b.zip"]);
    }

    #[test]
    fn both_spellings_of_a_name_are_judged() {
        // "a.txt" with a low byte for each character: "evil.exe".
        let coded = b"a.txt\0\0\x00evil\x00.exe";
        let found = causes("x.rar", &archive(&[file(UNICODE, 0x33, coded, b"x")]));
        assert_eq!(found, ["attachment.forbidden_extension x.rar/evil.exe"]);
        let found = causes("x.rar", &archive(&[file(UNICODE, 0x33, b"evil.exe\0\0\x00a.tx\x00t", b"x")]));
        assert_eq!(found, ["attachment.forbidden_extension x.rar/evil.exe"]);
        // A run that goes on behind the plain name.
        let behind = archive(&[file(UNICODE, 0x33, b"a.txt\0\x00\xf0\x03\x80\x2ejs", b"x")]);
        assert_eq!(tree("x.rar", &behind), ["x.rar", " a.txtjs"]);
        assert_eq!(causes("x.rar", &behind), ["attachment.forbidden_extension x.rar/a.txt..js"]);
        // A run of the plain name, then one with the high byte, then both bytes.
        let name = decoded(b"ab.txt", b"\x04\xd8\x02\x30\x31\x32\x04\x00");
        assert_eq!(name.as_deref(), Some("ab.t\u{430}\u{3231}\u{4}"));
        assert_eq!(decoded(b"abcdef", b"\x04\xc0\x82\x01").as_deref(), Some("\u{462}\u{463}\u{464}\u{465}"));
        assert_eq!(decoded(b"", b""), None);
    }

    #[test]
    fn encryption_is_told_by_file_and_of_the_headers() {
        let encrypted =
            archive(&[file(ENCRYPTED | SALT, 0x33, b"a.txt", b"x"), file(ENCRYPTED, STORED, b"b.zip", b"x")]);
        assert_eq!(
            causes("x.rar", &encrypted),
            ["attachment.encrypted_entry x.rar/a.txt", "attachment.encrypted_nested x.rar/b.zip"]
        );
        let hidden = [MARK, &[0], &plain(MAIN, HEADERS_ENCRYPTED, &[0; 6]), b"noise"].concat();
        assert_eq!(causes("x.rar", &hidden), ["attachment.encrypted_header x.rar"]);
    }

    #[test]
    fn streams_comments_and_volumes_are_walked() {
        let name: Vec<u8> = ":evil.exe".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let stream = member(SERVICE, 0, STORED, b"STM", &name, b"MZ");
        let comment = member(SERVICE, 0, 0x33, b"CMT", &[], b"packed");
        let found = causes("x.rar", &archive(&[comment, file(0, STORED, b"a.txt", b"x"), stream]));
        assert_eq!(found, ["attachment.forbidden_extension x.rar/:evil.exe"]);
        // The first volume: its last file goes on in the next one, and there is no end.
        let volume = [MARK, &[0], &plain(MAIN, 0x101, &[0; 6]), &file(2, 0x33, b"a.txt", b"pac")].concat();
        assert_eq!(causes("x.part1.rar", &volume), [""; 0]);
        assert_eq!(causes("x.part1.rar", &volume[..volume.len() - 2]), [""; 0]);
        let broken = [volume.as_slice(), b"no block"].concat();
        assert_eq!(causes("x.part1.rar", &broken), ["attachment.unreadable_container x.part1.rar"]);
    }

    #[test]
    fn a_first_header_is_checked_as_far_as_it_is_sealed() {
        let main = |length: usize| plain(MAIN, 0, &vec![0; length - FIXED]);
        assert!(begins(&main(MAIN_FIXED)) && begins(&main(MAX_FIRST)));
        assert!(!begins(&main(MAX_FIRST + 1)) && !begins(&plain(FILE, 0, &[0; 6])));
        // The length counts the comment, the checksum does not.
        let mut commented = plain(MAIN, COMMENT, &[0; 6]);
        commented[5..7].copy_from_slice(&60_000u16.to_le_bytes());
        let crc = crc32fast::hash(&commented[2..]) as u16;
        commented[..2].copy_from_slice(&crc.to_le_bytes());
        commented.resize(60_000, b'c');
        assert!(begins(&commented));
        commented[2] = FILE;
        assert!(!begins(&commented));
    }

    #[test]
    fn self_extracting_and_cut_archives_are_read() {
        let plain = archive(&[file(0, 0x33, b"evil.exe", b"packed")]);
        let program = [b"stub ".as_slice(), &plain].concat();
        assert_eq!(causes("x.dat", &program), ["attachment.forbidden_extension x.dat/evil.exe"]);
        for cut in 0..plain.len() {
            causes("x.rar", &plain[..cut]);
        }
    }
}
