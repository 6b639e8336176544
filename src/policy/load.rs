//! Reads the policy directory: one file for each check, `scopes.toml`, and the lists they name. Pure: the texts come in, the
//! policy or everything wrong with it goes out.

use std::collections::{BTreeMap, HashMap, HashSet};

use toml::de::{DeTable, DeValue};

use super::effective::Settings;
use super::embedded;
use super::idle::{self, Written};
use super::origins::Origins;
use super::problem::{self, Problem};
use super::reading::Reading;
use super::scopes::{self, Scope};
use crate::reason::Check;

/// The file of the scopes.
const SCOPES: &str = "scopes.toml";

/// What a policy directory says.
pub(super) struct Loaded {
    pub(super) base: Settings,
    pub(super) scopes: Vec<Scope>,
    pub(super) origins: Origins,
    pub(super) warnings: Vec<Problem>,
}

/// Reads `files`, by path relative to the policy directory. A missing file means the shipped one.
///
/// # Errors
/// All problems of all files, warnings among them, when one of them is an error.
pub(super) fn load(files: &BTreeMap<String, String>) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut base = Settings::default();
    let (mut written, mut named, mut origins) = (Vec::new(), HashSet::new(), Origins::default());
    for check in Check::ALL {
        let file = format!("{}.toml", check.name());
        let text = files.get(&file).map_or("", String::as_str);
        let mut reading = Reading { file: &file, files, problems: &mut problems };
        reading.document(text, |table, reading| {
            idle::lists_named(table, &mut named);
            origins.read_check(check, table, text);
            written.extend(table.iter().map(|(key, _)| {
                let (key, span) = (key.get_ref().to_string(), key.span());
                Written { check, key, span }
            }));
            read_check(check, table, &mut base, reading);
        });
    }
    let mut scopes = Vec::new();
    let text = files.get(SCOPES).map(String::as_str).or_else(|| embedded::text(SCOPES)).unwrap_or_default();
    let mut reading = Reading { file: SCOPES, files, problems: &mut problems };
    reading.document(text, |table, reading| {
        idle::lists_named(table, &mut named);
        scopes = scopes::read(table, &base, reading);
    });
    if !problems.iter().any(|problem| problem.is_error() && problem.file == SCOPES) {
        let names: Vec<&str> = scopes.iter().map(Scope::name).collect();
        let file = format!("{}.toml", Check::Content.name());
        let mut reading = Reading { file: &file, files, problems: &mut problems };
        base.content.rule.unknown_scopes(&names, &mut reading);
    }
    // What could not be read may be what switches a check on.
    if !problems.iter().any(Problem::is_error) {
        let mut reading = Reading { file: SCOPES, files, problems: &mut problems };
        idle::settings_of_idle_checks(&base, &written, &scopes, &mut reading);
    }
    idle::unnamed_lists(files, &named, &base, &mut problems);
    unknown_files(files, &mut problems);
    problem::sort(&mut problems);
    if problems.iter().any(Problem::is_error) {
        return Err(problems);
    }
    origins.read_scopes(&scopes, text, files.contains_key(SCOPES));
    Ok(Loaded { base, scopes, origins, warnings: problems })
}

/// Warns of listeners that scopes name and that are none of `listeners`.
pub(super) fn unknown_listeners(files: &BTreeMap<String, String>, listeners: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut reading = Reading { file: SCOPES, files, problems: &mut problems };
    let text = reading.text(SCOPES).unwrap_or_default();
    let (table, _) = DeTable::parse_recoverable(text);
    scopes::unknown_listeners(table.get_ref(), listeners, &mut reading);
    problems
}

fn read_check(check: Check, table: &DeTable<'_>, settings: &mut Settings, reading: &mut Reading<'_>) {
    let mut places = HashMap::new();
    for (key, value) in table.iter() {
        if !settings.set(check, key.get_ref(), value, reading) {
            let name = check.name();
            let problem = reading.unknown_setting(key, &format!("the {name} check"), Settings::keys(check));
            if key.get_ref() == name {
                problem.help(format!("the settings stand at the top of {name}.toml, in no table"));
            }
        }
        places.insert(key.get_ref().as_ref(), key.span());
    }
    own_lists(check, table, settings, reading);
    for conflict in settings.conflicts(check) {
        reading.conflict(conflict, &places);
    }
}

/// A default that names list files means the administrator's files, where there are some.
fn own_lists(check: Check, table: &DeTable<'_>, settings: &mut Settings, reading: &mut Reading<'_>) {
    for (key, value) in settings.entries(check) {
        if table.contains_key(key) || !value.contains("file:lists/") {
            continue;
        }
        if let Ok(value) = DeValue::parse(&value) {
            settings.set(check, key, &value, reading);
        }
    }
}

/// A file that nobody reads is a typo: what it says would be missed in silence.
fn unknown_files(files: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    let names = Check::ALL.map(|check| format!("{}.toml", check.name()));
    let known = || names.iter().map(String::as_str).chain([SCOPES]);
    for file in files.keys().filter(|file| file.ends_with(".toml") && !file.contains('/')) {
        if !known().any(|name| name == file) {
            let all = || Some(format!("policy files are {}", known().collect::<Vec<_>>().join(", ")));
            Reading { file, files, problems }
                .error(
                    0..0,
                    format!("no check is named {:?}", file.trim_end_matches(".toml")),
                    "nothing reads this file",
                )
                .did_you_mean(file, known(), all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_file_changes_what_it_says_and_nothing_else() {
        let loaded = load(&files(&[("helo.toml", "mode = \"monitor\"")])).map_err(|_| ()).unwrap();
        let defaults = Settings::default();
        assert_eq!(loaded.base.helo.mode, crate::policy::Mode::Monitor);
        assert_eq!(loaded.base.helo.banned_names, defaults.helo.banned_names);
        assert_eq!(loaded.base.greylist, defaults.greylist);
        assert_eq!(loaded.warnings, []);
    }

    #[test]
    fn scopes_as_they_were_shipped_are_no_mistake_where_their_check_is_off() {
        let shipped = embedded::text(SCOPES).unwrap();
        let own = "[[scope]]\nname = \"own\"\ntls = true\nset.auth.spf_fail = \"tag\"\n";
        let changed = shipped.replace("spf_fail = \"tag\"", "spf_fail = \"defer\"");
        let title = |key: &str| format!("`{key}` has no effect: the auth check is off");
        for (scopes, expected) in [
            (None, vec![]),
            (Some(shipped.to_owned()), vec![]),
            (Some(own.to_owned() + shipped), vec![title("spf_fail")]),
            (Some(changed), vec![title("dmarc_reject")]),
        ] {
            let off = ("auth.toml".to_owned(), "mode = \"off\"".to_owned());
            let files = scopes.map(|text| (SCOPES.to_owned(), text)).into_iter().chain([off]).collect();
            let warnings = load(&files).map_or_else(|problems| problems, |loaded| loaded.warnings);
            let found: Vec<String> = warnings.into_iter().map(|warning| warning.title).collect();
            assert_eq!(found, expected, "{files:?}");
        }
    }

    #[test]
    fn all_problems_of_all_files_come_in_the_order_of_files_and_lines() {
        let found = load(&files(&[
            ("scopes.toml", "[[scope]]\nset.helo.missing = 1\nname = \"x\"\nclient = [\"a\", \"b\"]"),
            (
                "helo.toml",
                "banned_names = [\"a.test\", \"a.test\"]\nx = = 1\nmode = 1\nmissing = \"x\"\ny = \"\n",
            ),
            ("grelist.toml", ""),
        ]));
        let found = found.map_or_else(|problems| problems, |_| Vec::new());
        let places: Vec<(&str, usize)> = found.iter().map(|found| (&*found.file, found.span.start)).collect();
        let expected = [
            ("grelist.toml", 0),
            ("helo.toml", 26),
            ("helo.toml", 40),
            ("helo.toml", 51),
            ("helo.toml", 63),
            ("helo.toml", 72),
            ("scopes.toml", 29),
            ("scopes.toml", 52),
            ("scopes.toml", 57),
        ];
        assert_eq!(places, expected, "{found:#?}");
    }

    #[test]
    fn a_list_that_two_settings_name_is_reported_once() {
        let scope = "[[scope]]\nset.helo.mode = \"off\"\nhelo = [\"file:lists/x.txt\"]\n";
        let scopes = format!("{scope}name = \"a\"\n{scope}name = \"b\"");
        let found = load(&files(&[("scopes.toml", &scopes), ("lists/x.txt", "a b\n")]));
        assert_eq!(found.map_or_else(|problems| problems.len(), |_| 0), 1);
    }

    #[test]
    fn nesting_beyond_reason_is_an_error() {
        for text in [format!("x = {}", "[".repeat(100_000)), format!("x = {}", "{a=".repeat(100_000))] {
            assert!(load(&files(&[("helo.toml", &text)])).is_err());
        }
    }
}
