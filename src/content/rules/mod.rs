//! Rules of the administrator about what a message says, all of them matched at once.
//!
//! Words and fixed texts of all rules are one automaton, which passes once over each text. It looks as well for texts that a regular
//! expression cannot match without, and an expression is tried only where one of them stands, so that a thousand of them cost hardly
//! more than one. Those without such texts are looked for together, some dozens in a pass. (One automaton of all expressions would
//! need a pass as well, but its states multiply: a thousand ordinary ones took seconds and gigabytes.)

mod pass;
mod pattern;
mod required;
mod simplify;

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use aho_corasick::{AhoCorasick, MatchKind};

pub(crate) use pattern::{Fault, Pattern};

use super::Cancel;
use super::text::Texts;
use pass::Pass;
use pattern::{GROUP, Group};

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
    /// The other places; there are few.
    pub(crate) others: Vec<Location>,
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
    /// The texts of the automaton.
    texts: Vec<Text>,
    /// Which expressions each of the texts leads to that stand in for expressions.
    leads: Vec<Vec<usize>>,
    /// The expressions of all rules.
    expressions: Vec<Expression>,
    /// Those that no text leads to: they are looked for in every text.
    always: Vec<Together>,
}

/// Expressions that are looked for in one pass, which tells those to be tried.
#[derive(Debug)]
struct Together {
    expressions: Vec<usize>,
    /// Nothing where they cannot be: each is tried.
    group: Option<Group>,
}

/// What a text of the automaton means.
#[derive(Debug, Default)]
struct Text {
    uses: Vec<Use>,
    /// Its number among those that stand in for expressions.
    lead: Option<usize>,
}

/// What a text of the automaton means to a rule.
#[derive(Clone, Copy, Debug)]
enum Use {
    Word(usize),
    Text(usize),
    Excuse(usize),
}

/// A regular expression of a rule. Texts are their numbers among those that stand in for expressions.
#[derive(Debug)]
struct Expression {
    rule: usize,
    pattern: Pattern,
    /// One of these is in every match, so many bytes from its beginning; none where it may begin anywhere.
    anchors: Vec<usize>,
    before: RangeInclusive<usize>,
    /// One of these is in every match, too; may be empty.
    also: Vec<usize>,
}

impl RuleSet {
    /// Makes the automaton. Returns why, where there are too many texts for one.
    pub(crate) fn new(mut rules: Vec<Rule>) -> Result<Self, String> {
        let mut texts = Builder::default();
        let mut expressions = Vec::new();
        let mut always = Vec::new();
        for (index, rule) in rules.iter_mut().enumerate() {
            for (list, what) in [
                (&rule.words, Use::Word(index)),
                (&rule.contains, Use::Text(index)),
                (&rule.unless, Use::Excuse(index)),
            ] {
                list.iter().for_each(|text| texts.add(text).uses.push(what));
            }
            for pattern in std::mem::take(&mut rule.patterns) {
                let expression = texts.expression(index, pattern, expressions.len());
                if expression.anchors.is_empty() && expression.also.is_empty() {
                    always.push(expressions.len());
                }
                expressions.push(expression);
            }
        }
        let automaton = if texts.written.is_empty() {
            None
        } else {
            let built = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&texts.written);
            Some(built.map_err(|error| error.to_string())?)
        };
        let together = |numbers: &[usize]| Together {
            expressions: numbers.to_vec(),
            // One alone is not found sooner by looking for it twice.
            group: (numbers.len() > 1)
                .then(|| Group::new(numbers.iter().map(|number| &expressions[*number].pattern)))
                .flatten(),
        };
        let always = always.chunks(GROUP).map(together).collect();
        Ok(Self { rules, automaton, texts: texts.texts, leads: texts.leads, expressions, always })
    }

    /// The rules among those that `holds` which match, in their order. One pass over each text.
    pub(crate) fn matches(
        &self,
        texts: &Texts,
        holds: impl Fn(usize) -> bool,
        cancel: &Cancel,
    ) -> Vec<Match> {
        let mut pass = Pass::new(self, holds, cancel);
        let fields = texts.fields.iter().map(|(name, value)| (Location::Header, name.as_str(), value));
        let bodies = texts.bodies.iter().map(|text| (Location::Body, "", text));
        let links = texts.links.iter().flat_map(|link| &link.readings).map(|link| (Location::Link, "", link));
        let names = texts.attachment_names.iter().map(|name| (Location::AttachmentName, "", name));
        for (place, field, text) in fields.chain(bodies).chain(links).chain(names) {
            if cancel.is_cancelled() {
                break;
            }
            pass.read(place, field, text);
        }
        pass.into_matches()
    }
}

/// Texts of an automaton as they are gathered, each once.
#[derive(Default)]
struct Builder {
    numbers: HashMap<String, usize>,
    written: Vec<String>,
    texts: Vec<Text>,
    leads: Vec<Vec<usize>>,
}

impl Builder {
    fn add(&mut self, text: &str) -> &mut Text {
        let number = match self.numbers.get(text) {
            Some(number) => *number,
            None => {
                self.numbers.insert(text.to_owned(), self.texts.len());
                self.written.push(text.to_owned());
                self.texts.push(Text::default());
                self.texts.len() - 1
            }
        };
        &mut self.texts[number]
    }

    fn leads(&mut self, texts: &[String]) -> Vec<usize> {
        let mut next = self.leads.len();
        let numbers = texts.iter().map(|text| {
            let new = next;
            let lead = *self.add(text).lead.get_or_insert(new);
            next += usize::from(lead == new);
            lead
        });
        let numbers: Vec<usize> = numbers.collect();
        self.leads.resize(next, Vec::new());
        numbers
    }

    /// The expression with this number.
    fn expression(&mut self, rule: usize, pattern: Pattern, number: usize) -> Expression {
        let required = pattern.required();
        let (anchors, before) =
            required.anchor.map_or((Vec::new(), 0..=0), |anchor| (anchor.texts, anchor.before));
        let (anchors, also) = (self.leads(&anchors), self.leads(&required.also));
        // Where both are needed, the rarer ones lead to it.
        for lead in if also.is_empty() { &anchors } else { &also } {
            self.leads[*lead].push(number);
        }
        Expression { rule, pattern, anchors, before, also }
    }
}

#[cfg(test)]
mod tests;
