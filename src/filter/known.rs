//! The ask/known loop: what checks may ask of the world, and what is known of it. Both have the same slots.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{MessageAuth, SpfOutcome};
use crate::checks::greylist::Sender;
use crate::checks::helo::HeloForm;
use crate::checks::{AttachmentSettings, ContentSettings, HeloSettings};
use crate::content::{Inspection, Report};
use crate::dns::HeloResolution;
use crate::facts::Facts;
use crate::policy::{Policy, Settings};
use crate::reason::Reason;
use crate::store::{Answer, Attempt};
use crate::verdict::Verdict;

/// Why a look-up has no answer. Whatever the cause, the check decides by its `unknown` rule; this is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer within the budget.
    Timeout,
    /// The service could not be reached or failed; the text names peer and cause.
    Failed(String),
    /// It failed, by a fault of ours, as it had failed before on the same content: trying again does not help.
    FailedAgain(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::Failed(why) | Self::FailedAgain(why) => f.write_str(why),
        }
    }
}

/// One answer slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Slot<T> {
    /// Nobody asked yet.
    #[default]
    NotAsked,
    /// The answer, and how long it took to get.
    Got(T, Duration),
    /// Asked, and not answered; and how long that was waited for.
    Unknown(Fault, Duration),
}

impl<T> Slot<T> {
    /// The answer, if there is one.
    pub const fn got(&self) -> Option<&T> {
        match self {
            Self::Got(answer, _) => Some(answer),
            Self::NotAsked | Self::Unknown(..) => None,
        }
    }

    /// Whether the question was never put.
    pub const fn is_not_asked(&self) -> bool {
        matches!(self, Self::NotAsked)
    }
}

/// What checks ask the DNS about the envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// As [`Needs::helo`].
    pub helo: bool,
    /// As [`Needs::spf`].
    pub spf: bool,
}

impl Lookups {
    /// Whether nothing is asked.
    pub const fn is_empty(self) -> bool {
        !self.helo && !self.spf
    }
}

impl From<Lookups> for Needs {
    fn from(Lookups { helo, spf }: Lookups) -> Self {
        Self { helo, spf, ..Self::default() }
    }
}

/// What checks ask for. Everything asked comes back, as an answer or as unknown.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// What the DNS says of the HELO name ([`crate::checks::helo::name`]).
    pub helo: bool,
    /// Whether the client may send mail of the sender's domain ([`crate::checks::auth::spf_query`]).
    pub spf: bool,
    /// A check of the message's signatures and of its author's DMARC policy, given this of SPF.
    pub message_auth: Option<SpfOutcome>,
    /// One attempt of a triplet. Recording it is the answer: this one writes.
    pub greylist: Option<Attempt>,
    /// What the content rules of these settings say of the message.
    pub inspection: Option<Arc<ContentSettings>>,
    /// A scan of the message for forbidden attachments, under these settings.
    pub scan: Option<Arc<AttachmentSettings>>,
}

impl Needs {
    /// Whether nothing is asked.
    pub const fn is_empty(&self) -> bool {
        !self.helo
            && !self.spf
            && self.message_auth.is_none()
            && self.greylist.is_none()
            && self.inspection.is_none()
            && self.scan.is_none()
    }

    /// Adds the questions of `other`; both never ask different things of one slot, as slots belong to one check each.
    pub fn merge(&mut self, other: Self) {
        if other.is_empty() {
            return;
        }
        self.helo |= other.helo;
        self.spf |= other.spf;
        self.message_auth = self.message_auth.take().or(other.message_auth);
        self.greylist = self.greylist.take().or(other.greylist);
        self.inspection = self.inspection.take().or(other.inspection);
        self.scan = self.scan.take().or(other.scan);
    }
}

/// What is known beside the facts so far, for one mail.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The settings for the recipient judged now; found once for each.
    pub settings: OnceCell<Arc<Settings>>,
    /// What the checks before the greylist say of that recipient; kept from when they have all they ask for until the greylist has
    /// answered, too.
    pub before_greylist: RefCell<Option<Verdict>>,
    /// What the DNS says of the HELO name.
    pub helo: Slot<HeloResolution>,
    /// What kind of thing the HELO name is; made once for each name.
    pub helo_form: OnceCell<HeloForm>,
    /// What these settings have against the name before anybody is asked, or else whether there is one to ask about.
    pub helo_claim: OnceCell<(Arc<HeloSettings>, Result<bool, Reason>)>,
    /// What SPF says of the client and the sender.
    pub spf: Slot<SpfOutcome>,
    /// What signatures and DMARC say of the message.
    pub message_auth: Slot<Arc<MessageAuth>>,
    /// What the greylist says of the recipient judged now.
    pub greylist: Slot<Answer>,
    /// What it was asked for that.
    pub attempt: Option<Attempt>,
    /// An earlier recipient of the mail may have been a first attempt.
    pub greylist_counted: bool,
    /// How the greylist knows the sender; found out once a mail.
    pub greylist_sender: OnceCell<Sender>,
    /// The registrable domain that the client's verified name gives it there, if any; made once a mail.
    pub greylist_host: OnceCell<Option<Arc<str>>>,
    /// What content rules say of the message, for each set of settings they were asked under.
    pub inspections: Vec<(Arc<ContentSettings>, Slot<Arc<Inspection>>)>,
    /// What was found in the message, for each set of settings it was scanned under.
    pub scans: Vec<(Arc<AttachmentSettings>, Slot<Arc<Report>>)>,
    /// Recipients that were sent away to a message of their own, in all mails of the session.
    pub splits: u32,
}

impl Known {
    /// The settings for the recipient judged now.
    pub fn settings(&self, facts: &Facts, policy: &Policy) -> &Arc<Settings> {
        self.settings.get_or_init(|| policy.settings(facts))
    }

    /// Forgets what is known of another HELO name.
    pub fn forget_helo(&mut self) {
        self.helo = Slot::NotAsked;
        self.helo_form.take();
        self.helo_claim.take();
    }

    /// Forgets what is known of another recipient. What could not be answered stays unknown for the rest of the mail: one wait a
    /// mail, not one a recipient.
    pub fn forget_recipient(&mut self) {
        self.settings.take();
        self.before_greylist.take();
        self.attempt = None;
        if let Some(answer) = self.greylist.got() {
            self.greylist_counted |= answer.may_be_first();
            self.greylist = Slot::NotAsked;
        }
    }

    /// Takes note of a verdict, as far as later ones of the session depend on it.
    pub fn note(&mut self, verdict: &Verdict) {
        let is_split = verdict.findings.iter().any(|finding| finding.reason == Reason::RecipientsMixed);
        self.splits = self.splits.saturating_add(u32::from(is_split));
    }

    /// Forgets what is known of the mail, as the next one of the session begins.
    pub fn forget_mail(&mut self) {
        // In their places, as this is done for every mail. Named one by one, so that a new one has to be put on its side.
        let Self {
            settings,
            before_greylist,
            helo,
            helo_form,
            helo_claim,
            spf,
            message_auth,
            greylist,
            greylist_counted,
            attempt,
            greylist_sender,
            greylist_host,
            inspections,
            scans,
            splits: _,
        } = self;
        settings.take();
        before_greylist.take();
        *helo = Slot::NotAsked;
        helo_form.take();
        helo_claim.take();
        *spf = Slot::NotAsked;
        *message_auth = Slot::NotAsked;
        *greylist = Slot::NotAsked;
        *greylist_counted = false;
        *attempt = None;
        greylist_sender.take();
        greylist_host.take();
        inspections.clear();
        scans.clear();
    }

    /// What the content rules of `settings` say of the message.
    pub fn inspection(&self, settings: &Arc<ContentSettings>) -> &Slot<Arc<Inspection>> {
        let found = self.inspections.iter().find(|(asked, _)| Arc::ptr_eq(asked, settings));
        found.map_or(&Slot::NotAsked, |(_, slot)| slot)
    }

    /// The scan of the message under `settings`.
    pub fn scan(&self, settings: &Arc<AttachmentSettings>) -> &Slot<Arc<Report>> {
        let found = self.scans.iter().find(|(scanned, _)| Arc::ptr_eq(scanned, settings));
        found.map_or(&Slot::NotAsked, |(_, slot)| slot)
    }
}
