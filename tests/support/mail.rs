//! Messages and archives to send.

use std::io::{Cursor, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A message of plain text with lines that show whether bytes stay as they are: dots, trailing blanks, 8-bit, a folded header.
pub fn plain(subject: &str) -> Vec<u8> {
    format!(
        "From: Alice <alice@sender.example>\r\nTo: bob@example.test\r\nSubject: {subject}\r\n\
         X-Folded: one\r\n\ttwo\r\n  three\r\nx-odd-Case:no blank\r\nDate: Mon, 23 Nov 2026 10:00:00 +0100\r\n\
         Message-Id: <{subject}@sender.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         Grüße,\r\n.a line that begins with a dot\r\n..\r\n\r\ntrailing blanks  \t\r\n\r\n-- \r\nthe end\r\n\r\n"
    )
    .into_bytes()
}

/// A message with one attachment in base64.
pub fn with_attachment(subject: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let encoded = STANDARD.encode(content);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!(
        "From: alice@sender.example\r\nTo: bob@example.test\r\nSubject: {subject}\r\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0100\r\nMessage-Id: <{subject}@sender.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"frontier\"\r\n\r\n\
         --frontier\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n\
         --frontier\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         {}\r\n--frontier--\r\n",
        lines.join("\r\n")
    )
    .into_bytes()
}

/// A zip archive with one entry.
pub fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(name, SimpleFileOptions::default()).unwrap();
    archive.write_all(content).unwrap();
    archive.finish().unwrap().into_inner()
}
