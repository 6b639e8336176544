//! Ways to put a part into a message so that only some mail programs see it (2.1).

use super::Harmless::{self, IsRefused, Passes};
use crate::build::base64;

/// A way to put a part (header fields, an empty line, a body) into a message.
pub(super) struct Structure {
    pub(super) what: &'static str,
    pub(super) mail: String,
    pub(super) harmless: Harmless,
}

const FROM: &str = "From: a@example.com\r\nTo: b@example.org\r\nSubject: test\r\n";
const MIME: &str = "From: a@example.com\r\nTo: b@example.org\r\nSubject: test\r\nMIME-Version: 1.0\r\n";

fn body(boundary: &str, part: &str) -> String {
    format!("--{boundary}\r\n\r\nHello\r\n--{boundary}\r\n{part}\r\n--{boundary}--\r\n")
}

/// A message with these header fields, and the part in a multipart of the boundary `B`.
fn under(fields: &str, part: &str) -> String {
    format!("{MIME}{fields}\r\n\r\n{}", body("B", part))
}

/// The whole message as one part.
fn whole(part: &str) -> String {
    format!("{MIME}{part}\r\n")
}

fn multipart(part: &str) -> String {
    under("Content-Type: multipart/mixed; boundary=B", part)
}

/// All structures that hold `part`.
pub(super) fn structures(part: &str) -> Vec<Structure> {
    let passing = boundaries(part).into_iter().chain(places(part)).chain(messages(part));
    let mut all: Vec<Structure> =
        passing.map(|(what, mail)| Structure { what, mail, harmless: Passes }).collect();
    let refused = refused(part).into_iter();
    all.extend(refused.map(|(what, mail)| Structure { what, mail, harmless: IsRefused }));
    all
}

/// Games with the boundary and the type that declares it.
fn boundaries(part: &str) -> Vec<(&'static str, String)> {
    let long = "x".repeat(100);
    let declared = [
        ("plain multipart", "Content-Type: multipart/mixed; boundary=B"),
        (
            "type twice, multipart first",
            "Content-Type: multipart/mixed; boundary=B\r\nContent-Type: text/plain",
        ),
        (
            "type twice, multipart last",
            "Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=B",
        ),
        (
            "multipart twice, first real",
            "Content-Type: multipart/mixed; boundary=B\r\nContent-Type: multipart/mixed; boundary=A",
        ),
        (
            "multipart twice, last real",
            "Content-Type: multipart/mixed; boundary=A\r\nContent-Type: multipart/mixed; boundary=B",
        ),
        ("boundary twice, first real", "Content-Type: multipart/mixed; boundary=B; boundary=A"),
        ("boundary twice, last real", "Content-Type: multipart/mixed; boundary=A; boundary=B"),
        ("extended boundary is real", "Content-Type: multipart/mixed; boundary=A; boundary*=us-ascii''B"),
        ("plain boundary is real", "Content-Type: multipart/mixed; boundary=B; boundary*=us-ascii''A"),
        ("boundary in hex", "Content-Type: multipart/mixed; boundary*=us-ascii''%42"),
        ("boundary in pieces", "Content-Type: multipart/mixed; boundary*0=\"\"; boundary*1=B"),
        ("piece of boundary twice, last real", "Content-Type: multipart/mixed; boundary*0=Z; boundary*0=B"),
        ("piece of boundary twice, first real", "Content-Type: multipart/mixed; boundary*0=B; boundary*0=Z"),
        ("boundary is an encoded word", "Content-Type: multipart/mixed; boundary=\"=?utf-8?Q?B?=\""),
        ("fold after the equals sign", "Content-Type: multipart/mixed; boundary=\r\n \"B\""),
        ("comment behind the parameter name", "Content-Type: multipart/mixed; boundary((c))=B; boundary=Z"),
        ("comment in the value", "Content-Type: multipart/mixed; boundary=B(c)"),
        ("comment in the type", "Content-Type: multipart(c)/mixed; boundary=B"),
        ("comment before the type", "Content-Type: (c) multipart/mixed; boundary=B"),
        ("space before the value", "Content-Type: multipart/mixed; boundary=\" B\""),
        ("space behind the value", "Content-Type: multipart/mixed; boundary=\"B \""),
        ("boundary in other case", "Content-Type: multipart/mixed; boundary=b"),
        ("boundary not declared", "Content-Type: multipart/mixed"),
        ("boundary empty", "Content-Type: multipart/mixed; boundary=\"\""),
        ("boundary that never occurs", "Content-Type: multipart/mixed; boundary=A"),
        ("type missing before the slash", "Content-Type: /mixed; boundary=B"),
        ("type missing", "Content-Type: ; boundary=B"),
        ("type behind a semicolon", "Content-Type: ;multipart/mixed; boundary=B"),
        ("text with a boundary", "Content-Type: text/plain; boundary=B"),
        ("strange multipart", "Content-Type: multipart/x-strange; boundary=B"),
        ("type in upper case", "CONTENT-TYPE: MULTIPART/MIXED; BOUNDARY=B"),
        ("type without subtype", "Content-Type: multipart; boundary=B"),
        ("space in the type", "Content-Type: multipart / mixed; boundary=B"),
        (
            "boundary in the disposition",
            "Content-Type: multipart/mixed\r\nContent-Disposition: inline; boundary=B",
        ),
        ("comment in the field name", "Content-Type(x): multipart/mixed; boundary=B"),
        ("space before the colon", "Content-Type : multipart/mixed; boundary=B"),
        ("invalid parameter first", "Content-Type: multipart/mixed; x:y=1; boundary=B"),
        ("8-bit parameter first", "Content-Type: multipart/mixed; \u{e9}=1; boundary=B"),
        ("no equals sign first", "Content-Type: multipart/mixed; x; boundary=B"),
        ("no semicolon", "Content-Type: multipart/mixed boundary=B"),
        ("quote not closed", "Content-Type: multipart/mixed; boundary=\"B"),
        ("single quotes", "Content-Type: multipart/mixed; boundary='B'"),
        ("quoted pair", "Content-Type: multipart/mixed; boundary=\"\\B\""),
        ("tab before the value", "Content-Type:\tmultipart/mixed;\r\n\tboundary=B"),
    ];
    let mut all: Vec<_> = declared.into_iter().map(|(what, fields)| (what, under(fields, part))).collect();
    all.extend([
        (
            "boundary of 100 characters, cut at 70",
            format!(
                "{MIME}Content-Type: multipart/mixed; boundary={long}\r\n\r\n{}",
                body(&long[..70], part)
            ),
        ),
        (
            "encoded word is the boundary as it stands",
            format!(
                "{MIME}Content-Type: multipart/mixed; boundary=\"=?utf-8?Q?B?=\"\r\n\r\n{}",
                body("=?utf-8?Q?B?=", part)
            ),
        ),
        (
            "boundary in hex as it stands",
            format!("{MIME}Content-Type: multipart/mixed; boundary=\"%42\"\r\n\r\n{}", body("%42", part)),
        ),
        (
            "boundary with spaces, not quoted",
            format!("{MIME}Content-Type: multipart/mixed; boundary=B C\r\n\r\n{}", body("B C", part)),
        ),
        (
            "no MIME version",
            format!("{FROM}Content-Type: multipart/mixed; boundary=B\r\n\r\n{}", body("B", part)),
        ),
    ]);
    all
}

/// Places of a part and of the lines around it.
fn places(part: &str) -> Vec<(&'static str, String)> {
    let mixed = format!("{MIME}Content-Type: multipart/mixed; boundary=B\r\n\r\n");
    let plain = multipart(part);
    let (fields, content) = part.split_once("\r\n\r\n").unwrap();
    vec![
        ("preamble", format!("{mixed}{part}\r\n--B\r\n\r\nHello\r\n--B--\r\n")),
        ("epilogue", format!("{mixed}--B\r\n\r\nHello\r\n--B--\r\n{part}\r\n")),
        (
            "part after the close delimiter",
            format!("{mixed}--B\r\n\r\nHello\r\n--B--\r\n--B\r\n{part}\r\n--B--\r\n"),
        ),
        ("no close delimiter", format!("{mixed}--B\r\n\r\nHello\r\n--B\r\n{part}\r\n")),
        (
            "delimiter with a suffix",
            format!("{mixed}--Bxyz\r\n\r\nHello\r\n--Bxyz\r\n{part}\r\n--Bxyz--\r\n"),
        ),
        ("delimiter with spaces behind", plain.replace("--B\r\n", "--B \t\r\n")),
        ("delimiter in the middle of a line", plain.replace("Hello\r\n--B", "Hello--B")),
        ("close delimiter in the middle", plain.replace("--B\r\n\r\nHello", "--B--x\r\n\r\nHello")),
        ("delimiter after a space", plain.replace("\r\n--B\r\n", "\r\n --B\r\n")),
        ("no empty line before the parts", plain.replacen("\r\n\r\n--B", "\r\n--B", 1)),
        ("two empty lines before the fields", format!("{mixed}--B\r\n\r\n{part}\r\n--B--\r\n")),
        ("space on the empty line", format!("{mixed}--B\r\n{fields}\r\n \r\n{content}\r\n--B--\r\n")),
        ("bare line feeds", plain.replace("\r\n", "\n")),
        ("bare carriage returns", plain.replace("\r\n", "\r")),
        ("bare carriage returns in the body", {
            let (header, rest) = plain.split_once("\r\n\r\n").unwrap();
            format!("{header}\r\n\r\n{}", rest.replace("\r\n", "\r"))
        }),
        ("line ends mixed", {
            let mut ends = ["\r\n", "\n"].into_iter().cycle();
            plain.split("\r\n").fold(String::new(), |all, line| all + line + ends.next().unwrap())
        }),
        ("NUL before the delimiter", plain.replace("\r\n--B", "\r\n\0--B")),
        ("NUL in a field name", plain.replace("Content-Type", "Content\0-Type")),
        ("single part", whole(part)),
        ("single part without MIME version", format!("{FROM}{part}\r\n")),
        ("text that holds a part", format!("{MIME}Content-Type: text/plain\r\n\r\n{part}\r\n")),
        ("text that holds a multipart", format!("{MIME}Content-Type: text/plain\r\n\r\n{}", body("B", part))),
        ("multipart in multiparts", {
            let nested = (0..5).fold(part.to_owned(), |inner, level| {
                let boundary = format!("N{level}");
                format!(
                    "Content-Type: multipart/related; boundary={boundary}\r\n\r\n{}",
                    body(&boundary, &inner)
                )
            });
            multipart(&nested)
        }),
        ("inner boundary begins like the outer", {
            let inner = format!("Content-Type: multipart/mixed; boundary=BB\r\n\r\n{}", body("BB", part));
            multipart(&inner)
        }),
        ("inner boundary is the outer", {
            let inner = format!("Content-Type: multipart/mixed; boundary=B\r\n\r\n{}", body("B", part));
            multipart(&inner)
        }),
        ("inner multipart not closed", {
            let inner = format!("Content-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n{part}");
            multipart(&inner)
        }),
        (
            "base64 multipart",
            format!(
                "{MIME}Content-Type: multipart/mixed; boundary=B\r\nContent-Transfer-Encoding: base64\r\n\r\n\
             {}\r\n",
                base64(body("B", part).as_bytes())
            ),
        ),
        (
            "quoted-printable multipart",
            format!(
                "{MIME}Content-Type: multipart/mixed; boundary=B\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n{}",
                body("B", part).replace('=', "=3D")
            ),
        ),
    ]
}

/// Attached messages.
fn messages(part: &str) -> Vec<(&'static str, String)> {
    let inner = multipart(part);
    let encoded = base64(inner.as_bytes());
    let attached = |fields: &str| multipart(&format!("{fields}\r\n\r\n{inner}"));
    let in_base64 =
        |fields: &str| multipart(&format!("{fields}\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}"));
    vec![
        ("attached message", attached("Content-Type: message/rfc822")),
        ("attached message with a name", attached("Content-Type: message/rfc822; name=\"Re: hello.eml\"")),
        ("attached message in base64", in_base64("Content-Type: message/rfc822")),
        ("attached international message in base64", in_base64("Content-Type: message/global")),
        ("attached news", in_base64("Content-Type: message/news")),
        ("attached strange message", in_base64("Content-Type: message/x-strange")),
        ("attached message of another type", in_base64("Content-Type: application/octet-stream; name=a.eml")),
        (
            "attached message without a type",
            in_base64("Content-Disposition: attachment; filename=letter.bin"),
        ),
        ("attached web archive", in_base64("Content-Type: multipart/related; name=a.mht")),
        ("attached web archive as a file", in_base64("Content-Type: application/octet-stream; name=a.mhtml")),
        ("attached text that is a message", attached("Content-Type: text/plain; name=a.txt")),
        (
            "digest",
            under(
                "Content-Type: multipart/digest; boundary=B",
                &format!("\r\n{}", multipart(part).replace("--B", "--C").replace("boundary=B", "boundary=C")),
            ),
        ),
        ("messages in base64, five deep", {
            (0..5).fold(multipart(part), |inner, _| {
                format!(
                    "{MIME}Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
                    base64(inner.as_bytes())
                )
            })
        }),
        ("chain of forwarded messages", {
            (0..6).fold(multipart(part), |inner, level| {
                let boundary = format!("F{level}");
                let forwarded = format!("Content-Type: message/rfc822\r\n\r\n{inner}");
                format!(
                    "{MIME}Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n{}",
                    body(&boundary, &forwarded)
                )
            })
        }),
        (
            "returned message",
            under(
                "Content-Type: multipart/report; report-type=delivery-status; boundary=B",
                &format!(
                    "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n\r\n--B\r\n\
             Content-Type: message/rfc822\r\n\r\n{}",
                    inner.replace("--B", "--C").replace("boundary=B", "boundary=C")
                ),
            ),
        ),
    ]
}

/// Messages that are refused for what they are.
fn refused(part: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "partial message",
            whole(&format!(
                "Content-Type: message/partial; id=\"x@y\"; number=1; total=2\r\n\r\n{}",
                multipart(part)
            )),
        ),
        (
            "body held elsewhere",
            under(
                "Content-Type: multipart/mixed; boundary=B",
                "Content-Type: message/external-body; access-type=URL; URL=\"http://www.example.com/evil.exe\"\r\n\r\n\
                 Content-Type: application/octet-stream\r\n\r\n",
            ),
        ),
    ]
}
