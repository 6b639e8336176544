//! Documents in RTF: the files that were dropped into them. An object stands as hexadecimal digits behind `\objdata`, in
//! the format of OLE 1 (MS-OLEDS 2.2.5): a class name, then the data, which for the class `Package` is a file with its name,
//! for others mostly a compound file.

use memchr::memmem;

use super::entry::{self, Entry};
use super::ole;
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::scanner::{Place, Scanner};

/// What an object's digits stand behind.
const OBJECT: &[u8] = b"objdata";
const PACKAGE: &[u8] = b"Package\0";
/// Behind the class name: the lengths of two other names, which are empty, and of the data.
const LENGTHS: usize = 12;

/// Whether a file begins as RTF does; Word does not look further than this.
pub(super) fn begins(data: &[u8]) -> bool {
    data.trim_ascii_start().starts_with(b"{\\rt")
}

/// Looks into the document `data`, whose objects are in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, data: &[u8], place: &Place) -> Result<(), Exceeded> {
    let mut from = 0;
    while let Some(at) = memmem::find(&data[from..], OBJECT) {
        let start = from + at + OBJECT.len();
        let (object, length) = digits(&data[start..]);
        from = start + length;
        scanner.budget.work(length as u64)?;
        let (names, content) = match memmem::find(&object, PACKAGE) {
            Some(at) => {
                let rest = object.get(at + PACKAGE.len() + LENGTHS..).unwrap_or_default();
                ole::package(rest).unwrap_or_else(|| (Vec::new(), rest))
            }
            None => (Vec::new(), ole::find(&object)),
        };
        if names.is_empty() && content.is_empty() {
            continue;
        }
        scanner.budget.entry()?;
        let entry =
            Entry { names: &names, size: content.len() as u64, is_encrypted: false, view: View::Entry };
        entry::scan(scanner, place, &entry, Some(&mut &*content))?;
    }
    Ok(())
}

/// The bytes that hexadecimal digits at the beginning of `text` stand for, up to the end of the group they are in: what
/// else stands among them, Word ignores. Returns the length of that, too.
fn digits(text: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut half = None;
    let (mut depth, mut at) = (0usize, 0);
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b'\\' => at = (at + control_word(&text[at..])).min(text.len()),
            _ if depth > 0 => {}
            _ => match (half.take(), char::from(byte).to_digit(16)) {
                (Some(high), Some(low)) => out.push((high << 4 | low) as u8),
                (None, Some(high)) => half = Some(high),
                (kept, None) => half = kept,
            },
        }
    }
    (out, at)
}

/// The length of a control word behind its backslash, with its number.
fn control_word(text: &[u8]) -> usize {
    let letters = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let number = text[letters..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
    (letters + number).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::ole::tests::compound;
    use crate::content::archive::tests::causes;

    fn document(object: &[u8]) -> Vec<u8> {
        let digits: String = object.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{{\\rtf1{{\\object\\objemb{{\\*\\objdata {}\r\n {}{{\\x 12}}\\bin0{}}}}}}}",
            &digits[..10],
            &digits[10..31],
            &digits[31..]
        )
        .into_bytes()
    }

    #[test]
    fn files_in_a_document_are_judged() {
        let mut package = b"\x01\x05\0\0\x02\0\0\0\x08\0\0\0Package\0\0\0\0\0\0\0\0\0\x30\0\0\0".to_vec();
        package.extend(b"\x02\0invoice.pdf\0C:\\evil.exe\0\0\0\x03\0\x03\0\0\0C:\\\x02\0\0\0hi");
        assert_eq!(
            causes("x.doc", &document(&package)),
            ["attachment.forbidden_extension x.doc/C:\\evil.exe"]
        );
        let mut object = b"\x01\x05\0\0\x02\0\0\0\x06\0\0\0Excel\0\0\0\0\0\0\0\0\0\0\x10\0\0".to_vec();
        object.extend(compound(&[("/__attach_version1.0_#00000000/__substg1.0_3704001E", b"evil.exe")]));
        let found = causes("x.rtf", &document(&object));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("/evil.exe"), "{found:?}");
        for text in
            [&b"{\\rtf1 Hello}"[..], b"{\\rtf1{\\*\\objdata}}", b"{\\rtf1\\objdata 0", b"{\\rtf1\\objdata \\"]
        {
            assert_eq!(causes("x.rtf", text), [""; 0]);
        }
    }
}
