//! Zip archives: nested, renamed, damaged, ambiguous, encrypted.

use greylag::content::View;
use greylag::reason::Reason;
use zip::CompressionMethod;

use crate::build::{attachment, encrypt, forwarded, found, found_in, mail, nested_zip, scan, zip, zip_by};

const FORBIDDEN: Reason = Reason::AttachmentForbiddenExtension;
const UNREADABLE: Reason = Reason::AttachmentUnreadableContainer;

fn one(reason: Reason, path: &str) -> Vec<(Reason, String)> {
    vec![(reason, path.to_owned())]
}

#[test]
fn a_program_is_found_through_archives() {
    let inner = zip(&[("evil.exe", b"MZ")]);
    let outer = zip(&[("b.zip", &inner)]);
    assert_eq!(found_in("a.zip", &inner), one(FORBIDDEN, "a.zip/evil.exe"));
    assert_eq!(found_in("a.zip", &outer), one(FORBIDDEN, "a.zip/b.zip/evil.exe"));
    let message = mail(&[attachment("a.zip", &outer)]);
    assert_eq!(
        found(&scan(&mail(&[forwarded("fwd.eml", &message)]))),
        [(FORBIDDEN, "fwd.eml/a.zip/b.zip/evil.exe")]
    );
}

#[test]
fn every_method_is_inflated() {
    use CompressionMethod as Method;
    for method in [Method::Stored, Method::Deflated, Method::Bzip2, Method::Xz, Method::Ppmd] {
        let inner = zip_by(method, &[("evil.exe", b"MZ")]);
        for name in ["b.zip", "b.txt"] {
            let outer = zip_by(method, &[(name, &inner)]);
            assert_eq!(
                found_in("a.zip", &outer),
                one(FORBIDDEN, &format!("a.zip/{name}/evil.exe")),
                "{method}"
            );
        }
    }
}

#[test]
fn names_in_archives_are_read_like_others() {
    for name in [
        "dir/evil.exe",
        "dir\\evil.exe",
        "evil.exe ",
        "evil.exe/",
        "evil.ex\u{200b}e",
        "evil.exe:a.txt",
        "a/.exe",
    ] {
        let found = found_in("a.zip", &zip(&[("ok.txt", b"x"), (name, b"MZ")]));
        assert_eq!(found.first().map(|found| found.0), Some(FORBIDDEN), "{name:?}");
    }
    assert_eq!(found_in("a.zip", &zip(&[("www.example.com/index.html", b"x")])), []);
}

#[test]
fn a_renamed_archive_is_an_archive() {
    let inner = zip(&[("evil.exe", b"MZ")]);
    assert_eq!(found_in("a.txt", &inner), one(FORBIDDEN, "a.txt/evil.exe"));
    assert_eq!(found_in("a.zip", &zip(&[("b.txt", &inner)])), one(FORBIDDEN, "a.zip/b.txt/evil.exe"));
    let picture = [b"\xff\xd8\xff\xe0JFIF".repeat(300), inner].concat();
    assert_eq!(found_in("photo.jpg", &picture), one(FORBIDDEN, "photo.jpg/evil.exe"));
}

#[test]
fn eight_levels_are_looked_into_and_the_ninth_is_refused() {
    let deep = found_in("a.zip", &nested_zip(8));
    assert_eq!(deep, one(FORBIDDEN, "a.zip/7.zip/6.zip/5.zip/4.zip/3.zip/2.zip/1.zip/evil.exe"));
    let deeper = found_in("a.zip", &nested_zip(9));
    assert_eq!(
        deeper,
        one(Reason::AttachmentLimitDepth, "a.zip/8.zip/7.zip/6.zip/5.zip/4.zip/3.zip/2.zip/1.zip")
    );
}

#[test]
fn messages_and_archives_count_for_depth_alike() {
    let mut message = mail(&[attachment("evil.exe", b"x")]);
    for level in 0..8 {
        message = mail(&[forwarded(&format!("{level}.eml"), &message)]);
    }
    let report = scan(&message);
    assert_eq!(found(&report), [(FORBIDDEN, "7.eml/6.eml/5.eml/4.eml/3.eml/2.eml/1.eml/0.eml/evil.exe")]);
    let report = scan(&mail(&[forwarded("8.eml", &message)]));
    assert_eq!(report.found[0].reason, Reason::AttachmentLimitDepth);
}

#[test]
fn an_encrypted_entry_is_told_by_either_header() {
    for (magic, flags_at) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let mut archive = zip(&[("letter.docx", b"PK")]);
        encrypt(&mut archive, magic, flags_at);
        let found = found_in("a.zip", &archive);
        assert_eq!(found, one(Reason::AttachmentEncryptedEntry, "a.zip/letter.docx"));

        let mut archive = zip(&[("b.zip", &zip(&[("x.txt", b"x")]))]);
        encrypt(&mut archive[..40], magic, flags_at);
        let end = archive.len();
        encrypt(&mut archive[end - 100..], magic, flags_at);
        assert_eq!(
            found_in("a.zip", &archive)[0],
            (Reason::AttachmentEncryptedNested, "a.zip/b.zip".to_owned())
        );
    }
    let mut archive = zip(&[("evil.exe", b"MZ")]);
    encrypt(&mut archive, b"PK\x01\x02", 8);
    assert_eq!(found_in("a.zip", &archive)[0], (FORBIDDEN, "a.zip/evil.exe".to_owned()));
}

#[test]
fn what_claims_to_be_a_zip_and_cannot_be_read_is_never_clean() {
    let whole = zip(&[("a.txt", &b"some text that is worth compressing".repeat(20))]);
    for (name, data) in [
        ("a.zip", &b"this is no archive"[..]),
        ("a.zip", b""),
        ("a.zip", b"Rar!\x1a\x07\x01\x00"),
        ("a.bin", b"PK\x03\x04 and then something else"),
        ("a.zip", &whole[..whole.len() / 2]),
    ] {
        assert_eq!(found_in(name, data), one(UNREADABLE, name), "{}", data.escape_ascii());
    }
    assert_eq!(found_in("a.zip", &zip(&[("b.zip", b"no archive")])), one(UNREADABLE, "a.zip/b.zip"));
    assert_eq!(found_in("a.zip", &zip(&[])), []);
}

#[test]
fn a_truncated_archive_still_shows_its_names() {
    let whole = zip(&[("evil.exe", &b"MZ and much more of it".repeat(50))]);
    let found = found_in("a.zip", &whole[..whole.len() / 2]);
    assert_eq!(found, [(FORBIDDEN, "a.zip/evil.exe".to_owned()), (UNREADABLE, "a.zip".to_owned())]);
}

#[test]
fn damaged_content_of_an_inner_archive_is_unreadable() {
    let inner = zip(&[("x.txt", &b"some text".repeat(99))]);
    let mut outer = zip(&[("b.zip", &inner)]);
    for byte in &mut outer[45..80] {
        *byte = 0xff;
    }
    assert!(found_in("a.zip", &outer).contains(&(UNREADABLE, "a.zip/b.zip".to_owned())));
}

#[test]
fn junk_before_and_behind_an_archive_hides_nothing() {
    let inner = zip(&[("evil.exe", b"MZ")]);
    let nested = zip(&[("b.zip", &inner)]);
    for (archive, path) in [(&inner, "a.zip/evil.exe"), (&nested, "a.zip/b.zip/evil.exe")] {
        for (before, behind) in [(0, 100), (100, 0), (100_000, 0), (0, 100_000), (5_000, 5_000)] {
            let data = [vec![b'j'; before], archive.clone(), vec![b'k'; behind]].concat();
            assert_eq!(found_in("a.zip", &data), one(FORBIDDEN, path), "{before} {behind}");
        }
    }
}

#[test]
fn of_two_archives_one_behind_the_other_both_are_read() {
    let (good, evil) = (zip(&[("good.txt", b"x")]), zip(&[("evil.exe", b"MZ")]));
    for data in [[good.clone(), evil.clone()].concat(), [evil, good].concat()] {
        assert_eq!(found_in("a.zip", &data), one(FORBIDDEN, "a.zip/evil.exe"));
    }
}

#[test]
fn names_that_only_one_header_has_are_found() {
    let replace = |archive: &mut [u8], magic: &[u8], name_at: usize| {
        let at = archive.windows(4).position(|window| window == magic).unwrap();
        archive[at + name_at..at + name_at + 8].copy_from_slice(b"evil.exe");
    };
    for (magic, name_at, view) in
        [(b"PK\x03\x04", 30, View::LocalHeader), (b"PK\x01\x02", 46, View::CentralDirectory)]
    {
        let mut archive = zip(&[("good.txt", b"x")]);
        replace(&mut archive, magic, name_at);
        let report = scan(&mail(&[attachment("a.zip", &archive)]));
        assert_eq!(found(&report), [(FORBIDDEN, "a.zip/evil.exe")]);
        assert_eq!(report.found[0].view, view);
    }
}

#[test]
fn a_unicode_path_field_counts_whatever_its_checksum() {
    let mut archive =
        b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x05\0\x11\0a.txt".to_vec();
    archive.extend(b"\x75\x70\x0d\0\x01\xde\xad\xbe\xefevil.exe");
    archive.extend(b"x");
    archive.extend(zip(&[("good.txt", b"x")]));
    let report = scan(&mail(&[attachment("a.zip", &archive)]));
    assert_eq!(found(&report), [(FORBIDDEN, "a.zip/evil.exe")]);
    assert_eq!(report.found[0].view, View::UnicodePath);
}

#[test]
fn entries_of_the_same_name_are_all_looked_into() {
    let evil = zip(&[("evil.exe", b"MZ")]);
    let good = zip(&[("good.txt", b"good")]);
    for (first, second) in [(&good, &evil), (&evil, &good)] {
        let mut archive = zip(&[("1.zip", first), ("2.zip", second)]);
        let at = |archive: &[u8]| archive.windows(5).rposition(|window| window == b"2.zip");
        while let Some(at) = at(&archive) {
            archive[at] = b'1';
        }
        assert_eq!(found_in("a.zip", &archive), one(FORBIDDEN, "a.zip/1.zip/evil.exe"));
    }
}

#[test]
fn a_false_size_hides_no_archive() {
    let inner = zip(&[("evil.exe", b"MZ")]);
    let mut outer = zip(&[("b.txt", &inner)]);
    let central = outer.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    outer[central + 24] = 2;
    outer[22] = 2;
    assert_eq!(found_in("a.zip", &outer), one(FORBIDDEN, "a.zip/b.txt/evil.exe"));
}
