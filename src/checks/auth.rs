//! SPF, DKIM and DMARC: whether the mail comes from who it says it does.
//!
//! SPF is known when a recipient is named. A failure is held until the content is there, where the MTA shows it to us: mail that
//! was forwarded fails SPF by its nature, and a valid signature of the author's domain shows that it is genuine.

use std::num::NonZeroU32;

use toml::Spanned;
use toml::de::DeValue;

use crate::auth::{
    DmarcPolicy, DmarcResult, SpfIdentity, SpfOutcome, SpfQuery, SpfResult, authentication_results,
    claims_to_be_from,
};
use crate::facts::{Facts, Message, Stage};
use crate::filter::{Known, Needs, Slot};
use crate::policy::{Clients, EnvelopeAction, Mode, Reading, Setting, Settings, host_name_checked};
use crate::reason::Reason;
use crate::verdict::{Action, Code, Finding, HeaderEdit, HeaderName, Outcome, Reply};

crate::settings! {
    /// SPF, DKIM and DMARC: whether the mail comes from who it says it does. The results are written into an
    /// Authentication-Results field, and fields of that name that pretend to be ours are removed; more than 100 of them are a reason
    /// to refuse (content.forged_fields). A failing DNS is never one. Mail to postmaster and abuse alone is tagged at most by SPF and
    /// DMARC.
    pub struct AuthSettings {
        /// Whether the check decides ("enforce"), only counts and logs what it would have done ("monitor"), or is not run
        /// ("off").
        mode: Mode = Mode::Enforce,
        /// (1) The sender's domain says that the client may not send its mail: "550 5.7.23 SPF: ...".
        spf_fail: EnvelopeAction = EnvelopeAction::REJECT,
        /// (2) The sender's domain suspects so.
        spf_softfail: EnvelopeAction = EnvelopeAction::TAG,
        /// (3) The sender's domain publishes no SPF record.
        spf_none: EnvelopeAction = EnvelopeAction::TAG,
        /// (4) The sender's domain says nothing about the client.
        spf_neutral: EnvelopeAction = EnvelopeAction::TAG,
        /// (5) The SPF record cannot be read, or costs more than 10 look-ups.
        spf_permerror: EnvelopeAction = EnvelopeAction::TAG,
        /// Accept mail that fails SPF when it carries a valid DKIM signature of the author's domain: it was forwarded. The
        /// refusal then waits for the end of the message; where only the policy service is used it cannot.
        forwarded_dkim_saves: bool = true,
        /// (6) Refuse mail that fails DMARC when the author's domain asks for it (p=reject). Mailing lists suffer from it.
        dmarc_reject: bool = false,
        /// Clients that forward mail to us for our users, such as a former provider: what they send is not refused or tagged by
        /// this check. By address, network or verified host name.
        trusted_forwarders: Clients = Clients::default(),
        /// The name we are known by in Authentication-Results fields; "" for what the MTA calls itself.
        authserv_id: AuthservId = AuthservId::default(),
    }
}

impl AuthSettings {
    /// What holds for postmaster and abuse, whatever the policy says: mail to them is tagged at most, as who was refused by mistake
    /// must be able to say so (RFC 5321 §4.5.1, RFC 2142 §4).
    #[must_use]
    pub fn for_roles(&self) -> Self {
        let tagged_at_most = |action: EnvelopeAction| match action.action() {
            Action::Defer | Action::Reject => EnvelopeAction::TAG,
            _ => action,
        };
        Self {
            spf_fail: tagged_at_most(self.spf_fail),
            spf_softfail: tagged_at_most(self.spf_softfail),
            spf_none: tagged_at_most(self.spf_none),
            spf_neutral: tagged_at_most(self.spf_neutral),
            spf_permerror: tagged_at_most(self.spf_permerror),
            dmarc_reject: false,
            ..self.clone()
        }
    }
}

/// A name for ourselves, as [`crate::facts::host_name`] writes it; empty stands for what the MTA calls itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthservId(String);

impl Setting for AuthservId {
    const EXPECTED: &'static str = "a host name such as \"mx.example.org\", or \"\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let name = value.get_ref().as_str().and_then(|text| match text {
            "" => Some(String::new()),
            text => host_name_checked(text),
        });
        name.map(Self).or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// Asks for SPF as soon as the sender is known, and for the rest when the message is there.
pub fn needs(stage: Stage, facts: &Facts, settings: &Settings, known: &Known) -> Needs {
    let mut needs = Needs { spf: needs_spf(facts, settings, known), ..Needs::default() };
    let is_due = settings.auth.mode != Mode::Off && stage == Stage::EndOfMessage && facts.message.is_some();
    if is_due && !needs.spf && known.message_auth.is_not_asked() {
        needs.message_auth = Some(spf_outcome(facts, known).unwrap_or_else(SpfOutcome::none));
    }
    needs
}

/// Whether SPF is to be asked.
pub fn needs_spf(facts: &Facts, settings: &Settings, known: &Known) -> bool {
    settings.auth.mode != Mode::Off && known.spf.is_not_asked() && can_ask_spf(facts)
}

/// Whether client and sender are known, about whom SPF is asked.
pub fn can_ask_spf(facts: &Facts) -> bool {
    facts.connection.client.ip().is_some() && facts.sender.is_some()
}

/// The question for SPF, where client and sender are known.
pub fn spf_query(facts: &Facts) -> Option<SpfQuery> {
    Some(SpfQuery {
        client: facts.connection.client.ip()?,
        helo: facts.helo.clone().unwrap_or_default(),
        sender: facts.sender.clone()?,
    })
}

/// Judges SPF when a recipient is named, but for a failure that the content may excuse; that and DMARC at the end of the message.
pub fn judge(stage: Stage, facts: &Facts, settings: &Settings, known: &Known) -> Vec<Finding> {
    if settings.auth.trusted_forwarders.contains(&facts.connection) {
        return Vec::new();
    }
    let held = settings.auth.forwarded_dkim_saves && (facts.content_follows || facts.milter_follows);
    let spf = known.spf.got();
    let failure = spf.filter(|spf| spf.result == SpfResult::Fail);
    match stage {
        Stage::Rcpt if held && failure.is_some() => Vec::new(),
        Stage::Rcpt => {
            spf.and_then(|spf| spf_finding(spf, facts, settings)).map_or_else(Vec::new, |it| vec![it])
        }
        Stage::EndOfMessage => {
            let failure = failure.filter(|_| held).and_then(|spf| spf_finding(spf, facts, settings));
            let failure = failure.map(|finding| unless_forwarded(finding, known));
            failure.into_iter().chain(dmarc_finding(settings, known)).collect()
        }
        Stage::Connect | Stage::Helo | Stage::Mail | Stage::Data => Vec::new(),
    }
}

fn spf_finding(spf: &SpfOutcome, facts: &Facts, settings: &Settings) -> Option<Finding> {
    let settings = &settings.auth;
    let (reason, action) = match spf.result {
        SpfResult::Fail => (Reason::AuthSpfFail, settings.spf_fail),
        SpfResult::SoftFail => (Reason::AuthSpfSoftFail, settings.spf_softfail),
        SpfResult::None => (Reason::AuthSpfNone, settings.spf_none),
        SpfResult::Neutral => (Reason::AuthSpfNeutral, settings.spf_neutral),
        SpfResult::PermError => (Reason::AuthSpfPermError, settings.spf_permerror),
        SpfResult::Pass | SpfResult::TempError => return None,
    };
    let identity = match spf.identity {
        SpfIdentity::MailFrom => "MAIL FROM",
        SpfIdentity::Helo => "HELO",
    };
    let client = facts.connection.client;
    let reply = || Reply::new(Code::C550, (7, 23), remedy(spf, &client.to_string()));
    let detail = format!("SPF {} of {identity} {:?} for {client}", spf.result.name(), spf.domain);
    Some(Finding { reason, outcome: Outcome::with(action.action(), reply), detail })
}

/// What the sender's administrator has to do (RFC 7372 §3.2 for the code). A long domain is cut from the left, so that the remedy
/// always fits.
fn remedy(spf: &SpfOutcome, client: &str) -> String {
    const LONGEST_DOMAIN: usize = 64;
    let cut = spf.domain.len().saturating_sub(LONGEST_DOMAIN);
    let domain = match cut {
        0 => spf.domain.to_string(),
        cut => format!("...{}", &spf.domain[spf.domain.ceil_char_boundary(cut)..]),
    };
    match spf.result {
        SpfResult::PermError => format!("SPF: the record of {domain} is in error; correct it"),
        SpfResult::None => format!("SPF: {domain} has no record; publish one that permits {client}"),
        _ => format!(
            "SPF: {domain} does not permit {client} to send its mail; \
             add it to the SPF record, or sign with DKIM"
        ),
    }
}

/// A failure excused by a signature of the author's domain; postponed when the signature cannot be checked just now.
fn unless_forwarded(finding: Finding, known: &Known) -> Finding {
    let unknown = |why: String| {
        let action = finding.outcome.action().min(Action::Defer);
        let text = "SPF: the sender's domain does not permit this client, and its signature cannot be checked just now";
        Finding {
            outcome: Outcome::of(action, Reply::new(Code::C451, (7, 23), text)),
            detail: format!("{}; {why}", finding.detail),
            ..finding.clone()
        }
    };
    match &known.message_auth {
        Slot::Got(message, _) => match (message.aligned_pass(), message.aligned_unknown()) {
            (Some(signature), _) => Finding {
                outcome: Outcome::Accept,
                detail: format!("{}; excused by the DKIM signature of {}", finding.detail, signature.domain),
                ..finding
            },
            (None, Some(signature)) => unknown(format!("no key of {} from the DNS", signature.domain)),
            (None, None) => finding,
        },
        Slot::Unknown(fault, _) => unknown(format!("DKIM: {fault}")),
        Slot::NotAsked => finding,
    }
}

fn dmarc_finding(settings: &Settings, known: &Known) -> Option<Finding> {
    let dmarc = &known.message_auth.got()?.dmarc;
    let asked = dmarc.result == DmarcResult::Fail && dmarc.policy == DmarcPolicy::Reject;
    (asked && settings.auth.dmarc_reject).then(|| {
        let text = "DMARC: neither SPF nor DKIM passes for the domain in From, and its policy is to reject";
        Finding {
            reason: Reason::AuthDmarcReject,
            outcome: Outcome::Reject(Reply::new(Code::C550, (7, 26), text)),
            detail: format!("DMARC fail of {:?}, p=reject", dmarc.domain),
        }
    })
}

/// What is known of SPF, be it that nobody answered; `None` when it was not asked.
fn spf_outcome(facts: &Facts, known: &Known) -> Option<SpfOutcome> {
    match &known.spf {
        Slot::Got(outcome, _) => Some(outcome.clone()),
        Slot::Unknown(..) => spf_query(facts).map(|query| query.unanswered()),
        Slot::NotAsked => None,
    }
}

const FIELD: HeaderName = HeaderName::AuthenticationResults;

/// Changes of the header at the end of the message: forged fields of ours go (RFC 8601 §5), our own comes on top. Only where the
/// check is enforced, and a name for ourselves is known.
pub fn edits(facts: &Facts, settings: &Settings, known: &Known) -> Vec<HeaderEdit> {
    let AuthservId(set) = &settings.auth.authserv_id;
    let of_mta = facts.connection.mta.host_name.as_deref();
    let authserv_id = Some(set.as_str()).filter(|name| !name.is_empty()).or(of_mta).unwrap_or_default();
    let (Mode::Enforce, Some(message), false) = (settings.auth.mode, &facts.message, authserv_id.is_empty())
    else {
        return Vec::new();
    };
    let spf = spf_outcome(facts, known);
    let message_auth = known.message_auth.got().map(|message| &**message);
    let value = authentication_results(authserv_id, spf.as_ref(), message_auth);
    let forged = forged_fields(message, authserv_id);
    let removals = forged.into_iter().map(|occurrence| HeaderEdit::Remove { name: FIELD, occurrence });
    removals.chain([HeaderEdit::Insert { name: FIELD, value }]).collect()
}

/// Which of the fields of the name are forged, the last first.
fn forged_fields(message: &Message, authserv_id: &str) -> Vec<NonZeroU32> {
    let fields = message
        .headers()
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(FIELD.as_str().as_bytes()))
        .zip(1..);
    let mut forged: Vec<NonZeroU32> = fields
        .filter(|(field, _)| claims_to_be_from(&field.value, authserv_id))
        .filter_map(|(_, occurrence)| NonZeroU32::new(occurrence))
        .collect();
    forged.reverse();
    forged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{DkimResult, DkimSignature, DmarcOutcome, MessageAuth};
    use crate::facts::{Client, Connection, HeaderField, Mta, ReversePath};
    use crate::filter::Fault;
    use std::sync::Arc;
    use std::time::Duration;

    fn facts(content_follows: bool) -> Facts {
        let connection = Connection {
            client: Client::parse("192.0.2.1"),
            client_name: Some("mail.forwarder.test".into()),
            mta: Mta { host_name: Some("mx.example.test".into()), version: None },
            ..Connection::default()
        };
        Facts {
            connection,
            helo: Some("mail.client.test".into()),
            sender: Some(ReversePath::parse("<joe@example.org>")),
            content_follows,
            ..Facts::default()
        }
    }

    fn settings(auth: AuthSettings) -> Settings {
        Settings { auth: Arc::new(auth), ..Settings::default() }
    }

    fn outcome(result: SpfResult) -> SpfOutcome {
        SpfOutcome {
            result,
            identity: SpfIdentity::MailFrom,
            domain: "example.org".into(),
            passes_anyone: false,
        }
    }

    fn signed(result: DkimResult, aligned: bool) -> MessageAuth {
        let signature = DkimSignature { domain: "example.org".into(), selector: "s".into(), result, aligned };
        MessageAuth { signatures: vec![signature], ..MessageAuth::default() }
    }

    fn known(spf: SpfResult, message: Option<MessageAuth>) -> Known {
        Known {
            spf: Slot::Got(outcome(spf), Duration::ZERO),
            message_auth: message
                .map_or(Slot::NotAsked, |message| Slot::Got(Arc::new(message), Duration::ZERO)),
            ..Known::default()
        }
    }

    fn judged(stage: Stage, facts: &Facts, auth: AuthSettings, known: &Known) -> Vec<(Reason, Action)> {
        let findings = judge(stage, facts, &settings(auth), known);
        findings.iter().map(|finding| (finding.reason, finding.outcome.action())).collect()
    }

    #[test]
    fn every_result_has_its_action() {
        let default = AuthSettings::default;
        for (result, expected) in [
            (SpfResult::Pass, None),
            (SpfResult::Fail, Some((Reason::AuthSpfFail, Action::Reject))),
            (SpfResult::SoftFail, Some((Reason::AuthSpfSoftFail, Action::Tag))),
            (SpfResult::None, Some((Reason::AuthSpfNone, Action::Tag))),
            (SpfResult::Neutral, Some((Reason::AuthSpfNeutral, Action::Tag))),
            (SpfResult::PermError, Some((Reason::AuthSpfPermError, Action::Tag))),
            (SpfResult::TempError, None),
        ] {
            let known = known(result, None);
            let at_rcpt = judged(Stage::Rcpt, &facts(false), default(), &known);
            assert_eq!(at_rcpt, Vec::from_iter(expected), "{result:?}");
            let at_end = judged(Stage::EndOfMessage, &facts(false), default(), &known);
            assert_eq!(at_end, vec![], "{result:?} is judged once");
        }
        let unknown = Known { spf: Slot::Unknown(Fault::Timeout, Duration::ZERO), ..Known::default() };
        assert_eq!(judged(Stage::Rcpt, &facts(false), default(), &unknown), vec![]);
        let set = AuthSettings { spf_fail: EnvelopeAction::TAG, ..default() };
        let found = judged(Stage::Rcpt, &facts(false), set, &known(SpfResult::Fail, None));
        assert_eq!(found, vec![(Reason::AuthSpfFail, Action::Tag)]);
    }

    #[test]
    fn a_failure_waits_for_the_content_where_that_may_excuse_it() {
        let fail = known(SpfResult::Fail, None);
        assert_eq!(judged(Stage::Rcpt, &facts(true), AuthSettings::default(), &fail), vec![]);
        let soft = known(SpfResult::SoftFail, None);
        assert_eq!(judged(Stage::Rcpt, &facts(true), AuthSettings::default(), &soft).len(), 1);
        assert_eq!(judged(Stage::EndOfMessage, &facts(true), AuthSettings::default(), &soft), vec![]);
        let never = || AuthSettings { forwarded_dkim_saves: false, ..AuthSettings::default() };
        let refused = vec![(Reason::AuthSpfFail, Action::Reject)];
        assert_eq!(judged(Stage::Rcpt, &facts(true), never(), &fail), refused);
        assert_eq!(judged(Stage::EndOfMessage, &facts(true), never(), &fail), vec![]);
        let before_milter = Facts { milter_follows: true, ..facts(false) };
        assert_eq!(judged(Stage::Rcpt, &before_milter, AuthSettings::default(), &fail), vec![]);
        assert_eq!(judged(Stage::Rcpt, &before_milter, AuthSettings::default(), &soft).len(), 1);
        assert_eq!(judged(Stage::Rcpt, &before_milter, never(), &fail), refused);
    }

    #[test]
    fn only_a_valid_signature_of_the_author_excuses_a_failure() {
        for (message, expected) in [
            (signed(DkimResult::Pass, true), Action::Accept),
            (signed(DkimResult::Pass, false), Action::Reject),
            (signed(DkimResult::Fail, true), Action::Reject),
            (signed(DkimResult::PermError, true), Action::Reject),
            (signed(DkimResult::TempError, true), Action::Defer),
            (signed(DkimResult::TempError, false), Action::Reject),
            (MessageAuth::default(), Action::Reject),
        ] {
            let known = known(SpfResult::Fail, Some(message.clone()));
            let found = judged(Stage::EndOfMessage, &facts(true), AuthSettings::default(), &known);
            assert_eq!(found, vec![(Reason::AuthSpfFail, expected)], "{message:?}");
        }
        let unknown = Known {
            message_auth: Slot::Unknown(Fault::Timeout, Duration::ZERO),
            ..known(SpfResult::Fail, None)
        };
        let found = judge(Stage::EndOfMessage, &facts(true), &Settings::default(), &unknown);
        let text = "451 4.7.23 SPF: the sender's domain does not permit this client, \
                    and its signature cannot be checked just now";
        assert_eq!(found[0].outcome.reply().map(ToString::to_string).as_deref(), Some(text));
        let tag = AuthSettings { spf_fail: EnvelopeAction::TAG, ..AuthSettings::default() };
        let found = judged(Stage::EndOfMessage, &facts(true), tag, &unknown);
        assert_eq!(found, vec![(Reason::AuthSpfFail, Action::Tag)], "no harder than without the doubt");
    }

    #[test]
    fn the_reply_names_the_domain_and_the_remedy() {
        let refusal = |domain: &str, client: &str| {
            let mut facts = facts(false);
            facts.connection.client = Client::parse(client);
            let spf = SpfOutcome { domain: domain.into(), ..outcome(SpfResult::Fail) };
            let known = Known { spf: Slot::Got(spf, Duration::ZERO), ..Known::default() };
            let findings = judge(Stage::Rcpt, &facts, &Settings::default(), &known);
            findings[0].outcome.reply().map(ToString::to_string).unwrap()
        };
        assert_eq!(
            refusal("example.org", "192.0.2.1"),
            "550 5.7.23 SPF: example.org does not permit 192.0.2.1 to send its mail; \
             add it to the SPF record, or sign with DKIM"
        );
        let longest =
            refusal(&format!("{}example.org", "a.".repeat(100)), "2001:db8:1111:2222:3333:4444:5555:6666");
        assert!(longest.ends_with("or sign with DKIM"), "{longest}");
        assert!(longest.contains("...") && longest.contains("a.example.org does not permit"), "{longest}");
    }

    #[test]
    fn trusted_forwarders_are_exempt() {
        for listed in ["192.0.2.0/24", "mail.forwarder.test", "*.forwarder.test"] {
            let auth = || AuthSettings {
                trusted_forwarders: [listed].into_iter().collect(),
                dmarc_reject: true,
                ..AuthSettings::default()
            };
            let fail = known(SpfResult::Fail, Some(failing_dmarc()));
            assert_eq!(judged(Stage::Rcpt, &facts(false), auth(), &fail), vec![], "{listed}");
            assert_eq!(judged(Stage::EndOfMessage, &facts(true), auth(), &fail), vec![], "{listed}");
        }
    }

    fn failing_dmarc() -> MessageAuth {
        let dmarc = DmarcOutcome {
            result: DmarcResult::Fail,
            policy: DmarcPolicy::Reject,
            domain: "example.org".into(),
        };
        MessageAuth { dmarc, ..MessageAuth::default() }
    }

    #[test]
    fn dmarc_refuses_only_when_switched_on() {
        let known = |message| known(SpfResult::Pass, Some(message));
        let on = || AuthSettings { dmarc_reject: true, ..AuthSettings::default() };
        let judged = |auth, known: &Known| judged(Stage::EndOfMessage, &facts(true), auth, known);
        assert_eq!(judged(AuthSettings::default(), &known(failing_dmarc())), vec![]);
        assert_eq!(judged(on(), &known(failing_dmarc())), vec![(Reason::AuthDmarcReject, Action::Reject)]);
        let mut milder = failing_dmarc();
        milder.dmarc.policy = DmarcPolicy::Quarantine;
        assert_eq!(judged(on(), &known(milder)), vec![]);
        let mut passing = failing_dmarc();
        passing.dmarc.result = DmarcResult::Pass;
        assert_eq!(judged(on(), &known(passing)), vec![]);
    }

    #[test]
    fn spf_is_asked_before_the_message_and_each_once() {
        let mut facts = facts(true);
        let all = Settings::default();
        let asked = needs(Stage::Mail, &facts, &all, &Known::default());
        assert!(asked.spf);
        assert_eq!(asked.message_auth, None);
        facts.message = Some(Message::from_bytes(b"From: joe@example.org\n\nHello\n"));
        let asked = needs(Stage::EndOfMessage, &facts, &all, &Known::default());
        assert_eq!((asked.spf, asked.message_auth), (true, None));
        let pass = known(SpfResult::Pass, None);
        let asked = needs(Stage::EndOfMessage, &facts, &all, &pass);
        assert_eq!((asked.spf, asked.message_auth), (false, Some(outcome(SpfResult::Pass))));
        let unknown = Known { spf: Slot::Unknown(Fault::Timeout, Duration::ZERO), ..Known::default() };
        let asked = needs(Stage::EndOfMessage, &facts, &all, &unknown);
        assert_eq!(asked.message_auth, Some(outcome(SpfResult::TempError)));
        assert!(needs(Stage::Rcpt, &facts, &all, &unknown).is_empty());
        let done = known(SpfResult::Pass, Some(MessageAuth::default()));
        assert!(needs(Stage::EndOfMessage, &facts, &all, &done).is_empty());
        facts.connection.client = Client::Local;
        let asked = needs(Stage::EndOfMessage, &facts, &all, &Known::default());
        assert_eq!((asked.spf, asked.message_auth), (false, Some(SpfOutcome::none())));
        let off = settings(AuthSettings { mode: Mode::Off, ..AuthSettings::default() });
        assert!(needs(Stage::EndOfMessage, &facts, &off, &Known::default()).is_empty());
    }

    #[test]
    fn forged_results_go_however_many_fields_stand_before_them() {
        let field = |value: &'static str| HeaderField {
            name: "Authentication-Results".into(),
            value: value.as_bytes().into(),
        };
        let mut headers = vec![field("a"); 65_535];
        headers.extend([field("mx.example.test; spf=pass"), field("mx.example.test; dkim=pass")]);
        let found = forged_fields(&Message::new(headers, b"", false), "mx.example.test");
        assert_eq!(found.iter().map(|at| at.get()).collect::<Vec<_>>(), [65_537, 65_536]);
    }

    #[test]
    fn forged_results_go_and_ours_come_on_top() {
        let header = "AUTHENTICATION-results: mx.example.test; spf=pass\n\
                      Authentication-Results: other.test; dkim=pass\n\
                      Received: from x\n\
                      authentication-results: (c (d)) \"MX.Example.Test\"\n\t1; dkim=pass\n\
                      Authentication-Results-X: mx.example.test; spf=pass\n\n";
        let mut facts = facts(true);
        facts.message = Some(Message::from_bytes(header.as_bytes()));
        let known = known(SpfResult::SoftFail, Some(signed(DkimResult::Pass, true)));
        let remove = |occurrence| HeaderEdit::Remove {
            name: HeaderName::AuthenticationResults,
            occurrence: NonZeroU32::new(occurrence).unwrap(),
        };
        let insert = |authserv_id: &str| HeaderEdit::Insert {
            name: HeaderName::AuthenticationResults,
            value: format!(
                "{authserv_id};\n\tspf=softfail smtp.mailfrom=example.org;\
                 \n\tdkim=pass header.d=example.org header.s=s;\n\tdmarc=none (p=none)"
            ),
        };
        let expected = vec![remove(3), remove(1), insert("mx.example.test")];
        assert_eq!(edits(&facts, &Settings::default(), &known), expected);

        let other = settings(AuthSettings {
            authserv_id: AuthservId("other.test".into()),
            ..AuthSettings::default()
        });
        assert_eq!(edits(&facts, &other, &known), vec![remove(2), insert("other.test")]);
        let monitor = settings(AuthSettings { mode: Mode::Monitor, ..AuthSettings::default() });
        assert_eq!(edits(&facts, &monitor, &known), vec![]);
        facts.connection.mta.host_name = None;
        assert_eq!(edits(&facts, &Settings::default(), &known), vec![], "nobody knows who we are");
    }
}
