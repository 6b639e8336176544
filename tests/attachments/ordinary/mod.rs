//! Ordinary mail: none of it is refused.

mod files;
mod letters;
mod odd;

use greylag::checks::AttachmentSettings;
use greylag::checks::attachments::findings;
use greylag::verdict::Action;
use zip::CompressionMethod;

use crate::build::{attachment, base64, encrypt, forwarded, gzip, mail, ole, part, scan, tar, zip, zip_by};

/// A message of header fields and a body.
fn message(fields: &str, body: &str) -> Vec<u8> {
    format!(
        "From: a@example.com\r\n\
        To: b@example.org\r\n\
        Subject: Hello\r\n\
        MIME-Version: 1.0\r\n\
        {fields}\r\n\r\n\
        {body}\r\n"
    )
    .into_bytes()
}

/// Parts of a multipart with the boundary `b`.
fn multipart(kind: &str, parts: &[&str]) -> Vec<u8> {
    let body: String = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
    message(&format!("Content-Type: multipart/{kind}; boundary=\"b\""), &format!("{body}--b--"))
}

fn docx() -> Vec<u8> {
    zip(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", b"<Relationships/>"),
        ("docProps/app.xml", b"<Properties/>"),
        ("word/document.xml", &b"<w:document/>".repeat(500)),
        ("word/theme/theme1.xml", b"<a:theme/>"),
        ("word/media/image1.png", b"\x89PNG\r\n\x1a\n"),
        ("word/embeddings/oleObject1.bin", &ole("/Workbook", &[9, 8, 16, 0])),
        ("customXml/item1.xml", b"<x/>"),
    ])
}

fn odt() -> Vec<u8> {
    zip_by(
        CompressionMethod::Stored,
        &[
            ("mimetype", b"application/vnd.oasis.opendocument.text"),
            ("content.xml", b"<x/>"),
            ("META-INF/manifest.xml", b"<x/>"),
        ],
    )
}

fn encrypted_zip() -> Vec<u8> {
    let mut archive = zip(&[("salaries.xlsx", b"PK\x03\x04"), ("notes.txt", b"x")]);
    encrypt(&mut archive, b"PK\x03\x04", 6);
    encrypt(&mut archive, b"PK\x01\x02", 8);
    archive
}

fn chain(levels: usize) -> Vec<u8> {
    let mut inner = mail(&[attachment("report.pdf", b"%PDF-1.7")]);
    for level in 0..levels {
        inner = mail(&["\r\nSee below.".to_owned(), forwarded(&format!("Fwd {level}.eml"), &inner)]);
    }
    inner
}

const NDN: &str = "Content-Type: message/delivery-status\r\n\r\n\
    Reporting-MTA: dns; mx.example.org\r\n\
    Arrival-Date: Mon, 1 Jan 2026 00:00:00 +0000\r\n\r\n\
    Final-Recipient: rfc822; b@example.org\r\n\
    Action: failed\r\n\
    Status: 5.1.1";
const RETURNED: &str = "Content-Type: text/rfc822-headers\r\n\r\n\
    From: a@example.com\r\n\
    Subject: x\r\n\
    MIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=\"c\"";
const CALENDAR: &str = "Content-Type: text/calendar; method=REQUEST; charset=UTF-8; name=\"invite.ics\"\r\n\r\n\
    BEGIN:VCALENDAR\r\n\
    BEGIN:VEVENT\r\n\
    END:VEVENT\r\n\
    END:VCALENDAR";
const QUOTED: &str = "On Monday Bob wrote:\r\n\
    > Content-Disposition: attachment; filename=evil.exe\r\n\
    > begin 644 evil.exe\r\n\
    I would not open evil.exe or setup.bat from www.example.com.\r\n\
    From now on: no files.\r\n\
    begin the day with coffee.exe";

fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("plain text", message("Content-Type: text/plain", "Hello,\r\nhow are you?\r\n-- \r\nBob")),
        ("no MIME at all", b"From: a@b\r\nSubject: x\r\n\r\nHello\r\n".to_vec()),
        ("no body", b"From: a@b\r\nSubject: x\r\n\r\n".to_vec()),
        ("empty", Vec::new()),
        ("talk of attachments", message("Content-Type: text/plain", QUOTED)),
        (
            "alternative",
            multipart(
                "alternative",
                &["\r\nHi", "Content-Type: text/html\r\n\r\n<a href=\"http://x.example.com\">x</a>"],
            ),
        ),
        (
            "dates in names",
            mail(&[attachment("report.2026.01.pdf", b"%PDF-1.7"), attachment("report.2026.01", b"x")]),
        ),
        ("web site in a name", mail(&[attachment("www.example.com.pdf", b"%PDF-1.7")])),
        ("web site as a name", mail(&[attachment("www.example.com", b"<html>hello</html>")])),
        ("page saved from a web site", mail(&[attachment("www.example.com.html", b"<html/>")])),
        ("address as a name", mail(&[attachment("bob@example.com", b"BEGIN:VCARD\r\nEND:VCARD")])),
        ("card", mail(&[attachment("Bob Smith.vcf", b"BEGIN:VCARD\r\nEND:VCARD")])),
        ("docx", mail(&[attachment("letter.docx", &docx())])),
        ("docx without a name", mail(&[part("Content-Type: application/octet-stream", &docx())])),
        ("odt", mail(&[attachment("letter.odt", &odt())])),
        ("old office document", mail(&[attachment("letter.doc", &ole("/WordDocument", b"text"))])),
        (
            "encrypted office document",
            mail(&[attachment("letter.docx", &ole("/EncryptedPackage", b"noise"))]),
        ),
        (
            "zip of documents",
            mail(&[attachment(
                "papers.zip",
                &zip(&[("letter.docx", &docx()), ("photo.jpg", b"\xff\xd8\xff"), ("dir/notes.txt", b"x")]),
            )]),
        ),
        (
            "zip in a zip",
            mail(&[attachment("papers.zip", &zip(&[("inner.zip", &zip(&[("a.pdf", b"%PDF")]))]))]),
        ),
        ("empty zip", mail(&[attachment("empty.zip", &zip(&[]))])),
        (
            "zip of a web site",
            mail(&[attachment(
                "site.zip",
                &zip(&[("www.example.com/index.html", b"<html/>"), ("www.example.com/style.css", b"a{}")]),
            )]),
        ),
        ("zip with a password", mail(&[attachment("salaries.zip", &encrypted_zip())])),
        ("large zip", {
            let names: Vec<String> = (0..3000).map(|n| format!("scan/{n:05}.tif")).collect();
            let entries: Vec<(&str, &[u8])> =
                names.iter().map(|name| (name.as_str(), &b"II*\0"[..])).collect();
            mail(&[attachment("scans.zip", &zip(&entries))])
        }),
        (
            "compressed text",
            mail(&[
                attachment("log.txt.gz", &gzip(b"Nov 26 11:00:00 mail postfix/smtpd: connect")),
                attachment(
                    "backup.tar.gz",
                    &gzip(&tar("etc/postfix/main.cf", b"myhostname = mx.example.com")),
                ),
            ]),
        ),
        (
            "photos",
            mail(&[
                attachment("IMG_0001.JPG", &b"\xff\xd8\xff\xe0JFIF".repeat(500)),
                attachment("image001.png", b"\x89PNG"),
            ]),
        ),
        (
            "inline picture",
            multipart(
                "related",
                &[
                    "Content-Type: text/html\r\n\r\n<img src=\"cid:image001.png@01DA.00.com\">",
                    "Content-Type: image/png; name=\"image001.png\"\r\n\
                        Content-ID: <image001.png@01DA.00.com>\r\n\
                        Content-Transfer-Encoding: base64\r\n\r\n\
                        iVBORw0KGgo=",
                ],
            ),
        ),
        (
            "signed by S/MIME",
            multipart(
                "signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256",
                &[
                    "\r\nHi",
                    "Content-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\n\
                        Content-Disposition: attachment; filename=\"smime.p7s\"\r\n\
                        Content-Transfer-Encoding: base64\r\n\r\n\
                        MIAGCSqGSIb3DQEHAqCA",
                ],
            ),
        ),
        (
            "encrypted by S/MIME",
            message(
                "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=\"smime.p7m\"\r\n\
                    Content-Transfer-Encoding: base64\r\n\
                    Content-Disposition: attachment; filename=\"smime.p7m\"",
                "MIAGCSqGSIb3DQEHA6CA",
            ),
        ),
        (
            "encrypted by PGP",
            multipart(
                "encrypted; protocol=\"application/pgp-encrypted\"",
                &[
                    "Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1",
                    "Content-Type: application/octet-stream; name=\"encrypted.asc\"\r\n\r\n\
                        -----BEGIN PGP MESSAGE-----\r\n\r\n\
                        hQEM\r\n\
                        -----END PGP MESSAGE-----",
                ],
            ),
        ),
        (
            "inline PGP",
            message(
                "Content-Type: text/plain",
                "-----BEGIN PGP SIGNED MESSAGE-----\r\n\
                    Hash: SHA256\r\n\r\n\
                    Hello\r\n\
                    -----BEGIN PGP SIGNATURE-----\r\n\r\n\
                    iQEz\r\n\
                    -----END PGP SIGNATURE-----",
            ),
        ),
        (
            "delivery status",
            multipart(
                "report; report-type=delivery-status",
                &["\r\nYour message could not be delivered.", NDN, RETURNED],
            ),
        ),
        (
            "read receipt",
            multipart(
                "report; report-type=disposition-notification",
                &[
                    "\r\nRead.",
                    "Content-Type: message/disposition-notification\r\n\r\n\
                        Final-Recipient: rfc822; b@example.org\r\n\
                        Disposition: manual-action/MDN-sent-manually; displayed",
                ],
            ),
        ),
        ("forwarded chain", chain(6)),
        (
            "forwarded with a web site for a name",
            mail(&[forwarded("Your order at example.com", &mail(&["\r\nThanks".to_owned()]))]),
        ),
        (
            "digest",
            multipart(
                "digest",
                &["\r\nFrom: a@b\r\nSubject: 1\r\n\r\none", "\r\nFrom: c@d\r\nSubject: 2\r\n\r\ntwo"],
            ),
        ),
        ("calendar", multipart("alternative", &["\r\nMeeting", CALENDAR])),
        (
            "long names in other scripts",
            mail(&[
                part(
                    "Content-Disposition: attachment;\r\n filename*0*=utf-8''%E5%A0%B1%E5%91%8A;\r\n\x20\
                     filename*1*=%E6%9B%B8.pdf",
                    b"%PDF",
                ),
                attachment("=?utf-8?B?5aCx5ZGK5pu4LnBkZg==?=", b"%PDF"),
            ]),
        ),
        (
            "no final delimiter",
            message(
                "Content-Type: multipart/mixed; boundary=b",
                "--b\r\n\r\n\
                    Hi\r\n\
                    --b\r\n\
                    Content-Type: application/pdf; name=scan.pdf\r\n\
                    Content-Transfer-Encoding: base64\r\n\r\n\
                    JVBERg==",
            ),
        ),
        ("multipart without parts", message("Content-Type: multipart/mixed; boundary=b", "no parts here")),
        ("base64 in a text", message("Content-Type: text/plain", &base64(&zip(&[("a.txt", b"x")])))),
        (
            "text in base64",
            message(
                "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64",
                &base64(b"Hello there, see example.com"),
            ),
        ),
    ]
}

#[test]
fn ordinary_mail_is_not_refused() {
    let mails = [all(), files::all(), letters::all(), odd::all()].concat();
    assert!(mails.len() >= 250, "{}", mails.len());
    let mut wrong = Vec::new();
    for (what, mail) in mails {
        let findings = findings(&scan(&mail), &AttachmentSettings::default());
        let worst = findings.iter().map(|finding| finding.outcome.action()).max().unwrap_or_default();
        if worst != Action::Accept {
            let found: Vec<String> =
                findings.iter().map(|it| format!("{}: {}", it.reason, it.detail)).collect();
            wrong.push(format!("{what} is {}: {}", worst.name(), found.join("; ")));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
