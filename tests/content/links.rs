use crate::check;

fn text(body: &str) -> Vec<u8> {
    format!("Subject: x\nContent-Type: text/plain; charset=utf-8\n\n{body}\n").into_bytes()
}

fn html(body: &str) -> Vec<u8> {
    format!("Subject: x\nContent-Type: text/html; charset=utf-8\n\n{body}\n").into_bytes()
}

#[test]
fn links_of_texts_are_seen_without_disguise() {
    check(&[
        ("plain", &text("see http://evil.test/x."), &["link"]),
        ("a name below it", &text("https://www.EVIL.test"), &["link"]),
        ("no scheme", &text("go to www.evil.test now"), &["link"]),
        ("a user name", &text("http://bank.test@evil.test/"), &["link"]),
        ("percent signs in the host", &text("http://e%76il.test/"), &["link"]),
        ("percent signs in a redirection", &text("http://a.test/?to=http%3A%2F%2Fevil.test%2F"), &["link"]),
        ("defanged", &text("hxxp://evil[.]test/"), &["link"]),
        ("zero width", &text("http://ev\u{200b}il.test/"), &["link"]),
        ("soft hyphen", &text("http://ev\u{ad}il.test/"), &["link"]),
        ("full width", &text("http://ｅｖｉｌ.test/"), &["link"]),
        ("a name in its own letters", &text("http://bücher.test/"), &["link"]),
        ("a name in punycode", &text("http://xn--bcher-kva.test/"), &["link"]),
        ("backslashes", &text("http:\\\\evil.test\\x"), &["link", "malformed"]),
        ("no colon", &text("http//evil.test/x"), &["link", "malformed"]),
        ("one slash", &text("http:/evil.test"), &["link", "malformed"]),
        ("no host", &text("see http:///x"), &["malformed"]),
        ("nothing behind", &text("at http://"), &["malformed"]),
        ("an empty label", &text("http://a..test/"), &["malformed"]),
        ("a port that is none", &text("http://a.test:x/"), &["malformed"]),
        ("another site", &text("http://evil.test.example/ http://devil.test/"), &["link"]),
        ("a longer word", &text("http://devil.tests/"), &[]),
        ("no link", &text("evil dot test, HTTP/1.1"), &[]),
    ]);
}

#[test]
fn links_of_pages_are_seen_wherever_they_stand() {
    check(&[
        ("href", &html("<a href='http://evil.test/'>x</a>"), &["link"]),
        ("src", &html("<img src=http://evil.test/i.png>"), &["link"]),
        ("action", &html("<form action='http://evil.test/'>"), &["link"]),
        ("formaction", &html("<button formaction='http://evil.test/'>"), &["link"]),
        ("base", &html("<base href='http://evil.test/'><a href='x'>y</a>"), &["link"]),
        ("refresh", &html("<meta http-equiv=refresh content='0;url=http://evil.test/'>"), &["link"]),
        ("entities", &html("<a href='&#104;ttp://ev&#105;l&period;test/'>x</a>"), &["link"]),
        ("line ends", &html("<a href='ht\ntp://ev\til.test/'>x</a>"), &["link"]),
        ("relative scheme", &html("<a href='//evil.test/'>x</a>"), &["link"]),
        ("shown and not", &html("<a href='http://evil.test/'>http://bank.test/</a>"), &["link"]),
        ("in the text", &html("http://ev<b></b>il.test/"), &["link"]),
        ("a malformed one", &html("<a href='http//a.test/'>x</a>"), &["malformed"]),
        ("relative", &html("<a href='x.html'>y</a><a href='#top'>z</a>"), &[]),
        ("other schemes", &html("<a href='mailto:a@b.test'>y</a><img src='cid:1'>"), &[]),
        ("in a comment", &html("<!-- <a href='http://evil.test/'> -->"), &[]),
    ]);
}
