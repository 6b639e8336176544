//! Decision lines of the log, read back: logfmt or JSON as the log has them, whatever stands before them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::MAX_ITEMS;

/// Stands before the fields of a line in logfmt.
const WORD: &str = "decision ";
/// Keys whose values are lists.
const LISTS: [&str; 3] = ["recipients", "helo_dns", "identities"];
/// Keys that every decision line has.
const KEYS: [&str; 4] = ["protocol", "stage", "client", "action"];

/// A decision that was logged. What is absent from the line, or `-` or `null` there, is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedDecision(BTreeMap<String, Vec<String>>);

impl LoggedDecision {
    /// The decision on this line; none where it tells of something else.
    pub fn parse(line: &str) -> Option<Self> {
        // JSON first: a mail may write `decision protocol=` into a name, but no quotes that end one.
        line.find('{').and_then(|at| json(line.get(at..)?)).or_else(|| {
            let at = line.find("decision protocol=")?;
            Some(Self(logfmt(line.get(at + WORD.len()..)?)))
        })
    }

    /// The value of `key`; of a list, its first item.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.list(key).first().map(String::as_str)
    }

    /// The items of `key`.
    pub fn list(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// The items of `key`, without the number that stands for those that the log left out.
    pub fn shown(&self, key: &str) -> &[String] {
        match self.list(key) {
            [shown @ .., more] if shown.len() == MAX_ITEMS && is_number_of_more(more) => shown,
            all => all,
        }
    }
}

/// Whether it is what the log writes behind a list that it cut; `+23@x.test` is an address.
fn is_number_of_more(item: &str) -> bool {
    item.strip_prefix('+').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn json(text: &str) -> Option<LoggedDecision> {
    let object: BTreeMap<String, Value> = serde_json::from_str(text).ok()?;
    if !KEYS.iter().all(|key| object.contains_key(*key)) {
        return None;
    }
    Some(LoggedDecision(object.into_iter().filter_map(|(key, value)| Some((key, texts(value)?))).collect()))
}

fn texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => {
            Some(items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
        }
        other => Some(vec![other.to_string()]),
    }
}

fn logfmt(fields: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut rest = fields.trim();
    while let Some((key, from)) = rest.split_once('=') {
        let (value, after, is_absent) = match from.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted);
                (quoted.get(..end).unwrap_or_default(), quoted.get(end + 1..).unwrap_or_default(), false)
            }
            None => {
                let (value, after) = from.split_once(' ').unwrap_or((from, ""));
                (value, after, value == "-")
            }
        };
        if !is_absent {
            // A comma within an item is escaped.
            let items = if LISTS.contains(&key) { value.split(',').collect() } else { vec![value] };
            found.insert(key.to_owned(), items.into_iter().map(unescaped).collect());
        }
        rest = after.trim_start();
    }
    found
}

fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return at,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The escapes are those of JSON.
fn unescaped(text: &str) -> String {
    serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Protocol;
    use crate::facts::{Client, Facts, Recipient, ReversePath, Stage};
    use crate::filter::Slot;
    use crate::reason::Reason;
    use crate::store::Timestamp;
    use crate::telemetry::Decision;
    use crate::verdict::{Code, Finding, Outcome, Reply, Verdict};
    use std::time::Duration;

    fn decision<'a>(stage: Stage, facts: &'a Facts, verdict: &'a Verdict) -> Decision<'a> {
        Decision {
            transaction: 1,
            at: Timestamp::EPOCH,
            took: Duration::from_micros(73),
            protocol: Protocol::Milter,
            stage,
            facts,
            verdict,
            helo_dns: &Slot::NotAsked,
            spf: &Slot::NotAsked,
            identities: &[],
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let evil = "a \"b\" decision protocol=x action=accept {\"protocol\":1}\r\n\u{202e}\\";
        let mut facts = Facts {
            helo: Some(evil.to_owned()),
            sender: Some(ReversePath::Null),
            login: Some("-".to_owned()),
            accepted: vec![Recipient::parse("a@b.test"), Recipient::parse("c,d@e.test")],
            ..Facts::default()
        };
        facts.connection.client = Client::parse("198.51.100.10");
        let finding = Finding {
            reason: Reason::HeloInvalidSyntax,
            outcome: Outcome::Reject(Reply::new(Code::C550, (7, 1), "no")),
            detail: format!("HELO {evil:?}"),
        };
        let verdict = Verdict { findings: vec![finding.clone()], ..Verdict::default() };
        let lines = decision(Stage::Rcpt, &facts, &verdict).lines();
        let [text, json] = &lines[0];
        for line in [
            format!("Nov 23 mx greylag[7]: 2026-11-23T12:00:00Z  INFO {text}"),
            format!("Nov 23 mx greylag[7]: {json}"),
        ] {
            let found = LoggedDecision::parse(&line).unwrap();
            for (key, value) in [
                ("client", Some("198.51.100.10")),
                ("client_name", None),
                ("helo", Some(evil)),
                ("sender", Some("<>")),
                ("action", Some("reject")),
                ("reply", Some("550 5.7.1 no")),
                ("login", Some("-")),
                ("micros", Some("73")),
                ("detail", Some(finding.detail.as_str())),
            ] {
                assert_eq!(found.get(key), value, "{key} of {line}");
            }
            assert_eq!(found.list("recipients"), ["a@b.test", "c,d@e.test"], "{line}");
        }
    }

    #[test]
    fn the_number_of_recipients_that_are_not_shown_is_no_recipient() {
        let (mut facts, verdict) = (Facts::default(), Verdict::default());
        for (count, last) in [(1, "+0@x.test"), (100, "+99@x.test"), (123, "+99@x.test")] {
            facts.accepted = (0..count).map(|n| Recipient::parse(&format!("+{n}@x.test"))).collect();
            for line in decision(Stage::EndOfMessage, &facts, &verdict).lines().swap_remove(0) {
                let found = LoggedDecision::parse(&line).unwrap();
                let shown = found.shown("recipients");
                let last_shown = shown.last().map(String::as_str);
                assert_eq!((shown.len(), last_shown), (count.min(MAX_ITEMS), Some(last)), "{line}");
            }
        }
        // A recipient need not have a domain.
        let found = LoggedDecision::parse("decision protocol=milter recipients=a@x.test,+23").unwrap();
        assert_eq!(found.shown("recipients"), ["a@x.test", "+23"]);
    }

    #[test]
    fn other_lines_and_damaged_ones_do_no_harm() {
        for line in ["", "INFO started", "{", "{\"protocol\":1}", "{}", "\u{e9} decision protocol"] {
            assert_eq!(LoggedDecision::parse(line), None, "{line}");
        }
        for line in
            ["decision protocol=\"", "decision protocol=milter stage=\"rc\\", "decision protocol=x ====="]
        {
            assert!(LoggedDecision::parse(line).is_some(), "{line}");
        }
    }
}
