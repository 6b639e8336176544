//! Zip archives: nested, renamed, damaged, ambiguous, encrypted.

use greylag::content::View;
use greylag::reason::Reason;
use std::io::{Cursor, Write};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use crate::build::{
    attachment, encrypt, forwarded, found, found_in, mail, nested_zip, scan, tar, zip, zip_by,
};

const FORBIDDEN: Reason = Reason::AttachmentForbiddenExtension;
const UNREADABLE: Reason = Reason::AttachmentUnreadableContainer;

const INCONSISTENT: Reason = Reason::AttachmentZipInconsistent;

fn two(reason: Reason, path: &str, of_archive: Reason) -> Vec<(Reason, String)> {
    vec![(reason, path.to_owned()), (of_archive, "a.zip".to_owned())]
}

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
        assert_eq!(found, two(Reason::AttachmentEncryptedEntry, "a.zip/letter.docx", INCONSISTENT));

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
        assert_eq!(found_in("a.zip", &data), two(FORBIDDEN, "a.zip/evil.exe", INCONSISTENT));
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
        assert_eq!(found(&report), [(FORBIDDEN, "a.zip/evil.exe"), (INCONSISTENT, "a.zip")]);
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
    assert_eq!(found(&report), [(FORBIDDEN, "a.zip/evil.exe"), (INCONSISTENT, "a.zip")]);
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
        let expected = two(FORBIDDEN, "a.zip/1.zip/evil.exe", Reason::AttachmentZipDuplicate);
        assert_eq!(found_in("a.zip", &archive), expected);
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

/// An entry of a zip by hand: its own header with its data, then its header in the directory.
fn entry(name: &[u8], extra: &[u8], flags: u16, data: &[u8], local_at: usize) -> (Vec<u8>, Vec<u8>) {
    let mut fields = flags.to_le_bytes().to_vec();
    fields.extend([0; 6]);
    fields.extend([1, 2, 3, 4]);
    fields.extend((data.len() as u32).to_le_bytes().repeat(2));
    fields.extend((name.len() as u16).to_le_bytes());
    fields.extend((extra.len() as u16).to_le_bytes());
    let local = [b"PK\x03\x04\x14\0", fields.as_slice(), name, extra, data].concat();
    let offset = (local_at as u32).to_le_bytes();
    let central = [b"PK\x01\x02\x14\0\x14\0", fields.as_slice(), &[0; 10], &offset, name, extra].concat();
    (local, central)
}

/// A zip of local headers and a directory of so many.
fn by_hand(locals: &[u8], count: u16, directory: &[u8], comment: &[u8]) -> Vec<u8> {
    let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
    end.extend(count.to_le_bytes().repeat(2));
    end.extend((directory.len() as u32).to_le_bytes());
    end.extend((locals.len() as u32).to_le_bytes());
    end.extend((comment.len() as u16).to_le_bytes());
    [locals, directory, &end, comment].concat()
}

#[test]
fn honest_archives_are_consistent() {
    let name = "r\u{e9}sum\u{e9}.txt".as_bytes();
    let checksum = crc32fast::hash(b"r\x82sum\x82.txt").to_le_bytes();
    let field = [&[0x75, 0x70, 17, 0, 1], &checksum[..], name].concat();
    let (local, central) = entry(b"r\x82sum\x82.txt", &field, 0, b"text", 0);
    let unicode_path = by_hand(&local, 1, &central, b"");
    let commented = by_hand(&local, 1, &central, &[b'c'; 65_535]);

    let mut streamed = zip::ZipWriter::new_stream(Vec::new());
    streamed.start_file("a.txt", SimpleFileOptions::default()).unwrap();
    streamed.write_all(b"text").unwrap();
    let streamed = streamed.finish().unwrap().into_inner();
    let mut large = zip::ZipWriter::new(Cursor::new(Vec::new()));
    large.start_file("a.txt", SimpleFileOptions::default().large_file(true)).unwrap();
    large.write_all(b"text").unwrap();
    let large = large.finish().unwrap().into_inner();

    let inner = zip(&[("b.txt", b"text")]);
    let in_a_tar = zip_by(CompressionMethod::Stored, &[("a.tar", &tar("b.zip", &inner)), ("c.txt", b"text")]);
    let repeated = zip(&[("a/", b""), ("a/b.txt", b"same"), ("c.txt", b"same")]);
    for (what, data) in [
        ("a Unicode path", unicode_path),
        ("a long comment", commented),
        ("sizes behind the data", streamed),
        ("ZIP64", large),
        ("a zip in a stored tar", in_a_tar),
        ("a directory", repeated),
    ] {
        assert_eq!(found_in("a.zip", &data), [], "{what}");
    }
}

#[test]
fn entries_that_share_their_data_are_told() {
    let (local, _) = entry(b"a.txt", b"", 0, b"text", 0);
    for (count, expected) in [(6, vec![]), (7, one(Reason::AttachmentZipOverlap, "a.zip"))] {
        let (_, central) = entry(b"a.txt", b"", 0, b"text", 0);
        assert_eq!(found_in("a.zip", &by_hand(&local, count, &central.repeat(count.into()), b"")), expected);
    }
}

#[test]
fn a_directory_that_is_encrypted_is_told() {
    let (local, central) = entry(b"1", b"", 1 | 1 << 13, b"noise", 0);
    let found = found_in("a.zip", &by_hand(&local, 1, &central, b""));
    assert!(found.contains(&(Reason::AttachmentEncryptedHeader, "a.zip".to_owned())), "{found:?}");
}

#[test]
fn a_part_of_a_split_archive_shows_its_names() {
    let (local, central) = entry(b"evil.exe", b"", 0, b"MZ", 0);
    let mut last = by_hand(&local, 1, &central, b"");
    let end = last.len() - 18;
    last[end] = 2;
    assert_eq!(found_in("a.zip", &last)[0], (FORBIDDEN, "a.zip/evil.exe".to_owned()));
    let first = [b"PK\x07\x08", local.as_slice()].concat();
    assert_eq!(
        found_in("a.z01", &first),
        [(FORBIDDEN, "a.z01/evil.exe".to_owned()), (UNREADABLE, "a.z01".to_owned())]
    );
}

#[test]
fn macros_of_documents_are_told() {
    let macros = |name: &str| one(Reason::AttachmentMacros, name);
    let word = zip(&[("[Content_Types].xml", b"<Types/>"), ("word/vbaProject.bin", b"x")]);
    assert_eq!(found_in("a.docm", &word), macros("a.docm"));
    let excel = zip(&[("[Content_Types].xml", b"<Types/>"), ("xl/macrosheets/sheet1.xml", b"<x/>")]);
    assert_eq!(found_in("a.xlsx", &excel), macros("a.xlsx"));
    let kind: &[u8] = b"application/vnd.oasis.opendocument.text";
    for (name, expected) in [
        ("Basic/Standard/Module1.xml", macros("a.odt")),
        ("Scripts/python/a.py", macros("a.odt")),
        ("Basic/Standard/script-lb.xml", vec![]),
    ] {
        let document = zip_by(CompressionMethod::Stored, &[("mimetype", kind), (name, b"<x/>")]);
        assert_eq!(found_in("a.odt", &document), expected, "{name}");
    }
    assert_eq!(found_in("a.zip", &zip(&[("scripts/build.sh", b"#!"), ("basic/a.xml", b"<x/>")])), []);
}
