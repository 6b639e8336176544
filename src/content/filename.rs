//! What a file name says of the file: its extension under every reading, and whether it misleads who sees it.

use std::borrow::Cow;

use super::readings::{MAX_READINGS, is_invisible, is_plain_name, normalised, readings};
use crate::policy::Extensions;

/// Bytes of a name that are looked at from each end.
pub(super) const MAX_NAME: usize = 1024;
/// Bytes of a name that are kept for reports.
const MAX_SHOWN: usize = 255;
/// Extensions of documents, pictures and archives that a forbidden one hides behind.
const DECOYS: [&str; 40] = [
    "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "rtf", "txt", "csv", "odt", "ods", "odp", "htm",
    "html", "xml", "jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "webp", "svg", "mp3", "mp4", "avi",
    "mov", "wav", "mpg", "zip", "rar", "7z", "eml", "msg", "ics", "vcf", "log", "jfif",
];
/// Spaces in a row that push an extension out of sight.
const GAP: &str = "     ";
/// Fewest digits and hyphens of a class identifier; a whole one has 36.
const MIN_CLASS_ID: usize = 25;
/// The largest program a DOS `.com` file can hold.
const MAX_COM: u64 = 65_280;
/// How documents, pictures and archives begin that people send under the name of a site. What is in an archive is judged by its
/// own name.
const DOCUMENTS: [&[u8]; 11] = [
    b"%PDF-",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF8",
    b"PK\x03\x04",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"Rar!\x1a\x07",
    b"7z\xbc\xaf\x27\x1c",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
];
/// How the EICAR test file begins: a `.com` program made of printable characters.
const EICAR: &[u8] = b"X5O!P%@AP";

/// The content behind a name, as far as it is known.
#[derive(Clone, Copy)]
pub(super) enum Content<'c> {
    /// Nothing is known: the name alone decides.
    Unknown,
    /// How it begins, and how long it is.
    Known { prefix: &'c [u8], size: u64 },
}

/// A name that ends in a forbidden extension.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forbidden {
    /// The name, under the reading that ends so.
    pub(super) name: String,
    /// The extension in lower case, without dot.
    pub(super) extension: String,
}

/// What is to be said against a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// The first reading that ends in a forbidden extension.
    pub(super) forbidden: Option<Forbidden>,
    /// The name, where a forbidden extension stands behind that of a document, or a gap.
    pub(super) decoy: Option<String>,
    /// The name, where it ends in a class identifier.
    pub(super) class_id: Option<String>,
    /// The name, where it turns the direction of writing.
    pub(super) bidi: Option<String>,
}

impl Judged {
    /// This, and of `other` what this does not have.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            forbidden: self.forbidden.or(other.forbidden),
            decoy: self.decoy.or(other.decoy),
            class_id: self.class_id.or(other.class_id),
            bidi: self.bidi.or(other.bidi),
        }
    }
}

/// Judges every reading of `name`.
pub(super) fn judge(name: &str, content: Content<'_>, extensions: &Extensions) -> Judged {
    // Most names have one reading, and an extension that nobody forbids.
    let is_harmless = |ending: Cow<'_, str>| !is_encoder(&ending) && !extensions.contains(&ending);
    if !may_have_extension(name) || plain_extension(name).is_some_and(is_harmless) {
        return Judged::default();
    }
    judge_readings(name, content, extensions)
}

fn judge_readings(name: &str, content: Content<'_>, extensions: &Extensions) -> Judged {
    let mut judged = Judged::default();
    for reading in readings(name) {
        let endings = endings(&reading);
        if judged.class_id.is_none() && endings.iter().any(|ending| is_class_id(ending)) {
            judged.class_id = Some(shown(&reading));
        }
        if judged.bidi.is_none() && turns_direction(&reading) {
            judged.bidi = Some(shown(&reading));
        }
        let is_forbidden = |ending: &String| {
            extensions.contains(ending) && !(ending == "com" && is_web_site(&reading, content))
        };
        if judged.forbidden.is_none()
            && let Some(extension) = endings.into_iter().find(is_forbidden)
        {
            judged.decoy = is_decoy(&reading, &extension).then(|| shown(&reading));
            judged.forbidden = Some(Forbidden { name: shown(&reading), extension });
        }
    }
    judged
}

/// Whether the name has a document's extension, or a gap, before `extension`.
fn is_decoy(reading: &str, extension: &str) -> bool {
    let lower = reading.to_lowercase();
    let Some((stem, _)) = lower.rsplit_once(&format!(".{extension}")).or_else(|| lower.rsplit_once('.'))
    else {
        return false;
    };
    let before = stem.trim_end().rsplit_once('.').map(|(_, before)| before.trim_end_matches(['_', ' ', '-']));
    before.is_some_and(|before| DECOYS.contains(&before)) || stem.ends_with(GAP)
}

/// Whether characters of the name are shown in another order than they stand: overrides do that to any text, and
/// embeddings and isolates of one direction have no place in a name without letters of the other. Isolates of either
/// direction (U+2068) do: programs put them around any name.
fn turns_direction(reading: &str) -> bool {
    if reading.is_ascii() {
        return false;
    }
    let has_rtl_letters = || {
        reading.chars().any(|c| {
            matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}')
                && c != '\u{61c}'
        })
    };
    reading.contains(['\u{202d}', '\u{202e}'])
        || (reading.contains(['\u{202b}', '\u{2066}', '\u{2067}']) && !has_rtl_letters())
}

/// Work of judging a name, in bytes: a name of plain characters has one reading, others may have all.
pub(super) fn work(name: &str) -> u64 {
    let length = name.len() as u64;
    if is_plain_name(name) { length } else { length.min(2 * MAX_NAME as u64) * MAX_READINGS as u64 }
}

/// The extension of the plain reading of `name`, in lower case, empty where it has none.
pub(super) fn extension(name: &str) -> Cow<'_, str> {
    if let Some(ending) = plain_extension(name) {
        return ending;
    }
    let tail = &name[name.ceil_char_boundary(name.len().saturating_sub(MAX_SHOWN))..];
    endings(&normalised(tail)).into_iter().next().unwrap_or_default().into()
}

/// The extension of a [plain name](is_plain_name) whose last piece is of letters and digits, in lower case; empty where a slash
/// is before it.
fn plain_extension(name: &str) -> Option<Cow<'_, str>> {
    let separator = name.bytes().rposition(|byte| matches!(byte, b'/' | b'.'))?;
    let ending = name.get(separator + 1..).filter(|ending| !ending.is_empty())?;
    if !ending.bytes().all(|byte| byte.is_ascii_alphanumeric()) || !is_plain_name(name) {
        return None;
    }
    let ending = if name.as_bytes().get(separator) == Some(&b'.') { ending } else { "" };
    let has_capitals = ending.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(if has_capitals { ending.to_ascii_lowercase().into() } else { ending.into() })
}

/// A name as reports and replies show it: no control or invisible characters, at most 255 bytes, the end kept.
pub(super) fn shown(name: &str) -> String {
    if name.len() <= MAX_SHOWN && name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return name.trim().to_owned();
    }
    let tail = &name[name.ceil_char_boundary(name.len().saturating_sub(2 * MAX_SHOWN))..];
    let visible: String = tail.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    let visible = visible.trim();
    visible[visible.ceil_char_boundary(visible.len().saturating_sub(MAX_SHOWN))..].to_owned()
}

/// The part of a name's bytes that counts: no system has much longer paths, and headers may overlap in millions.
pub(super) fn end_of_name(name: &[u8]) -> &[u8] {
    &name[name.len().saturating_sub(MAX_NAME)..]
}

/// Whether any reading of the name can have an extension; most parameters of a header have none.
pub(super) fn may_have_extension(name: &str) -> bool {
    name.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'?' | b'&' | b'\\' | b'=' | 0x80..))
}

/// The extensions of a reading: the last one, and where that is an encoder's, those before it.
fn endings(reading: &str) -> Vec<String> {
    let file = reading.trim_end_matches(is_ignored_at_end);
    let mut rest = file.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut endings = Vec::new();
    while let Some((stem, ending)) = rest.rsplit_once('.') {
        endings.push(ending.trim().to_lowercase());
        if !endings.last().is_some_and(|ending| is_encoder(ending)) {
            break;
        }
        rest = stem.trim_end_matches(is_ignored_at_end);
    }
    endings
}

/// Windows drops final dots and spaces; quotes, brackets, `=` and bytes of another charset are left over where a header is
/// damaged; and no name can end in what separates paths or stands for other names.
fn is_ignored_at_end(c: char) -> bool {
    c == '.'
        || c.is_whitespace()
        || matches!(
            c,
            '"' | '\'' | '`' | '\u{2018}'
                ..='\u{201f}' | '<' | '>' | ']' | '|' | '*' | '?' | '=' | '/' | '\\' | '\u{fffd}'
        )
}

/// Whether an extension only says how the file in it is packed or encoded, or which piece of it this is (`001`, `r00`, `z01`).
fn is_encoder(ending: &str) -> bool {
    let is_known = matches!(
        ending,
        "gz" | "gzip"
            | "bz2"
            | "bzip2"
            | "xz"
            | "zst"
            | "lzma"
            | "lz4"
            | "br"
            | "z"
            | "lz"
            | "zip"
            | "zipx"
            | "7z"
            | "rar"
            | "uu"
            | "uue"
            | "xxe"
            | "b64"
            | "hqx"
    );
    is_known || matches!(ending.as_bytes(), [b'0' | b'r' | b'z', b'0'..=b'9', b'0'..=b'9'])
}

/// `{`, hexadecimal digits in groups, `}`: Windows takes it for the type of the file and hides it.
fn is_class_id(ending: &str) -> bool {
    let inner = ending.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| {
        inner.len() >= MIN_CLASS_ID && inner.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    })
}

/// Whether a name in `.com` is that of a web site or an address, or a sentence about one, and the content is no
/// program. A message or a page is none, whatever it is called after.
fn is_web_site(reading: &str, content: Content<'_>) -> bool {
    let Content::Known { prefix, size } = content else { return false };
    let is_text = !prefix.iter().any(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31));
    let is_document = DOCUMENTS.iter().any(|begins| prefix.starts_with(begins));
    if prefix.starts_with(b"MZ") || prefix.starts_with(EICAR) || (size < MAX_COM && !is_text && !is_document)
    {
        return false;
    }
    let is_written =
        prefix.trim_ascii_start().starts_with(b"<") || super::archive::looks_like_message(prefix);
    is_written || reading.contains('@') || reading.trim().contains(' ') || reading.matches('.').count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_name_is_judged_as_its_readings_are(
            name in "([ ._/+,@aA0-]|exe|EXE|gz|z01|pdf|com|PNG|[{%:\\u{e9}\u{202e}]){0,9}",
        ) {
            prop_assert_eq!(
                judge(&name, Content::Unknown, &core()),
                judge_readings(&name, Content::Unknown, &core())
            );
            if let Some(ending) = plain_extension(&name) {
                let endings = endings(&normalised(&name));
                prop_assert_eq!(ending, endings.first().map_or("", String::as_str));
            }
        }
    }

    fn core() -> Extensions {
        ["file:lists/attachments-core.txt"].into_iter().collect()
    }

    fn found(name: &str) -> Option<String> {
        judge(name, Content::Unknown, &core()).forbidden.map(|found| found.extension)
    }

    #[test]
    fn forbidden_names_are_found_in_every_disguise() {
        for name in [
            "evil.exe",
            "EVIL.EXE",
            "evil.exe. ",
            "evil.exe/",
            "evil.exe\\\\",
            "<evil.exe>",
            "[evil.exe]",
            "evil.exe\u{fffd}",
            "evil.exe                              .txt",
            "=?us-ascii?Q?evil=2Eexe",
            "=?us-ascii?Q?evil=2Eexe?",
            "=?utf-8?B?ZXZpb?= =?utf-8?B?C5leGU=?=",
            "evil.exe . .",
            "evil.exe\u{a0}\u{3000}",
            "evil. exe",
            "evil.exe\0.txt",
            "good.txt\0.exe",
            "evil.e\0xe",
            "evil.exe::$DATA",
            "a.txt:evil.exe",
            "a.txt:evil.exe:$DATA",
            "annex\u{202e}gpj.exe",
            "evil.ex\u{200b}e",
            "evil.e\u{ad}xe",
            "evil.exe\u{feff}",
            "evil\u{ff0e}exe",
            "evil.\u{ff45}\u{ff58}\u{ff45}",
            "evil\u{3002}exe",
            "evil\u{2024}exe",
            "evil\u{fe52}exe",
            "invoice.pdf.exe",
            "invoice.pdf                                             .exe",
            "good.txt;.exe",
            "evil.exe;.txt",
            "C:\\Users\\evil.exe",
            "dir.txt/evil.exe",
            "'evil.exe'",
            "\"evil.exe\"",
            "evil.exe\"",
            "evil%2Eexe",
            "evil.%65%78%65",
            "evil%252Eexe",
            "utf-8''evil%2Eexe",
            "=?utf-8?B?ZXZpbC5leGU=?=",
            "=?utf-8?Q?evil=2Eexe?=",
            "=?utf-8*en?q?evil.exe?=",
            "=?utf-8?Q?evil.e?= =?utf-8?Q?xe?=",
            "=?utf-8?Q?evil.e?=\n =?utf-8?Q?xe?=",
            "\"=?utf-8?Q?evil.e?=\" \"=?utf-8?Q?xe?=\"",
            "=?utf-16be?B?AGUAdgBpAGwALgBlAHgAZQ==?=",
            "=?utf-16le?B?ZQB2AGkAbAAuAGUAeABlAA==?=",
            "utf-16be''%00e%00v%00i%00l%00.%00e%00x%00e",
            "evil.e\n xe",
            "evil.e(comment)xe",
            "evil(c).exe",
            "?utf-8?Q?evil.exe?=",
            "&#101;vil&#46;exe",
            "evil.&#x65;xe",
            "evil&period;exe",
            "evil\\u002eexe",
            "evil.\\u0065x\\x65",
            "evil=2Eexe",
            "evil.exe.gz",
            "evil.exe.gz.xz",
            "evil.exe .bz2",
            "evil.exe.zip",
            "evil.exe.7z",
            "evil.exe.001",
            "evil.exe.r00",
            "evil.exe.uue",
            ".exe",
            "\u{202e}\u{200b}.exe",
        ] {
            assert_eq!(found(name).as_deref(), Some("exe"), "{name:?}");
        }
        assert_eq!(found("a.SettingContent-ms").as_deref(), Some("settingcontent-ms"));
    }

    #[test]
    fn long_names_are_read_from_both_ends() {
        assert_eq!(found(&format!("{}.exe", "x".repeat(100_000))).as_deref(), Some("exe"));
        assert_eq!(found(&format!("evil.exe\0{}", "x".repeat(100_000))).as_deref(), Some("exe"));
        assert_eq!(found(&"\u{e9};:\0%(".repeat(100_000)), None);
        assert_eq!(found(&"=?".repeat(100_000)), None);
    }

    #[test]
    fn ordinary_names_pass() {
        for name in [
            "report.2026.01.pdf",
            "www.example.com.pdf",
            "report.2026.01",
            "exe",
            "exe.txt",
            "100%.pdf",
            "50% off; see more.pdf",
            "Smith & Sons; R&D&exe.pdf",
            "C:\\Users\\x\\upload\\report.pdf",
            "a=b.pdf",
            "R\u{e9}sum\u{e9} (final).docx",
            "\u{5831}\u{544a}\u{66f8}\u{3002}pdf",
            "a.tar.gz",
            "readme",
            "",
            ".",
            "...",
            "smime.p7s",
            "invite.ics",
            "photo.exe.jpg",
            "=?utf-8?B?cmVwb3J0LnBkZg==?=",
            "Re: your message.eml",
            "{3050F4D8}.txt",
            "archive.zip",
            "image001.png@01D00000.00000000",
        ] {
            assert_eq!(found(name), None, "{name:?}");
        }
    }

    #[test]
    fn misleading_names_are_told() {
        let judged = |name| judge(name, Content::Unknown, &core());
        for name in
            ["x.txt.{3050F4D8-98B5-11CF-BB82-00AA00BDCE0B}", "x.{00000000-0000-0000-0000-000000000000} "]
        {
            assert_eq!(judged(name).class_id.as_deref(), Some(name.trim()), "{name}");
        }
        for name in
            ["{3050F4D8-98B5-11CF-BB82-00AA00BDCE0B}", "a.{1}", "{3050F4D8-98B5-11CF-BB82-00AA00BDCE0B}.png"]
        {
            assert_eq!(judged(name).class_id, None, "{name}");
        }
        for name in
            ["annex\u{202e}gpj.exe", "a\u{202d}b.pdf", "\u{202b}fdp.x", "=?utf-8?Q?annex=E2=80=AEgpj.exe?="]
        {
            assert!(judged(name).bidi.is_some(), "{name:?}");
        }
        for name in [
            "\u{202a}C:\\Users\\report.pdf",
            "\u{5d3}\u{5d5}\u{5d7}\u{200f}.pdf",
            "\u{202b}\u{5d3}\u{5d5}\u{5d7}\u{202c}.pdf",
            "\u{200e}IMG-2026.jpg",
            "\u{2068}Invoice\u{2069}.pdf",
        ] {
            assert_eq!(judged(name).bidi, None, "{name:?}");
        }
        for name in ["invoice.pdf.exe", "Scan.JPG .scr", "a.doc__.js", "a        .exe", "photo.png.exe.gz"] {
            assert!(judged(name).decoy.is_some(), "{name}");
        }
        for name in ["setup.exe", "app.v2.exe", "report.2026.pdf", "invoice.exe.pdf", "photo.exe.jpg"] {
            assert_eq!(judged(name).decoy, None, "{name}");
        }
    }

    #[test]
    fn a_web_site_is_no_program_unless_its_content_is() {
        let text = Content::Known { prefix: b"Hello from our site", size: 5000 };
        let program = Content::Known { prefix: b"MZ\x90\0", size: 5_000_000 };
        let small_binary = Content::Known { prefix: &[0xe9, 0, 1, 0xb4], size: 900 };
        let eicar = Content::Known { prefix: b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR", size: 68 };
        for name in ["www.example.com", "bob@example.com", "Your order at example.com"] {
            assert_eq!(judge(name, text, &core()).forbidden, None, "{name}");
            let document = Content::Known { prefix: b"%PDF-1.7\n\0\x01", size: 5000 };
            assert_eq!(judge(name, document, &core()).forbidden, None, "{name}");
            for content in [program, small_binary, eicar, Content::Unknown] {
                assert!(judge(name, content, &core()).forbidden.is_some(), "{name}");
            }
        }
        for (packed, begins) in [
            ("zip", &b"PK\x03\x04\x14\0"[..]),
            ("rar", b"Rar!\x1a\x07\x01\0"),
            ("7z", b"7z\xbc\xaf\x27\x1c\0\x04"),
            ("gz", b"\x1f\x8b\x08\0"),
            ("bz2", b"BZh91AY&SY\x01\x02"),
            ("xz", b"\xfd7zXZ\0\0\x04"),
        ] {
            let archive = Content::Known { prefix: begins, size: 5000 };
            assert_eq!(
                judge(&format!("www.example.com.{packed}"), archive, &core()).forbidden,
                None,
                "{packed}"
            );
        }
        assert!(judge("setup.com", text, &core()).forbidden.is_some());
        assert!(judge("www.example.exe", text, &core()).forbidden.is_some());
    }

    #[test]
    fn names_are_shown_without_what_cannot_be_seen() {
        assert_eq!(shown("annex\u{202e}gpj\r\n.exe\0"), "annexgpj.exe");
        assert_eq!(shown(&format!("{}.exe", "\u{e9}".repeat(3000))).len(), 254);
        assert_eq!(extension("A.ZIP. "), "zip");
        for (name, expected) in [
            ("a", ""),
            ("a.b/c", ""),
            ("a.b/c.Zip", "zip"),
            ("a.tar.gz", "gz"),
            ("a.zip/", "zip"),
            ("a.zip.", "zip"),
            (".zip", "zip"),
            ("a.z ip", "z ip"),
        ] {
            assert_eq!(extension(name), expected, "{name}");
        }
    }
}
