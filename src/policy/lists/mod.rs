//! Lists that settings may hold. An entry stands in the setting itself or, one on a line, in a file below `lists/` that the
//! setting names as `"file:lists/NAME.txt"`; `#` starts a comment there.

mod addresses;
mod clients;
mod extensions;
mod hosts;
mod networks;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::ops::{Deref, Range};
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

pub use addresses::{AddressMap, AddressPattern};
pub use clients::{ClientPattern, ClientSet};
pub use extensions::{Extension, ExtensionSet};
pub use hosts::{HostPattern, HostSet};
pub use networks::NetworkSet;

use super::embedded;
use super::problem::{Lines, Severity};
use super::reading::{Reading, quoted};
use super::settings::Setting;

/// Host names and `*.suffix` patterns, looked up with [`HostSet::contains`].
pub type HostPatterns = List<HostPattern>;

/// Addresses and networks of IPv4 and IPv6, looked up with [`NetworkSet::contains`].
pub type Networks = List<ipnet::IpNet>;

/// Mail addresses and patterns of them, looked up with [`AddressMap::contains`].
pub type AddressPatterns = List<AddressPattern>;

/// Clients by address, network or verified name, looked up with [`ClientSet::contains`].
pub type Clients = List<ClientPattern>;

/// File name extensions, looked up with [`ExtensionSet::contains`].
pub type Extensions = List<Extension>;

/// What a list may be made of.
pub trait Entry: Sized + Eq + Hash {
    /// What a list of these is, with an example, to follow the word "expected".
    const LIST: &'static str;
    /// What one entry is, to follow the words "is not".
    const ENTRY: &'static str;
    /// The form that is looked up in.
    type Set: Default + Debug + PartialEq + FromIterator<Self>;

    /// Reads one entry.
    fn parse(text: &str) -> Result<Self, BadEntry>;
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

/// A list as it is looked up in, and as it was written. Copies share the entries.
pub struct List<E: Entry> {
    written: Vec<String>,
    set: Arc<E::Set>,
}

impl<E: Entry> List<E> {
    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        *self.set == E::Set::default()
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
        let mut gathering = Gathering::default();
        entries.into_iter().for_each(|entry| gathering.add_written(entry, 0..0, &mut reading));
        gathering.finish()
    }
}

impl<E: Entry> Setting for List<E> {
    const EXPECTED: &'static str = E::LIST;

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else { return reading.wrong(value) };
        let mut gathering = Gathering::default();
        for entry in array.iter() {
            match entry.get_ref().as_str() {
                Some(text) => gathering.add_written(text, entry.span(), reading),
                None => return reading.wrong(entry),
            }
        }
        gathering.summarise(reading);
        Some(gathering.finish())
    }

    fn show(&self) -> String {
        let entries: Vec<String> =
            self.written.iter().map(|entry| toml::Value::from(entry.as_str()).to_string()).collect();
        format!("[{}]", entries.join(", "))
    }
}

/// A list while it is read.
struct Gathering<E> {
    written: Vec<String>,
    entries: HashMap<E, Place>,
    /// The array in the setting is source 0; every list file named there is one more.
    source: usize,
    complaints: [Complaints; 2],
}

/// Where an entry was listed first.
struct Place {
    source: usize,
    start: usize,
}

/// Problems of one severity in one source. A bad list of a million lines is not worth a million messages.
#[derive(Default)]
struct Complaints {
    count: usize,
    last: Range<usize>,
}

impl Complaints {
    const SHOWN: usize = 20;
}

impl<E> Default for Gathering<E> {
    fn default() -> Self {
        Self { written: Vec::new(), entries: HashMap::new(), source: 0, complaints: Default::default() }
    }
}

impl<E: Entry> Gathering<E> {
    fn add_written(&mut self, text: &str, span: Range<usize>, reading: &mut Reading<'_>) {
        self.written.push(text.to_owned());
        match text.strip_prefix("file:") {
            Some(path) => self.add_file(path, span, reading),
            None => self.add(text, span, None, reading),
        }
    }

    fn add_file(&mut self, path: &str, span: Range<usize>, reading: &mut Reading<'_>) {
        let Some(text) = reading.text(path).filter(|_| is_list(path)) else {
            return no_such_list(path, span, reading);
        };
        let mut in_file = Reading { file: path, files: reading.files, problems: reading.problems };
        let inline = std::mem::take(&mut self.complaints);
        self.source = self.written.len();
        self.entries.reserve(text.bytes().filter(|byte| *byte == b'\n').count());
        for (entry, span) in lines(text) {
            self.add(entry, span, Some(text), &mut in_file);
        }
        self.summarise(&mut in_file);
        self.source = 0;
        self.complaints = inline;
    }

    fn add(&mut self, text: &str, span: Range<usize>, file: Option<&str>, reading: &mut Reading<'_>) {
        let entry = match E::parse(text) {
            Ok(entry) => entry,
            Err(BadEntry { label, help }) => {
                if self.worth_showing(Severity::Error, &span) {
                    let title = format!("{} is not {}", quoted(text), E::ENTRY);
                    reading.error(span, title, label).help = help;
                }
                return;
            }
        };
        let first = match self.entries.entry(entry) {
            Slot::Vacant(vacant) => {
                vacant.insert(Place { source: self.source, start: span.start });
                return;
            }
            Slot::Occupied(occupied) if occupied.get().source == self.source => occupied.get().start,
            Slot::Occupied(_) => return,
        };
        if self.worth_showing(Severity::Warning, &span) {
            let label = match file {
                Some(file) => format!("first listed on line {}", Lines::new(file).number(first)),
                None => "already in this list".to_owned(),
            };
            reading.warning(span, format!("{} is listed twice", quoted(text)), label);
        }
    }

    fn worth_showing(&mut self, severity: Severity, span: &Range<usize>) -> bool {
        let complaints = &mut self.complaints[severity as usize];
        complaints.count += 1;
        complaints.last = span.clone();
        complaints.count <= Complaints::SHOWN
    }

    fn summarise(&mut self, reading: &mut Reading<'_>) {
        let [twice, bad] = &self.complaints;
        if bad.count > Complaints::SHOWN {
            let title = format!("{} more entries are not {}", bad.count - Complaints::SHOWN, E::ENTRY);
            reading.error(bad.last.clone(), title, "the last of them");
        }
        if twice.count > Complaints::SHOWN {
            let title = format!("{} more entries are listed twice", twice.count - Complaints::SHOWN);
            reading.warning(twice.last.clone(), title, "the last of them");
        }
    }

    fn finish(self) -> List<E> {
        List { written: self.written, set: Arc::new(self.entries.into_keys().collect()) }
    }
}

/// `text` as [`crate::facts::host_name`] writes it, where it can be the name of a host.
pub(crate) fn host_name_checked(text: &str) -> Option<String> {
    hosts::parse_name(text).ok()
}

fn is_list(path: &str) -> bool {
    let name = path.strip_prefix("lists/").and_then(|name| name.strip_suffix(".txt"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

fn no_such_list(path: &str, span: Range<usize>, reading: &mut Reading<'_>) {
    if !is_list(path) {
        let title = format!("{} does not name a list file", quoted(path));
        reading
            .error(span, title, "expected \"file:lists/NAME.txt\"")
            .help("list files stand in the directory lists/ and end in .txt");
        return;
    }
    let files = reading.files;
    let mut lists: Vec<&str> = files.keys().map(String::as_str).collect();
    embedded::paths().for_each(|path| lists.push(path));
    lists.retain(|path| is_list(path));
    lists.sort_unstable();
    lists.dedup();
    let existing = match lists[..] {
        [] => "there are no lists yet: write one entry on a line into this file".to_owned(),
        _ => format!("lists that exist: {}", lists.join(", ")),
    };
    reading.error(span, format!("there is no list file {path}"), "not in the policy directory").did_you_mean(
        path,
        lists.iter().copied(),
        || Some(existing),
    );
}

/// The entries of a list file with their places, comments and empty lines left out.
fn lines(text: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut start = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let here = start;
        start += line.len();
        // A byte order mark, as some editors write it, is no part of the first line.
        let content = line.trim_start_matches('\u{feff}').trim_start();
        let entry = without_comment(content);
        let first = here + line.len() - content.len();
        (!entry.is_empty()).then(|| (entry, first..first + entry.len()))
    })
}

/// `#` may be part of a mail address: a comment begins with the line or after a space.
fn without_comment(line: &str) -> &str {
    let comment = line
        .match_indices('#')
        .find(|(at, _)| line[..*at].chars().next_back().is_none_or(char::is_whitespace))
        .map_or(line.len(), |(at, _)| at);
    line[..comment].trim_end()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(setting: &str, list: &str) -> (HostPatterns, Vec<(usize, String)>) {
        let files = BTreeMap::from([("lists/x.txt".to_owned(), list.to_owned())]);
        let mut problems = Vec::new();
        let mut reading = Reading { file: "helo.toml", files: &files, problems: &mut problems };
        let value = DeValue::parse(setting).unwrap();
        let read = HostPatterns::read(&value, &mut reading).unwrap();
        (read, problems.into_iter().map(|problem| (problem.span.start, problem.title)).collect())
    }

    #[test]
    fn a_list_file_has_one_entry_on_a_line() {
        let text = "\u{feff}# comment\r\na.test\r\n\r\n  b.test # why\r\n\t#c.test\n*.d.test";
        let (list, problems) = read("[\"z.test\", \"file:lists/x.txt\"]", text);
        assert_eq!(problems, []);
        let inline: HostPatterns = ["a.test", "b.test", "*.d.test", "z.test"].into_iter().collect();
        assert_eq!(*list, *inline);
        assert_eq!(list.show(), "[\"z.test\", \"file:lists/x.txt\"]");
    }

    #[test]
    fn entries_of_two_sources_may_overlap_but_not_those_of_one() {
        let (_, problems) =
            read("[\"a.test\", \"file:lists/x.txt\", \"a.test\"]", "a.test\nb.test\nb.test\n");
        let twice = |name: &str| format!("\"{name}\" is listed twice");
        assert_eq!(problems, [(14, twice("b.test")), (31, twice("a.test"))]);
    }

    #[test]
    fn a_bad_list_of_many_lines_has_a_bounded_number_of_problems() {
        let (_, problems) = read("[\"file:lists/x.txt\"]", &"a b\nc.test\n".repeat(1000));
        assert_eq!(problems.len(), 2 * Complaints::SHOWN + 2);
        assert_eq!(problems[40].1, "980 more entries are not a host name or *.suffix");
        assert_eq!(problems[41].1, "979 more entries are listed twice");
    }

    #[test]
    fn a_number_sign_inside_an_address_is_no_comment() {
        let found: Vec<(&str, Range<usize>)> = lines("a#b@c.test #d\n # e\n#f\n g").collect();
        assert_eq!(found, [("a#b@c.test", 0..10), ("g", 23..24)]);
    }

    #[test]
    fn copies_share_the_entries() {
        let list: HostPatterns = ["a.test"].into_iter().collect();
        assert!(Arc::ptr_eq(&list.set, &list.clone().set));
        assert!(!list.is_empty());
        assert!(HostPatterns::default().is_empty());
    }
}
