//! Regular expressions of rules: of bounded size, and matched in time linear in the text.

use regex_automata::meta;
use regex_automata::util::syntax;

use super::required::required;

/// Largest compiled expression, in bytes. Some two thousand letters, or `\w{1,30}`; a rule that needs more is better a list of words.
const MAX_SIZE: usize = 1 << 20;
/// Memory one expression may use for states it meets, in bytes.
const MAX_CACHE: usize = 1 << 20;

/// A regular expression, matched without regard to case unless it says `(?-i)`.
#[derive(Clone)]
pub(crate) struct Pattern {
    written: String,
    regex: meta::Regex,
}

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

impl Pattern {
    /// Compiles `written`.
    pub(crate) fn parse(written: &str) -> Result<Self, Fault> {
        if written.is_empty() {
            return Err(Fault::Empty);
        }
        let limits = meta::Config::new()
            .nfa_size_limit(Some(MAX_SIZE))
            .hybrid_cache_capacity(MAX_CACHE)
            .onepass(false);
        let ignoring_case = syntax::Config::new().case_insensitive(true);
        let regex = meta::Regex::builder().configure(limits).syntax(ignoring_case).build(written);
        regex.map(|regex| Self { written: written.to_owned(), regex }).map_err(|error| {
            if error.size_limit().is_some() {
                return Fault::TooLarge;
            }
            match error.syntax_error() {
                Some(regex_syntax::Error::Parse(error)) => {
                    Fault::Syntax(error.kind().to_string(), error.span().start.column)
                }
                Some(regex_syntax::Error::Translate(error)) => {
                    Fault::Syntax(error.kind().to_string(), error.span().start.column)
                }
                _ => Fault::Syntax(error.to_string(), 1),
            }
        })
    }

    /// Texts, one of which every match contains; none where there are no such texts.
    pub(super) fn required(&self) -> Vec<String> {
        required(&self.written)
    }

    /// The first match in `text`.
    pub(super) fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.regex.find(text).and_then(|found| text.get(found.range()))
    }

    /// Whether nothing is matched by it, ever: it wants a line end or two spaces, which no text has that is matched.
    pub(crate) fn never_matches(&self) -> bool {
        let hir = regex_syntax::parse(&self.written);
        hir.is_ok_and(|hir| hir.properties().minimum_len().is_none() || wants_unmet(&hir))
    }

    /// Whether it matches every text, even an empty one.
    pub(crate) fn matches_everything(&self) -> bool {
        self.regex.is_match("") && self.regex.is_match("x")
    }
}

fn wants_unmet(hir: &regex_syntax::hir::Hir) -> bool {
    use regex_syntax::hir::HirKind;
    match hir.kind() {
        HirKind::Literal(literal) => {
            literal.0.iter().any(|byte| matches!(byte, b'\n' | b'\r' | b'\t'))
                || literal.0.windows(2).any(|two| two == b"  ")
        }
        HirKind::Capture(capture) => wants_unmet(&capture.sub),
        HirKind::Repetition(repetition) => repetition.min > 0 && wants_unmet(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().any(wants_unmet),
        HirKind::Alternation(parts) => parts.iter().all(wants_unmet),
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
