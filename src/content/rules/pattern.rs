//! Regular expressions of rules: of bounded size, and matched in time linear in the text.

use std::sync::Arc;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures, pikevm, pikevm::PikeVM};
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchError, MatchKind, PatternID, PatternSet};
use regex_syntax::hir::Hir;

use super::required::{Required, required};
use super::simplify::{simplified, without_word_ends};

/// Largest compiled expression, in bytes. Some two thousand letters, or `\w{1,30}`; a rule that needs more is better a list of words.
const MAX_SIZE: usize = 1 << 20;
/// Memory one expression may use for states it meets, in bytes.
const MAX_CACHE: usize = 1 << 20;
/// Most expressions that are looked for together, and memory they may use for states they meet, in bytes. States of many multiply.
pub(super) const GROUP: usize = 32;
const MAX_GROUP_CACHE: usize = 4 << 20;
/// The memory is filled so often, and then for so few bytes a state, before they are given up together.
const MOST_FILLINGS: usize = 4;
const FEWEST_BYTES_A_STATE: usize = 16;
/// Bytes of a match that are looked at for the log.
const EXCERPT: usize = 1 << 10;
/// What an attempt at one place costs beside the bytes it reads, in bytes.
const ATTEMPT: usize = 16;

/// A regular expression, matched without regard to case unless it says `(?-i)`.
#[derive(Clone)]
pub(crate) struct Pattern {
    written: String,
    hir: Hir,
    automaton: Arc<Automaton>,
}

struct Automaton {
    /// Finds whatever the expression matches, and more where it asks for ends of words, of which this knows nothing. Builds its states
    /// as it meets them.
    dfa: DFA,
    caches: Pool<Cache, CacheFn>,
    /// Whether it finds nothing more.
    is_exact: bool,
    /// The expression itself; slow.
    vm: PikeVM,
}

type CacheFn = Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// Why a text is no usable expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is empty.
    Empty,
    /// It is none: what is wrong, and the character, counted from 1, where it goes wrong.
    Syntax(String, usize),
    /// Compiled, it is larger than allowed.
    TooLarge,
}

/// What one attempt came to.
enum Attempt {
    /// A match ends here.
    Found(usize),
    /// There is no match, which was clear after so many bytes.
    NotFound(usize),
}

impl Pattern {
    /// Compiles `written`.
    pub(crate) fn parse(written: &str) -> Result<Self, Fault> {
        if written.is_empty() {
            return Err(Fault::Empty);
        }
        let hir = parsed(written)?;
        let automaton = Arc::new(Automaton::new(&hir)?);
        Ok(Self { written: written.to_owned(), hir, automaton })
    }

    /// Texts that every match contains.
    pub(super) fn required(&self) -> Required {
        required(&self.hir)
    }

    /// A match in `text`; the first, as a rule.
    pub(super) fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.automaton.find(text)
    }

    /// A match in `text` that begins at one of `starts`; takes no longer than looking through the text some times over, however many
    /// starts there are.
    pub(super) fn find_at<'t>(&self, text: &'t str, starts: impl Iterator<Item = usize>) -> Option<&'t str> {
        self.automaton.find_at(text, starts)
    }

    /// Whether nothing is matched by an expression, ever: it wants a line end or two spaces, which no text has that is matched.
    pub(crate) fn never_matches(written: &str) -> bool {
        parsed(written).is_ok_and(|hir| hir.properties().minimum_len().is_none() || wants_two_spaces(&hir))
    }

    /// Whether it matches every text, even an empty one.
    pub(crate) fn matches_everything(&self) -> bool {
        self.find("").is_some() && self.find("x").is_some()
    }
}

/// Expressions that are looked for in one pass, by what each is without ends of words.
pub(super) struct Group {
    dfa: DFA,
    caches: Pool<Cache, CacheFn>,
}

impl Group {
    /// Of at most [`GROUP`] expressions; `None` where they cannot be looked for together.
    pub(super) fn new<'p>(patterns: impl Iterator<Item = &'p Pattern>) -> Option<Self> {
        let wider: Vec<Hir> = patterns.map(|pattern| without_word_ends(&pattern.hir)).collect();
        let limits = thompson::Config::new()
            .nfa_size_limit(Some(GROUP * MAX_SIZE))
            .which_captures(WhichCaptures::None);
        let nfa = thompson::Compiler::new().configure(limits).build_many_from_hir(&wider).ok()?;
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(MAX_GROUP_CACHE)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(MOST_FILLINGS))
            .minimum_bytes_per_state(Some(FEWEST_BYTES_A_STATE));
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let template = dfa.clone();
        let create: CacheFn = Box::new(move || template.create_cache());
        Some(Self { dfa, caches: Pool::new(create) })
    }

    /// Which of them `text` may match, by their places; all where that is not found out.
    pub(super) fn candidates(&self, text: &str) -> PatternSet {
        let mut found = PatternSet::new(self.dfa.pattern_len());
        let looked =
            self.dfa.try_which_overlapping_matches(&mut self.caches.get(), &Input::new(text), &mut found);
        if looked.is_err() {
            (0..self.dfa.pattern_len()).map(PatternID::must).for_each(|pattern| _ = found.insert(pattern));
        }
        found
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a group of {} expressions", self.dfa.pattern_len())
    }
}

fn parsed(written: &str) -> Result<Hir, Fault> {
    let parsed = regex_syntax::ParserBuilder::new().case_insensitive(true).build().parse(written);
    parsed.map(|hir| simplified(&hir)).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => {
            Fault::Syntax(error.kind().to_string(), error.span().start.column)
        }
        regex_syntax::Error::Translate(error) => {
            Fault::Syntax(error.kind().to_string(), error.span().start.column)
        }
        error => Fault::Syntax(error.to_string(), 1),
    })
}

impl Automaton {
    fn new(hir: &Hir) -> Result<Self, Fault> {
        let fault = |why: &dyn std::fmt::Display| Fault::Syntax(why.to_string(), 1);
        let compiled = |hir: &Hir| {
            let limits = thompson::Config::new()
                .nfa_size_limit(Some(MAX_SIZE))
                .which_captures(WhichCaptures::Implicit);
            thompson::Compiler::new()
                .configure(limits)
                .build_from_hir(hir)
                .map_err(|error| if error.size_limit().is_some() { Fault::TooLarge } else { fault(&error) })
        };
        let nfa = compiled(hir)?;
        let is_exact = !hir.properties().look_set().contains_word_unicode();
        let wider = if is_exact { nfa.clone() } else { compiled(&without_word_ends(hir))? };
        let config = DFA::config().cache_capacity(MAX_CACHE).skip_cache_capacity_check(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(wider).map_err(|error| fault(&error))?;
        let vm = PikeVM::new_from_nfa(nfa).map_err(|error| fault(&error))?;
        let template = dfa.clone();
        let create: CacheFn = Box::new(move || template.create_cache());
        Ok(Self { dfa, caches: Pool::new(create), is_exact, vm })
    }

    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let slowly = |input| self.find_slowly(&mut self.vm.create_cache(), input);
        let found = self.dfa.try_search_fwd(&mut self.caches.get(), &Input::new(text));
        let Ok(found) = found else { return slowly(Input::new(text)) };
        let end = found?.offset();
        if !self.is_exact {
            return slowly(Input::new(text));
        }
        // Where it begins is wanted for the log alone; a match that is very long is cut.
        let near = text.floor_char_boundary(end.saturating_sub(EXCERPT));
        slowly(Input::new(text).span(near..end)).or_else(|| text.get(near..end))
    }

    fn find_at<'t>(&self, text: &'t str, starts: impl Iterator<Item = usize>) -> Option<&'t str> {
        let mut cache = self.caches.get();
        let mut vm = None;
        let mut left = text.len() + EXCERPT;
        for start in starts {
            let cost = match self.attempt(&mut cache, text, start) {
                Ok(Attempt::NotFound(read)) => read + ATTEMPT,
                Ok(Attempt::Found(end)) if self.is_exact => return text.get(start..end),
                Ok(Attempt::Found(_)) | Err(_) => {
                    let input = Input::new(text).span(start..text.len()).anchored(Anchored::Yes);
                    let vm = vm.get_or_insert_with(|| self.vm.create_cache());
                    if let Some(found) = self.find_slowly(vm, input) {
                        return Some(found);
                    }
                    text.len() - start + ATTEMPT
                }
            };
            left = match left.checked_sub(cost) {
                Some(left) => left,
                // Such as `a.*b`, which goes to the end of the text from each `a`.
                None => return self.find(text),
            };
        }
        None
    }

    /// Whether a match begins at `start`, as far as the DFA knows.
    fn attempt(&self, cache: &mut Cache, text: &str, start: usize) -> Result<Attempt, MatchError> {
        let input = Input::new(text).span(start..text.len()).anchored(Anchored::Yes);
        let mut state = self.dfa.start_state_forward(cache, &input)?;
        let bytes = text.as_bytes().get(start..).unwrap_or_default();
        let mut end = None;
        for (read, byte) in bytes.iter().enumerate() {
            let at = start + read;
            state = self.dfa.next_state(cache, state, *byte).map_err(|_| MatchError::gave_up(at))?;
            if !state.is_tagged() {
                continue;
            }
            // A match is told of one byte after its end.
            if state.is_match() {
                end = Some(at);
                if read > EXCERPT {
                    break;
                }
            } else if state.is_dead() {
                return Ok(end.map_or(Attempt::NotFound(read), Attempt::Found));
            } else if state.is_quit() {
                return Err(MatchError::quit(*byte, at));
            }
        }
        let last = self.dfa.next_eoi_state(cache, state).map_err(|_| MatchError::gave_up(text.len()))?;
        let end = if last.is_match() { Some(text.len()) } else { end };
        Ok(end.map_or(Attempt::NotFound(bytes.len()), Attempt::Found))
    }

    fn find_slowly<'t>(&self, vm: &mut pikevm::Cache, input: Input<'t>) -> Option<&'t str> {
        let found = self.vm.find(vm, input.clone())?;
        std::str::from_utf8(input.haystack().get(found.range())?).ok()
    }
}

fn wants_two_spaces(hir: &Hir) -> bool {
    use regex_syntax::hir::HirKind;
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.windows(2).any(|two| two == b"  "),
        HirKind::Capture(capture) => wants_two_spaces(&capture.sub),
        HirKind::Repetition(repetition) => repetition.min > 0 && wants_two_spaces(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().any(wants_two_spaces),
        HirKind::Alternation(parts) => parts.iter().all(wants_two_spaces),
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.written.fmt(f)
    }
}
