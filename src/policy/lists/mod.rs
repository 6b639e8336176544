//! Lists that settings may hold. An entry stands in the setting itself or, one on a line, in a file below `lists/` that the
//! setting names as `"file:lists/NAME.txt"`; `#` starts a comment there.

mod addresses;
mod clients;
mod extensions;
mod files;
mod gather;
mod hosts;
mod names;
mod networks;
mod phrases;

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

pub use addresses::{AddressMap, AddressPattern};
pub use clients::{ClientPattern, ClientSet};
pub use extensions::Extension;
pub use files::{FileNamePattern, Sha256Hex, matches_file_name};
pub use hosts::{HostPattern, HostSet};
pub use names::{NameMap, NameSet};
pub use networks::NetworkSet;
pub use phrases::{Expression, Phrase};

use super::reading::{Reading, describe};
use super::settings::Setting;
use gather::Gathering;
pub(super) use gather::is_list;

/// Host names and `*.suffix` patterns, looked up with [`HostSet::contains`].
pub type HostPatterns = List<HostPattern>;

/// Addresses and networks of IPv4 and IPv6, looked up with [`NetworkSet::contains`].
pub type Networks = List<ipnet::IpNet>;

/// Mail addresses and patterns of them, looked up with [`AddressMap::contains`].
pub type AddressPatterns = List<AddressPattern>;

/// Clients by address, network or verified name, looked up with [`ClientSet::contains`].
pub type Clients = List<ClientPattern>;

/// Words and phrases.
pub type Phrases = List<Phrase>;

/// Regular expressions.
pub type Expressions = List<Expression>;

/// File name extensions, looked up with [`NameSet::contains`].
pub type Extensions = List<Extension>;

/// File names and patterns of them, looked up with [`matches_file_name`].
pub type FileNames = List<FileNamePattern>;

/// SHA-256 sums in lower-case hexadecimal, looked up with [`NameSet::contains`].
pub type Sha256Sums = List<Sha256Hex>;

/// What a list may be made of.
pub trait Entry: Clone + Eq + Hash {
    /// What a list of these is, with an example, to follow the word "expected".
    const LIST: &'static str;
    /// What one entry is, to follow the words "is not".
    const ENTRY: &'static str;
    /// The form that is looked up in.
    type Set: Set<Self>;

    /// Reads one entry.
    fn parse(text: &str) -> Result<Self, BadEntry>;

    /// The entries that stand for all that this one stands for, and for more.
    fn wider(&self) -> Vec<Self> {
        Vec::new()
    }

    /// Why nothing is ever found by this entry, though it may be written.
    fn never_met(&self) -> Option<BadEntry> {
        None
    }
}

/// A list as it is looked up in.
pub trait Set<E>: Default + Debug + PartialEq {
    /// Adds an entry; `false` when it is listed already.
    fn insert(&mut self, entry: &E) -> bool;

    /// Prepares for look-ups, after the last entry.
    fn shrink(&mut self);

    /// Whether all that `entry` stands for is listed.
    fn covers(&self, entry: &E) -> bool;

    /// Entries that stand together for all that is listed, in no particular order.
    fn entries(&self) -> impl Iterator<Item = E>;

    /// Whether all that is listed here is listed in `other` as well.
    fn is_within(&self, other: &Self) -> bool {
        self.entries().all(|entry| other.covers(&entry))
    }

    /// Whether something is listed both here and in `other`.
    fn meets(&self, other: &Self) -> bool {
        self.entries().any(|entry| other.covers(&entry)) || other.entries().any(|entry| self.covers(&entry))
    }

    /// How many different entries are kept; 0 only where nothing is listed.
    fn len(&self) -> usize;

    /// Whether nothing is listed.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a text is no entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// What is wrong with it, or what was expected; stands at the caret.
    pub label: String,
    /// What to do about it, where there is more to say.
    pub help: Option<String>,
}

impl BadEntry {
    /// Says what is wrong.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), help: None }
    }

    /// Adds what to do about it.
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// A list, and how it was written. Copies share the entries.
pub struct List<E: Entry> {
    written: Vec<String>,
    set: Arc<E::Set>,
}

impl<E: Entry> List<E> {
    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

impl<E: Entry> Deref for List<E> {
    type Target = E::Set;

    fn deref(&self) -> &E::Set {
        &self.set
    }
}

impl<E: Entry> Clone for List<E> {
    fn clone(&self) -> Self {
        Self { written: self.written.clone(), set: Arc::clone(&self.set) }
    }
}

impl<E: Entry> Debug for List<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

impl<E: Entry> Default for List<E> {
    fn default() -> Self {
        Self { written: Vec::new(), set: Arc::default() }
    }
}

impl<E: Entry> PartialEq for List<E> {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written && (Arc::ptr_eq(&self.set, &other.set) || self.set == other.set)
    }
}

/// For defaults, which a test compares with the shipped files: bad entries are left out, `file:` means a shipped list.
impl<'a, E: Entry> FromIterator<&'a str> for List<E> {
    fn from_iter<I: IntoIterator<Item = &'a str>>(entries: I) -> Self {
        let mut reading = Reading { file: "", files: &Default::default(), problems: &mut Vec::new() };
        let entries: Vec<_> = entries.into_iter().map(|entry| (entry, 0..0)).collect();
        Gathering::gather(&entries, &mut reading)
    }
}

impl<E: Entry> Setting for List<E> {
    const EXPECTED: &'static str = E::LIST;

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            return reading.wrong_for_list(value);
        };
        let mut entries = Vec::with_capacity(array.len());
        let mut is_good = true;
        for entry in array.iter() {
            match entry.get_ref().as_str() {
                Some(text) => entries.push((text, entry.span())),
                None => {
                    let title = format!("{} is not {}", describe(entry.get_ref()), E::ENTRY);
                    reading.error(entry.span(), title, "expected text in quotes");
                    is_good = false;
                }
            }
        }
        let list = Gathering::gather(&entries, reading);
        is_good.then_some(list)
    }

    fn show(&self) -> String {
        let entries: Vec<String> =
            self.written.iter().map(|entry| toml::Value::from(entry.as_str()).to_string()).collect();
        format!("[{}]", entries.join(", "))
    }

    fn entries_changed(&self, old: &Self) -> Option<(usize, usize)> {
        let missing =
            |from: &E::Set, entries: &E::Set| entries.entries().filter(|it| !from.covers(it)).count();
        Some((missing(&old.set, &self.set), missing(&self.set, &old.set)))
    }
}

/// `text` as [`crate::facts::host_name`] writes it, where it can be the name of a host.
pub(crate) fn host_name_checked(text: &str) -> Option<String> {
    hosts::parse_name(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_the_entries() {
        let list: HostPatterns = ["a.test"].into_iter().collect();
        assert!(Arc::ptr_eq(&list.set, &list.clone().set));
        assert!(!list.is_empty());
        assert!(HostPatterns::default().is_empty());
    }
}
