//! Lists of file name extensions.

use std::collections::HashSet;

use super::{BadEntry, Entry};

/// A file name extension in lower case, without the dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extension(String);

impl Entry for Extension {
    const LIST: &'static str =
        "a list of extensions without a dot and of list files, such as [\"exe\", \"file:lists/NAME.txt\"]";
    const ENTRY: &'static str = "a file name extension";
    type Set = ExtensionSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        let bare = text.strip_prefix('.').unwrap_or(text);
        if bare.is_empty() {
            return Err(BadEntry::new("an empty extension"));
        }
        if let Some((_, last)) = bare.rsplit_once('.') {
            let bad = BadEntry::new("has a dot in it: an extension is what follows the last dot of a name");
            return Err(if last.is_empty() {
                bad
            } else {
                bad.with_help(format!("the extension is {last}"))
            });
        }
        let odd = |c: &char| matches!(c, '/' | '\\' | '*' | ':') || c.is_whitespace() || c.is_control();
        match bare.chars().find(odd) {
            Some(odd) => Err(BadEntry::new(format!("{odd:?} cannot be part of an extension"))),
            None => Ok(Self(bare.to_lowercase())),
        }
    }
}

/// Extensions to look up in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionSet(HashSet<String>);

impl ExtensionSet {
    /// Whether `extension` (lower case, without dot) is listed.
    pub fn contains(&self, extension: &str) -> bool {
        self.0.contains(extension)
    }
}

impl FromIterator<Extension> for ExtensionSet {
    fn from_iter<I: IntoIterator<Item = Extension>>(extensions: I) -> Self {
        Self(extensions.into_iter().map(|Extension(name)| name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Extensions;

    #[test]
    fn extensions_are_compared_in_lower_case_without_a_dot() {
        let list: Extensions = ["EXE", ".scr", "\u{c9}tat"].into_iter().collect();
        assert!(["exe", "scr", "\u{e9}tat"].iter().all(|name| list.contains(name)));
        assert!(!list.contains(".scr"));
    }

    #[test]
    fn what_is_no_extension_is_refused() {
        for (text, label) in [
            ("", "an empty extension"),
            (".", "an empty extension"),
            ("tar.gz", "has a dot in it: an extension is what follows the last dot of a name"),
            ("*.exe", "has a dot in it: an extension is what follows the last dot of a name"),
            ("a b", "' ' cannot be part of an extension"),
            ("a/b", "'/' cannot be part of an extension"),
        ] {
            assert_eq!(Extension::parse(text).map_err(|bad| bad.label), Err(label.to_owned()), "{text}");
        }
    }
}
