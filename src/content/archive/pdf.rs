//! Documents in PDF: the names of the files that are attached to them (ISO 32000-1 §7.11), as far as they stand in
//! clear. Viewers open no program from there, but hand it on.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use crate::content::archive::names;
use crate::content::filename::MAX_NAME;

static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"%PDF-"));
const EMBEDDED: &[u8] = b"/EmbeddedFile";
/// Where the mark of a PDF stands at the latest: viewers look no further.
const MAX_MARK: usize = 1024;

/// Whether a file begins as such documents do.
pub(super) fn begins(data: &[u8]) -> bool {
    MARK.find(&data[..data.len().min(MAX_MARK)]).is_some()
}

/// The names of attached files in the document `data`, nothing where it is another file: one for each string that may hold a
/// name, `None` where it holds none.
pub(super) fn names(data: &[u8]) -> impl Iterator<Item = Option<String>> {
    let is_pdf = begins(data);
    let has_files = is_pdf && memmem::find(data, EMBEDDED).is_some();
    let keys = memchr::memchr_iter(b'F', if has_files { data } else { &[] }).filter(|at| {
        let before = &data[..*at];
        before.ends_with(b"/") || before.ends_with(b"/U")
    });
    let strings = keys.map(|at| data[at + 1..].trim_ascii_start());
    let strings = strings
        .filter(|text| matches!(text, [b'(', ..]) || matches!(text, [b'<', next, ..] if *next != b'<'));
    // The same key holds addresses on the web.
    strings.map(|text| string(text).filter(|name| !name.contains("://")))
}

/// The string that `text` begins with, literal or hexadecimal.
fn string(text: &[u8]) -> Option<String> {
    let bytes = match text.split_first()? {
        (b'(', rest) => {
            let end = memchr::memchr(b')', &rest[..rest.len().min(MAX_NAME)])?;
            rest[..end].iter().copied().filter(|byte| *byte != b'\\').collect()
        }
        (_, rest) => {
            super::super::salvage::script::hexadecimal(&rest[..rest.len().min(2 * MAX_NAME)], MAX_NAME).0
        }
    };
    match bytes.strip_prefix(b"\xfe\xff") {
        Some(wide) => {
            let swapped: Vec<u8> = wide.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect();
            Some(names::utf16(&swapped))
        }
        None => names::readings(&bytes).into_iter().next(),
    }
}

#[cfg(test)]
mod tests {
    use super::MAX_NAME;
    use crate::content::archive::tests::{causes, report, zip};

    #[test]
    fn attached_files_are_judged_by_their_names() {
        for name in [
            "/F (evil.exe)",
            "/UF(evil.exe)",
            "/UF <FEFF006500760069006C002E006500780065>",
            "/F\r\n(evil\\.exe)",
        ] {
            let document = format!(
                "%PDF-1.7\n<< /Type /Filespec {name} /EF << /F 2 0 R >> >>\n<< /Type /EmbeddedFile >>"
            );
            assert_eq!(
                causes("a.pdf", document.as_bytes()),
                ["attachment.forbidden_extension a.pdf/evil.exe"],
                "{name}"
            );
            assert_eq!(causes("a.pdf", document.replace("EmbeddedFile", "Font").as_bytes()), [""; 0]);
        }
        assert_eq!(
            causes("a.pdf", b"%PDF-1.7 /EmbeddedFile /F /UF(x.xml) /F(http://example.com) /F<</F("),
            [""; 0]
        );
    }

    #[test]
    fn attached_archives_hide_no_name_and_are_no_damage() {
        let document = |name: &str, count: usize| {
            let archive = zip(&[("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<w/>")]);
            let attached = format!("<< /F({name}) /Type/EmbeddedFile >> stream\n");
            let attached = [attached.as_bytes(), &archive, b"\nendstream\n"].concat();
            [b"%PDF-1.7\n", &attached.repeat(count)[..], b"%%EOF\n"].concat()
        };
        assert_eq!(causes("a.pdf", &document("a.docx", 2)), [""; 0]);
        assert_eq!(causes("a.zip", &document("a.docx", 2)), ["attachment.zip_inconsistent a.zip"]);
        let expected = ["attachment.forbidden_extension a.pdf/evil.js"];
        assert_eq!(causes("a.pdf", &document("evil.js", 1)), expected);
    }

    #[test]
    fn strings_one_in_the_other_are_each_paid_for() {
        for unit in ["/F(", "/F(http://)"] {
            let work = |count: usize| {
                report("a.pdf", format!("%PDF-1.7 /EmbeddedFile {}", unit.repeat(count)).as_bytes()).work
            };
            let (few, many) = (work(100), work(1100));
            assert!(many >= few + 1000 * MAX_NAME as u64, "{unit}: {few}, then {many}");
        }
        let document = format!("%PDF-1.7 /EmbeddedFile {}", "/Filter/Font/F<</F 1 ".repeat(1000));
        assert!(report("a.pdf", document.as_bytes()).work < 1000 * MAX_NAME as u64, "no strings");
    }
}
