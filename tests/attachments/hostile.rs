//! Messages made to cost time, memory or stack: a defined result, soon.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use greylag::checks::AttachmentSettings;
use greylag::content::{self, Cancel, MAX_FOUND, Report};
use greylag::facts::Message;
use greylag::policy::ByteSize;
use greylag::reason::Reason;
use zip::CompressionMethod;

use crate::build::{attachment, found, mail, scan, scan_with, zip, zip_by};

/// Far above what any of these take unoptimised on a busy machine; a quadratic step takes longer still.
const SOON: Duration = Duration::from_secs(120);

fn soon(what: &str, mail: &[u8]) -> Report {
    let started = Instant::now();
    let report = scan(mail);
    assert!(started.elapsed() < SOON, "{what}: {:?}", started.elapsed());
    report
}

#[test]
fn too_many_parts() {
    let parts = vec!["\r\nx".to_owned(); 20_000];
    let report = soon("20,000 parts", &mail(&parts));
    assert_eq!(found(&report), [(Reason::AttachmentLimitEntries, "")]);
    assert_eq!(found(&scan(&mail(&parts[..9_999]))), []);
}

#[test]
fn too_many_parts_across_attached_messages() {
    let settings =
        AttachmentSettings { max_parts: NonZeroU32::new(100).unwrap(), ..AttachmentSettings::default() };
    let inner = mail(&vec!["\r\nx".to_owned(); 60]);
    let report = scan_with(&mail(&[attachment("a.eml", &inner)]), &settings);
    assert_eq!(found(&report), []);
    let report = scan_with(&mail(&[attachment("a.eml", &inner), attachment("b.eml", &inner)]), &settings);
    assert_eq!(found(&report), [(Reason::AttachmentLimitEntries, "")]);
}

#[test]
fn too_many_entries() {
    let names: Vec<String> = (0..65_535).map(|number| format!("{number}.txt")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let archive = zip_by(CompressionMethod::Stored, &entries);
    let report = soon("65,535 entries", &mail(&[attachment("a.zip", &archive)]));
    assert_eq!(found(&report), [(Reason::AttachmentLimitEntries, "")]);
    let archive = zip(&entries[..20_000]);
    let report = soon("20,000 entries", &mail(&[attachment("a.zip", &archive)]));
    assert_eq!(found(&report), []);
}

#[test]
fn a_bomb_that_is_no_container_costs_nothing() {
    let bomb = zip(&[("zeros.txt", &vec![0; 100 << 20])]);
    let report = scan(&mail(&[attachment("a.zip", &bomb)]));
    assert_eq!(found(&report), []);
    assert!(report.work < 10 << 20, "{}", report.work);
}

#[test]
fn a_bomb_in_an_inner_archive_is_refused() {
    let inner = zip_by(CompressionMethod::Stored, &[("zeros.txt", &vec![0; 100 << 20])]);
    let bomb = zip(&[("b.zip", &inner)]);
    let report = soon("bomb", &mail(&[attachment("a.zip", &bomb)]));
    assert_eq!(found(&report), [(Reason::AttachmentLimitBytes, "")]);
}

#[test]
fn the_same_data_in_many_entries_is_paid_each_time() {
    let inner = zip_by(CompressionMethod::Stored, &[("zeros.txt", &vec![0; 8 << 20])]);
    let archive = zip(&[("b.zip", &inner)]);
    let directory = archive.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let end = archive.windows(4).rposition(|window| window == b"PK\x05\x06").unwrap();
    let count = 1000u16;
    let headers = archive[directory..end].repeat(usize::from(count));
    let mut overlapping = [&archive[..directory], &headers, &archive[end..]].concat();
    let end = overlapping.len() - 22;
    overlapping[end + 8..end + 10].copy_from_slice(&count.to_le_bytes());
    overlapping[end + 10..end + 12].copy_from_slice(&count.to_le_bytes());
    overlapping[end + 12..end + 16].copy_from_slice(&(headers.len() as u32).to_le_bytes());
    let report = soon("overlap", &mail(&[attachment("a.zip", &overlapping)]));
    let expected = [(Reason::AttachmentZipOverlap, "a.zip"), (Reason::AttachmentLimitBytes, "")];
    assert_eq!(found(&report), expected);
}

#[test]
fn slow_decoders_are_paid_by_what_they_may_cost() {
    let names: Vec<String> = (0..1000).map(|number| format!("{number}.txt")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    for (method, few) in [(CompressionMethod::Bzip2, 100), (CompressionMethod::Xz, 1000)] {
        let archive = zip_by(method, &entries[..few]);
        assert_eq!(found(&soon("few", &mail(&[attachment("a.zip", &archive)]))), [], "{method}");
    }
    let archive = zip_by(CompressionMethod::Bzip2, &entries);
    let report = soon("1000 bzip2 entries", &mail(&[attachment("a.zip", &archive)]));
    assert_eq!(found(&report), [(Reason::AttachmentLimitBytes, "")]);
}

#[test]
fn deep_nesting_ends_without_recursion() {
    let report = soon("messages", "Content-Type: message/rfc822\r\n\r\n".repeat(40_000).as_bytes());
    assert_eq!(report.found[0].reason, Reason::AttachmentLimitDepth);
    assert_eq!(report.found.len(), 1);

    let multiparts: String = (0..10_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect();
    let report = soon("multiparts", multiparts.as_bytes());
    assert_eq!(report.found[0].reason, Reason::AttachmentLimitDepth);

    let unmatched: String = (0..40_000)
        .map(|n| {
            format!(
                "Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=b{n}\r\n\r\n"
            )
        })
        .collect();
    soon("unmatched boundaries", unmatched.as_bytes());
}

#[test]
fn a_header_of_megabytes() {
    for unit in [
        "; fN*1=x.y",
        "; fN*=a'b'c.d",
        "; filename*1=x.y",
        "; filename=\"a.b\"",
        ";",
        "=",
        "\"",
        "(",
        "=?",
        "%",
    ] {
        let header =
            format!("Content-Disposition: attachment{}\r\n\r\nx", unit.repeat(2_500_000 / unit.len()));
        let report = soon(&format!("{unit:?}"), header.as_bytes());
        assert_eq!(found(&report), [], "{unit}");
    }
    let numbered: String = (0..200_000).map(|n| format!("; f{n}name*1=x.y")).collect();
    soon("numbered", format!("Content-Disposition: attachment{numbered}\r\n\r\nx").as_bytes());
}

#[test]
fn fields_that_name_a_part_are_each_paid_for() {
    for kind in ["text/plain", "text/javascript\r\nContent-Location: x.js"] {
        let work = |fields: usize| {
            let fields = "Content-ID:a\r\n".repeat(fields);
            soon(kind, &mail(&[format!("Content-Type: {kind}\r\n{fields}\r\nx")])).work
        };
        let (some, four_times) = (work(20_000), work(80_000));
        assert!(four_times <= 5 * some, "{kind}: {some}, then {four_times}");
        assert!(four_times - some >= 60_000 * 64, "{kind}: {some}, then {four_times}");
    }
}

#[test]
fn bodies_of_headers_and_magic_numbers() {
    for unit in [
        "Content-Type: x; name=a.txt\r\n",
        "PK\x03\x04",
        "PK\x01\x02",
        "PK\x05\x06",
        "PK",
        "begin 644 x\r\n",
        "\r",
        "--b\r\n",
    ] {
        let body = unit.repeat(400_000 / unit.len());
        soon(
            &format!("{unit:?}"),
            format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}").as_bytes(),
        );
        soon(&format!("{unit:?}"), &mail(&[attachment("a.zip", body.as_bytes())]));
        soon(&format!("{unit:?}"), &mail(&[attachment("a.txt", body.as_bytes())]));
    }
}

/// What the views beside the tree look for, over and over: each may cost a few passes, none a pass for each.
#[test]
fn work_of_the_other_views_grows_with_size_only() {
    let zip_in_base64 = "UEsDBBQAAAAIAAAAIQAAAAAAAAAAAAAAAAAFAAAAYS50eHQ";
    type Piece = fn(usize) -> String;
    let pieces: [(&str, Piece); 8] = [
        ("data URLs", |_| ";base64,UEsDBBQAAAAIAAAAIQ\r\n".into()),
        ("delimiters", |n| format!("--{n}\r\nContent-Type: x\r\n\r\n")),
        ("uuencode", |_| "begin 644 a.txt\r\n#86)C\r\n".into()),
        ("yEnc", |_| "=ybegin line=128 size=5 name=a.txt\r\nabc\r\n".into()),
        ("BinHex", |_| "(This file must be converted with BinHex 4.0)\r\n:abc".into()),
        ("escapes", |_| "PK=03=04=14=00\r\n".into()),
        ("bare CRs", |_| "Content-Type: x; name=a.txt\r".into()),
        ("boundaries", |n| format!("Content-Type: multipart/mixed; boundary={n}; boundary=x{n}\r\n")),
    ];
    let work = |unit: Piece, count: usize| {
        let body: String = (0..count).map(unit).collect();
        soon("a piece", format!("Subject: x\r\n\r\nHello\r\n{body}").as_bytes()).work
    };
    for (what, unit) in pieces {
        let (once, four_times) = (work(unit, 1000), work(unit, 4000));
        assert!(four_times <= 5 * once, "{what}: {once}, then {four_times}");
    }
    let run = |lines: usize| format!("{zip_in_base64}\r\n").repeat(lines);
    let (once, four_times) =
        (soon("decoys", run(1000).as_bytes()).work, soon("decoys", run(4000).as_bytes()).work);
    assert!(four_times <= 5 * once, "decoys: {once}, then {four_times}");
}

#[test]
fn a_report_of_many_findings_is_short() {
    let names: Vec<String> = (0..5000).map(|number| format!("{number}.exe")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let report = scan(&mail(&[attachment("a.zip", &zip(&entries))]));
    assert_eq!(report.found.len(), MAX_FOUND);
}

#[test]
fn names_are_cut_at_their_start() {
    let name = format!("{}.exe", "x".repeat(5_000));
    let report = scan(&mail(&[attachment(&name, b"x")]));
    assert_eq!(report.found[0].path, format!("{}.exe", "x".repeat(251)));
    let settings = AttachmentSettings { max_depth: NonZeroU32::MAX, ..AttachmentSettings::default() };
    let mut inner = zip(&[("evil.exe", b"MZ")]);
    for level in 0..20 {
        inner = zip(&[(&format!("{}{level}.zip", "x".repeat(200)), &inner)]);
    }
    let report = scan_with(&mail(&[attachment("a.zip", &inner)]), &settings);
    assert!(report.found[0].path.len() <= 1024 && report.found[0].path.ends_with("0.zip/evil.exe"));
}

#[test]
fn no_setting_lets_nesting_grow_without_end() {
    let settings = AttachmentSettings {
        max_depth: NonZeroU32::MAX,
        max_inflated: ByteSize(u64::MAX),
        max_entries: NonZeroU32::MAX,
        max_parts: NonZeroU32::MAX,
        ..AttachmentSettings::default()
    };
    let mut inner = zip(&[("evil.exe", b"MZ")]);
    for _ in 0..100 {
        inner = zip_by(CompressionMethod::Stored, &[("a.zip", &inner)]);
    }
    let report = scan_with(&mail(&[attachment("a.zip", &inner)]), &settings);
    assert_eq!(report.found[0].reason, Reason::AttachmentLimitDepth);
}

#[test]
fn a_cancelled_scan_says_so() {
    let cancel = Cancel::default();
    cancel.cancel();
    let message = Message::from_bytes(&mail(&[attachment("evil.exe", b"x")]));
    let report = content::scan(&message, &AttachmentSettings::default(), &cancel);
    assert_eq!(found(&report), [(Reason::AttachmentScanTimeout, "")]);
}

#[test]
fn a_message_cut_anywhere_is_scanned() {
    let archive = zip(&[("evil.exe", b"MZ"), ("b.zip", &zip(&[("x.txt", b"x")]))]);
    let whole = mail(&[attachment("a.zip", &archive)]);
    for length in 0..whole.len() {
        let report = scan(&whole[..length]);
        assert!(report.work > 0, "{length}");
    }
    for length in 0..archive.len() {
        let report = scan(&mail(&[attachment("a.zip", &archive[..length])]));
        assert!(!report.found.is_empty(), "{length}");
    }
}
