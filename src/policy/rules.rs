//! Reads the `[[rule]]` tables of `content.toml`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::lists::{Expression, Phrase, Set};
use super::problem::{Lines, Problem};
use super::reading::{Reading, describe, quoted};
use super::settings::{CheckSettings, Setting};
use super::{Expressions, Phrases};
use crate::content::rules::{self, Locations, Pattern, RuleSet};
use crate::content::{self, Cancel, Location};
use crate::verdict::Action;

crate::settings! {
    /// One rule. `name`, `in`, `action` and something to look for are needed.
    pub struct RuleSettings {
        /// Words and phrases, whatever the case of their letters; neither a letter nor a digit stands before or after them.
        words: Phrases = Phrases::default(),
        /// Texts that may stand inside of words as well.
        contains: Phrases = Phrases::default(),
        /// Regular expressions. They ignore case unless they say `(?-i)`.
        regex: Expressions = Expressions::default(),
        /// Words and phrases that excuse a message from the rule, looked for in the same places.
        unless: Phrases = Phrases::default(),
        /// What happens to a message the rule matches; of several rules the hardest counts.
        action: Option<Action> = None,
    }
}

/// Where a rule may look, but for header fields.
const PLACES: [(&str, Location); 3] =
    [("body", Location::Body), ("links", Location::Link), ("attachment_names", Location::AttachmentName)];
/// Stands before the name of a header field.
const HEADER: &str = "header:";
/// Keys of a rule that are no settings.
const NAME: &str = "name";
const IN: &str = "in";
const SCOPE: &str = "scope";

/// One rule, as it was written.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name in logs.
    pub name: String,
    /// The scope it is limited to.
    pub scope: Option<String>,
    /// What happens to a message it matches.
    pub action: Action,
    places: Vec<String>,
    settings: RuleSettings,
    scope_span: Range<usize>,
}

/// Where it stands in its file makes no difference.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, scope, action, places, settings, scope_span: _ } = self;
        (name, scope, action, places, settings)
            == (&other.name, &other.scope, &other.action, &other.places, &other.settings)
    }
}

/// The rules about what messages say, and which of those that are limited to a scope hold. Copies share the rules.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Arc<Vec<Rule>>,
    set: Arc<RuleSet>,
    entered: BTreeSet<String>,
}

impl Rules {
    /// The rules that match what can be read in a message, those left out whose scope does not hold.
    pub(crate) fn matches(&self, texts: &content::Texts, cancel: &Cancel) -> Vec<content::Match> {
        self.set.matches(texts, |index| self.get(index).is_some_and(|rule| self.holds(rule)), cancel)
    }

    /// The rule with this number.
    pub fn get(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// The rules that hold.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| self.holds(rule))
    }

    /// Whether no rule holds, so that nothing need be looked at.
    pub fn is_empty(&self) -> bool {
        self.in_force().next().is_none()
    }

    /// Whether a rule that holds looks at a place like this, which is no header field.
    pub(crate) fn look_at(&self, place: Location) -> bool {
        let name = PLACES.iter().find(|(_, it)| *it == place).map(|(name, _)| *name);
        name.is_some_and(|name| self.in_force().any(|rule| rule.places.iter().any(|it| it == name)))
    }

    /// Whether a rule that holds looks at a header field.
    pub(crate) fn look_at_header(&self) -> bool {
        self.in_force().any(|rule| rule.places.iter().any(|it| it.starts_with(HEADER)))
    }

    /// Whether a rule is limited to this scope.
    pub(super) fn names_scope(&self, scope: &str) -> bool {
        self.rules.iter().any(|rule| rule.scope.as_deref() == Some(scope))
    }

    /// Makes the rules hold that are limited to this scope.
    pub(super) fn enter(&mut self, scope: &str) {
        self.entered.insert(scope.to_owned());
    }

    fn holds(&self, rule: &Rule) -> bool {
        rule.scope.as_ref().is_none_or(|scope| self.entered.contains(scope))
    }

    /// Records scopes that rules name and that are none of `scopes`.
    pub(super) fn unknown_scopes(&self, scopes: &[&str], reading: &mut Reading<'_>) {
        let known: HashSet<&str> = scopes.iter().copied().collect();
        for rule in self.rules.iter() {
            let Some(scope) = rule.scope.as_deref().filter(|scope| !known.contains(scope)) else { continue };
            let title = format!("there is no scope named {}", quoted(scope));
            let all = || {
                Some(match scopes {
                    [] => "scopes.toml has no scopes yet".to_owned(),
                    _ => format!("scopes are {}", scopes.join(", ")),
                })
            };
            reading.error(rule.scope_span.clone(), title, "not in scopes.toml").did_you_mean(
                scope,
                scopes.iter().copied(),
                all,
            );
        }
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.entered == other.entered && (Arc::ptr_eq(&self.rules, &other.rules) || self.rules == other.rules)
    }
}

impl Setting for Rules {
    const EXPECTED: &'static str = "tables that begin with [[rule]], below all other settings";
    const EXAMPLE: &'static str = include_str!("rules.example.toml");

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        if reading.file == "scopes.toml" {
            reading
                .error(value.span(), "rules are not set by a scope", "expected no rules here")
                .help("write the rule into content.toml, with scope = \"NAME\" to limit it to a scope");
            return None;
        }
        let Some(array) = value.get_ref().as_array() else {
            let title = format!("{} is not allowed here", describe(value.get_ref()));
            let problem = reading.error(value.span(), title, format!("expected {}", Self::EXPECTED));
            if value.get_ref().is_table() {
                problem.help("write [[rule]] with two brackets, once for each rule");
            }
            return None;
        };
        let mut tables: Vec<_> = array.iter().collect();
        tables.sort_by_key(|table| table.span().start);
        let mut names = HashMap::new();
        let rules: Vec<Option<Rule>> =
            tables.into_iter().map(|table| rule(table, &mut names, reading)).collect();
        let rules: Vec<Rule> = rules.into_iter().collect::<Option<_>>()?;
        match RuleSet::new(rules.iter().map(Rule::compiled).collect()) {
            Ok(set) => Some(Self { rules: Arc::new(rules), set: Arc::new(set), entered: BTreeSet::new() }),
            Err(why) => {
                reading.error(value.span(), "the rules have too many words", why);
                None
            }
        }
    }

    fn show(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(Rule::show).collect();
        format!("[{}]", rules.join(", "))
    }

    /// Of the lists of all rules together; a rule that is new, or gone, counts with all its entries.
    fn entries_changed(&self, old: &Self) -> Option<(usize, usize)> {
        let none = RuleSettings::default();
        let mut by_name: HashMap<&str, (&RuleSettings, &RuleSettings)> =
            old.rules.iter().map(|rule| (rule.name.as_str(), (&rule.settings, &none))).collect();
        for rule in self.rules.iter() {
            by_name.entry(&rule.name).or_insert((&none, &none)).1 = &rule.settings;
        }
        let changes = by_name.into_values().flat_map(|(was, is)| is.changes(was));
        let counts = changes.filter_map(|change| change.entries);
        Some(counts.fold((0, 0), |(added, removed), (more, fewer)| (added + more, removed + fewer)))
    }
}

impl Rule {
    fn compiled(&self) -> rules::Rule {
        let texts =
            |list: &Phrases| list.entries().map(|phrase: Phrase| phrase.as_ref().to_owned()).collect();
        let mut places = Locations::default();
        for place in &self.places {
            match place.strip_prefix(HEADER) {
                Some("*") => places.all_fields = true,
                Some(field) => {
                    places.fields.insert(field.to_ascii_lowercase());
                }
                None => {
                    places.others.extend(PLACES.iter().find(|(name, _)| name == place).map(|(_, it)| *it))
                }
            }
        }
        let RuleSettings { words, contains, regex, unless, action: _ } = &self.settings;
        let mut patterns: Vec<Pattern> = regex
            .entries()
            .filter_map(|expression: Expression| Pattern::parse(expression.as_ref()).ok())
            .collect();
        patterns.shrink_to_fit();
        rules::Rule {
            places,
            words: texts(words),
            contains: texts(contains),
            patterns,
            unless: texts(unless),
        }
    }

    fn show(&self) -> String {
        let text = |text: &str| toml::Value::from(text).to_string();
        let places: Vec<String> = self.places.iter().map(|place| text(place)).collect();
        let mut keys = vec![format!("name = {}", text(&self.name)), format!("in = [{}]", places.join(", "))];
        keys.extend(self.scope.as_deref().map(|scope| format!("scope = {}", text(scope))));
        let entries = self.settings.entries().into_iter();
        keys.extend(
            entries.filter(|(_, value)| value != "[]").map(|(key, value)| format!("{key} = {value}")),
        );
        format!("{{ {} }}", keys.join(", "))
    }
}

fn rule(
    value: &Spanned<DeValue<'_>>,
    names: &mut HashMap<String, usize>,
    reading: &mut Reading<'_>,
) -> Option<Rule> {
    let Some(table) = value.get_ref().as_table() else {
        reading.error(value.span(), "a rule is a table", "expected [[rule]]");
        return None;
    };
    let before = reading.problems.len();
    let mut settings = RuleSettings::default();
    let mut places = Vec::new();
    let mut scope = None;
    for (key, value) in table.iter() {
        match key.get_ref().as_ref() {
            NAME => {}
            IN => places = read_places(value, reading),
            SCOPE => match value.get_ref().as_str().filter(|name| !name.is_empty()) {
                Some(name) => scope = Some((name.to_owned(), value.span())),
                None => {
                    let title = format!("{} is not allowed here", describe(value.get_ref()));
                    reading.error(value.span(), title, "expected the name of a scope of scopes.toml");
                }
            },
            name if settings.set(name, value, reading) => {}
            _ => unknown_key(key, reading),
        }
    }
    let name = name(table, value.span(), names, reading);
    for (key, help) in [
        (IN, "say where it looks, such as in = [\"header:Subject\", \"body\"]"),
        ("action", "expected one of accept, tag, quarantine, defer and reject"),
    ] {
        if !table.contains_key(key) {
            reading.error(value.span(), format!("this rule has no `{key}`"), "has no effect").help(help);
        }
    }
    // A list with bad entries is not what was meant.
    if !reading.problems[before..].iter().any(Problem::is_error) {
        warn_of_what_never_matches(&settings, table, value.span(), reading);
    }
    if reading.problems[before..].iter().any(Problem::is_error) {
        return None;
    }
    let (scope, scope_span) = scope.map_or((None, 0..0), |(name, span)| (Some(name), span));
    Some(Rule { name, scope, action: settings.action?, places, settings, scope_span })
}

fn warn_of_what_never_matches(
    settings: &RuleSettings,
    table: &DeTable<'_>,
    rule: Range<usize>,
    reading: &mut Reading<'_>,
) {
    let RuleSettings { words, contains, regex, unless, .. } = settings;
    if words.is_empty() && contains.is_empty() && regex.is_empty() {
        let keys = ["words", "contains", "regex"];
        match keys.iter().find_map(|key| table.get(*key)) {
            Some(empty) => {
                let problem =
                    reading.warning(empty.span(), "this rule can never match", "nothing to look for");
                if empty.get_ref().as_array().is_some_and(|array| !array.is_empty()) {
                    problem.help("the files it names have no entries");
                }
            }
            None => {
                let help = format!("say what it looks for by one of {}", keys.join(", "));
                reading.error(rule, "this rule looks for nothing", "has no effect").help(help);
            }
        }
        return;
    }
    let is_excused = contains.is_empty()
        && regex.is_empty()
        && !unless.is_empty()
        && Set::<Phrase>::is_within(&**words, unless);
    if let Some(unless) = table.get("unless").filter(|_| is_excused) {
        let label = "all its words excuse the message from it";
        reading.warning(unless.span(), "this rule can never match", label);
    }
}

fn read_places(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Vec<String> {
    const EXPECTED: &str =
        "a list of \"header:NAME\", \"header:*\", \"body\", \"links\" and \"attachment_names\"";
    let Some(array) = value.get_ref().as_array().filter(|array| !array.is_empty()) else {
        let found = describe(value.get_ref());
        let problem = reading.error(
            value.span(),
            format!("{found} is not allowed here"),
            format!("expected {EXPECTED}"),
        );
        problem.help =
            value.get_ref().as_str().map(|text| format!("put it into brackets: [{}]", quoted(text)));
        return Vec::new();
    };
    let mut places = Vec::new();
    for entry in array.iter() {
        let Some(place) = entry.get_ref().as_str() else {
            let title = format!("{} is no place to look in", describe(entry.get_ref()));
            reading.error(entry.span(), title, format!("expected {EXPECTED}"));
            continue;
        };
        if places.iter().any(|known: &String| known.eq_ignore_ascii_case(place)) {
            reading.warning(
                entry.span(),
                format!("{} is listed twice", quoted(place)),
                "already in this list",
            );
        }
        match place.strip_prefix(HEADER) {
            Some(field) if field == "*" || is_field_name(field) => places.push(place.to_owned()),
            Some(field) => {
                let title = format!("{} is no name of a header field", quoted(field));
                let help = "write it without colon and spaces, as in \"header:Subject\"";
                reading.error(entry.span(), title, "expected letters, digits and hyphens").help(help);
            }
            None if PLACES.iter().any(|(name, _)| *name == place) => places.push(place.to_owned()),
            None => {
                let title = format!("{} is no place to look in", quoted(place));
                let as_field = || Some(format!("a header field is written \"header:{place}\""));
                reading.error(entry.span(), title, format!("expected {EXPECTED}")).did_you_mean(
                    place,
                    PLACES.map(|(name, _)| name),
                    as_field,
                );
            }
        }
    }
    places
}

/// RFC 5322 §3.6.8: printable ASCII without a colon.
fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

fn name(
    table: &DeTable<'_>,
    rule: Range<usize>,
    names: &mut HashMap<String, usize>,
    reading: &mut Reading<'_>,
) -> String {
    let Some(value) = table.get(NAME) else {
        let help = "logs and `greylag explain` tell by the name which rule matched";
        reading.error(rule, "this rule has no name", "expected a `name`").help(help);
        return String::new();
    };
    let Some(name) = value.get_ref().as_str().filter(|name| !name.trim().is_empty()) else {
        reading.error(value.span(), "this is no name for a rule", "expected a text that is not empty");
        return String::new();
    };
    if let Some(first) = names.insert(name.to_owned(), value.span().start) {
        let line = Lines::new(reading.text(reading.file).unwrap_or_default()).number(first);
        let title = format!("there are two rules named {}", quoted(name));
        reading.error(value.span(), title, format!("the first stands on line {line}"));
    }
    name.to_owned()
}

fn unknown_key(key: &Spanned<DeString<'_>>, reading: &mut Reading<'_>) {
    let typed = key.get_ref().as_ref();
    let problem = reading.error(key.span(), format!("unknown key `{typed}` in a rule"), "no such key");
    if crate::checks::ContentSettings::KEYS.iter().any(|known| known.key == typed) {
        problem.help("this is a setting of the check: it stands above the first [[rule]]");
        return;
    }
    let settings = RuleSettings::KEYS.iter().map(|key| key.key);
    let keys: Vec<&str> = [NAME, IN].into_iter().chain(settings).chain([SCOPE]).collect();
    problem.did_you_mean(typed, keys.iter().copied(), || Some(format!("keys are {}", keys.join(", "))));
}
