//! Disguises that senders have thought of, and ordinary mail that looks like one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use greylag::policy::Policy;

use crate::found;

const RULES: &str = r#"
[[rule]]
name = "subject"
in = ["header:Subject"]
words = ["prize draw", "бесплатно", "当選"]
action = "reject"

[[rule]]
name = "body"
in = ["body"]
words = ["prize draw", "бесплатно", "無料です", "免费", "grátis"]
regex = ['claim\s+your\s+£?\d+', 'act (?:now|today).{0,40}expires', '\bwire\W+(?:\w+\W+){0,3}transfer\b']
action = "reject"

[[rule]]
name = "link"
in = ["links"]
contains = ["evil.test"]
regex = ['^https?://(?:[^/]*\.)?bücher\.test/']
action = "reject"
"#;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let files = BTreeMap::from([("content.toml".to_owned(), RULES.to_owned())]);
    Policy::load(&files).map(|(policy, _)| policy).unwrap()
});

/// The rules that match each mail, `malformed` for a malformed link.
fn check(cases: &[(&str, Vec<u8>, &[&str])]) -> usize {
    let mut wrong = Vec::new();
    for (title, mail, expected) in cases {
        let findings = found(&POLICY, mail);
        let names: Vec<&str> = findings
            .iter()
            .map(|finding| match finding.reason.code() {
                "content.malformed_link" => "malformed",
                _ => finding.detail.split('"').nth(1).unwrap(),
            })
            .collect();
        if names != *expected {
            wrong.push(format!("{title}: expected {expected:?}, found {findings:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    cases.len()
}

fn part(fields: &str, body: &[u8]) -> Vec<u8> {
    [b"Subject: x\nMIME-Version: 1.0\n", fields.as_bytes(), b"\n\n", body, b"\n"].concat()
}

fn plain(body: &str) -> Vec<u8> {
    part("Content-Type: text/plain; charset=utf-8", body.as_bytes())
}

fn html(body: &str) -> Vec<u8> {
    part("Content-Type: text/html; charset=utf-8", body.as_bytes())
}

fn subject(value: &str) -> Vec<u8> {
    format!("Subject: {value}\n\nx\n").into_bytes()
}

#[test]
fn charsets() {
    let typed =
        |charset: &str, body: &[u8]| part(&format!("Content-Type: text/plain; charset={charset}"), body);
    let in_base64 = |charset: &str, body: &[u8]| {
        let fields =
            format!("Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: base64");
        part(&fields, STANDARD.encode(body).as_bytes())
    };
    let free_1251 = b"\xe1\xe5\xf1\xef\xeb\xe0\xf2\xed\xee";
    let free_koi8 = b"\xc2\xc5\xd3\xd0\xcc\xc1\xd4\xce\xcf";
    let little: Vec<u8> = "a prize draw".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xff\xfe", little.as_slice()].concat();
    let count = check(&[
        (
            "windows-1251 in capitals",
            typed("WINDOWS-1251", b"\xc1\xc5\xd1\xcf\xcb\xc0\xd2\xcd\xce"),
            &["body"],
        ),
        ("windows-1251 as cp1251", typed("cp1251", free_1251), &["body"]),
        ("koi8-r in base64", in_base64("koi8-r", free_koi8), &["body"]),
        ("koi8-u", typed("koi8-u", free_koi8), &["body"]),
        ("iso-8859-5", typed("iso-8859-5", b"\xd1\xd5\xe1\xdf\xdb\xd0\xe2\xdd\xde"), &["body"]),
        ("shift_jis", typed("Shift_JIS", b"\x96\xb3\x97\xbf\x82\xc5\x82\xb7"), &["body"]),
        ("euc-jp", typed("euc-jp", b"\xcc\xb5\xce\xc1\xa4\xc7\xa4\xb9"), &["body"]),
        ("iso-2022-jp", typed("iso-2022-jp", b"\x1b$BL5NA$G$9\x1b(B"), &["body"]),
        ("gb18030", typed("gb18030", b"\xc3\xe2\xb7\xd1"), &["body"]),
        ("big5", typed("big5", b"\xb5L\xae\xc6"), &[]),
        ("utf-16 with a mark", in_base64("utf-16", &marked), &["body"]),
        ("utf-16le", in_base64("utf-16le", &little), &["body"]),
        ("utf-7", typed("utf-7", b"a pri+AHoAZQ- draw"), &["body"]),
        ("latin 1", typed("iso-8859-1", b"tudo gr\xe1tis hoje"), &["body"]),
        ("latin 1 called utf-8", typed("utf-8", b"tudo gr\xe1tis hoje"), &["body"]),
        ("a decomposed letter", plain("tudo gra\u{301}tis hoje"), &["body"]),
        ("RFC 2231", part("Content-Type: text/plain; charset*=us-ascii'en'koi8-r", free_koi8), &["body"]),
        ("an unclosed quote", part("Content-Type: text/plain; charset=\"koi8-r", free_koi8), &["body"]),
        ("nothing that tells koi8-r", part("X: y", free_koi8), &[]),
    ]);
    assert_eq!(count, 19);
}

#[test]
fn texts() {
    let quoted = |body: &str| {
        part(
            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable",
            body.as_bytes(),
        )
    };
    let count = check(&[
        ("a soft break in every word", quoted("pri=\nze dr=\naw"), &["body"]),
        (
            "a soft break within a character",
            quoted("=D0=B1=D0=\n=B5=D1=81=D0=BF=D0=BB=D0=B0=D1=82=D0=BD=D0=BE"),
            &["body"],
        ),
        ("small digits of escapes", quoted("=70riz=65 draw"), &["body"]),
        ("an escaped line end", quoted("prize=0D=0Adraw"), &["body"]),
        ("spaces before a soft break", quoted("prize dr=\t \naw"), &["body"]),
        ("word joiners", plain("pr\u{2060}ize dr\u{2060}aw"), &["body"]),
        ("variation selectors", plain("pri\u{fe0f}ze draw"), &["body"]),
        ("tags of the last plane", plain("pri\u{e0020}ze draw"), &["body"]),
        ("a Braille blank", plain("pri\u{2800}ze draw"), &["body"]),
        ("a Hangul filler", plain("pri\u{3164}ze draw"), &["body"]),
        ("an en quad", plain("prize\u{2000}draw"), &["body"]),
        ("letters in circles", plain("ⓟⓡⓘⓩⓔ draw"), &["body"]),
        ("a NUL", plain("pri\0ze draw"), &["body"]),
        ("an amount over lines", plain("Claim\n your\n   £500"), &["body"]),
        ("near each other", plain("Act NOW, this offer expires soon"), &["body"]),
        ("too far apart", plain(&format!("act now {} expires", "x ".repeat(40))), &[]),
        ("words between", plain("please wire me the transfer"), &["body"]),
        ("too many words between", plain("wire one two three four transfer"), &[]),
        (
            "far into a long text",
            plain(&format!("{}act today: expires", "wire act now ".repeat(5_000))),
            &["body"],
        ),
        ("letters of another alphabet", plain("рrize draw"), &[]),
        ("another word", plain("prize drawing, prizes drawn"), &[]),
    ]);
    assert_eq!(count, 21);
}

#[test]
fn pages() {
    let count = check(&[
        ("a place to break", html("pri<wbr>ze draw"), &["body"]),
        ("soft hyphens", html("pri&shy;ze dr&#173;aw"), &["body"]),
        ("zero width by name", html("pri&ZeroWidthSpace;ze draw"), &["body"]),
        ("a decimal entity without end", html("pri&#122e draw"), &["body"]),
        ("a hexadecimal entity without end", html("prize draw and &#x70rize"), &["body"]),
        ("entities with zeros", html("&#0000112;rize draw"), &["body"]),
        ("an odd comment", html("pri<!-->-->ze draw"), &[]),
        ("a comment that ends oddly", html("pri<!-- x --!>ze draw"), &["body"]),
        ("hidden letters", html("pri<span style=\"display: none\">xyz</span>ze draw"), &["body"]),
        ("hidden by its attribute", html("pri<b hidden>xyz</b>ze draw"), &["body"]),
        ("letters without size", html("pri<font style='font-size:0px'>xyz</font>ze draw"), &["body"]),
        ("hidden within hidden", html("pri<i style=display:none>a<i>b</i>c</i>ze draw"), &["body"]),
        ("what is hidden itself", html("<div style='display:none'>prize draw</div>"), &["body"]),
        ("small letters", html("pri<span style='font-size:0.9em'>xyz</span>ze draw"), &[]),
        ("a table", html("<table><tr><td>prize<td>draw</table>"), &["body"]),
        ("a page in a text", part("Content-Type: TEXT/HTML", b"<b>prize</b> draw"), &["body"]),
        ("a page called text", plain("pri<b></b>ze draw"), &[]),
        ("an attribute", html("<p class='prize draw'>x</p>"), &[]),
        ("an unknown element", html("pri<zzz></zzz>ze draw"), &["body"]),
        ("what runs no scripts", html("<noscript>pri<b></b>ze draw</noscript>"), &["body"]),
        ("a style that is none", html("<svg><style><p>pri<b></b>ze draw"), &["body"]),
        ("what Outlook shows", html("<!--[if mso]><p>prize draw</p><![endif]-->x"), &["body"]),
        ("what Outlook joins", html("pri<!--[if gte mso 9]>ze<![endif]--> draw"), &["body"]),
        ("what others join", html("pri<!--[if mso]>x<![endif]-->ze draw"), &["body"]),
    ]);
    assert_eq!(count, 24);
}

#[test]
fn header_fields() {
    let count = check(&[
        ("a word within a word", subject("pri=?utf-8?Q?ze?= draw"), &["subject"]),
        ("underscores", subject("=?utf-8?q?prize_draw?="), &["subject"]),
        (
            "a character over two encodings",
            subject("=?utf-8?B?0LHQtdGB0L8=?= =?utf-8?Q?=D0=BB=D0=B0=D1=82=D0?= =?utf-8?B?vdC+?="),
            &["subject"],
        ),
        ("two charsets", subject("=?koi8-r?B?wsXT0Mw=?= =?windows-1251?Q?=E0=F2=ED=EE?="), &["subject"]),
        ("base64 without its end", subject("=?utf-8?B?cHJpemUgZHJhdw?="), &["subject"]),
        ("a bare line break within", subject("=?utf-8?Q?prize\n _draw?="), &["subject"]),
        ("quoted", subject("\"=?utf-8?Q?prize?=\" draw"), &[]),
        ("shift_jis", subject("=?Shift_JIS?B?k5aRSQ==?="), &["subject"]),
        ("gb18030", subject("=?gb18030?B?lb2RyA==?="), &[]),
        ("iso-2022-jp", subject("=?ISO-2022-JP?B?GyRCRXZBKhsoQg==?="), &["subject"]),
        ("utf-7", subject("=?utf-7?Q?pri+AHoAZQ-_draw?="), &["subject"]),
    ]);
    assert_eq!(count, 11);
}

#[test]
fn links() {
    let count = check(&[
        ("a user name that is a site", plain("https://www.bank.test:443@evil.test/login"), &["link"]),
        ("an at sign in percent", plain("http://bank.test%40evil.test/"), &["link", "malformed"]),
        ("a name in its own letters", plain("see https://www.BÜCHER.test/x"), &["link"]),
        ("punycode in capitals", plain("see HTTPS://XN--BCHER-KVA.TEST/x"), &["link"]),
        ("no colon", plain("http//evil.test"), &["link", "malformed"]),
        (
            "a link in Outlook",
            html("<!--[if mso]><v:rect href='http:/evil.test'><![endif]-->"),
            &["link", "malformed"],
        ),
        ("no colon, a page", html("<a href='https//evil.test/'>x</a>"), &["link", "malformed"]),
        ("slash and backslash", html("<a href='http:/\\evil.test/'>x</a>"), &["link", "malformed"]),
        ("no slashes", html("<a href='https:evil.test'>x</a>"), &["link", "malformed"]),
        ("hxxp", plain("hXXps[:]//evil[.]test/x"), &["link"]),
        ("tabs and line ends", html("<a href='ht\ttp:\n//ev\ri\nl.test/'>x</a>"), &["link"]),
        ("spaces around", html("<a href='  http://evil.test/ '>x</a>"), &["link"]),
        ("entities", html("<a href='http&colon;&sol;&sol;evil&period;test'>x</a>"), &["link"]),
        ("a script", html("<a href=\"javascript:location='http://evil.test'\">x</a>"), &["link"]),
        ("data", html("<a href='data:text/html,<script src=//evil.test/>'>x</a>"), &["link"]),
        ("backslashes for a scheme", html("<a href='\\\\evil.test\\x'>x</a>"), &["link"]),
        ("a base of its own", html("<base href='https://ev&#105;l.test'><img src='/x.png'>"), &["link"]),
        ("a full stop of another script", plain("http://evil。test/"), &["link"]),
        ("an empty host", html("<a href='http:///evil'>x</a>"), &["malformed"]),
        ("a query for a host", html("<a href='http://?evil'>x</a>"), &["malformed"]),
    ]);
    assert_eq!(count, 20);
}

#[test]
fn what_only_looks_like_a_disguise() {
    let count = check(&[
        ("schemes by name", plain("see http: and https, not ftp; HTTP/2 and http/1.1"), &[]),
        ("schemes in quotes", plain("it begins with \"http://\" or 'https://' (not `http://`)"), &[]),
        ("schemes with dots", plain("write http://... or https://…, then go on"), &[]),
        ("code", plain("url.startsWith(\"http://\") || fetch('https://' + host)"), &[]),
        (
            "placeholders",
            plain("curl http://<server>/x; https://${HOST}:${PORT}/ and http://{host}/, http://$HOST/"),
            &[],
        ),
        ("a chat's link", plain("<https://example.com|our site> and [x](https://example.com/a_(b))"), &[]),
        ("comments of code", plain("x = 1; // http is plain\nimport 'https'"), &[]),
        ("a path", plain("see node_modules/http/index.js and C:\\http\\x"), &[]),
        ("an archived link", plain("https://web.archive.org/web/2020/http://example.com/"), &[]),
        ("sentences", plain("(see http://example.com), http://example.org; \"http://example.net\"."), &[]),
        (
            "Japanese",
            plain("詳しくはhttp://example.com/をご覧ください。（http://example.jp）「https://example.com」"),
            &[],
        ),
        ("German quotes", plain("„https://example.de“ und »http://example.de/ü«"), &[]),
        (
            "a newsletter",
            html(
                "<a href='https://t.example.com/c/?u=https%3A%2F%2Fexample.com%2F%3Fa%3D1&amp;e=a%40b.test'>x</a><img src='https://t.example.com/o.gif?id=%%ID%%' width=1><div style='display:none;max-height:0'>Preview&nbsp;&zwnj;&nbsp;&zwnj;</div><a href='{{unsubscribe}}'>x</a><a href='%unsubscribe_url%'>y</a><a href='tel:+491234'>t</a>",
            ),
            &[],
        ),
        (
            "conditional comments",
            html("<!--[if mso]><v:rect href='http://x.test'><![endif]--><a href='https://example.com'>x</a>"),
            &[],
        ),
    ]);
    assert_eq!(count, 14);
}
