//! Forbidden attachments: what the scan of a message found, and what follows from it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::auth;
use crate::auth::{DkimResult, SpfIdentity, SpfOutcome, SpfResult};
use crate::content::{DEPTH_CAP, Found, Report};
use crate::facts::{Facts, ReversePath};
use crate::filter::{Fault, Known, Needs, Slot};
use crate::policy::{
    AddressPatterns, ByteSize, Conflict, Extensions, FileNames, Mode, Settings, Severity, Sha256Sums,
};
use crate::reason::Reason;
use crate::verdict::{Action, Code, Finding, Outcome, Reply};

crate::settings! {
    /// Settings of the attachment check.
    pub struct AttachmentSettings {
        /// Whether the check decides ("enforce"), only counts and logs what it would have done ("monitor"), or
        /// is not run ("off").
        mode: Mode = Mode::Enforce,
        /// Extensions no attachment may end in, wherever it is: in archives, in attached messages, under any encoding of its name.
        /// Beside the core list there are "file:lists/attachments-macros.txt" (documents with macros) and
        /// "file:lists/attachments-strict.txt" (web pages, scripts of programmers, older archives). What a file is by its content is
        /// forbidden where its usual extension is listed; programs of every system are where "exe" is.
        forbidden_extensions: Extensions = ["file:lists/attachments-core.txt"].into_iter().collect(),
        /// Names of files that are accepted though their extension is forbidden or their content of a forbidden type. Where a file
        /// has several names, one that is allowed excuses those with the same extension.
        allowed_names: FileNames = FileNames::default(),
        /// SHA-256 of decoded attachments that are accepted whatever they are, and not looked into. Of what is in an archive no
        /// sum is taken: give that of the archive.
        allowed_sha256: Sha256Sums = Sha256Sums::default(),
        /// Senders (MAIL FROM) whose mail is not searched for attachments where SPF passes for them, or a valid DKIM signature
        /// is of their domain. Without such proof they are nobody.
        allowed_senders: AddressPatterns = AddressPatterns::default(),
        /// An attachment's name ends in a forbidden extension.
        forbidden_extension: Action = Action::Reject,
        /// The content of an attachment is that of a type which `forbidden_extensions` lists, whatever its name says: a program, of
        /// whatever system, where that lists "exe"; a shortcut where it lists "lnk".
        forbidden_type: Action = Action::Reject,
        /// A forbidden extension stands behind that of a document or picture, such as "invoice.pdf.exe". It counts beside
        /// `forbidden_extension`: the harder action wins.
        double_extension: Action = Action::Reject,
        /// A name has characters that turn the direction of writing, so that it is shown with another ending.
        bidi_name: Action = Action::Reject,
        /// A name ends in a class identifier ("x.txt.{...}"), which Windows takes for the type and does not show.
        clsid_name: Action = Action::Reject,
        /// Mail programs disagree on where the parts of the message begin or how they are encoded. Every reading is
        /// searched; old software writes such messages too.
        ambiguous_mime: Action = Action::Tag,
        /// The message is a fragment that the recipient's mail program puts together (message/partial): the whole was
        /// never seen here.
        partial_message: Action = Action::Reject,
        /// A part's content is fetched from elsewhere when it is opened (message/external-body).
        external_body: Action = Action::Reject,
        /// A container, or what claims to be one, cannot be read, so that nobody can tell what is in it.
        unreadable_container: Action = Action::Reject,
        /// An archive entry is encrypted: its name was checked, its content was not.
        encrypted_entry: Action = Action::Accept,
        /// An archive inside an encrypted archive: not even the names in it can be checked.
        encrypted_nested: Action = Action::Reject,
        /// The directory of an archive is encrypted: not even the names in it can be checked.
        encrypted_header: Action = Action::Reject,
        /// The directory of a zip and the headers of its entries contradict each other, so that programs unpack
        /// different files from it.
        zip_inconsistent: Action = Action::Reject,
        /// Many entries of a zip share the same compressed data, as zip bombs do.
        zip_overlap: Action = Action::Reject,
        /// Two entries of a zip have the same name and different content.
        zip_duplicate: Action = Action::Reject,
        /// A document has macros.
        macros: Action = Action::Accept,
        /// Archives and messages are nested deeper than `max_depth`.
        limit_depth: Action = Action::Reject,
        /// There are more parts than `max_parts` or more archive entries than `max_entries`.
        limit_entries: Action = Action::Reject,
        /// The content of archives is larger than `max_inflated`, or takes more work than that allows.
        limit_bytes: Action = Action::Reject,
        /// The scan took longer than `scan_time_limit`.
        scan_timeout: Action = Action::Defer,
        /// The scan failed by a fault of ours.
        scan_fault: Action = Action::Defer,
        /// The scan of the same content failed by a fault of ours for the second time: another try would not help.
        on_scan_fault: Action = Action::Quarantine,
        /// Archives and attached messages one inside the other, at most (64 is the most that is ever followed).
        max_depth: NonZeroU32 = at_least_one(8),
        /// MIME parts in a message, at most.
        max_parts: NonZeroU32 = at_least_one(10_000),
        /// Archive entries in a message, at most, in all its archives together.
        max_entries: NonZeroU32 = at_least_one(50_000),
        /// Bytes that the archives of a message may inflate to; only archives in archives are inflated, not the
        /// files in them.
        max_inflated: ByteSize = ByteSize::mib(64),
        /// How long a scan may take.
        scan_time_limit: Duration = Duration::from_secs(20),
    }
    conflicts = conflicts;
}

fn conflicts(settings: &AttachmentSettings) -> Vec<Conflict> {
    let too_deep = Conflict {
        severity: Severity::Warning,
        keys: &["max_depth"],
        title: format!("`max_depth` is more than {DEPTH_CAP}"),
        label: format!("deeper than {DEPTH_CAP} nothing is ever followed"),
    };
    if settings.max_depth.get() > DEPTH_CAP { vec![too_deep] } else { Vec::new() }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number - 1)
}

/// Longest path in a reply, in characters.
const MAX_PATH: usize = 64;
/// Longest extension in a reply, in characters.
const MAX_EXTENSION: usize = 20;

/// Asks for a scan once there is a message.
pub fn needs(facts: &Facts, settings: &Settings, known: &Known) -> Needs {
    let attachments = &settings.attachments;
    if attachments.mode == Mode::Off || facts.message.is_none() {
        return Needs::default();
    }
    match proof(facts, attachments, known) {
        Proof::Asked(needs) => return *needs,
        Proof::Given => return Needs::default(),
        Proof::None => {}
    }
    let scan = known.scan(attachments).is_not_asked().then(|| attachments.clone());
    Needs { scan, ..Needs::default() }
}

/// What the scan says: one finding for each cause, in the order in which they were met.
pub fn judge(facts: &Facts, settings: &Settings, known: &Known) -> Vec<Finding> {
    let attachments = &settings.attachments;
    if attachments.mode == Mode::Off || facts.message.is_none() {
        return Vec::new();
    }
    if matches!(proof(facts, attachments, known), Proof::Given) {
        return Vec::new();
    }
    match known.scan(attachments) {
        Slot::NotAsked => Vec::new(),
        Slot::Got(report, _) => findings(report, attachments),
        Slot::Unknown(fault, _) => vec![attachments.unknown(fault)],
    }
}

/// Whether the sender is one that is allowed, and proven to be it.
enum Proof {
    /// This is to be known first.
    Asked(Box<Needs>),
    Given,
    None,
}

fn proof(facts: &Facts, settings: &AttachmentSettings, known: &Known) -> Proof {
    let Some(ReversePath::Address(sender)) = &facts.sender else { return Proof::None };
    if settings.allowed_senders.is_empty() || !settings.allowed_senders.contains(Some(sender)) {
        return Proof::None;
    }
    if known.spf.is_not_asked() && auth::can_ask_spf(facts) {
        return Proof::Asked(Box::new(Needs { spf: true, ..Needs::default() }));
    }
    let spf = known.spf.got();
    if spf.is_some_and(|spf| spf.result == SpfResult::Pass && spf.identity == SpfIdentity::MailFrom) {
        return Proof::Given;
    }
    if known.message_auth.is_not_asked() {
        let spf = spf.cloned().unwrap_or_else(SpfOutcome::none);
        return Proof::Asked(Box::new(Needs { message_auth: Some(spf), ..Needs::default() }));
    }
    let signatures = known.message_auth.got().map(|message| &message.signatures);
    let is_signed = signatures.into_iter().flatten().any(|signature| {
        signature.result == DkimResult::Pass && sender.domain() == Some(signature.domain.as_str())
    });
    if is_signed { Proof::Given } else { Proof::None }
}

/// The findings a report leads to under `settings`.
pub fn findings(report: &Report, settings: &AttachmentSettings) -> Vec<Finding> {
    let mut firsts: Vec<&Found> = Vec::new();
    for found in &report.found {
        if !firsts.iter().any(|first| first.reason == found.reason) {
            firsts.push(found);
        }
    }
    let finding = |first: &Found| {
        let same: Vec<&Found> = report.found.iter().filter(|found| found.reason == first.reason).collect();
        settings.finding(first.reason, &first.path, first.extension.as_deref(), detail(&same))
    };
    firsts.into_iter().map(finding).collect()
}

impl AttachmentSettings {
    fn finding(&self, reason: Reason, path: &str, extension: Option<&str>, detail: String) -> Finding {
        let outcome = Outcome::of(self.action(reason), reply(reason, path, extension.unwrap_or_default()));
        Finding { reason, outcome, detail }
    }

    /// What follows from a scan that has no result.
    fn unknown(&self, fault: &Fault) -> Finding {
        let (reason, action) = match fault {
            Fault::Timeout => (Reason::AttachmentScanTimeout, self.scan_timeout),
            Fault::Failed(_) => (Reason::AttachmentScanFault, self.scan_fault),
            Fault::FailedAgain(_) => (Reason::AttachmentScanFault, self.on_scan_fault),
        };
        Finding { reason, outcome: Outcome::of(action, reply(reason, "", "")), detail: fault.to_string() }
    }

    /// What is done for a cause; causes of other checks are none of this one's.
    const fn action(&self, reason: Reason) -> Action {
        match reason {
            Reason::AttachmentForbiddenExtension => self.forbidden_extension,
            Reason::AttachmentForbiddenType => self.forbidden_type,
            Reason::AttachmentDoubleExtension => self.double_extension,
            Reason::AttachmentBidiName => self.bidi_name,
            Reason::AttachmentClsidName => self.clsid_name,
            Reason::AttachmentAmbiguousMime => self.ambiguous_mime,
            Reason::AttachmentPartialMessage => self.partial_message,
            Reason::AttachmentExternalBody => self.external_body,
            Reason::AttachmentUnreadableContainer => self.unreadable_container,
            Reason::AttachmentEncryptedEntry => self.encrypted_entry,
            Reason::AttachmentEncryptedNested => self.encrypted_nested,
            Reason::AttachmentEncryptedHeader => self.encrypted_header,
            Reason::AttachmentZipInconsistent => self.zip_inconsistent,
            Reason::AttachmentZipOverlap => self.zip_overlap,
            Reason::AttachmentZipDuplicate => self.zip_duplicate,
            Reason::AttachmentMacros => self.macros,
            Reason::AttachmentLimitDepth => self.limit_depth,
            Reason::AttachmentLimitEntries => self.limit_entries,
            Reason::AttachmentLimitBytes => self.limit_bytes,
            Reason::AttachmentScanTimeout => self.scan_timeout,
            Reason::AttachmentScanFault => self.scan_fault,
            _ => Action::Accept,
        }
    }
}

/// What the sender is told: the file by its path, and what to do about it.
fn reply(reason: Reason, path: &str, extension: &str) -> Reply {
    let path = public_path(path);
    let text = match reason {
        Reason::AttachmentForbiddenExtension => {
            let extension = public_text(extension, MAX_EXTENSION);
            format!(
                "Forbidden attachment: {path} - files of type {extension} are not accepted, remove it and send again"
            )
        }
        Reason::AttachmentForbiddenType if extension.is_empty() => {
            format!("Forbidden attachment: {path} - programs are not accepted, remove it and send again")
        }
        Reason::AttachmentForbiddenType => {
            let kind = public_text(extension, MAX_EXTENSION);
            format!("Forbidden attachment: {path} - its content is of type {kind}, remove it and send again")
        }
        Reason::AttachmentDoubleExtension | Reason::AttachmentBidiName | Reason::AttachmentClsidName => {
            format!("Misleading attachment name: {path} - rename or remove it and send again")
        }
        Reason::AttachmentAmbiguousMime => {
            "Message is not well-formed MIME, its parts cannot be told apart - send it with another program"
                .to_owned()
        }
        Reason::AttachmentPartialMessage => {
            "Messages in fragments (message/partial) are not accepted - send it whole".to_owned()
        }
        Reason::AttachmentExternalBody => {
            format!("Attachment stored elsewhere: {path} - attach the file itself")
        }
        Reason::AttachmentUnreadableContainer => {
            format!(
                "Unreadable attachment: {path} - it is damaged or not what its name says, send an intact file"
            )
        }
        Reason::AttachmentEncryptedEntry => {
            format!("Encrypted attachment: {path} - send it without a password")
        }
        Reason::AttachmentEncryptedNested => {
            format!("Archive inside an encrypted archive: {path} - send it without a password")
        }
        Reason::AttachmentEncryptedHeader => {
            format!("Archive with encrypted file names: {path} - send it without a password")
        }
        Reason::AttachmentZipInconsistent | Reason::AttachmentZipOverlap | Reason::AttachmentZipDuplicate => {
            format!("Damaged or ambiguous archive: {path} - pack it anew and send again")
        }
        Reason::AttachmentMacros => {
            format!("Document with macros: {path} - send it without macros")
        }
        Reason::AttachmentLimitDepth => {
            format!("Attachment nested too deeply: {path} - send it with fewer archives inside each other")
        }
        Reason::AttachmentLimitEntries => {
            "Too many attachments or files in archives - send fewer in one message".to_owned()
        }
        Reason::AttachmentLimitBytes => {
            "Attachments too large to be checked once unpacked - send smaller archives".to_owned()
        }
        _ => "Attachments could not be checked, try again later".to_owned(),
    };
    let is_ours = matches!(reason, Reason::AttachmentScanTimeout | Reason::AttachmentScanFault);
    Reply::new(Code::C554, if is_ours { (3, 0) } else { (7, 0) }, &text)
}

/// A path as replies show it: at most [`MAX_PATH`] safe characters, the middle left out, the end kept.
fn public_path(path: &str) -> String {
    if path.is_empty() { "message".to_owned() } else { public_text(path, MAX_PATH) }
}

fn public_text(text: &str, max: usize) -> String {
    const GAP: &str = "...";
    let safe = |c: char| if c == ' ' || (c.is_ascii_graphic() && c != '%') { c } else { '?' };
    let length = text.chars().count();
    if length <= max {
        return text.chars().map(safe).collect();
    }
    let head = (max - GAP.len()) / 3;
    let tail = max - GAP.len() - head;
    let start = text.chars().take(head).map(safe);
    start.chain(GAP.chars()).chain(text.chars().skip(length - tail).map(safe)).collect()
}

/// Where a cause was found, for the log.
fn detail(found: &[&Found]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> =
        found.iter().take(SHOWN).map(|found| format!("{} ({})", found.path, found.view.name())).collect();
    match found.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{DkimSignature, MessageAuth};
    use crate::content::View;
    use crate::facts::{Client, Message};
    use crate::reason::Check;
    use std::sync::Arc;

    fn found(reason: Reason, path: &str, extension: Option<&str>) -> Found {
        Found { reason, path: path.to_owned(), extension: extension.map(str::to_owned), view: View::Tree }
    }

    fn reply_to(found: Found) -> String {
        let report = Report { found: vec![found], ..Report::default() };
        let findings = findings(&report, &AttachmentSettings::default());
        findings[0].outcome.reply().map_or_else(String::new, Reply::to_string)
    }

    #[test]
    fn the_sender_reads_which_file_and_what_to_do() {
        for (reason, expected) in [
            (
                Reason::AttachmentForbiddenExtension,
                "554 5.7.0 Forbidden attachment: a.zip/b.zip/evil.exe - files of type exe are not accepted, \
                 remove it and send again",
            ),
            (
                Reason::AttachmentUnreadableContainer,
                "554 5.7.0 Unreadable attachment: a.zip/b.zip/evil.exe - it is damaged or not what its \
                 name says, send an intact file",
            ),
            (
                Reason::AttachmentEncryptedNested,
                "554 5.7.0 Archive inside an encrypted archive: a.zip/b.zip/evil.exe - send it without a password",
            ),
            (
                Reason::AttachmentLimitDepth,
                "554 5.7.0 Attachment nested too deeply: a.zip/b.zip/evil.exe - send it with fewer \
                 archives inside each other",
            ),
            (
                Reason::AttachmentLimitEntries,
                "554 5.7.0 Too many attachments or files in archives - send fewer in one message",
            ),
            (
                Reason::AttachmentLimitBytes,
                "554 5.7.0 Attachments too large to be checked once unpacked - send smaller archives",
            ),
            (
                Reason::AttachmentForbiddenType,
                "554 5.7.0 Forbidden attachment: a.zip/b.zip/evil.exe - programs are not accepted, remove it \
                 and send again",
            ),
            (
                Reason::AttachmentBidiName,
                "554 5.7.0 Misleading attachment name: a.zip/b.zip/evil.exe - rename or remove it and send again",
            ),
            (
                Reason::AttachmentPartialMessage,
                "554 5.7.0 Messages in fragments (message/partial) are not accepted - send it whole",
            ),
            (
                Reason::AttachmentExternalBody,
                "554 5.7.0 Attachment stored elsewhere: a.zip/b.zip/evil.exe - attach the file itself",
            ),
            (
                Reason::AttachmentEncryptedHeader,
                "554 5.7.0 Archive with encrypted file names: a.zip/b.zip/evil.exe - send it without a password",
            ),
            (
                Reason::AttachmentZipOverlap,
                "554 5.7.0 Damaged or ambiguous archive: a.zip/b.zip/evil.exe - pack it anew and send again",
            ),
            (Reason::AttachmentAmbiguousMime, ""),
            (Reason::AttachmentMacros, ""),
            (Reason::AttachmentScanTimeout, "451 4.3.0 Attachments could not be checked, try again later"),
            (Reason::AttachmentEncryptedEntry, ""),
        ] {
            let extension = (reason == Reason::AttachmentForbiddenExtension).then_some("exe");
            assert_eq!(reply_to(found(reason, "a.zip/b.zip/evil.exe", extension)), expected);
        }
    }

    #[test]
    fn every_cause_of_the_check_has_an_action_of_its_own() {
        let settings = AttachmentSettings {
            encrypted_entry: Action::Reject,
            macros: Action::Reject,
            ..AttachmentSettings::default()
        };
        for reason in Reason::ALL.iter().filter(|reason| reason.check() == Check::Attachments) {
            assert_ne!(settings.action(*reason), Action::Accept, "{reason}");
        }
    }

    #[test]
    fn every_reply_fits_and_is_safe() {
        let path = format!("{}/\u{202e}\r\n%s{}.exe", "a".repeat(500), "\u{e9}".repeat(500));
        for reason in Reason::ALL {
            let reply = reply(*reason, &path, &"x".repeat(300));
            assert!(reply.text().len() < crate::verdict::MAX_TEXT, "{reason}: {reply}");
            assert!(!reply.text().contains('%'), "{reply}");
        }
        let reply = reply(Reason::AttachmentForbiddenExtension, &path, "exe");
        let expected = format!("Forbidden attachment: {}...{}.exe - ", "a".repeat(20), "?".repeat(37));
        assert!(reply.text().starts_with(&expected), "{reply}");
        assert_eq!(public_path(""), "message");
    }

    #[test]
    fn each_cause_is_one_finding_with_the_action_set_for_it() {
        let report = Report {
            found: (0..7)
                .map(|n| found(Reason::AttachmentForbiddenExtension, &format!("{n}.exe"), Some("exe")))
                .chain([found(Reason::AttachmentEncryptedEntry, "a.zip/b.txt", None)])
                .collect(),
            ..Report::default()
        };
        let settings =
            AttachmentSettings { forbidden_extension: Action::Quarantine, ..AttachmentSettings::default() };
        let findings = findings(&report, &settings);
        let got: Vec<_> =
            findings.iter().map(|f| (f.reason, f.outcome.action(), f.detail.as_str())).collect();
        assert_eq!(
            got,
            [
                (
                    Reason::AttachmentForbiddenExtension,
                    Action::Quarantine,
                    "0.exe (tree), 1.exe (tree), 2.exe (tree), 3.exe (tree), 4.exe (tree) and 2 more"
                ),
                (Reason::AttachmentEncryptedEntry, Action::Accept, "a.zip/b.txt (tree)"),
            ]
        );
    }

    #[test]
    fn a_scan_is_asked_for_once_and_only_when_there_is_a_message() {
        let settings = Settings::default();
        let mut facts = Facts::default();
        let mut known = Known::default();
        assert!(needs(&facts, &settings, &known).is_empty());
        assert_eq!(judge(&facts, &settings, &known), []);

        facts.message = Some(Message::default());
        let asked = needs(&facts, &settings, &known).scan.unwrap();
        assert!(Arc::ptr_eq(&asked, &settings.attachments));
        assert_eq!(judge(&facts, &settings, &known), []);

        for (slot, expected) in [
            (Slot::Got(Arc::new(Report::default()), Duration::ZERO), None),
            (
                Slot::Unknown(Fault::Timeout, Duration::ZERO),
                Some((Reason::AttachmentScanTimeout, Action::Defer)),
            ),
            (
                Slot::Unknown(Fault::Failed("panic".into()), Duration::ZERO),
                Some((Reason::AttachmentScanFault, Action::Defer)),
            ),
            (
                Slot::Unknown(Fault::FailedAgain("panic".into()), Duration::ZERO),
                Some((Reason::AttachmentScanFault, Action::Quarantine)),
            ),
        ] {
            known.scans = vec![(Arc::clone(&settings.attachments), slot)];
            assert!(needs(&facts, &settings, &known).is_empty());
            let findings = judge(&facts, &settings, &known);
            assert_eq!(findings.first().map(|f| (f.reason, f.outcome.action())), expected);
            let replies: Vec<_> =
                findings.iter().filter_map(|f| f.outcome.reply()).map(Reply::to_string).collect();
            assert!(replies.iter().all(|reply| !reply.contains("panic")), "{replies:?}");
        }

        facts.sender = Some(ReversePath::parse("<joe@example.org>"));
        let off = AttachmentSettings { mode: Mode::Off, ..AttachmentSettings::default() };
        let settings = Settings { attachments: Arc::new(off), ..Settings::default() };
        assert!(needs(&facts, &settings, &Known::default()).is_empty());
    }

    #[test]
    fn an_allowed_sender_is_not_scanned_once_proven() {
        let allowed = AttachmentSettings {
            allowed_senders: ["joe@example.org"].into_iter().collect(),
            ..AttachmentSettings::default()
        };
        let settings = Settings { attachments: Arc::new(allowed), ..Settings::default() };
        let mut facts = Facts { message: Some(Message::default()), ..Facts::default() };
        facts.connection.client = Client::parse("192.0.2.1");
        let spf = |result| {
            let identity = SpfIdentity::MailFrom;
            let outcome = SpfOutcome { result, identity, domain: "example.org".into(), passes_anyone: false };
            Slot::Got(outcome, Duration::ZERO)
        };
        let signed = |result, domain: &str| {
            let signature =
                DkimSignature { domain: domain.into(), selector: "s".into(), result, aligned: true };
            let message = MessageAuth { signatures: vec![signature], ..MessageAuth::default() };
            Slot::Got(Arc::new(message), Duration::ZERO)
        };
        let asked = |facts: &Facts, known: &Known| {
            let needs = needs(facts, &settings, known);
            (needs.spf, needs.message_auth.is_some(), needs.scan.is_some())
        };

        facts.sender = Some(ReversePath::parse("<ann@example.org>"));
        assert_eq!(asked(&facts, &Known::default()), (false, false, true));
        facts.sender = Some(ReversePath::parse("<joe@example.org>"));
        let mut known = Known::default();
        assert_eq!(asked(&facts, &known), (true, false, false));
        known.spf = spf(SpfResult::Pass);
        assert_eq!(asked(&facts, &known), (false, false, false));
        known.spf = spf(SpfResult::SoftFail);
        assert_eq!(asked(&facts, &known), (false, true, false));
        for (slot, is_scanned) in [
            (signed(DkimResult::Pass, "example.org"), false),
            (signed(DkimResult::Fail, "example.org"), true),
            (signed(DkimResult::Pass, "example.com"), true),
            (Slot::Unknown(Fault::Timeout, Duration::ZERO), true),
        ] {
            known.message_auth = slot;
            assert_eq!(asked(&facts, &known), (false, false, is_scanned));
        }
    }
}
