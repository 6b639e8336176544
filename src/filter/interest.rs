//! What of a mail a policy can make use of, and where it can refuse one: known before there is a mail. A protocol that can say so
//! need not be told the rest, and need not be waited for where nothing is said.

use super::group;
use crate::facts::Facts;
use crate::policy::{Mode, Policy, Reach, Settings};
use crate::reason::Check;

/// Checks that judge a recipient when it is named.
const OF_RECIPIENT: [Check; 5] =
    [Check::Address, Check::Recipients, Check::Helo, Check::Auth, Check::Greylist];

/// Checks that ask the world as soon as the sender is known. The greylist knows a client by what SPF says.
const OF_SENDER: [Check; 3] = [Check::Helo, Check::Auth, Check::Greylist];

/// Checks that read the header, or write into it and so have to find what pretends to be theirs. The greylist does neither.
const OF_HEADER: [Check; 6] =
    [Check::Address, Check::Helo, Check::Recipients, Check::Auth, Check::Content, Check::Attachments];

/// Checks that read the body: for signatures, words and files.
const OF_BODY: [Check; 3] = [Check::Auth, Check::Content, Check::Attachments];

/// What can come of each stage under a policy, whoever sends to whom. CONNECT and HELO are missing: what is found there is held
/// until a recipient is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interest {
    /// The world is asked when the sender is named, so that the answer is there with the first recipient. Nothing is said yet.
    pub looks_up_sender: bool,
    /// A recipient may be refused.
    pub refuses_recipients: bool,
    /// DATA may be refused: of recipients with different caps, one may have too many.
    pub refuses_data: bool,
    /// The header is read.
    pub header: bool,
    /// For whom the body is read.
    pub body: Reach,
}

impl Interest {
    /// Everything, as a policy with every check has it.
    pub const ALL: Self = Self {
        looks_up_sender: true,
        refuses_recipients: true,
        refuses_data: true,
        header: true,
        body: Reach::All,
    };

    /// What comes of each stage under `policy`.
    pub fn of(policy: &Policy) -> Self {
        let reach =
            |checks: &[Check]| checks.iter().map(|check| policy.reach(*check)).max().unwrap_or(Reach::Nobody);
        let any = |checks: &[Check]| reach(checks) != Reach::Nobody;
        Self {
            looks_up_sender: any(&OF_SENDER),
            refuses_recipients: any(&OF_RECIPIENT),
            refuses_data: any(&[Check::Recipients]),
            header: any(&OF_HEADER),
            body: reach(&OF_BODY),
        }
    }
}

/// Whether the body of this mail is read, for any of its accepted recipients.
pub fn reads_body(facts: &Facts, policy: &Policy) -> bool {
    group::of_accepted(facts, policy).iter().any(|settings| body_mode(settings) != Mode::Off)
}

/// The hardest mode of the checks that read the body.
pub(super) fn body_mode(settings: &Settings) -> Mode {
    OF_BODY.iter().map(|check| settings.mode(*check)).min().unwrap_or(Mode::Off)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Recipient, ReversePath, Stage};
    use crate::filter::{self, Known, Step};
    use std::collections::BTreeMap;

    /// A policy with these checks alone.
    fn only(checks: &[Check], scopes: &str) -> Policy {
        let file = |check: Check| {
            let mode = if checks.contains(&check) { "enforce" } else { "off" };
            (format!("{}.toml", check.name()), format!("mode = {mode:?}"))
        };
        let mut files: BTreeMap<_, _> = Check::ALL.map(file).into();
        files.insert("scopes.toml".into(), scopes.to_owned());
        Policy::load(&files).map(|(policy, _)| policy).unwrap()
    }

    #[test]
    fn the_shipped_policy_wants_everything() {
        assert_eq!(Interest::of(&Policy::default()), Interest::ALL);
    }

    #[test]
    fn each_check_wants_what_it_works_on() {
        let nothing = Interest {
            looks_up_sender: false,
            refuses_recipients: false,
            refuses_data: false,
            header: false,
            body: Reach::Nobody,
        };
        let recipient = Interest { refuses_recipients: true, header: true, ..nothing };
        let sender = Interest { looks_up_sender: true, ..recipient };
        let content = Interest { header: true, body: Reach::All, ..nothing };
        for (check, expected) in [
            (Check::Address, recipient),
            (Check::Helo, sender),
            (Check::Recipients, Interest { refuses_data: true, ..recipient }),
            (Check::Auth, Interest { body: Reach::All, ..sender }),
            (Check::Greylist, Interest { header: false, ..sender }),
            (Check::Content, content),
            (Check::Attachments, content),
        ] {
            assert_eq!(Interest::of(&only(&[check], "")), expected, "{}", check.name());
        }
        assert_eq!(Interest::of(&only(&[], "")), nothing);
    }

    #[test]
    fn no_question_comes_where_no_interest_is_told() {
        let facts = Facts {
            helo: Some("127.0.0.1".into()),
            sender: Some(ReversePath::parse("<a@b.test>")),
            recipient: Some(Recipient::parse("<-bad-@x.test>")),
            accepted: (0..500).map(|number| Recipient::parse(&format!("<{number}@x.test>"))).collect(),
            content_follows: true,
            ..Facts::default()
        };
        let says = |stage, policy: &Policy| match filter::judge(stage, &facts, policy, &Known::default()) {
            Step::Ask(_) => true,
            Step::Done(verdict) => !verdict.findings.is_empty(),
        };
        for check in Check::ALL {
            let policy = only(&[check], "");
            let interest = Interest::of(&policy);
            let early = filter::early(Stage::Mail, &facts, &policy, &Known::default());
            for (what, comes, told) in [
                ("CONNECT", says(Stage::Connect, &policy), false),
                ("HELO", says(Stage::Helo, &policy), false),
                ("MAIL", says(Stage::Mail, &policy), false),
                ("the sender", !early.is_empty(), interest.looks_up_sender),
                ("RCPT", says(Stage::Rcpt, &policy), interest.refuses_recipients),
                ("DATA", says(Stage::Data, &policy), interest.refuses_data),
            ] {
                assert!(told || !comes, "{} says something of {what}", check.name());
            }
        }
    }

    #[test]
    fn a_scope_alone_may_want_the_body_and_of_some_mail_only() {
        let scope = "[[scope]]\nname = \"scanned\"\nrecipient = [\"@scanned.test\"]\n\
                     set.attachments.mode = \"enforce\"\n";
        let policy = only(&[Check::Greylist], scope);
        assert_eq!(Interest::of(&policy).body, Reach::Scopes);
        for (recipients, expected) in [
            (&["a@x.test"][..], false),
            (&["a@scanned.test"], true),
            (&["a@x.test", "b@scanned.test"], true),
            (&[], false),
        ] {
            let accepted = recipients.iter().map(|recipient| Recipient::parse(recipient)).collect();
            let facts = Facts { accepted, ..Facts::default() };
            assert_eq!(reads_body(&facts, &policy), expected, "{recipients:?}");
        }
    }
}
