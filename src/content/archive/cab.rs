//! Cabinets (MS-CAB): the names of their files, and what is in them by MSZIP, LZX or without compression.
//!
//! A header, the folders, the files; each folder is a run of blocks of at most 32 KiB, in which its files lie one
//! behind the other. A folder is unpacked once, and its files are cut out of it. Quantum, which nobody has used for
//! twenty years, is not read. The `cab` crate is not used for this: it panics on offsets that lie behind the data,
//! and unpacks a folder anew for each file.

#![expect(clippy::disallowed_types, reason = "each decoder here is read through the budget")]

use std::io::{self, Read};

use flate2::bufread::DeflateDecoder;
use lzxd::{Lzxd, WindowSize};

use super::entry::{self, Entry};
use super::names;
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::scanner::{Place, Scanner};

const MARK: &[u8] = b"MSCF";
/// The version, 1.3, its lower number first, and where it stands: there never was another.
const VERSION: [u8; 2] = [3, 1];
const VERSION_AT: usize = 24;
/// Flags of the header: there is a cabinet before this one, there is one behind it, there are reserved areas.
const HAS_PREVIOUS: u16 = 1;
const HAS_NEXT: u16 = 2;
const HAS_RESERVE: u16 = 4;
/// From this folder index on, a file lies in part in another cabinet.
const CONTINUED: u16 = 0xfffd;
/// What earlier blocks a block may refer to.
const WINDOW: usize = 32 << 10;
/// Work of a block, in bytes: its window is fed to the decoder again.
const BLOCK: u64 = 2 * WINDOW as u64;
/// Work of listing a folder or a file, in bytes.
const LISTED: u64 = 64;

/// Whether a file begins as cabinets do. The mark alone may be a word of a text, or the name of a file in a tar; readers differ on
/// whether the numbers between must be 0.
pub(super) fn begins(data: &[u8]) -> bool {
    data.starts_with(MARK) && data.get(VERSION_AT..).is_some_and(|rest| rest.starts_with(&VERSION))
}

/// Looks into the cabinet `data`, whose files are in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let listed = Fields::new(data, 0).and_then(|fields| listing(data, fields));
    // No program makes a cabinet without files.
    let Some((folders, mut files)) = listed.filter(|(_, files)| !files.is_empty()) else {
        scanner.unreadable_in(place);
        return Ok(());
    };
    scanner.budget.work((folders.len() + files.len()) as u64 * LISTED)?;
    files.sort_by_key(|file| file.folder);
    for files in files.chunk_by(|one, next| one.folder == next.folder) {
        let unpacked = match folders.get(usize::from(files[0].folder)) {
            Some(folder) => Some(unpack(scanner, data, folder, files)?),
            None => None,
        };
        for file in files {
            let content = unpacked.as_ref().map(|unpacked| {
                let rest = unpacked.get(file.offset as usize..).unwrap_or_default();
                &rest[..rest.len().min(file.size as usize)]
            });
            judge(scanner, place, file, content)?;
        }
    }
    Ok(())
}

/// Unpacks a folder as far as the last of its files goes.
fn unpack(
    scanner: &mut Scanner<'_>,
    data: &[u8],
    folder: &Folder,
    files: &[File<'_>],
) -> Result<Vec<u8>, Exceeded> {
    let end =
        files.iter().map(|file| u64::from(file.offset) + u64::from(file.size)).max().unwrap_or_default();
    let Some(unpacker) = Unpacker::new(data, folder) else { return Ok(Vec::new()) };
    // A decoder of LZX clears its window before it begins.
    let window = if matches!(unpacker.method, Method::Lzx(_)) { 1 << folder.window_bits() } else { 0 };
    scanner.budget.work(u64::from(folder.blocks) * BLOCK + window)?;
    Ok(scanner.budget.inflating(unpacker).up_to(end)?.bytes)
}

fn judge(
    scanner: &mut Scanner<'_>,
    place: &Place,
    file: &File<'_>,
    content: Option<&[u8]>,
) -> Result<(), Exceeded> {
    scanner.budget.entry()?;
    let names = names::readings(file.name);
    let entry = Entry { names: &names, size: file.size.into(), is_encrypted: false, view: View::Entry };
    let mut content = content.filter(|content| file.size == 0 || !content.is_empty());
    let content = content.as_mut().map(|content| content as &mut dyn Read);
    entry::scan(scanner, place, &entry, content).map(drop)
}

struct Folder {
    offset: u32,
    blocks: u16,
    compression: u16,
    /// Bytes between the header of each block and its data.
    reserved: u8,
}

impl Folder {
    /// The size of the window of LZX.
    const fn window_bits(&self) -> u16 {
        self.compression >> 8 & 0x1f
    }
}

struct File<'c> {
    size: u32,
    offset: u32,
    folder: u16,
    name: &'c [u8],
}

fn listing<'c>(data: &'c [u8], mut header: Fields<'c>) -> Option<(Vec<Folder>, Vec<File<'c>>)> {
    header.take(MARK.len()).filter(|mark| *mark == MARK)?;
    header.take(12)?;
    let files_at = header.u32()?;
    header.take(6)?;
    let (folder_count, file_count, flags) = (header.u16()?, header.u16()?, header.u16()?);
    header.take(4)?;
    let (mut header_reserve, mut folder_reserve, mut block_reserve) = (0, 0, 0);
    if flags & HAS_RESERVE != 0 {
        header_reserve = header.u16()?;
        [folder_reserve, block_reserve] = header.u16()?.to_le_bytes();
    }
    header.take(header_reserve.into())?;
    for neighbour in [HAS_PREVIOUS, HAS_NEXT] {
        if flags & neighbour != 0 {
            header.text()?;
            header.text()?;
        }
    }
    let mut folders = Vec::new();
    for _ in 0..folder_count {
        let (offset, blocks, compression) = (header.u32()?, header.u16()?, header.u16()?);
        header.take(folder_reserve.into())?;
        folders.push(Folder { offset, blocks, compression, reserved: block_reserve });
    }
    let mut fields = Fields::new(data, files_at as usize)?;
    let mut files = Vec::new();
    for _ in 0..file_count {
        let (size, offset, folder) = (fields.u32()?, fields.u32()?, fields.u16()?);
        fields.take(6)?;
        let folder = if folder >= CONTINUED { u16::MAX } else { folder };
        files.push(File { size, offset, folder, name: fields.text()? });
    }
    Some((folders, files))
}

/// The content of a folder.
struct Unpacker<'c> {
    blocks: Fields<'c>,
    left: u16,
    reserved: u8,
    method: Method,
    /// What was unpacked, at most the window and a block of it, and how much of that was read.
    unpacked: Vec<u8>,
    read: usize,
}

enum Method {
    Stored,
    MsZip,
    Lzx(Box<Lzxd>),
}

impl<'c> Unpacker<'c> {
    fn new(data: &'c [u8], folder: &Folder) -> Option<Self> {
        let method = match folder.compression & 0xf {
            0 => Method::Stored,
            1 => Method::MsZip,
            3 => Method::Lzx(Box::new(Lzxd::new(window(folder.window_bits())?))),
            _ => return None,
        };
        let blocks = Fields::new(data, folder.offset as usize)?;
        let (left, reserved) = (folder.blocks, folder.reserved);
        Some(Self { blocks, left, reserved, method, unpacked: Vec::new(), read: 0 })
    }

    /// Unpacks the next block; false at the end, or where the block goes on in the next cabinet.
    fn block(&mut self) -> Option<bool> {
        if self.left == 0 {
            return Some(false);
        }
        self.left -= 1;
        self.blocks.take(4)?;
        let (packed, size) = (self.blocks.u16()?, usize::from(self.blocks.u16()?));
        self.blocks.take(self.reserved.into())?;
        let packed = self.blocks.take(packed.into())?;
        self.unpacked.drain(..self.unpacked.len().saturating_sub(WINDOW));
        self.read = self.unpacked.len();
        match &mut self.method {
            Method::Stored => self.unpacked.extend(packed),
            Method::MsZip => {
                // The window goes before the block as one that is stored.
                let window = self.unpacked.len() as u16;
                let packed = packed.strip_prefix(b"CK")?;
                let feed =
                    [&[0], &window.to_le_bytes()[..], &(!window).to_le_bytes(), &self.unpacked, packed]
                        .concat();
                self.unpacked.clear();
                let whole = self.read + size;
                DeflateDecoder::new(&*feed).take(whole as u64).read_to_end(&mut self.unpacked).ok()?;
                (self.unpacked.len() == whole).then_some(())?;
            }
            Method::Lzx(decoder) => self.unpacked.extend(decoder.decompress_next(packed, size).ok()?),
        }
        Some(size > 0)
    }
}

impl Read for Unpacker<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.read >= self.unpacked.len() && !self.block().ok_or(io::ErrorKind::InvalidData)? {
            return Ok(0);
        }
        let ready = self.unpacked.get(self.read..).unwrap_or_default();
        let count = ready.len().min(out.len());
        out[..count].copy_from_slice(&ready[..count]);
        self.read += count;
        Ok(count)
    }
}

/// The window of LZX, by its number of bits.
const fn window(bits: u16) -> Option<WindowSize> {
    Some(match bits {
        15 => WindowSize::KB32,
        16 => WindowSize::KB64,
        17 => WindowSize::KB128,
        18 => WindowSize::KB256,
        19 => WindowSize::KB512,
        20 => WindowSize::MB1,
        21 => WindowSize::MB2,
        _ => return None,
    })
}

/// Fields one behind the other, little-endian.
struct Fields<'c>(&'c [u8]);

impl<'c> Fields<'c> {
    fn new(data: &'c [u8], at: usize) -> Option<Self> {
        data.get(at..).map(Self)
    }

    fn take(&mut self, size: usize) -> Option<&'c [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Text that a NUL ends.
    fn text(&mut self) -> Option<&'c [u8]> {
        let text = names::until_nul(self.0);
        self.take(text.len() + 1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tar::tests::file as tar;
    use super::*;
    use crate::content::archive::tests::{causes, report, tree};
    use std::io::{Cursor, Write};

    /// What `makecab` makes of these files in one folder.
    fn cabinet(method: cab::CompressionType, files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = cab::CabinetBuilder::new();
        let folder = builder.add_folder(method);
        for (name, _) in files {
            folder.add_file(*name);
        }
        let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
        for (_, data) in files {
            writer.next_file().unwrap().unwrap().write_all(data).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn files_are_judged_and_containers_opened() {
        let inner = tar("evil.exe", b"MZ");
        let filler: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(n) >> 9) as u8).collect();
        for method in [cab::CompressionType::None, cab::CompressionType::MsZip] {
            let outer = cabinet(method, &[("a.txt", &filler), ("b.tar", &inner)]);
            assert_eq!(tree("x.cab", &outer), ["x.cab", " a.txt", " b.tar", "  evil.exe"]);
            assert_eq!(causes("x.dat", &outer), ["attachment.forbidden_extension x.dat/b.tar/evil.exe"]);
        }
    }

    /// A cabinet of one folder with one block, by hand.
    fn by_hand(compression: u16, name: &str, folder: u16, size: usize, block: &[u8]) -> Vec<u8> {
        let files_at = 36 + 8;
        let block_at = files_at + 16 + name.len() + 1;
        let mut out = [MARK, &[0; 12], &(files_at as u32).to_le_bytes(), &[0, 0, 0, 0, 3, 1]].concat();
        for number in [1, 1, 0, 0, 0] {
            out.extend(u16::to_le_bytes(number));
        }
        out.extend((block_at as u32).to_le_bytes());
        out.extend([1, 0]);
        out.extend(compression.to_le_bytes());
        out.extend((size as u32).to_le_bytes());
        out.extend([0; 4]);
        out.extend(folder.to_le_bytes());
        out.extend([0; 6]);
        out.extend(name.as_bytes());
        out.extend([0; 5]);
        out.extend((block.len() as u16).to_le_bytes());
        out.extend((size as u16).to_le_bytes());
        [out.as_slice(), block].concat()
    }

    /// A cabinet of so many folders, with an empty file in each.
    fn of_folders(count: u16) -> Vec<u8> {
        let mut out =
            [MARK, &[0; 12], &(36 + 8 * u32::from(count)).to_le_bytes(), &[0, 0, 0, 0, 3, 1]].concat();
        for number in [count, count, 0, 0, 0] {
            out.extend(u16::to_le_bytes(number));
        }
        out.extend([0; 8].repeat(count.into()));
        out.extend((0..count).rev().flat_map(|folder| {
            let mut file = [0; 18];
            file[8..10].copy_from_slice(&folder.to_le_bytes());
            file[16] = b'a';
            file
        }));
        out
    }

    #[test]
    fn work_grows_with_folders_and_files_not_with_their_product() {
        let work = |folders| report("x.cab", &of_folders(folders)).work;
        let (once, four_times) = (work(1000), work(4000));
        assert!(four_times <= 5 * once, "{once}, then {four_times}");
        assert_eq!(tree("x.cab", &of_folders(2)), ["x.cab", " a", " a"]);
    }

    #[test]
    fn lzx_is_unpacked() {
        let inner = tar("evil.exe", b"MZ");
        // No translation, a block that is not compressed (type 3), its size in 24 bits; then three offsets.
        let bits = 3u32 << 28 | (inner.len() as u32) << 4;
        let words = [(bits >> 16) as u16, bits as u16].map(u16::to_le_bytes).concat();
        let block = [&words, &[1, 0, 0, 0].repeat(3), &inner[..]].concat();
        let lzx = by_hand(0x0f03, "b.tar", 0, inner.len(), &block);
        assert_eq!(causes("x.cab", &lzx), ["attachment.forbidden_extension x.cab/b.tar/evil.exe"]);
    }

    #[test]
    fn the_mark_alone_makes_no_cabinet() {
        let tar = [super::super::tar::tests::file("MSCF", b"hi"), tar("evil.js", b"x")].concat();
        assert_eq!(causes("a.tar", &tar), ["attachment.forbidden_extension a.tar/evil.js"]);
        let packed = super::super::compressed::tests::gzip("", &tar);
        assert_eq!(causes("a.tgz", &packed), ["attachment.forbidden_extension a.tgz/a.tar/evil.js"]);
        let zip = super::super::tests::zip(&[("evil.js", b"x")]);
        let hidden = [MARK, &[0; 40], &zip].concat();
        assert_eq!(causes("a.dat", &hidden), ["attachment.forbidden_extension a.dat/evil.js"]);
        assert_eq!(causes("a.csv", b"MSCF,Date,Amount\r\n1,2026-11-28,2\r\n"), [""; 0]);
        // Not all readers look at what is reserved.
        let mut odd = by_hand(0, "evil.js", 0, 4, b"data");
        odd[4] = 1;
        assert_eq!(causes("a.dat", &odd), ["attachment.forbidden_extension a.dat/evil.js"]);
    }

    #[test]
    fn what_cannot_be_unpacked_is_told_by_name() {
        let quantum = 0x1472;
        assert_eq!(causes("x.cab", &by_hand(quantum, "a.txt", 0, 4, b"data")), [""; 0]);
        let expected = ["attachment.unreadable_container x.cab/b.zip"];
        assert_eq!(causes("x.cab", &by_hand(quantum, "b.zip", 0, 4, b"data")), expected);
        assert_eq!(causes("x.cab", &by_hand(0, "b.zip", CONTINUED, 4, b"data")), expected);
        assert_eq!(causes("x.cab", &by_hand(1, "b.zip", 0, 4, b"data")), expected);
        assert_eq!(causes("x.cab", b"text"), ["attachment.unreadable_container x.cab"]);
        for no_cabinet in [vec![0; 100], [&[0; 64], &by_hand(0, "a.txt", 0, 4, b"data")[..]].concat()] {
            assert_eq!(causes("x.cab", &no_cabinet), ["attachment.unreadable_container x.cab"]);
        }
        let whole = by_hand(0, "evil.exe", 9, 4, b"data");
        assert_eq!(causes("x.cab", &whole), ["attachment.forbidden_extension x.cab/evil.exe"]);
        for cut in 0..whole.len() {
            causes("x.cab", &whole[..cut]);
        }
    }
}
