//! Blocks of version 5 (RAR 5.0 archive format, rarlab.com/technote.htm): CRC-32, size, then type, flags, the sizes of
//! the extra area and of the data, then what the type has. Numbers are of seven bits a byte, lowest first.

use super::{Block, MAX_FIRST, Member};
use crate::content::archive::names;

/// Types of blocks.
const MAIN: u64 = 1;
const FILE: u64 = 2;
const SERVICE: u64 = 3;
const ENCRYPTION: u64 = 4;
const END: u64 = 5;
/// Flags of blocks: there is an extra area, there are data.
const HAS_EXTRA: u64 = 1;
const HAS_DATA: u64 = 2;
/// Flags of files: a directory, a time, a checksum, no size.
const DIRECTORY: u64 = 1;
const HAS_TIME: u64 = 2;
const HAS_CRC: u64 = 4;
const UNKNOWN_SIZE: u64 = 8;
/// Records of the extra area: the file is encrypted; for a stream beside a file, its name.
const EXTRA_ENCRYPTION: u64 = 1;
const EXTRA_SERVICE: u64 = 7;
/// The largest header there can be.
const MAX_HEADER: u64 = 2 << 20;

/// Whether the first block is an intact main header, or that of an archive whose headers are encrypted.
pub(super) fn begins(blocks: &[u8]) -> bool {
    let is_first =
        |header: &[u8]| header.len() <= MAX_FIRST && matches!(number(&mut &*header), Some(MAIN | ENCRYPTION));
    let parsed = header(&mut &*blocks).filter(|(_, _, header)| is_first(header));
    parsed.is_some_and(|(crc, size, header)| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(size);
        hasher.update(header);
        hasher.finalize() == crc
    })
}

/// The next block, taken off `rest`; none where there is none.
pub(super) fn block<'r>(rest: &mut &'r [u8]) -> Option<Block<'r>> {
    let (_, _, mut header) = header(rest)?;
    let kind = number(&mut header)?;
    let flags = number(&mut header)?;
    let extra_size = if flags & HAS_EXTRA != 0 { number(&mut header)? } else { 0 };
    let data_size = if flags & HAS_DATA != 0 { number(&mut header)? } else { 0 };
    let data = take_up_to(rest, data_size);
    let extra_at = header.len().saturating_sub(usize::try_from(extra_size).unwrap_or(usize::MAX));
    let (mut fields, extra) = header.split_at(extra_at);
    Some(match kind {
        FILE | SERVICE => Block::Member(member(&mut fields, extra, data, kind == SERVICE)?),
        ENCRYPTION => Block::Encryption,
        END => Block::End,
        _ => Block::Other,
    })
}

/// The checksum, the bytes of the size, and the header of the next block.
fn header<'r>(rest: &mut &'r [u8]) -> Option<(u32, &'r [u8], &'r [u8])> {
    let (crc, after) = rest.split_first_chunk()?;
    let mut at = after;
    let size = number(&mut at).filter(|size| (1..=MAX_HEADER).contains(size))?;
    let size_bytes = &after[..after.len() - at.len()];
    let (header, after) = at.split_at_checked(usize::try_from(size).ok()?)?;
    *rest = after;
    Some((u32::from_le_bytes(*crc), size_bytes, header))
}

fn member<'r>(fields: &mut &[u8], mut extra: &[u8], data: &'r [u8], is_service: bool) -> Option<Member<'r>> {
    let flags = number(fields)?;
    let size = number(fields)?;
    number(fields)?;
    let optional = 4 * (u64::from(flags & HAS_TIME != 0) + u64::from(flags & HAS_CRC != 0));
    take_up_to(fields, optional);
    let compression = number(fields)?;
    number(fields)?;
    let name_size = number(fields)?;
    let name = names::until_nul(take_up_to(fields, name_size));
    // Of a service: what it is for, such as a comment or recovery. The name of a stream is in the extra area.
    let mut names = if is_service { Vec::new() } else { names::readings(name) };
    let is_stream = is_service && name == b"STM";
    let mut is_encrypted = false;
    while let Some(record_size) = number(&mut extra) {
        let mut record = take_up_to(&mut extra, record_size);
        match number(&mut record) {
            Some(EXTRA_ENCRYPTION) => is_encrypted = true,
            Some(EXTRA_SERVICE) if is_stream => names = names::readings(record),
            _ => {}
        }
    }
    let is_stored = compression >> 7 & 7 == 0;
    Some(Member {
        names,
        size: if flags & UNKNOWN_SIZE != 0 { 0 } else { size },
        is_directory: flags & DIRECTORY != 0,
        is_encrypted,
        stored: is_stored.then_some(data),
    })
}

/// A number of seven bits a byte, of at most ten bytes.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The next `size` bytes, or as many as there are.
fn take_up_to<'r>(rest: &mut &'r [u8], size: u64) -> &'r [u8] {
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
    let (taken, after) = rest.split_at(size);
    *rest = after;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::archive::rar::MARK;
    use crate::content::archive::tests::{causes, tree};

    fn coded(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value > 0x7f {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    fn sealed(header: &[u8]) -> Vec<u8> {
        let body = [&coded(header.len() as u64), header].concat();
        [&crc32fast::hash(&body).to_le_bytes(), body.as_slice()].concat()
    }

    /// A block of this type, its extra area and data.
    fn plain(kind: u64, fields: &[u8], extra: &[u8], data: &[u8]) -> Vec<u8> {
        let flags = u64::from(!extra.is_empty()) | u64::from(!data.is_empty()) << 1;
        let mut header = [coded(kind), coded(flags)].concat();
        if !extra.is_empty() {
            header.extend(coded(extra.len() as u64));
        }
        if !data.is_empty() {
            header.extend(coded(data.len() as u64));
        }
        [sealed(&[&header, fields, extra].concat()), data.to_vec()].concat()
    }

    fn fields(name: &str, method: u64, size: u64) -> Vec<u8> {
        let numbers = [0, size, 0x20, method << 7, 0, name.len() as u64];
        [numbers.map(coded).concat(), name.as_bytes().to_vec()].concat()
    }

    fn file(name: &str, method: u64, extra: &[u8], data: &[u8]) -> Vec<u8> {
        plain(FILE, &fields(name, method, data.len() as u64), extra, data)
    }

    fn archive(blocks: &[Vec<u8>]) -> Vec<u8> {
        let main = plain(MAIN, &coded(0), &[], &[]);
        let end = plain(END, &coded(0), &[], &[]);
        [MARK, &[1, 0], &main, &blocks.concat(), &end].concat()
    }

    #[test]
    fn names_are_seen_and_stored_containers_opened() {
        let inner = archive(&[file("evil.exe", 3, &[], b"packed")]);
        let outer = archive(&[file("dir/a.txt", 3, &[], b"packed"), file("b.rar", 0, &[], &inner)]);
        assert_eq!(tree("x.rar", &outer), ["x.rar", " dir/a.txt", " b.rar", "  evil.exe"]);
        for name in ["x.rar", "x.dat"] {
            assert_eq!(
                causes(name, &outer),
                [format!("attachment.forbidden_extension {name}/b.rar/evil.exe")]
            );
        }
        assert_eq!(causes("x.rar", &archive(&[file("a.txt", 3, &[], b"packed")])), [""; 0]);
    }

    #[test]
    fn a_compressed_container_cannot_be_read() {
        let packed = archive(&[file("b.zip", 3, &[], b"packed")]);
        assert_eq!(causes("x.rar", &packed), ["attachment.unreadable_container x.rar/b.zip"]);
    }

    #[test]
    fn encryption_is_told_by_file_and_of_the_headers() {
        let lock = [coded(2), coded(EXTRA_ENCRYPTION), vec![0]].concat();
        let encrypted = archive(&[file("a.txt", 3, &lock, b"x"), file("b.zip", 0, &lock, b"x")]);
        assert_eq!(
            causes("x.rar", &encrypted),
            ["attachment.encrypted_entry x.rar/a.txt", "attachment.encrypted_nested x.rar/b.zip"]
        );
        let names = archive(&[file("evil.exe", 3, &lock, b"x")]);
        assert_eq!(causes("x.rar", &names)[0], "attachment.forbidden_extension x.rar/evil.exe");
        let hidden = [MARK, &[1, 0], &plain(ENCRYPTION, &[0, 0, 15], &[], &[]), b"noise"].concat();
        assert_eq!(causes("x.rar", &hidden), ["attachment.encrypted_header x.rar"]);
    }

    #[test]
    fn streams_beside_files_are_judged() {
        let name = [coded(EXTRA_SERVICE), b":evil.exe".to_vec()].concat();
        let extra = [coded(name.len() as u64), name].concat();
        let stream = plain(SERVICE, &fields("STM", 0, 2), &extra, b"MZ");
        let recovery = plain(SERVICE, &fields("RR", 0, 2), &extra, b"RR");
        let found = causes("x.rar", &archive(&[file("a.txt", 0, &[], b"x"), recovery, stream]));
        assert_eq!(found, ["attachment.forbidden_extension x.rar/:evil.exe"]);
    }

    #[test]
    fn self_extracting_and_damaged_archives_are_read() {
        let plain = archive(&[file("evil.exe", 3, &[], b"packed")]);
        let program = [b"stub Rar!\x1a\x07\x01\x00 stub ".as_slice(), &plain].concat();
        assert_eq!(causes("x.dat", &program), ["attachment.forbidden_extension x.dat/evil.exe"]);
        let mut damaged = plain.clone();
        damaged[8] ^= 1;
        assert_eq!(causes("x.rar", &damaged), ["attachment.forbidden_extension x.rar/evil.exe"]);
        for cut in 0..plain.len() {
            assert!(!causes("x.rar", &plain[..cut]).is_empty(), "{cut}");
        }
        assert_eq!(causes("x.rar", b"text"), ["attachment.unreadable_container x.rar"]);
    }

    #[test]
    fn first_headers_are_short_and_of_their_types() {
        let sealed = |kind: u64, length: usize| {
            let mut header = coded(kind);
            header.resize(length, 0);
            sealed(&header)
        };
        assert!(
            begins(&sealed(MAIN, 3)) && begins(&sealed(MAIN, MAX_FIRST)) && begins(&sealed(ENCRYPTION, 40))
        );
        assert!(!begins(&sealed(MAIN, 5 << 10)) && !begins(&sealed(FILE, 40)) && !begins(&sealed(END, 3)));
    }

    #[test]
    fn endless_blocks_are_a_limit() {
        let main = plain(MAIN, &coded(0), &[], &[]);
        let flood = [MARK, &[1, 0], &main.repeat(300_000)].concat();
        assert_eq!(causes("x.rar", &flood), ["attachment.unreadable_container x.rar"]);
        let files = archive(&vec![file("a", 3, &[], b""); 60_000]);
        assert_eq!(causes("x.rar", &files), ["attachment.limit_entries"]);
    }
}
