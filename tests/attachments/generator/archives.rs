//! Archives and compressed files that are no zips (2.4): each holds the payload.

use std::io::{Cursor, Write};

use super::Harmless::{self, IsRefused, Passes};
use super::{Payload, bytes::Bytes as _};

/// A file name, the file's bytes, and what becomes of it under a harmless name.
pub(crate) type File = (&'static str, String, Vec<u8>, Harmless);

pub(crate) fn archives(payload: &Payload) -> Vec<File> {
    let (name, data) = (payload.name, payload.data);
    let tar = tar(name, data);
    let mut all = vec![
        ("RAR 4", "a.rar".to_owned(), rar4(name, data, 0x8000), Passes),
        ("RAR 4, part of several", "a.part2.rar".to_owned(), rar4(name, data, 0x8003), Passes),
        ("RAR 4, encrypted", "a.rar".to_owned(), rar4(name, data, 0x8004), Passes),
        ("RAR 5", "a.rar".to_owned(), rar5(name, data), Passes),
        ("RAR 5 as another file", "a.dat".to_owned(), rar5(name, data), Passes),
        (
            "RAR behind a text",
            "a.dat".to_owned(),
            [b"no program ".repeat(50), rar5(name, data)].concat(),
            Passes,
        ),
        ("7z", "a.7z".to_owned(), sevenz(name, data), Passes),
        ("7z with a packed header", "a.7z".to_owned(), sevenz_packed(name, data), Passes),
        ("7z of one undivided stream", "a.7z".to_owned(), sevenz_undivided(name, data), IsRefused),
        (
            "zip in a 7z of one undivided stream",
            "a.7z".to_owned(),
            sevenz_undivided("b.zip", &crate::build::zip(&[(name, data)])),
            IsRefused,
        ),
        ("7z as another file", "a.dat".to_owned(), sevenz(name, data), Passes),
        ("tar", "a.tar".to_owned(), tar.clone(), Passes),
        ("tar as another file", "a.dat".to_owned(), tar.clone(), Passes),
        (
            "tar, long name",
            "a.tar".to_owned(),
            self::tar(&format!("{}/{name}", "d".repeat(150)), data),
            Passes,
        ),
        ("tar, PAX path", "a.tar".to_owned(), tar_pax(name, data), Passes),
        ("gz", format!("{name}.gz"), gz(None, data), Passes),
        ("gz that tells its name", "a.gz".to_owned(), gz(Some(name), data), Passes),
        ("tar.gz", "a.tar.gz".to_owned(), gz(None, &tar), Passes),
        ("tgz", "a.tgz".to_owned(), gz(None, &tar), Passes),
        ("tar.gz as another file", "a.dat".to_owned(), gz(None, &tar), Passes),
        ("tar.bz2", "a.tar.bz2".to_owned(), bz2(&tar), Passes),
        ("bz2", format!("{name}.bz2"), bz2(data), Passes),
        ("tar.xz", "a.tar.xz".to_owned(), xz(&tar), Passes),
        ("xz", format!("{name}.xz"), xz(data), Passes),
        ("tar.lzma", "a.tar.lzma".to_owned(), lzma(&tar), Passes),
        ("tar.zst", "a.tar.zst".to_owned(), zst(&tar), Passes),
        ("zst", format!("{name}.zst"), zst(data), Passes),
        ("tar.Z", "a.tar.Z".to_owned(), compress(&tar), Passes),
        ("cab", "a.dat".to_owned(), cab(name, data), Passes),
        ("lzh", "a.lzh".to_owned(), lzh(name, data), Passes),
        ("arj", "a.arj".to_owned(), arj(name, data), Passes),
        ("gz in gz", "a.tar.gz.gz".to_owned(), gz(None, &gz(None, &tar)), Passes),
    ];
    all.extend([
        ("RAR 4 with encrypted names", "a.rar".to_owned(), rar4_hidden(), IsRefused),
        ("RAR 5 with encrypted names", "a.rar".to_owned(), rar5_hidden(), IsRefused),
        ("7z with encrypted names", "a.7z".to_owned(), sevenz_hidden(), IsRefused),
        ("RAR that is none", "a.rar".to_owned(), b"this is no archive".to_vec(), IsRefused),
        ("7z that is none", "a.7z".to_owned(), b"this is no archive".to_vec(), IsRefused),
        ("7z cut off", "a.7z".to_owned(), sevenz(name, data)[..40].to_vec(), IsRefused),
    ]);
    all
}

const RAR4: &[u8] = b"Rar!\x1a\x07\x00";
const RAR5: &[u8] = b"Rar!\x1a\x07\x01\x00";

fn rar4_block(rest: &[u8]) -> Vec<u8> {
    Vec::new().u16(crc32fast::hash(rest) as u16).bytes(rest)
}

pub(crate) fn rar4(name: &str, data: &[u8], flags: u16) -> Vec<u8> {
    let main = rar4_block(&vec![0x73].u16(0).u16(13).bytes(&[0; 6]));
    let size = data.len() as u32;
    let file = vec![0x74].u16(flags).u16(32 + name.len() as u16).u32(size).u32(size);
    let file = file.bytes(&[2]).u32(crc32fast::hash(data)).u32(0x5a21_0000).bytes(&[20, 0x30]);
    let file = rar4_block(&file.u16(name.len() as u16).u32(0x20).bytes(name.as_bytes()));
    [RAR4, &main, &file, data, &rar4_block(&vec![0x7b].u16(0x4000).u16(7))].concat()
}

fn rar4_hidden() -> Vec<u8> {
    [RAR4, &rar4_block(&vec![0x73].u16(0x80).u16(13).bytes(&[0; 6])), &[0x5a; 64]].concat()
}

fn rar5_block(fields: &[u8]) -> Vec<u8> {
    let sized = vec![fields.len() as u8].bytes(fields);
    Vec::new().u32(crc32fast::hash(&sized)).bytes(&sized)
}

pub(crate) fn rar5(name: &str, data: &[u8]) -> Vec<u8> {
    let file = vec![2, 2].bytes(&vint(data.len())).bytes(&[4]).bytes(&vint(data.len())).bytes(&[0x20]);
    let file = file.u32(crc32fast::hash(data)).bytes(&[0, 0, name.len() as u8]).bytes(name.as_bytes());
    [RAR5, &rar5_block(&[1, 0, 0]), &rar5_block(&file), data, &rar5_block(&[5, 0, 0])].concat()
}

fn vint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn rar5_hidden() -> Vec<u8> {
    [RAR5, &rar5_block(&[vec![4, 0, 0, 0, 15], vec![7; 16]].concat()), &[0x5a; 64]].concat()
}

/// A number as 7z writes it, of up to 21 bits.
fn number(value: usize) -> Vec<u8> {
    match value {
        0..0x80 => vec![value as u8],
        0x80..0x4000 => vec![0x80 | (value >> 8) as u8, value as u8],
        _ => vec![0xc0 | (value >> 16) as u8, value as u8, (value >> 8) as u8],
    }
}

pub(crate) fn sevenz_file(packed: &[u8], header: &[u8]) -> Vec<u8> {
    let start = Vec::new().u64(packed.len() as u64).u64(header.len() as u64).u32(crc32fast::hash(header));
    let signature = b"7z\xbc\xaf\x27\x1c\0\x04".to_vec().u32(crc32fast::hash(&start));
    [signature, start, packed.to_vec(), header.to_vec()].concat()
}

/// Streams: one folder of one coder.
pub(crate) fn sevenz_streams(
    at: usize,
    packed: usize,
    coder: &[u8],
    unpacked: usize,
    crc: Option<u32>,
) -> Vec<u8> {
    let mut out = vec![6].bytes(&number(at)).bytes(&[1, 9]).bytes(&number(packed)).bytes(&[0]);
    out = out.bytes(&[7, 0x0b, 1, 0, 1]).bytes(coder).bytes(&[0x0c]).bytes(&number(unpacked));
    if let Some(crc) = crc {
        out = out.bytes(&[0x0a, 1]).u32(crc);
    }
    out.bytes(&[0, 0])
}

fn sevenz_header(name: &str, data: &[u8], packed: usize, coder: &[u8]) -> Vec<u8> {
    let mut streams = sevenz_streams(0, packed, coder, data.len(), None);
    streams.pop();
    streams.extend(vec![8, 0x0a, 1].u32(crc32fast::hash(data)).bytes(&[0, 0]));
    [vec![1, 4], streams, sevenz_names(name), vec![0]].concat()
}

fn sevenz_names(name: &str) -> Vec<u8> {
    let utf16: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    vec![5, 1, 0x11].bytes(&number(utf16.len() + 1)).bytes(&[0]).bytes(&utf16).bytes(&[0])
}

/// Without what says how the streams of a block are divided: there is but one. No archiver writes such, so that the
/// names are told and nothing is unpacked.
fn sevenz_undivided(name: &str, data: &[u8]) -> Vec<u8> {
    let streams = sevenz_streams(0, data.len(), &COPY, data.len(), None);
    sevenz_file(data, &[vec![1, 4], streams, sevenz_names(name), vec![0]].concat())
}

pub(crate) fn sevenz(name: &str, data: &[u8]) -> Vec<u8> {
    sevenz_by(name, data, data, &COPY)
}

/// The coder that packs nothing.
const COPY: [u8; 2] = [1, 0];

/// A file that `coder` packed.
pub(crate) fn sevenz_by(name: &str, data: &[u8], packed: &[u8], coder: &[u8]) -> Vec<u8> {
    sevenz_file(packed, &sevenz_header(name, data, packed.len(), coder))
}

/// As 7-Zip writes it: the header is packed, too.
fn sevenz_packed(name: &str, data: &[u8]) -> Vec<u8> {
    let header = sevenz_header(name, data, data.len(), &COPY);
    let options = lzma_rust2::LzmaOptions::with_preset(1);
    let mut writer = lzma_rust2::LzmaWriter::new_no_header(Vec::new(), &options, false).unwrap();
    writer.write_all(&header).unwrap();
    let packed = writer.finish().unwrap();
    let coder = vec![0x23, 3, 1, 1, 5, options.get_props()].u32(options.dict_size);
    let crc = Some(crc32fast::hash(&header));
    let streams = sevenz_streams(data.len(), packed.len(), &coder, header.len(), crc);
    sevenz_file(&[data, &packed].concat(), &[vec![0x17], streams].concat())
}

fn sevenz_hidden() -> Vec<u8> {
    let coder = [0x24, 0x06, 0xf1, 0x07, 0x01, 2, 0x13, 0];
    sevenz_file(&[0x5a; 64], &[vec![0x17], sevenz_streams(0, 64, &coder, 60, Some(7))].concat())
}

pub(crate) fn tar(name: &str, data: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, data).unwrap();
    builder.into_inner().unwrap()
}

/// The name in the header is another than that of the PAX header before it.
fn tar_pax(name: &str, data: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("path", name.as_bytes())]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(data.len() as u64);
    header.set_path("other.txt").unwrap();
    header.set_cksum();
    builder.append(&header, data).unwrap();
    builder.into_inner().unwrap()
}

pub(crate) fn gz(name: Option<&str>, data: &[u8]) -> Vec<u8> {
    let builder = name.map_or_else(flate2::GzBuilder::new, |name| flate2::GzBuilder::new().filename(name));
    let mut writer = builder.write(Vec::new(), flate2::Compression::default());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn bz2(data: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn xz(data: &[u8]) -> Vec<u8> {
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn lzma(data: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::LzmaOptions::with_preset(1);
    let size = Some(data.len() as u64);
    let mut writer = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, size).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

/// A Zstandard frame of raw blocks (RFC 8878).
pub(crate) fn zst(data: &[u8]) -> Vec<u8> {
    let mut out = b"\x28\xb5\x2f\xfd\xa0".to_vec().u32(data.len() as u32);
    let mut chunks = data.chunks(100_000).peekable();
    while let Some(chunk) = chunks.next() {
        let block = (chunk.len() as u32) << 3 | u32::from(chunks.peek().is_none());
        out = out.bytes(&block.to_le_bytes()[..3]).bytes(chunk);
    }
    out
}

/// compress(1), with codes of nine bits only: the table is emptied before it would need more.
pub(crate) fn compress(data: &[u8]) -> Vec<u8> {
    const CLEAR: u32 = 256;
    let mut codes: Vec<u32> = Vec::new();
    for chunk in data.chunks(200) {
        codes.extend(chunk.iter().map(|byte| u32::from(*byte)));
        codes.push(CLEAR);
        // A clear code ends a group of eight codes; the rest of the group is not read.
        while !codes.len().is_multiple_of(8) {
            codes.push(0);
        }
    }
    let mut out = b"\x1f\x9d\x90".to_vec();
    for group in codes.chunks(8) {
        let mut bits = 0u128;
        for (at, code) in group.iter().enumerate() {
            bits |= u128::from(*code) << (9 * at);
        }
        out.extend(&bits.to_le_bytes()[..9]);
    }
    out
}

pub(super) fn cab(name: &str, data: &[u8]) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    builder.add_folder(cab::CompressionType::None).add_file(name);
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    while let Some(mut file) = writer.next_file().unwrap() {
        file.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) fn lzh(name: &str, data: &[u8]) -> Vec<u8> {
    let size = data.len() as u32;
    let header = b"-lh0-".to_vec().u32(size).u32(size).u32(0x5a21_0000).bytes(&[0x20, 0, name.len() as u8]);
    let header = header.bytes(name.as_bytes()).u16(crc16(data));
    let sum = header.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    vec![header.len() as u8, sum].bytes(&header).bytes(data).bytes(&[0])
}

fn crc16(data: &[u8]) -> u16 {
    data.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xa001 } else { 0 })
    })
}

pub(super) fn arj(name: &str, data: &[u8]) -> Vec<u8> {
    let header = |kind: u8, name: &str, size: u32, crc: u32| {
        let basic = vec![30, 11, 1, 0, 0, 0, kind, 0].u32(0x5a21_0000).u32(size).u32(size).u32(crc);
        let basic = basic.u16(0).u16(0x20).u16(0).bytes(name.as_bytes()).bytes(&[0, 0]);
        b"\x60\xea".to_vec().u16(basic.len() as u16).bytes(&basic).u32(crc32fast::hash(&basic)).u16(0)
    };
    let file = header(0, name, data.len() as u32, crc32fast::hash(data));
    [header(2, "a.arj", 0, 0), file, data.to_vec(), b"\x60\xea\0\0".to_vec()].concat()
}
