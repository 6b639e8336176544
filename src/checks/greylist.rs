//! Greylisting: an unknown (client, sender, recipient) is deferred once; a real mail server comes again, most bots do not.
//!
//! The check says under which identities and rules an attempt is recorded, and turns the store's answer into a finding. Who the
//! client is, `identity` says, and what sender and recipient are called, `normalise`; what the answer is,
//! [`crate::store::model`] decides.

mod generic;
mod identity;
mod normalise;
mod settings;

use std::time::Duration;

pub use self::normalise::Sender;
pub use self::settings::{
    ClientIdentities, Distinct, GreylistSettings, Ipv4Prefix, Ipv6Prefix, NetworkCap, NullSender,
    OnStoreFailure,
};
use crate::auth::{SpfQuery, SpfResult};
use crate::checks::{auth, joined};
use crate::facts::{Address, Facts, ReversePath};
use crate::filter::{Fault, Known, Lookups, Slot};
use crate::policy::{Mode, Settings};
use crate::reason::Reason;
use crate::store::{Answer, Attempt, KnownBy};
use crate::verdict::{Code, Finding, Outcome, Reply};

/// Why a recipient is none of the greylist's business; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exemption {
    /// The client has logged in.
    Authenticated,
    /// The recipient is postmaster or abuse.
    Role,
    /// The settings for this client, sender or recipient switch it off.
    Off,
    /// The null sender, where the settings exempt it.
    NullSender,
    /// The client has no address: a local submission.
    NoAddress,
}

impl Exemption {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Authenticated, Self::Role, Self::Off, Self::NullSender, Self::NoAddress];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authenticated => "authenticated",
            Self::Role => "role",
            Self::Off => "off",
            Self::NullSender => "null_sender",
            Self::NoAddress => "no_address",
        }
    }

    /// What it means, for people.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Authenticated => "not asked: the client is authenticated",
            Self::Role => "not asked: mail to postmaster and abuse is never delayed",
            Self::Off => "not asked: switched off here",
            Self::NullSender => "not asked: the null sender is exempt",
            Self::NoAddress => "not asked: the client has no address",
        }
    }
}

/// Why the recipient judged now is not greylisted, whoever sends.
pub fn exemption(facts: &Facts, settings: &Settings) -> Option<Exemption> {
    let settings = &settings.greylist;
    if facts.login.is_some() {
        Some(Exemption::Authenticated)
    } else if facts.recipient.as_ref().is_some_and(|recipient| recipient.is_role()) {
        Some(Exemption::Role)
    } else if settings.mode == Mode::Off {
        Some(Exemption::Off)
    } else if facts.sender == Some(ReversePath::Null) && settings.null_sender == NullSender::Exempt {
        Some(Exemption::NullSender)
    } else if facts.connection.client.ip().is_none() {
        Some(Exemption::NoAddress)
    } else {
        None
    }
}

/// Asks what must be known of the client before an attempt of its is recorded: together with the questions of other checks, as
/// each may take its time.
pub fn early(facts: &Facts, settings: &Settings, known: &Known) -> Lookups {
    if exemption(facts, settings).is_some() {
        return Lookups::default();
    }
    let settings = &settings.greylist;
    Lookups {
        helo: known.helo.is_not_asked() && identity::wants_helo(facts, settings, known),
        spf: known.spf.is_not_asked() && identity::wants_spf(facts, settings) && auth::can_ask_spf(facts),
    }
}

/// The attempt of the recipient judged now that is to be recorded.
pub fn needs(facts: &Facts, settings: &Settings, known: &Known) -> Option<Attempt> {
    let is_new = known.greylist.is_not_asked() && exemption(facts, settings).is_none();
    if is_new { attempt(facts, &settings.greylist, known) } else { None }
}

/// Judges the recipient by the store's answer.
pub fn judge(facts: &Facts, settings: &Settings, known: &Known) -> Option<Finding> {
    match &known.greylist {
        Slot::NotAsked => None,
        Slot::Got(answer, _) => {
            Some(judge_answer(*answer, |text| push_client(text, facts, &settings.greylist, known)))
        }
        // That it could not be asked is known of another recipient of the mail.
        Slot::Unknown(..) if exemption(facts, settings).is_some() => None,
        Slot::Unknown(fault, _) => Some(judge_fault(fault, settings.greylist.on_store_failure)),
    }
}

/// What to go on asking beside the mail when its attempt was recorded without the identity that SPF would have given: the DNS was
/// slow or failing.
pub fn late_spf(facts: &Facts, settings: &GreylistSettings, known: &Known) -> Option<SpfQuery> {
    let is_recorded = matches!(
        known.greylist,
        Slot::Got(Answer::FirstSeen { .. } | Answer::TooEarly { .. } | Answer::Matured { .. }, _)
    );
    let is_missing = match &known.spf {
        Slot::NotAsked => false,
        Slot::Got(spf, _) => spf.result == SpfResult::TempError,
        Slot::Unknown(..) => true,
    };
    let wanted = is_recorded && is_missing && identity::wants_spf(facts, settings);
    if wanted { auth::spf_query(facts) } else { None }
}

/// The attempt to record.
fn attempt(facts: &Facts, settings: &GreylistSettings, known: &Known) -> Option<Attempt> {
    let recipient = facts.recipient.as_ref()?.address();
    let sender = facts.sender.as_ref()?;
    let address = facts.connection.client.ip()?;
    let identities = identity::ladder(address, facts, settings, known);
    let never_promote = identity::is_listed(&settings.never_promote, &identities, facts);
    Some(Attempt {
        identities,
        client: address,
        sender: sender_key(sender, recipient, known),
        recipient: normalise::recipient(recipient),
        never_promote,
        mail_counted: known.greylist_counted,
        rules: settings.rules(),
    })
}

fn sender_key(sender: &ReversePath, recipient: &Address, known: &Known) -> String {
    let Some(address) = sender.address() else { return String::new() };
    known.greylist_sender.get_or_init(|| Sender::new(address)).key(address, recipient)
}

/// The name the store has for a sender as an administrator writes it, `<>` for the null sender; for mail to a recipient, whose own
/// address may be a part of the sender's.
pub fn typed_sender(sender: &str, recipient: Option<&str>) -> String {
    let sender = ReversePath::parse(sender);
    let Some(address) = sender.address() else { return String::new() };
    Sender::new(address).key(address, &Address::parse(recipient.unwrap_or_default()))
}

/// The name the store has for a recipient as an administrator writes it.
pub fn typed_recipient(recipient: &str) -> String {
    normalise::recipient(&Address::parse(recipient))
}

/// Appends the client's identities, as they were asked for.
fn push_client(text: &mut String, facts: &Facts, settings: &GreylistSettings, known: &Known) {
    let made;
    let identities = match (&known.attempt, facts.connection.client.ip()) {
        (Some(attempt), _) => &attempt.identities,
        (None, Some(address)) => {
            made = identity::ladder(address, facts, settings, known);
            &made
        }
        (None, None) => return,
    };
    for (place, identity) in identities.iter().enumerate() {
        text.push_str(if place > 0 { " or " } else { "" });
        text.push_str(&identity.key);
    }
}

/// Room for nearly every detail, in bytes.
const USUAL_DETAIL: usize = 160;

/// The log has the client's identities beside this; only what somebody may look for by itself names them.
fn judge_answer(answer: Answer, push_client: impl Fn(&mut String)) -> Finding {
    let detail = |before: &str, behind: &str| {
        let mut detail = String::with_capacity(USUAL_DETAIL);
        detail.push_str(before);
        push_client(&mut detail);
        detail.push_str(behind);
        detail
    };
    let (reason, outcome, detail) = match answer {
        Answer::FirstSeen { wait } => {
            (Reason::GreylistFirstSeen, come_again(wait), detail("first attempt of ", ""))
        }
        Answer::TooEarly { wait } => {
            (Reason::GreylistTooEarly, come_again(wait), detail("", " came again too early"))
        }
        Answer::Matured { waited, identity } => {
            let waited = waited.as_secs();
            let behind = format!(" came again after {waited} s, known by its {}", identity.name());
            (Reason::GreylistMatured, Outcome::Accept, detail("", &behind))
        }
        Answer::Known { by, identity } => {
            let by = match by {
                KnownBy::Triplet => " with this sender and recipient",
                KnownBy::Pair => " with this sender",
                KnownBy::Promotion => " as a whole",
            };
            (Reason::GreylistKnown, Outcome::Accept, ["known by its ", identity.name(), by].concat())
        }
        Answer::Released => {
            (Reason::GreylistReleased, Outcome::Accept, detail("a rule releases this mail of ", ""))
        }
        Answer::Capped { wait } => {
            let behind = " has too many first attempts, and is judged as a whole";
            let outcome = wait.map_or(Outcome::Accept, come_again);
            (Reason::GreylistCapped, outcome, detail("the network of ", behind))
        }
    };
    Finding { reason, outcome, detail }
}

/// The wait is rounded up, so that who waits as long as told is never told again.
fn come_again(wait: Duration) -> Outcome {
    let seconds = (wait.as_secs() + u64::from(wait.subsec_millis() > 0)).max(1);
    let text = joined(["Greylisted, try again in ", itoa::Buffer::new().format(seconds), " seconds"]);
    Outcome::Defer(Reply::new(Code::C451, (7, 1), text))
}

fn judge_fault(fault: &Fault, on_store_failure: OnStoreFailure) -> Finding {
    let outcome = match on_store_failure {
        OnStoreFailure::Accept => Outcome::Accept,
        OnStoreFailure::Defer => {
            Outcome::Defer(Reply::new(Code::C451, (3, 0), "Temporary failure, please try again later"))
        }
    };
    Finding { reason: Reason::GreylistStoreFailure, outcome, detail: format!("greylist store: {fault}") }
}

#[cfg(test)]
mod tests;
