//! What happens to a mail: the stages in order, and the checks each of them runs.
//!
//! | stage | what is judged |
//! |---|---|
//! | connect, helo, mail | nothing yet: what is found is held until a recipient is named, so that the log knows for whom the mail was |
//! | rcpt | address → recipients → helo → greylist, which is asked only when nothing refuses before it, because asking it writes |
//! | | then, where all of them accept: whether it can come in one message with the recipients before it |
//! | data | recipients |
//! | end of message | recipients (To, Cc, Bcc) → auth → content → attachments |
//! | | of a message too large to be kept: recipients where its header was kept, and whether what was not kept had to be read |
//!
//! The filter is pure. Where a check wants to know something of the world, the answer is [`Step::Ask`]; the driver
//! ([`crate::driver`]) fills the slots of [`Known`] and asks again. Every slot that was asked comes back, as an answer or as
//! unknown, so this ends.

mod fold;
mod group;
mod interest;
mod known;
mod tags;

pub use interest::{Interest, reads_body};
pub use known::{Fault, Known, Lookups, Needs, Slot};
pub use tags::clean_header;

use crate::checks::{self, address, attachments, auth, greylist, helo, recipients};
use crate::facts::{Facts, Kept, Message, Stage};
use crate::policy::{Policy, Settings};
use crate::reason::Reason;
use crate::verdict::{Action, Code, Finding, Outcome, Reply, Verdict};
use fold::Fold;

/// What the filter says: a question to the world, or the verdict.
#[derive(Debug)]
pub enum Step {
    /// Fetch this, put it into [`Known`], and ask again.
    Ask(Needs),
    /// What happens at this stage.
    Done(Verdict),
}

/// Judges what is known of a mail at `stage`.
pub fn judge(stage: Stage, facts: &Facts, policy: &Policy, known: &Known) -> Step {
    match stage {
        Stage::Connect | Stage::Helo | Stage::Mail => Step::Done(Verdict::default()),
        Stage::Rcpt => recipient(facts, policy, known),
        Stage::Data => data(facts, policy),
        Stage::EndOfMessage => content(facts, policy, known),
    }
}

/// What can be asked before anything has to be judged, so that the answer is there when it is needed.
pub fn early(stage: Stage, facts: &Facts, policy: &Policy, known: &Known) -> Lookups {
    match stage {
        Stage::Helo | Stage::Mail => lookups(stage, facts, &policy.settings(facts), known),
        Stage::Connect | Stage::Rcpt | Stage::Data | Stage::EndOfMessage => Lookups::default(),
    }
}

/// What is asked about the envelope, as far as it is known at `stage`.
fn lookups(stage: Stage, facts: &Facts, settings: &Settings, known: &Known) -> Lookups {
    if !known.helo.is_not_asked() && !known.spf.is_not_asked() {
        return Lookups::default();
    }
    let greylist = match stage {
        Stage::Helo => Lookups::default(),
        _ => greylist::early(facts, settings, known),
    };
    Lookups {
        helo: greylist.helo || helo::needs(facts, settings, known),
        spf: greylist.spf
            || auth::needs_spf(facts, settings, known)
            || helo::needs_spf(facts, settings, known),
    }
}

/// What is still to be said of a recipient with this verdict of the policy service, which sees no content and so splits nothing.
pub fn judge_adopted(verdict: &Verdict, facts: &Facts, policy: &Policy, known: &Known) -> Verdict {
    let mut fold = Fold::default();
    if !verdict.action().refuses() {
        let (mode, findings) = group::split(facts, policy, known);
        fold.add(mode, findings);
    }
    fold.verdict()
}

fn recipient(facts: &Facts, policy: &Policy, known: &Known) -> Step {
    let settings = known.settings(facts, policy);
    let lookups = lookups(Stage::Rcpt, facts, settings, known);
    if !lookups.is_empty() {
        return Step::Ask(lookups.into());
    }
    let before = known.before_greylist.take().unwrap_or_else(|| before_greylist(facts, settings, known));
    let is_for_greylist = before.action() < Action::Defer;
    if is_for_greylist && let Some(attempt) = greylist::needs(facts, settings, known) {
        known.before_greylist.replace(Some(before));
        return Step::Ask(Needs { greylist: Some(attempt), ..Needs::default() });
    }
    let mut fold = Fold::from(before);
    if is_for_greylist {
        fold.add(settings.greylist.mode, greylist::judge(facts, settings, known));
    }
    if !fold.action().refuses() {
        // Last, so that the greylist remembers the recipient when it comes in a message of its own.
        let (mode, findings) = group::split(facts, policy, known);
        fold.add(mode, findings);
    }
    if !fold.action().refuses() {
        group::excess(facts, policy, known).into_iter().for_each(|(mode, finding)| fold.add(mode, [finding]));
    }
    Step::Done(fold.verdict())
}

fn before_greylist(facts: &Facts, settings: &Settings, known: &Known) -> Verdict {
    let mut fold = Fold::default();
    fold.add(settings.address.mode, address::judge(facts, settings));
    fold.add(settings.recipients.mode, recipients::judge(Stage::Rcpt, facts, settings));
    fold.add(settings.helo.mode, helo::judge(facts, settings, known));
    fold.add(settings.auth.mode, auth::judge(Stage::Rcpt, facts, settings, known));
    fold.verdict()
}

fn data(facts: &Facts, policy: &Policy) -> Step {
    let mut fold = Fold::default();
    for settings in group::of_accepted(facts, policy) {
        fold.add(settings.recipients.mode, recipients::judge(Stage::Data, facts, &settings));
    }
    Step::Done(fold.verdict())
}

fn content(facts: &Facts, policy: &Policy, known: &Known) -> Step {
    let mut fold = Fold::default();
    let mut edits = Vec::new();
    let kept = facts.message.as_ref().map_or(Kept::Whole, Message::kept);
    if kept == Kept::Nothing {
        // Whom it was for is not known either.
        fold.add(policy.hardest_mode(), [too_large()]);
        return Step::Done(fold.verdict());
    }
    for settings in group::of_accepted(facts, policy) {
        if kept == Kept::Header {
            fold.add(settings.recipients.mode, recipients::judge(Stage::EndOfMessage, facts, &settings));
            fold.add(interest::body_mode(&settings), [too_large()]);
            continue;
        }
        let mut needs = auth::needs(Stage::EndOfMessage, facts, &settings, known);
        needs.merge(checks::content::needs(facts, &settings, known));
        needs.merge(attachments::needs(facts, &settings, known));
        if !needs.is_empty() {
            return Step::Ask(needs);
        }
        fold.add(settings.recipients.mode, recipients::judge(Stage::EndOfMessage, facts, &settings));
        fold.add(settings.auth.mode, auth::judge(Stage::EndOfMessage, facts, &settings, known));
        fold.add(settings.content.mode, checks::content::judge(facts, &settings, known));
        fold.add(settings.attachments.mode, attachments::judge(facts, &settings, known));
        if edits.is_empty() {
            edits = auth::edits(facts, &settings, known);
        }
    }
    Step::Done(Verdict { edits, ..fold.verdict() })
}

/// Of a message that took too much memory to be kept: nobody looked into it, and there may be room for it later.
fn too_large() -> Finding {
    let text = "Message too large to be checked now, try again later";
    Finding {
        reason: Reason::ContentTooLarge,
        outcome: Outcome::Defer(Reply::new(Code::C451, (3, 4), text)),
        detail: String::new(),
    }
}
