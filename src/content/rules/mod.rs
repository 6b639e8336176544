//! Rules of the administrator about what a message says, all of them matched at once.
//!
//! Words and fixed texts of all rules are one automaton, which passes once over each text. A regular expression is run only where a
//! text that it cannot match without was seen by that automaton, so that a thousand of them cost hardly more than one. (One automaton
//! of all expressions would need a pass as well, but its states multiply: a thousand ordinary ones took seconds and gigabytes.)

mod pattern;
mod required;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aho_corasick::{AhoCorasick, MatchKind};

pub(crate) use pattern::{Fault, Pattern};

use super::Cancel;
use super::text::{Texts, folded};

/// Characters of a match that are kept for the log.
const MAX_EXCERPT: usize = 80;

/// A kind of text in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// The value of a header field.
    Header,
    /// A text part.
    Body,
    /// A link.
    Link,
    /// The name of an attachment.
    AttachmentName,
}

/// Where one rule looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Locations {
    /// Header fields by their names in lower case.
    pub(crate) fields: BTreeSet<String>,
    /// Whether every header field is looked at.
    pub(crate) all_fields: bool,
    /// The other places.
    pub(crate) others: BTreeSet<Location>,
}

impl Locations {
    fn covers(&self, place: Location, field: &str) -> bool {
        match place {
            Location::Header => self.all_fields || self.fields.contains(field),
            other => self.others.contains(&other),
        }
    }
}

/// What one rule looks for, and where. Words and texts are folded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    pub(crate) places: Locations,
    /// Words and phrases: neither a letter nor a digit stands before or after them.
    pub(crate) words: Vec<String>,
    /// Texts, wherever they stand.
    pub(crate) contains: Vec<String>,
    pub(crate) patterns: Vec<Pattern>,
    /// Words and phrases that excuse a message from the rule, in the same places.
    pub(crate) unless: Vec<String>,
}

/// A rule that matches a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The rule, by its place in the file, counted from 0.
    pub rule: usize,
    /// Where it matched first.
    pub place: Location,
    /// The header field, in lower case; empty for other places.
    pub field: String,
    /// What was found there, cut where it is long.
    pub excerpt: String,
}

/// Rules, ready to be matched.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    rules: Vec<Rule>,
    automaton: Option<AhoCorasick>,
    /// What each text of the automaton means.
    uses: Vec<Vec<Use>>,
    /// Expressions that no text leads to; they are run on every text their rule looks at.
    always: Vec<(usize, usize)>,
}

/// What a text of the automaton means to a rule.
#[derive(Clone, Copy, Debug)]
enum Use {
    Word(usize),
    Text(usize),
    Excuse(usize),
    /// An expression of a rule may match.
    Pattern(usize, usize),
}

impl RuleSet {
    /// Makes the automaton. Returns why, where there are too many texts for one.
    pub(crate) fn new(rules: Vec<Rule>) -> Result<Self, String> {
        let mut texts: HashMap<&str, Vec<Use>> = HashMap::new();
        let mut required: Vec<(String, Use)> = Vec::new();
        let mut always = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            for (list, what) in [
                (&rule.words, Use::Word(index)),
                (&rule.contains, Use::Text(index)),
                (&rule.unless, Use::Excuse(index)),
            ] {
                list.iter().for_each(|text| texts.entry(text).or_default().push(what));
            }
            for (number, pattern) in rule.patterns.iter().enumerate() {
                let any_of = pattern.required();
                if any_of.is_empty() {
                    always.push((index, number));
                }
                required.extend(any_of.into_iter().map(|text| (text, Use::Pattern(index, number))));
            }
        }
        for (text, what) in &required {
            texts.entry(text).or_default().push(*what);
        }
        let (texts, uses): (Vec<&str>, Vec<Vec<Use>>) = texts.into_iter().unzip();
        let automaton = if texts.is_empty() {
            None
        } else {
            let built = AhoCorasick::builder().match_kind(MatchKind::Standard).build(texts);
            Some(built.map_err(|error| error.to_string())?)
        };
        Ok(Self { rules, automaton, uses, always })
    }

    /// The rules among those that `holds` which match, in their order. One pass over each text.
    pub(crate) fn matches(
        &self,
        texts: &Texts,
        holds: impl Fn(usize) -> bool,
        cancel: &Cancel,
    ) -> Vec<Match> {
        let active: Vec<bool> = (0..self.rules.len()).map(holds).collect();
        let mut pass = Pass { set: self, active, found: BTreeMap::new(), excused: BTreeSet::new() };
        let fields = texts.fields.iter().map(|(name, value)| (Location::Header, name.as_str(), value));
        let bodies = texts.bodies.iter().map(|text| (Location::Body, "", text));
        let links = texts.links.iter().flat_map(|link| &link.readings).map(|link| (Location::Link, "", link));
        let names = texts.attachment_names.iter().map(|name| (Location::AttachmentName, "", name));
        for (place, field, text) in fields.chain(bodies).chain(links).chain(names) {
            if cancel.is_cancelled() {
                break;
            }
            pass.text(place, field, text);
        }
        let Pass { found, excused, .. } = pass;
        found.into_values().filter(|found| !excused.contains(&found.rule)).collect()
    }
}

/// One message's way through the rules.
struct Pass<'r> {
    set: &'r RuleSet,
    active: Vec<bool>,
    found: BTreeMap<usize, Match>,
    excused: BTreeSet<usize>,
}

impl Pass<'_> {
    fn text(&mut self, place: Location, field: &str, text: &str) {
        let set = self.set;
        let mut patterns: Vec<(usize, usize)> = set.always.clone();
        if let Some(automaton) = &set.automaton {
            let folded = folded(text);
            for hit in automaton.find_overlapping_iter(folded.as_str()) {
                let Some(uses) = set.uses.get(hit.pattern().as_usize()) else { continue };
                let text = folded.get(hit.range()).unwrap_or_default();
                let whole = || is_whole(&folded, hit.start(), hit.end());
                for what in uses {
                    match *what {
                        Use::Word(rule) if self.is_open(rule, place, field) && whole() => {
                            self.found(rule, place, field, text);
                        }
                        Use::Text(rule) if self.is_open(rule, place, field) => {
                            self.found(rule, place, field, text);
                        }
                        Use::Excuse(rule) if self.looks_at(rule, place, field) && whole() => {
                            self.excused.insert(rule);
                        }
                        Use::Pattern(rule, number) if self.is_open(rule, place, field) => {
                            patterns.push((rule, number));
                        }
                        _ => {}
                    }
                }
            }
        }
        patterns.sort_unstable();
        patterns.dedup();
        for (rule, number) in patterns {
            if !self.is_open(rule, place, field) {
                continue;
            }
            let pattern = set.rules.get(rule).and_then(|rule| rule.patterns.get(number));
            if let Some(found) = pattern.and_then(|pattern| pattern.find(text)) {
                self.found(rule, place, field, found);
            }
        }
    }

    /// Whether the rule looks at this text and has not matched yet.
    fn is_open(&self, rule: usize, place: Location, field: &str) -> bool {
        !self.found.contains_key(&rule) && self.looks_at(rule, place, field)
    }

    fn looks_at(&self, rule: usize, place: Location, field: &str) -> bool {
        self.active.get(rule) == Some(&true)
            && self.set.rules.get(rule).is_some_and(|rule| rule.places.covers(place, field))
    }

    fn found(&mut self, rule: usize, place: Location, field: &str, text: &str) {
        let excerpt = text.chars().take(MAX_EXCERPT).collect();
        self.found.insert(rule, Match { rule, place, field: field.to_owned(), excerpt });
    }
}

/// Whether no letter or digit goes on before or after: at an end that is none itself, anything may stand.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let (before, from) = text.split_at(start);
    let (word, after) = from.split_at(end - start);
    let goes_on = |one: Option<char>, other: Option<char>| {
        one.is_some_and(char::is_alphanumeric) && other.is_some_and(char::is_alphanumeric)
    };
    !goes_on(before.chars().next_back(), word.chars().next())
        && !goes_on(word.chars().next_back(), after.chars().next())
}

#[cfg(test)]
mod tests;
