//! Lists of files: by a pattern of their names, and by the hash of their content.

use super::names::NameSet;
use super::{BadEntry, Entry};

/// A file name in lower case, in which `*` stands for any characters and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileNamePattern(String);

impl Entry for FileNamePattern {
    const LIST: &'static str = "a list of file names, in which * stands for any characters, and of list files, such as [\"setup-*.msi\"]";
    const ENTRY: &'static str = "a file name or a pattern of them";
    type Set = NameSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        let name = text.trim();
        if name.is_empty() {
            return Err(BadEntry::new("an empty name"));
        }
        if let Some(odd) = name.chars().find(|c| matches!(c, '/' | '\\') || c.is_control()) {
            return Err(BadEntry::new(format!("{odd:?} cannot be part of a file name"))
                .with_help("only the name counts, not the folder or archive it is in"));
        }
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        if stem.chars().all(|c| matches!(c, '*' | '?' | '.')) {
            return Err(BadEntry::new("allows every file of a type")
                .with_help("to allow a type, take it from `forbidden_extensions`"));
        }
        Ok(Self(name.to_lowercase()))
    }
}

impl From<String> for FileNamePattern {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl AsRef<str> for FileNamePattern {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A SHA-256 in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sha256Hex(String);

impl Entry for Sha256Hex {
    const LIST: &'static str =
        "a list of SHA-256 sums in hexadecimal and of list files, such as [\"file:lists/NAME.txt\"]";
    const ENTRY: &'static str = "a SHA-256 sum";
    type Set = NameSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(BadEntry::new("not 64 hexadecimal digits").with_help("`sha256sum FILE` prints it"))
        }
    }
}

impl From<String> for Sha256Hex {
    fn from(sum: String) -> Self {
        Self(sum)
    }
}

impl AsRef<str> for Sha256Hex {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Whether `name`, in lower case, matches one of the patterns.
pub fn matches_file_name(patterns: &NameSet, name: &str) -> bool {
    patterns.contains(name) || patterns.names().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
}

/// Whether `pattern` stands for `name`: `*` for any bytes, `?` for one. Takes time by the product of both lengths at most.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last `*` stands, and what it stands for so far ends.
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star_at, end)) = star else { return false };
                star = Some((star_at, end + 1));
                (at, from) = (star_at + 1, end + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::FileNames;

    #[test]
    fn names_match_patterns_from_end_to_end() {
        let list: FileNames = ["Setup-*.msi", "report.js", "a?c*.exe"].into_iter().collect();
        for name in ["setup-.msi", "setup-1.2.msi", "report.js", "abc.exe", "axcmsi.exe.exe"] {
            assert!(matches_file_name(&list, name), "{name}");
        }
        for name in ["setup.msi", "setup-1.msi.exe", "xreport.js", "ac.exe", ""] {
            assert!(!matches_file_name(&list, name), "{name}");
        }
        let hostile: FileNames = ["*a*a*a*a*a*a*a*a*b.exe"].into_iter().collect();
        assert!(!matches_file_name(&hostile, &"a".repeat(5000)));
    }

    #[test]
    fn what_is_no_name_or_sum_is_refused() {
        for (text, label) in [
            ("", "an empty name"),
            ("*", "allows every file of a type"),
            ("*.exe", "allows every file of a type"),
            ("?.*.exe", "allows every file of a type"),
            ("a/b.exe", "'/' cannot be part of a file name"),
        ] {
            assert_eq!(
                FileNamePattern::parse(text).map_err(|bad| bad.label),
                Err(label.to_owned()),
                "{text}"
            );
        }
        let sum = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        assert_eq!(Sha256Hex::parse(sum), Ok(Sha256Hex(sum.to_lowercase())));
        assert_eq!(
            Sha256Hex::parse("e3b0").map_err(|bad| bad.label),
            Err("not 64 hexadecimal digits".to_owned())
        );
    }
}
