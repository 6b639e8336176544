//! The cap on recipients, whichever field they come in.

use std::collections::HashSet;
use std::num::NonZeroU32;

use mail_parser::HeaderForm;
use toml::Spanned;
use toml::de::DeValue;

use crate::facts::{Address, Facts, Message, Stage};
use crate::policy::{EnvelopeAction, Mode, Reading, Setting, Settings};
use crate::reason::Reason;
use crate::verdict::{Action, Code, Finding, Outcome, Reply};

crate::settings! {
    /// The cap on recipients of one message: in the envelope, and in To, Cc and Bcc together. An excess RCPT is refused with 452,
    /// so that the first recipients get the message and the sender comes again for the rest.
    pub struct RecipientSettings {
        /// Whether the check decides ("enforce"), only counts and logs what it would have done ("monitor"), or is not run
        /// ("off").
        mode: Mode = Mode::Enforce,
        /// How many recipients one message may have; where theirs differ, the smallest number counts. Set smtpd_recipient_limit in
        /// Postfix to the same number: Postfix counts a 452 of ours as an error of the client, and gives up after 20.
        max_recipients: NonZeroU32 = NonZeroU32::MIN.saturating_add(99),
        /// (2) Unique addresses in To, Cc and Bcc beyond the cap, in mail of an authenticated client.
        too_many_in_header_authenticated: Action = Action::Reject,
        /// (2) The same in inbound mail, where a long To line is another's bad manners and no reason to lose mail.
        too_many_in_header_inbound: Action = Action::Tag,
        /// (1) Recipients at DATA beyond the cap, where only the policy service sees them.
        too_many_at_data: EnvelopeAction = EnvelopeAction::REJECT,
        /// (3) Recipients whose settings for content differ (those of recipients, auth, content, attachments): one message has one
        /// verdict.
        /// "split": those that differ from the first recipient get 452, and so come again in a message of their own, where each
        /// is judged by its own settings; at most 10 in a session. "strictest": all come in one message, and the hardest verdict
        /// counts for all; so it does where nothing is split any more. The settings of the first recipient decide which.
        mixed_recipients: MixedRecipients = MixedRecipients::Split,
    }
}

/// What is done with recipients whose content is judged by different settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixedRecipients {
    /// They shall come in messages of their own.
    Split,
    /// The hardest verdict counts for all.
    Strictest,
}

impl Setting for MixedRecipients {
    const EXPECTED: &'static str = "\"split\" or \"strictest\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &[("split", Self::Split), ("strictest", Self::Strictest)])
    }

    fn show(&self) -> String {
        let name = match self {
            Self::Split => "split",
            Self::Strictest => "strictest",
        };
        format!("{name:?}")
    }
}

/// Judges the number of recipients known at `stage`.
pub fn judge(stage: Stage, facts: &Facts, settings: &Settings) -> Option<Finding> {
    let settings = &settings.recipients;
    let max = settings.max_recipients.get() as usize;
    match stage {
        Stage::Rcpt => (facts.accepted.len() >= max).then(|| excess_recipient(max)),
        Stage::Data => Some(facts.accepted_count())
            .filter(|count| *count > max)
            .map(|count| too_many(Reason::RecipientsTooMany, settings.too_many_at_data.action(), count, max)),
        Stage::EndOfMessage => facts
            .message
            .as_ref()
            .map(|message| header_addresses(message, max))
            .filter(|count| *count > max)
            .map(|count| {
                let action = match facts.login {
                    Some(_) => settings.too_many_in_header_authenticated,
                    None => settings.too_many_in_header_inbound,
                };
                too_many(Reason::RecipientsTooManyInHeader, action, count, max)
            }),
        Stage::Connect | Stage::Helo | Stage::Mail => None,
    }
}

/// Judges a recipient for which content is judged by other settings than for the first recipient, whose `settings` say what follows.
pub fn judge_other_content(settings: &Settings) -> Option<Finding> {
    if settings.recipients.mixed_recipients == MixedRecipients::Strictest {
        return None;
    }
    let text = "This recipient has other rules for content than the first: send it in a message of its own";
    Some(Finding {
        reason: Reason::RecipientsMixed,
        outcome: Outcome::Defer(Reply::new(Code::C452, (5, 3), text)),
        detail: "settings for content differ from those of the first recipient".to_owned(),
    })
}

/// Judges a recipient by the cap of one accepted before it, whose `settings` these are: it holds for the whole message.
pub fn judge_cap_of_another(facts: &Facts, settings: &Settings) -> Option<Finding> {
    let finding = judge(Stage::Rcpt, facts, settings)?;
    Some(Finding { detail: CAP_OF_ANOTHER.to_owned(), ..finding })
}

/// The detail of what [`judge_cap_of_another`] finds.
pub const CAP_OF_ANOTHER: &str = "a recipient accepted before allows no more";

/// RFC 5321 §4.5.3.1.10: 452, after which the sender delivers to those accepted and comes again for the rest.
fn excess_recipient(max: usize) -> Finding {
    let text = format!("Too many recipients: at most {max} in one message, send the others in another one");
    Finding {
        reason: Reason::RecipientsTooMany,
        outcome: Outcome::Defer(Reply::new(Code::C452, (5, 3), &text)),
        detail: format!("{max} recipients are accepted already"),
    }
}

fn too_many(reason: Reason, action: Action, count: usize, max: usize) -> Finding {
    let field = match reason {
        Reason::RecipientsTooManyInHeader => " in To, Cc and Bcc",
        _ => "",
    };
    let text = format!("Too many recipients{field}: at most {max} in one message");
    Finding {
        reason,
        outcome: Outcome::of(action, Reply::new(Code::C554, (5, 3), &text)),
        detail: format!("{count} recipients{field}"),
    }
}

/// Unique addresses in all To, Cc and Bcc fields together (RFC 5322 §3.6.3), groups opened. Stops counting well above `max`:
/// what a hostile header may cost is bounded, and whether it is too many is known by then.
fn header_addresses(message: &Message, max: usize) -> usize {
    let mut seen = HashSet::new();
    let fields = message.headers().iter().filter(|field| {
        ["to", "cc", "bcc"].iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()))
    });
    for field in fields {
        let parsed = HeaderForm::Addresses.parse(&field.value);
        let Some(addresses) = parsed.value().as_address() else { continue };
        for address in addresses.mailboxes().filter_map(|mailbox| mailbox.address()) {
            seen.insert(Address::parse(address).key());
            if seen.len() > max.saturating_mul(10) {
                return seen.len();
            }
        }
    }
    seen.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Recipient;

    fn reply(finding: Option<Finding>) -> Option<(Reason, Action, Option<String>)> {
        let row = |finding: Finding| {
            (finding.reason, finding.outcome.action(), finding.outcome.reply().map(ToString::to_string))
        };
        finding.map(row)
    }

    fn accepted(count: usize) -> Facts {
        let accepted = (0..count).map(|n| Recipient::parse(&format!("<r{n}@example.test>"))).collect();
        Facts { accepted, ..Facts::default() }
    }

    fn mail(header: &str) -> Facts {
        Facts {
            message: Some(Message::from_bytes(format!("{header}\n\nbody\n").as_bytes())),
            ..Facts::default()
        }
    }

    fn addresses(count: usize) -> String {
        (0..count).map(|n| format!("\"R, {n}\" <r{n}@example.test>")).collect::<Vec<_>>().join(",\n ")
    }

    #[test]
    fn the_hundred_and_first_recipient_shall_come_in_another_message() {
        assert_eq!(judge(Stage::Rcpt, &accepted(99), &Settings::default()), None);
        let excess = judge(Stage::Rcpt, &accepted(100), &Settings::default());
        let text =
            "452 4.5.3 Too many recipients: at most 100 in one message, send the others in another one";
        assert_eq!(reply(excess), Some((Reason::RecipientsTooMany, Action::Defer, Some(text.into()))));
    }

    #[test]
    fn the_count_of_the_mta_decides_at_data() {
        let counted = |count| Facts { recipient_count: Some(count), ..Facts::default() };
        assert_eq!(judge(Stage::Data, &counted(100), &Settings::default()), None);
        let text = "554 5.5.3 Too many recipients: at most 100 in one message";
        let too_many = judge(Stage::Data, &counted(101), &Settings::default());
        assert_eq!(reply(too_many), Some((Reason::RecipientsTooMany, Action::Reject, Some(text.into()))));
    }

    #[test]
    fn inbound_mail_with_many_addresses_is_tagged_and_authenticated_mail_refused() {
        let mut facts = mail(&format!("To: {}\nCc: {}", addresses(60), addresses(101)));
        let found = judge(Stage::EndOfMessage, &facts, &Settings::default());
        assert_eq!(reply(found), Some((Reason::RecipientsTooManyInHeader, Action::Tag, None)));
        facts.login = Some("joe".into());
        let found = judge(Stage::EndOfMessage, &facts, &Settings::default());
        let text = "554 5.5.3 Too many recipients in To, Cc and Bcc: at most 100 in one message";
        assert_eq!(
            reply(found),
            Some((Reason::RecipientsTooManyInHeader, Action::Reject, Some(text.into())))
        );
    }

    #[test]
    fn an_address_counts_once_in_whatever_field_and_case() {
        let header =
            format!("To: {}\nCC: {}\nbcc: {}", addresses(100), addresses(100), addresses(50).to_uppercase());
        assert_eq!(judge(Stage::EndOfMessage, &mail(&header), &Settings::default()), None);
        let group = format!("To: friends: {};, extra@example.test", addresses(100));
        assert!(judge(Stage::EndOfMessage, &mail(&group), &Settings::default()).is_some());
    }

    #[test]
    fn counting_a_hostile_header_ends_early() {
        let message = mail(&format!("To: {}", addresses(200_000))).message.unwrap_or_default();
        assert_eq!(header_addresses(&message, 100), 1001);
    }
}
