use std::collections::BTreeMap;

use greylag::policy::Policy;

use crate::found;

const TEXTS: [&str; 10] = [
    "Dear all,\n\nplease find the minutes at https://intranet.example.org/minutes?id=12&v=2 (login needed).\n\nRegards",
    "Hallo Jürgen,\n\ndie Übersicht liegt unter http://www.example.de/übersicht.html – Grüße aus Köln!",
    "Bonjour,\n\nvotre commande n° 4711 est prête : https://boutique.example.fr/commande#4711.\nÀ bientôt",
    "Привет! Посмотри http://пример.рф/новости, там всё есть.",
    "お世話になっております。資料は https://example.jp/資料 をご覧ください。",
    "Release notes: fixed HTTP/1.1 keep-alive, httpd restarts, and the https-only flag; see ftp://ftp.example.org/pub/.",
    "> On Monday Alice wrote:\n> > see <http://example.com/a_(b)>,\n> > and http://user@example.com:8080/x//y\n\nThanks!",
    "C:\\Users\\bob\\file.txt and \\\\server\\share and a//b and 50% off at www.example.com!",
    "Track: https://mail.example.com/ls/click?upn=u001.abc-2FXyz_aB%3D%3D&r=https%3A%2F%2Fexample.com%2Fx%3Fa%3Db",
    "IPv6 works: http://[2001:db8::1]:8080/ and http://192.0.2.1/ . Code: `if (a) { fetch(\"https://a.test\") }`",
];

fn mail(shape: usize, text: &str) -> Vec<u8> {
    let header = "From: \"=?utf-8?Q?J=C3=BCrgen?=\" <j@example.org>\nTo: bob@example.net\nSubject: =?utf-8?B?w5xiZXJzaWNodA==?=\nMIME-Version: 1.0\n";
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('\n', "<br>\n");
    let html = format!(
        "<html><head><style>p{{}}</style></head><body><p>{escaped}</p><a href=\"https://example.org/?a=1&amp;b=2\">more</a> <a href='mailto:a@example.org'>us</a><img src=\"cid:logo\"><a href='#top'>top</a></body></html>"
    );
    let quoted: String = text
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || byte == b' ' {
                char::from(byte).to_string()
            } else {
                format!("={byte:02X}")
            }
        })
        .collect();
    let body = match shape {
        0 => format!("Content-Type: text/plain; charset=utf-8\n\n{text}\n"),
        1 => format!(
            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n{quoted}\n"
        ),
        2 => format!("Content-Type: text/html; charset=utf-8\n\n{html}\n"),
        3 => format!(
            "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\n{text}\n--b\nContent-Type: text/html; charset=utf-8\n\n{html}\n--b--\n"
        ),
        4 => format!(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\n{text}\n--b\nContent-Type: application/pdf; name=\"report.pdf\"\nContent-Disposition: attachment; filename=\"report.pdf\"\nContent-Transfer-Encoding: base64\n\nJVBERi0=\n--b--\n"
        ),
        5 => format!(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nSubject: inner\nContent-Type: text/plain; charset=utf-8\n\n{text}\n--b--\n"
        ),
        6 => format!("\n{text}\n"),
        7 => format!(
            "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nNot delivered.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n--b\nContent-Type: text/rfc822-headers\n\nSubject: {}\n--b--\n",
            text.replace('\n', " ")
        ),
        8 => format!(
            "Content-Type: text/calendar; charset=utf-8; method=REQUEST\n\nBEGIN:VCALENDAR\nDESCRIPTION:{}\nEND:VCALENDAR\n",
            text.replace('\n', "\\n")
        ),
        _ => format!(
            "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html; charset=utf-8\n\n{html}\n--b\nContent-Type: image/png; name=logo.png\nContent-ID: <logo>\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--b--\n"
        ),
    };
    format!("{header}{body}").into_bytes()
}

#[test]
fn without_rules_nothing_is_found_in_a_hundred_ordinary_mails() {
    let policy = Policy::load(&BTreeMap::new()).map(|(policy, _)| policy).unwrap();
    let mails = (0..10).flat_map(|shape| TEXTS.map(|text| mail(shape, text)));
    let mut count = 0;
    for mail in mails {
        assert_eq!(found(&policy, &mail), [], "{}", String::from_utf8_lossy(&mail));
        count += 1;
    }
    assert_eq!(count, 100);
}
