//! Reads `scopes.toml`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{Scope, Set, When, lint};
use crate::policy::effective::Settings;
use crate::policy::embedded;
use crate::policy::problem::{Lines, Problem};
use crate::policy::reading::{Reading, quoted};
use crate::policy::settings::CheckSettings;
use crate::reason::Check;

/// Reads the scopes, which change `base`. Every problem is recorded in `reading`.
pub(in crate::policy) fn read(table: &DeTable<'_>, base: &Settings, reading: &mut Reading<'_>) -> Vec<Scope> {
    let mut tables = Vec::new();
    for (key, value) in table.iter() {
        match value.get_ref().as_array() {
            Some(array) if key.get_ref() == "scope" => tables.extend(array.iter()),
            _ if key.get_ref() == "scope" => {
                reading
                    .error(key.span(), "`scope` is a list of tables", "expected [[scope]]")
                    .help("write [[scope]] with two brackets, once for each scope");
            }
            _ => {
                let title = format!("unknown table or key `{}`", key.get_ref());
                reading
                    .error(key.span(), title, "scopes.toml holds [[scope]] tables and nothing else")
                    .did_you_mean(key.get_ref(), ["scope"], || None);
            }
        }
    }
    // Inline and header tables come in one array, but let no parser decide which scope is the later one.
    tables.sort_by_key(|table| table.span().start);
    let mut names = HashMap::new();
    let before = reading.problems.len();
    let scopes: Vec<Scope> =
        tables.into_iter().filter_map(|table| scope(table, base, &mut names, reading)).collect();
    // Where a condition or a value cannot be read, nothing can be said of how scopes go together.
    if !reading.problems[before..].iter().any(Problem::is_error) {
        lint::lint(&scopes, base, reading);
    }
    scopes
}

/// The shipped scopes, on top of `base`.
pub(in crate::policy) fn shipped(base: &Settings) -> Vec<Scope> {
    let (files, mut problems, mut scopes) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut reading = Reading { file: "scopes.toml", files: &files, problems: &mut problems };
    let text = embedded::text(reading.file).unwrap_or_default();
    reading.document(text, |table, reading| scopes = read(table, base, reading));
    scopes
}

fn scope(
    value: &Spanned<DeValue<'_>>,
    base: &Settings,
    names: &mut HashMap<String, usize>,
    reading: &mut Reading<'_>,
) -> Option<Scope> {
    let Some(table) = value.get_ref().as_table() else {
        reading.error(value.span(), "a scope is a table", "expected [[scope]]");
        return None;
    };
    let mut scope = Scope {
        name: name(table, value.span(), names, reading),
        span: value.span(),
        when: When::default(),
        sets: Vec::new(),
        values: base.clone(),
    };
    let mut conditions = 0;
    let before = reading.problems.len();
    for (key, value) in table.iter() {
        match key.get_ref().as_ref() {
            "name" => {}
            "set" => sets(value, &mut scope, base, reading),
            check if is_check(check) && value.get_ref().is_table() => unknown_key(key, reading),
            condition if scope.when.set(condition, value, reading) => {
                conditions += 1;
                warn_of_condition(condition, value, reading);
            }
            _ => unknown_key(key, reading),
        }
    }
    // A list with bad entries is not what was meant.
    if !reading.problems[before..].iter().any(Problem::is_error) {
        warn_of_contradiction(&scope.when, table, reading);
    }
    // One that rules of the content check name is of use as it is.
    if !table.contains_key("set") && !base.content.rule.names_scope(&scope.name) {
        let help = "add what it changes, such as set.helo.mode = \"off\"";
        reading.error(value.span(), "this scope sets nothing", "has no `set`").help(help);
    }
    if conditions == 0 {
        let help = format!("say when it holds by one of: {}", condition_names().join(", "));
        reading.warning(value.span(), "this scope holds for every mail", "has no condition").help(help);
    }
    Some(scope)
}

/// Warns of what may be written in `condition`, and is never met there.
fn warn_of_condition(condition: &str, value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) {
    let entries = value.get_ref().as_array().into_iter().flat_map(|array| array.iter());
    for (entry, text) in entries.filter_map(|entry| Some((entry, entry.get_ref().as_str()?))) {
        let (label, help) = match condition {
            "recipient" if text == "<>" => ("no recipient is null", "the null reverse-path is a `sender`"),
            "client_name" if text.eq_ignore_ascii_case("unknown") => {
                ("a client without a verified name has none", "Postfix's \"unknown\" is not a name")
            }
            "client_name" if text.parse::<IpAddr>().is_ok() => {
                ("an address is not a name", "addresses are matched by `client`")
            }
            _ => continue,
        };
        reading.warning(entry.span(), format!("{} can never match", quoted(text)), label).help(help);
    }
}

/// Warns where the conditions hold for no mail.
fn warn_of_contradiction(when: &When, table: &DeTable<'_>, reading: &mut Reading<'_>) {
    for (key, value) in table.iter() {
        if value.get_ref().as_array().is_some() && when.is_empty(key.get_ref()) {
            let problem =
                reading.warning(value.span(), "an empty list matches nothing", "this scope never holds");
            if value.get_ref().as_array().is_some_and(|array| !array.is_empty()) {
                problem.help("the files it names have no entries");
            }
        }
    }
    if let (Some(login), Some(false), Some(_)) = (table.get("login"), when.authenticated, &when.login) {
        let label = "with `authenticated = false` this scope never holds";
        reading.warning(login.span(), "`login` names clients that are authenticated", label);
    }
}

fn name(
    table: &DeTable<'_>,
    scope: Range<usize>,
    names: &mut HashMap<String, usize>,
    reading: &mut Reading<'_>,
) -> String {
    let Some(value) = table.get("name") else {
        let help = "logs and `greylag explain` tell by the name which scopes held";
        reading.error(scope, "this scope has no name", "expected a `name`").help(help);
        return String::new();
    };
    let Some(name) = value.get_ref().as_str().filter(|name| !name.trim().is_empty()) else {
        reading.error(value.span(), "this is no name for a scope", "expected a text that is not empty");
        return String::new();
    };
    if let Some(first) = names.insert(name.to_owned(), value.span().start) {
        let line = Lines::new(reading.text(reading.file).unwrap_or_default()).number(first);
        let title = format!("there are two scopes named {}", quoted(name));
        reading.error(value.span(), title, format!("the first stands on line {line}"));
    }
    name.to_owned()
}

fn unknown_key(key: &Spanned<DeString<'_>>, reading: &mut Reading<'_>) {
    let typed = key.get_ref().as_ref();
    let title = format!("unknown key `{typed}` in a scope");
    if is_check(typed) {
        let help = format!("settings of a check are written set.{typed}.…");
        reading.error(key.span(), title, "this is a check").help(help);
        return;
    }
    let conditions = condition_names();
    let names = conditions.iter().copied().chain(["name", "set"]);
    reading
        .error(key.span(), title, "no such condition")
        .did_you_mean(typed, names, || Some(format!("conditions are {}", conditions.join(", "))));
}

fn is_check(name: &str) -> bool {
    Check::ALL.iter().any(|check| check.name() == name)
}

fn condition_names() -> Vec<&'static str> {
    When::KEYS.iter().map(|key| key.key).collect()
}

/// Reads `set.CHECK.KEY = value`.
fn sets(value: &Spanned<DeValue<'_>>, scope: &mut Scope, base: &Settings, reading: &mut Reading<'_>) {
    let Some(table) = value.get_ref().as_table().filter(|table| !table.is_empty()) else {
        let help = "settings are written set.CHECK.SETTING = value, such as set.helo.mode = \"off\"";
        reading.error(value.span(), "this scope sets nothing", "expected settings of checks").help(help);
        return;
    };
    for (name, settings) in table.iter() {
        let Some(check) = Check::ALL.into_iter().find(|check| check.name() == name.get_ref().as_ref()) else {
            let names = Check::ALL.map(Check::name);
            reading
                .error(name.span(), format!("unknown check `{}`", name.get_ref()), "no such check")
                .did_you_mean(name.get_ref(), names, || Some(format!("checks are {}", names.join(", "))));
            continue;
        };
        match settings.get_ref().as_table().filter(|settings| !settings.is_empty()) {
            Some(settings) => sets_of_check(check, settings, scope, base, reading),
            None => {
                let help = format!("to switch the check off, write set.{}.mode = \"off\"", check.name());
                let label = format!("expected settings of the {} check", check.name());
                reading.error(settings.span(), "this sets nothing", label).help(help);
            }
        }
    }
}

fn sets_of_check(
    check: Check,
    table: &DeTable<'_>,
    scope: &mut Scope,
    base: &Settings,
    reading: &mut Reading<'_>,
) {
    let mut places = HashMap::new();
    for (key, value) in table.iter() {
        if !scope.values.set(check, key.get_ref(), value, reading) {
            reading.unknown_setting(key, &format!("the {} check", check.name()), Settings::keys(check));
            continue;
        }
        if let Some(known) = Settings::keys(check).iter().find(|known| known.key == key.get_ref()) {
            scope.sets.push(Set { check, key: known.key, span: key.span() });
            places.insert(known.key, key.span());
        }
    }
    let mut effective = base.clone();
    scope.apply(&mut effective);
    let before = base.conflicts(check);
    for conflict in effective.conflicts(check) {
        if !before.contains(&conflict) {
            reading.conflict(conflict, &places);
        }
    }
}
