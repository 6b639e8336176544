//! Lists of host names.

use super::names::NameMap;
use super::{BadEntry, Entry, Set};
use crate::facts::host_name;

/// One entry of a list of host names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name.
    Name(String),
    /// `*.suffix`: every name below the suffix, not the suffix itself.
    Below(String),
}

impl Entry for HostPattern {
    const LIST: &'static str = "a list of host names, such as [\"fakedomain.xyz\", \"*.local\"]";
    const ENTRY: &'static str = "a host name or *.suffix";
    type Set = HostSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        match text.strip_prefix("*.") {
            Some(suffix) => parse_name(suffix).map(Self::Below),
            None => parse_name(text).map(Self::Name),
        }
    }

    fn wider(&self) -> Vec<Self> {
        let (Self::Name(name) | Self::Below(name)) = self;
        suffixes(name).map(|suffix| Self::Below(suffix.to_owned())).collect()
    }
}

/// Reads a host name into the form of [`host_name`]; `_` is tolerated.
pub(super) fn parse_name(text: &str) -> Result<String, BadEntry> {
    let name = host_name(text).unwrap_or_default();
    check_name(&name)?;
    Ok(name)
}

/// Whether `name`, which is in the form of [`host_name`], can be one.
pub(super) fn check_name(name: &str) -> Result<(), BadEntry> {
    const LONGEST: usize = 253; // RFC 1035 §2.3.4, without the final dot
    let mut label = 0;
    let mut fits = name.len() <= LONGEST;
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'.' if label > 0 => label = 0,
            _ => return Err(bad_name(name)),
        }
        fits &= label <= 63;
    }
    if fits && label > 0 { Ok(()) } else { Err(bad_name(name)) }
}

fn bad_name(name: &str) -> BadEntry {
    let foreign = |c: &char| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    match name.chars().find(foreign) {
        _ if name.is_empty() => BadEntry::new("an empty name"),
        _ if name.starts_with('.') => {
            BadEntry::new("starts with a dot").with_help(format!("names below a domain are written *{name}"))
        }
        Some('*') => BadEntry::new("* may only stand in front, as in *.example.test"),
        Some(foreign) => BadEntry::new(format!("{foreign:?} cannot be part of a host name")),
        None => {
            BadEntry::new("a part between dots is empty or longer than 63 letters, or all of it than 253")
        }
    }
}

/// Host names to look up in, each in one step per label however many are listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostSet {
    names: NameMap<()>,
    suffixes: NameMap<()>,
}

impl HostSet {
    /// Whether `name` (lower case, no final dot) is listed.
    pub fn contains(&self, name: &str) -> bool {
        self.names.get(name).is_some() || self.has_suffix_of(name)
    }

    fn has_suffix_of(&self, name: &str) -> bool {
        if self.suffixes.is_empty() {
            return false;
        }
        // The first dot that may stand before one of them: most are short.
        let from = name.len().saturating_sub(self.suffixes.longest() + 1);
        let end = &name[name.floor_char_boundary(from)..];
        suffixes(end).any(|suffix| self.suffixes.get(suffix).is_some())
    }
}

impl Set<HostPattern> for HostSet {
    fn insert(&mut self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Name(name) => self.names.get_or_insert(name, ()).1,
            HostPattern::Below(suffix) => self.suffixes.get_or_insert(suffix, ()).1,
        }
    }

    fn shrink(&mut self) {
        self.names.shrink();
        self.suffixes.shrink();
    }

    fn covers(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Name(name) => self.contains(name),
            HostPattern::Below(suffix) => self.suffixes.get(suffix).is_some() || self.has_suffix_of(suffix),
        }
    }

    fn entries(&self) -> impl Iterator<Item = HostPattern> {
        let names = self.names.names().map(|name| HostPattern::Name(name.to_owned()));
        names.chain(self.suffixes.names().map(|suffix| HostPattern::Below(suffix.to_owned())))
    }

    fn len(&self) -> usize {
        self.names.len() + self.suffixes.len()
    }
}

/// What a name is below of: `b.test` and `test` for `a.b.test`.
pub(super) fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    let dots = name.bytes().enumerate().filter(|(_, byte)| *byte == b'.');
    dots.map(|(dot, _)| &name[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::HostPatterns;

    #[test]
    fn a_suffix_matches_what_is_below_it_only() {
        let list: HostPatterns = ["fakedomain.xyz", "*.local", "B\u{fc}cher.test."].into_iter().collect();
        assert!(list.contains("fakedomain.xyz"));
        assert!(!list.contains("mail.fakedomain.xyz"));
        assert!(list.contains("a.b.local"));
        assert!(!list.contains("local"));
        assert!(!list.contains("notlocal"));
        assert!(list.contains("xn--bcher-kva.test"));
        let list: HostPatterns = ["*.b.test", "*.x"].into_iter().collect();
        for (name, is_listed) in [
            ("a.b.test", true),
            ("c.a.b.test", true),
            ("b.test", false),
            ("ab.test", false),
            ("a.x", true),
            ("long.name.x", true),
            (".x", true),
            ("x", false),
            ("\u{fc}\u{fc}\u{fc}.x", true),
        ] {
            assert_eq!(list.contains(name), is_listed, "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "x".repeat(64);
        for (text, label) in [
            ("", "an empty name"),
            ("*.", "an empty name"),
            (".example.test", "starts with a dot"),
            ("mail.*.test", "* may only stand in front, as in *.example.test"),
            ("*", "* may only stand in front, as in *.example.test"),
            ("a b.test", "' ' cannot be part of a host name"),
            ("192.0.2.0/24", "'/' cannot be part of a host name"),
            ("user@a.test", "'@' cannot be part of a host name"),
            ("a..test", "a part between dots is empty or longer than 63 letters, or all of it than 253"),
            (&long, "a part between dots is empty or longer than 63 letters, or all of it than 253"),
        ] {
            assert_eq!(HostPattern::parse(text).map_err(|bad| bad.label), Err(label.to_owned()), "{text}");
        }
    }
}
