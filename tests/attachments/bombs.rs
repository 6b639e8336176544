//! Messages that are small and ask for much: each ends with the right cause after bounded work. What they take of the processor and of
//! memory is measured by `benches/bombs.rs`, for which the tests have no clock.

use std::io::Write;

use greylag::reason::Reason;

use crate::build::{attachment, base64, mail, ole, zip};
use crate::generator::archives::{bz2, gz, lzma, rar4, sevenz_by, sevenz_file, sevenz_streams, tar, xz};
use crate::generator::carriers::{nested_tnef, tnef_of};
use crate::generator::quine::quine;
use crate::generator::zips::{Entry, archive, overlapping, with_sizes};

/// A message, and what it is refused for.
pub(crate) struct Bomb {
    pub(crate) what: &'static str,
    pub(crate) mail: Vec<u8>,
    /// `None` where nothing is wrong with it but that it is large.
    pub(crate) cause: Option<Reason>,
}

/// What a bomb is called, what makes it, and its cause.
type Maker = (&'static str, fn() -> Vec<u8>, Option<Reason>);

/// All bombs. They are made one by one, as some are large.
pub(crate) fn all() -> impl Iterator<Item = Bomb> {
    let makers: [Maker; 58] = [
        ("zeros in a zip in a zip", zeros_in_zip, Some(Reason::AttachmentLimitBytes)),
        ("zeros in a zip", || of("a.zip", &zip(&[("zeros.txt", &zeros(100))])), None),
        ("quine", || of("a.zip", &quine()), Some(Reason::AttachmentLimitDepth)),
        ("42.zip", || of("42.zip", &forty_two()), Some(Reason::AttachmentLimitBytes)),
        ("overlapping entries", || of("a.zip", &overlapping(2_000)), Some(Reason::AttachmentZipOverlap)),
        ("size lie", || of("a.zip", &size_lie()), Some(Reason::AttachmentLimitBytes)),
        ("65,535 entries", || of("a.zip", &many_entries(65_535)), Some(Reason::AttachmentLimitEntries)),
        (
            "zips one in the other, 100 deep",
            || of("a.zip", &deep_zip(100)),
            Some(Reason::AttachmentLimitDepth),
        ),
        ("zip of 1,000 zips", || of("a.zip", &many_zips(1_000)), None),
        (
            "zip signatures",
            || of("a.zip", &b"PK\x03\x04".repeat(1 << 20)),
            Some(Reason::AttachmentLimitEntries),
        ),
        (
            "zip end records",
            || of("a.zip", &b"PK\x05\x06".repeat(1 << 20)),
            Some(Reason::AttachmentUnreadableContainer),
        ),
        ("zeros in gz", || of("a.tar.gz", &gz(None, &zeros(100))), Some(Reason::AttachmentLimitBytes)),
        ("gz in gz in gz", || of("a.gz", &deep_gz(100)), Some(Reason::AttachmentLimitDepth)),
        ("zeros in bz2", || of("a.tar.bz2", &bz2(&zeros(1)).repeat(100)), Some(Reason::AttachmentLimitBytes)),
        ("zeros in xz", || of("a.tar.xz", &xz(&zeros(1)).repeat(100)), Some(Reason::AttachmentLimitBytes)),
        ("zeros in lzma", || of("a.tar.lzma", &lzma(&zeros(100))), Some(Reason::AttachmentLimitBytes)),
        ("zeros in zst", || of("a.tar.zst", &zst_of_zeros(8_000)), Some(Reason::AttachmentLimitBytes)),
        (
            "100,000 gz in one",
            || of("a.tar.gz", &gz(None, b"").repeat(100_000)),
            Some(Reason::AttachmentLimitBytes),
        ),
        (
            "100,000 bz2 in one",
            || of("a.tar.bz2", &bz2(b"").repeat(100_000)),
            Some(Reason::AttachmentLimitBytes),
        ),
        (
            "100,000 zst in one",
            || of("a.tar.zst", &EMPTY_ZSTD.repeat(100_000)),
            Some(Reason::AttachmentLimitBytes),
        ),
        (
            "50,000 lz in one",
            || of("a.tar.lz", &EMPTY_LZIP.repeat(50_000)),
            Some(Reason::AttachmentLimitBytes),
        ),
        ("20,000 xz in one", || of("a.tar.xz", &xz(b"").repeat(20_000)), None),
        ("zeros in lz4", || of("a.tar.lz4", &lz4_of_zeros(100)), Some(Reason::AttachmentLimitBytes)),
        ("xz in xz, each with 64 MiB", || of("a.xz", &deep_xz(7)), None),
        ("7z in 7z, each with 64 MiB", || of("a.7z", &deep_sevenz(8)), Some(Reason::AttachmentLimitBytes)),
        (
            "compound file that leads back",
            || of("a.doc", &looped()),
            Some(Reason::AttachmentUnreadableContainer),
        ),
        (
            "signatures of 7z and RAR",
            || of("a.dat", &b"text 7z\xbc\xaf\x27\x1cRar!\x1a\x07\x01\0".repeat(200_000)),
            None,
        ),
        ("long first headers of RAR", || of("a.dat", &long_rar_headers(4)), None),
        (
            "long first headers of RAR in a zip",
            || of("a.zip", &zip(&[("b.zip", &[zip(&[("a.txt", b"x")]), long_rar_headers(4)].concat())])),
            None,
        ),
        (
            "AppleDouble of 65,535 names",
            || of("a.dat", &many_in_apple(65_535)),
            Some(Reason::AttachmentUnreadableContainer),
        ),
        (
            "objects in RTF",
            || of("a.rtf", &[b"{\\rtf", b"\\objdata{".repeat(200_000).as_slice()].concat()),
            None,
        ),
        (
            "7z with a dictionary of 4 GiB",
            || of("a.7z", &greedy_sevenz()),
            Some(Reason::AttachmentUnreadableContainer),
        ),
        ("7z of very many files", || of("a.7z", &boastful_sevenz()), Some(Reason::AttachmentLimitEntries)),
        ("tar of 60,000 files", || of("a.tar", &many_in_tar(60_000)), Some(Reason::AttachmentLimitEntries)),
        (
            "cpio of 65,535 files",
            || of("a.cpio", &many_in_cpio(65_535)),
            Some(Reason::AttachmentLimitEntries),
        ),
        ("RTF of 100,000 files", || of("a.rtf", &many_in_rtf(100_000)), Some(Reason::AttachmentLimitEntries)),
        ("PDF of strings one in the other", || of("a.pdf", &strings_in_pdf(300_000)), None),
        ("ar whose names do not end", || of("a.a", &endless_in_ar(10_000)), None),
        (
            "cab of 65,535 folders and files",
            || of("a.cab", &many_in_cab(65_535)),
            Some(Reason::AttachmentLimitEntries),
        ),
        ("PDF of 100,000 files", || of("a.pdf", &many_in_pdf(100_000)), Some(Reason::AttachmentLimitEntries)),
        ("RAR of 60,000 files", || of("a.rar", &many_in_rar(60_000)), Some(Reason::AttachmentLimitEntries)),
        ("TNEF, 1,000 deep", || of("winmail.dat", &nested_tnef(1_000)), Some(Reason::AttachmentLimitDepth)),
        ("TNEF of very many attributes", || of("winmail.dat", &tnef_of("a.txt", b"x").repeat(50_000)), None),
        ("20,000 parts", || mail(&vec!["\r\nx".to_owned(); 20_000]), Some(Reason::AttachmentLimitEntries)),
        ("40,000 messages", || MESSAGE.repeat(40_000).into_bytes(), Some(Reason::AttachmentLimitDepth)),
        ("10,000 multiparts", multiparts, Some(Reason::AttachmentLimitDepth)),
        ("header of 2.5 MB", || header("X-Long: ", "word ", 2_500_000), None),
        ("200,000 parameters", || parameters(|n| format!("; f{n}*1=x")), None),
        ("200,000 pieces of a name", || parameters(|n| format!("; filename*{n}=x")), None),
        (
            "100,000 encoded words",
            || header("Content-Disposition: attachment; filename=\"", "=?utf-8?Q?a?= ", 1_400_000),
            None,
        ),
        (
            "1 MB of fields",
            || header("Subject: x\r\n", "Content-Type: text/plain; name=a.txt\r\n", 1_000_000),
            None,
        ),
        ("1 MB of tags", || header("Content-Type: text/html\r\n\r\n", "<", 1_000_000), None),
        ("1 MB of names of fields", || header("Subject: x\r\n\r\n", "Content-\r\n", 1_000_000), None),
        (
            "beginnings of programs in a script",
            || header("Content-Type: text/html\r\n\r\n[", "77,90,", 1_000_000),
            None,
        ),
        (
            "programs in a script",
            || header("Content-Type: text/html\r\n\r\n[", &program_in_numbers(), 1_000_000),
            Some(Reason::AttachmentForbiddenType),
        ),
        (
            "pages in scripts of pages",
            || header("Content-Type: text/html\r\n\r\n", &deep_scripts(20), 1_000_000),
            Some(Reason::AttachmentLimitDepth),
        ),
        ("pages in pages", || of("a.zip", &deep_pages(20)), Some(Reason::AttachmentLimitDepth)),
        (
            "uuencoded files without end",
            || header("Subject: x\r\n\r\n", "begin 644 a.txt\r\n", 2_000_000),
            None,
        ),
    ];
    makers.into_iter().map(|(what, make, cause)| Bomb { what, mail: make(), cause })
}

const MESSAGE: &str = "Content-Type: message/rfc822\r\n\r\n";

fn of(name: &str, data: &[u8]) -> Vec<u8> {
    mail(&[attachment(name, data)])
}

fn zeros(mebibytes: usize) -> Vec<u8> {
    vec![0; mebibytes << 20]
}

fn zeros_in_zip() -> Vec<u8> {
    let inner = archive(&[Entry::stored("zeros.txt", &zeros(100))]);
    of("a.zip", &zip(&[("b.zip", &inner)]))
}

/// Sixteen zips in each of sixteen, five levels deep: a million of them, and a file of zeros in each.
fn forty_two() -> Vec<u8> {
    (0..5).fold(zip(&[("0.dll.txt", &zeros(4))]), |inner, level| {
        let names: Vec<String> = (0..16).map(|n| format!("lib {level}{n}.zip")).collect();
        let entries: Vec<(&str, &[u8])> =
            names.iter().map(|name| (name.as_str(), inner.as_slice())).collect();
        zip(&entries)
    })
}

/// An archive that is said to be ten bytes long and is 256 MiB.
fn size_lie() -> Vec<u8> {
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let block = zeros(1);
    deflated.write_all(b"PK\x03\x04").unwrap();
    for _ in 0..256 {
        deflated.write_all(&block).unwrap();
    }
    with_sizes("b.zip", &deflated.finish().unwrap(), 8, 10)
}

fn many_entries(count: usize) -> Vec<u8> {
    archive(&(0..count).map(|n| Entry::stored(&format!("{n}.txt"), b"x")).collect::<Vec<_>>())
}

/// Nothing, as zstd and lzip write it.
const EMPTY_ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x24\0\x01\0\0\x99\xe9\xd8\x51";
const EMPTY_LZIP: &[u8] =
    b"LZIP\x01\x0c\0\x83\xff\xfb\xff\xff\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x24\0\0\0\0\0\0\0";

/// Marks of RAR 5, each before a header of 2 MiB that is said to be sealed.
fn long_rar_headers(mebibytes: usize) -> Vec<u8> {
    let mark = b"Rar!\x1a\x07\x01\0abcd\x80\x80\x80\x01";
    [b"text", mark.repeat((mebibytes << 20) / mark.len()).as_slice()].concat()
}

/// A compound file whose largest stream is a ring of sectors.
fn looped() -> Vec<u8> {
    let mut file = ole("/CONTENTS", &[7; 64 << 10]);
    let is_next = |at: usize, number: u32| file.get(at..at + 4) == Some(&number.to_le_bytes()[..]);
    let ends: Vec<usize> = (4..file.len())
        .filter(|at| is_next(*at, u32::MAX - 1) && (3..200).any(|next| is_next(at - 4, next)))
        .collect();
    for at in ends {
        file[at..at + 4].copy_from_slice(&4u32.to_le_bytes());
    }
    file
}

fn many_zips(count: usize) -> Vec<u8> {
    let inner = zip(&[("a.txt", b"x")]);
    archive(&(0..count).map(|n| Entry::stored(&format!("{n}.zip"), &inner)).collect::<Vec<_>>())
}

fn deep_zip(levels: usize) -> Vec<u8> {
    (0..levels).fold(zip(&[("a.txt", b"x")]), |inner, _| archive(&[Entry::stored("a.zip", &inner)]))
}

fn deep_gz(levels: usize) -> Vec<u8> {
    (0..levels).fold(b"hello".to_vec(), |inner, _| gz(None, &inner))
}

/// Blocks of one repeated byte, 128 KiB from four bytes each (RFC 8878, section 3.1.1.2).
fn zst_of_zeros(blocks: u32) -> Vec<u8> {
    let mut out = b"\x28\xb5\x2f\xfd\x00\x58".to_vec();
    for block in 1..=blocks {
        let header = (128 << 10) << 3 | 1 << 1 | u32::from(block == blocks);
        out.extend(&header.to_le_bytes()[..3]);
        out.push(0);
    }
    out
}

fn lz4_of_zeros(mebibytes: usize) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    let block = zeros(1);
    for _ in 0..mebibytes {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

/// Each of which asks for the largest dictionary, though it is short.
fn deep_xz(levels: usize) -> Vec<u8> {
    (0..levels).fold(b"hello".to_vec(), |inner, _| {
        let mut options = lzma_rust2::XzOptions::with_preset(0);
        options.lzma_options.dict_size = 64 << 20;
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        encoder.write_all(&inner).unwrap();
        encoder.finish().unwrap()
    })
}

fn deep_sevenz(levels: usize) -> Vec<u8> {
    (0..levels).fold(b"hello".to_vec(), |inner, _| {
        // LZMA2, whose property 0x1c is a dictionary of 64 MiB; its chunks of bytes as they are hold up to 64 KiB.
        let mut packed = Vec::new();
        for chunk in inner.chunks(1 << 16) {
            packed.push(1);
            packed.extend(u16::try_from(chunk.len() - 1).unwrap().to_be_bytes());
            packed.extend(chunk);
        }
        packed.push(0);
        sevenz_by("a.7z", &inner, &packed, &[0x21, 0x21, 1, 0x1c])
    })
}

fn many_in_cpio(count: usize) -> Vec<u8> {
    let file = |name: &str| {
        let zeros = "0".repeat(96);
        let mut out = format!("070701{}{:08x}{:08x}{name}\0", &zeros[..88], name.len() + 1, 0).into_bytes();
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    [file("a.txt").repeat(count), file("TRAILER!!!")].concat()
}

/// Entries for the name that all lead to the same bytes (RFC 1740, appendix A), in no encoding but the old ones.
fn many_in_apple(count: u16) -> Vec<u8> {
    let at = 26 + 12 * u32::from(count);
    let entry = [3, at, 1024].map(u32::to_be_bytes).concat();
    let header = [b"\0\x05\x16\x07\0\x02\0\0".as_slice(), &[0; 16], &count.to_be_bytes()].concat();
    [header, entry.repeat(count.into()), vec![0xb0; 1024]].concat()
}

fn many_in_rtf(count: usize) -> Vec<u8> {
    let package = "01050000020000000800000050616368616765000000000000000000300000000200612e7478740000";
    let package = package.replace("50616368616765", "5061636b616765");
    format!("{{\\rtf1{}}}", format!("{{\\objdata {package}}}").repeat(count)).into_bytes()
}

fn many_in_pdf(count: usize) -> Vec<u8> {
    format!("%PDF-1.7\n{}<</Type/EmbeddedFile>>", "<</F(a.txt)>>".repeat(count)).into_bytes()
}

fn strings_in_pdf(count: usize) -> Vec<u8> {
    format!("%PDF-1.7/EmbeddedFile{}", "/F(".repeat(count)).into_bytes()
}

/// Files whose names all stand at the beginning of a table without a line end.
fn endless_in_ar(count: usize) -> Vec<u8> {
    let file = |name: &str, size: usize| format!("{name:<16}{:<32}{size:<10}`\n", 0).into_bytes();
    let table = vec![b'x'; 500_000];
    [b"!<arch>\n".to_vec(), file("//", table.len()), table, file("/0", 0).repeat(count)].concat()
}

/// All its files are empty and lie in the last of its folders.
fn many_in_cab(count: u16) -> Vec<u8> {
    let header =
        [b"MSCF".as_slice(), &[0; 12], &(36 + 8 * u32::from(count)).to_le_bytes(), &[0, 0, 0, 0, 3, 1]];
    let counts = [count, count, 0, 0, 0].map(u16::to_le_bytes).concat();
    let file = [&[0; 8], (count - 1).to_le_bytes().as_slice(), b"\0\0\0\0\0\0a\0"].concat();
    let count = usize::from(count);
    [header.concat(), counts, vec![0; 8 * count], file.repeat(count)].concat()
}

/// The shortest that passes for a program, and a quote behind it.
fn program_in_numbers() -> String {
    let mut program = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0\0\0".to_vec();
    program.resize(64, 0);
    let numbers: Vec<String> = program.iter().map(u8::to_string).collect();
    format!("{}]\"[", numbers.join(","))
}

/// A page whose script writes a page, and so on.
fn deep_scripts(levels: usize) -> String {
    (0..levels).fold("<html>hello".to_owned(), |inner, _| {
        format!("<html><script>atob('{}')", base64(inner.as_bytes()).replace("\r\n", ""))
    })
}

/// A zip of a page that holds a zip of a page, and so on.
fn deep_pages(levels: usize) -> Vec<u8> {
    (0..levels).fold(zip(&[("a.txt", b"hello")]), |inner, _| {
        let page = format!("<script>atob('{}')", base64(&inner).replace("\r\n", ""));
        zip(&[("a.html", page.as_bytes())])
    })
}

fn greedy_sevenz() -> Vec<u8> {
    let coder = [0x23, 3, 1, 1, 5, 0x5d, 0xff, 0xff, 0xff, 0xff];
    sevenz_file(&[0; 64], &[vec![0x17], sevenz_streams(0, 64, &coder, 1_000, Some(7))].concat())
}

/// A header that says there were 2^56 files.
fn boastful_sevenz() -> Vec<u8> {
    sevenz_file(b"", &[1, 5, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0])
}

fn many_in_tar(count: usize) -> Vec<u8> {
    let one = tar("a.txt", b"");
    [one[..512].repeat(count), vec![0; 1024]].concat()
}

fn many_in_rar(count: usize) -> Vec<u8> {
    let one = rar4("a.txt", b"", 0x8000);
    let (start, end) = (7 + 13, one.len() - 7);
    [&one[..start], &one[start..end].repeat(count), &one[end..]].concat()
}

fn multiparts() -> Vec<u8> {
    let level = |n: usize| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
    (0..10_000).map(level).collect::<String>().into_bytes()
}

fn header(start: &str, unit: &str, size: usize) -> Vec<u8> {
    format!("{start}{}\r\n\r\nx", unit.repeat(size / unit.len())).into_bytes()
}

fn parameters(parameter: impl Fn(usize) -> String) -> Vec<u8> {
    let all: String = (0..200_000).map(parameter).collect();
    format!("Content-Disposition: attachment{all}\r\n\r\nx").into_bytes()
}

/// Work that any message may take under the default settings: what is inflated (64 MiB), what came, and what its nodes cost. The
/// budget allows more; no bomb here needs it.
#[cfg(test)]
fn fair_work(size: usize) -> u64 {
    8 * (size as u64 + (64 << 20)) + 60_000 * 4096
}

#[test]
fn each_bomb_ends_with_its_cause_after_bounded_work() {
    let mut wrong = Vec::new();
    for Bomb { what, mail, cause } in all() {
        let report = crate::build::scan(&mail);
        let mut causes: Vec<Reason> = report.found.iter().map(|found| found.reason).collect();
        causes.dedup();
        let is_right = cause.map_or(causes.is_empty(), |cause| causes.contains(&cause));
        if !is_right || report.work > fair_work(mail.len()) {
            wrong.push(format!(
                "{what}: {causes:?}, expected {cause:?}; {} of work for {} bytes",
                report.work,
                mail.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
