//! Messages and archives, built for the tests.

use std::io::{Cursor, Write};

use greylag::checks::AttachmentSettings;
use greylag::content::{self, Cancel, Report};
use greylag::facts::Message;
use greylag::reason::Reason;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Scans a message file under the default settings.
pub(crate) fn scan(mail: &[u8]) -> Report {
    scan_with(mail, &AttachmentSettings::default())
}

pub(crate) fn scan_with(mail: &[u8], settings: &AttachmentSettings) -> Report {
    content::scan(&Message::from_bytes(mail), settings, &Cancel::default())
}

/// The causes and paths of a report, in order.
pub(crate) fn found(report: &Report) -> Vec<(Reason, &str)> {
    report.found.iter().map(|found| (found.reason, found.path.as_str())).collect()
}

/// The causes and paths found in a message with one attachment.
pub(crate) fn found_in(name: &str, data: &[u8]) -> Vec<(Reason, String)> {
    let report = scan(&mail(&[attachment(name, data)]));
    report.found.into_iter().map(|found| (found.reason, found.path)).collect()
}

/// A zip of deflated entries.
pub(crate) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zip_by(CompressionMethod::Deflated, entries)
}

pub(crate) fn zip_by(method: CompressionMethod, entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in entries {
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(*name, options).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// `evil.exe` in `levels` zips, `1.zip` the innermost.
pub(crate) fn nested_zip(levels: usize) -> Vec<u8> {
    nested_zip_of(levels, "evil.exe", b"MZ")
}

pub(crate) fn nested_zip_of(levels: usize, name: &str, data: &[u8]) -> Vec<u8> {
    let mut inner = zip(&[(name, data)]);
    for level in 1..levels {
        inner = zip(&[(&format!("{level}.zip"), &inner)]);
    }
    inner
}

/// Sets the encryption flag in the headers that begin with `magic`; the flags stand `flags_at` bytes behind.
pub(crate) fn encrypt(archive: &mut [u8], magic: &[u8], flags_at: usize) {
    for at in 0..archive.len() - flags_at {
        if archive[at..].starts_with(magic) {
            archive[at + flags_at] |= 1;
        }
    }
}

/// A message with the given parts, each a header block, an empty line and a body.
pub(crate) fn mail(parts: &[String]) -> Vec<u8> {
    let mut out = "From: a@example.com\r\nTo: b@example.org\r\nSubject: test\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=\"=_bound\"\r\n\r\nThis is a MIME message.\r\n"
        .to_owned();
    for part in parts {
        out += &format!("--=_bound\r\n{part}\r\n");
    }
    (out + "--=_bound--\r\n").into_bytes()
}

/// A base64 part with a plain file name.
pub(crate) fn attachment(name: &str, data: &[u8]) -> String {
    part(&format!("Content-Disposition: attachment; filename=\"{name}\""), data)
}

/// A base64 part with these header fields.
pub(crate) fn part(fields: &str, data: &[u8]) -> String {
    format!("{fields}\r\nContent-Transfer-Encoding: base64\r\n\r\n{}", base64(data))
}

/// A part that is a message.
pub(crate) fn forwarded(name: &str, mail: &[u8]) -> String {
    format!(
        "Content-Type: message/rfc822; name=\"{name}\"\r\nContent-Disposition: attachment; \
        filename=\"{name}\"\r\n\r\n{}",
        String::from_utf8(mail.to_vec()).unwrap()
    )
}

pub(crate) fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for (index, chunk) in data.chunks(3).enumerate() {
        if index > 0 && index % 19 == 0 {
            out += "\r\n";
        }
        let bits =
            u32::from_be_bytes([0, chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)]);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit <= chunk.len() { char::from(ALPHABET[value as usize]) } else { '=' });
        }
    }
    out
}

/// A gzip file of `data`.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A tar archive of one file.
pub(crate) fn tar(name: &str, data: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, name, data).unwrap();
    builder.into_inner().unwrap()
}

/// A compound file with one stream.
pub(crate) fn ole(stream: &str, data: &[u8]) -> Vec<u8> {
    let mut file = cfb::CompoundFile::create(Cursor::new(Vec::new())).unwrap();
    file.create_stream(stream).unwrap().write_all(data).unwrap();
    file.flush().unwrap();
    file.into_inner().into_inner()
}
