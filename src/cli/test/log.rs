//! Decision lines of Greylag's own log, read back: logfmt as `telemetry` writes it, or JSON, whatever stands before them on the line.

use std::collections::HashMap;

use serde_json::Value;

/// A decision that was logged. Keys that are absent from the line, or `-` there, are missing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision(HashMap<String, Vec<String>>);

impl Decision {
    /// The decision on this line; none where it tells of something else.
    pub(super) fn parse(line: &str) -> Option<Self> {
        if let Some(at) = line.find("decision protocol=") {
            return Some(Self(logfmt(&line[at + "decision ".len()..])));
        }
        let object: HashMap<String, Value> = serde_json::from_str(line.get(line.find('{')?..)?).ok()?;
        let is_decision = ["protocol", "stage", "action"].iter().all(|key| object.contains_key(*key));
        is_decision.then(|| {
            Self(object.into_iter().filter_map(|(key, value)| Some((key, texts(&value)?))).collect())
        })
    }

    /// The value of `key`; of a list, its first item.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.list(key).first().map(String::as_str)
    }

    /// The items of `key`.
    pub(super) fn list(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => {
            Some(items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
        }
        other => Some(vec![other.to_string()]),
    }
}

fn logfmt(line: &str) -> HashMap<String, Vec<String>> {
    let mut fields = HashMap::new();
    let mut rest = line.trim();
    while let Some((key, from)) = rest.split_once('=') {
        let (value, after) = if let Some(quoted) = from.strip_prefix('"') {
            let end = closing_quote(quoted);
            (quoted.get(..end).unwrap_or(quoted), quoted.get(end + 1..).unwrap_or_default())
        } else {
            from.split_once(' ').unwrap_or((from, ""))
        };
        let is_absent = value == "-" && !from.starts_with('"');
        if !is_absent {
            // A comma within an item is escaped, so that this is right for lists; `Decision::get` of a text joins it again.
            let items = if is_list(key.trim()) { value.split(',').collect() } else { vec![value] };
            fields.insert(key.trim().to_owned(), items.into_iter().map(unescaped).collect());
        }
        rest = after.trim_start();
    }
    fields
}

fn is_list(key: &str) -> bool {
    matches!(key, "recipients" | "helo_dns" | "identities")
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

    #[test]
    fn both_forms_of_a_line_are_read_alike() {
        let text = "2026-11-23T13:51:28.234747Z INFO decision protocol=milter stage=rcpt queue_id=- client=198.51.100.10 \
            client_name=- helo=\"a \\\"b\\\"\" sender=<> recipients=\"a@b.test,c\\u002cd@e.test\" action=reject \
            reason=helo.invalid_syntax reply=\"550 5.7.1 no\" helo_dns=192.0.2.1,192.0.2.2 identities=- login=\"-\" tls=- \
            micros=73 mode=enforce detail=\"HELO \\\"x=y\\\"\"";
        let json = r#"{"time":"x","message":"decision","protocol":"milter","stage":"rcpt","queue_id":null,"client":"198.51.100.10",
            "client_name":null,"helo":"a \"b\"","sender":"<>","recipients":["a@b.test","c,d@e.test"],"action":"reject",
            "reason":"helo.invalid_syntax","reply":"550 5.7.1 no","helo_dns":["192.0.2.1","192.0.2.2"],"identities":null,
            "login":"-","tls":null,"micros":73,"mode":"enforce","detail":"HELO \"x=y\""}"#;
        for line in [text, json, &format!("Nov 23 mx greylag[7]: {text}")] {
            let found = Decision::parse(line).unwrap();
            for (key, value) in [
                ("client", Some("198.51.100.10")),
                ("client_name", None),
                ("helo", Some("a \"b\"")),
                ("sender", Some("<>")),
                ("reply", Some("550 5.7.1 no")),
                ("login", Some("-")),
                ("micros", Some("73")),
                ("detail", Some("HELO \"x=y\"")),
            ] {
                assert_eq!(found.get(key), value, "{key} of {line}");
            }
            assert_eq!(found.list("recipients"), ["a@b.test", "c,d@e.test"]);
            assert_eq!(found.list("helo_dns"), ["192.0.2.1", "192.0.2.2"]);
        }
    }

    #[test]
    fn other_lines_and_damaged_ones_do_no_harm() {
        for line in ["", "INFO started", "{", "{\"protocol\":1}", "{}", "é decision protocol"] {
            assert_eq!(Decision::parse(line), None, "{line}");
        }
        for line in [
            "decision protocol=\"",
            "decision protocol=milter stage=\"rc\\",
            "decision protocol=milter =====",
        ] {
            assert!(Decision::parse(line).is_some(), "{line}");
        }
    }
}
