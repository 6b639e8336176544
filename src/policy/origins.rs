//! Where the settings of a policy stand in its files.

use std::collections::HashMap;

use toml::de::DeTable;

use super::problem::Lines;
use super::scopes::Scope;
use crate::reason::Check;

/// A place in the policy files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to the policy directory; "built-in scopes.toml" where there is none there.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The name of the scope that stands there.
    pub scope: Option<String>,
}

/// The lines of everything that is set; what is not set is a default and has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    settings: HashMap<(Check, String), usize>,
    rules: HashMap<String, usize>,
    scopes: Vec<ScopeLines>,
    scopes_are_built_in: bool,
}

#[derive(Clone, Debug)]
struct ScopeLines {
    scope: usize,
    /// Of each of its sets, in their order.
    sets: Vec<usize>,
}

impl Origins {
    /// Takes note of the settings in the file of a check.
    pub(super) fn read_check(&mut self, check: Check, table: &DeTable<'_>, text: &str) {
        let lines = Lines::new(text);
        for (key, value) in table.iter() {
            let line = lines.number(key.span().start);
            self.settings.insert((check, key.get_ref().to_string()), line);
            let rules = value.get_ref().as_array().filter(|_| check == Check::Content);
            for rule in rules.into_iter().flat_map(|rules| rules.iter()) {
                let name = rule.get_ref().as_table().and_then(|rule| rule.get("name"));
                if let Some(name) = name.and_then(|name| name.get_ref().as_str()) {
                    self.rules.insert(name.to_owned(), lines.number(rule.span().start));
                }
            }
        }
    }

    /// Takes note of the scopes in `text`, which is a file of the policy directory or built in.
    pub(super) fn read_scopes(&mut self, scopes: &[Scope], text: &str, is_file: bool) {
        let lines = Lines::new(text);
        let lines_of = |scope: &Scope| ScopeLines {
            scope: lines.number(scope.span().start),
            sets: scope.sets.iter().map(|set| lines.number(set.span.start)).collect(),
        };
        self.scopes = scopes.iter().map(lines_of).collect();
        self.scopes_are_built_in = !is_file;
    }

    /// Where `key` stands in the file of `check`.
    pub(super) fn setting(&self, check: Check, key: &str) -> Option<Place> {
        let line = *self.settings.get(&(check, key.to_owned()))?;
        Some(Place { file: format!("{}.toml", check.name()), line, scope: None })
    }

    /// Where the rule stands.
    pub(super) fn rule(&self, name: &str) -> Option<Place> {
        let line = *self.rules.get(name)?;
        Some(Place { file: format!("{}.toml", Check::Content.name()), line, scope: None })
    }

    /// Where the scope with the number `index` begins, or where it sets `key` of `check`.
    pub(super) fn scope(&self, index: usize, scope: &Scope, set: Option<(Check, &str)>) -> Option<Place> {
        let lines = self.scopes.get(index)?;
        let line = match set {
            None => lines.scope,
            Some((check, key)) => {
                let at = scope.sets.iter().position(|set| set.check == check && set.key == key)?;
                *lines.sets.get(at)?
            }
        };
        let file = if self.scopes_are_built_in { "built-in scopes.toml" } else { "scopes.toml" };
        Some(Place { file: file.to_owned(), line, scope: Some(scope.name().to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Facts, Recipient};
    use crate::policy::{Policy, embedded};

    #[test]
    fn what_is_set_last_is_where_it_stands() {
        let files = [
            ("helo.toml", "# first\nlocalhost = \"defer\"\n"),
            (
                "content.toml",
                "\n[[rule]]\nname = \"a\"\nin = [\"body\"]\nwords = [\"x\"]\naction = \"tag\"\n",
            ),
            (
                "scopes.toml",
                "[[scope]]\nname = \"one\"\nrecipient = [\"@x.test\"]\nset.helo.localhost = \"tag\"\n\n\
                 [[scope]]\nname = \"two\"\nrecipient = [\"b@x.test\"]\nset.helo.missing = \"tag\"\n\
                 set.helo.localhost = \"accept\"\n",
            ),
        ];
        let files = files.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
        let policy = Policy::load(&files).map(|(policy, _)| policy).unwrap();
        let place = |recipient: &str, key: &str| {
            let place = policy.place(&Facts::default(), Some(&Recipient::parse(recipient)), Check::Helo, key);
            place.map(|place| (format!("{}:{}", place.file, place.line), place.scope.unwrap_or_default()))
        };
        let at = |place: &str, scope: &str| Some((place.to_owned(), scope.to_owned()));
        assert_eq!(place("a@y.test", "localhost"), at("helo.toml:2", ""));
        assert_eq!(place("a@x.test", "localhost"), at("scopes.toml:4", "one"));
        assert_eq!(place("b@x.test", "localhost"), at("scopes.toml:10", "two"));
        assert_eq!(place("b@x.test", "missing"), at("scopes.toml:9", "two"));
        assert_eq!(place("a@x.test", "missing"), None);
        let built_in =
            Policy::default().scope_places(&Facts { login: Some("joe".into()), ..Facts::default() }, None);
        let [place] = built_in.as_slice() else { panic!("{built_in:?}") };
        let text = embedded::text("scopes.toml").and_then(|text| text.lines().nth(place.line)).unwrap();
        assert_eq!((&*place.file, text), ("built-in scopes.toml", "name = \"authenticated submission\""));
        let rule = Place { file: "content.toml".into(), line: 2, scope: None };
        assert_eq!((policy.place_of_rule("a"), policy.place_of_rule("b")), (Some(rule), None));
    }
}
