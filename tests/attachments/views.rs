//! Every trick by which a part hides from some reading of a message (attachments.md §2.1), row by row: the payload is
//! found whatever the trick is, and the same message with a harmless payload is not refused.

use greylag::checks::AttachmentSettings;
use greylag::checks::attachments::findings;
use greylag::content::{Found, Report};
use greylag::reason::Reason;
use greylag::verdict::Action;

use crate::build::{base64, scan, zip};

/// What is hidden: a name that no archive shows, or content that no name shows.
struct Payload {
    /// Header fields of the part.
    fields: String,
    data: Vec<u8>,
}

impl Payload {
    fn name(name: &str) -> Self {
        let fields = format!("Content-Type: application/octet-stream; name=\"{name}\"");
        Self {
            fields,
            data: b"just a few words that are harmless in themselves, whatever they are called".to_vec(),
        }
    }

    fn content(name: &str) -> Self {
        let data = zip(&[(name, &b"some words in a file of an archive".repeat(9))]);
        Self { fields: "Content-Type: application/octet-stream".into(), data }
    }

    /// The part as it should be.
    fn part(&self) -> String {
        self.encoded_as("base64", &base64(&self.data))
    }

    fn encoded_as(&self, encoding: &str, body: &str) -> String {
        format!("{}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}", self.fields)
    }

    fn quoted(&self) -> String {
        let digits: Vec<String> = self.data.iter().map(|byte| format!("={byte:02X}")).collect();
        digits.chunks(24).map(|line| line.concat()).collect::<Vec<_>>().join("=\r\n")
    }

    /// In base64 with a character in every line that does not belong there, so that lines alone do not show it.
    fn garbled(&self) -> String {
        let lines = base64(&self.data);
        let lines = lines.lines().map(|line| format!("{}!{}\r\n", &line[..1], &line[1..]));
        format!("{}\r\nContent-Transfer-Encoding: base64\r\n\r\n{}", self.fields, lines.collect::<String>())
    }

    fn uuencoded(&self) -> String {
        let digit = |value: u32| char::from(if value == 0 { b'`' } else { value as u8 + 32 });
        let lines = self.data.chunks(45).map(|line| {
            let groups = line.chunks(3).flat_map(|group| {
                let at = |index: usize| u32::from(*group.get(index).unwrap_or(&0));
                let bits = at(0) << 16 | at(1) << 8 | at(2);
                [18, 12, 6, 0].map(|shift| digit(bits >> shift & 63))
            });
            digit(line.len() as u32).to_string() + &groups.collect::<String>() + "\r\n"
        });
        lines.collect::<String>() + "`\r\nend\r\n"
    }
}

/// A whole message around one part, `boundary` being how the Content-Type says it.
fn mixed(boundary: &str, part: &str) -> String {
    message(&format!("Content-Type: multipart/mixed; {boundary}"), &format!("--B\r\n{part}\r\n--B--\r\n"))
}

fn message(fields: &str, body: &str) -> String {
    format!(
        "From: a@example.com\r\nTo: b@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n{fields}\r\n\r\n{body}"
    )
}

/// A message whose parts stand between delimiters of `B`, while for most who read it they end with `Z`.
fn hidden_by(boundaries: &str, decoys: &str, part: &str) -> String {
    let text = "--Z\r\nContent-Type: text/plain\r\n\r\nhello\r\n";
    message(
        &format!("Content-Type: multipart/mixed; {boundaries}"),
        &format!("{text}{decoys}--B\r\n{part}\r\n--B--\r\n\r\n--Z--\r\n"),
    )
}

/// So many fields that no part is seen to begin before them.
fn many_fields() -> String {
    (0..31).map(|n| format!("X-{n}: y\r\n")).collect()
}

/// One row of the table: how it hides the part.
type Row = (&'static str, fn(&Payload) -> String);

const BOUNDARIES: &[Row] = &[
    ("plain", |p| mixed("boundary=B", &p.part())),
    ("duplicate Content-Type, multipart first", |p| {
        let body = format!("--B\r\n{}\r\n--B--\r\n", p.part());
        message("Content-Type: multipart/mixed; boundary=B\r\nContent-Type: text/plain", &body)
    }),
    ("duplicate Content-Type, multipart last", |p| {
        let body = format!("--B\r\n{}\r\n--B--\r\n", p.part());
        message("Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=B", &body)
    }),
    ("duplicate boundary, first", |p| mixed("boundary=B; boundary=Z", &p.part())),
    ("duplicate boundary, last", |p| mixed("boundary=Z; boundary=B", &p.part())),
    ("boundary and boundary*", |p| mixed("boundary=Z; boundary*=us-ascii''B", &p.part())),
    ("continuation", |p| mixed("boundary*0=\"\"; boundary*1=B", &p.part())),
    ("duplicate section", |p| mixed("boundary*0=Z; boundary*0=B", &p.part())),
    ("comment in the parameter's name", |p| mixed("boundary((c))=B; boundary=Z", &p.part())),
    ("encoded word", |p| mixed("boundary=\"=?us-ascii?Q?B?=\"", &p.part())),
    ("fold after =", |p| mixed("boundary=\r\n \"B\"", &p.part())),
    ("CR in the value", |p| mixed("boundary=\"\rB\"", &p.part())),
    ("space behind it", |p| mixed("boundary=\"B \"", &p.part())),
    ("space before it", |p| mixed("boundary=\" B\"", &p.part())),
    ("other case", |p| mixed("boundary=b", &p.part())),
    ("duplicate boundary, behind many fields", |p| {
        hidden_by("boundary=Z; boundary=B", "", &(many_fields() + &p.garbled()))
    }),
    ("duplicate boundary, last of many", |p| {
        let boundaries: String = (0..20).map(|n| format!("boundary=Z{n}; ")).collect();
        hidden_by(&format!("boundary=Z; {boundaries}boundary=B"), "", &(many_fields() + &p.garbled()))
    }),
    ("duplicate boundary, behind decoys", |p| {
        let decoys: String = (0..8).map(|n| format!("--d{n}\r\nContent-Type: x\r\n\r\n")).collect();
        hidden_by("boundary=Z; boundary=B", &decoys, &p.garbled())
    }),
    ("duplicate boundary, used by another part", |p| {
        let other = "--Z\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\nx\r\n--Z\r\n\r\n";
        hidden_by("boundary=Z; boundary=B", other, &(many_fields() + &p.garbled()))
    }),
    ("duplicate boundary in a part behind another", |p| {
        let inner = format!("--C\r\n{}{}\r\n--C--\r\n", many_fields(), p.garbled());
        let part = format!("Content-Type: multipart/mixed; boundary=Y; boundary=C\r\n\r\n{inner}");
        hidden_by("boundary=Z; boundary=B", "", &(many_fields() + &part))
    }),
    ("duplicate boundary in an encoded message behind another", |p| {
        let inner = hidden_by("boundary=Z; boundary=B", "", &(many_fields() + &p.garbled()));
        let part = format!(
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
            base64(inner.as_bytes())
        );
        hidden_by("boundary=Z; boundary=B", "", &(many_fields() + &part))
    }),
    ("empty", |p| mixed("boundary=\"\"", &p.part())),
    ("missing", |p| mixed("charset=utf-8", &p.part())),
    ("too long", |p| mixed(&format!("boundary={}", "B".repeat(71)), &p.part())),
    ("text that has a boundary", |p| {
        message("Content-Type: text/plain; boundary=B", &format!("--B\r\n{}\r\n--B--\r\n", p.part()))
    }),
    ("semicolon before the type", |p| {
        message("Content-Type: ;multipart/mixed; boundary=B", &format!("--B\r\n{}\r\n--B--\r\n", p.part()))
    }),
    ("comment in the field's name", |p| {
        message("Content-Type(x): multipart/mixed; boundary=B", &format!("--B\r\n{}\r\n--B--\r\n", p.part()))
    }),
    ("space before the colon", |p| {
        message("Content-Type : multipart/mixed; boundary=B", &format!("--B\r\n{}\r\n--B--\r\n", p.part()))
    }),
    ("bad parameter before it", |p| mixed("x:y=1; \u{e9}; boundary=B", &p.part())),
    ("boundary in Content-Disposition", |p| {
        let fields = "Content-Type: multipart/mixed\r\nContent-Disposition: inline; boundary=B";
        message(fields, &format!("--B\r\n{}\r\n--B--\r\n", p.part()))
    }),
    ("behind the final delimiter", |p| {
        mixed("boundary=B", &format!("\r\nx\r\n--B--\r\n--B\r\n{}", p.part()))
    }),
    ("in the preamble", |p| {
        let body = format!("--C\r\n{}\r\n--C--\r\n--B\r\n\r\nx\r\n--B--\r\n", p.part());
        message("Content-Type: multipart/mixed; boundary=B", &body)
    }),
    ("suffixed delimiter", |p| {
        message(
            "Content-Type: multipart/mixed; boundary=B",
            &format!("--Bxyz\r\n{}\r\n--Bxyz--\r\n", p.part()),
        )
    }),
    ("no MIME-Version", |p| mixed("boundary=B", &p.part()).replace("MIME-Version: 1.0\r\n", "")),
    ("bare CR", |p| mixed("boundary=B", &p.part()).replace("\r\n", "\r")),
    ("bare LF", |p| mixed("boundary=B", &p.part()).replace("\r\n", "\n")),
    ("no header at all", |p| p.part()),
];

const ENCODINGS: &[Row] = &[
    ("x-base64", |p| mixed("boundary=B", &p.encoded_as("x-base64", &base64(&p.data)))),
    ("base64;", |p| mixed("boundary=B", &p.encoded_as("base64;", &base64(&p.data)))),
    ("\"base64\"", |p| mixed("boundary=B", &p.encoded_as("\"base64\"", &base64(&p.data)))),
    ("base64 foo", |p| mixed("boundary=B", &p.encoded_as("base64 foo", &base64(&p.data)))),
    ("7bit", |p| mixed("boundary=B", &p.encoded_as("7bit", &base64(&p.data)))),
    ("duplicate, base64 first", |p| {
        let encoding = "base64\r\nContent-Transfer-Encoding: 7bit";
        mixed("boundary=B", &p.encoded_as(encoding, &base64(&p.data)))
    }),
    ("duplicate, base64 last", |p| {
        let encoding = "7bit\r\nContent-Transfer-Encoding: base64";
        mixed("boundary=B", &p.encoded_as(encoding, &base64(&p.data)))
    }),
    ("duplicate, of two encodings", |p| {
        let encoding = "base64\r\nContent-Transfer-Encoding: quoted-printable";
        mixed("boundary=B", &p.encoded_as(encoding, &base64(&p.data)))
    }),
    ("padding in the middle", |p| {
        let (start, end) = p.data.split_at(31);
        mixed("boundary=B", &p.encoded_as("base64", &(base64(start) + "\r\n" + &base64(end))))
    }),
    ("junk", |p| mixed("boundary=B", &p.encoded_as("base64", &base64(&p.data).replace('Z', "!Z*")))),
    ("equals signs as junk", |p| {
        mixed("boundary=B", &p.encoded_as("base64", &base64(&p.data).replacen('A', "A=", 5)))
    }),
    ("alphabet for URLs", |p| {
        mixed("boundary=B", &p.encoded_as("base64", &base64(&p.data).replace('+', "-").replace('/', "_")))
    }),
    ("odd lines", |p| {
        let text = base64(&p.data).replace("\r\n", "");
        let lines: Vec<&str> =
            text.as_bytes().chunks(37).map(|line| std::str::from_utf8(line).unwrap()).collect();
        mixed("boundary=B", &p.encoded_as("base64", &lines.join("\r\n")))
    }),
    ("quoted-printable", |p| mixed("boundary=B", &p.encoded_as("quoted-printable", &p.quoted()))),
    ("quoted-printable in small letters", |p| {
        mixed("boundary=B", &p.encoded_as("quoted-printable", &p.quoted().to_lowercase()))
    }),
    ("quoted-printable with ==", |p| {
        mixed("boundary=B", &p.encoded_as("quoted-printable", &p.quoted().replace("=\r\n", "==\r\n")))
    }),
    ("quoted-printable that says 7bit", |p| mixed("boundary=B", &p.encoded_as("7bit", &p.quoted()))),
    ("uuencode", |p| {
        let name = p.fields.split('"').nth(1).unwrap_or("a.bin");
        message("Content-Type: text/plain", &format!("Hello\r\nbegin 644 {name}\r\n{}", p.uuencoded()))
    }),
    ("uuencode in base64", |p| {
        let name = p.fields.split('"').nth(1).unwrap_or("a.bin");
        let text = format!("Hello\r\nbegin 644 {name}\r\n{}", p.uuencoded());
        message("Content-Type: text/plain\r\nContent-Transfer-Encoding: base64", &base64(text.as_bytes()))
    }),
    ("encoded multipart", |p| {
        let body = base64(format!("--B\r\n{}\r\n--B--\r\n", p.part()).as_bytes());
        message("Content-Type: multipart/mixed; boundary=B\r\nContent-Transfer-Encoding: base64", &body)
    }),
    ("encoded multipart of another boundary", |p| {
        let body = base64(format!("--C\r\nX: y\r\n{}\r\n--C--\r\n", p.part()).as_bytes());
        message("Content-Type: multipart/mixed; boundary=B\r\nContent-Transfer-Encoding: base64", &body)
    }),
];

const MESSAGES: &[Row] = &[
    ("message", |p| mixed("boundary=B", &format!("Content-Type: message/rfc822\r\n\r\n{}", p.part()))),
    ("five messages, each in base64", |p| {
        let mut inner = mixed("boundary=B", &p.part());
        for _ in 0..5 {
            inner = message(
                "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64",
                &base64(inner.as_bytes()),
            );
        }
        inner
    }),
    ("another kind of message", |p| {
        mixed(
            "boundary=B",
            &format!(
                "Content-Type: message/news\r\n\r\n{}",
                mixed("boundary=C", "x").replace("\r\n\r\n", &format!("\r\n\r\n--C\r\n{}\r\n", p.part()))
            ),
        )
    }),
    ("message as binary data", |p| {
        let inner = message(
            "Content-Type: multipart/mixed; boundary=C",
            &format!("--C\r\n{}\r\n--C--\r\n", p.part()),
        );
        let part = format!(
            "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
            base64(inner.as_bytes())
        );
        mixed("boundary=B", &part)
    }),
    ("headers that are a message", |p| {
        let inner = message(
            "Content-Type: multipart/mixed; boundary=C",
            &format!("--C\r\n{}\r\n--C--\r\n", p.part()),
        );
        mixed("boundary=B", &format!("Content-Type: text/rfc822-headers\r\n\r\n{inner}"))
    }),
    ("digest", |p| {
        let inner = message(
            "Content-Type: multipart/mixed; boundary=C",
            &format!("--C\r\n{}\r\n--C--\r\n", p.part()),
        );
        let part = format!("Content-Transfer-Encoding: base64\r\n\r\n{}", base64(inner.as_bytes()));
        message("Content-Type: multipart/digest; boundary=B", &format!("--B\r\n{part}\r\n--B--\r\n"))
    }),
    ("long header, encoded in a way that is contradicted", |p| {
        behind_trace(p, "Content-Type: message/rfc822", 0)
    }),
    ("the same, named as a message only", |p| {
        behind_trace(p, "Content-Type: application/octet-stream; name=fwd.eml", 0)
    }),
];

/// An attached message behind so many trace fields that those of MIME are not among its first bytes, in base64 that one of two
/// fields calls something else. Lines of base64 have another grouping for each `padding`.
fn behind_trace(p: &Payload, fields: &str, padding: usize) -> String {
    let trace =
        "Received: from host.example.com by mx.example.org; Mon, 01 Jan 2026 00:00:00 +0000\r\n".repeat(10);
    let pad = "p".repeat(padding);
    let inner = format!(
        "X-Pad: {pad}\r\n{trace}{}",
        mixed("boundary=C", "x").replace("--B\r\nx\r\n--B--", "--C\r\n")
    );
    let inner = inner + &p.part() + "\r\n--C--\r\n";
    let encoding = "base64\r\nContent-Transfer-Encoding: 7bit";
    let part =
        format!("{fields}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{}", base64(inner.as_bytes()));
    mixed("boundary=B", &part)
}

fn worst(report: &Report) -> Action {
    let findings = findings(report, &AttachmentSettings::default());
    findings.iter().map(|finding| finding.outcome.action()).max().unwrap_or_default()
}

#[test]
fn no_trick_hides_a_name_or_an_archive() {
    let mut missed = Vec::new();
    for (what, row) in [BOUNDARIES, ENCODINGS, MESSAGES].concat() {
        for payload in [Payload::name("evil.exe"), Payload::content("evil.exe")] {
            let report = scan(row(&payload).as_bytes());
            let is_found = report.found.iter().any(|found| {
                found.reason == Reason::AttachmentForbiddenExtension && found.path.ends_with("evil.exe")
            });
            if !is_found {
                missed.push(format!("{what}, {}: {:?}", payload.fields, report.found));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn no_trick_makes_a_harmless_file_forbidden() {
    // What is damaged so that some programs decode it to an archive and others to garbage cannot be read by all.
    let garbled = ["equals signs as junk", "quoted-printable with =="];
    let mut refused = Vec::new();
    for (what, row) in [BOUNDARIES, ENCODINGS, MESSAGES].concat() {
        for payload in [Payload::name("report.2026.pdf"), Payload::content("readme.txt")] {
            let report = scan(row(&payload).as_bytes());
            let is_unreadable = |found: &Found| found.reason == Reason::AttachmentUnreadableContainer;
            if garbled.contains(&what) && report.found.iter().all(is_unreadable) {
                continue;
            }
            if worst(&report) > Action::Tag {
                refused.push(format!("{what}, {}: {:?}", payload.fields, report.found));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn what_mail_programs_disagree_on_is_tagged() {
    let ambiguous = [
        "duplicate Content-Type, multipart first",
        "duplicate boundary, first",
        "boundary and boundary*",
        "duplicate section",
        "encoded word",
        "space behind it",
        "other case",
        "missing",
        "comment in the field's name",
        "suffixed delimiter",
        "x-base64",
        "duplicate, base64 last",
        "encoded multipart",
        "bare CR",
    ];
    let rows = [BOUNDARIES, ENCODINGS, MESSAGES].concat();
    for what in ambiguous {
        let (_, row) = rows.iter().find(|(name, _)| *name == what).unwrap();
        let report = scan(row(&Payload::name("report.pdf")).as_bytes());
        let causes: Vec<Reason> = report.found.iter().map(|found| found.reason).collect();
        assert_eq!(causes, [Reason::AttachmentAmbiguousMime], "{what}");
    }
    for what in [
        "plain",
        "continuation",
        "fold after =",
        "no MIME-Version",
        "bare LF",
        "quoted-printable",
        "uuencode",
        "message",
        "digest",
    ] {
        let (_, row) = rows.iter().find(|(name, _)| *name == what).unwrap();
        assert_eq!(scan(row(&Payload::name("report.pdf")).as_bytes()).found, [], "{what}");
    }
}

#[test]
fn a_wrong_encoding_makes_an_archive_no_unreadable_one() {
    let archive = |data: &[u8]| Payload {
        fields: "Content-Type: application/zip; name=a.zip".into(),
        data: data.to_vec(),
    };
    let intact = archive(&zip(&[("readme.txt", b"hello")]));
    let broken = archive(b"PK\x03\x04 and nothing that could follow it in a zip of any kind");
    for (what, row) in ENCODINGS.iter().filter(|(what, _)| !what.contains("multipart")) {
        if !["equals signs as junk", "quoted-printable with =="].contains(what) {
            assert!(worst(&scan(row(&intact).as_bytes())) <= Action::Tag, "{what}");
        }
    }
    for encoding in ["base64", "x-base64", "7bit"] {
        let report =
            scan(mixed("boundary=B", &broken.encoded_as(encoding, &base64(&broken.data))).as_bytes());
        assert_eq!(worst(&report), Action::Reject, "{encoding}");
    }
}

#[test]
fn a_part_without_a_name_has_that_of_its_type() {
    for (kind, name) in [("application/hta", "unnamed.hta"), ("application/X-MSDownload", "unnamed.exe")] {
        let report = scan(mixed("boundary=B", &format!("Content-Type: {kind}\r\n\r\nx")).as_bytes());
        let found: Vec<_> = report.found.iter().map(|found| (found.reason, found.path.as_str())).collect();
        assert_eq!(found, [(Reason::AttachmentForbiddenExtension, name)]);
    }
    for (kind, name) in [
        ("text/javascript", "unnamed.js"),
        ("application/JavaScript", "unnamed.js"),
        ("application/internet-shortcut", "unnamed.url"),
    ] {
        let scan_as = |disposition: &str| {
            let part = format!("Content-Type: {kind}\r\nContent-Disposition: {disposition}\r\n\r\nx");
            scan(mixed("boundary=B", &part).as_bytes()).found
        };
        let found = scan_as("attachment");
        let found: Vec<_> = found.iter().map(|found| (found.reason, found.path.as_str())).collect();
        assert_eq!(found, [(Reason::AttachmentForbiddenExtension, name)]);
        assert_eq!(scan_as("inline"), []);
    }
    let named = "Content-Type: application/x-msdownload; name=report.pdf\r\n\r\nx";
    assert_eq!(scan(mixed("boundary=B", named).as_bytes()).found, []);
}

#[test]
fn what_was_cut_on_its_way_back_is_not_unreadable() {
    let archive = zip(&[("report.pdf", &b"%PDF".repeat(500))]);
    let half = base64(&archive[..archive.len() / 2]);
    let part = format!(
        "Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n{half}"
    );
    let cut = message("Content-Type: multipart/mixed; boundary=C", &format!("--C\r\n{part}"));
    let returned =
        format!("--B\r\n\r\nIt failed.\r\n--B\r\nContent-Type: message/rfc822\r\n\r\n{cut}\r\n--B--\r\n");
    let report = |kind: &str| {
        scan(message(&format!("Content-Type: multipart/{kind}; boundary=B"), &returned).as_bytes())
    };
    assert_eq!(report("report; report-type=delivery-status").found, []);
    assert_eq!(report("mixed").found[0].reason, Reason::AttachmentUnreadableContainer);
    // An old bounce quotes the message in its text.
    let quoted =
        message("Content-Type: text/plain", &format!("It failed. Your message was:\r\n\r\n{cut}\r\n"));
    assert_eq!(scan(quoted.as_bytes()).found, []);
}

#[test]
fn fragments_and_content_elsewhere_are_told() {
    let partial = "Content-Type: message/partial; id=\"x@example.com\"; number=1; total=2";
    let external = "Content-Type: message/external-body; access-type=URL; URL=\"http://example.com/x\"";
    for (fields, expected) in
        [(partial, Reason::AttachmentPartialMessage), (external, Reason::AttachmentExternalBody)]
    {
        let inner = "Content-Type: text/plain\r\n\r\nx";
        for mail in [
            message(fields, inner),
            mixed("boundary=B", &format!("{fields}\r\n\r\n{inner}")),
            mixed("boundary=Z", &format!("{fields}\r\n\r\n{inner}")),
            message(&format!("{fields}\r\nContent-Type: text/plain"), inner),
        ] {
            let report = scan(mail.as_bytes());
            assert!(report.found.iter().any(|found| found.reason == expected), "{mail}");
        }
    }
}

#[test]
fn no_padding_hides_a_message_under_a_contradicted_encoding() {
    let payload = Payload::name("evil.exe");
    for fields in
        ["Content-Type: message/rfc822", "Content-Type: message/news", "Content-Type: x/y; name=a.eml"]
    {
        for padding in 0..57 {
            let report = scan(behind_trace(&payload, fields, padding).as_bytes());
            let is_found = report.found.iter().any(|found| found.path.ends_with("evil.exe"));
            assert!(is_found, "{fields} {padding}: {:?}", report.found);
        }
    }
}

#[test]
fn what_begins_like_a_file_is_read_line_by_line_still() {
    // A RAR of `report.txt`, complete.
    let rar = b"Rar!\x1a\x07\x01\0\xc5\x1a32\x03\x01\0\0\x06\xea\xfd\x05\x13\x02\x02\x05\0\x05 \0\0\nreport.txthello\
        \x19\xb2:5\x03\x05\0\0";
    let program = Payload::name("evil.exe");
    let encoded = format!("\r\nbegin 644 evil.exe\r\n{}", program.uuencoded());
    let behind = |begins: &[u8]| [begins, encoded.as_bytes()].concat();
    let marked = |begins: &str| format!("{begins:.<257}ustar").into_bytes();
    let script = format!("<script>atob('{}')</script></body></html>", base64(&zip(&[("evil.exe", b"x")])));
    let page = [marked("<html><body>"), script.replace("\r\n", "").into_bytes()].concat();
    // The same with all that tells a header of tar but its checksum.
    let mut header = marked("Hello, please find the programme below: ");
    header[100..108].copy_from_slice(b"0000644 ");
    header.resize(512, b'.');
    let mut fields = header.clone();
    fields[..27].copy_from_slice(b"X: y\r\nMIME-Version: 1.0\r\n\r\n");

    let plain = |fields: &str, body: &[u8]| [fields.as_bytes(), b"\r\n\r\n", body].concat();
    let in_base64 = |fields: &str, body: &[u8]| {
        format!("{fields}\r\nContent-Transfer-Encoding: base64\r\n\r\n{}", base64(body)).into_bytes()
    };
    for (what, kind, body, path) in [
        ("tar's mark", "text/plain", behind(&marked("Hello, please find the programme below: ")), "evil.exe"),
        ("RAR", "text/plain", behind(rar), "evil.exe"),
        ("page", "text/html; name=invoice.html", page, "zip/evil.exe"),
        ("tar", "text/plain", behind(&header), "evil.exe"),
        ("tar in fields", "text/plain", behind(&fields), "evil.exe"),
    ] {
        let fields = format!("From: a@example.com\r\nSubject: x\r\nContent-Type: {kind}");
        for mail in [plain(&fields, &body), in_base64(&fields, &body)] {
            let report = scan(&mail);
            let forbidden =
                report.found.iter().filter(|found| found.reason == Reason::AttachmentForbiddenExtension);
            let paths: Vec<&str> = forbidden.map(|found| found.path.as_str()).collect();
            assert_eq!(paths, [path], "{what}: {}", mail.escape_ascii());
        }
    }
    // What is opened as an archive is no message, whatever its type says.
    let report = scan(&in_base64("Subject: x\r\nContent-Type: message/news", &behind(&fields)));
    assert!(report.found.iter().any(|found| found.path.ends_with("evil.exe")), "{:?}", report.found);
}

#[test]
fn more_boundaries_than_are_tried_are_a_limit() {
    let with = |count: usize| {
        let boundaries: String =
            (0..count).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n")).collect();
        let delimiters: String = (0..count).map(|n| format!("--b{n}\r\n\r\nx\r\n")).collect();
        let report = scan(message(boundaries.trim_end(), &delimiters).as_bytes());
        report.found.iter().map(|found| found.reason).collect::<Vec<_>>()
    };
    assert_eq!(with(17), [Reason::AttachmentAmbiguousMime]);
    assert_eq!(with(18), [Reason::AttachmentLimitEntries, Reason::AttachmentAmbiguousMime]);
}
