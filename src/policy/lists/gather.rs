//! Reads lists: from a setting, and from the files it names.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::{BadEntry, Entry, List, Set};
use crate::policy::embedded;
use crate::policy::problem::{Lines, Severity};
use crate::policy::reading::{Reading, quoted};

/// A list while it is read.
pub(super) struct Gathering<E: Entry> {
    set: E::Set,
}

impl<E: Entry> Gathering<E> {
    /// The list of what is written in a setting; `file:` names a file with more.
    pub(super) fn gather(written: &[(&str, Range<usize>)], reading: &mut Reading<'_>) -> List<E> {
        let mut gathering = Self { set: E::Set::default() };
        let mut paths = HashSet::new();
        let mut inline = Vec::with_capacity(written.len());
        for (text, span) in written {
            match text.strip_prefix("file:") {
                None => inline.push((*text, span.clone())),
                Some(path) if paths.insert(path) => gathering.add_file(path, span.clone(), reading),
                Some(_) => {
                    let title = format!("{} is listed twice", quoted(text));
                    reading.warning(span.clone(), title, "already in this list");
                }
            }
        }
        gathering.add_source(inline.iter().cloned(), None, reading);
        covered::<E>(&inline, reading);
        gathering.set.shrink();
        let written = written.iter().map(|(text, _)| (*text).to_owned()).collect();
        List { written, set: Arc::new(gathering.set) }
    }

    fn add_file(&mut self, path: &str, span: Range<usize>, reading: &mut Reading<'_>) {
        let Some(text) = reading.text(path).filter(|_| is_list(path)) else {
            return no_such_list(path, span, reading);
        };
        let mut in_file = Reading { file: path, files: reading.files, problems: reading.problems };
        self.add_source(lines(text), Some(text), &mut in_file);
    }

    /// Adds the entries of the setting, or of one file, whose text is `file`.
    fn add_source<'t>(
        &mut self,
        entries: impl Iterator<Item = (&'t str, Range<usize>)> + Clone,
        file: Option<&str>,
        reading: &mut Reading<'_>,
    ) {
        let mut bad = Complaints::new(Severity::Error, format!("more entries are not {}", E::ENTRY));
        let mut unmet = Complaints::new(Severity::Warning, "more entries can never match".to_owned());
        // Met before, here or in another source.
        let mut known = HashMap::new();
        for (text, span) in entries.clone() {
            match E::parse(text) {
                Ok(entry) => {
                    if !self.set.insert(&entry) {
                        known.insert(entry, None);
                    } else if let Some(why) = entry.never_met() {
                        unmet.add(reading, span, || (format!("{} can never match", quoted(text)), why));
                    }
                }
                Err(why) => {
                    bad.add(reading, span, || (format!("{} is not {}", quoted(text), E::ENTRY), why));
                }
            }
        }
        bad.summarise(reading);
        unmet.summarise(reading);
        if !known.is_empty() {
            listed_twice(entries, &mut known, file, reading);
        }
    }
}

/// Looks a second time for entries met before: two sources may overlap, an entry that stands twice in one is a slip.
fn listed_twice<'t, E: Entry>(
    entries: impl Iterator<Item = (&'t str, Range<usize>)>,
    known: &mut HashMap<E, Option<usize>>,
    file: Option<&str>,
    reading: &mut Reading<'_>,
) {
    let mut twice = Complaints::new(Severity::Warning, "more entries are listed twice".to_owned());
    let file = file.map(Lines::new);
    for (text, span) in entries {
        let Some(first) = E::parse(text).ok().and_then(|entry| known.get_mut(&entry)) else { continue };
        let Some(first) = *first else {
            *first = Some(span.start);
            continue;
        };
        twice.add(reading, span, || {
            let label = match &file {
                Some(lines) => format!("first listed on line {}", lines.number(first)),
                None => "already in this list".to_owned(),
            };
            (format!("{} is listed twice", quoted(text)), BadEntry::new(label))
        });
    }
    twice.summarise(reading);
}

/// Warns of entries that a wider one of the same setting makes needless. In files they are left alone: those are often put
/// together by programs.
fn covered<E: Entry>(inline: &[(&str, Range<usize>)], reading: &mut Reading<'_>) {
    let entries: HashMap<E, &str> =
        inline.iter().filter_map(|(text, _)| Some((E::parse(text).ok()?, *text))).collect();
    let mut needless = Complaints::new(Severity::Warning, "more entries are needless".to_owned());
    let mut seen = HashSet::new();
    for (text, span) in inline {
        let Some(entry) = E::parse(text).ok().filter(|entry| seen.insert(entry.clone())) else { continue };
        if let Some(wider) = entry.wider().iter().find_map(|wider| entries.get(wider)) {
            needless.add(reading, span.clone(), || {
                let label = format!("{} in this list includes it", quoted(wider));
                (format!("{} is needless", quoted(text)), BadEntry::new(label))
            });
        }
    }
    needless.summarise(reading);
}

/// Problems of one kind in one source. A bad list of a million lines is not worth a million messages.
struct Complaints {
    severity: Severity,
    /// What is said of those that are not shown, after their number.
    rest: String,
    count: usize,
    last: Range<usize>,
}

impl Complaints {
    const SHOWN: usize = 20;

    const fn new(severity: Severity, rest: String) -> Self {
        Self { severity, rest, count: 0, last: 0..0 }
    }

    fn add(
        &mut self,
        reading: &mut Reading<'_>,
        span: Range<usize>,
        say: impl FnOnce() -> (String, BadEntry),
    ) {
        self.count += 1;
        self.last = span.clone();
        if self.count <= Self::SHOWN {
            let (title, BadEntry { label, help }) = say();
            reading.problem(self.severity, span, title, label).help = help;
        }
    }

    fn summarise(self, reading: &mut Reading<'_>) {
        if self.count > Self::SHOWN {
            let title = format!("{} {}", self.count - Self::SHOWN, self.rest);
            reading.problem(self.severity, self.last, title, "the last of them".to_owned());
        }
    }
}

pub(in crate::policy) fn is_list(path: &str) -> bool {
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
fn lines(text: &str) -> impl Iterator<Item = (&str, Range<usize>)> + Clone {
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

    use toml::de::DeValue;

    use super::*;
    use crate::policy::HostPatterns;
    use crate::policy::settings::Setting;

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
        assert_eq!(problems[20].1, "980 more entries are not a host name or *.suffix");
        assert_eq!(problems[41].1, "979 more entries are listed twice");
    }

    #[test]
    fn a_number_sign_inside_an_address_is_no_comment() {
        let found: Vec<(&str, Range<usize>)> = lines("a#b@c.test #d\n # e\n#f\n g").collect();
        assert_eq!(found, [("a#b@c.test", 0..10), ("g", 23..24)]);
    }
}
