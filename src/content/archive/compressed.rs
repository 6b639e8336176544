//! Files that hold one compressed file: gzip (RFC 1952), bzip2, xz, LZMA, lzip, Zstandard (RFC 8878), LZ4, `compress`.
//!
//! What is in them is called as they are, without their suffix; gzip may carry a name of its own. Several such files
//! one behind the other decode to one; what stands behind the last of them is ignored, as their programs do.

#![expect(clippy::disallowed_types, reason = "each decoder here is read through the budget")]

use std::io::{self, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder as Lz4Decoder;
use lzma_rust2::{LzipReader, LzmaReader, XzReader};
use memchr::memmem;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::entry::{self, Entry};
use super::{lzw, names, sevenz};
use crate::content::budget::{Exceeded, MAX_DICTIONARY, contained};
use crate::content::filename;
use crate::content::scanner::{Place, Scanner};
use crate::content::{Kind, View};

/// Dictionary and tables that the decoders of the LZMA family may have, in KiB.
const MAX_LZMA_KIB: u32 = (MAX_DICTIONARY / 1024) as u32 + 1024;
/// Files one behind the other that are decoded as one: starting each takes as long as decoding some kilobytes.
const MAX_MEMBERS: u32 = 4_000;

/// Work of starting a decoder, in bytes: bzip2 decodes a block of 900 kB before its first byte.
fn start_of_decoder(kind: Kind, data: &[u8]) -> u64 {
    match kind {
        Kind::Bzip2 => 4 << 20,
        Kind::Lzma => sevenz::lzma_tables(data),
        _ => 64 << 10,
    }
}

/// Memory that a decoder may ask for, in bytes. Each stream of xz and each frame of Zstandard says so anew.
fn dictionary(kind: Kind, data: &[u8]) -> u64 {
    match kind {
        Kind::Xz | Kind::Zstd => MAX_DICTIONARY,
        Kind::Lzma => sevenz::lzma_dictionary(data).min(MAX_DICTIONARY),
        Kind::Lzip => lzip_dictionary(data).min(MAX_DICTIONARY),
        _ => 8 << 20,
    }
}

/// The kind whose suffix `extension` is.
pub(super) fn kind_of_extension(extension: &str) -> Option<Kind> {
    match extension {
        "gz" | "emz" | "svgz" | "tgz" | "taz" | "tpz" => Some(Kind::Gzip),
        "bz2" | "bz" | "tbz" | "tbz2" | "tz2" => Some(Kind::Bzip2),
        "xz" | "txz" => Some(Kind::Xz),
        "lzma" | "tlz" => Some(Kind::Lzma),
        "lz" => Some(Kind::Lzip),
        "zst" | "zstd" | "tzst" => Some(Kind::Zstd),
        "lz4" | "tlz4" => Some(Kind::Lz4),
        "z" => Some(Kind::Compress),
        _ => None,
    }
}

/// Whether a suffix stands for a compressed tar.
fn is_of_tar(extension: &str) -> bool {
    matches!(extension, "tgz" | "taz" | "tpz" | "tbz" | "tbz2" | "tz2" | "txz" | "tlz" | "tzst" | "tlz4")
}

/// The kind that a file begins as.
pub(super) fn kind_of_content(begins: &[u8]) -> Option<Kind> {
    match begins {
        [0x1f, 0x8b, 8, ..] => Some(Kind::Gzip),
        [0x1f, 0x9d, ..] => Some(Kind::Compress),
        [b'B', b'Z', b'h', b'1'..=b'9', block @ ..]
            if block.starts_with(b"1AY&SY") || block.starts_with(b"\x17rE8P\x90") =>
        {
            Some(Kind::Bzip2)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Kind::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Kind::Zstd),
        [b'L', b'Z', b'I', b'P', 0 | 1, ..] => Some(Kind::Lzip),
        [0x04, 0x22, 0x4d, 0x18, ..] => Some(Kind::Lz4),
        _ if skippable(begins).is_some() => Some(Kind::Zstd),
        _ => is_lzma(begins).then_some(Kind::Lzma),
    }
}

/// Looks into the compressed file `data` of this `kind`, called `name`.
pub(super) fn scan(
    scanner: &mut Scanner<'_>,
    kind: Kind,
    name: &str,
    data: &[u8],
    place: &Place,
) -> Result<(), Exceeded> {
    scanner.budget.work(start_of_decoder(kind, data))?;
    let mut inner = vec![without_suffix(kind, name)];
    if kind == Kind::Gzip
        && let Some(own) = gzip_name(data)
    {
        inner.extend(names::readings(&own));
    }
    let dictionary = scanner.budget.dictionary(dictionary(kind, data))?;
    let decoder = contained(|| decoder(kind, data)).unwrap_or_else(|| Box::new(Undecodable(None)));
    let entry = Entry { names: &inner, size: 0, is_encrypted: false, view: View::Entry };
    if !entry::scan(scanner, place, &entry, Some(&mut dictionary.of(decoder)))?.is_readable {
        scanner.unreadable_in(place);
    }
    Ok(())
}

fn decoder(kind: Kind, data: &[u8]) -> Box<dyn Read + '_> {
    let members = |start| Box::new(Members { rest: data, start, current: None, count: 0 });
    match kind {
        Kind::Gzip => members(gzip_member),
        Kind::Bzip2 => members(bzip2_member),
        Kind::Zstd => members(zstd_member),
        Kind::Xz => Box::new(XzReader::new_mem_limit(data, true, MAX_LZMA_KIB)),
        Kind::Lzma => match LzmaReader::new_mem_limit(data, MAX_LZMA_KIB, None) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => Box::new(Undecodable(Some(error))),
        },
        Kind::Lzip if lzip_dictionary(data) > MAX_DICTIONARY || has_too_many_lzip_members(data) => {
            Box::new(Undecodable(Some(io::ErrorKind::OutOfMemory.into())))
        }
        Kind::Lzip => Box::new(LzipReader::new(data)),
        Kind::Lz4 => Box::new(Lz4Decoder::new(data)),
        _ => match lzw::Decoder::new(data) {
            Some(decoder) => Box::new(decoder),
            None => Box::new(Undecodable(None)),
        },
    }
}

/// What cannot be decoded from its first byte on.
struct Undecodable(Option<io::Error>);

impl Read for Undecodable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::ErrorKind::InvalidData.into()))
    }
}

/// Compressed files one behind the other.
struct Members<'d> {
    rest: &'d [u8],
    /// Begins the next of them; none where there is none.
    start: fn(&'d [u8]) -> io::Result<Option<Member<'d>>>,
    current: Option<Member<'d>>,
    /// Begun so far.
    count: u32,
}

/// The decoder of one file, which is read from a slice and can tell what of it is left.
enum Member<'d> {
    Gzip(Box<GzDecoder<&'d [u8]>>),
    Bzip2(Box<BzDecoder<&'d [u8]>>),
    Zstd(Box<StreamingDecoder<&'d [u8], FrameDecoder>>),
}

impl<'d> Member<'d> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(out),
            Self::Bzip2(decoder) => decoder.read(out),
            Self::Zstd(decoder) => decoder.read(out),
        }
    }

    fn rest(&self) -> &'d [u8] {
        match self {
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Bzip2(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        }
    }
}

impl Read for Members<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let member = match &mut self.current {
                Some(member) => member,
                None => match (self.start)(self.rest)? {
                    Some(_) if self.count == MAX_MEMBERS => return Err(io::ErrorKind::OutOfMemory.into()),
                    Some(member) => {
                        self.count += 1;
                        self.current.insert(member)
                    }
                    None if self.count == 0 => return Err(io::ErrorKind::InvalidData.into()),
                    None => return Ok(0),
                },
            };
            match member.read(out)? {
                0 if !out.is_empty() => {
                    self.rest = member.rest();
                    self.current = None;
                }
                read => return Ok(read),
            }
        }
    }
}

fn gzip_member(rest: &[u8]) -> io::Result<Option<Member<'_>>> {
    Ok(rest.starts_with(b"\x1f\x8b").then(|| Member::Gzip(Box::new(GzDecoder::new(rest)))))
}

fn bzip2_member(rest: &[u8]) -> io::Result<Option<Member<'_>>> {
    Ok(rest.starts_with(b"BZh").then(|| Member::Bzip2(Box::new(BzDecoder::new(rest)))))
}

fn zstd_member(mut rest: &[u8]) -> io::Result<Option<Member<'_>>> {
    while let Some(after) = skippable(rest) {
        rest = after;
    }
    if !rest.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(None);
    }
    match StreamingDecoder::new_with_max_window_size(rest, MAX_DICTIONARY) {
        Ok(decoder) => Ok(Some(Member::Zstd(Box::new(decoder)))),
        Err(FrameDecoderError::WindowSizeTooBig { .. }) => Err(io::ErrorKind::OutOfMemory.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// What stands behind the skippable Zstandard frame that `data` begins with (RFC 8878 §3.1.2).
fn skippable(data: &[u8]) -> Option<&[u8]> {
    let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, after @ ..] = data else { return None };
    let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    Some(after.get(length..).unwrap_or_default())
}

/// Whether a file begins as LZMA does, which has no mark: the usual properties, then a dictionary size of the form
/// 2^n or 2^n + 2^(n-1), then a size that is unknown or below 2^38 bytes.
fn is_lzma(begins: &[u8]) -> bool {
    let [0x5d, a, b, c, d, size @ ..] = begins else { return false };
    let dictionary = u32::from_le_bytes([*a, *b, *c, *d]);
    let odd = dictionary.checked_shr(dictionary.trailing_zeros()).unwrap_or(0);
    let size = size.first_chunk().map_or(0, |size| u64::from_le_bytes(*size));
    dictionary >= 1 << 12 && matches!(odd, 1 | 3) && (size == u64::MAX || (1..1 << 38).contains(&size))
}

fn has_too_many_lzip_members(data: &[u8]) -> bool {
    memmem::find_iter(data, b"LZIP").nth(MAX_MEMBERS as usize).is_some()
}

/// The size of the dictionary in the header of an lzip file: a power of two less some sixteenths of it.
fn lzip_dictionary(data: &[u8]) -> u64 {
    let coded = data.get(5).copied().unwrap_or(0);
    let base = 1u64 << (coded & 0x1f);
    base - base / 16 * u64::from(coded >> 5)
}

/// The name in a gzip header (RFC 1952 §2.3.1), behind the extra field.
fn gzip_name(data: &[u8]) -> Option<Vec<u8>> {
    let (header, mut rest) = data.split_at_checked(10)?;
    if header[3] & 4 != 0 {
        let (length, after) = rest.split_first_chunk()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    let name = filename::end_of_name(names::until_nul(rest));
    (header[3] & 8 != 0 && !name.is_empty()).then(|| name.to_vec())
}

/// The name of the file in the file `name`.
fn without_suffix(kind: Kind, name: &str) -> String {
    let extension = &*filename::extension(name);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    // `compress` made the first of those called `taz`.
    let is_its = kind_of_extension(extension) == Some(kind) || (kind == Kind::Compress && extension == "taz");
    match (is_its, is_of_tar(extension)) {
        (true, false) => stem.to_owned(),
        (true, true) => format!("{stem}.tar"),
        (false, _) => name.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tar::tests::file;
    use super::super::tests::{causes, tree};
    use super::*;
    use flate2::Compression;
    use lzma_rust2::{LzipOptions, LzipWriter, LzmaOptions, LzmaWriter, XzOptions, XzWriter};
    use std::io::Write;

    pub(in crate::content::archive) fn gzip(name: &str, data: &[u8]) -> Vec<u8> {
        let builder = flate2::GzBuilder::new();
        let builder = if name.is_empty() { builder } else { builder.filename(name).extra(&b"ab\x01\0x"[..]) };
        let mut out = builder.write(Vec::new(), Compression::best());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn the_file_inside_is_called_without_the_suffix_of_its_kind() {
        for (kind, name, inside) in [
            (Kind::Gzip, "a.txt.gz", "a.txt"),
            (Kind::Gzip, "a.GZ", "a"),
            (Kind::Gzip, "a.tgz", "a.tar"),
            (Kind::Gzip, "a.taz", "a.tar"),
            (Kind::Compress, "a.taz", "a.tar"),
            (Kind::Compress, "a.tgz", "a.tgz"),
            (Kind::Compress, "a.z", "a"),
            (Kind::Bzip2, "a.tbz2", "a.tar"),
            (Kind::Xz, "a.gz", "a.gz"),
            (Kind::Xz, "a.txz", "a.tar"),
            (Kind::Lzma, "a.tlz", "a.tar"),
            (Kind::Lzip, "a.lz", "a"),
            (Kind::Zstd, "a.tzst", "a.tar"),
            (Kind::Lz4, "a.txt", "a.txt"),
        ] {
            assert_eq!(without_suffix(kind, name), inside, "{kind:?} {name}");
        }
    }

    fn bzip2(data: &[u8]) -> Vec<u8> {
        let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut out = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn lzma(data: &[u8]) -> Vec<u8> {
        let options = LzmaOptions::with_preset(0);
        let mut out = LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn lzip(data: &[u8]) -> Vec<u8> {
        let mut out = LzipWriter::new(Vec::new(), LzipOptions::with_preset(0));
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn a_tar_in_every_compression_is_opened_under_every_name() {
        let tar = file("evil.exe", b"MZ");
        for (suffix, short, packed) in [
            ("gz", "tgz", gzip("", &tar)),
            ("bz2", "tbz2", bzip2(&tar)),
            ("xz", "txz", xz(&tar)),
            ("lzma", "tlz", lzma(&tar)),
            ("lz", "tar.lz", lzip(&tar)),
            ("zst", "tzst", zstd(&tar)),
        ] {
            for (name, inner) in [
                (format!("a.tar.{suffix}"), "a.tar"),
                (format!("a.{short}"), "a.tar"),
                ("a.dat".to_owned(), "a.dat"),
            ] {
                let expected = format!("attachment.forbidden_extension {name}/{inner}/evil.exe");
                assert_eq!(causes(&name, &packed), [expected]);
            }
        }
    }

    #[test]
    fn the_name_inside_is_that_of_the_outside_or_its_own() {
        for (name, data, inner) in [
            ("evil.exe.gz", gzip("", b"MZ"), "evil.exe"),
            ("a.gz", gzip("evil.exe", b"MZ"), "evil.exe"),
            ("evil.exe.Z", b"\x1f\x9d\x90\x54\x9e\x08".to_vec(), "evil.exe"),
            ("evil.exe.xz", xz(b"MZ"), "evil.exe"),
        ] {
            let found = causes(name, &data);
            assert!(found.contains(&format!("attachment.forbidden_extension {name}/{inner}")), "{found:?}");
        }
        assert_eq!(tree("a.csv.gz", &gzip("b.csv", b"1,2")), ["a.csv.gz", " a.csv"]);
        assert_eq!(causes("a.csv.gz", &gzip("b.csv", b"1,2")), [""; 0]);
    }

    #[test]
    fn a_long_name_inside_is_judged_by_its_end() {
        let found = causes("a.gz", &gzip(&format!("{}evil.js", "d/".repeat(600)), b"x"));
        assert!(matches!(&found[..], [found] if found.ends_with("/d/evil.js")), "{found:?}");
    }

    #[test]
    fn members_one_behind_the_other_are_one_file() {
        let tar = file("evil.exe", b"MZ");
        let (one, two) = tar.split_at(200);
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        for (name, packed) in [
            ("a.tar.gz", [gzip("", one), gzip("", two), b"trailing".to_vec()].concat()),
            ("a.tar.bz2", [bzip2(one), bzip2(two), b"trailing".to_vec()].concat()),
            ("a.tar.zst", [&skipped[..], &zstd(one), &skipped, &zstd(two), b"trailing"].concat()),
        ] {
            assert_eq!(
                causes(name, &packed),
                [format!("attachment.forbidden_extension {name}/a.tar/evil.exe")]
            );
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_unreadable() {
        let tar = file("a.txt", &[b'x'; 9000]);
        for (name, packed) in [
            ("a.gz", gzip("", &tar)),
            ("a.bz2", bzip2(&tar)),
            ("a.xz", xz(&tar)),
            ("a.lzma", lzma(&tar)),
            ("a.lz", lzip(&tar)),
            ("a.zst", zstd(&tar)),
            ("a.Z", b"\x1f\x9d\x90\xff\xff\xff\xff".to_vec()),
        ] {
            assert_eq!(causes(name, b"text"), [format!("attachment.unreadable_container {name}")]);
            let cut = &packed[..packed.len() - 6];
            let found = causes(name, cut);
            assert!(
                !found.is_empty() && found.iter().all(|f| f.starts_with("attachment.unreadable")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn dictionaries_too_large_are_a_limit_and_bombs_are_cut() {
        let mut huge = lzma(b"text");
        huge[1..5].copy_from_slice(&[0, 0, 0, 0x80]);
        assert_eq!(causes("a.lzma", &huge), ["attachment.limit_bytes"]);
        let mut huge = lzip(b"text");
        huge[5] = 29;
        assert_eq!(causes("a.lz", &huge), ["attachment.limit_bytes"]);
        let huge = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xf0, 1, 0, 0];
        assert_eq!(causes("a.zst", &huge), ["attachment.limit_bytes"]);

        let bomb = gzip("", &vec![0; 70 << 20]);
        assert_eq!(causes("a.txt.gz", &bomb), [""; 0]);
        assert_eq!(causes("a.zip.gz", &bomb), ["attachment.limit_bytes"]);
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        let nested = (0..20).fold(file("a.txt", b""), |inner, _| gzip("", &inner));
        let found = causes("a.gz", &nested);
        assert_eq!(found, ["attachment.limit_depth a.gz/a/a/a/a/a/a/a/a"]);
    }

    #[test]
    fn lzma_is_told_from_text_and_numbers() {
        assert!(is_lzma(&lzma(b"text")));
        assert!(is_lzma(b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0"));
        for data in
            [&b"]"[..], b"]\0\0", b"] text in brackets [", b"\x5d\0\0\x80\0\0\0\0\0\0\0\0\0", &[0x5d; 20]]
        {
            assert!(!is_lzma(data), "{}", data.escape_ascii());
        }
    }
}
