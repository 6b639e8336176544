//! What content rules see in a message, whatever encoding, charset, markup or disguise it comes in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bodies;
mod disguises;
mod headers;
mod links;
mod ordinary;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use greylag::checks::content::findings;
use greylag::content::{Cancel, inspect};
use greylag::facts::Message;
use greylag::policy::Policy;
use greylag::verdict::{Finding, Verdict};

/// One rule for each place.
const RULES: &str = r#"
[[rule]]
name = "subject"
in = ["header:Subject"]
words = ["lottery", "цена"]
regex = ['^re: your order \d+$']
action = "reject"

[[rule]]
name = "from"
in = ["header:From", "header:Reply-To"]
contains = ["paybank"]
action = "tag"

[[rule]]
name = "body"
in = ["body"]
words = ["free gift", "привет мир", "你好"]
contains = ["viagra"]
regex = ['you have won \$\d+']
unless = ["acme newsletter"]
action = "reject"

[[rule]]
name = "link"
in = ["links"]
words = ["evil.test", "bücher.test"]
action = "reject"

[[rule]]
name = "name"
in = ["attachment_names"]
regex = ['^invoice.*\.pdf$']
action = "quarantine"
"#;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let files = BTreeMap::from([("content.toml".to_owned(), RULES.to_owned())]);
    Policy::load(&files).map(|(policy, _)| policy).unwrap()
});

/// What content rules find in a message.
fn found(policy: &Policy, mail: &[u8]) -> Vec<Finding> {
    let settings = &policy.base().content;
    let inspection = inspect(&Message::from_bytes(mail), settings, &Cancel::default());
    findings(&inspection, settings)
}

/// What the rules above make of each mail: the names of the rules that match, and `malformed` for a malformed link.
fn check(cases: &[(&str, &[u8], &[&str])]) {
    for (title, mail, expected) in cases {
        let findings = found(&POLICY, mail);
        let mut names: Vec<&str> =
            findings.iter().map(|finding| finding.detail.split('"').nth(1).unwrap()).collect();
        let malformed = findings.iter().position(|finding| finding.reason.code() == "content.malformed_link");
        if let Some(index) = malformed {
            names[index] = "malformed";
        }
        assert_eq!(names, *expected, "{title}: {findings:#?}");
        for (finding, name) in findings.iter().zip(&names) {
            let reply = finding.outcome.reply().map(ToString::to_string);
            let expected = match *name {
                "subject" => ("reject", Some("554 5.7.0 AV: Message is rejected by headers rule filter")),
                "body" | "link" => ("reject", Some("554 5.7.1 Spam Message Rejected")),
                "name" => ("quarantine", None),
                _ => ("tag", None),
            };
            let verdict = (finding.outcome.action().name(), reply.as_deref());
            assert_eq!(verdict, expected, "{title}");
        }
    }
}

#[test]
fn the_hardest_of_several_rules_decides() {
    let mail = b"Subject: lottery\nFrom: paybank\n\na free gift at http://evil.test/\n";
    let mut verdict = Verdict::default();
    verdict.add(found(&POLICY, mail));
    assert_eq!(
        verdict.reply().unwrap().to_string(),
        "554 5.7.0 AV: Message is rejected by headers rule filter"
    );
    assert_eq!(verdict.findings.len(), 4);
}

#[test]
fn text_behind_the_limit_is_not_read_and_reading_ends_when_cancelled() {
    let files = format!("max_text = \"1KiB\"\n{RULES}");
    let files = BTreeMap::from([("content.toml".to_owned(), files)]);
    let policy = Policy::load(&files).map(|(policy, _)| policy).unwrap();
    let mail = |before: usize| format!("Subject: x\n\n{}\nfree gift\n", "word ".repeat(before)).into_bytes();
    assert_eq!(found(&policy, &mail(100)).len(), 1);
    assert_eq!(found(&policy, &mail(300)).len(), 0);

    let cancel = Cancel::default();
    cancel.cancel();
    let inspection = inspect(&Message::from_bytes(&mail(100)), &POLICY.base().content, &cancel);
    assert_eq!(inspection.matches, []);
}
