//! Hostile messages by the hundred: every trick that is known to get a program past a scanner, and tricks in pairs where they are
//! used so. All of them are made twice: around `evil.exe` all are refused, around `notes.txt` none but those whose form alone is
//! reason enough.

pub(crate) mod archives;
mod bytes;
pub(crate) mod carriers;
pub(crate) mod encodings;
mod mime;
pub(crate) mod names;
pub(crate) mod quine;
mod review;
pub(crate) mod zips;

use greylag::checks::AttachmentSettings;
use greylag::checks::attachments::findings;
use greylag::content::{Report, Structure, scan_at_once};
use greylag::facts::Message;
use greylag::verdict::Action;

use crate::build::{attachment, base64, mail, part, scan, zip};

/// What is hidden.
pub(crate) struct Payload {
    name: &'static str,
    data: &'static [u8],
    /// Whether rows whose content alone is forbidden bring that content.
    is_hostile: bool,
}

/// The data says nothing: the name has to be found.
pub(crate) const EVIL: Payload =
    Payload { name: "evil.exe", data: b"Hello, this is some text.\r\n", is_hostile: true };
pub(crate) const HARMLESS: Payload =
    Payload { name: "notes.txt", data: b"Hello, this is some text.\r\n", is_hostile: false };

/// What becomes of a message when its payload is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harmless {
    /// It is not refused.
    Passes,
    /// It is refused all the same, for its form.
    IsRefused,
}

/// One message.
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) mail: Vec<u8>,
    harmless: Harmless,
}

impl Case {
    fn new(what: String, mail: impl Into<Vec<u8>>, harmless: Harmless) -> Self {
        Self { what, mail: mail.into(), harmless }
    }
}

/// All messages around a payload.
pub(crate) fn all(payload: &Payload) -> Vec<Case> {
    [names(payload), structures(payload), encoded(payload), files(payload), pairs(payload), reviewed(payload)]
        .into_iter()
        .flatten()
        .collect()
}

/// Every spelling of a name, on a part of a multipart, on the message itself, and in an attached message.
fn names(payload: &Payload) -> Vec<Case> {
    let mut cases = Vec::new();
    let content = base64(payload.data);
    let mut fields = names::fields(payload);
    fields.extend(names::hidden(payload).into_iter().map(|(what, name)| {
        (what.to_owned(), format!("Content-Disposition: attachment; filename=\"{name}\""), Harmless::Passes)
    }));
    for (what, fields, harmless) in fields {
        let part = part(&fields, payload.data);
        let whole = format!(
            "From: a@example.com\r\n{fields}\r\nContent-Transfer-Encoding: base64\r\n\r\n{content}\r\n"
        );
        let inner = String::from_utf8(mail(std::slice::from_ref(&part))).unwrap();
        let attached = format!("Content-Type: message/rfc822\r\n\r\n{inner}");
        cases.push(Case::new(format!("name: {what}"), mail(&[part]), harmless));
        cases.push(Case::new(format!("name of the message: {what}"), whole, harmless));
        cases.push(Case::new(format!("name in an attached message: {what}"), mail(&[attached]), harmless));
    }
    for (what, name) in names::hidden(payload) {
        let archive = zips::archive(&[zips::Entry::stored(&name, payload.data)]);
        cases.push(Case::new(
            format!("name in a zip: {what}"),
            mail(&[attachment("a.zip", &archive)]),
            Harmless::Passes,
        ));
    }
    cases
}

/// Every structure, around a part that is the payload, and around archives that hold it.
fn structures(payload: &Payload) -> Vec<Case> {
    let parts = [
        ("file", attachment(payload.name, payload.data)),
        ("zip", attachment("a.zip", &zip(&[(payload.name, payload.data)]))),
        ("RAR", attachment("a.rar", &archives::rar5(payload.name, payload.data))),
        ("tar.gz", attachment("a.dat", &archives::gz(None, &archives::tar(payload.name, payload.data)))),
    ];
    let mut cases = Vec::new();
    for (held, part) in parts {
        for structure in mime::structures(&part) {
            let what = format!("structure: {} around a {held}", structure.what);
            cases.push(Case::new(what, structure.mail, structure.harmless));
        }
    }
    cases
}

/// Every transfer encoding of archives that hold the payload.
fn encoded(payload: &Payload) -> Vec<Case> {
    let files = [
        ("a.zip", zip(&[("readme.txt", &b"hello".repeat(30)), (payload.name, payload.data)])),
        ("a.dat", archives::rar4(payload.name, payload.data, 0x8000)),
    ];
    let mut cases = Vec::new();
    for (name, data) in files {
        for (what, part) in encodings::encodings(name, &data) {
            cases.push(Case::new(format!("encoding: {what} of {name}"), mail_of(&part), Harmless::Passes));
        }
    }
    cases
}

/// Every archive, carrier and program as an attachment.
fn files(payload: &Payload) -> Vec<Case> {
    let zips = zips::zips(payload)
        .into_iter()
        .map(|(what, zip, harmless)| (what, "a.zip".to_owned(), zip, harmless));
    let files = archives::archives(payload)
        .into_iter()
        .chain(carriers::carriers(payload))
        .chain(carriers::programs(payload))
        .chain(zips);
    let case = |(what, name, data, harmless): archives::File| {
        Case::new(format!("file: {what} ({name})"), mail(&[attachment(&name, &data)]), harmless)
    };
    files.map(case).collect()
}

/// What the review added.
fn reviewed(payload: &Payload) -> Vec<Case> {
    let parts = review::parts(payload).into_iter();
    parts
        .map(|(what, part, harmless)| Case::new(format!("review: {what}"), mail_of(&part), harmless))
        .collect()
}

type Wrap = fn(&str, &[u8]) -> (&'static str, Vec<u8>);

/// Containers in containers: each of them in each of them.
fn pairs(payload: &Payload) -> Vec<Case> {
    let containers: [(&str, Wrap); 9] = [
        ("zip", |name, data| ("b.zip", zip(&[(name, data)]))),
        ("tar.gz", |name, data| ("b.tar.gz", archives::gz(None, &archives::tar(name, data)))),
        ("tar.xz", |name, data| ("b.txz", archives::xz(&archives::tar(name, data)))),
        ("7z", |name, data| ("b.7z", archives::sevenz(name, data))),
        ("RAR 4", |name, data| ("b.rar", archives::rar4(name, data, 0x8000))),
        ("RAR 5", |name, data| ("b.rar", archives::rar5(name, data))),
        ("TNEF", |name, data| ("winmail.dat", carriers::tnef_of(name, data))),
        ("Outlook message", |name, data| ("b.msg", carriers::msg(name, data))),
        ("message", |name, data| ("b.eml", mail(&[attachment(name, data)]))),
    ];
    let mut cases = Vec::new();
    for (inner, make_inner) in containers {
        let (name, data) = make_inner(payload.name, payload.data);
        for (outer, make_outer) in containers {
            let (outer_name, outer_data) = make_outer(name, &data);
            let what = format!("pair: {inner} in {outer}");
            cases.push(Case::new(what, mail(&[attachment(outer_name, &outer_data)]), Harmless::Passes));
        }
    }
    cases
}

/// A message with one part that need not be text.
fn mail_of(part: &[u8]) -> Vec<u8> {
    let header =
        b"From: a@example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n\
             --B\r\n";
    [header, part, b"\r\n--B--\r\n"].concat()
}

/// The worst that follows from a report under the default settings, and what was found.
fn worst(report: &Report) -> (Action, String) {
    let findings = findings(report, &AttachmentSettings::default());
    let worst = findings.iter().map(|finding| finding.outcome.action()).max().unwrap_or_default();
    let found: Vec<String> = findings.iter().map(|it| format!("{}: {}", it.reason, it.detail)).collect();
    (worst, found.join("; "))
}

#[test]
fn every_hostile_message_is_refused() {
    let cases = all(&EVIL);
    assert!(cases.len() >= 400, "{}", cases.len());
    let missed: Vec<String> = cases
        .iter()
        .filter(|case| !worst(&scan(&case.mail)).0.refuses())
        .map(|case| case.what.clone())
        .collect();
    assert!(missed.is_empty(), "{} of {} missed:\n{}", missed.len(), cases.len(), missed.join("\n"));
}

/// A small mail is scanned where it is answered, with little work; that must not find less.
#[test]
fn what_is_scanned_at_once_is_scanned_alike() {
    let (mut at_once, mut later) = (0, 0);
    for case in all(&EVIL) {
        let message = Message::from_bytes(&case.mail);
        match scan_at_once(&Structure::of(message.clone()), &AttachmentSettings::default()) {
            Some(report) => {
                assert_eq!(report, scan(&case.mail), "{}", case.what);
                at_once += 1;
            }
            None => later += 1,
        }
    }
    assert!(at_once >= 400 && later > 0, "{at_once} {later}");
}

#[test]
fn the_same_messages_around_a_text_are_not() {
    let mut wrong = Vec::new();
    for case in all(&HARMLESS) {
        let (worst, found) = worst(&scan(&case.mail));
        let is_right = match case.harmless {
            Harmless::Passes => !worst.refuses(),
            Harmless::IsRefused => worst.refuses(),
        };
        if !is_right {
            wrong.push(format!("{} is {}: {found}", case.what, worst.name()));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
