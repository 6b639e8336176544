//! One message's way through the rules.

use std::collections::BTreeSet;

use super::{Expression, Location, Match, RuleSet, Text, Together, Use};
use crate::content::Cancel;
use crate::content::text::Folded;

/// Characters of a match that are kept for the log.
const MAX_EXCERPT: usize = 80;

pub(super) struct Pass<'r> {
    set: &'r RuleSet,
    cancel: &'r Cancel,
    states: Vec<State>,
    found: Vec<Match>,
    excused: BTreeSet<usize>,
    /// Where the texts that stand in for expressions stand in the text that is read, and which of them do at all.
    places: Vec<Vec<usize>>,
    met: Vec<usize>,
    /// Which expressions are to be tried on it.
    is_wanted: Vec<bool>,
    wanted: Vec<usize>,
}

/// How far a message has come with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It does not hold for this message.
    Off,
    Open,
    Found,
}

/// Where the text stands that is read.
#[derive(Clone, Copy)]
struct Reading<'t> {
    place: Location,
    field: &'t str,
}

impl<'r> Pass<'r> {
    /// A way through those rules of `set` that `holds`.
    pub(super) fn new(set: &'r RuleSet, holds: impl Fn(usize) -> bool, cancel: &'r Cancel) -> Self {
        let state = |rule| if holds(rule) { State::Open } else { State::Off };
        Self {
            set,
            cancel,
            states: (0..set.rules.len()).map(state).collect(),
            found: Vec::new(),
            excused: BTreeSet::new(),
            places: vec![Vec::new(); set.leads.len()],
            met: Vec::new(),
            is_wanted: vec![false; set.expressions.len()],
            wanted: Vec::new(),
        }
    }

    /// The rules that match what was read, in their order.
    pub(super) fn into_matches(self) -> Vec<Match> {
        let Self { mut found, excused, .. } = self;
        found.retain(|found| !excused.contains(&found.rule));
        found.sort_by_key(|found| found.rule);
        found
    }

    /// Reads one text of the message.
    pub(super) fn read(&mut self, place: Location, field: &str, text: &str) {
        let set = self.set;
        let reading = Reading { place, field };
        let folded = set.automaton.as_ref().map(|automaton| (automaton, Folded::new(text)));
        if let Some((automaton, folded)) = &folded {
            for hit in automaton.find_overlapping_iter(&folded.text) {
                let Some(text) = set.texts.get(hit.pattern().as_usize()) else { continue };
                self.hit(text, &folded.text, hit.start(), hit.end(), reading);
            }
        }
        let folded = folded.map(|(_, folded)| folded);
        for number in self.take_wanted(text, reading) {
            let Some(expression) = set.expressions.get(number) else { continue };
            if self.cancel.is_cancelled() {
                break;
            }
            if self.is_open(expression.rule, reading) {
                let found = self.attempt(expression, text, folded.as_ref());
                found.into_iter().for_each(|found| self.found(expression.rule, reading, found));
            }
        }
        for met in self.met.drain(..) {
            self.places[met].clear();
        }
    }

    fn hit(&mut self, text: &Text, folded: &str, start: usize, end: usize, reading: Reading<'_>) {
        if let Some(lead) = text.lead {
            if self.places[lead].is_empty() {
                self.met.push(lead);
            }
            self.places[lead].push(start);
        }
        for what in &text.uses {
            match *what {
                Use::Word(rule) if self.is_open(rule, reading) && is_whole(folded, start, end) => {
                    self.found(rule, reading, &folded[start..end]);
                }
                Use::Text(rule) if self.is_open(rule, reading) => {
                    self.found(rule, reading, &folded[start..end]);
                }
                Use::Excuse(rule) if self.looks_at(rule, reading) && is_whole(folded, start, end) => {
                    self.excused.insert(rule);
                }
                _ => {}
            }
        }
    }

    /// The expressions to be tried on the text, in their order.
    fn take_wanted(&mut self, text: &str, reading: Reading<'_>) -> Vec<usize> {
        let mut wanted = std::mem::take(&mut self.wanted);
        for together in &self.set.always {
            self.look_for(together, text, reading, &mut wanted);
        }
        for met in &self.met {
            for number in self.set.leads.get(*met).into_iter().flatten() {
                if !std::mem::replace(&mut self.is_wanted[*number], true) {
                    wanted.push(*number);
                }
            }
        }
        for number in &wanted {
            self.is_wanted[*number] = false;
        }
        wanted.sort_unstable();
        wanted
    }

    /// Adds those of the expressions that the text may match.
    fn look_for(&self, together: &Together, text: &str, reading: Reading<'_>, wanted: &mut Vec<usize>) {
        let Together { expressions, group } = together;
        let is_open = |number: &usize| {
            self.set.expressions.get(*number).is_some_and(|expression| self.is_open(expression.rule, reading))
        };
        match group {
            Some(group) if expressions.iter().filter(|number| is_open(number)).nth(1).is_some() => {
                let found = group.candidates(text);
                wanted.extend(found.iter().filter_map(|place| expressions.get(place.as_usize())));
            }
            _ => wanted.extend(expressions),
        }
    }

    fn attempt<'t>(
        &self,
        expression: &Expression,
        text: &'t str,
        folded: Option<&Folded>,
    ) -> Option<&'t str> {
        let Expression { pattern, anchors, before, .. } = expression;
        let Some(folded) = folded.filter(|_| !anchors.is_empty()) else { return pattern.find(text) };
        let starts = anchors.iter().flat_map(|anchor| &self.places[*anchor]).flat_map(|place| {
            let place = folded.origin(*place);
            let farthest = place.saturating_sub(*before.end());
            // Hits that are nearer to the beginning of the text than any match has none.
            let nearest = place.checked_sub(*before.start()).map_or(0, |nearest| nearest + 1);
            farthest..nearest.max(farthest)
        });
        pattern.find_at(text, starts.filter(|start| text.is_char_boundary(*start)))
    }

    /// Whether the rule looks at this text and has not matched yet.
    fn is_open(&self, rule: usize, reading: Reading<'_>) -> bool {
        self.states.get(rule) == Some(&State::Open) && self.looks_at(rule, reading)
    }

    fn looks_at(&self, rule: usize, reading: Reading<'_>) -> bool {
        self.states.get(rule).is_some_and(|state| *state != State::Off)
            && self.set.rules.get(rule).is_some_and(|rule| rule.places.covers(reading.place, reading.field))
    }

    fn found(&mut self, rule: usize, reading: Reading<'_>, text: &str) {
        if let Some(state) = self.states.get_mut(rule) {
            *state = State::Found;
        }
        let excerpt = text.chars().take(MAX_EXCERPT).collect();
        let Reading { place, field, .. } = reading;
        self.found.push(Match { rule, place, field: field.to_owned(), excerpt });
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
