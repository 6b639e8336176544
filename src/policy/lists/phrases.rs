//! Lists of words and phrases, and of regular expressions.

use super::names::NameSet;
use super::{BadEntry, Entry};
use crate::content::rules::{Fault, Pattern};
use crate::content::{folded, visible};

/// A word or phrase as texts are searched for it: small letters, one space for white space, nothing invisible.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Phrase(String);

impl Entry for Phrase {
    const LIST: &'static str =
        "a list of words or phrases and of list files, such as [\"lottery winner\", \"file:lists/NAME.txt\"]";
    const ENTRY: &'static str = "a word or phrase";
    type Set = NameSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        let folded = folded(&visible(text));
        match folded.is_empty() {
            true if text.is_empty() => Err(BadEntry::new("an empty text is in every mail")),
            true => Err(BadEntry::new("nothing in it can be seen")),
            false => Ok(Self(folded)),
        }
    }
}

impl From<String> for Phrase {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl AsRef<str> for Phrase {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A regular expression that can be compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expression(String);

impl Entry for Expression {
    const LIST: &'static str = "a list of regular expressions and of list files, such as ['you have won \\d+', \"file:lists/NAME.txt\"]";
    const ENTRY: &'static str = "a regular expression";
    type Set = NameSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        match Pattern::parse(text) {
            Ok(pattern) if pattern.matches_everything() => {
                Err(BadEntry::new("matches every text, even an empty one"))
            }
            Ok(_) => Ok(Self(text.to_owned())),
            Err(Fault::Empty) => Err(BadEntry::new("an empty expression matches every text")),
            Err(Fault::TooLarge) => Err(BadEntry::new("too large: compiled, it takes more than 1 MiB")
                .with_help(
                    "shorten its repetitions, write (?-u:\\w) for \\w, or list the words it stands for",
                )),
            Err(Fault::Syntax(why, column)) => {
                Err(BadEntry::new(format!("{why}, at character {column}")).with_help(help(&why)))
            }
        }
    }

    fn never_met(&self) -> Option<BadEntry> {
        let help = "texts are searched as one line, every run of white space as one space";
        Pattern::never_matches(&self.0).then(|| BadEntry::new("no text is like this").with_help(help))
    }
}

fn help(why: &str) -> &'static str {
    if why.contains("look-around") || why.contains("backreference") {
        "expressions that would have to go back over the text are not supported; `unless` makes exceptions"
    } else if why.contains("escape") {
        "a special character that stands for itself is written with a backslash, as in \\. or \\("
    } else {
        "expressions are written as at https://docs.rs/regex/#syntax"
    }
}

impl From<String> for Expression {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl AsRef<str> for Expression {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Phrases;
    use crate::policy::lists::Set;

    #[test]
    fn phrases_are_compared_as_they_are_read() {
        let list: Phrases = ["Lottery  WINNER", "lottery winner", "ｆｒｅｅ"].into_iter().collect();
        let mut entries: Vec<String> = list.entries().map(|Phrase(text)| text).collect();
        entries.sort();
        assert_eq!(entries, ["free", "lottery winner"]);
        assert!(Phrase::parse(" \u{200b}").is_err());
    }
}
