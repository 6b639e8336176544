//! The fields that a message brings along under a name that is ours.

use std::num::NonZeroU32;

use crate::facts::{Client, Facts, Message};
use crate::policy::{Mode, Policy, Settings};
use crate::reason::{Check, Reason};
use crate::verdict::{Code, Finding, HeaderEdit, HeaderName, Outcome, Reply, Verdict};

/// Fields that are removed from one message, at most: to each removal an MTA looks through the header anew, Postfix for half a
/// millisecond where there are thousands. No honest mail comes near.
const MAX_REMOVALS: usize = 100;

/// Has the `X-Greylag` fields of a message with this `verdict` removed, the tags of earlier stages beside it: a message has one such
/// field, ours, which says all there is to say. One that came from outside is forged, and one that our policy service had Postfix
/// prepend says what the milter says again.
///
/// A message with too many to remove, of this or any other name, is refused. Where no check is enforced for a message, nothing of it is
/// changed.
pub fn clean_header(facts: &Facts, policy: &Policy, tags: &[Finding], verdict: &mut Verdict) {
    let removals = tag_removals(facts, tags.iter().chain(&verdict.findings));
    let is_removal = |edit: &&HeaderEdit| matches!(edit, HeaderEdit::Remove { .. });
    let count = removals.len() + verdict.edits.iter().filter(is_removal).count();
    if count <= MAX_REMOVALS {
        if !removals.is_empty() && is_enforced(facts, policy) {
            verdict.edits.splice(..0, removals);
        }
        return;
    }
    verdict.edits.clear();
    let text = "Too many X-Greylag or Authentication-Results header fields, remove them and send again";
    let finding = Finding {
        reason: Reason::ContentForgedFields,
        outcome: Outcome::Reject(Reply::new(Code::C554, (6, 0), text)),
        detail: format!("{count} fields to remove, at most {MAX_REMOVALS} are"),
    };
    if is_enforced(facts, policy) {
        verdict.insert(finding);
    } else {
        verdict.would.push(finding);
    }
}

/// Whether any check is enforced for the message.
fn is_enforced(facts: &Facts, policy: &Policy) -> bool {
    let enforces =
        |settings: &Settings| Check::ALL.iter().any(|check| settings.mode(*check) == Mode::Enforce);
    let mut accepted = facts.accepted.iter();
    match facts.accepted.is_empty() {
        true => enforces(&policy.settings(facts)),
        false => accepted.any(|recipient| enforces(&policy.settings_for(facts, Some(recipient)))),
    }
}

/// Removes these fields, the last first. Mail from this host keeps what ours does not say: it may have been judged when it came in,
/// and come again from a content filter.
fn tag_removals<'a>(facts: &Facts, findings: impl Iterator<Item = &'a Finding>) -> Vec<HeaderEdit> {
    const NAME: HeaderName = HeaderName::XGreylag;
    let is_from_here = match facts.connection.client {
        Client::Local => true,
        Client::Ip(address) => address.to_canonical().is_loopback(),
        Client::Unknown => false,
    };
    let tags = findings.filter(|finding| finding.outcome == Outcome::Tag);
    let reasons: Vec<&str> = tags.map(|tag| tag.reason.code()).collect();
    let headers = facts.message.as_ref().map_or(&[][..], Message::headers);
    let fields = headers.iter().filter(|field| field.name.eq_ignore_ascii_case(NAME.as_str().as_bytes()));
    let removed = fields.zip(1..).filter(|(field, _)| !is_from_here || says_no_more(&field.value, &reasons));
    let occurrences: Vec<NonZeroU32> = removed.filter_map(|(_, at)| NonZeroU32::new(at)).collect();
    occurrences.into_iter().rev().map(|occurrence| HeaderEdit::Remove { name: NAME, occurrence }).collect()
}

/// Whether a field gives no reason but these, and there are any.
fn says_no_more(value: &[u8], reasons: &[&str]) -> bool {
    let is_said = |reason: &[u8]| reasons.iter().any(|said| said.as_bytes() == reason);
    let mut items = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    items.next() == Some(b"tag")
        && !reasons.is_empty()
        && items.all(|item| item.strip_prefix(b"reason=").is_some_and(is_said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::HeaderField;
    use std::collections::BTreeMap;

    fn facts(client: &str, values: &[&str]) -> Facts {
        let field =
            |value: &&str| HeaderField { name: "x-greylag".into(), value: (*value).to_owned().into() };
        let other = |name: &str| HeaderField { name: name.to_owned().into(), value: "tag".into() };
        let headers = [other("Subject")].into_iter().chain(values.iter().map(field));
        let headers = headers.chain([other("X-Greylag-Other")]).collect();
        let message = Message::new(headers, b"", false);
        let mut facts = Facts { message: Some(message), ..Facts::default() };
        facts.connection.client = Client::parse(client);
        facts
    }

    fn removed(client: &str, values: &[&str], tags: &[Finding]) -> Vec<u32> {
        let number = |edit| match edit {
            HeaderEdit::Remove { name: HeaderName::XGreylag, occurrence } => occurrence.get(),
            other => panic!("{other:?}"),
        };
        tag_removals(&facts(client, values), tags.iter()).into_iter().map(number).collect()
    }

    #[test]
    fn every_field_of_the_name_goes_the_last_first_unless_it_is_from_here() {
        let values = ["tag", "tag; reason=helo.no_address"];
        assert_eq!(removed("198.51.100.10", &values, &[]), [2, 1]);
        assert_eq!(removed("::ffff:127.0.0.1", &values, &[]), [0; 0]);
        assert_eq!(tag_removals(&Facts::default(), [].iter()), []);
    }

    fn policy(mode: &str) -> Policy {
        let file = |check: &Check| (format!("{}.toml", check.name()), format!("mode = {mode:?}\n"));
        let mut files: BTreeMap<_, _> = Check::ALL.iter().map(file).collect();
        let scope = "[[scope]]\nname = \"s\"\nrecipient = [\"@safe.test\"]\nset.helo.mode = \"enforce\"\n";
        files.insert("scopes.toml".into(), scope.to_owned());
        Policy::load(&files).map(|(policy, _)| policy).unwrap()
    }

    /// How many edits are left, beside an earlier one of each kind, and what is found.
    fn cleaned(fields: usize, policy: &Policy, recipient: &str) -> (usize, Verdict) {
        let mut facts = facts("198.51.100.10", &vec!["tag"; fields]);
        facts.accepted.push(crate::facts::Recipient::parse(recipient));
        let name = HeaderName::AuthenticationResults;
        let remove = HeaderEdit::Remove { name, occurrence: NonZeroU32::MIN };
        let insert = HeaderEdit::Insert { name, value: "mx.test; none".into() };
        let mut verdict = Verdict { edits: vec![remove, insert], ..Verdict::default() };
        clean_header(&facts, policy, &[], &mut verdict);
        (verdict.edits.len(), verdict)
    }

    #[test]
    fn a_message_with_too_many_fields_to_remove_is_refused() {
        let enforced = policy("enforce");
        let (edits, verdict) = cleaned(99, &enforced, "bob@x.test");
        assert_eq!((edits, verdict.findings), (101, Vec::new()));
        for fields in [100, 65_537] {
            let (edits, verdict) = cleaned(fields, &enforced, "bob@x.test");
            assert_eq!((edits, verdict.would.len()), (0, 0), "{fields}");
            let reply = "554 5.6.0 Too many X-Greylag or Authentication-Results header fields, \
                         remove them and send again";
            assert_eq!(verdict.reply().map(ToString::to_string).as_deref(), Some(reply), "{fields}");
            assert_eq!(verdict.findings[0].reason, Reason::ContentForgedFields);
            let detail = format!("{} fields to remove, at most 100 are", fields + 1);
            assert_eq!(verdict.findings[0].detail, detail);
        }
    }

    #[test]
    fn where_no_check_is_enforced_it_is_let_alone() {
        for mode in ["monitor", "off"] {
            let (edits, verdict) = cleaned(100, &policy(mode), "bob@x.test");
            assert_eq!((edits, verdict.findings.len()), (0, 0), "{mode}");
            assert_eq!(verdict.would[0].reason, Reason::ContentForgedFields, "{mode}");
            // The two edits there were.
            let (edits, verdict) = cleaned(99, &policy(mode), "bob@x.test");
            assert_eq!((edits, verdict.findings.len(), verdict.would.len()), (2, 0, 0), "{mode}");
            let (edits, _) = cleaned(99, &policy(mode), "bob@safe.test");
            assert_eq!(edits, 101, "{mode}");
            let (edits, verdict) = cleaned(100, &policy(mode), "bob@safe.test");
            assert_eq!((edits, verdict.findings.len(), verdict.would.len()), (0, 1, 0), "{mode}");
        }
    }

    #[test]
    fn of_mail_from_here_goes_what_ours_says_again() {
        let tag = |reason| Finding { reason, outcome: Outcome::Tag, detail: String::new() };
        let tags = [tag(Reason::HeloNoAddress), tag(Reason::AddressInvalidLocalPart)];
        let values = [
            " tag; reason=address.invalid_local_part",
            "tag; reason=auth.spf_none",
            "tag; reason=helo.no_address;\n reason=address.invalid_local_part",
            "tag; reason=helo.no_address; reason=auth.spf_none",
            "clean",
        ];
        assert_eq!(removed("127.0.0.1", &values, &tags), [3, 1]);
    }
}
