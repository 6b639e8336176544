//! Recipients with different settings in one message: it is judged once, at its end, for all of them.

use std::sync::Arc;

use super::Known;
use crate::checks::recipients;
use crate::facts::Facts;
use crate::policy::{Mode, Policy, Settings};
use crate::verdict::Finding;

/// Recipients sent away to a message of their own in one session, at most. Postfix counts refusals as errors of the client and hangs
/// up after 20 without a delivery between them.
const MAX_SPLITS: u32 = 10;

/// The settings by which the content is judged: those of the accepted recipients that differ in it, in the order of the recipients. A
/// message whose recipients are not known (the policy protocol at DATA) has those of its sender alone. The hardest verdict counts.
pub(super) fn of_accepted(facts: &Facts, policy: &Policy) -> Vec<Arc<Settings>> {
    if facts.accepted.is_empty() {
        return vec![policy.settings(facts)];
    }
    let mut groups: Vec<Arc<Settings>> = Vec::new();
    for recipient in &facts.accepted {
        let settings = policy.settings_for(facts, Some(recipient));
        if !groups.iter().any(|known| same_content(known, &settings)) {
            groups.push(settings);
        }
    }
    groups
}

/// Whether the recipient, accepted otherwise, shall come in a message of its own, because content for it is judged by other settings
/// than for the first one. The first recipient's settings say so, and in which mode.
pub(super) fn split(facts: &Facts, policy: &Policy, known: &Known) -> (Mode, Option<Finding>) {
    let splits = facts.content_follows && known.splits < MAX_SPLITS;
    let Some(first) = facts.accepted.first().filter(|_| splits) else { return (Mode::Off, None) };
    let first = policy.settings_for(facts, Some(first));
    let finding = match same_content(&first, known.settings(facts, policy)) {
        true => None,
        false => recipients::judge_other_content(&first),
    };
    (first.recipients.mode, finding)
}

/// Whether the recipient, accepted otherwise, is one too many for those accepted before it, whose smallest cap holds for the message;
/// its own cap was judged already.
pub(super) fn excess(facts: &Facts, policy: &Policy, known: &Known) -> Vec<(Mode, Finding)> {
    if facts.accepted.len() < policy.smallest_cap() {
        return Vec::new();
    }
    let own = known.settings(facts, policy);
    let others = of_accepted(facts, policy);
    let others = others.iter().filter(|settings| !Arc::ptr_eq(&settings.recipients, &own.recipients));
    let found = |settings: &Arc<Settings>| {
        Some((settings.recipients.mode, recipients::judge_cap_of_another(facts, settings)?))
    };
    others.filter_map(found).collect()
}

/// Whether content is judged alike: by equal settings of every check that runs at the end of the message. Equal settings of a check
/// are one `Arc`.
fn same_content(one: &Settings, other: &Settings) -> bool {
    // Named one by one, so that a new check has to be put on its side.
    let Settings { recipients, auth, content, attachments, address: _, helo: _, greylist: _ } = one;
    Arc::ptr_eq(recipients, &other.recipients)
        && Arc::ptr_eq(auth, &other.auth)
        && Arc::ptr_eq(content, &other.content)
        && Arc::ptr_eq(attachments, &other.attachments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Recipient, Stage};
    use crate::filter::{Step, judge};
    use crate::verdict::{Action, Verdict};
    use std::collections::BTreeMap;

    /// Greylisting is off for one domain, attachments are for another, and a third has both as they are.
    fn policy(recipients: &str) -> Policy {
        let scope = |domain: &str, sets: &str| {
            format!("[[scope]]\nname = {domain:?}\nrecipient = [\"@{domain}\"]\nset.{sets}\n")
        };
        let scopes = scope("quick.test", "greylist.mode = \"off\"")
            + &scope("open.test", "attachments.mode = \"off\"");
        let off = "mode = \"off\"".to_owned();
        let files = [
            ("helo.toml", off.clone()),
            ("greylist.toml", off),
            ("recipients.toml", recipients.to_owned()),
            ("scopes.toml", scopes),
        ];
        let files: BTreeMap<_, _> = files.map(|(file, text)| (file.to_owned(), text)).into();
        Policy::load(&files).map(|(policy, _)| policy).unwrap()
    }

    fn facts(accepted: &[&str], recipient: &str) -> Facts {
        Facts {
            accepted: accepted.iter().map(|recipient| Recipient::parse(recipient)).collect(),
            recipient: Some(Recipient::parse(recipient)),
            content_follows: true,
            ..Facts::default()
        }
    }

    fn verdict(facts: &Facts, policy: &Policy, known: &Known) -> Verdict {
        match judge(Stage::Rcpt, facts, policy, known) {
            Step::Done(verdict) => verdict,
            Step::Ask(needs) => panic!("{needs:?}"),
        }
    }

    #[test]
    fn a_recipient_with_other_content_settings_than_the_first_is_sent_away() {
        let policy = policy("");
        for (accepted, recipient, splits) in [
            (&[][..], "a@open.test", false),
            (&["a@x.test"], "b@x.test", false),
            (&["a@x.test"], "b@quick.test", false),
            (&["a@x.test"], "b@open.test", true),
            (&["a@open.test"], "b@x.test", true),
            (&["a@open.test"], "b@open.test", false),
            (&["a@x.test", "b@open.test"], "c@x.test", false),
            (&["a@x.test", "b@open.test"], "c@open.test", true),
            // SPF refuses nothing to postmaster.
            (&["a@x.test"], "postmaster@x.test", true),
            (&["abuse@x.test"], "postmaster@x.test", false),
        ] {
            let verdict = verdict(&facts(accepted, recipient), &policy, &Known::default());
            let text = "452 4.5.3 This recipient has other rules for content than the first: \
                        send it in a message of its own";
            let expected = splits.then(|| text.to_owned());
            assert_eq!(verdict.reply().map(ToString::to_string), expected, "{accepted:?} {recipient}");
        }
    }

    #[test]
    fn nobody_is_sent_away_where_it_would_not_help() {
        let mixed = facts(&["a@x.test"], "b@open.test");
        let after = |splits| Known { splits, ..Known::default() };
        assert_eq!(verdict(&mixed, &policy(""), &after(9)).action(), Action::Defer);
        assert_eq!(verdict(&mixed, &policy(""), &after(10)), Verdict::default());
        for recipients in ["mixed_recipients = \"strictest\"", "mode = \"off\""] {
            assert_eq!(verdict(&mixed, &policy(recipients), &after(0)), Verdict::default(), "{recipients}");
        }
        let monitored = verdict(&mixed, &policy("mode = \"monitor\""), &after(0));
        assert_eq!((monitored.action(), monitored.would.len()), (Action::Accept, 1));
        let envelope_only = Facts { content_follows: false, ..mixed };
        assert_eq!(verdict(&envelope_only, &policy(""), &after(0)), Verdict::default());
    }

    #[test]
    fn what_is_refused_or_tagged_before_counts_first() {
        let policy = policy("max_recipients = 1");
        let excess = verdict(&facts(&["a@x.test"], "b@open.test"), &policy, &Known::default());
        assert_eq!(excess.findings.len(), 1, "{excess:?}");
        assert_eq!(excess.findings[0].reason, crate::reason::Reason::RecipientsTooMany);
    }

    #[test]
    fn the_smallest_cap_of_all_recipients_holds_in_whatever_order_they_come() {
        let text = "452 4.5.3 Too many recipients: at most 2 in one message, send the others in another one";
        let policy = |mode: &str| {
            let scope = "[[scope]]\nname = \"s\"\nrecipient = [\"@small.test\"]\n\
                         set.recipients.max_recipients = 2\n"
                .to_owned();
            let off = "mode = \"off\"".to_owned();
            let files = [
                ("recipients.toml", "max_recipients = 3\nmixed_recipients = \"strictest\"".to_owned()),
                ("scopes.toml", scope + mode),
                ("helo.toml", off.clone()),
                ("greylist.toml", off),
            ];
            let files: BTreeMap<_, _> = files.map(|(file, text)| (file.to_owned(), text)).into();
            Policy::load(&files).map(|(policy, _)| policy).unwrap()
        };
        for content_follows in [false, true] {
            let offered = |accepted: &[&str], recipient: &str, policy: &Policy| {
                let facts = Facts { content_follows, ..facts(accepted, recipient) };
                verdict(&facts, policy, &Known::default())
            };
            for (accepted, recipient, is_refused) in [
                (&["x@small.test"][..], "a@x.test", false),
                (&["x@small.test", "a@x.test"], "b@x.test", true),
                (&["a@x.test", "x@small.test"], "b@x.test", true),
                (&["a@x.test", "b@x.test"], "x@small.test", true),
                (&["a@x.test", "x@small.test"], "y@small.test", true),
                (&["a@x.test", "b@x.test"], "c@x.test", false),
            ] {
                let found = offered(accepted, recipient, &policy(""));
                let expected = is_refused.then(|| text.to_owned());
                assert_eq!(found.reply().map(ToString::to_string), expected, "{accepted:?} {recipient}");
                assert_eq!(found.findings.len(), usize::from(is_refused), "{accepted:?} {recipient}");
            }
            let watched = policy("set.recipients.mode = \"monitor\"\n");
            let found = offered(&["x@small.test", "a@x.test"], "b@x.test", &watched);
            assert_eq!((found.action(), found.would.len()), (Action::Accept, 1));
        }
    }

    #[test]
    fn content_is_judged_once_for_recipients_that_do_not_differ_in_it() {
        let policy = policy("");
        let recipients = ["a@x.test", "b@quick.test", "c@open.test", "d@open.test", "e@x.test"];
        let groups = of_accepted(&facts(&recipients, "f@x.test"), &policy);
        let modes: Vec<Mode> = groups.iter().map(|settings| settings.attachments.mode).collect();
        assert_eq!(modes, [Mode::Enforce, Mode::Off]);
        assert_eq!(of_accepted(&Facts::default(), &policy).len(), 1);
    }
}
