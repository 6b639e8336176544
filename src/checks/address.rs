//! The recipient's local part: a provider's rule for the names its own mailboxes have.

use std::num::NonZeroU32;

use toml::Spanned;
use toml::de::DeValue;

use crate::facts::Facts;
use crate::policy::{EnvelopeAction, Mode, Reading, Setting, Settings};
use crate::reason::Reason;
use crate::verdict::{Code, Finding, Outcome, Reply};

crate::settings! {
    /// The recipient's local part, which stands before the "@": ASCII letters, digits, "-", "_" and "."; "-" neither first nor last,
    /// "." neither first nor last nor doubled. This is a rule for the names a provider gives its own mailboxes, and other domains
    /// have other names: so it is only watched, until a scope enforces it for a domain of yours (scopes.toml has an example).
    /// Postmaster, abuse, and the rewritten addresses that bounces come back to (SRS0=, SRS1=, prvs=) always pass.
    pub struct AddressSettings {
        /// Whether the check decides ("enforce"), only counts and logs what it would have done ("monitor"), or is not run
        /// ("off").
        mode: Mode = Mode::Monitor,
        /// What is done for a local part that breaks the rule.
        action: EnvelopeAction = EnvelopeAction::REJECT,
        /// (1) Longest local part in bytes; 64 is the most RFC 5321 allows.
        max_length: NonZeroU32 = NonZeroU32::MIN.saturating_add(63),
        /// Characters allowed beside those above, such as "'=".
        extra_characters: Characters = Characters::default(),
        /// Characters of which each may stand between a mailbox name and an extension, as recipient_delimiter in Postfix; "" allows
        /// no extensions.
        extension_delimiter: Characters = Characters("+".to_owned()),
    }
}

/// ASCII punctuation that an unquoted local part may have (RFC 5322 §3.2.3 `atext`), each character at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Characters(String);

impl Characters {
    /// These characters; `None` if one may not stand in an unquoted local part, is a letter or digit, or is there twice.
    pub fn new(text: &str) -> Option<Self> {
        let fits =
            |(index, c): (usize, char)| "!#$%&'*+-/=?^_`{|}~".contains(c) && !text[..index].contains(c);
        text.char_indices().all(fits).then(|| Self(text.to_owned()))
    }

    fn contain(&self, c: char) -> bool {
        self.0.contains(c)
    }
}

impl Setting for Characters {
    const EXPECTED: &'static str =
        "a text of the characters !#$%&'*+-/=?^_`{|}~, each at most once, such as \"+\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        value.get_ref().as_str().and_then(Self::new).or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        toml::Value::from(self.0.clone()).to_string()
    }
}

/// Beginnings of local parts that are not mailbox names but wrap another address: SRS, and BATV by its usual tag.
const REWRITTEN: [&str; 3] = ["srs0=", "srs1=", "prvs="];

/// Judges the recipient's local part.
pub fn judge(facts: &Facts, settings: &Settings) -> Option<Finding> {
    let settings = &settings.address;
    let recipient = facts.recipient.as_ref().filter(|recipient| !recipient.is_role())?;
    let local = recipient.address().local();
    cause(local, settings).map(|cause| finding(cause, local, settings))
}

fn cause(local: &str, settings: &AddressSettings) -> Option<Reason> {
    if is_rewritten(local) {
        None
    } else if local.len() > settings.max_length.get() as usize {
        Some(Reason::AddressTooLong)
    } else if !local.is_ascii() {
        Some(Reason::AddressNonAscii)
    } else if !is_valid(local, settings) {
        Some(Reason::AddressInvalidLocalPart)
    } else {
        None
    }
}

fn is_rewritten(local: &str) -> bool {
    REWRITTEN.iter().any(|tag| local.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
}

/// The rule holds for the mailbox name and for the whole, so that an extension cannot hide a bad end. An extension may be empty.
fn is_valid(local: &str, settings: &AddressSettings) -> bool {
    if local.bytes().all(|byte| is_ordinary(byte.into())) {
        return is_name(local);
    }
    let delimiter = |c: char| settings.extension_delimiter.contain(c);
    // A delimiter that comes first has no mailbox before it. One that names may have too, such as "-", ends no name early.
    let is_end = |c: char| delimiter(c) && !is_ordinary(c);
    let mailbox = local.split(is_end).next().unwrap_or_default();
    let allowed = |c: char| is_ordinary(c) || delimiter(c) || settings.extra_characters.contain(c);
    is_name(mailbox) && is_name(local) && local.chars().all(allowed)
}

/// Not empty, with dots and hyphens where they may stand.
fn is_name(text: &str) -> bool {
    let text = text.as_bytes();
    let may_end = |byte: Option<&u8>| !matches!(byte, None | Some(b'-' | b'.'));
    may_end(text.first()) && may_end(text.last()) && !text.windows(2).any(|pair| pair == b"..")
}

const fn is_ordinary(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn finding(reason: Reason, local: &str, settings: &AddressSettings) -> Finding {
    let outcome = Outcome::of(settings.action.action(), reply(reason, settings));
    Finding { reason, outcome, detail: format!("local part {local:?}") }
}

/// What is allowed, so that who mistyped an address finds the mistake.
fn reply(reason: Reason, settings: &AddressSettings) -> Reply {
    let also = settings.extension_delimiter.0.chars().chain(settings.extra_characters.0.chars());
    let mut allowed = "letters, digits and -_.".to_owned();
    for c in also {
        if !allowed.contains(c) {
            allowed.push(c);
        }
    }
    let text = match reason {
        Reason::AddressTooLong => format!("at most {} characters before the @", settings.max_length),
        Reason::AddressNonAscii => format!("only ASCII {allowed} before the @"),
        _ => format!(
            "only {allowed} before the @, - neither first nor last, . neither first nor last nor doubled"
        ),
    };
    Reply::new(Code::C550, (1, 3), format!("Bad recipient address: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Recipient, Stage};
    use crate::filter::{self, Known, Step};
    use crate::policy::Policy;
    use crate::verdict::Action;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn to(recipient: &str) -> Facts {
        Facts { recipient: Some(Recipient::parse(recipient)), ..Facts::default() }
    }

    fn with(address: AddressSettings) -> Settings {
        Settings { address: Arc::new(address), ..Settings::default() }
    }

    fn found(local: &str, settings: &Settings) -> Option<Reason> {
        judge(&to(&format!("<{local}@example.net>")), settings).map(|finding| finding.reason)
    }

    #[test]
    fn each_local_part_passes_or_has_its_cause() {
        let (longest, too_long) = ("a".repeat(64), "a".repeat(65));
        let settings = Settings::default();
        for local in [
            "bob",
            "Bob",
            "BOB",
            "b",
            "7",
            "007",
            "b_b",
            "_bob",
            "bob_",
            "__",
            "b-b",
            "b--b",
            "bob.smith",
            "b.o.b",
            "b-.b",
            "bob+tag",
            "bob+",
            "bob+a+b",
            "bob+a.b",
            "bob+a-b",
            "bob+-a",
            "1and1",
            "\"bob\"",
            &longest,
            "postmaster",
            "Abuse",
            "SRS0=HHH=TT=orig.example=alice",
            "srs0=x",
            "SRS1=HHH=fwd.example==HHH=TT=orig.example=alice",
            "prvs=1234abcdef=alice",
            "PRVS=tag/b\u{e9}b",
        ] {
            assert_eq!(found(local, &settings), None, "{local}");
        }
        for (local, cause) in [
            ("", Reason::AddressInvalidLocalPart),
            ("-", Reason::AddressInvalidLocalPart),
            (".", Reason::AddressInvalidLocalPart),
            ("+", Reason::AddressInvalidLocalPart),
            ("-bob", Reason::AddressInvalidLocalPart),
            ("bob-", Reason::AddressInvalidLocalPart),
            (".bob", Reason::AddressInvalidLocalPart),
            ("bob.", Reason::AddressInvalidLocalPart),
            ("bob..smith", Reason::AddressInvalidLocalPart),
            ("bob...smith", Reason::AddressInvalidLocalPart),
            ("+tag", Reason::AddressInvalidLocalPart),
            ("bob-+tag", Reason::AddressInvalidLocalPart),
            ("bob.+tag", Reason::AddressInvalidLocalPart),
            ("bob+tag-", Reason::AddressInvalidLocalPart),
            ("bob+a..b", Reason::AddressInvalidLocalPart),
            ("o'brien", Reason::AddressInvalidLocalPart),
            ("a=b", Reason::AddressInvalidLocalPart),
            ("a&b", Reason::AddressInvalidLocalPart),
            ("a/b", Reason::AddressInvalidLocalPart),
            ("a!b", Reason::AddressInvalidLocalPart),
            ("a%b", Reason::AddressInvalidLocalPart),
            ("a*b", Reason::AddressInvalidLocalPart),
            ("a b", Reason::AddressInvalidLocalPart),
            ("\"a b\"", Reason::AddressInvalidLocalPart),
            ("\"a@b\"", Reason::AddressInvalidLocalPart),
            ("a\tb", Reason::AddressInvalidLocalPart),
            ("a\u{7f}b", Reason::AddressInvalidLocalPart),
            ("SRS2=x", Reason::AddressInvalidLocalPart),
            ("SRS0+x=y", Reason::AddressInvalidLocalPart),
            ("xprvs=a", Reason::AddressInvalidLocalPart),
            ("b\u{e9}b", Reason::AddressNonAscii),
            ("b\u{43e}b", Reason::AddressNonAscii),
            ("\u{1f426}", Reason::AddressNonAscii),
            (&too_long, Reason::AddressTooLong),
        ] {
            assert_eq!(found(local, &settings), Some(cause), "{local}");
        }
    }

    #[test]
    fn what_is_allowed_is_set_and_told() {
        let settings = with(AddressSettings {
            max_length: NonZeroU32::MIN.saturating_add(7),
            extra_characters: Characters::new("'").unwrap(),
            extension_delimiter: Characters::new("-~").unwrap(),
            ..AddressSettings::default()
        });
        for local in ["o'brien", "bob-tag", "bob~tag", "b-o-b~"] {
            assert_eq!(found(local, &settings), None, "{local}");
        }
        for (local, reply) in [
            ("overlong1", "550 5.1.3 Bad recipient address: at most 8 characters before the @"),
            (
                "b\u{e9}b",
                "550 5.1.3 Bad recipient address: only ASCII letters, digits and -_.~' before the @",
            ),
            (
                "bob+tag",
                "550 5.1.3 Bad recipient address: only letters, digits and -_.~' before the @, - neither first nor last, \
                 . neither first nor last nor doubled",
            ),
        ] {
            let findings = judge(&to(&format!("{local}@example.net")), &settings);
            let replies: Vec<_> =
                findings.iter().filter_map(|found| found.outcome.reply()).map(ToString::to_string).collect();
            assert_eq!(replies, [reply], "{local}");
        }
        let tag = with(AddressSettings { action: EnvelopeAction::TAG, ..AddressSettings::default() });
        let findings = judge(&to("-bob@example.net"), &tag);
        assert_eq!(findings.iter().map(|found| &found.outcome).collect::<Vec<_>>(), [&Outcome::Tag]);
    }

    #[test]
    fn the_longest_reply_is_whole() {
        let all = Characters::new("!#$%&'*+-/=?^_`{|}~").unwrap();
        let settings = AddressSettings { extra_characters: all, ..AddressSettings::default() };
        assert!(reply(Reason::AddressInvalidLocalPart, &settings).text().ends_with("nor doubled"));
    }

    #[test]
    fn only_characters_that_need_no_quotes_can_be_set() {
        for text in ["", "+", "+-", "'=/"] {
            assert_eq!(Characters::new(text).map(|characters| characters.0).as_deref(), Some(text));
        }
        for text in ["@", " ", "\"", "\\", "a", "1", ".", "++", "\u{e9}", "\n"] {
            assert_eq!(Characters::new(text), None, "{text}");
        }
    }

    #[test]
    fn a_scope_enforces_it_for_one_domain() {
        let off = "mode = \"off\"";
        let scope =
            "[[scope]]\nname = \"ours\"\nrecipient = [\"@example.net\"]\nset.address.mode = \"enforce\"\n";
        let files = [("helo.toml", off), ("greylist.toml", off), ("scopes.toml", scope)];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let (policy, _) = Policy::load(&BTreeMap::from(files)).unwrap();
        for (recipient, action, would) in [
            ("-bob@example.net", Action::Reject, 0),
            ("-bob@example.org", Action::Accept, 1),
            ("bob@example.net", Action::Accept, 0),
            ("postmaster@example.net", Action::Accept, 0),
        ] {
            let Step::Done(verdict) = filter::judge(Stage::Rcpt, &to(recipient), &policy, &Known::default())
            else {
                panic!("nothing is to be asked");
            };
            assert_eq!((verdict.action(), verdict.would.len()), (action, would), "{recipient}");
        }
    }
}
