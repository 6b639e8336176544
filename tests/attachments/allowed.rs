//! What an administrator allows, and the lists of extensions to choose from.

use greylag::checks::AttachmentSettings;
use greylag::reason::Reason;

use crate::build::{attachment, found, mail, scan_with, zip};

const PROGRAM: &[u8] = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0";

fn causes(settings: &AttachmentSettings, name: &str, data: &[u8]) -> Vec<Reason> {
    let report = scan_with(&mail(&[attachment(name, data)]), settings);
    found(&report).into_iter().map(|(reason, _)| reason).collect()
}

#[test]
fn a_name_may_be_allowed() {
    let settings = AttachmentSettings {
        allowed_names: ["acme-setup-*.exe", "report.js"].into_iter().collect(),
        ..AttachmentSettings::default()
    };
    for (name, data) in [
        ("ACME-Setup-1.2.exe", PROGRAM.to_vec()),
        ("report.js", b"x".to_vec()),
        ("a.zip", zip(&[("tools/acme-setup-3.exe", PROGRAM)])),
    ] {
        assert_eq!(causes(&settings, name, &data), [], "{name}");
    }
    for name in ["acme-setup.exe", "evil.exe", "acme-setup-1.exe.scr"] {
        assert_eq!(causes(&settings, name, b"x"), [Reason::AttachmentForbiddenExtension], "{name}");
    }
    let named = |kind: &str, disposition: &str| {
        let part = format!(
            "Content-Type: application/x; name={kind}\r\nContent-Disposition: attachment; \
             {disposition}\r\n\r\nx"
        );
        scan_with(&mail(&[part]), &settings)
    };
    // A name that ends otherwise is not excused by it, whichever comes first.
    for (kind, disposition) in [("report.js", "filename=evil.exe"), ("evil.exe", "filename=report.js")] {
        assert_eq!(found(&named(kind, disposition)), [(Reason::AttachmentForbiddenExtension, "evil.exe")]);
    }
    // Another spelling for older programs is.
    for (kind, disposition) in [
        ("\"=?utf-8?Q?acme-setup-=C3=9C.exe?=\"", "filename*=UTF-8''acme-setup-%C3%9C.exe"),
        ("ACME-S~1.EXE", "filename=acme-setup-2026.exe"),
        ("acme-setup-2026.exe", "filename=x\r\nContent-Description: ACME.exe\r\nContent-ID: <ii_acme.exe>"),
    ] {
        assert_eq!(found(&named(kind, disposition)), [], "{kind} {disposition}");
    }
}

#[test]
fn a_file_may_be_allowed_by_its_hash() {
    // printf abc | sha256sum
    let settings = AttachmentSettings {
        allowed_sha256: ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
            .into_iter()
            .collect(),
        ..AttachmentSettings::default()
    };
    assert_eq!(causes(&settings, "evil.exe", b"abc"), []);
    assert_eq!(causes(&settings, "evil.exe", b"abd"), [Reason::AttachmentForbiddenExtension]);
}

#[test]
fn lists_may_be_added() {
    let with = |list: &'static str| AttachmentSettings {
        forbidden_extensions: ["file:lists/attachments-core.txt", list].into_iter().collect(),
        ..AttachmentSettings::default()
    };
    let macros = with("file:lists/attachments-macros.txt");
    let strict = with("file:lists/attachments-strict.txt");
    let forbidden = [Reason::AttachmentForbiddenExtension];
    for (settings, name, expected) in [
        (&AttachmentSettings::default(), "a.docm", &[][..]),
        (&AttachmentSettings::default(), "a.svg", &[]),
        (&macros, "a.docm", &forbidden),
        (&macros, "a.svg", &[]),
        (&macros, "a.exe", &forbidden),
        (&strict, "a.svg", &forbidden),
        (&strict, "a.docm", &[]),
        (&strict, "a.exe", &forbidden),
    ] {
        assert_eq!(causes(settings, name, b"x"), expected, "{name}");
    }
    // A page is an attachment only where it has a name.
    let page = b"From: a@b\r\nContent-Type: text/html\r\n\r\n<html>";
    assert_eq!(found(&scan_with(page, &strict)), []);
    assert_eq!(causes(&strict, "notes", b"#!/bin/sh\nrm"), [Reason::AttachmentForbiddenType]);
}
