//! Transcripts: mails, and what is to be decided of them. Read from `tests/*.toml` of a policy directory.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields::{ClientAddress, Expected, Recipients, Text};
use crate::policy::{CheckSettings, KeyDoc, Problem, Reading, line_of, quoted};
use crate::verdict::Action;

crate::settings! {
    /// One mail, and what is expected of it. What a following mail (`[[case.then]]`) leaves out is as in the mail before.
    pub(crate) struct Mail {
        /// How long after the mail before it comes.
        after: Option<Duration> = None,
        /// The client's address.
        client: Option<ClientAddress> = None,
        /// The client's verified host name (FCrDNS).
        client_name: Option<Text> = None,
        /// The HELO or EHLO name; a client without one sends none.
        helo: Option<Text> = None,
        /// The sender; `<>` is the null reverse-path.
        from: Option<Text> = None,
        /// The recipients.
        to: Option<Recipients> = None,
        /// The login name of an authenticated client.
        login: Option<Text> = None,
        /// The TLS version of an encrypted session.
        tls: Option<Text> = None,
        /// The message, header and body. Without one the envelope alone is judged.
        message: Option<Text> = None,
        /// A file beside the transcript that holds the message.
        message_file: Option<Text> = None,
        /// What happens: to the message, where one is sent and a recipient accepted; else the worst of what happens to the recipients.
        expect: Option<Action> = None,
        /// The reason of that.
        reason: Option<Expected> = None,
        /// What the sender is told.
        reply: Option<Text> = None,
        /// The reason a check in monitor mode would have had.
        would: Option<Expected> = None,
        /// How many recipients are accepted.
        accepted: Option<std::num::NonZeroU32> = None,
    }
}

/// One case: mails that come one after the other, to a greylist that begins empty.
#[derive(Debug)]
pub(super) struct Case {
    /// The transcript's path in the policy directory.
    pub(super) file: String,
    /// The line its name stands on.
    pub(super) line: usize,
    /// What it shows.
    pub(super) name: String,
    /// Records of the DNS, as [`crate::dns::Zone::parse`] reads them.
    pub(super) dns: String,
    /// Texts laid over files of the policy directory.
    pub(super) policy: BTreeMap<String, String>,
    /// The mails; each whole, whatever it took from the one before.
    pub(super) mails: Vec<Step>,
}

/// One mail of a case.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) mail: Mail,
    /// The content of `message` or `message_file`.
    pub(super) message: Option<Vec<u8>>,
}

/// Reads all transcripts among `files`, and the messages they name from `directory`. Every problem goes to `problems`.
pub(super) fn read(
    files: &BTreeMap<String, String>,
    directory: Option<&Path>,
    problems: &mut Vec<Problem>,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| file.starts_with("tests/")) {
        let mut reading = Reading { file, files, problems };
        reading.document(text, |table, reading| transcript(text, table, directory, &mut cases, reading));
    }
    cases
}

fn transcript(
    text: &str,
    table: &DeTable<'_>,
    directory: Option<&Path>,
    cases: &mut Vec<Case>,
    reading: &mut Reading<'_>,
) {
    let (mut dns, mut policy, mut tables) = (String::new(), BTreeMap::new(), Vec::new());
    for (key, value) in table.iter() {
        match key.get_ref().as_ref() {
            // What the transcript is about, for people.
            "about" => {}
            "dns" => dns = records(text, value, reading),
            "policy" => policy = overlay(value, reading),
            "case" if value.get_ref().is_array() => {
                tables.extend(value.get_ref().as_array().into_iter().flat_map(|array| array.iter()));
            }
            "case" => reading
                .error(key.span(), "`case` is a list of tables", "expected [[case]]")
                .help("write [[case]] with two brackets, once for each case"),
            typed => {
                let title = format!("unknown key `{typed}` in a transcript");
                let known = ["about", "dns", "policy", "case"];
                let all =
                    || Some(format!("keys are {}; those of a mail stand below [[case]]", known.join(", ")));
                reading.error(key.span(), title, "no such key").did_you_mean(typed, known, all);
            }
        }
    }
    if tables.is_empty() && !reading.problems.iter().any(|problem| problem.file == reading.file) {
        reading
            .warning(0..0, "this transcript has no case", "tests nothing")
            .help("a case begins with [[case]] and has a name, client, from, to and expect");
    }
    tables.sort_by_key(|table| table.span().start);
    for table in tables {
        let Some(fields) = table.get_ref().as_table() else {
            reading.error(table.span(), "a case is a table", "expected [[case]]");
            continue;
        };
        let found = case(fields, table.span(), directory, reading);
        cases.extend(found.map(|(name, mails, start)| Case {
            file: reading.file.to_owned(),
            line: line_of(text, start),
            name,
            dns: dns.clone(),
            policy: policy.clone(),
            mails,
        }));
    }
}

type Read = (String, Vec<Step>, usize);

fn case(
    table: &DeTable<'_>,
    span: Range<usize>,
    directory: Option<&Path>,
    reading: &mut Reading<'_>,
) -> Option<Read> {
    let before = reading.problems.len();
    let name = match table.get("name") {
        Some(name) => (name.get_ref().as_str().filter(|text| !text.trim().is_empty()), name.span()),
        None => (None, span.clone()),
    };
    let (Some(title), at) = name else {
        reading.error(name.1, "this case has no name", "expected a `name` that says what it shows");
        return None;
    };
    let first = step(table, span.clone(), &Mail::default(), &["name", "then"], directory, reading);
    let mut steps = vec![first];
    if let Some(then) = table.get("then") {
        match then.get_ref().as_array() {
            Some(tables) => {
                let mut tables: Vec<_> = tables.iter().collect();
                tables.sort_by_key(|table| table.span().start);
                for later in tables {
                    let Some(fields) = later.get_ref().as_table() else {
                        reading.error(later.span(), "a later mail is a table", "expected [[case.then]]");
                        continue;
                    };
                    let last = steps.last().map(|step| step.mail.clone()).unwrap_or_default();
                    steps.push(step(fields, later.span(), &last, &[], directory, reading));
                }
            }
            None => reading
                .error(then.span(), "`then` is a list of tables", "expected [[case.then]]")
                .help("write [[case.then]] with two brackets, once for each later mail"),
        }
    }
    let is_good = !reading.problems[before..].iter().any(Problem::is_error);
    is_good.then(|| (title.to_owned(), steps, at.start))
}

fn step(
    table: &DeTable<'_>,
    span: Range<usize>,
    last: &Mail,
    others: &[&'static str],
    directory: Option<&Path>,
    reading: &mut Reading<'_>,
) -> Step {
    let mut mail = Mail {
        after: None,
        expect: None,
        reason: None,
        reply: None,
        would: None,
        accepted: None,
        ..last.clone()
    };
    for (key, value) in table.iter() {
        let typed = key.get_ref().as_ref();
        // One message takes the place of the other.
        match typed {
            "message" => mail.message_file = None,
            "message_file" => mail.message = None,
            _ => {}
        }
        if !others.contains(&typed) && !mail.set(typed, value, reading) {
            let known: Vec<&str> =
                others.iter().copied().chain(Mail::KEYS.iter().map(|key| key.key)).collect();
            let all = || Some(format!("keys are {}", known.join(", ")));
            let title = format!("unknown key `{typed}` in a case");
            reading.error(key.span(), title, "no such key").did_you_mean(typed, known.iter().copied(), all);
        }
    }
    if let (Some(_), Some(file)) = (table.get("message"), table.get("message_file")) {
        reading.error(file.span(), "a mail has one message", "`message` gives one already");
    }
    for (key, is_given) in [
        ("client", mail.client.is_some() || table.contains_key("client")),
        ("from", mail.from.is_some() || table.contains_key("from")),
        ("to", mail.to.is_some() || table.contains_key("to")),
        ("expect", table.contains_key("expect")),
    ] {
        if !is_given {
            let doc = Mail::KEYS
                .iter()
                .find(|known| known.key == key)
                .map_or("", |KeyDoc { expected, .. }| expected);
            reading
                .error(span.clone(), format!("this mail has no `{key}`"), "cannot be judged")
                .help(format!("expected {doc}"));
        }
    }
    let message = message(&mail, table, directory, reading);
    Step { mail, message }
}

fn message(
    mail: &Mail,
    table: &DeTable<'_>,
    directory: Option<&Path>,
    reading: &mut Reading<'_>,
) -> Option<Vec<u8>> {
    if let Some(Text(text)) = &mail.message {
        return Some(text.clone().into_bytes());
    }
    let Text(file) = mail.message_file.as_ref()?;
    let path = directory.unwrap_or_else(|| Path::new("policies")).join("tests").join(file);
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let span = table.get("message_file").map_or(0..0, Spanned::span);
            reading
                .error(span, format!("{} cannot be read: {error}", path.display()), "no such message")
                .help("the path begins in the directory of the transcript");
            None
        }
    }
}

/// Texts for policy files by their names.
fn overlay(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> BTreeMap<String, String> {
    let Some(table) = value.get_ref().as_table() else {
        let expected = "expected policy files and their texts, such as \"helo.toml\" = 'mode = \"off\"'";
        reading.error(value.span(), "this is no policy", expected);
        return BTreeMap::new();
    };
    let mut files = BTreeMap::new();
    for (file, text) in table.iter() {
        let name = file.get_ref().as_ref();
        match text.get_ref().as_str() {
            Some(text) => {
                files.insert(name.to_owned(), text.to_owned());
            }
            None => {
                let help = format!("write the file's name in quotes: \"{name}.toml\" = …");
                let problem = reading.error(text.span(), "this is no text of a policy file", "expected text");
                if text.get_ref().is_table() {
                    problem.help(help);
                }
            }
        }
    }
    files
}

/// Records of the DNS; lines that are none are told, as they would be missed in silence.
fn records(text: &str, value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> String {
    let Some(records) = value.get_ref().as_str() else {
        reading.error(value.span(), "these are no records", "expected text, one record a line");
        return String::new();
    };
    let written = text.get(value.span()).unwrap_or_default();
    for line in records.lines().filter(|line| !is_record(line)) {
        let line = line.trim();
        // Where the text has no escapes, the line stands in the file as it is.
        let span = match written.find(line) {
            Some(at) => value.span().start + at..value.span().start + at + line.len(),
            None => value.span(),
        };
        let expected = "expected NAME, then A, AAAA, MX, PTR or TXT and its value, or - or !";
        reading
            .error(span, format!("{} is no record", quoted(line)), expected)
            .help("such as: mail.example.org A 192.0.2.1");
    }
    records.to_owned()
}

fn is_record(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_type = |word: &str| matches!(word, "A" | "AAAA" | "MX" | "PTR" | "TXT");
    match words[..] {
        [] => true,
        [first, ..] if first.starts_with('#') => true,
        [_, "-" | "!"] => true,
        [_, of_type, "!"] => is_type(of_type),
        [_, "A", address] => address.parse::<Ipv4Addr>().is_ok(),
        [_, "AAAA", address] => address.parse::<Ipv6Addr>().is_ok(),
        [_, "MX" | "PTR", _] | [_, "TXT", _, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (usize, Vec<(String, Range<usize>)>) {
        let files = BTreeMap::from([("tests/x.toml".to_owned(), text.to_owned())]);
        let mut problems = Vec::new();
        let cases = read(&files, None, &mut problems);
        (cases.len(), problems.into_iter().map(|problem| (problem.title, problem.span)).collect())
    }

    const CASE: &str = "[[case]]\nname = \"x\"\nclient = \"192.0.2.1\"\nfrom = \"a@b.test\"\nto = \"c@d.test\"\nexpect = \"accept\"\n";

    #[test]
    fn a_later_mail_is_as_the_one_before_but_for_what_it_says() {
        let text = format!("{CASE}helo = \"h.test\"\n[[case.then]]\nafter = \"2m\"\nexpect = \"defer\"\n");
        let files = BTreeMap::from([("tests/x.toml".to_owned(), text)]);
        let cases = read(&files, None, &mut Vec::new());
        let (first, second) = (&cases[0].mails[0].mail, &cases[0].mails[1].mail);
        assert_eq!((&second.helo, &second.to), (&first.helo, &first.to));
        assert_eq!((second.after, second.expect), (Some(Duration::from_secs(120)), Some(Action::Defer)));
        assert_eq!((cases[0].line, cases[0].name.as_str()), (2, "x"));
    }

    #[test]
    fn mistakes_are_told_where_they_stand() {
        let changed = |from: &str, to: &str| CASE.replace(from, to);
        for (text, title, shown) in [
            (changed("expect", "expct"), "unknown key `expct` in a case", "expct"),
            (changed("client = \"192.0.2.1\"\n", ""), "this mail has no `client`", "[[case]]"),
            (changed("accept", "reject"), "", ""),
            (changed("\"accept\"", "\"refuse\""), "\"refuse\" is not allowed here", "\"refuse\""),
            (changed("name = \"x\"\n", ""), "this case has no name", "[[case]]"),
            (
                format!("{CASE}reason = \"helo.lokalhost\""),
                "\"helo.lokalhost\" is not allowed here",
                "\"helo.lokalhost\"",
            ),
            (
                format!("dns = '''\na.test A 192.0.2.1\nb.test B x\n'''\n{CASE}"),
                "\"b.test B x\" is no record",
                "b.test B x",
            ),
            (changed("[[case]]", "[case]"), "`case` is a list of tables", "case"),
            (changed("[[case]]", "[[cases]]"), "unknown key `cases` in a transcript", "cases"),
            (
                format!("{CASE}message_file = \"none.eml\""),
                "policies/tests/none.eml cannot be read: No such file or directory (os error 2)",
                "\"none.eml\"",
            ),
        ] {
            let (_, problems) = told(&text);
            let expected = match title {
                "" => vec![],
                title => vec![(title.to_owned(), shown)],
            };
            let found: Vec<(String, &str)> =
                problems.iter().map(|(title, span)| (title.clone(), &text[span.clone()])).collect();
            let mut firsts = found.clone();
            firsts.truncate(1);
            assert_eq!(firsts, expected, "{text}");
        }
    }
}
