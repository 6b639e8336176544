//! 7z archives: the names in their header, and what is in their blocks, each unpacked as far as there may be something
//! to look into.

#![expect(clippy::disallowed_types, reason = "each decoder here is read through the budget")]

mod header;

use std::io::{Cursor, Read};
use std::sync::LazyLock;

use memchr::memmem::Finder;
use sevenz_rust2::{Archive, ArchiveEntry, Block, BlockDecoder, EncoderMethod, Password};

use self::header::NoNames;
use super::entry::{self, Entry};
use crate::content::View;
use crate::content::budget::{Exceeded, MAX_DICTIONARY, contained};
use crate::content::scanner::{Place, Scanner};
use crate::reason::Reason;

const MARK: &[u8] = b"7z\xbc\xaf\x27\x1c";
static MARKS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));
/// Dictionary or model that a decoder may have, in KiB, and its tables.
const LIMIT_KIB: usize = (MAX_DICTIONARY / 1024) as usize + (8 << 10);

/// Work of clearing the tables of LZMA, in bytes, by the properties of a coder: they may ask for 6 MiB.
pub(super) fn lzma_tables(properties: &[u8]) -> u64 {
    let bits = properties.first().map_or(0, |byte| byte % 9 + byte / 9 % 5);
    (0x600 << bits).max(64 << 10)
}

/// The dictionary that a coder of LZMA asks for, in bytes, by its properties.
pub(super) fn lzma_dictionary(properties: &[u8]) -> u64 {
    let size = properties.get(1..5).and_then(|bytes| bytes.first_chunk());
    size.map_or(0, |size| u32::from_le_bytes(*size).into())
}

/// Whether a file begins as 7z archives do.
pub(super) fn begins(data: &[u8]) -> bool {
    data.starts_with(MARK)
}

/// Whether an archive begins somewhere in a file, as behind the program of a self-extracting one.
pub(super) fn is_embedded(data: &[u8]) -> bool {
    find(data).is_some()
}

/// The file from where the first archive in it begins whose start is intact.
fn find(data: &[u8]) -> Option<&[u8]> {
    let mut starts = MARKS.find_iter(data).map(|at| &data[at..]);
    starts.find(|archive| header::end(archive).is_some())
}

/// Where the first archive in a file ends.
pub(super) fn end(data: &[u8]) -> usize {
    find(data).map_or(data.len(), |archive| {
        data.len() - archive.len() + header::end(archive).unwrap_or(archive.len())
    })
}

/// Looks into the archive `data`, whose files are in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let data = if begins(data) { data } else { find(data).unwrap_or(data) };
    let names = match header::names(&mut scanner.budget, data) {
        Ok(names) => names,
        Err(NoNames::Exceeded(exceeded)) => return Err(exceeded),
        Err(NoNames::Encrypted) => {
            scanner.found_in(place, Reason::AttachmentEncryptedHeader, View::Entry);
            return Ok(());
        }
        Err(NoNames::Damaged) => {
            scanner.unreadable_in(place);
            return Ok(());
        }
    };
    if names.is_empty() {
        return Ok(());
    }
    let mut source = Cursor::new(data);
    let password = Password::empty();
    match contained(|| Archive::read_with_memory_limit(&mut source, &password, LIMIT_KIB)) {
        Some(Ok(archive)) if archive.files.len() == names.len() => files(scanner, place, &archive, source),
        _ => {
            for name in names {
                named(scanner, place, &name, 1, false)?;
            }
            scanner.unreadable_in(place);
            Ok(())
        }
    }
}

fn files(
    scanner: &mut Scanner<'_>,
    place: &Place,
    archive: &Archive,
    mut source: Cursor<&[u8]>,
) -> Result<(), Exceeded> {
    let mut is_done = vec![false; archive.files.len()];
    for (index, block) in archive.blocks.iter().enumerate() {
        if !is_encrypted(block) {
            scanner.budget.work(start(block))?;
            let _dictionary = scanner.budget.dictionary(dictionary(block))?;
            unpack(scanner, place, archive, index, &mut source, &mut is_done)?;
        }
    }
    // What is encrypted, or in a block that could not be unpacked to its end, or has no content.
    for (index, file) in archive.files.iter().enumerate() {
        if !is_done[index] && !file.is_directory {
            let is_encrypted = file.has_stream && archive.is_file_encrypted(index);
            named(scanner, place, &file.name, file.size, is_encrypted)?;
        }
    }
    Ok(())
}

fn is_encrypted(block: &Block) -> bool {
    let mut coders = block.ordered_coder_iter();
    coders.any(|(_, coder)| coder.encoder_method_id() == EncoderMethod::ID_AES256_SHA256)
}

/// Looks into the files of a block, and marks them as done. Nothing is unpacked behind the last of them.
fn unpack(
    scanner: &mut Scanner<'_>,
    place: &Place,
    archive: &Archive,
    block: usize,
    source: &mut Cursor<&[u8]>,
    is_done: &mut [bool],
) -> Result<(), Exceeded> {
    let first = archive.stream_map.block_first_file_index.get(block).copied().unwrap_or_default();
    let password = Password::empty();
    let mut stopped = None;
    let ended = contained(|| {
        let decoder = BlockDecoder::new_with_memory_limit(1, LIMIT_KIB, block, archive, &password, source);
        let last = (first + decoder.entry_count()).saturating_sub(1);
        let mut index = first;
        decoder.for_each_entries(&mut |file, content| {
            let result = unpacked(scanner, place, file, content, index == last);
            is_done[index] = true;
            index += 1;
            stopped = result.err();
            Ok(stopped.is_none() && index <= last)
        })
    });
    match (stopped, ended) {
        (Some(exceeded), _) => Err(exceeded),
        (None, Some(Err(sevenz_rust2::Error::MaxMemLimited { .. }))) => Err(Exceeded::Bytes),
        (None, _) => Ok(()),
    }
}

fn unpacked(
    scanner: &mut Scanner<'_>,
    place: &Place,
    file: &ArchiveEntry,
    content: &mut dyn Read,
    is_last: bool,
) -> Result<(), Exceeded> {
    if !file.is_directory {
        scanner.budget.entry()?;
        let names = [file.name.clone()];
        let entry = Entry { names: &names, size: file.size, is_encrypted: false, view: View::Entry };
        entry::scan(scanner, place, &entry, Some(content))?;
    }
    if !is_last {
        scanner.budget.skip(content)?;
    }
    Ok(())
}

/// Judges a file whose content cannot be had.
fn named(
    scanner: &mut Scanner<'_>,
    place: &Place,
    name: &str,
    size: u64,
    is_encrypted: bool,
) -> Result<(), Exceeded> {
    scanner.budget.entry()?;
    let names = [name.to_owned()];
    let entry = Entry { names: &names, size, is_encrypted, view: View::Entry };
    let mut empty: &[u8] = &[];
    let content: Option<&mut dyn Read> = if size == 0 && !is_encrypted { Some(&mut empty) } else { None };
    entry::scan(scanner, place, &entry, content).map(drop)
}

/// Work of starting the decoders of a block, in bytes.
fn start(block: &Block) -> u64 {
    sum(block, |id, properties| match id {
        EncoderMethod::ID_BZIP2 => 4 << 20,
        EncoderMethod::ID_PPMD => 32 << 20,
        EncoderMethod::ID_LZMA => lzma_tables(properties),
        _ => 64 << 10,
    })
}

/// Memory that the decoders of a block ask for, in bytes.
fn dictionary(block: &Block) -> u64 {
    sum(block, |id, properties| match id {
        EncoderMethod::ID_LZMA | EncoderMethod::ID_PPMD => lzma_dictionary(properties),
        EncoderMethod::ID_LZMA2 => {
            let bits = properties.first().map_or(0, |byte| u32::from(byte & 63));
            u64::from(2 | bits & 1) << (bits / 2 + 11)
        }
        _ => 4 << 20,
    })
}

/// The sum of what is told of each coder of a block, by its method and properties.
fn sum(block: &Block, of_coder: impl Fn(&[u8], &[u8]) -> u64) -> u64 {
    block.ordered_coder_iter().map(|(_, coder)| of_coder(coder.encoder_method_id(), coder.properties())).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tar::tests::file as tar;
    use super::*;
    use crate::checks::AttachmentSettings;
    use crate::content::archive::tests::{causes, tree};
    use crate::content::{Cancel, scan_file};
    use crate::policy::ByteSize;
    use sevenz_rust2::encoder_options::AesEncoderOptions;
    use sevenz_rust2::{ArchiveWriter, EncoderConfiguration, SourceReader};
    use std::num::NonZeroU32;

    /// What 7-Zip makes of these files: each in a block of its own, or all in one.
    fn archive(is_solid: bool, methods: &[EncoderConfiguration], files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ArchiveWriter::new(Cursor::new(Vec::new())).unwrap();
        writer.set_content_methods(methods.to_vec());
        if is_solid {
            let entries = files.iter().map(|(name, _)| ArchiveEntry::new_file(name)).collect();
            let readers = files.iter().map(|(_, data)| SourceReader::new(*data)).collect();
            writer.push_archive_entries(entries, readers).unwrap();
        } else {
            for (name, data) in files {
                writer.push_archive_entry(ArchiveEntry::new_file(name), Some(*data)).unwrap();
            }
        }
        writer.finish().unwrap().into_inner()
    }

    fn methods() -> [EncoderConfiguration; 5] {
        use EncoderMethod as Method;
        [Method::COPY, Method::LZMA, Method::LZMA2, Method::BZIP2, Method::PPMD]
            .map(EncoderConfiguration::new)
    }

    #[test]
    fn files_are_judged_and_containers_opened() {
        let inner = tar("evil.exe", b"MZ");
        let files: [(&str, &[u8]); 3] = [("a.txt", &[b'x'; 9000]), ("b.tar", &inner), ("c.txt", b"text")];
        for method in methods() {
            for is_solid in [false, true] {
                let packed = archive(is_solid, std::slice::from_ref(&method), &files);
                assert_eq!(tree("x.7z", &packed), ["x.7z", " a.txt", " b.tar", "  evil.exe", " c.txt"]);
                assert_eq!(causes("x.dat", &packed), ["attachment.forbidden_extension x.dat/b.tar/evil.exe"]);
            }
        }
        let empty = archive(false, &methods()[1..2], &[("evil.exe", b"")]);
        assert_eq!(causes("x.7z", &empty), ["attachment.forbidden_extension x.7z/evil.exe"]);
    }

    #[test]
    fn encryption_is_told_by_file_and_of_the_header() {
        let aes = || vec![AesEncoderOptions::new("secret".into()).into(), EncoderMethod::LZMA2.into()];
        let make = |is_header_encrypted| {
            let mut writer = ArchiveWriter::new(Cursor::new(Vec::new())).unwrap();
            writer.set_encrypt_header(is_header_encrypted);
            writer.set_content_methods(aes());
            for name in ["a.txt", "b.zip"] {
                writer.push_archive_entry(ArchiveEntry::new_file(name), Some(&b"data"[..])).unwrap();
            }
            writer.finish().unwrap().into_inner()
        };
        assert_eq!(
            causes("x.7z", &make(false)),
            ["attachment.encrypted_entry x.7z/a.txt", "attachment.encrypted_nested x.7z/b.zip"]
        );
        assert_eq!(causes("x.7z", &make(true)), ["attachment.encrypted_header x.7z"]);
    }

    #[test]
    fn what_cannot_be_unpacked_is_told_by_name() {
        assert_eq!(causes("x.7z", b"text"), ["attachment.unreadable_container x.7z"]);
        let inner = tar("a.txt", &[b'x'; 4000]);
        let mut packed = archive(false, &methods()[1..2], &[("b.tar", &inner)]);
        packed[40..60].fill(0xff);
        assert_eq!(causes("x.7z", &packed), ["attachment.unreadable_container x.7z/b.tar"]);
        let whole = archive(true, &methods()[2..3], &[("a.txt", b"text"), ("b.txt", b"text")]);
        for cut in 0..whole.len() {
            assert_eq!(causes("x.7z", &whole[..cut]), ["attachment.unreadable_container x.7z"], "{cut}");
        }
    }

    #[test]
    fn bombs_are_cut() {
        let settings = AttachmentSettings {
            max_inflated: ByteSize::mib(1),
            max_parts: NonZeroU32::MIN,
            max_entries: NonZeroU32::MIN.saturating_add(9),
            ..AttachmentSettings::default()
        };
        let causes = |data: &[u8]| {
            let report = scan_file("x.7z", data, &settings, &Cancel::default());
            report.found.iter().map(|found| found.reason).collect::<Vec<_>>()
        };
        let zeros = vec![0; 4 << 20];
        let leaf = archive(true, &methods()[2..3], &[("a.txt", &zeros)]);
        assert_eq!(causes(&leaf), []);
        let solid = archive(true, &methods()[2..3], &[("a.txt", &zeros), ("b.txt", b"text")]);
        assert_eq!(causes(&solid), [Reason::AttachmentLimitBytes]);
        let container = archive(true, &methods()[2..3], &[("a.zip", &zeros)]);
        assert_eq!(causes(&container), [Reason::AttachmentLimitBytes]);
        let names: Vec<String> = (0..20).map(|n| format!("{n}.txt")).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"text"[..])).collect();
        assert_eq!(causes(&archive(false, &methods()[..1], &files)), [Reason::AttachmentLimitEntries]);
    }
}
