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
    assert!(cases >= 30, "{cases} cases");
}
