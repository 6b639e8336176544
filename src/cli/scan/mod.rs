//! `greylag scan FILE…`: what the attachment check makes of messages and files, and what is inside them.

mod mbox;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::policies::load_or_report;
use super::{Exit, printable};
use crate::checks::AttachmentSettings;
use crate::checks::attachments::findings;
use crate::cli::progress::Progress;
use crate::content::{self, Cancel, Node, Report};
use crate::facts::Message;
use crate::policy::Mode;
use crate::verdict::{Action, Finding, Verdict};

/// Show what is inside messages and files, and whether the attachment check would refuse them, by its mode in the policy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greylag scan message.eml
  greylag scan --policies /etc/greylag/policies --json invoice.zip
  greylag scan /var/mail/alice                     # every message of a mailbox

Exit code 1 when something would be refused or held.")]
pub(super) struct Args {
    /// Messages (.eml), mailboxes (mbox), or files to be judged as if they were attached to a message.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The directory of the policy files; the built-in policies without it.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Write JSON, one object a line for each file or message of a mailbox.
    #[arg(long)]
    json: bool,
}

/// Scans each file by the policy, writes what is in it to `out`, and files that cannot be read to `errors`. The exit is the worst of
/// all files. Fails only when `out` or `errors` cannot be written.
pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Exit> {
    let Some(policy) = load_or_report(args.policies.as_deref(), errors)? else { return Ok(Exit::Config) };
    let progress = Progress::new("scanning");
    let settings = &policy.base().attachments;
    let mut run = Run { settings, json: args.json, progress, out, forbidden: false };
    let mut unreadable = false;
    for file in &args.files {
        if let Err(error) = run.file(file)? {
            run.progress.hide();
            writeln!(errors, "greylag scan: cannot read {}: {error}", file.display())?;
            unreadable = true;
        }
    }
    Ok(match (unreadable, run.forbidden) {
        (true, _) => Exit::NoInput,
        (false, true) => Exit::Findings,
        (false, false) => Exit::Success,
    })
}

struct Run<'a> {
    settings: &'a AttachmentSettings,
    json: bool,
    progress: Progress,
    out: &'a mut dyn Write,
    forbidden: bool,
}

impl Run<'_> {
    /// Scans a file. The inner result is that of reading it, the outer that of writing.
    fn file(&mut self, file: &Path) -> io::Result<io::Result<()>> {
        let shown = file.display().to_string();
        self.progress.now(&shown);
        let mut content = match File::open(file) {
            Ok(content) => BufReader::new(content),
            Err(error) => return Ok(Err(error)),
        };
        let is_mailbox = match content.fill_buf() {
            Ok(beginning) => mbox::is_mailbox(beginning),
            Err(error) => return Ok(Err(error)),
        };
        if is_mailbox {
            return self.mailbox(&shown, content);
        }
        let mut data = Vec::new();
        if let Err(error) = content.read_to_end(&mut data) {
            return Ok(Err(error));
        }
        let cancel = Cancel::default();
        let is_message = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("eml"));
        let report = if is_message {
            content::scan(&Message::from_bytes(&data), self.settings, &cancel)
        } else {
            let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            content::scan_file(&name, &data, self.settings, &cancel)
        };
        self.show(&shown, None, &report).map(Ok)
    }

    /// Scans the messages of a mailbox, one after the other.
    fn mailbox(&mut self, file: &str, content: impl BufRead) -> io::Result<io::Result<()>> {
        let messages = match mbox::Messages::of(content) {
            Ok(messages) => messages,
            Err(error) => return Ok(Err(error)),
        };
        for (message, number) in messages.zip(1..) {
            let text = match message {
                Ok(text) => text,
                Err(error) => return Ok(Err(error)),
            };
            self.progress.now(&format!("{file}, message {number}"));
            let report = content::scan(&Message::from_bytes(&text), self.settings, &Cancel::default());
            self.show(file, Some(number), &report)?;
        }
        Ok(Ok(()))
    }

    /// Writes what was found in a file, or in the message with this number in it.
    fn show(&mut self, file: &str, message: Option<u64>, report: &Report) -> io::Result<()> {
        let verdict = verdict(report, self.settings);
        self.forbidden |= verdict.action() >= Action::Quarantine;
        self.progress.hide();
        if self.json {
            return writeln!(self.out, "{}", as_json(file, message, report, &verdict));
        }
        let title = message.map_or_else(|| file.to_owned(), |number| format!("{file}, message {number}"));
        write_text(self.out, &title, report, &verdict)
    }
}

/// What the check decides by its mode, as the daemon would.
fn verdict(report: &Report, settings: &AttachmentSettings) -> Verdict {
    let mut verdict = Verdict::default();
    match settings.mode {
        Mode::Enforce => verdict.add(findings(report, settings)),
        Mode::Monitor => verdict.would = findings(report, settings),
        Mode::Off => {}
    }
    verdict
}

fn write_text(out: &mut dyn Write, title: &str, report: &Report, verdict: &Verdict) -> io::Result<()> {
    writeln!(out, "{title}: {}", verdict.action().name())?;
    for node in &report.tree {
        write_node(out, node)?;
    }
    for Finding { reason, outcome, detail } in &verdict.findings {
        writeln!(out, "  {reason} -> {}: {}", outcome.action().name(), printable(detail))?;
    }
    for Finding { reason, outcome, detail } in &verdict.would {
        writeln!(out, "  {reason} -> {} (monitored only): {}", outcome.action().name(), printable(detail))?;
    }
    match verdict.reply() {
        Some(reply) => writeln!(out, "  reply: {reply}"),
        None => Ok(()),
    }
}

fn write_node(out: &mut dyn Write, node: &Node) -> io::Result<()> {
    let indent = 2 + 2 * node.depth as usize;
    let name = if node.name.is_empty() { "(unnamed)".to_owned() } else { printable(&node.name) };
    write!(out, "{:indent$}{name} ({}, {} bytes)", "", node.kind.name(), node.size)?;
    for reason in &node.reasons {
        write!(out, " {reason}")?;
    }
    writeln!(out)
}

fn as_json(file: &str, message: Option<u64>, report: &Report, verdict: &Verdict) -> Value {
    let found = report.found.iter().map(|found| {
        json!({
            "reason": found.reason.code(),
            "path": found.path,
            "extension": found.extension,
            "view": found.view.name(),
        })
    });
    let tree = report.tree.iter().map(|node| {
        json!({
            "depth": node.depth,
            "name": node.name,
            "kind": node.kind.name(),
            "size": node.size,
            "reasons": node.reasons.iter().map(|reason| reason.code()).collect::<Vec<_>>(),
        })
    });
    let would = verdict.would.iter().map(|finding| finding.outcome.action()).max();
    json!({
        "file": file,
        "message": message,
        "action": verdict.action().name(),
        "would": would.map(Action::name),
        "reply": verdict.reply().map(ToString::to_string),
        "found": found.collect::<Vec<_>>(),
        "tree": tree.collect::<Vec<_>>(),
        "work": report.work,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHi\r\n--b\r\n\
        Content-Disposition: attachment; filename=evil.exe\r\n\r\nMZ\r\n--b--\r\n";

    fn scanned(files: &[(&str, &[u8])], json: bool) -> (Exit, String, String) {
        scanned_by(None, files, json)
    }

    /// By these settings of attachments.toml.
    fn scanned_by(settings: Option<&str>, files: &[(&str, &[u8])], json: bool) -> (Exit, String, String) {
        let policies = settings.map(|settings| {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("attachments.toml"), settings).unwrap();
            directory
        });
        let directory = tempfile::tempdir().unwrap();
        for (name, data) in files {
            std::fs::write(directory.path().join(name), data).unwrap();
        }
        let files = files.iter().map(|(name, _)| directory.path().join(name)).collect();
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let policies = policies.as_ref().map(|directory| directory.path().to_owned());
        let outcome = run(&Args { files, policies, json }, &mut out, &mut errors).unwrap();
        let place = format!("{}/", directory.path().display());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&place, "");
        (outcome, text(out), text(errors))
    }

    #[test]
    fn a_message_is_shown_as_a_tree_with_its_verdict() {
        let (outcome, out, _) = scanned(&[("mail.eml", MAIL)], false);
        assert_eq!(
            out,
            "mail.eml: reject\n\
            \x20 (unnamed) (file, 2 bytes)\n\
            \x20 evil.exe (file, 2 bytes) attachment.forbidden_extension\n\
            \x20 attachment.forbidden_extension -> reject: evil.exe (tree)\n\
            \x20 reply: 554 5.7.0 Forbidden attachment: evil.exe - files of type exe are not accepted, \
            remove it and send again\n"
        );
        assert_eq!(outcome, Exit::Findings);
    }

    #[test]
    fn what_is_found_counts_by_the_mode_of_the_check() {
        let tree = "a.scr: accept\n  a.scr (file, 1 bytes) attachment.forbidden_extension\n";
        let would = "  attachment.forbidden_extension -> reject (monitored only): a.scr (tree)\n";
        let scan = |mode: &str, json| scanned_by(Some(&format!("mode = {mode:?}")), &[("a.scr", b"x")], json);
        assert_eq!(scan("monitor", false), (Exit::Success, format!("{tree}{would}"), String::new()));
        assert_eq!(scan("off", false), (Exit::Success, tree.to_owned(), String::new()));
        assert_eq!(scan("enforce", false).0, Exit::Findings);
        for (mode, would) in [("monitor", json!("reject")), ("off", Value::Null)] {
            let found: Value = serde_json::from_str(&scan(mode, true).1).unwrap();
            assert_eq!((&found["action"], &found["would"]), (&json!("accept"), &would), "{mode}");
        }
    }

    #[test]
    fn a_file_is_judged_by_its_own_name() {
        let (outcome, out, _) = scanned(&[("a.scr", b"x"), ("b.txt", b"x")], false);
        assert!(
            out.starts_with("a.scr: reject\n  a.scr (file, 1 bytes) attachment.forbidden_extension\n"),
            "{out}"
        );
        assert!(out.ends_with("b.txt: accept\n  b.txt (file, 1 bytes)\n"), "{out}");
        assert_eq!(outcome, Exit::Findings);
        assert_eq!(scanned(&[("b.txt", b"x")], false).0, Exit::Success);
    }

    #[test]
    fn json_has_one_object_a_file() {
        let (_, out, _) = scanned(&[("mail.eml", MAIL), ("b.txt", b"x")], true);
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["action"], "reject");
        assert_eq!(
            lines[0]["found"][0],
            json!({"reason": "attachment.forbidden_extension", "path": "evil.exe", "extension": "exe", "view": "tree"})
        );
        assert_eq!((&lines[1]["action"], &lines[1]["reply"]), (&json!("accept"), &Value::Null));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_the_others_are_scanned() {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let args = Args { files: vec!["/nonexistent/a.eml".into()], policies: None, json: false };
        let outcome = run(&args, &mut out, &mut errors).unwrap();
        assert_eq!((outcome, out), (Exit::NoInput, Vec::new()));
        let text = String::from_utf8(errors).unwrap();
        assert!(text.starts_with("greylag scan: cannot read /nonexistent/a.eml: "), "{text}");
    }
}
