//! Lists of file name extensions.

use super::names::NameSet;
use super::{BadEntry, Entry};

/// A file name extension in lower case, without the dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extension(String);

impl Entry for Extension {
    const LIST: &'static str =
        "a list of extensions without a dot and of list files, such as [\"exe\", \"file:lists/NAME.txt\"]";
    const ENTRY: &'static str = "a file name extension";
    type Set = NameSet;

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

impl From<String> for Extension {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl AsRef<str> for Extension {
    fn as_ref(&self) -> &str {
        &self.0
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
