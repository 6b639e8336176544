//! Shows problems: for people with the line and a caret below it, for machines with line and column.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::problem::{Lines, Problem, Severity};
use crate::store::{HIDDEN, password_in};

/// A problem with its place in the way editors count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic<'a> {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The file, as it was given.
    pub file: &'a str,
    /// The line, counted from 1.
    pub line: usize,
    /// The character in the line, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub title: &'a str,
    /// What was expected there.
    pub label: &'a str,
    /// What to do about it.
    pub help: Option<&'a str>,
}

/// The places of `problems` in `files`, in the order given.
pub fn diagnostics<'a>(problems: &'a [Problem], files: &BTreeMap<String, String>) -> Vec<Diagnostic<'a>> {
    let mut sources = Sources::new(files);
    let diagnostic = |problem: &'a Problem| {
        let place = sources.place(problem);
        Diagnostic {
            severity: problem.severity.name(),
            file: &problem.file,
            line: place.number,
            column: place.column,
            title: &problem.title,
            label: &problem.label,
            help: problem.help.as_deref(),
        }
    };
    problems.iter().map(diagnostic).collect()
}

/// Renders `problems` in the order given. Paths are shown below `directory`; colours are terminal escapes.
pub fn render(
    problems: &[Problem],
    files: &BTreeMap<String, String>,
    directory: &str,
    colours: bool,
) -> String {
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    let mut sources = Sources::new(files);
    problems
        .iter()
        .map(|problem| {
            let place = sources.place(problem);
            let path = match (directory.trim_end_matches('/'), problem.file.as_str()) {
                ("", file) => file.to_owned(),
                (directory, "") => directory.to_owned(),
                (directory, file) => format!("{directory}/{file}"),
            };
            renderer.render(&[report(problem, &place, path)]) + "\n\n"
        })
        .collect()
}

/// One line for each problem, the errors first, and no more of them than a line of the log may hold. `directory` stands for itself
/// where a problem is of no file in it.
pub(crate) fn log_lines(
    problems: &[Problem],
    files: &BTreeMap<String, String>,
    directory: &str,
) -> Vec<String> {
    const MOST: usize = 20;
    let mut found = diagnostics(problems, files);
    found.sort_by_key(|problem| problem.severity != Severity::Error.name());
    let more = found.len().saturating_sub(MOST);
    let lines = found.iter().take(MOST).map(|problem| {
        let place = if problem.file.is_empty() {
            format!("{directory}: ")
        } else {
            format!("{}:{}:{}: ", problem.file, problem.line, problem.column)
        };
        let label = if problem.label.is_empty() { String::new() } else { format!(": {}", problem.label) };
        let help = problem.help.map_or_else(String::new, |help| format!(" ({help})"));
        format!("{place}{}{label}{help}", problem.title)
    });
    let mut lines: Vec<String> = lines.collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn report<'a>(problem: &'a Problem, place: &'a Place<'a>, path: String) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    // One line is enough of the source, and keeps the work small where a list has a million.
    let caret = AnnotationKind::Primary.span(place.start..place.end).label(&problem.label);
    let title = level.primary_title(&problem.title);
    let group = match &*place.line {
        // Nothing to point at: the file is missing, unreadable or empty.
        "" => title.element(Origin::path(path)),
        line => title.element(Snippet::source(line).line_start(place.number).path(path).annotation(caret)),
    };
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(help)),
        None => group,
    }
}

/// The line a problem stands on, and the part of it that it is about.
struct Place<'a> {
    number: usize,
    /// The character at which the part begins, counted from 1.
    column: usize,
    line: Cow<'a, str>,
    start: usize,
    end: usize,
}

impl Place<'_> {
    /// Without the password of a URL in the line: what is shown here ends in logs and in tickets.
    fn without_password(mut self) -> Self {
        if let Some(password) = password_in(&self.line) {
            let moved = |offset: usize| match offset {
                before if before <= password.start => before,
                within if within < password.end => password.start + HIDDEN.len(),
                behind => behind - password.len() + HIDDEN.len(),
            };
            (self.start, self.end) = (moved(self.start), moved(self.end));
            self.line.to_mut().replace_range(password, HIDDEN);
        }
        self
    }
}

/// The texts of the files, with the lines of those that were needed.
struct Sources<'a> {
    files: &'a BTreeMap<String, String>,
    lines: HashMap<&'a str, Lines>,
}

impl<'a> Sources<'a> {
    fn new(files: &'a BTreeMap<String, String>) -> Self {
        Self { files, lines: HashMap::new() }
    }

    fn place(&mut self, problem: &Problem) -> Place<'a> {
        let Some((file, text)) = self.files.get_key_value(&problem.file) else {
            return Place { number: 1, column: 1, line: Cow::Borrowed(""), start: 0, end: 0 };
        };
        let lines = self.lines.entry(file).or_insert_with(|| Lines::new(text));
        // What is missing at the end of a file is shown at the end of its last line.
        let start = text.floor_char_boundary(problem.span.start.min(text.trim_end().len()));
        let number = lines.number(start);
        // A byte order mark is no letter of the first line.
        let mark = if number == 1 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let line_start = lines.start(number) + mark;
        let start = start.max(line_start);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let within =
            |offset: usize| line.ceil_char_boundary(offset.saturating_sub(line_start).min(line.len()));
        let (start, end) = (within(start), within(problem.span.end));
        let column = line[..start].chars().count() + 1;
        Place { number, column, line: Cow::Borrowed(line), start, end: end.max(start) }.without_password()
    }
}

#[cfg(test)]
mod tests;
