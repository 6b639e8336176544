//! `mistakes.txt` holds what administrators get wrong and what they are told. A case is a line `### title`, the files as
//! `--- path` and their text, and after `--- says` the message.

use super::*;
use crate::config::Config;
use crate::policy::Policy;

const MISTAKES: &str = include_str!("mistakes.txt");

struct Mistake {
    title: &'static str,
    files: BTreeMap<String, String>,
    says: &'static str,
}

fn mistakes() -> impl Iterator<Item = Mistake> {
    MISTAKES.split("### ").skip(1).map(|case| {
        let (title, rest) = case.split_once('\n').unwrap();
        let (files, says) = rest.split_once("--- says\n").unwrap_or((rest, ""));
        let files = files.split("--- ").skip(1).map(|file| {
            let (path, text) = file.split_once('\n').unwrap();
            (path.to_owned(), text.to_owned())
        });
        Mistake { title, files: files.collect(), says: says.trim_end() }
    })
}

fn problems(files: &BTreeMap<String, String>) -> Vec<Problem> {
    match files.get_key_value("greylag.toml") {
        Some((file, text)) => {
            Config::load(file, text).map_or_else(|problems| problems, |(_, warnings)| warnings)
        }
        None => Policy::load(files).map_or_else(|problems| problems, |(_, warnings)| warnings),
    }
}

#[test]
fn every_mistake_has_one_clear_message() {
    if std::env::var_os("UPDATE_MISTAKES").is_some() {
        let cases = mistakes().map(|Mistake { title, files, .. }| {
            let says = render(&problems(&files), &files, "", false);
            let files: String = files.iter().map(|(path, text)| format!("--- {path}\n{text}")).collect();
            format!("### {title}\n{files}--- says\n{}\n\n", says.trim_end())
        });
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/policy/diagnose/mistakes.txt");
        return std::fs::write(path, cases.collect::<String>().trim_end().to_owned() + "\n").unwrap();
    }
    let mut cases = 0;
    for Mistake { title, files, says } in mistakes() {
        let problems = problems(&files);
        assert_eq!(problems.len(), 1, "{title}: {problems:#?}");
        assert_eq!(
            render(&problems, &files, "", false).trim_end(),
            says,
            "{title} (UPDATE_MISTAKES=1 writes it anew)"
        );
        cases += 1;
    }
    assert!(cases >= 100, "{cases} cases");
}

fn shown(file: &str, text: &str) -> Vec<(usize, usize, String)> {
    let files = BTreeMap::from([(file.to_owned(), text.to_owned())]);
    let problems = problems(&files);
    let shown = diagnostics(&problems, &files).into_iter();
    shown.map(|found| (found.line, found.column, found.title.to_owned())).collect()
}

#[test]
fn every_syntax_error_of_a_file_is_told() {
    let text = "banned = \"tagg\"\nmode = off\nmissing = \"tag\nunqualified \"tag\"\nlocalhost = [1 2\n";
    let found = shown("helo.toml", text);
    let lines: Vec<usize> = found.iter().map(|(line, _, _)| *line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5], "{found:?}");
}

#[test]
fn carets_are_right_whatever_the_editor_wrote() {
    let unknown = |line, column| vec![(line, column, "unknown setting `mdoe`".to_owned())];
    assert_eq!(shown("helo.toml", "\u{feff}mdoe = 1\n"), unknown(1, 1));
    assert_eq!(shown("helo.toml", "\u{feff}# c\r\n\r\n\tmdoe = 1\r\n"), unknown(3, 2));
    assert_eq!(shown("helo.toml", "mode = \"monitor\"\r\nmdoe = 1"), unknown(2, 1));
    let files = BTreeMap::from([("helo.toml".to_owned(), "\u{feff}mdoe = 1\r\n".to_owned())]);
    let text = render(&problems(&files), &files, "", false);
    assert!(text.contains("\n1 | mdoe = 1\n  | ^^^^ the helo check"), "{text}");
}

#[test]
fn a_line_of_a_megabyte_is_cut_to_what_matters() {
    let names = |from: usize| {
        (from..from + 20_000).map(|n| format!("\"host{n}.example.test\", ")).collect::<String>()
    };
    let text = format!("banned_names = [{}\"bad name\", {}]", names(0), names(20_000));
    let files = BTreeMap::from([("helo.toml".to_owned(), text)]);
    let text = render(&problems(&files), &files, "", false);
    assert!(text.len() < 1000, "{}", text.len());
    assert!(text.contains("\"bad name\""), "{text}");
}
