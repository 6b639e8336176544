//! Containers other than messages: what tells them, and one file for each kind that can be read.

pub(super) mod zip;

use super::Kind;

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

/// What kind of container a file is, by its name's extension and its content.
pub(super) fn kind(extension: &str, data: &[u8], is_message: bool) -> Kind {
    match kind_of_entry(extension, prefix(data)) {
        Kind::File if is_message => Kind::Message,
        Kind::File if zip::is_embedded(data) => Kind::Zip,
        kind => kind,
    }
}

/// What kind of container an archive entry is, by its name's extension and its first bytes.
fn kind_of_entry(extension: &str, begins: &[u8]) -> Kind {
    if zip::begins(begins) || zip::is_extension(extension) {
        Kind::Zip
    } else if MESSAGES.contains(&extension) || looks_like_message(begins) {
        Kind::Message
    } else {
        Kind::File
    }
}

/// The first bytes of a file.
pub(super) fn prefix(data: &[u8]) -> &[u8] {
    &data[..data.len().min(PREFIX)]
}

/// Whether the extension is that of an archive or an attached message.
fn is_archive(extension: &str) -> bool {
    ARCHIVES.contains(&extension)
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
        for (extension, data, expected) in [
            ("zip", &b"anything"[..], Kind::Zip),
            ("txt", b"PK\x03\x04...", Kind::Zip),
            ("txt", b"PK\x05\x06...", Kind::Zip),
            ("txt", b"PK00PK\x03\x04...", Kind::Zip),
            ("jpg", b"\xff\xd8...PK\x01\x02...PK\x05\x06...", Kind::Zip),
            ("txt", b"PK is short for Phil Katz", Kind::File),
            ("eml", b"", Kind::Message),
            ("", b"From: a@b\r\nContent-Type: text/plain\r\n\r\nx", Kind::Message),
            ("", b"MIME-Version: 1.0\n\nx", Kind::Message),
            ("", b"From: a@b\r\nTo: c@d\r\n\r\nContent-Type: x", Kind::File),
            ("", b"Dear all,\r\nContent-Type: text/plain\r\n", Kind::File),
            ("", b"", Kind::File),
        ] {
            assert_eq!(kind(extension, data, false), expected, "{extension} {}", data.escape_ascii());
        }
        assert_eq!(kind("txt", b"x", true), Kind::Message);
        assert_eq!(kind("zip", b"x", true), Kind::Zip);
    }
}
