//! Lists that settings may hold, inline or in files under `lists/`.

use std::collections::HashSet;

use toml::Spanned;
use toml::de::DeValue;

use super::settings::{Reading, Setting};
use crate::facts::host_name;

/// Host names and `*.suffix` patterns (which match every name below the suffix, not the suffix itself).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostPatterns {
    names: HashSet<String>,
    suffixes: HashSet<String>,
}

impl HostPatterns {
    /// Whether `name` (lower case, no final dot) is listed.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
            || name.match_indices('.').any(|(dot, _)| self.suffixes.contains(&name[dot + 1..]))
    }

    fn insert(&mut self, entry: &str) {
        match entry.strip_prefix("*.") {
            Some(suffix) => self.suffixes.extend(host_name(suffix)),
            None => self.names.extend(host_name(entry)),
        }
    }
}

impl<'a> FromIterator<&'a str> for HostPatterns {
    fn from_iter<I: IntoIterator<Item = &'a str>>(entries: I) -> Self {
        let mut list = Self::default();
        entries.into_iter().for_each(|entry| list.insert(entry));
        list
    }
}

impl Setting for HostPatterns {
    const EXPECTED: &'static str = "a list of host names, such as [\"fakedomain.xyz\", \"*.local\"]";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else { return reading.wrong(value) };
        let mut list = Self::default();
        for entry in array.iter() {
            match entry.get_ref().as_str() {
                Some(text) => list.insert(text),
                None => return reading.wrong(value),
            }
        }
        Some(list)
    }

    fn show(&self) -> String {
        let names =
            self.names.iter().cloned().chain(self.suffixes.iter().map(|suffix| format!("*.{suffix}")));
        let mut names: Vec<String> = names.collect();
        names.sort();
        format!("{names:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_matches_what_is_below_it_only() {
        let list: HostPatterns = ["fakedomain.xyz", "*.local"].into_iter().collect();
        assert!(list.contains("fakedomain.xyz"));
        assert!(!list.contains("mail.fakedomain.xyz"));
        assert!(list.contains("a.b.local"));
        assert!(!list.contains("local"));
        assert!(!list.contains("notlocal"));
    }
}
