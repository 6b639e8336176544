//! Transfer encodings that mail programs decode and scanners do not (2.1).

use crate::build::base64;

/// A part named `name` with the content `data` under each encoding.
pub(super) fn encodings(name: &str, data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let yenc = [b"Content-Type: text/plain\r\n\r\n".to_vec(), yenc(name, data)].concat();
    let mut all: Vec<_> =
        of_text(name, data).into_iter().map(|(what, part)| (what, part.into_bytes())).collect();
    all.push(("yEnc in a text", yenc));
    all
}

fn of_text(name: &str, data: &[u8]) -> Vec<(&'static str, String)> {
    let encoded = base64(data);
    let bare = encoded.replace("\r\n", "");
    let named = format!("Content-Type: application/octet-stream; name=\"{name}\"");
    let under = |encoding: &str, body: &str| {
        format!("{named}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n")
    };
    let in_lines = |length: usize| {
        let lines: Vec<_> =
            bare.as_bytes().chunks(length).map(|line| str::from_utf8(line).unwrap()).collect();
        lines.join("\r\n")
    };
    vec![
        ("base64", under("base64", &encoded)),
        ("x-base64", under("x-base64", &encoded)),
        ("BASE64", under("BASE64", &encoded)),
        ("base64 with a semicolon", under("base64;", &encoded)),
        ("base64 in quotes", under("\"base64\"", &encoded)),
        ("base64 and a word", under("base64 foo", &encoded)),
        ("base64 with a comment", under("(c) base64", &encoded)),
        ("base64 with a comment behind", under("base64(c)", &encoded)),
        ("base64 folded", under("\r\n base64", &encoded)),
        ("unknown encoding", under("x-strange", &encoded)),
        ("no encoding declared", format!("{named}\r\n\r\n{encoded}\r\n")),
        ("declared 7bit", under("7bit", &encoded)),
        ("declared 8bit", under("8bit", &encoded)),
        ("declared quoted-printable", under("quoted-printable", &encoded)),
        ("declared twice, base64 first", under("base64\r\nContent-Transfer-Encoding: 7bit", &encoded)),
        ("declared twice, base64 last", under("7bit\r\nContent-Transfer-Encoding: base64", &encoded)),
        (
            "declared twice, base64 before quoted-printable",
            under("base64\r\nContent-Transfer-Encoding: quoted-printable", &encoded),
        ),
        ("space before the colon", under("7bit", &encoded).replace("Encoding: 7bit", "Encoding : base64")),
        (
            "comment in the field name",
            under("7bit", &encoded).replace("Encoding: 7bit", "Encoding(c): base64"),
        ),
        ("in one line", under("base64", &bare)),
        ("in short lines", under("base64", &in_lines(5))),
        ("in lines of an odd length", under("base64", &in_lines(75))),
        ("junk between", under("base64", &encoded.replace("\r\n", "*\r\n!"))),
        ("spaces between", under("base64", &in_lines(4).replace("\r\n", "  "))),
        ("empty lines between", under("base64", &encoded.replace("\r\n", "\r\n\r\n"))),
        ("URL-safe alphabet", under("base64", &encoded.replace('+', "-").replace('/', "_"))),
        ("padding in the middle", under("base64", &padded_in_the_middle(data))),
        ("no padding at the end", under("base64", encoded.trim_end_matches('='))),
        ("too much padding", under("base64", &format!("{encoded}===="))),
        (
            "text before",
            under("base64", &format!("{encoded}\r\n--\r\nThis is no base64: it is text, really!")),
        ),
        ("quoted-printable", under("quoted-printable", &quoted_printable(data, "="))),
        (
            "quoted-printable, lower case",
            under("quoted-printable", &quoted_printable(data, "=").to_lowercase_hex()),
        ),
        ("quoted-printable with a semicolon", under("quoted-printable;", &quoted_printable(data, "="))),
        (
            "quoted-printable with spaces at line ends",
            under("quoted-printable", &quoted_printable(data, "= ")),
        ),
        ("quoted-printable, everything escaped", under("quoted-printable", &escaped(data))),
        (
            "uuencode",
            format!("{named}\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n{}\r\n", uuencode(name, data)),
        ),
        (
            "uuencode, not declared",
            format!("Content-Type: text/plain\r\n\r\nHello\r\n{}\r\n", uuencode(name, data)),
        ),
        ("BinHex", format!("Content-Type: application/mac-binhex40\r\n\r\n{}\r\n", binhex(name, data))),
        ("BinHex in a text", format!("Content-Type: text/plain\r\n\r\nHello\r\n{}\r\n", binhex(name, data))),
    ]
}

trait LowerHex {
    fn to_lowercase_hex(&self) -> String;
}

impl LowerHex for String {
    fn to_lowercase_hex(&self) -> String {
        let mut escape = 0;
        let lower = |c: char| {
            escape = if c == '=' { 2 } else { i32::max(escape - 1, -1) };
            if escape >= 0 { c.to_ascii_lowercase() } else { c }
        };
        self.chars().map(lower).collect()
    }
}

/// Each run of three bytes would end without padding; here each line is padded by itself.
fn padded_in_the_middle(data: &[u8]) -> String {
    let lines: Vec<_> = data.chunks(55).map(base64).collect();
    lines.join("\r\n")
}

fn quoted_printable(data: &[u8], soft_break: &str) -> String {
    let mut out = String::new();
    for line in data.chunks(24) {
        for byte in line {
            match byte {
                b'!'..=b'<' | b'>'..=b'~' => out.push(char::from(*byte)),
                other => out += &format!("={other:02X}"),
            }
        }
        out += soft_break;
        out += "\r\n";
    }
    out
}

fn escaped(data: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("={byte:02X}")).collect::<String>();
    data.chunks(24).map(line).collect::<Vec<_>>().join("=\r\n")
}

/// POSIX uuencode.
pub(crate) fn uuencode(name: &str, data: &[u8]) -> String {
    let digit = |bits: u8| char::from(if bits == 0 { b'`' } else { 32 + bits });
    let mut out = format!("begin 644 {name}\r\n");
    for line in data.chunks(45) {
        out.push(digit(line.len() as u8));
        for three in line.chunks(3) {
            let byte = |at: usize| *three.get(at).unwrap_or(&0);
            let (a, b, c) = (byte(0), byte(1), byte(2));
            out.extend([a >> 2, (a << 4 | b >> 4) & 63, (b << 2 | c >> 6) & 63, c & 63].map(digit));
        }
        out += "\r\n";
    }
    out + "`\r\nend"
}

/// yEnc (http://www.yenc.org/yenc-draft.1.3.txt) in lines of 128.
fn yenc(name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = format!("=ybegin line=128 size={} name={name}\r\n", data.len()).into_bytes();
    for line in data.chunks(128) {
        for byte in line {
            let code = byte.wrapping_add(42);
            match code {
                0 | b'\n' | b'\r' | b'=' => out.extend([b'=', code.wrapping_add(64)]),
                code => out.push(code),
            }
        }
        out.extend(b"\r\n");
    }
    out.extend(format!("=yend size={}\r\n", data.len()).into_bytes());
    out
}

/// BinHex 4.0 (RFC 1741), data fork only; run lengths are used for the escape itself alone.
pub(super) fn binhex(name: &str, data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr";
    let mut header = vec![name.len() as u8];
    header.extend(name.bytes());
    header.push(0);
    header.extend(b"BINAhDmp\0\0");
    header.extend((data.len() as u32).to_be_bytes());
    header.extend(0u32.to_be_bytes());
    let mut plain = Vec::new();
    for fork in [&header[..], data, &[]] {
        plain.extend(fork);
        plain.extend(crc_ccitt(fork).to_be_bytes());
    }
    let runs: Vec<u8> =
        plain.iter().flat_map(|byte| if *byte == 0x90 { vec![0x90, 0] } else { vec![*byte] }).collect();
    let mut text = String::from(":");
    for three in runs.chunks(3) {
        let bits =
            u32::from_be_bytes([0, three[0], *three.get(1).unwrap_or(&0), *three.get(2).unwrap_or(&0)]);
        for digit in 0..=three.len() {
            if text.len() % 64 == 0 {
                text.push('\n');
            }
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    format!("(This file must be converted with BinHex 4.0)\r\n\r\n{}:", text.replace('\n', "\r\n"))
}

fn crc_ccitt(data: &[u8]) -> u16 {
    data.iter().chain(&[0, 0]).fold(0, |crc: u16, byte| {
        (0..8).rev().fold(crc, |crc, bit| {
            let next = (crc << 1) | u16::from(byte >> bit & 1);
            if crc & 0x8000 == 0 { next } else { next ^ 0x1021 }
        })
    })
}
