//! Scopes that do nothing because of later ones, and scopes whose settings fight each other.

use std::collections::HashMap;

use ipnet::IpNet;

use super::{INDEXED, Scope};
use crate::policy::effective::Settings;
use crate::policy::lists::{AddressMap, Entry, Set};
use crate::policy::problem::Lines;
use crate::policy::reading::{Reading, quoted};
use crate::reason::Check;

/// Later scopes that one scope is compared with, at most, nearest first: only scopes that no index tells apart come near it.
const COMPARED: usize = 1000;

/// Scopes that are compared in pairs, at most, for each check: few scopes set more than a mode.
const PAIRED: usize = 200;

/// Warns of both. Work is nearly linear in the number of scopes.
pub(super) fn lint(scopes: &[Scope], base: &Settings, reading: &mut Reading<'_>) {
    let lines = Lines::new(reading.text(reading.file).unwrap_or_default());
    let place = |scope: &Scope| format!("{} on line {}", quoted(&scope.name), lines.number(scope.span.start));
    let mut later = Later::default();
    for (index, scope) in scopes.iter().enumerate().rev() {
        // A scope that rules name is of use whatever it sets.
        let by = later.overriding(scope, scopes).filter(|_| !base.content.rule.names_scope(&scope.name));
        if let Some(by) = by {
            let by: Vec<String> = by.into_iter().map(place).collect();
            let title = format!("the scope {} has no effect", quoted(&scope.name));
            reading
                .warning(scope.span.clone(), title, "whenever it holds, later scopes set the same")
                .help(format!("overridden by {}; of several scopes the later one wins", by.join(" and ")));
        }
        later.add(index, scope);
    }
    for check in Check::ALL {
        fighting(check, scopes, base, place, reading);
    }
}

/// Warns of settings of `check` that are fine in each of two scopes, and make no sense where both hold.
fn fighting(
    check: Check,
    scopes: &[Scope],
    base: &Settings,
    place: impl Fn(&Scope) -> String,
    reading: &mut Reading<'_>,
) {
    let sets = |scope: &&Scope| scope.sets.iter().any(|set| set.check == check && set.key != "mode");
    let scopes: Vec<&Scope> = scopes.iter().filter(sets).take(PAIRED).collect();
    for (index, later) in scopes.iter().enumerate() {
        let mut alone = base.clone();
        later.apply(&mut alone);
        let known = alone.conflicts(check);
        for earlier in &scopes[..index] {
            if earlier.sets.iter().all(|set| later.has(set.check, set.key))
                || earlier.when.excludes(&later.when)
            {
                continue;
            }
            let mut both = base.clone();
            earlier.apply(&mut both);
            let mut known = known.clone();
            known.extend(both.conflicts(check));
            later.apply(&mut both);
            let conflicts = both.conflicts(check);
            if let Some(conflict) = conflicts.into_iter().find(|conflict| !known.contains(conflict)) {
                let named = |key: &&&'static str| later.has(check, key);
                let key = conflict.keys.iter().find(named).copied().unwrap_or_default();
                let span = later
                    .sets
                    .iter()
                    .find(|set| (set.check, set.key) == (check, key))
                    .map_or(&later.span, |set| &set.span)
                    .clone();
                let label = format!("where {} holds as well", place(earlier));
                reading.warning(span, conflict.title, label).help(conflict.label);
                break;
            }
        }
    }
}

/// Scopes by what one must name to be part of them.
#[derive(Default)]
struct Later {
    by_recipient: AddressMap<Vec<usize>>,
    by_sender: AddressMap<Vec<usize>>,
    by_client: HashMap<IpNet, Vec<usize>>,
    others: Vec<usize>,
}

impl Later {
    fn add(&mut self, index: usize, scope: &Scope) {
        if scope.when.is_never() {
            return;
        }
        match (&scope.when.recipient, &scope.when.sender, &scope.when.client) {
            (Some(list), _, _) if list.len() <= INDEXED => {
                list.patterns().for_each(|pattern| self.by_recipient.entry(&pattern).0.push(index));
            }
            (_, Some(list), _) if list.len() <= INDEXED => {
                list.patterns().for_each(|pattern| self.by_sender.entry(&pattern).0.push(index));
            }
            (_, _, Some(list)) if Set::len(&**list) <= INDEXED => {
                list.entries().for_each(|network| self.by_client.entry(network).or_default().push(index));
            }
            _ => self.others.push(index),
        }
    }

    /// The scopes that together set all that `scope` sets, each of them whenever it holds.
    fn overriding<'s>(&self, scope: &Scope, scopes: &'s [Scope]) -> Option<Vec<&'s Scope>> {
        if scope.when.is_never() {
            return None;
        }
        let mut left: Vec<_> = scope.sets.iter().map(|set| (set.check, set.key)).collect();
        let mut by = Vec::new();
        for later in self.candidates(scope).into_iter().filter_map(|index| scopes.get(index)) {
            let before = left.len();
            if left.iter().any(|(check, key)| later.has(*check, key)) && scope.when.implies(&later.when) {
                left.retain(|(check, key)| !later.has(*check, key));
            }
            if left.len() < before {
                by.push(later);
            }
            if left.is_empty() {
                return Some(by);
            }
        }
        None
    }

    /// Scopes that may hold whenever `scope` does, nearest first: those that name the first thing it names.
    fn candidates(&self, scope: &Scope) -> Vec<usize> {
        let nearest = |scopes: &Vec<usize>| scopes.iter().rev().take(COMPARED).copied().collect::<Vec<_>>();
        let mut found = nearest(&self.others);
        if let Some(pattern) = scope.when.recipient.as_ref().and_then(|list| list.patterns().next()) {
            self.by_recipient.for_each_cover(&pattern, |scopes| found.extend(nearest(scopes)));
        }
        if let Some(pattern) = scope.when.sender.as_ref().and_then(|list| list.patterns().next()) {
            self.by_sender.for_each_cover(&pattern, |scopes| found.extend(nearest(scopes)));
        }
        if let Some(network) = scope.when.client.as_ref().and_then(|list| list.entries().next()) {
            let networks = std::iter::once(network).chain(network.wider());
            let scopes = networks.filter_map(|network| self.by_client.get(&network));
            found.extend(scopes.flat_map(nearest));
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(COMPARED);
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::policy::Policy;

    /// The scopes that are warned of, by the line they begin on, for scopes written as `conditions | sets`.
    fn warned(scopes: &[&str]) -> Vec<String> {
        let text: String = scopes
            .iter()
            .enumerate()
            .map(|(index, scope)| {
                let (when, sets) = scope.split_once(" | ").unwrap();
                let rest = format!("{when}; {sets}").replace("; ", "\n");
                format!("[[scope]]\nname = \"{index}\"\n{}\n", rest.trim())
            })
            .collect();
        let files = BTreeMap::from([("scopes.toml".to_owned(), text)]);
        let (_, warnings) = Policy::load(&files).map_err(|problems| panic!("{problems:#?}")).unwrap();
        warnings.into_iter().map(|warning| warning.title).collect()
    }

    #[test]
    fn a_scope_that_is_always_overridden_has_no_effect() {
        let off = "set.helo.mode = 'off'";
        for (scopes, found) in [
            (
                [
                    "recipient = ['@a.test'] | set.helo.mode = 'monitor'",
                    "recipient = ['@*.test'] | set.helo.mode = 'off'",
                ],
                true,
            ),
            (
                [
                    "recipient = ['@*.test'] | set.helo.mode = 'monitor'",
                    "recipient = ['@a.test'] | set.helo.mode = 'off'",
                ],
                false,
            ),
            (
                ["recipient = ['@a.test'] | set.helo.mode = 'monitor'", "tls = true | set.helo.mode = 'off'"],
                false,
            ),
            (
                [
                    "recipient = ['@a.test']; tls = true | set.helo.mode = 'monitor'",
                    "tls = true | set.helo.mode = 'off'",
                ],
                true,
            ),
            (
                [
                    "sender = ['<>'] | set.helo.mode = 'monitor'",
                    "sender = ['<>', '@a.test'] | set.helo.mode = 'off'",
                ],
                true,
            ),
            (
                [
                    "client = ['192.0.2.1'] | set.helo.mode = 'monitor'",
                    "client = ['192.0.0.0/16'] | set.helo.mode = 'off'",
                ],
                true,
            ),
            (
                [
                    "client_name = ['a.test'] | set.helo.mode = 'monitor'",
                    "client_name = ['a.test'] | set.helo.mode = 'off'",
                ],
                true,
            ),
            (
                [
                    "tls = true | set.helo.mode = 'monitor'; set.helo.missing = 'tag'",
                    "tls = true | set.helo.mode = 'off'",
                ],
                false,
            ),
            (["tls = true | set.helo.mode = 'monitor'", "tls = true | set.greylist.mode = 'off'"], false),
        ] {
            let titles = warned(&scopes);
            let expected: &[&str] = if found { &["the scope \"0\" has no effect"] } else { &[] };
            assert_eq!(titles, expected, "{scopes:?}");
        }
        let together = [
            "recipient = ['a@b.test'] | set.helo.mode = 'monitor'; set.greylist.mode = 'monitor'",
            &format!("recipient = ['a@'] | {off}"),
            "recipient = ['@b.test'] | set.greylist.mode = 'off'",
        ];
        assert_eq!(warned(&together), ["the scope \"0\" has no effect"]);
    }

    #[test]
    fn a_scope_that_rules_name_has_an_effect_whatever_it_sets() {
        let rule =
            "[[rule]]\nname = \"r\"\nscope = \"sales\"\nin = [\"body\"]\nwords = [\"x\"]\naction = \"tag\"\n";
        for sets in ["", "set.helo.mode = \"monitor\"\n"] {
            let scopes = format!(
                "[[scope]]\nname = \"sales\"\nrecipient = [\"@sales.test\"]\n{sets}\
                 [[scope]]\nname = \"all\"\nrecipient = [\"@*.test\"]\nset.helo.mode = \"off\"\n"
            );
            let files = BTreeMap::from([
                ("scopes.toml".to_owned(), scopes),
                ("content.toml".to_owned(), rule.to_owned()),
            ]);
            let (_, warnings) = Policy::load(&files).unwrap();
            assert_eq!(warnings, [], "{sets}");
        }
    }

    #[test]
    fn settings_of_two_scopes_may_fight() {
        let late = "set.greylist.min_delay = '3h'; set.greylist.retry_window = '4h'";
        let short = "set.greylist.retry_window = '2h'";
        for (one, other, found) in [
            ("tls = true", "recipient = ['@a.test']", true),
            ("tls = true", "tls = false", false),
            ("recipient = ['@b.test']", "recipient = ['@a.test']", false),
            ("recipient = ['@b.test']", "recipient = ['x@b.test']", true),
        ] {
            let titles = warned(&[&format!("{one} | {late}"), &format!("{other} | {short}")]);
            let expected: &[&str] =
                if found { &["`retry_window` is not longer than `min_delay`"] } else { &[] };
            assert_eq!(titles, expected, "{one}, {other}");
        }
    }

    #[test]
    fn ten_thousand_scopes_of_one_kind_are_compared_in_no_time() {
        for (condition, number) in
            [("recipient = ['@d{}.test']", 10_000), ("client_name = ['d{}.test']", 3_000)]
        {
            let scopes: Vec<String> = (0..number)
                .map(|index| condition.replace("{}", &index.to_string()) + " | set.helo.mode = 'off'")
                .collect();
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            assert_eq!(warned(&scopes), Vec::<String>::new());
        }
    }
}
