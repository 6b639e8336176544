//! Settings and lists that nothing uses.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::effective::Settings;
use super::embedded;
use super::lists::is_list;
use super::problem::{Problem, Severity};
use super::reading::Reading;
use super::scopes::{self, Scope};
use crate::reason::Check;

/// A setting that stands in the file of a check.
pub(super) struct Written {
    pub(super) check: Check,
    pub(super) key: String,
    pub(super) span: Range<usize>,
}

/// Warns of settings of checks that are off, unless a scope may switch them on: one warning for each file and each scope, but for
/// scopes as they were shipped, which the administrator did not write.
pub(super) fn settings_of_idle_checks(
    base: &Settings,
    written: &[Written],
    scopes: &[Scope],
    scopes_file: &mut Reading<'_>,
) {
    let shipped = scopes::shipped(base);
    for check in Check::ALL {
        let starts = |scope: &Scope| scope.has(check, MODE) && !is_off(&scope.values, check);
        let off = is_off(base, check);
        if off && !scopes.iter().any(starts) {
            let default = Settings::default().entries(check);
            let is_changed = |written: &&Written| {
                let entry = |entries: &[(&str, String)]| {
                    entries.iter().find(|(key, _)| *key == written.key).map(|(_, value)| value.clone())
                };
                written.check == check
                    && written.key != MODE
                    && entry(&base.entries(check)) != entry(&default)
            };
            if let Some(first) = written.iter().find(is_changed) {
                let file = format!("{}.toml", check.name());
                let mut reading =
                    Reading { file: &file, files: scopes_file.files, problems: scopes_file.problems };
                warn(check, &first.key, first.span.clone(), "no scope switches it on", &mut reading);
            }
        }
        // From the last scope to the first: what may still switch the check on comes after.
        let mut started = false;
        for scope in scopes.iter().rev() {
            let is_set = scope.has(check, MODE);
            let runs = if is_set {
                !is_off(&scope.values, check) || started
            } else {
                !off || scopes.iter().any(starts)
            };
            let idle = scope.sets.iter().find(|set| set.check == check && set.key != MODE);
            if let Some(set) = idle.filter(|_| !runs && !shipped.iter().any(|shipped| shipped.is(scope))) {
                let why = if is_set {
                    "this scope switches it off"
                } else {
                    "neither this scope nor another switches it on"
                };
                warn(check, set.key, set.span.clone(), why, scopes_file);
            }
            started |= starts(scope);
        }
    }
}

const MODE: &str = "mode";

fn is_off(settings: &Settings, check: Check) -> bool {
    settings.entries(check).iter().any(|(key, value)| *key == MODE && value == "\"off\"")
}

fn warn(check: Check, key: &str, span: Range<usize>, why: &str, reading: &mut Reading<'_>) {
    let title = format!("`{key}` has no effect: the {} check is off", check.name());
    reading.warning(span, title, why);
}

/// The list files that a table of settings names.
pub(super) fn lists_named(table: &DeTable<'_>, named: &mut HashSet<String>) {
    table.iter().for_each(|(_, value)| lists_named_by(value.get_ref(), named));
}

fn lists_named_by(value: &DeValue<'_>, named: &mut HashSet<String>) {
    match value {
        DeValue::String(text) => named.extend(text.strip_prefix("file:").map(str::to_owned)),
        DeValue::Array(array) => array.iter().for_each(|entry| lists_named_by(entry.get_ref(), named)),
        DeValue::Table(table) => lists_named(table, named),
        _ => {}
    }
}

/// Warns of list files that no setting names, but for shipped ones as they were shipped, unless one names a file that is not there: it may have meant one of these.
pub(super) fn unnamed_lists(
    files: &BTreeMap<String, String>,
    named: &HashSet<String>,
    base: &Settings,
    problems: &mut Vec<Problem>,
) {
    if named.iter().any(|path| !files.contains_key(path) && embedded::text(path).is_none()) {
        return;
    }
    let defaults: Vec<String> =
        Check::ALL.into_iter().flat_map(|check| base.entries(check)).map(|(_, value)| value).collect();
    let is_shipped = |path: &str, text: &str| embedded::text(path) == Some(text);
    let unnamed = files
        .iter()
        .filter(|(path, text)| is_list(path) && !named.contains(*path) && !is_shipped(path, text));
    for (path, _) in unnamed {
        let written = format!("\"file:{path}\"");
        if defaults.iter().any(|value| value.contains(&written)) {
            continue;
        }
        problems.push(Problem {
            severity: Severity::Warning,
            file: path.clone(),
            span: 0..0,
            title: "no setting names this list".to_owned(),
            label: "nothing reads this file".to_owned(),
            help: Some(format!("name it in a setting, such as banned_names = [{written}], or remove it")),
        });
    }
}
