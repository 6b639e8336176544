//! Mistakes of the command line, shown as those of policy files are: the line, a caret, what to do.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is wrong with the command line of `words`, as text for people; colours are terminal escapes. Help and version, which clap
/// calls errors as well, are `None`.
pub(super) fn mistake(error: &clap::Error, words: &[String], colours: bool) -> Option<String> {
    let is_answer = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_answer {
        return None;
    }
    let text = error.render().to_string();
    let mut paragraphs = text.trim().split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let title = first.strip_prefix("error: ").unwrap_or(first);
    let title = title.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let helps: Vec<String> = paragraphs
        .flat_map(|paragraph| paragraph.split("\n  tip: "))
        .map(|paragraph| {
            let paragraph = paragraph.trim();
            let bare = paragraph.strip_prefix("tip: ").unwrap_or(paragraph);
            bare.replace("Usage: ", "usage: ")
                .replace("For more information, try '--help'.", "--help tells more")
        })
        .filter(|help| !help.is_empty())
        .collect();
    let line = words.join(" ");
    let (start, end) = place(error, words).unwrap_or((line.len(), line.len()));
    let caret = AnnotationKind::Primary.span(start..end).label("");
    let snippet = Snippet::source(line.as_str()).line_start(1).path("command line").annotation(caret);
    let mut report = Level::ERROR.primary_title(title.as_str()).element(snippet);
    for help in &helps {
        report = report.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    Some(renderer.render(&[report]) + "\n")
}

/// Where the word stands that is wrong; nowhere for what is missing.
fn place(error: &clap::Error, words: &[String]) -> Option<(usize, usize)> {
    let kinds = [ContextKind::InvalidValue, ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    let wrong = kinds.into_iter().find_map(|kind| match error.get(kind) {
        Some(ContextValue::String(text)) if !text.is_empty() => text.split(' ').next(),
        _ => None,
    });
    let wrong = wrong.filter(|_| error.kind() != ErrorKind::MissingRequiredArgument)?;
    let mut start = 0;
    for (index, word) in words.iter().enumerate() {
        // The program's own name is never wrong. A value may stand in one word with its option.
        if index > 0 && word == wrong {
            return Some((start, start + word.len()));
        }
        if index > 0
            && let Some(at) = word.find(&format!("={wrong}"))
        {
            return Some((start + at + 1, start + word.len()));
        }
        start += word.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn shown(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = Cli::try_parse_from(&words).map(|_| ()).unwrap_err();
        mistake(&error, &words, false).unwrap()
    }

    #[test]
    fn the_wrong_word_has_a_caret() {
        for (line, title, caret) in [
            ("greylag sreve", "error: unrecognized subcommand 'sreve'", "        ^^^^^"),
            (
                "greylag scan --colour x",
                "error: unexpected argument '--colour' found",
                "             ^^^^^^^^",
            ),
            (
                "greylag explain --client 192.0.2",
                "error: invalid value '192.0.2' for '--client <IP>'",
                "                         ^^^^^^^",
            ),
            (
                "greylag scan",
                "error: the following required arguments were not provided: <FILE>...",
                "            ^",
            ),
        ] {
            let text = shown(line);
            assert!(text.starts_with(title), "{text}");
            assert!(text.contains(&format!("\n1 | {line}\n  | {caret}")), "{text}");
            assert!(text.contains("= help: usage: greylag") || text.contains("--help tells more"), "{text}");
        }
        assert!(shown("greylag sreve").contains("a similar subcommand exists: 'serve'"));
    }
}
