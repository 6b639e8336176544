//! Containers other than messages: what tells them, and one file for each kind that can be read.

pub(super) mod zip;

use super::{Kind, filename};

/// Bytes of a file that tell what it is.
pub(super) const PREFIX: usize = 512;

/// Extensions of attached messages.
const MESSAGES: [&str; 4] = ["eml", "mht", "mhtml", "mim"];

/// Extensions of archives of every kind, readable here or not: what is in one inside an encrypted archive,
/// nobody can tell.
const ARCHIVES: [&str; 29] = [
    "zip", "zipx", "jar", "rar", "7z", "tar", "tgz", "tbz", "tbz2", "txz", "tzst", "gz", "bz2", "xz", "zst",
    "lzma", "z", "cab", "arj", "lzh", "lha", "ace", "alz", "egg", "iso", "eml", "msg", "tnef", "wim",
];

/// Fields that a message begins with, in lower case. Those of MIME alone tell a message from a quoted letterhead.
const MIME_FIELDS: [&[u8]; 4] =
    [b"mime-version:", b"content-type:", b"content-disposition:", b"content-transfer-encoding:"];

/// What kind of container a file is, by name and content.
pub(super) fn kind(name: &str, data: &[u8], is_message: bool) -> Kind {
    let begins = prefix(data);
    if zip::begins(begins) || zip::is_named(name) {
        Kind::Zip
    } else if is_message || is_message_name(name) || looks_like_message(begins) {
        Kind::Message
    } else if zip::is_embedded(data) {
        Kind::Zip
    } else {
        Kind::File
    }
}

/// What kind of container an archive entry is, by name and first bytes; its content is not inflated to find out.
pub(super) fn kind_of_entry(name: &str, begins: &[u8]) -> Kind {
    if zip::begins(begins) || zip::is_named(name) {
        Kind::Zip
    } else if is_message_name(name) || looks_like_message(begins) {
        Kind::Message
    } else {
        Kind::File
    }
}

/// The first bytes of a file.
pub(super) fn prefix(data: &[u8]) -> &[u8] {
    &data[..data.len().min(PREFIX)]
}

/// Whether the name is that of an archive or an attached message.
pub(super) fn is_archive_name(name: &str) -> bool {
    ARCHIVES.contains(&filename::extension(name).as_str())
}

fn is_message_name(name: &str) -> bool {
    MESSAGES.contains(&filename::extension(name).as_str())
}

/// Whether a file begins with header fields, MIME's among them.
fn looks_like_message(begins: &[u8]) -> bool {
    let mut lines = begins.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let is_field = |line: &[u8]| {
        let name = line.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        name > 1 && line[name..].trim_ascii_start().starts_with(b":")
    };
    let header = || {
        begins.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty())
    };
    let is_mime = |line: &[u8]| MIME_FIELDS.iter().any(|field| line.to_ascii_lowercase().starts_with(field));
    lines.next().is_some_and(is_field) && header().any(is_mime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_by_name_or_content() {
        for (name, data, expected) in [
            ("a.zip", &b"anything"[..], Kind::Zip),
            ("a.txt", b"PK\x03\x04...", Kind::Zip),
            ("a.txt", b"PK\x05\x06...", Kind::Zip),
            ("a.txt", b"PK00PK\x03\x04...", Kind::Zip),
            ("a.jpg", b"\xff\xd8...PK\x01\x02...PK\x05\x06...", Kind::Zip),
            ("a.txt", b"PK is short for Phil Katz", Kind::File),
            ("a.eml", b"", Kind::Message),
            ("a", b"From: a@b\r\nContent-Type: text/plain\r\n\r\nx", Kind::Message),
            ("a", b"MIME-Version: 1.0\n\nx", Kind::Message),
            ("a", b"From: a@b\r\nTo: c@d\r\n\r\nContent-Type: x", Kind::File),
            ("a", b"Dear all,\r\nContent-Type: text/plain\r\n", Kind::File),
            ("a", b"", Kind::File),
        ] {
            assert_eq!(kind(name, data, false), expected, "{name} {}", data.escape_ascii());
        }
        assert_eq!(kind("a", b"x", true), Kind::Message);
        assert!(is_archive_name("B.RAR. "));
        assert!(!is_archive_name("letter.docx"));
    }
}
