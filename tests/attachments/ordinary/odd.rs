//! Oddities of honest software, and texts that speak of hostile mail.

use super::{message, multipart};
use crate::build::{attachment, base64, forwarded, mail, part, zip};
use crate::generator::encodings::uuencode;
use crate::generator::{archives, carriers};

pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    [names(), fields(), texts(), files(), damaged()].concat()
}

const PDF: &[u8] = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj<</Type/Catalog>>endobj\n%%EOF\n";

fn names() -> Vec<(&'static str, Vec<u8>)> {
    const NAMES: [&str; 42] = [
        "scan.2026.11.26.pdf",
        "invoice no. 12.com.pdf",
        "www.foo.com.html.pdf",
        "Rechnung_www.shop.com.pdf",
        "Mail from bob@example.com.pdf",
        "Offer [draft].pdf",
        "100% cotton.pdf",
        "a;b.pdf",
        "Q&A: answers.pdf",
        "Is this it?.pdf",
        "setup.exe.pdf",
        "notes.bat.txt.pdf",
        "how to run cmd.exe.pdf",
        "A.B.C. Ltd. pdf",
        "x.tar.gz.pdf",
        "Datei mit  zwei  Leerzeichen.pdf",
        "trailing space .pdf",
        "noextension",
        "README",
        "Makefile",
        "v1.0.2",
        "no.5",
        "1.000.000",
        "10.10.2026",
        "Hello. World",
        "Dr. Com",
        "shop.example.com",
        "Angebot www.example.com",
        "smile :-).pdf",
        "photo%20of%20cat.pdf",
        "%E2%82%AC.pdf",
        "'quoted'.pdf",
        "(comment).pdf",
        "R&amp;D &#8211; plan.pdf",
        "Smith&Sons;com.pdf",
        "a=2Fb=.pdf",
        "\\\\server\\users\\x86\\u00e9t\u{e9}.pdf",
        "E=mc2.pdf",
        "report.pdf=",
        "profit&loss.xlsx",
        "a\\b.c\\d.pdf",
        "image001.png@01DA2E5B.6F1A2C30.pdf",
    ];
    NAMES.into_iter().map(|name| (name, mail(&[attachment(name, PDF)]))).collect()
}

fn fields() -> Vec<(&'static str, Vec<u8>)> {
    let picture = |fields: &str| {
        mail(&[part(&format!("Content-Type: image/png\r\n{fields}"), b"\x89PNG\r\n\x1a\n\0\0\x01")])
    };
    vec![
        ("identifier that is a host", picture("Content-ID: <logo.example.com>")),
        ("identifier at a host", picture("Content-ID: <image001.png@01DA.exe.com>")),
        ("location on the web", picture("Content-Location: http://www.example.com/style.js")),
        ("description that is a host", picture("Content-Description: example.com")),
        ("description that is a sentence", picture("Content-Description: how to open setup.exe")),
        ("name without quotes", picture("Content-Disposition: attachment; filename=Rechnung Nr. 12.pdf")),
        (
            "report by TLS",
            mail(&[part(
                "Content-Type: application/tlsrpt+gzip;\r\n name=\"example.com!example.org!1700000000!1700086399!001.json.gz\"",
                &archives::gz(None, b"{}"),
            )]),
        ),
        (
            "report by DMARC",
            mail(&[attachment(
                "example.com!example.org!1700000000!1700086399.zip",
                &zip(&[("example.com!example.org!1700000000!1700086399.xml", b"<feedback/>")]),
            )]),
        ),
        ("page saved with its scripts", saved_page()),
        ("page saved with its scripts, attached", mail(&[attachment("page.mht", &saved_page())])),
        ("page saved with its scripts, forwarded", mail(&[forwarded("page.eml", &saved_page())])),
        (
            "meeting with an agenda",
            message(
                "Content-Type: text/calendar; method=REQUEST",
                &format!(
                    "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nATTACH;ENCODING=BASE64;VALUE=BINARY;X-FILENAME=agenda.v1.pdf:{}\r\nATTACH;X-FILENAME=site.com.url.pdf:http://www.example.com\r\nATTACH:http://www.example.com/setup.exe\r\nEND:VEVENT\r\nEND:VCALENDAR",
                    base64(PDF).replace("\r\n", "\r\n ")
                ),
            ),
        ),
        (
            "type that is spoken of",
            message("Content-Type: text/plain", "Content-Type: message/partial is for fragments\r\n"),
        ),
    ]
}

/// As browsers and Word save them (RFC 2557).
fn saved_page() -> Vec<u8> {
    let resource = |kind: &str, location: &str, body: &str| {
        format!(
            "Content-Type: {kind}\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Location: {location}\r\n\r\n{body}"
        )
    };
    multipart(
        "related; type=\"text/html\"",
        &[
            &resource(
                "text/html",
                "file:///C:/4F3A21B0/page.htm",
                "<html><script src=3D\"page_files/site.js\"></script></html>",
            ),
            &resource("application/x-javascript", "file:///C:/4F3A21B0/page_files/site.js", "var a =3D 1;"),
            &resource("text/javascript", "page_files/jquery.min.js", "var b =3D 2;"),
            &resource("text/javascript", "https://www.example.com/lib/app.js", "var c =3D 3;"),
            &resource("text/css", "file:///C:/4F3A21B0/page_files/style.css", "p {}"),
            &resource("text/xml", "file:///C:/4F3A21B0/page_files/filelist.xml", "<xml/>"),
        ],
    )
}

/// Each as plain text, in base64, and quoted in a page.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    const TEXTS: [(&str, &str); 18] = [
        ("how uuencode begins", "To unpack it, type\r\nbegin 644 foo.exe\r\nand so on."),
        (
            "how uuencode begins, apart",
            "It starts with:\r\n\r\nbegin 644 foo.exe\r\n\r\nThen lines of data follow.",
        ),
        ("begin as a word", "begin 10 minutes early.exe is no name"),
        (
            "header of a hostile mail, quoted",
            "I got this:\r\n\r\n> Content-Type: a/b; name=evil.exe\r\n> Content-Disposition: attachment; filename=\"evil.exe\"",
        ),
        (
            "rule, indented",
            "The rule is:\r\n\r\n    Content-Disposition: attachment; filename=\"evil.exe\"\r\n\r\nreject.",
        ),
        ("programs, named", "Please see evil.exe, setup.bat and http://www.example.com/setup.exe"),
        ("parameter, named", "filename=evil.exe is what the log says\r\nname=\"evil.exe\""),
        ("refusal, quoted", "Rejected: attachment filename=\"invoice.pdf.exe\" (554 5.7.0)"),
        (
            "log of a filter",
            "postfix/cleanup: reject: header Content-Disposition: attachment; filename=\"x.exe\"; from=<a@b>",
        ),
        (
            "patch of a test",
            "--- a/tests/a.eml\r\n+++ b/tests/a.eml\r\n@@ -1,2 +1,3 @@\r\n+Content-Type: a/b; name=evil.exe\r\n+Content-Disposition: attachment; filename=evil.exe",
        ),
        (
            "binary patch",
            "GIT binary patch\r\nliteral 10\r\nRcmZQzWMT#Y01f~L\r\n\r\nliteral 0\r\nHcmV?d00001\r\n",
        ),
        ("yEnc, spoken of", "=ybegin is how yEnc begins"),
        ("BinHex, spoken of", "(This file must be converted with BinHex 4.0) is what it says"),
        (
            "script, quoted",
            "atob('aGVsbG8gd29ybGQ=') gives hello world; [80,75,3,4,1] begins a zip, 77,90,144 a program",
        ),
        (
            "digits of a dump",
            "504b0304 1400 0000 0800, then 4d5a9000ffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ),
        ("address with escapes", "https://example.com/?a=1&b=%50%4b%03%04"),
        ("delimiters", "--BOUNDARY\r\nis a delimiter, and so is\r\n--BOUNDARY--"),
        (
            "capitals",
            "LINE 1: NOW IS THE TIME FOR ALL GOOD MEN TO COME TO THE AID OF\r\nMANY MORE LINES OF SIXTY-ONE CHARACTERS FOLLOW IN CAPITALS NOW\r\n",
        ),
    ];
    let mut all = Vec::new();
    for (what, text) in TEXTS {
        all.push((what, message("Content-Type: text/plain; charset=utf-8", text)));
        let encoded = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64";
        all.push((what, message(encoded, &base64(text.as_bytes()))));
        let page = format!("<html><pre>{}</pre></html>", text.replace('<', "&lt;"));
        all.push((what, message("Content-Type: text/html; charset=utf-8", &page)));
    }
    all
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let script = b"<html><script>var a=[80,75,3,4,5];var b='\\x4d\\x5a';</script></html>";
    let inner = zip(&[("a.txt", b"hello")]);
    let native = [&40u32.to_le_bytes()[..], &[7; 40]].concat();
    let equation = crate::build::ole("/\u{1}Ole10Native", &native);
    let workbook: String = b"\x01\x05\0\0\x02\0\0\0\x06\0\0\0Excel\0\0\0\0\0\0\0\0\0\0\x10\0\0"
        .iter()
        .chain(&crate::build::ole("/Workbook", &[9, 8, 16, 0]))
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let files: Vec<(&str, &str, Vec<u8>)> = vec![
        ("page with numbers", "page.html", script.to_vec()),
        ("page with a zip to save", "page.html", format!("<a href=\"data:application/zip;base64,{}\">", base64(&inner).replace("\r\n", "")).into_bytes()),
        ("data with a zip in it", "data.json", format!("{{\"file\":\"{}\"}}", base64(&inner).replace("\r\n", "")).into_bytes()),
        ("invoice with data in it", "invoice.pdf", b"%PDF-1.7\n<</Type/Filespec/F(factur-x.xml)/UF(factur-x.xml)/EF<</F 2 0 R>>>>\n<</Type/EmbeddedFile>>".to_vec()),
        ("RTF", "letter.rtf", b"{\\rtf1\\ansi Hello\\par}".to_vec()),
        ("RTF with a picture", "letter.rtf", b"{\\rtf1{\\pict\\pngblip 89504e470d0a1a0a0000}}".to_vec()),
        ("RTF with a workbook", "letter.rtf", format!("{{\\rtf1{{\\object\\objemb{{\\*\\objdata {workbook}}}}}}}").into_bytes()),
        ("document with an equation", "letter.docx", zip(&[("word/embeddings/oleObject1.bin", &equation)])),
        ("folders named after sites", "site.zip", zip(&[("www.example.com/index.html", b"<x>"), ("example.com/a.txt", b"x")])),
        ("picture with more behind", "photo.jpg", [&b"\xff\xd8\xff\xe0\0\x10JFIF\0"[..], &[0x55; 900], b"\xff\xd9", &[0; 700]].concat()),
        ("zeros", "data.bin", vec![0; 70_000]),
        ("table in UTF-16", "export.csv", "\u{feff}name;value\r\nbegin 644;1\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("site in a zip", "site.zip", site()),
        ("page with pictures in it, zipped", "page.zip", zip(&[("page.html", format!("<img src=\"data:image/png;base64,{}\"><script>{}</script>", base64(b"\x89PNG\r\n\x1a\n"), "f([80,75,1,2]);").as_bytes())])),
        ("text that begins with an end of file", "notes.txt", b"\x1a\x02 is how ARC begins\0".to_vec()),
        ("signed message in PEM", "smime.p7m", format!("-----BEGIN PKCS7-----\r\n{}\r\n-----END PKCS7-----\r\n", base64(&carriers::signed(b"Content-Type: text/plain\r\n\r\nhi", false))).into_bytes()),
    ];
    let mut all: Vec<_> =
        files.into_iter().map(|(what, name, data)| (what, mail(&[attachment(name, &data)]))).collect();
    all.push(("uuencoded document", message("Subject: scan", &uuencode("scan.2026.pdf", PDF))));
    all
}

/// More pages than are looked through.
fn site() -> Vec<u8> {
    let page = format!(
        "<html>{}</html>",
        "<p>Hello, see <a href=\"https://www.example.com/\">us</a>.</p>\r\n".repeat(8_000)
    );
    let names: Vec<String> = (0..40).map(|number| format!("site/{number}.html")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), page.as_bytes())).collect();
    zip(&entries)
}

/// What comes damaged from honest software, or is cut on the way.
fn damaged() -> Vec<(&'static str, Vec<u8>)> {
    let whole = mail(&[attachment("a.pdf", PDF)]);
    let text = String::from_utf8(whole.clone()).unwrap();
    let archive = mail(&[attachment("a.zip", &zip(&[("a.txt", &b"hello ".repeat(300))]))]);
    let cut = String::from_utf8(archive).unwrap();
    let cut = &cut[..cut.len() - 80];
    vec![
        ("no final delimiter", whole[..whole.len() - 12].to_vec()),
        ("line feeds alone", text.replace("\r\n", "\n").into_bytes()),
        ("line feeds here and there", text.replacen("\r\n", "\n", 9).into_bytes()),
        (
            "signature behind the base64",
            mail(&[attachment("a.pdf", PDF) + "\r\n-- \r\nscanned by example.com\r\n"]),
        ),
        (
            "footer of a list behind a text in base64",
            message(
                "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64",
                &format!(
                    "{}\r\n____________________\r\nlist mailing list\r\nhttps://lists.example.com/",
                    base64(&b"Hello".repeat(40))
                ),
            ),
        ),
        (
            "encoding of a multipart, as it is",
            text.replacen("MIME-Version", "Content-Transfer-Encoding: 8bit\r\nMIME-Version", 1).into_bytes(),
        ),
        (
            "returned, cut by Exchange",
            multipart(
                "report; report-type=delivery-status",
                &[
                    "\r\nNot delivered: evil.exe",
                    "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n\r\nFinal-Recipient: rfc822; a@b.com\r\nAction: failed\r\nDiagnostic-Code: smtp; 554 5.7.0 evil.exe",
                    &format!("Content-Type: message/rfc822\r\n\r\n{cut}"),
                ],
            ),
        ),
        (
            "returned by qmail, whole",
            message(
                "Subject: failure notice",
                &format!(
                    "Hi. This is the qmail-send program.\r\n\r\n--- Below this line is a copy of the message.\r\n\r\n{text}"
                ),
            ),
        ),
        (
            "returned by Exim, cut",
            message(
                "X-Failed-Recipients: a@b",
                &format!("------ This is a copy of the message ------\r\n\r\n{cut}"),
            ),
        ),
        (
            "source of a mail, pasted",
            message("Content-Type: text/plain", &format!("Here is the source:\r\n\r\n{text}")),
        ),
        (
            "mailbox",
            mail(&[attachment(
                "archive.mbox",
                format!("From a@b Thu Nov 26 10:00:00 2026\n{}\n", text.replace("\r\n", "\n")).as_bytes(),
            )]),
        ),
        (
            "scrubbed by a list",
            message(
                "Content-Type: text/plain",
                "A non-text attachment was scrubbed...\r\nName: evil.exe\r\nType: application/octet-stream\r\nURL: <http://lists.example.com/attachment.exe>",
            ),
        ),
        (
            "digest in plain text",
            message(
                "Content-Type: text/plain",
                "Message: 1\r\nFrom: a\r\nSubject: x\r\nContent-Type: text/plain; charset=\"us-ascii\"\r\n\r\nHello\r\n\r\n------------------------------\r\n\r\nMessage: 2\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHi",
            ),
        ),
        (
            "forwarded under a subject",
            mail(&[forwarded("News from booking.com", &mail(&["\r\nHello".to_owned()]))]),
        ),
    ]
}
