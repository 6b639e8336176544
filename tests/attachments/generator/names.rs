//! Spellings of a file name in the header fields of a part (attachments.md of the project's notes, 2.1 and 2.2).

use super::{Harmless, Payload};

/// The header fields of a part that carry the payload's name, each in another spelling.
pub(crate) fn fields(payload: &Payload) -> Vec<(String, String, Harmless)> {
    let mut all: Vec<(String, String, Harmless)> =
        plain(payload).into_iter().map(|(what, fields)| (what.into(), fields, Harmless::Passes)).collect();
    let marked = marked(payload).into_iter().map(|(what, fields)| (what.into(), fields, Harmless::IsRefused));
    all.extend(marked);
    all
}

fn disposition(parameters: &str) -> String {
    format!("Content-Disposition: attachment; {parameters}")
}

fn hex(text: &str, every: usize) -> String {
    let digit = |(at, byte): (usize, u8)| match at % every {
        0 => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    };
    text.bytes().enumerate().map(digit).collect()
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

fn fullwidth(text: &str) -> String {
    let wide = |c: char| char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c);
    text.chars().map(|c| if c.is_ascii_graphic() { wide(c) } else { c }).collect()
}

fn base64(data: &[u8]) -> String {
    crate::build::base64(data).replace("\r\n", "")
}

/// Spellings that say nothing by themselves.
fn plain(payload: &Payload) -> Vec<(&'static str, String)> {
    let name = payload.name;
    let (stem, extension) = name.split_once('.').unwrap();
    let (first, second) = name.split_at(5);
    let encoded = base64(name.as_bytes());
    vec![
        ("token", disposition(&format!("filename={name}"))),
        ("quoted", disposition(&format!("filename=\"{name}\""))),
        ("upper case", disposition(&format!("filename=\"{}\"", name.to_uppercase()))),
        ("single quotes", disposition(&format!("filename='{name}'"))),
        ("quote not closed", disposition(&format!("filename=\"{name}"))),
        ("quoted pairs", disposition(&format!("filename=\"{stem}\\.{extension}\""))),
        ("fold after the equals sign", disposition(&format!("filename=\r\n \"{name}\""))),
        ("fold before the equals sign", disposition(&format!("filename\r\n =\"{name}\""))),
        ("fold within the value", disposition(&format!("filename=\"{first}\r\n {second}\""))),
        ("fold before the parameter", disposition(&format!("\r\n\tfilename=\"{name}\""))),
        ("spaces around the equals sign", disposition(&format!("filename = \"{name}\""))),
        ("no semicolon", format!("Content-Disposition: attachment filename=\"{name}\"")),
        ("no disposition", format!("Content-Disposition: filename=\"{name}\"")),
        ("semicolon first", format!("Content-Disposition: ; filename=\"{name}\"")),
        ("many semicolons", disposition(&format!(";; ;filename=\"{name}\";"))),
        ("inline", format!("Content-Disposition: inline; filename=\"{name}\"")),
        ("strange disposition", format!("Content-Disposition: x-{stem}; filename=\"{name}\"")),
        ("comment in the value", disposition(&format!("filename={first}(comment){second}"))),
        ("comment behind the parameter name", disposition(&format!("filename(c)=\"{name}\""))),
        ("comment before the value", disposition(&format!("filename=(c)\"{name}\""))),
        ("comment behind the value", disposition(&format!("filename=\"{name}\"(c)"))),
        ("invalid parameter first", disposition(&format!("x:y=1; filename=\"{name}\""))),
        ("8-bit parameter first", disposition(&format!("\u{e9}=1; filename=\"{name}\""))),
        ("parameter without value first", disposition(&format!("x; filename=\"{name}\""))),
        ("name in the content type", format!("Content-Type: application/octet-stream; name=\"{name}\"")),
        ("name of a text", format!("Content-Type: text/plain; name=\"{name}\"")),
        (
            "names differ, the content type's is real",
            format!(
                "Content-Type: application/x; name=\"{name}\"\r\n\
             Content-Disposition: attachment; filename=ok.txt"
            ),
        ),
        (
            "names differ, the disposition's is real",
            format!(
                "Content-Type: application/x; name=ok.txt\r\n\
             Content-Disposition: attachment; filename=\"{name}\""
            ),
        ),
        ("first of two parameters", disposition(&format!("filename=\"{name}\"; filename=ok.txt"))),
        ("second of two parameters", disposition(&format!("filename=ok.txt; filename=\"{name}\""))),
        ("extended beside plain", disposition(&format!("filename=ok.txt; filename*=utf-8''{name}"))),
        ("plain beside extended", disposition(&format!("filename=\"{name}\"; filename*=utf-8''ok.txt"))),
        (
            "first of two fields",
            format!("{}\r\n{}", disposition(&format!("filename=\"{name}\"")), disposition("filename=ok.txt")),
        ),
        (
            "second of two fields",
            format!("{}\r\n{}", disposition("filename=ok.txt"), disposition(&format!("filename=\"{name}\""))),
        ),
        (
            "first of two content types",
            format!("Content-Type: a/b; name=\"{name}\"\r\nContent-Type: text/plain"),
        ),
        ("extended", disposition(&format!("filename*=utf-8''{name}"))),
        ("extended, all in hex", disposition(&format!("filename*=utf-8''{}", hex(name, 1)))),
        ("extended with a language", disposition(&format!("filename*=utf-8'en-US'{}", hex(name, 3)))),
        ("extended without character set", disposition(&format!("filename*=''{name}"))),
        ("extended without quotes", disposition(&format!("filename*={name}"))),
        ("extended and quoted", disposition(&format!("filename*=\"utf-8''{name}\""))),
        ("extended in an unknown character set", disposition(&format!("filename*=x-none''{name}"))),
        (
            "extended in UTF-16, big end first",
            disposition(&format!("filename*=utf-16be''{}", percent(&utf16(name, true)))),
        ),
        (
            "extended in UTF-16, little end first",
            disposition(&format!("filename*=utf-16le''{}", percent(&utf16(name, false)))),
        ),
        ("in two pieces", disposition(&format!("filename*0=\"{first}\"; filename*1=\"{second}\""))),
        ("pieces in disorder", disposition(&format!("filename*1=\"{second}\"; filename*0=\"{first}\""))),
        ("pieces from one", disposition(&format!("filename*1=\"{first}\"; filename*2=\"{second}\""))),
        ("pieces with a gap", disposition(&format!("filename*0=\"{first}\"; filename*2=\"{second}\""))),
        ("numbers of two digits", disposition(&format!("filename*00=\"{first}\"; filename*01=\"{second}\""))),
        (
            "a piece given twice",
            disposition(&format!("filename*0=ok; filename*0=\"{first}\"; filename*1=\"{second}\"")),
        ),
        (
            "a last piece given twice",
            disposition(&format!("filename*0=\"{first}\"; filename*1=\"{second}\"; filename*1=\".txt\"")),
        ),
        (
            "pieces in hex",
            disposition(&format!("filename*0*=utf-8''{}; filename*1*={}", hex(first, 2), hex(second, 2))),
        ),
        (
            "one piece in hex",
            disposition(&format!("filename*0*=utf-8''{}; filename*1=\"{second}\"", hex(first, 1))),
        ),
        (
            "pieces and a plain one",
            disposition(&format!("filename=ok.txt; filename*0=\"{first}\"; filename*1=\"{second}\"")),
        ),
        ("pieces of one letter", {
            let pieces: Vec<_> =
                name.chars().enumerate().map(|(n, c)| format!("filename*{n}=\"{c}\"")).collect();
            disposition(&pieces.join("; "))
        }),
        ("encoded word in base64", disposition(&format!("filename=\"=?utf-8?B?{encoded}?=\""))),
        ("encoded word in hex", disposition(&format!("filename=\"=?utf-8?Q?{}?=\"", quoted(name)))),
        ("encoded word outside quotes", disposition(&format!("filename==?utf-8?B?{encoded}?="))),
        (
            "encoded word with a language",
            disposition(&format!("filename=\"=?utf-8*en?Q?{}?=\"", quoted(name))),
        ),
        (
            "encoded words in a row",
            disposition(&format!("filename=\"=?utf-8?Q?{first}?= =?utf-8?Q?{second}?=\"")),
        ),
        (
            "encoded words each in quotes",
            disposition(&format!("filename=\"=?utf-8?Q?{first}?=\" \"=?utf-8?Q?{second}?=\"")),
        ),
        (
            "encoded words folded",
            disposition(&format!(
                "filename=\"=?utf-8?Q?{first}?=\r\n =?utf-8?B?{}?=\"",
                base64(second.as_bytes())
            )),
        ),
        (
            "encoded word in UTF-16, big end first",
            disposition(&format!("filename=\"=?utf-16be?B?{}?=\"", base64(&utf16(name, true)))),
        ),
        (
            "encoded word in UTF-16, little end first",
            disposition(&format!("filename=\"=?utf-16le?B?{}?=\"", base64(&utf16(name, false)))),
        ),
        (
            "encoded word in an unknown character set",
            disposition(&format!("filename=\"=?x-none?B?{encoded}?=\"")),
        ),
        ("encoded word and plain text", disposition(&format!("filename=\"=?utf-8?Q?{first}?={second}\""))),
        ("percent signs", disposition(&format!("filename=\"{}\"", name.replace('.', "%2E")))),
        ("every letter percent-encoded", disposition(&format!("filename=\"{}\"", hex(name, 1)))),
        ("dots at the end", disposition(&format!("filename=\"{name}...\""))),
        ("spaces at the end", disposition(&format!("filename=\"{name}   \""))),
        ("dots and spaces at the end", disposition(&format!("filename=\"{name}. . \""))),
        ("no-break space at the end", disposition(&format!("filename=\"{name}\u{a0}\""))),
        ("ideographic space at the end", disposition(&format!("filename=\"{name}\u{3000}\""))),
        ("tab at the end", disposition(&format!("filename=\"{name}\t\""))),
        ("after an extension", disposition(&format!("filename=\"invoice.pdf.{extension}\""))),
        (
            "far behind an extension",
            disposition(&format!("filename=\"a.pdf{}.{extension}\"", " ".repeat(80))),
        ),
        ("of four kilobytes", disposition(&format!("filename=\"{}.{extension}\"", "x".repeat(4096)))),
        ("with a path of slashes", disposition(&format!("filename=\"../../tmp/{name}\""))),
        ("with a path of backslashes", disposition(&format!("filename=\"C:\\temp\\{name}\""))),
        ("with escaped backslashes", disposition(&format!("filename=\"a\\\\b\\\\{name}\""))),
        ("before a semicolon", disposition(&format!("filename=\"{name};.txt\""))),
        ("behind a semicolon", disposition(&format!("filename=\"good.txt;{name}\""))),
        ("in quotes within quotes", disposition(&format!("filename=\"\\\"{name}\\\"\""))),
        ("full-width letters", disposition(&format!("filename=\"{}\"", fullwidth(name)))),
        ("full-width dot", disposition(&format!("filename=\"{stem}\u{ff0e}{extension}\""))),
        ("one dot leader", disposition(&format!("filename=\"{stem}\u{2024}{extension}\""))),
        ("ideographic full stop", disposition(&format!("filename=\"{stem}\u{3002}{extension}\""))),
        ("small full stop", disposition(&format!("filename=\"{stem}\u{fe52}{extension}\""))),
        (
            "full-width letters in an encoded word",
            disposition(&format!("filename=\"=?utf-8?B?{}?=\"", base64(fullwidth(name).as_bytes()))),
        ),
        ("behind a packer's suffix", disposition(&format!("filename=\"{name}.001\""))),
        ("in the description", format!("Content-Description: {name}")),
        ("in the location", format!("Content-Location: {name}")),
        ("space before the colon", format!("Content-Type : application/x; name=\"{name}\"")),
        ("comment in the field name", format!("Content-Type(c): application/x; name=\"{name}\"")),
        ("space in the field name", format!("Content- Disposition: attachment; filename=\"{name}\"")),
        ("field name in upper case", format!("CONTENT-DISPOSITION: ATTACHMENT; FILENAME=\"{name}\"")),
        (
            "field behind a line that is none",
            format!("this is no field\r\n{}", disposition(&format!("filename={name}"))),
        ),
        ("field without value before", format!("X:\r\n{}", disposition(&format!("filename={name}")))),
    ]
}

/// Spellings that no honest program writes: refused under any name.
fn marked(payload: &Payload) -> Vec<(&'static str, String)> {
    let name = payload.name;
    let (stem, extension) = name.split_once('.').unwrap();
    vec![
        ("class identifier", disposition("filename=\"notes.txt.{3050F4D8-98B5-11CF-BB82-00AA00BDCE0B}\"")),
        ("turned around", disposition(&format!("filename=\"{stem}\u{202e}gpj.{extension}\""))),
        ("turned around in an encoded word", {
            let turned = base64(format!("{stem}\u{202e}gpj.{extension}").as_bytes());
            disposition(&format!("filename=\"=?utf-8?B?{turned}?=\""))
        }),
        (
            "turned around and extended",
            disposition(&format!("filename*=utf-8''{stem}%E2%80%AEgpj.{extension}")),
        ),
        ("isolated", disposition(&format!("filename=\"{stem}\u{2066}.{extension}\u{2069}\""))),
    ]
}

fn percent(data: &[u8]) -> String {
    data.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn quoted(text: &str) -> String {
    text.replace('.', "=2E")
}

/// Names with characters that only a program sees, or that a file system cuts off. They are found by the name that is left.
pub(super) fn hidden(payload: &Payload) -> Vec<(&'static str, String)> {
    let name = payload.name;
    let (stem, extension) = name.split_once('.').unwrap();
    let (head, tail) = extension.split_at(1);
    vec![
        ("stream of a file", format!("{name}::$DATA")),
        ("named stream", format!("a.txt:{name}")),
        ("stream behind the name", format!("{name}:a.txt")),
        ("zero-width space", format!("{stem}.{head}\u{200b}{tail}")),
        ("zero-width joiner", format!("{stem}.{head}\u{200d}{tail}")),
        ("word joiner", format!("{stem}.{head}\u{2060}{tail}")),
        ("byte order mark", format!("{stem}.{head}\u{feff}{tail}")),
        ("soft hyphen", format!("{stem}.{head}\u{ad}{tail}")),
        ("blank of braille", format!("{name}\u{2800}")),
        ("tag character", format!("{stem}.{head}\u{e0020}{tail}")),
        ("variation selector", format!("{stem}.{head}\u{fe0f}{tail}")),
        ("NUL behind", format!("{name}\0.txt")),
        ("NUL before", format!("good.txt\0{name}")),
        ("NUL within", format!("{stem}.{head}\0{tail}")),
        ("control character within", format!("{stem}.{head}\u{1}{tail}")),
        ("delete within", format!("{stem}.{head}\u{7f}{tail}")),
    ]
}
