//! Archives of Unix: cpio (POSIX.1-1990, and the two "new" formats of System V) and ar, the archive of libraries and of
//! Debian packages. Both are a row of headers, each with a name and the data behind it.

use super::entry::{self, Entry};
use super::names;
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::filename::end_of_name;
use crate::content::scanner::{Place, Scanner};

const AR: &[u8] = b"!<arch>\n";
const AR_HEADER: usize = 60;
const AR_END: &[u8] = b"`\n";
/// The longest path that a system takes, in bytes: the 32,767 characters of Windows.
const MAX_PATH: usize = 32 << 10;
/// What ends a cpio archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// Bits of a file's mode that tell a directory.
const TYPE: u64 = 0o170_000;
const DIRECTORY: u64 = 0o040_000;
const REGULAR: u64 = 0o100_000;
const PERMISSIONS: u64 = 0o7777;

/// Whether a file begins as an ar archive.
pub(super) fn is_ar(data: &[u8]) -> bool {
    data.starts_with(AR)
}

/// Whether a file begins with the header of a cpio archive in one of its formats, which digits in a text may look like. A NUL
/// ends the name in it; where that is missing or not at hand, the first file must be a regular one.
pub(super) fn is_cpio(data: &[u8]) -> bool {
    CpioHeader::read(data).is_some_and(|header| {
        let end = header.length.saturating_add(header.name_size);
        header.name_size > 0 && data.get(end - 1) == Some(&0) || header.mode & !PERMISSIONS == REGULAR
    })
}

/// A file in such an archive, and where the next header stands.
struct Member<'a> {
    name: &'a [u8],
    is_directory: bool,
    data: &'a [u8],
    /// Whether the data are there to their end.
    is_whole: bool,
    next: usize,
}

/// Looks into the ar archive `data`, whose files are in `place`.
pub(super) fn scan_ar(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let mut long_names: &[u8] = &[];
    let mut at = AR.len();
    let mut is_whole = is_ar(data);
    while is_whole && at < data.len() {
        let Some(mut member) = ar_member(data, at) else {
            is_whole = false;
            break;
        };
        at = member.next;
        is_whole = member.is_whole;
        match member.name {
            b"//" => long_names = member.data,
            b"/" | b"/SYM64/" | b"__.SYMDEF" => {}
            name => {
                if let Some(long) = long_name(name, long_names) {
                    scanner.budget.work(long.len() as u64)?;
                    member.name = long;
                } else if let Some(length) = number(name.strip_prefix(b"#1/").unwrap_or_default(), 10) {
                    // BSD: the name is the beginning of the data.
                    let length = usize::try_from(length).unwrap_or(usize::MAX).min(member.data.len());
                    (member.name, member.data) = member.data.split_at(length);
                }
                member.name = member.name.strip_suffix(b"/").unwrap_or(member.name);
                file(scanner, place, &member)?;
            }
        }
    }
    if !is_whole {
        scanner.unreadable_in(place);
    }
    Ok(())
}

fn ar_member(data: &[u8], at: usize) -> Option<Member<'_>> {
    let header = data.get(at..at + AR_HEADER)?.strip_suffix(AR_END)?;
    let size = usize::try_from(number(header[48..58].trim_ascii_end(), 10)?).ok()?;
    let start = at + AR_HEADER;
    let end = start.saturating_add(size).min(data.len());
    Some(Member {
        name: header[..16].trim_ascii_end(),
        is_directory: false,
        data: &data[start..end],
        is_whole: end - start == size,
        next: end.next_multiple_of(2),
    })
}

/// The name that `/123` stands for, which the table of long names has at that place.
fn long_name<'a>(name: &[u8], table: &'a [u8]) -> Option<&'a [u8]> {
    let at = usize::try_from(number(name.strip_prefix(b"/")?, 10)?).ok()?;
    let rest = table.get(at..)?;
    let rest = &rest[..rest.len().min(MAX_PATH)];
    Some(&rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())])
}

/// Looks into the cpio archive `data`, whose files are in `place`.
pub(super) fn scan_cpio(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let mut at = 0;
    let is_whole = loop {
        let Some(member) =
            data.get(at..).and_then(CpioHeader::read).and_then(|header| header.member(data, at))
        else {
            break false;
        };
        if member.name == TRAILER {
            break true;
        }
        if !member.is_directory {
            file(scanner, place, &member)?;
        }
        scanner.budget.work(AR_HEADER as u64)?;
        if !member.is_whole {
            break false;
        }
        at = member.next;
    };
    if !is_whole {
        scanner.unreadable_in(place);
    }
    Ok(())
}

struct CpioHeader {
    length: usize,
    /// What name and data are padded to.
    align: usize,
    mode: u64,
    name_size: usize,
    size: usize,
}

impl CpioHeader {
    fn read(data: &[u8]) -> Option<Self> {
        let header = |length, align, mode, name_size, size| {
            let [name_size, size] =
                [name_size, size].map(|number: Option<u64>| usize::try_from(number?).ok());
            Some(Self { length, align, mode: mode?, name_size: name_size?, size: size? })
        };
        let field = |from: usize, digits: usize, radix| number(data.get(from..from + digits)?, radix);
        let word =
            |at: usize| data.get(at..at + 2).map(|pair| u64::from(u16::from_le_bytes([pair[0], pair[1]])));
        match data {
            [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => {
                header(110, 4, field(14, 8, 16), field(94, 8, 16), field(54, 8, 16))
            }
            [b'0', b'7', b'0', b'7', b'0', b'7', ..] => {
                header(76, 1, field(18, 6, 8), field(59, 6, 8), field(65, 11, 8))
            }
            // The oldest, in words; the size in two of them, the higher first.
            [0xc7, 0x71, ..] => {
                let size = word(22).and_then(|high| Some(high << 16 | word(24)?));
                header(26, 2, word(6), word(20).filter(|size| (2..1024).contains(size)), size)
            }
            _ => None,
        }
    }

    fn member(self, data: &[u8], at: usize) -> Option<Member<'_>> {
        let name_at = at.checked_add(self.length)?;
        let name_end = name_at.checked_add(self.name_size)?;
        let name = data.get(name_at..name_end)?;
        let start = at + (name_end - at).next_multiple_of(self.align);
        let end = start.saturating_add(self.size).min(data.len());
        Some(Member {
            name: end_of_name(names::until_nul(name)),
            is_directory: self.mode & TYPE == DIRECTORY,
            data: data.get(start..end).unwrap_or_default(),
            is_whole: start.checked_add(self.size) == Some(end),
            next: at + (end - at.min(end)).next_multiple_of(self.align),
        })
    }
}

fn file(scanner: &mut Scanner<'_>, place: &Place, member: &Member<'_>) -> Result<(), Exceeded> {
    scanner.budget.entry()?;
    let names = names::readings(end_of_name(member.name));
    let size = member.data.len() as u64;
    let entry = Entry { names: &names, size, is_encrypted: false, view: View::Entry };
    entry::scan(scanner, place, &entry, Some(&mut &*member.data)).map(drop)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tar::tests::file as tar;
    use super::*;
    use crate::content::archive::tests::{causes, report, tree};
    use crate::reason::Reason;

    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = AR.to_vec();
        for (name, data) in members {
            out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, data.len()).bytes());
            out.extend(*data);
            out.resize(out.len().next_multiple_of(2), b'\n');
        }
        out
    }

    /// In the new format, without and with checksums, and in the old one.
    fn cpio(format: &str, members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, data) in members.iter().chain([&("TRAILER!!!", &b""[..])]) {
            let (name_size, size) = (name.len() + 1, data.len());
            if format == "070707" {
                out.extend(format!("070707{:06o}{:06o}{:06o}{:06o}{:06o}{:06o}{:06o}{:011o}{name_size:06o}{size:011o}{name}\0", 0, 1, 0o100_644, 0, 0, 1, 0, 0).bytes());
                out.extend(*data);
                continue;
            }
            let zeros = "0".repeat(8 * 4);
            out.extend(
                format!(
                    "{format}{:08x}{:08x}{}{:08x}{size:08x}{zeros}{name_size:08x}{:08x}{name}\0",
                    1,
                    0o100_644,
                    "0".repeat(24),
                    0,
                    0
                )
                .bytes(),
            );
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend(*data);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    #[test]
    fn files_are_judged_and_containers_opened() {
        let inner = tar("evil.exe", b"MZ");
        let members = [("a.txt", &b"text"[..]), ("b.tar", &inner)];
        for archive in
            [ar(&members), cpio("070701", &members), cpio("070702", &members), cpio("070707", &members)]
        {
            assert_eq!(tree("x", &archive), ["x", " a.txt", " b.tar", "  evil.exe"]);
            assert_eq!(causes("x", &archive), ["attachment.forbidden_extension x/b.tar/evil.exe"]);
            for cut in 0..archive.len() {
                causes("x", &archive[..cut]);
            }
        }
    }

    #[test]
    fn digits_are_no_cpio() {
        let digits = "1234567890".repeat(12);
        for mark in ["070701", "070702", "070707"] {
            assert_eq!(causes("hash.csv", format!("{mark}{digits}\r\n").repeat(5).as_bytes()), [""; 0]);
            assert_eq!(causes("a.csv", format!("{mark}{}", "0".repeat(500)).as_bytes()), [""; 0]);
        }
        // Not all that read cpio want the NUL.
        let without_nul = String::from_utf8(cpio("070701", &[("evil.js", b"x")])).unwrap();
        let without_nul = without_nul.replacen("evil.js\0", "/evil.js", 1);
        assert_eq!(
            causes("a.dat", without_nul.as_bytes()),
            ["attachment.forbidden_extension a.dat//evil.js"]
        );
    }

    #[test]
    fn long_names_of_ar_are_found() {
        let table = ("//", &b"a_long_name.txt/\nevil.exe/\n"[..]);
        for archive in
            [ar(&[table, ("/17", b"x")]), ar(&[("#1/8", b"evil.exeMZ")]), ar(&[("evil.exe/", b"x")])]
        {
            assert_eq!(causes("x", &archive), ["attachment.forbidden_extension x/evil.exe"]);
        }
    }

    #[test]
    fn long_names_of_ar_are_read_no_further_than_a_path_goes() {
        let table = "d/".repeat(20_000);
        assert_eq!(long_name(b"/2", table.as_bytes()).map(<[u8]>::len), Some(MAX_PATH));
        assert_eq!(long_name(b"/39999", table.as_bytes()), Some(&b"/"[..]));
        assert_eq!(long_name(b"/40001", table.as_bytes()), None);
        let path = format!("{}evil.exe/\n", "d/".repeat(2_000));
        let found = report("x", &ar(&[("//", path.as_bytes()), ("/0", b"x")])).found;
        assert_eq!(found[0].reason, Reason::AttachmentForbiddenExtension);
        let one = report("x", &ar(&[("//", table.as_bytes()), ("/0", b"x")])).work;
        let two = report("x", &ar(&[("//", table.as_bytes()), ("/0", b"x"), ("/0", b"x")])).work;
        assert!(two >= one + MAX_PATH as u64, "each time is paid for");
    }

    #[test]
    fn what_breaks_off_is_unreadable() {
        let members = [("a.txt", &b"some text"[..])];
        for archive in [ar(&members), cpio("070701", &members), cpio("070707", &members)] {
            assert_eq!(causes("x", &archive), [""; 0]);
            assert_eq!(causes("x", &archive[..archive.len() - 20]).len(), 1);
        }
        assert_eq!(causes("x.cpio", b"text"), ["attachment.unreadable_container x.cpio"]);
    }
}
