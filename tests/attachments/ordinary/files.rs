//! Files people send, as attachments.

use zip::CompressionMethod;

use crate::build::{attachment, forwarded, mail, part, zip, zip_by};
use crate::generator::zips::{Entry, listing};
use crate::generator::{archives, carriers};

type File = (&'static str, &'static str, Vec<u8>);

pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let files = office().into_iter().chain(archived()).chain(others());
    let mut mails: Vec<_> =
        files.map(|(what, name, data)| (what, mail(&[attachment(name, &data)]))).collect();
    mails.extend(in_other_scripts());
    mails
}

/// A package of `count` entries named by `name`, as office programs write them.
fn package(first: &[(&str, &[u8])], count: usize, name: impl Fn(usize) -> String) -> Vec<u8> {
    let names: Vec<String> = (1..=count).map(name).collect();
    let content = b"<x:part xmlns:x=\"http://schemas.example.com/2026\"/>".repeat(20);
    let mut entries = first.to_vec();
    entries.extend(names.iter().map(|name| (name.as_str(), content.as_slice())));
    zip(&entries)
}

const TYPES: (&str, &[u8]) = ("[Content_Types].xml", b"<Types/>");

fn office() -> Vec<File> {
    let workbook = package(&[TYPES, ("xl/workbook.xml", b"<workbook/>")], 300, |n| {
        format!("xl/worksheets/sheet{n}.xml")
    });
    vec![
        ("document of 400 entries", "report.docx", {
            package(&[TYPES, ("word/document.xml", b"<w:document/>")], 400, |n| {
                format!("word/media/image{n}.png")
            })
        }),
        ("workbook of 300 sheets", "figures.xlsx", workbook.clone()),
        ("slides with a workbook in them", "slides.pptx", {
            let first = [
                TYPES,
                ("ppt/presentation.xml", b"<p/>"),
                ("ppt/embeddings/Microsoft_Excel_Sheet1.xlsx", &workbook),
            ];
            package(&first, 120, |n| format!("ppt/slides/slide{n}.xml"))
        }),
        ("document with a linked address", "letter.docx", {
            zip(&[TYPES, ("word/_rels/document.xml.rels", b"<R Target=\"http://www.example.com\"/>")])
        }),
        ("document with macros", "form.docm", zip(&[TYPES, ("word/vbaProject.bin", &ole())])),
        ("old document", "letter.doc", ole()),
        ("old workbook", "figures.xls", ole()),
        ("old slides", "slides.ppt", ole()),
        ("a text embedded in an old document", "letter.doc", carriers::ole_native("notes.txt", b"hello")),
        ("Outlook item", "Re Your visit.msg", carriers::msg("plan.pdf", b"%PDF-1.7")),
        ("open document", "text.odt", {
            let kind: (&str, &[u8]) = ("mimetype", b"application/vnd.oasis.opendocument.text");
            zip_by(
                CompressionMethod::Stored,
                &[kind, ("content.xml", b"<x/>"), ("Object 1/content.xml", b"<x/>")],
            )
        }),
        (
            "open workbook",
            "sheet.ods",
            zip(&[("mimetype", b"application/vnd.oasis"), ("content.xml", b"<x/>")]),
        ),
        ("book", "book.epub", {
            let kind: (&str, &[u8]) = ("mimetype", b"application/epub+zip");
            package(&[kind, ("META-INF/container.xml", b"<x/>")], 60, |n| format!("OEBPS/chapter{n}.xhtml"))
        }),
        (
            "Apple pages",
            "letter.pages",
            zip_by(
                CompressionMethod::Stored,
                &[("Index/Document.iwa", b"\0"), ("preview.jpg", b"\xff\xd8\xff")],
            ),
        ),
        ("places", "tour.kmz", zip(&[("doc.kml", b"<kml/>"), ("files/a.png", b"\x89PNG")])),
        (
            "signed document",
            "contract.asice",
            zip(&[("META-INF/signatures0.xml", b"<x/>"), ("contract.pdf", b"%PDF")]),
        ),
        ("rich text", "letter.rtf", b"{\\rtf1\\ansi Hello, see www.example.com}".to_vec()),
    ]
}

/// A compound file with nothing in it but a stream of text.
fn ole() -> Vec<u8> {
    let mut file = cfb::CompoundFile::create(std::io::Cursor::new(Vec::new())).unwrap();
    std::io::Write::write_all(&mut file.create_stream("/WordDocument").unwrap(), &[0x20; 8192]).unwrap();
    file.flush().unwrap();
    file.into_inner().into_inner()
}

fn archived() -> Vec<File> {
    let notes = ("notes.txt", &b"hello"[..]);
    vec![
        ("RAR of today", "photos.rar", archives::rar5("IMG_0001.JPG", b"\xff\xd8\xff")),
        ("RAR of yesterday", "photos.rar", archives::rar4("IMG_0001.JPG", b"\xff\xd8\xff", 0x8000)),
        ("RAR in parts", "photos.part1.rar", archives::rar4("IMG_0001.JPG", b"\xff\xd8\xff", 0x8002)),
        ("RAR with a password", "salaries.rar", archives::rar4("salaries.xlsx", b"\x5a\x11\x07", 0x8004)),
        ("7z", "photos.7z", archives::sevenz("IMG_0001.JPG", b"\xff\xd8\xff")),
        ("lzh", "docs.lzh", archives::lzh("readme.txt", b"hello")),
        ("tar", "sources.tar", archives::tar("project/main.c", b"int main(void) { return 0; }\n")),
        ("tar.gz", "sources.tar.gz", archives::gz(None, &archives::tar("project/Makefile", b"all:\n"))),
        ("tar.bz2", "sources.tar.bz2", archives::bz2(&archives::tar("project/README", b"hello\n"))),
        ("tar.xz", "sources-1.0.tar.xz", archives::xz(&archives::tar("project/README", b"hello\n"))),
        ("tar.zst", "backup.tar.zst", archives::zst(&archives::tar("etc/hosts", b"127.0.0.1 localhost\n"))),
        (
            "gz that tells its name",
            "dump.gz",
            archives::gz(Some("dump-2026.01.31.sql"), &b"INSERT".repeat(99)),
        ),
        ("log, compressed", "mail.log.2.gz", archives::gz(None, &b"postfix/smtpd connect\n".repeat(999))),
        ("DMARC report, zip", "google.com!example.org!1767225600!1767311999.zip", {
            zip(&[("google.com!example.org!1767225600!1767311999.xml", b"<feedback/>")])
        }),
        ("DMARC report, gz", "protection.outlook.com!example.com!1767225600!1767312000.xml.gz", {
            archives::gz(None, b"<feedback/>")
        }),
        (
            "TLS report",
            "example.com!example.org!1767225600!1767311999!001.json.gz",
            archives::gz(None, b"{}"),
        ),
        (
            "zip from a Mac",
            "Archive.zip",
            zip(&[notes, ("__MACOSX/._notes.txt", b"\0\x05\x16\x07\0\x02\0\0")]),
        ),
        (
            "zip with folders",
            "project.zip",
            zip(&[("docs/", b""), ("docs/a.pdf", b"%PDF"), ("src/", b""), ("src/main.rs", b"fn main() {}")]),
        ),
        (
            "zip with a folder like a web site",
            "sites.zip",
            zip(&[("www.example.com/", b""), ("www.example.com/a.html", b"<p>")]),
        ),
        (
            "zip in a zip, and a tar.gz",
            "all.zip",
            zip(&[
                ("a.zip", &zip(&[notes])),
                ("b.tar.gz", &archives::gz(None, &archives::tar("c.txt", b"x"))),
            ]),
        ),
        (
            "zip of mails",
            "mails.zip",
            zip(&[("1.eml", &mail(&["\r\nHello".to_owned()])), ("2.eml", b"From: a@b\r\n\r\nHi\r\n")]),
        ),
        ("zip of a year of dates", "2026.zip", {
            package(&[], 365, |n| format!("2026/{:02}/report.2026.{n:03}", n / 31 + 1))
        }),
        (
            "stored zip of pictures",
            "pictures.zip",
            zip_by(CompressionMethod::Stored, &[("a.jpg", b"\xff\xd8\xff"), ("b.png", b"\x89PNG")]),
        ),
        (
            "zip with a data file like an archive's end",
            "x.zip",
            zip(&[("a.bin", b"a zip ends with PK\x05\x06")]),
        ),
        ("JAR-like overlap", "report.oxt", overlapping()),
        ("zip under a name without extension", "backup", zip(&[notes])),
    ]
}

/// An entry that the directory lists twice, as some tools for Java write it.
fn overlapping() -> Vec<u8> {
    let entries = [Entry::stored("META-INF/manifest.xml", b"<x/>"), Entry::stored("a/same.xml", b"<y/>")];
    listing(&entries, &[0, 1, 1], b"")
}

fn others() -> Vec<File> {
    vec![
        ("signature file", "document.pdf.p7s", b"0\x80\x06\x09*\x86H\x86\xf7\r\x01\x07\x02".to_vec()),
        (
            "detached OpenPGP signature",
            "release.tar.asc",
            b"-----BEGIN PGP SIGNATURE-----\r\n\r\niQ==\r\n".to_vec(),
        ),
        ("OpenPGP key", "0x1234ABCD.asc", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\nmQ==\r\n".to_vec()),
        ("OpenPGP message", "secret.pdf.gpg", b"\x85\x02\x0c\x03binary".to_vec()),
        ("certificate request", "server.csr", b"-----BEGIN CERTIFICATE REQUEST-----\r\nMIIC\r\n".to_vec()),
        ("contact", "Alice Example.vcf", b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Alice\r\nEND:VCARD\r\n".to_vec()),
        ("photo of a phone", "IMG_4711.HEIC", b"\0\0\0\x24ftypheic\0\0\0\0".to_vec()),
        ("film", "clip.mp4", b"\0\0\0\x20ftypisom\0\0\x02\0".to_vec()),
        ("voice message", "msg0042.wav", b"RIFF\x24\0\0\0WAVEfmt ".to_vec()),
        ("drawing", "plan.dwg", b"AC1032\0\0\0\0".to_vec()),
        ("drawing for exchange", "plan.dxf", b"0\r\nSECTION\r\n2\r\nHEADER\r\n".to_vec()),
        ("model of a building", "tower.ifc", b"ISO-10303-21;\r\nHEADER;\r\n".to_vec()),
        ("table", "export.csv", b"\xef\xbb\xbfname;site\r\nAlice;www.example.com\r\n".to_vec()),
        ("text in UTF-16", "notes.txt", b"\xff\xfeh\0i\0".to_vec()),
        ("web page", "page.html", b"<!DOCTYPE html><p>Hello".to_vec()),
        (
            "PDF that talks of a program",
            "manual.pdf",
            b"%PDF-1.7\n(Start setup.exe, then evil.bat) Tj\n%%EOF".to_vec(),
        ),
        (
            "PDF with a zip in its data",
            "odd.pdf",
            b"%PDF-1.7\nstream\nPK\x03\x04 no archive\nendstream\n%%EOF".to_vec(),
        ),
        ("PostScript", "poster.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n".to_vec()),
        (
            "patch",
            "0001-Fix-it.patch",
            b"From 1234 Mon Sep 17 00:00:00 2001\nFrom: a@b\n---\n a.c | 2 +-\n".to_vec(),
        ),
        ("source of C", "main.c", b"#include <stdio.h>\nint main(void) { return 0; }\n".to_vec()),
        ("invoice of the state", "invoice.xml", b"<?xml version=\"1.0\"?><Invoice/>".to_vec()),
        ("bank statement", "statement.sta", b":20:START\r\n:25:12345678/1\r\n".to_vec()),
        ("empty file", "empty.txt", Vec::new()),
        ("name that is a sentence", "Offer No. 12 for Smith & Co. (final).pdf", b"%PDF-1.7".to_vec()),
        ("name with a version", "handbook v1.2.3", b"hello".to_vec()),
        ("name that is an address", "alice@example.com", b"hello".to_vec()),
        ("name that is a web site and a page", "https___www.example.com_index.html", b"<p>".to_vec()),
        ("mail from a site", "www.example.com.eml", mail(&["\r\nHello".to_owned()])),
        ("TNEF with a picture", "winmail.dat", carriers::tnef_of("logo.png", b"\x89PNG")),
        ("TNEF with a workbook", "winmail.dat", carriers::tnef_of("figures.xlsx", &zip(&[TYPES]))),
        ("signed and opaque", "smime.p7m", carriers::signed(&mail(&[attachment("a.pdf", b"%PDF")]), false)),
        ("signed in chunks", "smime.p7m", carriers::signed(&mail(&["\r\nHello".to_owned()]), true)),
    ]
}

/// Names in the character sets of the world, as the world writes them.
fn in_other_scripts() -> Vec<(&'static str, Vec<u8>)> {
    let raw = |name: &[u8]| {
        let head = b"From: a@example.com\r\nMIME-Version: 1.0\r\nContent-Type: application/pdf; name=\"";
        [head, name, b".pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjc=\r\n"].concat()
    };
    let named =
        |field: &str| mail(&[part(&format!("Content-Disposition: attachment; {field}"), b"%PDF-1.7")]);
    let zipped = |name: &[u8]| {
        let mut archive = zip(&[("xxxxxx.txt", b"hello")]);
        for at in 0..archive.len() - 6 {
            if archive[at..].starts_with(b"xxxxxx") {
                archive[at..at + 6].copy_from_slice(name);
            }
        }
        mail(&[attachment("a.zip", &archive)])
    };
    vec![
        ("8-bit name in GB 18030", raw(b"\xb1\xa8\xb8\xe6")),
        ("8-bit name in Shift JIS", raw(b"\x95\xf1\x8d\x90")),
        ("8-bit name in Windows-1251", raw(b"\xee\xf2\xf7\xe5\xf2")),
        ("8-bit name in Latin 1", raw(b"\xfcbersicht")),
        ("8-bit name in UTF-8", raw("übersicht".as_bytes())),
        ("name in ISO-2022-JP", named("filename=\"=?iso-2022-jp?B?GyRCSnM5cBsoQi5wZGY=?=\"")),
        ("name in GB 18030", named("filename=\"=?gb18030?B?saiw5i5wZGY=?=\"")),
        ("name in KOI8-R", named("filename=\"=?koi8-r?B?z9TexdQucGRm?=\"")),
        (
            "name in two encoded words",
            named("filename=\"=?utf-8?Q?=C3=9Cbersicht_f=C3=BCr?=\r\n =?utf-8?Q?_Januar.pdf?=\""),
        ),
        (
            "extended name with a fallback",
            named("filename=\"Ubersicht.pdf\"; filename*=UTF-8''%C3%9Cbersicht.pdf"),
        ),
        ("zip with a name in Shift JIS", zipped(b"\x95\xf1\x8d\x90\x8f\x91")),
        ("zip with a name in code page 437", zipped(b"\x81bersi")),
        ("zip with a name in GB 18030", zipped(b"\xb1\xa8\xb8\xe6\xca\xe9")),
        ("attached mail in Shift JIS", mail(&[forwarded("fwd.eml", &raw(b"report"))])),
    ]
}
