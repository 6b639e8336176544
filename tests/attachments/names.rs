//! Names: every spelling a mail program may read as a program's name.

use greylag::content::View;
use greylag::reason::Reason;

use crate::build::{attachment, base64, forwarded, found, found_in, gzip, mail, part, scan, zip};

#[test]
fn a_program_is_found_by_its_name() {
    for name in
        ["evil.exe", "EVIL.EXE", "evil.scr", "x.pif", "run.bat", "a.js", "a.hta", "a.lnk", "app.v2.exe"]
    {
        assert_eq!(found_in(name, b"x"), [(Reason::AttachmentForbiddenExtension, name.to_owned())]);
    }
}

#[test]
fn misleading_names_are_causes_of_their_own() {
    let extension = Reason::AttachmentForbiddenExtension;
    for (name, expected) in [
        ("invoice.pdf.exe", vec![extension, Reason::AttachmentDoubleExtension]),
        ("annex\u{202e}gpj.exe", vec![extension, Reason::AttachmentBidiName]),
        ("annex\u{202e}fdp.txt", vec![Reason::AttachmentBidiName]),
        ("x.txt.{3050F4D8-98B5-11CF-BB82-00AA00BDCE0B}", vec![Reason::AttachmentClsidName]),
    ] {
        for found in [found_in(name, b"x"), found_in("a.zip", &zip(&[(name, b"x")]))] {
            let causes: Vec<Reason> = found.into_iter().map(|(reason, _)| reason).collect();
            assert_eq!(causes, expected, "{name}");
        }
    }
}

#[test]
fn a_program_is_found_by_its_content() {
    let program = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0";
    let mut image = vec![0; 0x9000];
    image[0x8001..0x8006].copy_from_slice(b"CD001");
    for (data, extension) in [
        (&program[..], "exe"),
        (b"\x7fELF\x02\x01\x01", "elf"),
        (b"L\0\0\0\x01\x14\x02\0", "lnk"),
        (&image, "iso"),
    ] {
        let report = scan(&mail(&[attachment("photo.jpg", data)]));
        assert_eq!(found(&report), [(Reason::AttachmentForbiddenType, "photo.jpg")]);
        assert_eq!(report.found[0].extension.as_deref(), Some(extension));
    }
    let packed = zip(&[("photo.jpg", program)]);
    assert_eq!(found_in("a.zip", &packed), [(Reason::AttachmentForbiddenType, "a.zip/photo.jpg".to_owned())]);
    assert_eq!(found_in("photo.jpg", b"MZ is a beginning of text, too"), []);
}

#[test]
fn an_archive_called_after_a_site_hides_no_program() {
    let forbidden = |path: &str| vec![(Reason::AttachmentForbiddenExtension, path.to_owned())];
    let small_binary = b"\xe9\0\x01\xb4\x4c\xcd\x21";
    assert_eq!(found_in("www.example.com.gz", &gzip(b"Hello from our site")), []);
    assert_eq!(
        found_in("www.example.com.gz", &gzip(small_binary)),
        forbidden("www.example.com.gz/www.example.com")
    );
    assert_eq!(
        found_in("www.example.com.gz", &gzip(&zip(&[("setup.com", b"x")]))),
        forbidden("www.example.com.gz/www.example.com/setup.com")
    );
    assert_eq!(found_in("setup.com.gz", &gzip(b"Hello")), forbidden("setup.com.gz/setup.com"));
    assert_eq!(found_in("www.example.com.gz", small_binary)[..1], forbidden("www.example.com.gz"));
}

#[test]
fn every_spelling_of_a_name_is_read() {
    for fields in [
        "Content-Disposition: attachment; filename=evil.exe",
        "Content-Disposition: attachment; filename='evil.exe'",
        "Content-Disposition: attachment; filename=\r\n \"evil.exe\"",
        "Content-Disposition: attachment; filename\r\n =\"evil.exe\"",
        "Content-Disposition: attachment filename=\"evil.exe\"",
        "Content-Disposition: filename=\"evil.exe\"",
        "Content-Disposition: attachment; filename=\"evil.exe",
        "Content-Disposition: attachment; filename=\"evil.exe. . \"",
        "Content-Disposition: attachment; filename=\"evil%2Eexe\"",
        "Content-Disposition: attachment; filename=\"evil.exe::$DATA\"",
        "Content-Disposition: attachment; filename=\"evil.exe;.txt\"",
        "Content-Disposition: attachment; filename=\"evil.e(comment)xe\"",
        "Content-Disposition: attachment; filename=\"evil.e\r\n xe\"",
        "Content-Disposition: attachment; filename=\"annex\u{202e}gpj.exe\"",
        "Content-Disposition: attachment; filename=\"evil.e\u{200b}xe\"",
        "Content-Disposition: attachment; filename=\"evil\u{ff0e}\u{ff45}xe\"",
        "Content-Disposition: attachment; filename=\"=?utf-8?B?ZXZpbC5leGU=?=\"",
        "Content-Disposition: attachment; filename=\"=?utf-8?Q?evil.e?=\" \"=?utf-8?Q?xe?=\"",
        "Content-Disposition: attachment; filename=\"=?utf-16be?B?AGUAdgBpAGwALgBlAHgAZQ==?=\"",
        "Content-Disposition: attachment; filename*=utf-8''evil.exe",
        "Content-Disposition: attachment; filename*=utf-8'en-US'evil%2Eexe",
        "Content-Disposition: attachment; filename*=utf-16be''%00e%00v%00i%00l%00.%00e%00x%00e",
        "Content-Disposition: attachment; filename*0=evil; filename*1=\".exe\"",
        "Content-Disposition: attachment; filename*1=\".exe\"; filename*0=evil",
        "Content-Disposition: attachment; filename*0*=utf-8''evil%2; filename*1*=Eexe",
        "Content-Disposition: attachment; filename*00=evil; filename*01=\".exe\"",
        "Content-Disposition: attachment; filename=ok.txt; filename=evil.exe",
        "Content-Disposition: attachment; filename=evil.exe; filename=ok.txt",
        "Content-Disposition: attachment; filename=ok.txt; filename*=utf-8''evil.exe",
        "Content-Disposition: attachment; filename=ok.txt\r\nContent-Disposition: attachment; filename=evil.exe",
        "Content-Disposition: attachment; filename=evil.exe\r\nContent-Disposition: attachment; filename=ok.txt",
        "Content-Type: application/x; name=evil.exe\r\nContent-Disposition: attachment; filename=ok.txt",
        "Content-Type: text/plain; name=evil.exe",
        "Content-Type: x; x:y=1; name=evil.exe",
        "Content-Type : application/x; name=evil.exe",
        "Content-Type(comment): application/x; name=evil.exe",
        "Content-Description: evil.exe",
        "X-Other: y\r\nCONTENT-DISPOSITION: ATTACHMENT; FILENAME=EVIL.EXE",
    ] {
        let report = scan(&mail(&[part(fields, b"hello")]));
        let extensions: Vec<_> = report.found.iter().filter_map(|found| found.extension.as_deref()).collect();
        assert!(!extensions.is_empty(), "{fields:?}");
        assert!(extensions.iter().all(|extension| *extension == "exe"), "{fields:?}: {extensions:?}");
    }
}

#[test]
fn no_boundary_hides_a_name() {
    let hidden = "Content-Disposition: attachment; filename=evil.exe\r\n\r\nx\r\n";
    for mail in [
        format!("Content-Type: multipart/mixed; boundary=a\r\n\r\n--b\r\n{hidden}--b--\r\n"),
        format!("Content-Type: multipart/mixed\r\n\r\n--b\r\n{hidden}--b--\r\n"),
        format!("Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n--b\r\n{hidden}--b--\r\n"),
        format!(
            "Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{hidden}--b--\r\n"
        ),
        format!(
            "Content-Type: multipart/mixed; boundary=b\r\nContent-Type: text/plain\r\n\r\n--b\r\n{hidden}--b--\r\n"
        ),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{hidden}--b\r\n\r\nx\r\n--b--\r\n"),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n{hidden}"),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{hidden}"),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{hidden}--b--\r\n")
            .replace("\r\n", "\r"),
        format!("Content-Type: text/plain\r\n\r\n{hidden}"),
        hidden.to_owned(),
    ] {
        let report = scan(mail.as_bytes());
        let forbidden = report.found.iter().filter(|found| found.reason != Reason::AttachmentAmbiguousMime);
        assert_eq!(forbidden.count(), 1, "{mail:?}");
        assert_eq!(report.found[0].extension.as_deref(), Some("exe"), "{mail:?}");
    }
}

#[test]
fn an_encoded_multipart_is_decoded_and_read() {
    let inner = String::from_utf8(mail(&[attachment("evil.exe", b"x")])).unwrap();
    let body = inner.split_once("\r\n\r\n").unwrap().1;
    let mail = format!(
        "Content-Type: multipart/mixed; boundary=\"=_bound\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        base64(body.as_bytes())
    );
    let expected =
        [(Reason::AttachmentForbiddenExtension, "message/evil.exe"), (Reason::AttachmentAmbiguousMime, "")];
    assert_eq!(found(&scan(mail.as_bytes())), expected);
}

#[test]
fn names_of_encoded_text_files_are_read() {
    for body in
        ["begin 644 evil.exe\r\n#86)C\r\n`\r\nend\r\n", "=ybegin line=128 size=3 name=evil.exe\r\nxyz\r\n"]
    {
        let report = scan(format!("Subject: x\r\n\r\nHello\r\n{body}").as_bytes());
        assert_eq!(found(&report), [(Reason::AttachmentForbiddenExtension, "evil.exe")]);
        assert_eq!(report.found[0].view, View::Salvage);
    }
}

#[test]
fn attached_messages_are_looked_into_in_every_form() {
    let inner = mail(&[attachment("evil.exe", b"x")]);
    let encoded = |fields: &str| part(fields, &inner);
    for (attached, expected) in [
        (forwarded("fwd.eml", &inner), "fwd.eml/evil.exe"),
        (encoded("Content-Type: message/rfc822; name=fwd.eml"), "fwd.eml/evil.exe"),
        (encoded("Content-Type: message/rfc822"), "message/evil.exe"),
        (encoded("Content-Type: message/global"), "message/evil.exe"),
        (encoded("Content-Type: message/x-unknown"), "message/evil.exe"),
        (attachment("fwd.eml", &inner), "fwd.eml/evil.exe"),
        (attachment("letter.bin", &inner), "letter.bin/evil.exe"),
        (attachment("a.zip", &zip(&[("b.eml", &inner)])), "a.zip/b.eml/evil.exe"),
        (attachment("a.zip", &zip(&[("b.txt", &inner)])), "a.zip/b.txt/evil.exe"),
    ] {
        let report = scan(&mail(std::slice::from_ref(&attached)));
        assert_eq!(found(&report), [(Reason::AttachmentForbiddenExtension, expected)], "{attached}");
    }
}

#[test]
fn a_finding_stands_at_its_node_in_the_tree() {
    let archive = zip(&[("readme.txt", b"hello"), ("b.zip", &zip(&[("evil.exe", b"MZ")]))]);
    let report = scan(&mail(&[attachment("a.zip", &archive)]));
    let tree: Vec<_> =
        report.tree.iter().map(|node| (node.depth, node.name.as_str(), node.reasons.len())).collect();
    assert_eq!(tree, [(0, "a.zip", 0), (1, "readme.txt", 0), (1, "b.zip", 0), (2, "evil.exe", 1)]);
}
