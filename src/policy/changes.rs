//! What differs between two policies, for the one who changed it.

use std::collections::HashMap;
use std::fmt;

use super::Policy;
use super::scopes::Scope;
use super::settings::{CheckSettings, SettingChange};
use crate::reason::Check;

/// Longest value that is shown whole, in characters.
const MAX_VALUE: usize = 120;

/// Of what two longer values have in common, so many characters are shown before the first that differs.
const BEFORE: usize = 20;

/// One difference between two policies; `Display` writes it in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A setting of a check has another value where no scope holds.
    Setting(Check, SettingChange),
    /// There is a scope of this name that was not there.
    ScopeAdded(String),
    /// There is none of this name any more.
    ScopeRemoved(String),
    /// A scope holds under another condition.
    Condition(String, SettingChange),
    /// A scope gives a setting another value.
    ScopeSetting(String, Check, SettingChange),
    /// A scope gives a setting a value that it left alone before.
    ScopeSets(String, Check, &'static str, String),
    /// A scope leaves a setting alone that it gave a value before.
    ScopeLeaves(String, Check, &'static str),
    /// The scopes apply in another order.
    ScopeOrder,
}

impl Policy {
    /// What differs from the policy before, `old`: settings in the order of their checks, then scopes in the order of the file.
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        let settings = Check::ALL.into_iter().flat_map(|check| {
            let changes = self.base.changes(check, &old.base);
            changes.into_iter().map(move |change| Change::Setting(check, change))
        });
        settings.chain(scopes(self.scopes.all(), old.scopes.all())).collect()
    }
}

fn scopes(new: &[Scope], old: &[Scope]) -> Vec<Change> {
    let by_name = |scopes: &[Scope]| -> HashMap<String, usize> {
        scopes.iter().zip(0..).map(|(scope, at)| (scope.name().to_owned(), at)).collect()
    };
    let (was, is) = (by_name(old), by_name(new));
    let mut changes = Vec::new();
    let mut last = None;
    let mut in_order = true;
    for scope in new {
        let Some(before) = was.get(scope.name()) else {
            changes.push(Change::ScopeAdded(scope.name().to_owned()));
            continue;
        };
        in_order &= last < Some(*before);
        last = Some(*before);
        changes.extend(old.get(*before).into_iter().flat_map(|before| scope.changes(before)));
    }
    let gone = old.iter().filter(|scope| !is.contains_key(scope.name()));
    changes.extend(gone.map(|scope| Change::ScopeRemoved(scope.name().to_owned())));
    if !in_order {
        changes.push(Change::ScopeOrder);
    }
    changes
}

impl Scope {
    /// What differs from the scope `old` of the same name.
    fn changes(&self, old: &Self) -> Vec<Change> {
        let name = || self.name().to_owned();
        let conditions = self.when().changes(old.when()).into_iter();
        let conditions = conditions.map(|change| Change::Condition(name(), change));
        let settings = self.sets.iter().filter_map(|set| {
            if old.has(set.check, set.key) {
                let change = self.values.change(set.check, set.key, &old.values)?;
                return Some(Change::ScopeSetting(name(), set.check, change));
            }
            let entries = self.values.entries(set.check);
            let (_, value) = entries.into_iter().find(|(key, _)| *key == set.key)?;
            Some(Change::ScopeSets(name(), set.check, set.key, value))
        });
        let left = old.sets.iter().filter(|set| !self.has(set.check, set.key));
        let left = left.map(|set| Change::ScopeLeaves(name(), set.check, set.key));
        conditions.chain(settings).chain(left).collect()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(check, change) => write!(f, "{}.{}", check.name(), Shown(change)),
            Self::ScopeAdded(scope) => write!(f, "scope {scope:?} added"),
            Self::ScopeRemoved(scope) => write!(f, "scope {scope:?} removed"),
            Self::Condition(scope, change) => write!(f, "scope {scope:?}: {}", Shown(change)),
            Self::ScopeSetting(scope, check, change) => {
                write!(f, "scope {scope:?}: {}.{}", check.name(), Shown(change))
            }
            Self::ScopeSets(scope, check, key, value) => {
                write!(f, "scope {scope:?}: {}.{key} is set: {}", check.name(), cut(value))
            }
            Self::ScopeLeaves(scope, check, key) => {
                write!(f, "scope {scope:?}: {}.{key} is no longer set", check.name())
            }
            Self::ScopeOrder => f.write_str("scopes apply in another order"),
        }
    }
}

struct Shown<'a>(&'a SettingChange);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SettingChange { key, old, new, entries } = self.0;
        write!(f, "{key}: ")?;
        if old != new {
            // Long values may differ only where they would be cut off.
            let same = old.chars().zip(new.chars()).take_while(|(old, new)| old == new).count();
            let left_out = if same < MAX_VALUE { 0 } else { same - BEFORE };
            let shown = |value: &str| match (value.char_indices().nth(left_out), left_out) {
                (None, _) => "not set".to_owned(),
                (Some(_), 0) => cut(value),
                (Some((start, _)), _) => format!("...{}", cut(&value[start..])),
            };
            write!(f, "{} -> {}", shown(old), shown(new))?;
        }
        match entries {
            Some((added, removed)) if old != new => write!(f, " ({added} entries added, {removed} removed)"),
            Some((added, removed)) => write!(f, "{added} entries added, {removed} removed"),
            None => Ok(()),
        }
    }
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(MAX_VALUE) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}...", &value[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn policy(files: &[(&str, &str)]) -> Policy {
        let files: BTreeMap<String, String> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Policy::load(&files).unwrap().0
    }

    fn changes(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
        policy(new).changes_since(&policy(old)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_differs_from_itself() {
        let files = [("helo.toml", "banned_names = [\"a.test\"]"), ("lists/x.txt", "b.test\n")];
        assert_eq!(changes(&files, &files), [""; 0]);
        assert_eq!(Policy::default().changes_since(&Policy::default()), []);
    }

    #[test]
    fn settings_show_old_and_new_value() {
        let found = changes(
            &[("helo.toml", "mode = \"monitor\"")],
            &[("greylist.toml", "min_delay = \"300s\""), ("helo.toml", "missing = \"tag\"")],
        );
        assert_eq!(
            found,
            [
                "helo.mode: \"monitor\" -> \"enforce\"",
                "helo.missing: \"reject\" -> \"tag\"",
                "greylist.min_delay: \"2m\" -> \"5m\"",
            ]
        );
    }

    #[test]
    fn lists_show_how_many_entries_came_and_went() {
        let named = ("helo.toml", "banned_names = [\"file:lists/x.txt\"]");
        let found = changes(
            &[named, ("lists/x.txt", "a.test\nb.test\nc.test\n")],
            &[named, ("lists/x.txt", "c.test\nd.test # new\n")],
        );
        assert_eq!(found, ["helo.banned_names: 1 entries added, 2 removed"]);
        let found = changes(
            &[("helo.toml", "banned_names = [\"a.test\"]")],
            &[("helo.toml", "banned_names = [\"a.test\", \"b.test\"]")],
        );
        let expected =
            "helo.banned_names: [\"a.test\"] -> [\"a.test\", \"b.test\"] (1 entries added, 0 removed)";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn lists_of_rules_show_how_many_entries_came_and_went() {
        let rule = |name: &str, rest: &str| {
            format!("[[rule]]\nname = \"{name}\"\nin = [\"body\"]\naction = \"tag\"\n{rest}\n")
        };
        let text = rule("a", "words = [\"file:lists/w.txt\"]\nunless = [\"file:lists/u.txt\"]")
            + &rule("b", "contains = [\"file:lists/w.txt\"]");
        let named = ("content.toml", text.as_str());
        let found = changes(
            &[named, ("lists/w.txt", "one\ntwo\n"), ("lists/u.txt", "news\n")],
            &[named, ("lists/w.txt", "two\nthree\nfour\n"), ("lists/u.txt", "news\nletter\n")],
        );
        assert_eq!(found, ["content.rule: 5 entries added, 2 removed"]);

        let (one, two) = (rule("a", "words = [\"x\"]"), rule("b", "words = [\"x\", \"y\"]"));
        let a = "{ name = \"a\", in = [\"body\"], words = [\"x\"], action = \"tag\" }";
        let b = "{ name = \"b\", in = [\"body\"], words = [\"x\", \"y\"], action = \"tag\" }";
        assert_eq!(
            changes(&[("content.toml", &one)], &[("content.toml", &two)]),
            [format!("content.rule: [{a}] -> [{b}] (2 entries added, 1 removed)")]
        );
    }

    #[test]
    fn where_a_rule_stands_in_its_file_is_no_change() {
        let scopes = ("scopes.toml", "[[scope]]\nname = \"a\"\ntls = true\n");
        let rule =
            "[[rule]]\nname = \"r\"\nin = [\"body\"]\nwords = [\"x\"]\naction = \"tag\"\nscope = \"a\"\n";
        let moved = format!("# One line more.\n{rule}");
        assert_eq!(changes(&[scopes, ("content.toml", rule)], &[scopes, ("content.toml", &moved)]), [""; 0]);
    }

    #[test]
    fn scopes_come_go_and_change() {
        let scope = |name: &str, rest: &str| format!("[[scope]]\nname = \"{name}\"\n{rest}\n");
        let old = scope("a", "client = [\"192.0.2.0/24\"]\nset.helo.mode = \"off\"")
            + &scope("b", "sender = [\"@b.test\"]\nset.helo.mode = \"off\"")
            + &scope("c", "sender = [\"@c.test\"]\nset.helo.mode = \"off\"");
        let new = scope("d", "tls = true\nset.helo.mode = \"off\"")
            + &scope("c", "sender = [\"@c.test\"]\nset.helo.missing = \"tag\"")
            + &scope("a", "tls = true\nclient = [\"192.0.2.0/25\"]\nset.helo.mode = \"monitor\"");
        assert_eq!(
            changes(&[("scopes.toml", &old)], &[("scopes.toml", &new)]),
            [
                "scope \"d\" added",
                "scope \"c\": helo.missing is set: \"tag\"",
                "scope \"c\": helo.mode is no longer set",
                "scope \"a\": client: [\"192.0.2.0/24\"] -> [\"192.0.2.0/25\"] (0 entries added, 1 removed)",
                "scope \"a\": tls: not set -> true",
                "scope \"a\": helo.mode: \"off\" -> \"monitor\"",
                "scope \"b\" removed",
                "scopes apply in another order",
            ]
        );
    }

    #[test]
    fn long_values_are_cut() {
        let long = format!("banned_names = [\"{}.test\"]", "a".repeat(60) + "." + &"b".repeat(60));
        let [found] = <[String; 1]>::try_from(changes(&[], &[("helo.toml", &long)])).unwrap();
        assert!(found.chars().count() < 320, "{found}");
    }

    #[test]
    fn long_values_are_shown_from_where_they_differ() {
        let names: Vec<String> = (100..200).map(|number| format!("\"h{number}.test\"")).collect();
        let text = |last: &str| format!("banned_names = [{}, \"{last}\"]", names.join(", "));
        let (old, new) = (text("old.test"), text("new.test"));
        let end = |last: &str| format!("...est\", \"h199.test\", \"{last}\"]");
        let (was, is) = (end("old.test"), end("new.test"));
        assert_eq!(
            changes(&[("helo.toml", &old)], &[("helo.toml", &new)]),
            [format!("helo.banned_names: {was} -> {is} (1 entries added, 1 removed)")]
        );
    }
}
