//! Mail as programs write it: clients, lists, machines.

use super::{message, multipart};
use crate::build::{attachment, base64, forwarded, mail, part, zip};
use crate::generator::encodings::uuencode;
use crate::generator::{archives, carriers};

pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    [clients(), texts(), lists(), machines()].concat()
}

/// A message with a boundary and further header fields of one program.
fn of(program: &str, kind: &str, boundary: &str, parts: &[String]) -> Vec<u8> {
    let body: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
    message(
        &format!("{program}\r\nContent-Type: multipart/{kind};\r\n\tboundary=\"{boundary}\""),
        &format!("{body}--{boundary}--"),
    )
}

fn nested(kind: &str, boundary: &str, parts: &[String]) -> String {
    let body: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
    format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\n{body}--{boundary}--\r\n")
}

fn text(words: &str) -> String {
    format!(
        "Content-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\
             \r\n{words}\r\n"
    )
}

fn html(words: &str) -> String {
    format!(
        "Content-Type: text/html; charset=\"utf-8\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\
             \r\n<html><body>{words}</body></html>\r\n"
    )
}

fn clients() -> Vec<(&'static str, Vec<u8>)> {
    let picture = |name: &str| {
        part(
            &format!(
                "Content-Type: image/png; name=\"{name}\"\r\nContent-ID: <{name}@01DA2E5B.6F1A2C30>\r\n\
             Content-Disposition: inline; filename=\"{name}\""
            ),
            b"\x89PNG\r\n\x1a\n",
        )
    };
    let pdf = attachment("report.2026.01.pdf", b"%PDF-1.7");
    vec![
        ("Apple Mail", of("X-Mailer: Apple Mail (2.3776.700.51)", "alternative", "Apple-Mail=_6E5D1C2B-0A0B-4C4D-8E8F-123456789ABC", &[
            text("Hello=20"),
            nested("mixed", "Apple-Mail=_AAAA", &[html("Hello"), part("Content-Disposition: inline;\r\n\tfilename*=utf-8''%C3%9Cbersicht%20Januar.pdf\r\n\
             Content-Type: application/pdf;\r\n\tx-unix-mode=0644;\r\n\
             \tname=\"=?utf-8?Q?=C3=9Cbersicht_Januar=2Epdf?=\"", b"%PDF-1.7"), html("Regards")]),
        ])),
        ("iPhone", of("X-Mailer: iPhone Mail (21C66)", "mixed", "Apple-Mail-8A7B6C5D", &[text("Sent from my iPhone"), attachment("IMG_0001.HEIC", b"\0\0\0\x24ftypheic")])),
        ("Outlook", of("X-Mailer: Microsoft Outlook 16.0\r\nThread-Index: AdqKxyz=", "related", "----=_NextPart_000_0012_01DA2E5B.6F1A2C30", &[
            nested("alternative", "----=_NextPart_001_0013_01DA2E5B.6F1A2C30", &[text("Hello"), html("<img src=3D\"cid:image001.png@01DA2E5B.6F1A2C30\">")]),
            picture("image001.png"),
        ])),
        ("Outlook in rich text", of("X-Mailer: Microsoft Outlook 16.0\r\nX-MS-TNEF-Correlator: <x@y>", "mixed", "----=_NextPart_000", &[text("Hello"), part("Content-Type: application/ms-tnef; name=\"winmail.dat\"\r\n\
             Content-Disposition: attachment; filename=\"winmail.dat\"", &carriers::tnef_of("offer.docx", &zip(&[("[Content_Types].xml", b"<x/>")])))])),
        ("Exchange, journal", of("X-MS-Journal-Report:\r\nSender: journal@example.com", "mixed", "_000_journal_", &[text("Sender: a@example.com\r\nSubject: Hello\r\nMessage-Id: <x@example.com>\r\nTo: b@example.org"), forwarded("Hello.eml", &mail(std::slice::from_ref(&pdf)))])),
        ("Exchange Online", of("X-MS-Exchange-Organization-SCL: -1\r\nContent-Language: en-US\r\n\
             X-Forefront-Antispam-Report: CIP:192.0.2.1;CTRY:US", "mixed", "_004_AM6PR01MB1234eurprd01prod_", &[nested("alternative", "_000_AM6PR01MB1234_", &[text("Hello"), html("Hello")]), pdf.clone()])),
        ("Thunderbird", of("User-Agent: Mozilla Thunderbird", "mixed", "------------0K0PqM7cLzX3vUuKx0VQ2mYd", &["Content-Type: text/plain; charset=UTF-8; format=flowed\r\nContent-Transfer-Encoding: 8bit\r\n\
             \r\nGrüße\u{a0}\r\n-- \r\nAlice\r\n".to_owned(), pdf.clone()])),
        ("Thunderbird, forwarded as attachments", of("User-Agent: Mozilla Thunderbird", "mixed", "------------F", &["\r\n".to_owned(), forwarded("Re: www.example.com.eml", &mail(&["\r\nHi".to_owned()])), forwarded("Your invoice 2026.01.eml", &mail(std::slice::from_ref(&pdf)))])),
        ("Gmail", of("X-Received: by 2002:a17:906:: with SMTP id x", "mixed", "000000000000a1b2c305f0e1d2c3", &[nested("alternative", "000000000000a1b2c005f0e1d2c1", &["Content-Type: text/plain; charset=\"UTF-8\"\r\n\r\nHello\r\n".to_owned(), html("<div dir=3D\"ltr\">Hello</div>")]), part("Content-Type: application/pdf; name=\"www.example.com.pdf\"\r\n\
             Content-Disposition: attachment; filename=\"www.example.com.pdf\"\r\n\
             Content-ID: <f_lq1x2y3z0>\r\nX-Attachment-Id: f_lq1x2y3z0", b"%PDF-1.7")])),
        ("Lotus Notes", of("X-Mailer: Lotus Domino Web Server Release 9.0.1", "mixed", "=_mixed 003A7B5CC1258A6B_=", &[nested("alternative", "=_alternative 003A7B5DC1258A6B_=", &["Content-Type: text/plain; charset=\"US-ASCII\"\r\n\r\nHello\r\n".to_owned(), html("Hello")]), part("Content-Type: application/octet-stream; name=\"Plan 2026.xlsx\"\r\n\
             Content-Disposition: attachment; filename=\"Plan 2026.xlsx\"", &zip(&[("[Content_Types].xml", b"<x/>")])), picture("ATT00001.gif")])),
        ("SAP", message("X-Mailer: SAP NetWeaver 7.50\r\nContent-Type: application/pdf;\r\n\
             \x20name=\"=?utf-8?B?UmVjaG51bmcgNDcxMS5wZGY=?=\"\r\n\
             Content-Description: =?utf-8?B?UmVjaG51bmcgNDcxMQ==?=\r\nContent-Transfer-Encoding: base64", "JVBERi0xLjcK")),
        ("mutt", message("User-Agent: Mutt/2.2.12\r\nContent-Type: text/plain; charset=us-ascii\r\n\
             Content-Disposition: inline", "On Mon, Bob wrote:\r\n> Hello\r\n\r\nHi")),
        ("mutt, signed", of("User-Agent: Mutt/2.2.12", "signed; micalg=pgp-sha512; protocol=\"application/pgp-signature\"", "x7k3mQ", &["Content-Type: text/plain; charset=us-ascii\r\nContent-Disposition: inline\r\n\r\nHello\r\n".to_owned(), "Content-Type: application/pgp-signature; name=\"signature.asc\"\r\n\r\n\
             -----BEGIN PGP SIGNATURE-----\r\n\r\niQIz\r\n-----END PGP SIGNATURE-----\r\n".to_owned()])),
        ("mutt, forwarded", message("User-Agent: Mutt/2.2.12\r\nContent-Type: text/plain", "----- Forwarded message from Bob <b@example.org> -----\r\n\r\nDate: Mon, 1 Jan 2026\r\n\
             From: Bob <b@example.org>\r\nSubject: report\r\nUser-Agent: x\r\n\r\nHello\r\n\
             ----- End forwarded message -----")),
        ("The Bat!", of("X-Mailer: The Bat! (v10.5)", "mixed", "----------0A1B2C3D4E5F", &["Content-Type: text/plain; charset=windows-1251\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n=CF=F0=E8=E2=E5=F2\r\n".to_owned(), part("Content-Type: application/msword; name=\"=?windows-1251?B?7vL35fIuZG9j?=\"\r\n\
             Content-Disposition: attachment; filename=\"=?windows-1251?B?7vL35fIuZG9j?=\"", b"plain text")])),
        ("Roundcube", of("User-Agent: Roundcube Webmail/1.6.5", "mixed", "=_5f4e3d2c1b0a", &[text("Hello"), part("Content-Type: application/pdf;\r\n\
             \x20name*0*=UTF-8''%C3%9Cbersicht%20mit%20einem%20sehr%20langen%20Namen%20;\r\n\
             \x20name*1*=2026.pdf\r\nContent-Disposition: attachment;\r\n\
             \x20filename*0*=UTF-8''%C3%9Cbersicht%20mit%20einem%20sehr%20langen%20Namen%20;\r\n\
             \x20filename*1*=2026.pdf; size=8", b"%PDF-1.7")])),
        ("PHPMailer", of("X-Mailer: PHPMailer 6.9.1 (https://github.com/PHPMailer/PHPMailer)", "mixed", "b1=_0123456789abcdef", &[nested("alternative", "b2=_0123456789abcdef", &[text("Your order at example.com"), html("Order")]), pdf.clone()])),
        ("newsletter", message("List-Unsubscribe: <https://www.example.com/u>\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Transfer-Encoding: base64", &base64("<html><a href=\"https://www.example.com/setup.exe\">Download</a></html>".as_bytes()))),
        ("nested related and inline pictures", of("X-Mailer: x", "mixed", "m", &[nested("related", "r", &[nested("alternative", "a", &[text("Hi"), html("Hi")]), picture("logo.example.com.png"), picture("image002.png")]), pdf])),
        ("old client in UTF-7", message("X-Mailer: Microsoft Outlook Express 5.0\r\nContent-Type: text/plain; charset=utf-7", "Gr+APwA3w-e")),
        ("text in UTF-16", message("Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64", "//5IAGUAbABsAG8A")),
        ("text in ISO-2022-JP", message("Content-Type: text/plain; charset=iso-2022-jp\r\nContent-Transfer-Encoding: 7bit", "\x1b$B$3$s$K$A$O\x1b(B")),
    ]
}

/// Texts that look like what they are not.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let archive = base64(&zip(&[("notes.txt", b"hello")]));
    let quoted: String = archive.lines().map(|line| format!("> {line}\r\n")).collect();
    let plain = |body: &str| message("Content-Type: text/plain; charset=utf-8", body);
    vec![
        ("base64 of a zip, quoted", plain(&format!("What is this?\r\n{quoted}"))),
        ("base64 of nothing", plain(&base64(&[0x5a; 4000]))),
        ("hashes", plain(&"da39a3ee5e6b4b0d3255bfef95601890afd80709  release-1.2.3.tar.gz\r\n".repeat(50))),
        (
            "certificate",
            plain(
                "-----BEGIN CERTIFICATE-----\r\n\
             MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\r\n-----END CERTIFICATE-----",
            ),
        ),
        ("key of SSH", plain("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk1mZ2xvcmVtaXBzdW1kb2xvcnNpdGFtZXQ a@b")),
        ("uuencoded text", plain(&uuencode("notes.txt", b"Hello, this is some text.\r\n"))),
        ("text that begins lines with begin", plain("begin 2026 with a plan\r\nbegin the day early\r\nend")),
        (
            "yEnc explained",
            plain("A yEnc line begins with =ybegin line=128 size=10 name=notes.txt\r\nand ends with =yend"),
        ),
        (
            "MIME explained",
            plain(
                "Write\r\n\r\n    Content-Type: multipart/mixed; boundary=x\r\n\
             \x20   Content-Disposition: attachment; filename=report.pdf\r\n\r\ninto the header.",
            ),
        ),
        (
            "header of a mail, pasted",
            plain(
                "Received: from a by b\r\nContent-Type: multipart/mixed; boundary=\"x\"\r\nSubject: Hi\r\n\r\n\
             That is the header.",
            ),
        ),
        (
            "source code",
            plain(
                "#include <stdio.h>\r\n--x;\r\nint main(void)\r\n{\r\n\tprintf(\"MZ\\n\");\r\n\
             \treturn system(\"cmd.exe\");\r\n}",
            ),
        ),
        ("script in a text", plain("@echo off\r\nstart setup.exe\r\ncopy a.bat b.cmd\r\n")),
        (
            "patch",
            plain(
                "diff --git a/setup.exe.manifest b/setup.exe.manifest\r\n--- a/run.bat\r\n+++ b/run.bat\r\n\
             @@ -1 +1 @@\r\n-start evil.exe\r\n+start good.exe",
            ),
        ),
        ("dashes", plain("--\r\n--=\r\n----------\r\n--boundary\r\nContent is king:\r\n--boundary--")),
        (
            "binary dump",
            plain("00000000  4d 5a 90 00 03 00 00 00  04 00 00 00 ff ff 00 00  |MZ..............|"),
        ),
        (
            "link of data",
            message(
                "Content-Type: text/html",
                "<img src=\"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ\">",
            ),
        ),
        (
            "page that offers a program",
            message(
                "Content-Type: text/html",
                "<a href=\"https://www.example.com/setup.exe\" download>setup.exe</a>",
            ),
        ),
        ("very long line", plain(&"lorem ipsum ".repeat(5000))),
        (
            "8-bit without a character set",
            [&b"From: a@b\r\nSubject: \xfc\r\n\r\nGr\xfc\xdfe\r\n"[..]].concat(),
        ),
        (
            "bare line feeds",
            b"From: a@b\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nHi\n--b\n\
             Content-Type: application/pdf; name=a.pdf\n\n%PDF\n--b--\n"
                .to_vec(),
        ),
    ]
}

fn lists() -> Vec<(&'static str, Vec<u8>)> {
    let letter = |number: usize| {
        format!(
            "Content-Type: message/rfc822\r\n\r\nFrom: a{number}@b\r\nSubject: [list] {number}\r\n\r\n\
             Hello {number}\r\n"
        )
    };
    let digest = nested(
        "digest",
        "inner",
        &(1..20).map(|n| format!("\r\nFrom: a{n}@b\r\nSubject: {n}\r\n\r\nHello\r\n")).collect::<Vec<_>>(),
    );
    vec![
        (
            "Mailman, footer",
            of(
                "List-Id: <list.example.org>\r\nX-Mailman-Version: 2.1.39",
                "mixed",
                "===============1234567890==",
                &[
                    text("Hello"),
                    "Content-Type: text/plain; charset=\"us-ascii\"\r\nMIME-Version: 1.0\r\n\
             Content-Transfer-Encoding: 7bit\r\nContent-Disposition: inline\r\n\r\n_______________\r\n\
             list mailing list\r\nhttp://www.example.com/list\r\n"
                        .to_owned(),
                ],
            ),
        ),
        (
            "Mailman, digest",
            of(
                "X-Mailman-Version: 2.1.39",
                "mixed",
                "===============987==",
                &[
                    "Content-Type: text/plain; charset=\"us-ascii\"\r\n\
             Content-Description: list Digest, Vol 1, Issue 2\r\n\r\nToday's Topics\r\n"
                        .to_owned(),
                    digest,
                    "Content-Type: text/plain\r\nContent-Description: Digest Footer\r\n\r\n____\r\n"
                        .to_owned(),
                ],
            ),
        ),
        (
            "digest in a digest",
            multipart(
                "mixed",
                &[&nested(
                    "digest",
                    "o",
                    &["\r\nContent-Type: multipart/digest; boundary=i\r\n\r\n--i\r\n\r\nSubject: x\r\n\r\nHi\r\n\
             --i--\r\n".to_owned()],
                )],
            ),
        ),
        (
            "twenty messages",
            multipart(
                "mixed",
                &(0..20).map(letter).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>(),
            ),
        ),
        (
            "Google Groups with ARC",
            message(
                "ARC-Seal: i=2; a=rsa-sha256; t=1767225600; cv=pass; d=google.com; s=arc; b=AbCd/+==\r\n\
             ARC-Message-Signature: i=2; a=rsa-sha256; c=relaxed/relaxed; d=google.com; h=from:to; \
             bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=x==\r\n\
             ARC-Authentication-Results: i=2; gmr-mx.google.com; dkim=pass header.i=@example.com; \
             spf=pass smtp.mailfrom=a@example.com\r\nList-Post: <https://groups.google.com/group/x/post>\r\n\
             Content-Type: text/plain",
                "Hello",
            ),
        ),
        (
            "DKIM twice",
            message(
                "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=a;\r\n\
             \th=from:to:content-type; bh=x=; b=y=\r\n\
             DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=b; bh=x=; b=z=\r\n\
             Content-Type: text/plain",
                "Hello",
            ),
        ),
        (
            "git send-email",
            message(
                "X-Mailer: git-send-email 2.43.0\r\nContent-Type: text/plain; charset=UTF-8\r\n\
             Content-Transfer-Encoding: 8bit",
                "---\r\n src/a.js | 2 +-\r\n 1 file changed\r\n\r\ndiff --git a/src/a.js b/src/a.js\r\n\
             --- a/src/a.js\r\n+++ b/src/a.js\r\n@@ -1 +1 @@\r\n-a\r\n+b\r\n-- \r\n2.43.0",
            ),
        ),
        (
            "git binary patch",
            message(
                "Content-Type: text/plain",
                "diff --git a/a.png b/a.png\r\nGIT binary patch\r\nliteral 120\r\n\
             zcmeAS@N?(olHy`uVBq!ia0vp^0wB!93?!50ihlx9oB=)|u0Z<#^MUXGhnNzc\r\n\r\nliteral 0\r\n\
             HcmV?d00001\r\n",
            ),
        ),
        (
            "forwarded ten times in the text",
            message(
                "Content-Type: text/plain",
                &"-----Original Message-----\r\nFrom: a@example.com\r\nSent: Monday\r\nTo: b\r\n\
             Subject: FW: x\r\n\r\n"
                    .repeat(10),
            ),
        ),
        ("forwarded seven times as attachment", super::chain(7)),
    ]
}

fn machines() -> Vec<(&'static str, Vec<u8>)> {
    let returned = mail(&[attachment("report.pdf", b"%PDF-1.7")]);
    let returned = String::from_utf8(returned).unwrap();
    let report = |kind: &str, status: &str| {
        of(
            "Auto-Submitted: auto-replied",
            &format!("report; report-type={kind}"),
            "rp",
            &[
                "\r\nSee below.\r\n".to_owned(),
                status.to_owned(),
                format!("Content-Type: message/rfc822\r\n\r\n{returned}"),
            ],
        )
    };
    let event = |method: &str| {
        format!("Content-Type: text/calendar; charset=\"utf-8\"; method={method}\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{}\r\n", base64(format!("BEGIN:VCALENDAR\r\nMETHOD:{method}\r\nATTACH;FILENAME=agenda.pdf:CID:x\r\nEND:VCALENDAR\r\n").as_bytes()))
    };
    vec![
        (
            "bounce of Postfix",
            report(
                "delivery-status",
                "Content-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; mail.example.com\r\nX-Postfix-Queue-ID: 4ABC\r\n\r\n\
             Final-Recipient: rfc822; b@example.org\r\nAction: failed\r\nStatus: 5.7.1\r\n\
             Diagnostic-Code: smtp; 554 5.7.1 evil.exe is not accepted\r\n",
            ),
        ),
        (
            "bounce of Exchange",
            of(
                "X-MS-Exchange-Message-Is-Ndr:",
                "report; report-type=delivery-status",
                "x9",
                &[
                    nested("alternative", "x8", &[text("Undeliverable"), html("Undeliverable")]),
                    "Content-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns;AM6.eurprd01.prod.outlook.com\r\n\r\n\
             Final-Recipient: rfc822;b@example.org\r\nAction: failed\r\n"
                        .to_owned(),
                    "Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n\
             Content-Type: multipart/mixed; boundary=\"zz\"\r\n"
                        .to_owned(),
                ],
            ),
        ),
        (
            "bounce of qmail",
            message(
                "Content-Type: text/plain",
                "Hi. This is the qmail-send program.\r\n<b@example.org>:\r\nSorry, no mailbox here.\r\n\r\n\
             --- Below this line is a copy of the message.\r\n\r\nReturn-Path: <a@example.com>\r\n\
             From: a@example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"q\"\r\n\
             \r\n--q\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\n\r\n%PDF\r\n--q--",
            ),
        ),
        (
            "receipt",
            report(
                "disposition-notification",
                "Content-Type: message/disposition-notification\r\n\r\n\
             Reporting-UA: mail.example.com; Thunderbird\r\nFinal-Recipient: rfc822;b@example.org\r\n\
             Disposition: automatic-action/MDN-sent-automatically; displayed\r\n",
            ),
        ),
        (
            "complaint",
            report(
                "feedback-report",
                "Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: x/1.0\r\n\
             Version: 1\r\nReported-Domain: example.com\r\n",
            ),
        ),
        (
            "DMARC report",
            of(
                "X-Mailer: x",
                "mixed",
                "d",
                &[
                    text("This is a report"),
                    part(
                        "Content-Type: application/gzip; \
             name=\"google.com!example.com!1767225600!1767311999.xml.gz\"\r\n\
             Content-Disposition: attachment; \
             filename=\"google.com!example.com!1767225600!1767311999.xml.gz\"",
                        &archives::gz(None, b"<feedback/>"),
                    ),
                ],
            ),
        ),
        (
            "TLS report",
            of(
                "TLS-Report-Domain: example.com",
                "report; report-type=\"tlsrpt\"",
                "t",
                &[
                    text("Report"),
                    part(
                        "Content-Type: application/tlsrpt+gzip\r\n\
             Content-Disposition: attachment; \
             filename=\"mail.sender.example.com!example.com!1767225600!1767312000!001.json.gz\"",
                        &archives::gz(None, b"{}"),
                    ),
                ],
            ),
        ),
        (
            "invitation",
            of(
                "X-Mailer: Microsoft Outlook 16.0",
                "alternative",
                "i",
                &[text("Meeting"), html("Meeting"), event("REQUEST")],
            ),
        ),
        (
            "invitation of Google",
            of(
                "X-Google: x",
                "mixed",
                "g",
                &[
                    nested("alternative", "h", &[text("Meeting"), html("Meeting"), event("REQUEST")]),
                    part(
                        "Content-Type: application/ics; name=\"invite.ics\"\r\n\
             Content-Disposition: attachment; filename=\"invite.ics\"",
                        b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n",
                    ),
                ],
            ),
        ),
        ("answer to an invitation", multipart("alternative", &[&event("REPLY")])),
        ("called off", multipart("alternative", &[&event("CANCEL")])),
        (
            "absence",
            message(
                "Auto-Submitted: auto-replied (vacation)\r\nContent-Type: text/plain",
                "I am away until 2026.01.31.",
            ),
        ),
        (
            "scanner, no closing boundary",
            message(
                "X-Mailer: KONICA MINOLTA bizhub C250i\r\n\
             Content-Type: multipart/mixed; boundary=\"KONICA_MINOLTA_Internet_Fax_Boundary\"",
                &format!(
                    "--KONICA_MINOLTA_Internet_Fax_Boundary\r\nContent-Type: text/plain\r\n\r\nScan\r\n\
             --KONICA_MINOLTA_Internet_Fax_Boundary\r\n\
             Content-Type: application/pdf; name=\"SKM_C250i26010112340.pdf\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{}",
                    base64(b"%PDF-1.4")
                ),
            ),
        ),
        (
            "scanner, empty line missing",
            message(
                "X-Mailer: Canon iR\r\nContent-Type: multipart/mixed; boundary=c",
                &format!(
                    "--c\r\nContent-Type: text/plain\r\n\r\n\r\n--c\r\n\
             Content-Type: image/tiff; name=\"0042_001.tif\"\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment; filename=\"0042_001.tif\"\r\n\r\n{}\r\n--c--",
                    base64(b"II*\0")
                ),
            ),
        ),
        (
            "scanner, single part",
            message(
                "X-Mailer: RICOH\r\nContent-Type: application/octet-stream; name=scan.pdf\r\n\
             Content-Transfer-Encoding: BASE64\r\nContent-Disposition: attachment; filename=scan.pdf",
                &base64(b"%PDF-1.4"),
            ),
        ),
        (
            "fax",
            multipart(
                "mixed",
                &[
                    "Content-Type: text/plain\r\n\r\nFax",
                    "Content-Type: image/tiff; application=faxbw; name=FAX00001.TIF\r\n\
             Content-Transfer-Encoding: base64\r\nContent-Description: FAX from +49.89.123456.com\r\n\r\n\
             SUkqAA==",
                ],
            ),
        ),
        (
            "voice mail",
            multipart(
                "voice-message; version=2.0",
                &["Content-Type: audio/32KADPCM\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: inline; voice=Voice-Message; filename=msg1.726\r\n\r\nUklGRg=="],
            ),
        ),
        (
            "cron",
            message(
                "X-Cron-Env: <SHELL=/bin/sh>\r\nContent-Type: text/plain; charset=UTF-8\r\n\
             Auto-Submitted: auto-generated",
                "/etc/cron.daily/logrotate:\r\nerror: setup.exe.log not found",
            ),
        ),
        (
            "backup report with a log",
            mail(&[
                "\r\nBackup done.".to_owned(),
                attachment("backup-2026.01.31.log.xz", &archives::xz(b"all is well\n")),
            ]),
        ),
        (
            "monitoring",
            message(
                "Content-Type: text/plain",
                "** PROBLEM **\r\nHost: www.example.com\r\nState: DOWN\r\n\
             Info: c:\\windows\\system32\\cmd.exe failed",
            ),
        ),
        ("part without header", multipart("mixed", &["\r\nHello", "\r\nWorld"])),
        (
            "boundary with strange characters",
            message(
                "Content-Type: multipart/mixed; boundary=\"=_?:(),./+' x\"",
                "--=_?:(),./+' x\r\n\r\nHello\r\n--=_?:(),./+' x--",
            ),
        ),
        (
            "many small parts",
            multipart(
                "mixed",
                &["Content-Type: image/gif; name=\"dot.gif\"\r\nContent-Transfer-Encoding: base64\r\n\r\nR0lGODlh";
                    200],
            ),
        ),
    ]
}
