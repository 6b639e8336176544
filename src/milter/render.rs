//! Turns a verdict into the response of its stage.

use super::options::Options;
use super::reply::{HeaderValue, Modification, QuarantineReason, Refusal, Response};
use crate::facts::{Facts, Stage};
use crate::verdict::{Action, Code, HeaderEdit, HeaderName, Outcome, Reply, Verdict};

/// The response to the command of `stage`.
///
/// CONNECT and HELO are never refused: the refusal is held until RCPT, so that the log knows sender and
/// recipient. What is tagged or quarantined before the end of the message goes on; the verdict at its end says
/// so again.
pub(super) fn response(stage: Stage, verdict: &Verdict, facts: &Facts, options: &Options) -> Response {
    match stage {
        Stage::Connect | Stage::Helo => Response::Continue,
        Stage::Mail | Stage::Data => refusal(verdict).map_or(Response::Continue, Response::Refuse),
        Stage::Rcpt => recipient_refusal(verdict, facts).map_or(Response::Continue, Response::Refuse),
        Stage::EndOfMessage => refusal(verdict).map_or_else(|| deliver(verdict, options), Response::Refuse),
    }
}

fn refusal(verdict: &Verdict) -> Option<Refusal> {
    verdict.reply().map(Refusal::new)
}

/// The sender reads `<recipient>... ` once. Sendmail puts it before the text of a permanent refusal, but not of a temporary one
/// (8.17.1); Postfix before neither.
fn recipient_refusal(verdict: &Verdict, facts: &Facts) -> Option<Refusal> {
    let reply = verdict.reply()?;
    let added_by_mta = reply.code().class() == 5 && !facts.connection.mta.is_postfix();
    Some(match &facts.recipient {
        Some(recipient) if !added_by_mta => Refusal::of_recipient(recipient.raw(), reply),
        _ => Refusal::new(reply),
    })
}

fn deliver(verdict: &Verdict, options: &Options) -> Response {
    let mut modifications = Vec::new();
    if let Some(finding) = verdict.decisive().filter(|_| verdict.action() == Action::Quarantine) {
        if !options.may_quarantine() {
            // Both MTAs always allow it. Where one does not, that is no reason to let the message in, nor the
            // sender's fault.
            let text = "Message cannot be put on hold, try again later";
            return Response::Refuse(Refusal::new(&Reply::new(Code::C451, (3, 5), text)));
        }
        modifications.push(Modification::Quarantine(QuarantineReason::new(finding.reason.code())));
    }
    let edits = verdict.edits.iter().map(edit).chain(tag_header(verdict));
    modifications.extend(edits.filter_map(|edit| allowed(edit, options)));
    Response::Deliver(modifications)
}

fn edit(edit: &HeaderEdit) -> Modification {
    match edit {
        HeaderEdit::Remove { name, occurrence } => {
            Modification::DeleteHeader { name: *name, occurrence: *occurrence }
        }
        HeaderEdit::Insert { name, value } => {
            Modification::PrependHeader { name: *name, value: HeaderValue::new(value) }
        }
    }
}

/// The change as the MTA wants it written, or nothing where it was not agreed on.
fn allowed(modification: Modification, options: &Options) -> Option<Modification> {
    match modification {
        Modification::PrependHeader { name, value } if options.exact_headers() => {
            options.may_add_headers().then(|| Modification::PrependHeader { name, value: value.spaced() })
        }
        Modification::PrependHeader { .. } => Some(modification).filter(|_| options.may_add_headers()),
        Modification::DeleteHeader { .. } => Some(modification).filter(|_| options.may_change_headers()),
        Modification::Quarantine(_) => Some(modification),
    }
}

/// `X-Greylag: tag; reason=…`, each reason once, in the order of the findings.
fn tag_header(verdict: &Verdict) -> Option<Modification> {
    let mut reasons = Vec::new();
    for finding in verdict.findings.iter().filter(|finding| finding.outcome == Outcome::Tag) {
        let reason = format!("reason={}", finding.reason);
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    if reasons.is_empty() {
        return None;
    }
    let value = HeaderValue::list(std::iter::once("tag").chain(reasons.iter().map(String::as_str)));
    Some(Modification::PrependHeader { name: HeaderName::XGreylag, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Recipient;
    use crate::filter::Interest;
    use crate::milter::options::{Offer, Transport, Wishes};
    use crate::reason::Reason;
    use crate::verdict::Finding;
    use std::num::NonZeroU32;

    const STAGES: [Stage; 6] =
        [Stage::Connect, Stage::Helo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfMessage];

    fn verdict(findings: impl IntoIterator<Item = (Reason, Outcome)>) -> Verdict {
        let finding = |(reason, outcome)| Finding { reason, outcome, detail: String::new() };
        Verdict {
            findings: findings.into_iter().map(finding).collect(),
            would: Vec::new(),
            edits: Vec::new(),
        }
    }

    fn reply() -> Reply {
        Reply::new(Code::C550, (7, 1), "No.")
    }

    fn facts(version: &str) -> Facts {
        let mut facts = Facts { recipient: Some(Recipient::parse("<bob@x.test>")), ..Facts::default() };
        facts.connection.mta.version = Some(version.to_owned());
        facts
    }

    fn negotiated(actions: u32, protocol: u32) -> Options {
        let wishes = Wishes { interest: Interest::ALL, transport: Transport::Tcp };
        Options::negotiate(Offer { version: 6, actions, protocol }, &wishes).unwrap()
    }

    fn options(actions: u32) -> Options {
        negotiated(actions, 0x1f_ffff)
    }

    fn prepend(items: &[&str]) -> Modification {
        let value = HeaderValue::list(items.iter().copied()).spaced();
        Modification::PrependHeader { name: HeaderName::XGreylag, value }
    }

    #[test]
    fn a_refusal_takes_effect_from_mail_on() {
        let refused = verdict([(Reason::HeloBanned, Outcome::Reject(reply()))]);
        let plain = Response::Refuse(Refusal::new(&reply()));
        let quoted = Response::Refuse(Refusal::of_recipient("bob@x.test", &reply()));
        let expected = [Response::Continue, Response::Continue, plain.clone(), quoted, plain.clone(), plain];
        for (stage, expected) in STAGES.into_iter().zip(expected) {
            let found = response(stage, &refused, &facts("Postfix 3.7.11"), &options(0x1ff));
            assert_eq!(found, expected, "{stage:?}");
        }
    }

    #[test]
    fn sendmail_quotes_the_recipient_of_a_permanent_refusal_itself() {
        let later = Reply::new(Code::C451, (7, 1), "Later.");
        let rejected = verdict([(Reason::HeloBanned, Outcome::Reject(reply()))]);
        let deferred = verdict([(Reason::GreylistFirstSeen, Outcome::Defer(later.clone()))]);
        for version in ["8.18.1", ""] {
            let found = |verdict| response(Stage::Rcpt, verdict, &facts(version), &options(0x1ff));
            assert_eq!(found(&rejected), Response::Refuse(Refusal::new(&reply())));
            assert_eq!(found(&deferred), Response::Refuse(Refusal::of_recipient("bob@x.test", &later)));
        }
    }

    #[test]
    fn what_is_not_refused_goes_on_until_the_end_of_the_message() {
        for outcome in [Outcome::Accept, Outcome::Tag, Outcome::Quarantine] {
            let verdict = verdict([(Reason::HeloNoAddress, outcome)]);
            for stage in STAGES.into_iter().filter(|stage| *stage != Stage::EndOfMessage) {
                assert_eq!(response(stage, &verdict, &facts(""), &options(0x1ff)), Response::Continue);
            }
        }
    }

    #[test]
    fn tags_and_quarantine_change_the_message() {
        let quarantine = Modification::Quarantine(QuarantineReason::new("attachment.encrypted_entry"));
        for (findings, expected) in [
            (vec![], vec![]),
            (vec![(Reason::GreylistKnown, Outcome::Accept)], vec![]),
            (
                vec![
                    (Reason::HeloNoAddress, Outcome::Tag),
                    (Reason::HeloMismatched, Outcome::Tag),
                    (Reason::HeloNoAddress, Outcome::Tag),
                    (Reason::GreylistKnown, Outcome::Accept),
                ],
                vec![prepend(&["tag", "reason=helo.no_address", "reason=helo.mismatched"])],
            ),
            (
                vec![
                    (Reason::AttachmentEncryptedEntry, Outcome::Quarantine),
                    (Reason::HeloNoAddress, Outcome::Tag),
                ],
                vec![quarantine, prepend(&["tag", "reason=helo.no_address"])],
            ),
        ] {
            let found = response(Stage::EndOfMessage, &verdict(findings), &facts(""), &options(0x1ff));
            assert_eq!(found, Response::Deliver(expected));
        }
    }

    #[test]
    fn the_header_is_edited_where_the_message_goes_on() {
        let (name, occurrence) = (HeaderName::AuthenticationResults, NonZeroU32::MIN);
        let edits = vec![
            HeaderEdit::Remove { name, occurrence },
            HeaderEdit::Insert { name, value: "mx.test;\n\tspf=pass".into() },
        ];
        let edited = Verdict { edits, ..Verdict::default() };
        let removed = Modification::DeleteHeader { name, occurrence };
        let inserted = |value: &str| Modification::PrependHeader { name, value: HeaderValue::new(value) };
        let at_end = |verdict, options| response(Stage::EndOfMessage, verdict, &facts(""), &options);

        let expected = vec![removed.clone(), inserted(" mx.test;\n\tspf=pass")];
        assert_eq!(at_end(&edited, options(0x1ff)), Response::Deliver(expected));
        let unspaced = negotiated(0x1ff, 0x0f_ffff);
        let expected = vec![removed, inserted("mx.test;\n\tspf=pass")];
        assert_eq!(at_end(&edited, unspaced), Response::Deliver(expected));
        assert_eq!(at_end(&edited, options(0x020)), Response::Deliver(Vec::new()));

        let mut refused = verdict([(Reason::HeloBanned, Outcome::Reject(reply()))]);
        refused.edits.clone_from(&edited.edits);
        assert!(matches!(at_end(&refused, options(0x1ff)), Response::Refuse(_)));
    }

    #[test]
    fn nothing_is_done_that_was_not_agreed() {
        let tagged = verdict([(Reason::HeloNoAddress, Outcome::Tag)]);
        let found = response(Stage::EndOfMessage, &tagged, &facts(""), &options(0x020));
        assert_eq!(found, Response::Deliver(Vec::new()));

        let held = verdict([(Reason::AttachmentEncryptedEntry, Outcome::Quarantine)]);
        let found = response(Stage::EndOfMessage, &held, &facts(""), &options(0x001));
        let text = "Message cannot be put on hold, try again later";
        assert_eq!(found, Response::Refuse(Refusal::new(&Reply::new(Code::C451, (3, 5), text))));
    }
}
