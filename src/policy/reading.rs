//! What a reader of settings works with.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::embedded;
use super::problem::{Lines, Problem, Severity};
use super::settings::{Conflict, KeyDoc, Setting};
use crate::store::without_password;

/// The file that is read, the files beside it, and where problems go.
pub struct Reading<'a> {
    /// The file being read, relative to the policy directory.
    pub file: &'a str,
    /// All files of the policy directory by relative path, for settings that name a list.
    pub files: &'a BTreeMap<String, String>,
    /// Problems found so far.
    pub problems: &'a mut Vec<Problem>,
}

impl<'a> Reading<'a> {
    /// Records an error at `span`; the problem is returned for help to be added.
    pub fn error(
        &mut self,
        span: Range<usize>,
        title: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Problem {
        self.problem(Severity::Error, span, title.into(), label.into())
    }

    /// Records a warning at `span`; the problem is returned for help to be added.
    pub fn warning(
        &mut self,
        span: Range<usize>,
        title: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Problem {
        self.problem(Severity::Warning, span, title.into(), label.into())
    }

    /// Records that the value at `span` is not what `T` expects; returns `None` for the caller to pass on.
    pub fn wrong<T: Setting>(&mut self, value: &Spanned<DeValue<'_>>) -> Option<T> {
        self.unexpected::<T>(value);
        None
    }

    /// Records that the value at `span` is not what `T` expects; the problem is returned for help to be added.
    pub fn unexpected<T: Setting>(&mut self, value: &Spanned<DeValue<'_>>) -> &mut Problem {
        let found = describe(value.get_ref());
        self.error(value.span(), format!("{found} is not allowed here"), format!("expected {}", T::EXPECTED))
    }

    /// Like [`Self::wrong`], where `T` is a list: one value alone may just lack its brackets.
    pub(crate) fn wrong_for_list<T: Setting>(&mut self, value: &Spanned<DeValue<'_>>) -> Option<T> {
        let help = value.get_ref().as_str().map(|text| format!("put it into brackets: [{}]", quoted(text)));
        self.unexpected::<T>(value).help = help;
        None
    }

    /// Like [`Self::wrong`], where `T` is written without quotes.
    pub(crate) fn wrong_if_quoted<T: Setting>(&mut self, value: &Spanned<DeValue<'_>>) -> Option<T> {
        let text = value.get_ref().as_str().unwrap_or_default();
        let bare =
            DeValue::parse(text).ok().filter(|bare| bare.get_ref().is_integer() || bare.get_ref().is_bool());
        self.unexpected::<T>(value).help = bare.map(|_| format!("write it without quotes: {text}"));
        None
    }

    /// The text of a file of the policy directory, or of the shipped file of that name where there is none.
    pub(super) fn text(&self, path: &str) -> Option<&'a str> {
        self.files.get(path).map(String::as_str).or_else(|| embedded::text(path))
    }

    /// Reads a word that is one of `choices`.
    pub(crate) fn choice<T: Setting + Copy>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let typed = value.get_ref().as_str();
        let found = choices.iter().find(|(name, _)| Some(*name) == typed);
        if found.is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            self.unexpected::<T>(value).did_you_mean(typed.unwrap_or_default(), names, || None);
        }
        found.map(|(_, choice)| *choice)
    }

    /// Parses `text` and gives its table to `read`. All syntax errors are recorded; what `read` finds on a line with one is not,
    /// because there it reads the parser's guess.
    pub(crate) fn document(&mut self, text: &str, read: impl FnOnce(&DeTable<'_>, &mut Self)) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::new(text);
        let mut broken = HashSet::new();
        for error in errors {
            let span = error.span().unwrap_or_default();
            let line = lines.number(span.start);
            // What follows on the same line are echoes of the first.
            if broken.insert(line) {
                self.syntax_error(error.message(), text, span);
                broken.extend(below_header(text, line));
            }
        }
        let before = self.problems.len();
        read(table.get_ref(), self);
        let found = self.problems.split_off(before);
        let kept = found
            .into_iter()
            .filter(|found| found.file != self.file || !broken.contains(&lines.number(found.span.start)));
        self.problems.extend(kept);
    }

    /// Records that `key` is none of `keys`, the settings `owner` has.
    pub(crate) fn unknown_setting(
        &mut self,
        key: &Spanned<DeString<'_>>,
        owner: &str,
        keys: &'static [KeyDoc],
    ) -> &mut Problem {
        let names = keys.iter().map(|known| known.key);
        let all = || Some(format!("its settings are {}", names.clone().collect::<Vec<_>>().join(", ")));
        let title = format!("unknown setting `{}`", key.get_ref());
        let problem = self.error(key.span(), title, format!("{owner} has no such setting"));
        problem.did_you_mean(key.get_ref(), names.clone(), all);
        problem
    }

    /// Records settings that do not go together, at the first of their keys that stands in the file.
    pub(crate) fn conflict(&mut self, conflict: Conflict, places: &HashMap<&str, Range<usize>>) {
        let span = conflict.keys.iter().find_map(|key| places.get(key)).cloned().unwrap_or_default();
        self.problem(conflict.severity, span, conflict.title, conflict.label);
    }

    fn syntax_error(&mut self, message: &str, text: &str, span: Range<usize>) {
        let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        let mut help = None;
        let (title, label) = match (what, expected) {
            ("duplicate key", _) => {
                let key = text.get(span.clone()).unwrap_or_default();
                (format!("`{key}` is written twice"), "it stands further up already".to_owned())
            }
            ("string values must be quoted", _) => match text.get(span.clone()).map(str::trim) {
                None | Some("") => {
                    ("invalid TOML: a value is missing".to_owned(), "expected a value".to_owned())
                }
                Some(bare) => {
                    ("invalid TOML: text stands in quotes".to_owned(), format!("expected {}", quoted(bare)))
                }
            },
            ("invalid basic string" | "invalid literal string", quote @ ("`\"`" | "`'`")) => (
                "invalid TOML: a text does not end".to_owned(),
                format!("expected {quote} before the line ends"),
            ),
            ("missing escaped value", _) => {
                help = Some("a backslash is written \\\\, or the whole text in single quotes".to_owned());
                let escapes = "expected one of b, e, f, n, r, t, x, u, U, \\ and \" after a backslash";
                ("invalid TOML: no such escape".to_owned(), escapes.to_owned())
            }
            (_, "") => ("invalid TOML".to_owned(), what.to_owned()),
            _ => (format!("invalid TOML: {what}"), format!("expected {expected}")),
        };
        self.error(span, title, label).help = help;
    }

    pub(super) fn problem(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        title: String,
        label: String,
    ) -> &mut Problem {
        let file = self.file.to_owned();
        self.problems.push_mut(Problem { severity, file, span, title, label, help: None })
    }
}

/// The lines that belong to the table whose header stands on line `number`, if one does: with a broken header, the parser takes
/// them for parts of another table.
fn below_header(text: &str, number: usize) -> impl Iterator<Item = usize> {
    let is_header = |line: &str| line.trim_start().starts_with('[');
    let below = text.lines().zip(1..).skip(number - 1);
    let mut headers = 0;
    below
        .take_while(move |(line, _)| {
            headers += usize::from(is_header(line));
            headers == 1
        })
        .map(|(_, number)| number)
}

/// A value for a message.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Array(array) if array.is_empty() => "an empty list".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
        DeValue::Datetime(_) => "a date".to_owned(),
    }
}

/// `text` in quotes for a message, cut where it is long. A password in it is hidden, as it may be the URL of a store at a wrong place.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let text = without_password(text);
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_in_messages() {
        assert_eq!(quoted("a\"b\u{1b}"), r#""a\"b\u{1b}""#);
        assert_eq!(quoted(&"\u{e9}".repeat(100)).chars().count(), 63);
        let long = format!("redis://u:{}@host", "secret".repeat(20));
        assert_eq!(quoted(&long), "\"redis://u:***@host\"");
    }
}
