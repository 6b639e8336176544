//! A resolver whose answers are written down: for tests and transcripts.

use std::collections::HashMap;
use std::time::Duration;

use super::{Answer, DnsFault, Lookup, Record, RecordType, Resolver, Timed};
use crate::facts::host_name;

/// A zone in memory. Names that are not in it do not exist.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: HashMap<String, Entries>,
}

#[derive(Clone, Debug, Default)]
struct Entries {
    records: Vec<Record>,
    failing: Vec<RecordType>,
}

impl Zone {
    /// Reads one record a line: `name A 192.0.2.1`, `name AAAA 2001:db8::1`, `name MX mail.test` (`MX .` is the null one),
    /// `name PTR mail.test`, `name TXT the rest of the line`; `name -` exists without records, `name !` fails for every type,
    /// `name A !` for one. Lines that say nothing of this are left out.
    pub fn parse(text: &str) -> Self {
        let mut zone = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(name) = words.first().and_then(|word| host_name(word)) else { continue };
            let entries = zone.names.entry(name).or_default();
            match words[1..] {
                ["!"] => entries.failing = RecordType::ALL.to_vec(),
                [name, "!"] => {
                    let failing = RecordType::ALL.into_iter().find(|record_type| record_type.name() == name);
                    entries.failing.extend(failing);
                }
                ["A", address] => entries.records.extend(address.parse().ok().map(Record::A)),
                ["AAAA", address] => entries.records.extend(address.parse().ok().map(Record::Aaaa)),
                ["MX", "."] => entries.records.push(Record::Mx(String::new())),
                ["MX", host] => entries.records.extend(host_name(host).map(Record::Mx)),
                ["PTR", host] => entries.records.extend(host_name(host).map(Record::Ptr)),
                ["TXT", ..] => {
                    let text = line.split_once(" TXT ").map_or("", |(_, text)| text.trim());
                    entries.records.push(Record::Txt(text.as_bytes().to_vec()));
                }
                _ => {}
            }
        }
        zone
    }

    fn answer(&self, name: &str, record_type: RecordType) -> Result<Answer, DnsFault> {
        let Some(entries) = self.names.get(name) else { return Ok(Answer::NoSuchName) };
        if entries.failing.contains(&record_type) {
            return Err(DnsFault::Failed("server failure".into()));
        }
        let wanted = |record: &&Record| match record_type {
            RecordType::A => matches!(record, Record::A(_)),
            RecordType::Aaaa => matches!(record, Record::Aaaa(_)),
            RecordType::Mx => matches!(record, Record::Mx(_)),
            RecordType::Txt => matches!(record, Record::Txt(_)),
            RecordType::Ptr => matches!(record, Record::Ptr(_)),
        };
        let records: Vec<Record> = entries.records.iter().filter(wanted).cloned().collect();
        Ok(if records.is_empty() { Answer::NoRecords } else { Answer::Records(records.into()) })
    }
}

impl Resolver for Zone {
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
        let answer =
            self.answer(name, record_type).map(|answer| Timed { answer, ttl: Duration::from_secs(300) });
        Box::pin(std::future::ready(answer))
    }
}
