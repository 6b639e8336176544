use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::check;

fn part(fields: &str, body: &[u8]) -> Vec<u8> {
    [b"Subject: x\nMIME-Version: 1.0\n", fields.as_bytes(), b"\n\n", body, b"\n"].concat()
}

#[test]
fn charsets_are_undone() {
    let typed =
        |charset: &str, body: &[u8]| part(&format!("Content-Type: text/plain; charset={charset}"), body);
    let utf16: Vec<u8> = "a free gift".encode_utf16().flat_map(u16::to_be_bytes).collect();
    check(&[
        ("no charset", &part("X: y", b"a free gift"), &["body"]),
        ("windows-1251", &typed("windows-1251", b"\xef\xf0\xe8\xe2\xe5\xf2 \xec\xe8\xf0"), &["body"]),
        ("koi8-r", &typed("koi8-r", b"\xd0\xd2\xc9\xd7\xc5\xd4 \xcd\xc9\xd2"), &["body"]),
        ("gb2312", &typed("gb2312", b"\xc4\xe3\xba\xc3"), &["body"]),
        ("gb18030 quoted", &typed("\"GB18030\"", b"\xc4\xe3\xba\xc3"), &["body"]),
        ("utf-8", &typed("utf-8", "привет мир".as_bytes()), &["body"]),
        ("utf-8 called ascii", &typed("us-ascii", "привет мир".as_bytes()), &["body"]),
        ("utf-7", &typed("utf-7", b"a fr+AGUAZQ- gift"), &["body"]),
        ("utf-16", &typed("utf-16be", &utf16), &["body"]),
        ("ascii called utf-16", &typed("utf-16", b"a free gift!"), &["body"]),
        ("a charset nobody knows", &typed("x-mars", b"a free gift"), &["body"]),
        ("a charset nobody decodes", &typed("hz-gb-2312", b"a free gift"), &["body"]),
        ("byte order mark", &typed("iso-8859-1", "\u{feff}привет мир".as_bytes()), &["body"]),
    ]);
}

#[test]
fn transfer_encodings_are_undone() {
    let encoded = |encoding: &str, body: &[u8]| part(&format!("Content-Transfer-Encoding: {encoding}"), body);
    let base64 = STANDARD.encode("take a free gift today");
    let broken = base64.as_bytes().chunks(5).collect::<Vec<_>>().join(&b"\n"[..]);
    check(&[
        ("base64", &encoded("base64", base64.as_bytes()), &["body"]),
        ("base64 in short lines", &encoded("BASE64", &broken), &["body"]),
        ("base64 misspelt", &encoded("x-base64", base64.as_bytes()), &["body"]),
        ("soft line breaks", &encoded("quoted-printable", b"a fr=\nee gi=\r\nft"), &["body"]),
        ("quoted letters", &encoded("quoted-printable", b"a =66ree=20gift"), &["body"]),
        ("a bad escape", &encoded("quoted-printable", b"=ZZ a fre=65 gift"), &["body"]),
        ("a soft break with spaces", &encoded("quoted-printable", b"a free gi=  \nft"), &["body"]),
        ("no encoding", &encoded("7bit", b"a fr=65e gift"), &[]),
    ]);
}

#[test]
fn disguises_are_undone() {
    let plain = |body: &str| part("Content-Type: text/plain; charset=utf-8", body.as_bytes());
    check(&[
        ("lines", &plain("a free\ngift"), &["body"]),
        ("spaces", &plain("a FREE \t  gift"), &["body"]),
        ("no-break space", &plain("free\u{a0}gift"), &["body"]),
        ("zero width", &plain("fr\u{200b}ee g\u{200d}ift"), &["body"]),
        ("soft hyphen", &plain("via\u{ad}gra"), &["body"]),
        ("byte order marks inside", &plain("vi\u{feff}agra"), &["body"]),
        ("turned direction", &plain("\u{202d}viagra\u{202c}"), &["body"]),
        ("full width", &plain("ｖｉａｇｒａ"), &["body"]),
        ("mathematical letters", &plain("𝐯𝐢𝐚𝐠𝐫𝐚"), &["body"]),
        ("capitals", &plain("You Have WON $100"), &["body"]),
        ("part of a word", &plain("carefree gifts"), &[]),
        ("excused", &plain("a free gift in the ACME newsletter"), &[]),
        ("other words", &plain("free and gift"), &[]),
    ]);
}

#[test]
fn html_is_seen_as_a_reader_does() {
    let html = |body: &str| part("Content-Type: text/html; charset=utf-8", body.as_bytes());
    check(&[
        ("tags between words", &html("<p>a <b>free</b> <i>gift</i></p>"), &["body"]),
        ("tags inside words", &html("v<b></b>i<span>a</span>gra"), &["body"]),
        ("comments inside words", &html("via<!-- -->gra"), &["body"]),
        ("named entities", &html("free&nbsp;gift"), &["body"]),
        ("numbered entities", &html("&#118;&#x69;agra"), &["body"]),
        ("entities without end", &html("&#118iagra"), &["body"]),
        ("invisible entities", &html("vi&shy;ag&zwnj;r&#8203;a"), &["body"]),
        ("blocks part words", &html("<div>via</div><div>gra</div>"), &[]),
        ("a line break", &html("free<br>gift"), &["body"]),
        ("a picture's text", &html("<img src=x alt='free gift'>"), &["body"]),
        ("a title", &html("<title>free gift</title>"), &["body"]),
        ("scripts are not shown", &html("<script>free gift</script>"), &[]),
        (
            "a charset of its own",
            &part("Content-Type: text/html", b"<meta charset=koi8-r>\xd0\xd2\xc9\xd7\xc5\xd4 \xcd\xc9\xd2"),
            &["body"],
        ),
        ("an open tag", &html("free gift <a href="), &["body"]),
    ]);
}

#[test]
fn every_text_part_is_read() {
    let alternative =
        b"Content-Type: multipart/alternative; boundary=B\n\n--B\nContent-Type: text/plain\n\nhello\n--B\n\
        Content-Type: text/html\n\nfree <b>gift</b>\n--B--\n";
    let attached =
        b"Content-Type: multipart/mixed; boundary=B\n\n--B\n\nhello\n--B\nContent-Type: message/rfc822\n\n\
        Subject: lottery\n\nfree gift\n--B--\n";
    let file = b"Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/plain; name=a.txt\n\
        Content-Disposition: attachment\n\nfree gift\n--B\nContent-Type: application/octet-stream\n\nviagra\n--B--\n";
    check(&[
        ("an alternative", alternative, &["body"]),
        ("an attached message, whose header is not the message's", attached, &["body"]),
        ("a text file", file, &["body"]),
    ]);
}
