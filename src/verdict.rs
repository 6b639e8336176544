//! What is decided. Both protocols render their replies from a [`Verdict`]; nothing else reaches the wire.

use std::num::NonZeroU32;

use crate::reason::Reason;

/// What happens to a recipient or a message, from mildest to hardest. The hardest of several wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Action {
    /// Nothing to say against it.
    #[default]
    Accept,
    /// Accepted; the reasons are written into an `X-Greylag` header.
    Tag,
    /// Accepted into the MTA's hold queue.
    Quarantine,
    /// Temporarily refused (4xx): the sender will come again.
    Defer,
    /// Permanently refused (5xx).
    Reject,
}

impl Action {
    /// Every action, mildest first.
    pub const ALL: [Self; 5] = [Self::Accept, Self::Tag, Self::Quarantine, Self::Defer, Self::Reject];

    /// The action's name in policy files, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Tag => "tag",
            Self::Quarantine => "quarantine",
            Self::Defer => "defer",
            Self::Reject => "reject",
        }
    }

    /// Whether the sender is told no, for now or for good.
    pub const fn refuses(self) -> bool {
        matches!(self, Self::Defer | Self::Reject)
    }
}

/// SMTP reply codes a refusal may carry (RFC 5321 §4.2.3); success codes cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 451: try again later, a processing reason.
    C451,
    /// 452: try again later, too much at once.
    C452,
    /// 550: refused for a policy reason.
    C550,
    /// 554: transaction failed.
    C554,
}

impl Code {
    /// The three digits.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::C451 => "451",
            Self::C452 => "452",
            Self::C550 => "550",
            Self::C554 => "554",
        }
    }

    /// 4 for a temporary, 5 for a permanent refusal.
    pub const fn class(self) -> u8 {
        match self {
            Self::C451 | Self::C452 => 4,
            Self::C550 | Self::C554 => 5,
        }
    }
}

/// Longest reply text in bytes; with code, enhanced code and a long recipient it stays below the 512 of RFC 5321 §4.5.3.1.5.
pub const MAX_TEXT: usize = 200;

/// A refusal as the sender reads it: code, enhanced status code (RFC 3463) and text.
///
/// The class of the enhanced code is that of the code, so the two cannot disagree. The text is printable ASCII on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: Code,
    subject: u8,
    detail: u8,
    text: String,
}

impl Reply {
    /// A reply with the enhanced code `class.subject.detail`. Bytes of `text` outside printable ASCII become `?`, and it is
    /// cut at [`MAX_TEXT`].
    pub fn new(code: Code, (subject, detail): (u8, u8), text: impl Into<String>) -> Self {
        let text = text.into();
        // To the end in any case, so that many bytes are looked at in one step.
        let is_printable = text.bytes().fold(true, |so_far, byte| so_far & (b' '..=b'~').contains(&byte));
        let text = match text.len() <= MAX_TEXT && is_printable {
            true => text,
            false => {
                let shown = |c| if (' '..='~').contains(&c) { c } else { '?' };
                text.chars().take(MAX_TEXT).map(shown).collect()
            }
        };
        Self { code, subject, detail, text }
    }

    /// The reply code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The enhanced status code, such as `5.7.1`.
    pub fn enhanced(&self) -> String {
        format!("{}.{}.{}", self.code.class(), self.subject, self.detail)
    }

    /// Subject and detail of the enhanced status code, whose class is that of the code.
    pub const fn status(&self) -> (u8, u8) {
        (self.subject, self.detail)
    }

    /// The public text, without codes and without the recipient.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, subject, detail, text } = self;
        write!(f, "{} {}.{subject}.{detail} {text}", code.as_str(), code.class())
    }
}

/// One thing a check found: the cause, what to do for it, what to tell the sender, what only the log may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The cause.
    pub reason: Reason,
    /// What it leads to, with the reply where the sender is told no.
    pub outcome: Outcome,
    /// Private detail for log, `explain` and quarantine: may name addresses and settings, never sent to the client.
    pub detail: String,
}

/// An action with all it needs; only a refusal has a reply, and it always has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to say against it.
    Accept,
    /// Deliver with a header that names the reason.
    Tag,
    /// Put on hold in the MTA.
    Quarantine,
    /// Refuse for now.
    Defer(Reply),
    /// Refuse for good.
    Reject(Reply),
}

impl Outcome {
    /// The action without its reply.
    pub const fn action(&self) -> Action {
        match self {
            Self::Accept => Action::Accept,
            Self::Tag => Action::Tag,
            Self::Quarantine => Action::Quarantine,
            Self::Defer(_) => Action::Defer,
            Self::Reject(_) => Action::Reject,
        }
    }

    /// What the sender is told, if refused.
    pub const fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Defer(reply) | Self::Reject(reply) => Some(reply),
            Self::Accept | Self::Tag | Self::Quarantine => None,
        }
    }

    /// As [`Self::of`], for a reply that is made only where one is given.
    pub fn with(action: Action, reply: impl FnOnce() -> Reply) -> Self {
        match action {
            Action::Accept => Self::Accept,
            Action::Tag => Self::Tag,
            Action::Quarantine => Self::Quarantine,
            Action::Defer | Action::Reject => Self::of(action, reply()),
        }
    }

    /// The outcome of `action` for a cause whose permanent reply is `reply`; a deferral speaks the same text with a 451.
    pub fn of(action: Action, reply: Reply) -> Self {
        match action {
            Action::Accept => Self::Accept,
            Action::Tag => Self::Tag,
            Action::Quarantine => Self::Quarantine,
            Action::Defer if reply.code.class() == 4 => Self::Defer(reply),
            Action::Defer => Self::Defer(Reply { code: Code::C451, ..reply }),
            Action::Reject => Self::Reject(reply),
        }
    }
}

/// What was decided about a recipient or a message at one stage, by all checks together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Findings that count, hardest first; within one action in the order of the checks.
    pub findings: Vec<Finding>,
    /// Findings of checks in monitor mode: counted and logged, without effect.
    pub would: Vec<Finding>,
    /// Changes of the header, made in this order where the message is accepted; only at the end of the message.
    pub edits: Vec<HeaderEdit>,
}

/// The header fields Greylag writes and removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderName {
    /// Why a message was tagged.
    XGreylag,
    /// Results of SPF, DKIM and DMARC (RFC 8601).
    AuthenticationResults,
}

impl HeaderName {
    /// The field name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::XGreylag => "X-Greylag",
            Self::AuthenticationResults => "Authentication-Results",
        }
    }
}

/// One change of a message's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Deletes one field. Several of one name are deleted from the last to the first, so that none changes its number.
    Remove {
        /// The field's name, in whatever case the message has it.
        name: HeaderName,
        /// Which of the fields of that name, counted from 1.
        occurrence: NonZeroU32,
    },
    /// Puts a field above all others.
    Insert {
        /// The field's name.
        name: HeaderName,
        /// Its value, without the space after the colon; lines end in a bare LF, and all but the first begin with a tab.
        value: String,
    },
}

impl Verdict {
    /// Adds findings that count: the hardest come first, equally hard ones in the order they were added.
    pub fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.insert(finding));
    }

    /// Adds one finding, as [`Self::add`] does.
    pub fn insert(&mut self, finding: Finding) {
        let action = finding.outcome.action();
        let place = self.findings.partition_point(|known| known.outcome.action() >= action);
        self.findings.insert(place, finding);
    }

    /// The hardest action found.
    pub fn action(&self) -> Action {
        self.findings.first().map_or(Action::Accept, |finding| finding.outcome.action())
    }

    /// The finding that decided, if any check had something to say.
    pub fn decisive(&self) -> Option<&Finding> {
        self.findings.first()
    }

    /// What the sender is told, if refused.
    pub fn reply(&self) -> Option<&Reply> {
        self.decisive().and_then(|finding| finding.outcome.reply())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harder_actions_compare_greater() {
        assert!(Action::ALL.is_sorted());
    }

    #[test]
    fn reply_text_is_one_line_of_printable_ascii() {
        let reply = Reply::new(Code::C550, (7, 1), "a\r\nb\u{e9}\0%s");
        assert_eq!(reply.to_string(), "550 5.7.1 a??b??%s");
        let reply = Reply::new(Code::C451, (7, 1), "x".repeat(1000));
        assert_eq!(reply.text().len(), MAX_TEXT);
    }

    #[test]
    fn a_deferral_never_carries_a_permanent_code() {
        let reply = Reply::new(Code::C554, (7, 0), "no");
        assert_eq!(
            Outcome::of(Action::Defer, reply.clone()).reply().map(Reply::to_string),
            Some("451 4.7.0 no".into())
        );
        assert_eq!(
            Outcome::of(Action::Reject, reply).reply().map(Reply::to_string),
            Some("554 5.7.0 no".into())
        );
    }
}
