//! What a message says: rules of the administrator about header, text, links and attachment names, and links that are none.

use std::time::Duration;

use crate::content::{Inspection, Location, Match};
use crate::facts::Facts;
use crate::filter::{Fault, Known, Needs, Slot};
use crate::policy::{ByteSize, Mode, Rules, Settings};
use crate::reason::Reason;
use crate::verdict::{Action, Code, Finding, Outcome, Reply};

crate::settings! {
    /// Settings of the content check: rules about what a message says.
    ///
    /// Rules see texts as a reader does: encodings, charsets and HTML undone, invisible characters gone, and every run of white
    /// space one space; what a page hides is read with it and without it. Letters of other alphabets that look alike are other letters.
    /// Links are seen as written and as what they lead to, without a user name before the host. Header fields are those of the message
    /// itself; texts, links and attachment names are also those of messages attached to it. What archives have in them is the business of
    /// attachments.toml.
    pub struct ContentSettings {
        /// Whether the check decides ("enforce"), only counts and logs what it would have done ("monitor"), or
        /// is not run ("off").
        mode: Mode = Mode::Enforce,
        /// A link cannot be right: `http//…`, no host, or no possible one. A text that only speaks of links has none: `"http://"`,
        /// `https://${HOST}/`.
        malformed_link: Action = Action::Tag,
        /// The content could not be read within `time_limit`.
        scan_timeout: Action = Action::Defer,
        /// The content could not be read by a fault of ours.
        scan_fault: Action = Action::Defer,
        /// The same content could not be read for the second time, by a fault of ours: another try would not help.
        on_scan_fault: Action = Action::Quarantine,
        /// Decoded text of a message that is read; what comes after it is not.
        max_text: ByteSize = ByteSize::mib(1),
        /// How long reading a message may take.
        time_limit: Duration = Duration::from_secs(5),
        /// Rules: each looks in some places for words, texts or regular expressions. There is none unless you write one.
        rule: Rules = Rules::default(),
    }
}

/// Rules that are told of in one verdict, the hardest first.
const MAX_FINDINGS: usize = 16;

/// Asks for the content to be read, where anything could come of it.
pub fn needs(facts: &Facts, settings: &Settings, known: &Known) -> Needs {
    let content = &settings.content;
    let is_due = content.is_of_use() && facts.message.is_some() && known.inspection(content).is_not_asked();
    Needs { inspection: is_due.then(|| content.clone()), ..Needs::default() }
}

/// What the rules say: one finding for each that matches, the hardest first, then malformed links.
pub fn judge(facts: &Facts, settings: &Settings, known: &Known) -> Vec<Finding> {
    let content = &settings.content;
    if !content.is_of_use() || facts.message.is_none() {
        return Vec::new();
    }
    match known.inspection(content) {
        Slot::NotAsked => Vec::new(),
        Slot::Got(inspection, _) => findings(inspection, content),
        Slot::Unknown(fault, _) => {
            let (reason, action) = match fault {
                Fault::Timeout => (Reason::ContentScanTimeout, content.scan_timeout),
                Fault::Failed(_) => (Reason::ContentScanFault, content.scan_fault),
                Fault::FailedAgain(_) => (Reason::ContentScanFault, content.on_scan_fault),
            };
            vec![Finding { reason, outcome: Outcome::of(action, reply(reason)), detail: fault.to_string() }]
        }
    }
}

/// The findings an inspection leads to under `settings`.
pub fn findings(inspection: &Inspection, settings: &ContentSettings) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        inspection.matches.iter().filter_map(|found| settings.finding(found)).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.outcome.action()));
    findings.truncate(MAX_FINDINGS);
    if let Some(malformed) = &inspection.malformed_link {
        let reason = Reason::ContentMalformedLink;
        let detail = format!("link {:?}: {}", malformed.link, malformed.fault);
        findings.push(Finding {
            reason,
            outcome: Outcome::of(settings.malformed_link, reply(reason)),
            detail,
        });
    }
    findings
}

impl ContentSettings {
    /// Whether anything could come of reading a message.
    fn is_of_use(&self) -> bool {
        self.mode != Mode::Off && (self.malformed_link != Action::Accept || !self.rule.is_empty())
    }

    fn finding(&self, found: &Match) -> Option<Finding> {
        let rule = self.rule.get(found.rule)?;
        let (reason, place) = match found.place {
            Location::Header => (Reason::ContentHeaderRule, format!("header {}", found.field)),
            Location::Body => (Reason::ContentBodyRule, "body".to_owned()),
            Location::Link => (Reason::ContentLinkRule, "link".to_owned()),
            Location::AttachmentName => (Reason::ContentAttachmentNameRule, "attachment name".to_owned()),
        };
        let detail = format!("rule {:?}: {:?} in {place}", rule.name, found.excerpt);
        Some(Finding { reason, outcome: Outcome::of(rule.action, reply(reason)), detail })
    }
}

/// What the sender is told. Which rule it was is for the log alone.
fn reply(reason: Reason) -> Reply {
    let (code, enhanced, text) = match reason {
        Reason::ContentHeaderRule => (Code::C554, (7, 0), "AV: Message is rejected by headers rule filter"),
        Reason::ContentScanTimeout | Reason::ContentScanFault => {
            // A deferral makes 451 of it.
            (Code::C554, (3, 0), "Content could not be checked, try again later")
        }
        _ => (Code::C554, (7, 1), "Spam Message Rejected"),
    };
    Reply::new(code, enhanced, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{self, Cancel};
    use crate::facts::{Message, Recipient, Stage};
    use crate::filter::{Step, judge as filter};
    use crate::policy::Policy;
    use crate::verdict::Verdict;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn policy(content: &str, scopes: &str) -> Policy {
        let off = |file: &str| (file.to_owned(), "mode = \"off\"".to_owned());
        let mut files: BTreeMap<String, String> =
            ["auth.toml", "recipients.toml", "attachments.toml", "greylist.toml", "helo.toml"]
                .map(off)
                .into();
        files.insert("content.toml".into(), content.to_owned());
        files.insert("scopes.toml".into(), scopes.to_owned());
        Policy::load(&files).map(|(policy, _)| policy).unwrap()
    }

    fn verdict(policy: &Policy, recipients: &[&str], mail: &str) -> Verdict {
        let facts = Facts {
            accepted: recipients.iter().map(|recipient| Recipient::parse(recipient)).collect(),
            message: Some(Message::from_bytes(mail.as_bytes())),
            ..Facts::default()
        };
        let mut known = Known::default();
        loop {
            let needs = match filter(Stage::EndOfMessage, &facts, policy, &known) {
                Step::Done(verdict) => return verdict,
                Step::Ask(needs) => needs,
            };
            let settings = needs.inspection.unwrap();
            let message = facts.message.as_ref().unwrap();
            let inspection = content::inspect(message, &settings, &Cancel::default());
            known.inspections.push((settings, Slot::Got(Arc::new(inspection), Duration::ZERO)));
        }
    }

    const RULES: &str = "
        [[rule]]
        name = \"lottery\"
        in = [\"body\"]
        words = [\"lottery\"]
        action = \"reject\"
        [[rule]]
        name = \"urgent\"
        in = [\"header:Subject\"]
        regex = ['^urgent']
        action = \"reject\"
        scope = \"pupils\"
        ";

    #[test]
    fn replies_are_those_of_the_documentation() {
        let policy = policy(&RULES.replace("scope = \"pupils\"", ""), "");
        for (mail, reply) in [
            ("Subject: urgent\n\nx\n", Some("554 5.7.0 AV: Message is rejected by headers rule filter")),
            ("Subject: x\n\nthe lottery\n", Some("554 5.7.1 Spam Message Rejected")),
            ("Subject: x\n\nx\n", None),
        ] {
            let verdict = verdict(&policy, &["a@x.test"], mail);
            assert_eq!(verdict.reply().map(ToString::to_string).as_deref(), reply, "{mail}");
        }
        let verdict = verdict(&policy, &["a@x.test"], "Subject: x\n\nthe LOTTERY\n");
        assert_eq!(verdict.findings[0].detail, "rule \"lottery\": \"lottery\" in body");
    }

    #[test]
    fn a_rule_of_a_scope_holds_where_the_scope_does() {
        let scopes = "[[scope]]\nname = \"pupils\"\nrecipient = [\"@school.test\"]\n";
        let policy = policy(RULES, scopes);
        let mail = "Subject: Urgent\n\nx\n";
        let action = |recipients: &[&str]| verdict(&policy, recipients, mail).action();
        assert_eq!(action(&["a@x.test"]), Action::Accept);
        assert_eq!(action(&["a@school.test"]), Action::Reject);
        assert_eq!(action(&["a@x.test", "a@school.test"]), Action::Reject);
    }

    #[test]
    fn a_malformed_link_is_only_tagged() {
        let policy = policy("", "");
        let verdict = verdict(&policy, &["a@x.test"], "Subject: x\n\nsee http//evil.test/\n");
        assert_eq!((verdict.action(), verdict.findings.len()), (Action::Tag, 1));
        assert_eq!(verdict.findings[0].reason, Reason::ContentMalformedLink);
    }

    #[test]
    fn nothing_is_read_where_nothing_could_come_of_it() {
        let facts = Facts { message: Some(Message::default()), ..Facts::default() };
        for (content, asks) in [
            ("malformed_link = \"accept\"", false),
            ("mode = \"off\"", false),
            ("", true),
            (&format!("malformed_link = \"accept\"\n{}", RULES.replace("scope = \"pupils\"", "")), true),
        ] {
            let settings = policy(content, "").settings(&facts);
            let asked = needs(&facts, &settings, &Known::default());
            assert_eq!(asked.inspection.is_some(), asks, "{content}");
        }
    }

    #[test]
    fn what_could_not_be_read_is_deferred_or_refused_as_set() {
        let facts = Facts { message: Some(Message::default()), ..Facts::default() };
        for (fault, reason) in [
            (Fault::Timeout, Reason::ContentScanTimeout),
            (Fault::Failed("x".into()), Reason::ContentScanFault),
        ] {
            for (action, reply) in [
                (Action::Defer, "451 4.3.0 Content could not be checked, try again later"),
                (Action::Reject, "554 5.3.0 Content could not be checked, try again later"),
            ] {
                let content = ContentSettings {
                    scan_timeout: action,
                    scan_fault: action,
                    ..ContentSettings::default()
                };
                let settings = Settings { content: Arc::new(content), ..Settings::default() };
                let slot = Slot::Unknown(fault.clone(), Duration::ZERO);
                let inspections = vec![(settings.content.clone(), slot)];
                let found = judge(&facts, &settings, &Known { inspections, ..Known::default() });
                assert_eq!(found[0].reason, reason);
                assert_eq!(found[0].outcome.reply().map(ToString::to_string).as_deref(), Some(reply));
            }
        }
    }
}
