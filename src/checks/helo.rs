//! The HELO name: who the client says it is.
//!
//! Judged when a recipient is named, so that the log knows for whom the mail was meant; one name has one cause, the first of
//! the documentation's order that fits. What the DNS says is asked only of names that are well-formed.

mod names;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{auth, joined};
use crate::auth::SpfResult;
use crate::dns::HeloResolution;
use crate::facts::{Facts, host_name};
use crate::filter::{Known, Slot};
use crate::policy::lists::Set;
use crate::policy::{Conflict, EnvelopeAction, Mode, Settings, Severity};
use crate::reason::Reason;
use crate::verdict::{Action, Code, Finding, Outcome, Reply};

pub use names::{HeloNames, HeloPattern};

crate::settings! {
    /// The HELO name: who the client says it is. Judged at RCPT; the refusal is `Access denied - bogus HELO [n]`, where n is
    /// the number of the cause. Actions: "accept" (evidence only), "tag" (deliver with an X-Greylag header), "defer", "reject".
    /// Mail to postmaster and abuse always passes.
    pub struct HeloSettings {
        /// Whether the check decides ("enforce"), only counts and logs what it would have done ("monitor"), or is not run
        /// ("off").
        mode: Mode = Mode::Enforce,
        /// (1) No HELO or EHLO name at all.
        missing: EnvelopeAction = EnvelopeAction::REJECT,
        /// (2) An address without brackets, such as 127.0.0.1.
        bare_address: EnvelopeAction = EnvelopeAction::REJECT,
        /// (3) An address literal, such as `[192.168.1.1]`.
        address_literal: EnvelopeAction = EnvelopeAction::REJECT,
        /// (4) A name without a dot, such as "server" or "mon-serveur".
        unqualified: EnvelopeAction = EnvelopeAction::REJECT,
        /// (5) "localhost", or a name below it, or localhost.localdomain.
        localhost: EnvelopeAction = EnvelopeAction::REJECT,
        /// (6) Not a host name by RFC 5321 §4.1.2; "_" is tolerated, as Postfix does.
        invalid_syntax: EnvelopeAction = EnvelopeAction::REJECT,
        /// (7) A name on the list `banned_names`.
        banned: EnvelopeAction = EnvelopeAction::REJECT,
        /// (8) One of our own names or addresses: what the MTA calls itself, or the list `own_names`.
        own_name: EnvelopeAction = EnvelopeAction::REJECT,
        /// (9) The DNS says that the name does not exist. A DNS failure or timeout is never a reason to refuse.
        unresolvable: EnvelopeAction = EnvelopeAction::REJECT,
        /// (10) The name exists in the DNS, but has no A, AAAA or MX record.
        no_address: EnvelopeAction = EnvelopeAction::TAG,
        /// (11) The name resolves, but not to the client's address. Many honest senders do so.
        mismatched: EnvelopeAction = EnvelopeAction::ACCEPT,
        /// Names that nobody may claim; "*.local" stands for every name below local.
        banned_names: HeloNames = ["fakedomain.xyz", "*.local"].into_iter().collect(),
        /// Names of ours, beside the one the MTA reports, that a client from outside cannot have.
        own_names: HeloNames = HeloNames::default(),
        /// Accept an address literal that is the client's own address.
        allow_own_literal: bool = false,
        /// Only tag, whatever the cause, when the client's address has a verified host name (FCrDNS), or SPF passes the mail. A pass
        /// that anyone gets, as by "+all", is none. Where SPF cannot be told now (temperror, no answer), a rejection is a deferral.
        unless_verified: bool = false,
    }
    conflicts = conflicts;
}

fn conflicts(settings: &HeloSettings) -> Vec<Conflict> {
    let banned = settings.own_names.entries().find(|own| settings.banned_names.covers(own));
    let conflict = |own: HeloPattern| Conflict {
        severity: Severity::Warning,
        keys: &["own_names", "banned_names"],
        title: format!("{own} is one of `own_names` and of `banned_names`"),
        label: "a banned name is refused to our own hosts too".to_owned(),
    };
    banned.map(conflict).into_iter().collect()
}

/// Whether the recipient judged now is postmaster or abuse: who was refused by mistake must be able to say so (RFC 5321 §4.5.1,
/// RFC 2142 §4).
pub fn is_exempt(facts: &Facts) -> bool {
    facts.recipient.as_ref().is_some_and(|recipient| recipient.is_role())
}

/// Whether the check is not run for the recipient judged now.
fn is_off(facts: &Facts, settings: &HeloSettings) -> bool {
    settings.mode == Mode::Off || is_exempt(facts)
}

/// Whether the DNS is to be asked about the name, which is well-formed then.
pub fn needs(facts: &Facts, settings: &Settings, known: &Known) -> bool {
    !is_off(facts, &settings.helo) && known.helo.is_not_asked() && claim(facts, settings, known) == Ok(true)
}

/// Whether SPF is to be asked, as its pass would excuse the name.
pub fn needs_spf(facts: &Facts, settings: &Settings, known: &Known) -> bool {
    let helo = &settings.helo;
    let may_excuse = !is_off(facts, helo) && helo.unless_verified && facts.connection.client_name.is_none();
    may_excuse && known.spf.is_not_asked() && auth::can_ask_spf(facts)
}

/// The HELO name where it is a host name by its letters: in lower case, without final dot, as A-labels.
pub fn name<'a>(facts: &'a Facts, known: &'a Known) -> Option<&'a str> {
    form(facts, known).name(typed(facts))
}

/// What the client typed, or nothing.
fn typed(facts: &Facts) -> &str {
    facts.helo.as_deref().unwrap_or_default()
}

fn form<'a>(facts: &Facts, known: &'a Known) -> &'a HeloForm {
    known.helo_form.get_or_init(|| HeloForm::of(typed(facts)))
}

/// Judges the name.
pub fn judge(facts: &Facts, settings: &Settings, known: &Known) -> Option<Finding> {
    if is_exempt(facts) {
        return None;
    }
    let cause = match claim(facts, settings, known) {
        Err(cause) => Some(cause),
        Ok(_) => cause_in_dns(facts, &known.helo),
    };
    cause.map(|cause| finding(cause, facts, &settings.helo, known))
}

/// What is wrong with the name without asking anybody, or whether there is a name to ask about. Found out once for a name, as the
/// recipients of a mail mostly have the same settings.
fn claim(facts: &Facts, settings: &Settings, known: &Known) -> Result<bool, Reason> {
    let find = || well_formed(facts, &settings.helo, known).map(|name| name.is_some());
    let (of, claim) = known.helo_claim.get_or_init(|| (Arc::clone(&settings.helo), find()));
    if Arc::ptr_eq(of, &settings.helo) { *claim } else { find() }
}

fn finding(cause: Reason, facts: &Facts, settings: &HeloSettings, known: &Known) -> Finding {
    let mut action = action_for(cause, settings);
    if settings.unless_verified {
        action = action.min(most_unless_verified(facts, known));
    }
    let reply = || Reply::new(Code::C550, (7, 1), format!("Access denied - bogus HELO [{}]", cause.number()));
    let detail = match form(facts, known) {
        // Nothing of a host name has to be escaped.
        HeloForm::AsTyped => joined(["HELO \"", typed(facts), "\""]),
        _ => format!("HELO {:?}", typed(facts)),
    };
    Finding { reason: cause, outcome: Outcome::with(action, reply), detail }
}

/// The most that is done where somebody may answer for the client, whatever it calls itself. That this could not be found out refuses
/// nobody for good.
fn most_unless_verified(facts: &Facts, known: &Known) -> Action {
    if facts.connection.client_name.is_some() {
        return Action::Tag;
    }
    match &known.spf {
        Slot::Got(spf, _) if spf.result == SpfResult::Pass && !spf.passes_anyone => Action::Tag,
        Slot::Got(spf, _) if spf.result == SpfResult::TempError => Action::Defer,
        Slot::Unknown(..) => Action::Defer,
        Slot::NotAsked | Slot::Got(..) => Action::Reject,
    }
}

fn action_for(cause: Reason, settings: &HeloSettings) -> Action {
    let action = match cause {
        Reason::HeloMissing => settings.missing,
        Reason::HeloBareAddress => settings.bare_address,
        Reason::HeloAddressLiteral => settings.address_literal,
        Reason::HeloUnqualified => settings.unqualified,
        Reason::HeloLocalhost => settings.localhost,
        Reason::HeloInvalidSyntax => settings.invalid_syntax,
        Reason::HeloBanned => settings.banned,
        Reason::HeloOwnName => settings.own_name,
        Reason::HeloUnresolvable => settings.unresolvable,
        Reason::HeloNoAddress => settings.no_address,
        Reason::HeloMismatched => settings.mismatched,
        _ => EnvelopeAction::ACCEPT,
    };
    action.action()
}

/// The name in the form the DNS and lists know (`None` for an allowed literal, which has none), or what is wrong with the
/// claim without asking anybody.
fn well_formed<'a>(
    facts: &'a Facts,
    settings: &HeloSettings,
    known: &'a Known,
) -> Result<Option<&'a str>, Reason> {
    let form = form(facts, known);
    let client = facts.connection.client.ip();
    // Every host has the loopback addresses: they say nothing of who is who.
    let server = facts.connection.local.map(|local| local.ip().to_canonical()).filter(|ip| !ip.is_loopback());
    // Who has our address is ourselves, and may have our name too.
    let is_outsider = server.is_none() || client != server;
    let name = match form {
        HeloForm::Missing => return Err(Reason::HeloMissing),
        HeloForm::BareAddress(address) | HeloForm::Literal(address)
            if is_outsider && Some(*address) == server =>
        {
            return Err(Reason::HeloOwnName);
        }
        HeloForm::BareAddress(_) => return Err(Reason::HeloBareAddress),
        HeloForm::Literal(address) if settings.allow_own_literal && Some(*address) == client => {
            return Ok(None);
        }
        HeloForm::Literal(_) => return Err(Reason::HeloAddressLiteral),
        HeloForm::Invalid => return Err(Reason::HeloInvalidSyntax),
        HeloForm::AsTyped => typed(facts),
        HeloForm::Name(name) => name,
    };
    if is_localhost(name) {
        return Err(Reason::HeloLocalhost);
    }
    if settings.banned_names.contains(name) {
        return Err(Reason::HeloBanned);
    }
    if is_outsider && is_own(name, facts, settings) {
        return Err(Reason::HeloOwnName);
    }
    if !name.bytes().any(|byte| byte == b'.') {
        return Err(Reason::HeloUnqualified);
    }
    Ok(Some(name))
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || name == "localhost.localdomain"
}

fn is_own(name: &str, facts: &Facts, settings: &HeloSettings) -> bool {
    let reported = facts.connection.mta.host_name.as_deref().and_then(host_name);
    reported.as_deref() == Some(name) || settings.own_names.contains(name)
}

fn cause_in_dns(facts: &Facts, answer: &Slot<HeloResolution>) -> Option<Reason> {
    match answer.got()? {
        HeloResolution::NoSuchName => Some(Reason::HeloUnresolvable),
        HeloResolution::NoAddress => Some(Reason::HeloNoAddress),
        HeloResolution::MailExchangerOnly => Some(Reason::HeloMismatched),
        HeloResolution::Addresses(addresses) => match facts.connection.client.ip() {
            Some(client) if !addresses.contains(&client) => Some(Reason::HeloMismatched),
            _ => None,
        },
    }
}

/// What kind of thing the client put after HELO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeloForm {
    /// Nothing.
    Missing,
    /// An address without brackets.
    BareAddress(IpAddr),
    /// An address in brackets.
    Literal(IpAddr),
    /// None of all these.
    Invalid,
    /// A host name by its letters, typed as the DNS and lists know it: lower case, no final dot, A-labels.
    AsTyped,
    /// A host name by its letters, typed otherwise; as the DNS and lists know it.
    Name(String),
}

impl HeloForm {
    fn of(typed: &str) -> Self {
        // Nearly always.
        if is_host_name(typed) {
            return Self::AsTyped;
        }
        let claimed = typed.trim();
        if claimed.is_empty() || claimed == "." {
            return Self::Missing;
        }
        if let Some(rest) = claimed.strip_prefix('[') {
            let inner = rest.strip_suffix(']').unwrap_or(rest);
            return address(inner).map_or(Self::Invalid, Self::Literal);
        }
        if let Some(address) = address(claimed.strip_suffix('.').unwrap_or(claimed)) {
            return Self::BareAddress(address);
        }
        match host_name(claimed) {
            Some(name) if is_host_name(&name) => Self::Name(name),
            _ => Self::Invalid,
        }
    }

    /// The host name, if what was `typed` is one.
    fn name<'a>(&'a self, typed: &'a str) -> Option<&'a str> {
        match self {
            Self::AsTyped => Some(typed),
            Self::Name(name) => Some(name),
            Self::Missing | Self::BareAddress(_) | Self::Literal(_) | Self::Invalid => None,
        }
    }
}

/// An address in the forms of RFC 5321 §4.1.3, which writes IPv6 ones with the tag `IPv6:`; clients forget it.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Some(v4.into());
    }
    if !text.contains(':') {
        return None;
    }
    let untagged = match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => &text[5..],
        _ => text,
    };
    untagged.parse::<Ipv6Addr>().ok().map(|v6| IpAddr::from(v6).to_canonical())
}

/// RFC 5321 §4.1.2 `Domain` by RFC 1123 §2.1, in lower case: labels of 1–63 letters, digits and inner hyphens, at most 253 in all;
/// the last label is not all digits, or `127.1` would be a name. Underscores pass, as many Windows hosts have one.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &[u8]| {
        (1..=63).contains(&label.len()) && label.first() != Some(&b'-') && label.last() != Some(&b'-')
    };
    let mut labels = name.as_bytes().split(|byte| *byte == b'.');
    let is_number = |label: &[u8]| label.iter().all(u8::is_ascii_digit);
    name.len() <= 253
        && is_of_names(name)
        && labels.clone().all(is_label)
        && !labels.next_back().is_some_and(is_number)
}

/// Whether these are bytes that host names have in lower case. Looks at all in any case, so that many are looked at in one step.
fn is_of_names(text: &str) -> bool {
    let is_one =
        |byte: u8| byte.is_ascii_lowercase() | byte.is_ascii_digit() | matches!(byte, b'-' | b'.' | b'_');
    text.bytes().fold(true, |so_far, byte| so_far & is_one(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{SpfIdentity, SpfOutcome};
    use crate::facts::{Client, Connection, Mta, ReversePath};
    use crate::filter::Fault;
    use smallvec::smallvec;
    use std::time::Duration;

    fn facts(helo: Option<&str>) -> Facts {
        Facts {
            connection: Connection {
                client: Client::parse("192.0.2.7"),
                local: "203.0.113.5:25".parse().ok(),
                mta: Mta { host_name: Some("mx.Example.test".into()), version: None },
                ..Connection::default()
            },
            helo: helo.map(str::to_owned),
            ..Facts::default()
        }
    }

    fn known(answer: HeloResolution) -> Known {
        Known { helo: Slot::Got(answer, Duration::ZERO), ..Known::default() }
    }

    fn judged(facts: &Facts, settings: HeloSettings, known: &Known) -> Option<(Reason, Action)> {
        let settings = Settings { helo: Arc::new(settings), ..Settings::default() };
        judge(facts, &settings, known).map(|finding| (finding.reason, finding.outcome.action()))
    }

    #[test]
    fn postmaster_and_abuse_are_reached_by_whatever_name() {
        let strict = HeloSettings { unless_verified: true, ..HeloSettings::default() };
        let settings = Settings { helo: Arc::new(strict), ..Settings::default() };
        for (recipient, exempt) in [("Postmaster@x.test", true), ("abuse", true), ("joe@x.test", false)] {
            let to = |helo| Facts {
                recipient: Some(crate::facts::Recipient::parse(recipient)),
                sender: Some(ReversePath::Null),
                ..facts(Some(helo))
            };
            let (named, known) = (to("mail.example.org"), Known::default());
            assert_eq!(judge(&to("localhost"), &settings, &known).is_none(), exempt, "{recipient}");
            assert_eq!(needs(&named, &settings, &Known::default()), !exempt, "{recipient}");
            assert_eq!(needs_spf(&named, &settings, &Known::default()), !exempt, "{recipient}");
        }
    }

    #[test]
    fn each_claim_has_its_cause() {
        let long_label = format!("{}.test", "a".repeat(64));
        let long_name = format!("{}test", "a.".repeat(125));
        for (claim, cause) in [
            ("", Some(Reason::HeloMissing)),
            (".", Some(Reason::HeloMissing)),
            ("127.0.0.1", Some(Reason::HeloBareAddress)),
            ("127.0.0.1.", Some(Reason::HeloBareAddress)),
            ("2001:db8::1", Some(Reason::HeloBareAddress)),
            ("IPv6:2001:db8::1", Some(Reason::HeloBareAddress)),
            ("[192.168.1.1]", Some(Reason::HeloAddressLiteral)),
            ("[192.0.2.7]", Some(Reason::HeloAddressLiteral)),
            ("[IPv6:2001:db8::1]", Some(Reason::HeloAddressLiteral)),
            ("[2001:db8::1]", Some(Reason::HeloAddressLiteral)),
            ("[192.168.1.1", Some(Reason::HeloAddressLiteral)),
            ("[203.0.113.5]", Some(Reason::HeloOwnName)),
            ("[IPv6:::ffff:203.0.113.5]", Some(Reason::HeloOwnName)),
            ("203.0.113.5", Some(Reason::HeloOwnName)),
            ("[mail.example.org]", Some(Reason::HeloInvalidSyntax)),
            ("server", Some(Reason::HeloUnqualified)),
            ("mon-serveur", Some(Reason::HeloUnqualified)),
            ("WIN_PC", Some(Reason::HeloUnqualified)),
            ("localhost", Some(Reason::HeloLocalhost)),
            ("LocalHost.", Some(Reason::HeloLocalhost)),
            ("a.localhost", Some(Reason::HeloLocalhost)),
            ("localhost.localdomain", Some(Reason::HeloLocalhost)),
            ("127.1", Some(Reason::HeloInvalidSyntax)),
            ("1.2.3.4.5", Some(Reason::HeloInvalidSyntax)),
            ("256.1.1.1", Some(Reason::HeloInvalidSyntax)),
            ("a..b", Some(Reason::HeloInvalidSyntax)),
            (".a.b", Some(Reason::HeloInvalidSyntax)),
            ("-a.test", Some(Reason::HeloInvalidSyntax)),
            ("a-.test", Some(Reason::HeloInvalidSyntax)),
            ("a b.test", Some(Reason::HeloInvalidSyntax)),
            ("a@b.test", Some(Reason::HeloInvalidSyntax)),
            ("$HOSTNAME.test", Some(Reason::HeloInvalidSyntax)),
            (&long_label, Some(Reason::HeloInvalidSyntax)),
            (&long_name, Some(Reason::HeloInvalidSyntax)),
            ("fakedomain.xyz", Some(Reason::HeloBanned)),
            ("FakeDomain.XYZ.", Some(Reason::HeloBanned)),
            ("printer.local", Some(Reason::HeloBanned)),
            ("MX.example.TEST", Some(Reason::HeloOwnName)),
            ("mail.example.org", None),
            ("mail_1.example.org", None),
            ("mail.example.org.", None),
            ("xn--bcher-kva.example", None),
            ("b\u{fc}cher.example", None),
            ("1and1.example.org", None),
            ("123.example.org", None),
        ] {
            let expected = cause.map(|cause| (cause, Action::Reject));
            assert_eq!(
                judged(&facts(Some(claim)), HeloSettings::default(), &Known::default()),
                expected,
                "{claim}"
            );
        }
        let missing = judged(&facts(None), HeloSettings::default(), &Known::default());
        assert_eq!(missing, Some((Reason::HeloMissing, Action::Reject)));
    }

    #[test]
    fn the_reply_names_the_number_of_the_cause() {
        let finding = judge(&facts(Some("127.0.0.1")), &Settings::default(), &Known::default()).unwrap();
        let reply = finding.outcome.reply().map(ToString::to_string);
        assert_eq!(reply.as_deref(), Some("550 5.7.1 Access denied - bogus HELO [2]"));
    }

    #[test]
    fn the_dns_is_asked_only_of_well_formed_names_and_once() {
        let settings = Settings::default();
        let asked = |helo, known: &Known| needs(&facts(Some(helo)), &settings, known);
        let nothing = Known::default();
        assert!(asked("Mail.Example.org.", &nothing));
        assert_eq!(name(&facts(None), &nothing), Some("mail.example.org"));
        assert!(!asked("localhost", &Known::default()));
        assert!(!asked("mail.example.org", &known(HeloResolution::NoAddress)));
        let off = Settings {
            helo: Arc::new(HeloSettings { mode: Mode::Off, ..HeloSettings::default() }),
            ..Settings::default()
        };
        assert!(!needs(&facts(Some("mail.example.org")), &off, &Known::default()));
    }

    #[test]
    fn what_the_dns_says_has_its_cause() {
        let facts = facts(Some("mail.example.org"));
        let client: IpAddr = Ipv4Addr::new(192, 0, 2, 7).into();
        let other: IpAddr = Ipv4Addr::new(192, 0, 2, 8).into();
        for (answer, expected) in [
            (HeloResolution::NoSuchName, Some((Reason::HeloUnresolvable, Action::Reject))),
            (HeloResolution::NoAddress, Some((Reason::HeloNoAddress, Action::Tag))),
            (HeloResolution::MailExchangerOnly, Some((Reason::HeloMismatched, Action::Accept))),
            (HeloResolution::Addresses(smallvec![other]), Some((Reason::HeloMismatched, Action::Accept))),
            (HeloResolution::Addresses(smallvec![other, client]), None),
        ] {
            assert_eq!(
                judged(&facts, HeloSettings::default(), &known(answer.clone())),
                expected,
                "{answer:?}"
            );
        }
    }

    #[test]
    fn an_unanswered_question_refuses_nobody() {
        let facts = facts(Some("mail.example.org"));
        let unknown =
            Known { helo: Slot::Unknown(crate::filter::Fault::Timeout, Duration::ZERO), ..Known::default() };
        assert_eq!(judged(&facts, HeloSettings::default(), &unknown), None);
    }

    #[test]
    fn a_literal_of_the_client_itself_may_be_allowed() {
        let settings = HeloSettings { allow_own_literal: true, ..HeloSettings::default() };
        assert_eq!(judged(&facts(Some("[192.0.2.7]")), settings.clone(), &Known::default()), None);
        let all = Settings { helo: Arc::new(settings.clone()), ..Settings::default() };
        assert!(!needs(&facts(Some("[192.0.2.7]")), &all, &Known::default()));
        let other = judged(&facts(Some("[192.0.2.8]")), settings, &Known::default());
        assert_eq!(other, Some((Reason::HeloAddressLiteral, Action::Reject)));
    }

    #[test]
    fn only_an_outsider_cannot_have_our_name() {
        let settings = HeloSettings {
            own_names: ["mail.example.test"].into_iter().collect(),
            allow_own_literal: true,
            ..HeloSettings::default()
        };
        for local in ["203.0.113.5:25", "[::ffff:203.0.113.5]:25"] {
            for claim in ["mx.example.test", "mail.example.test", "[203.0.113.5]"] {
                let mut facts = facts(Some(claim));
                facts.connection.local = local.parse().ok();
                let outsider = judged(&facts, settings.clone(), &Known::default());
                assert_eq!(outsider, Some((Reason::HeloOwnName, Action::Reject)), "{claim} at {local}");
                facts.connection.client = Client::parse("203.0.113.5");
                assert_eq!(judged(&facts, settings.clone(), &Known::default()), None, "{claim} at {local}");
            }
        }
        let mut unknown = facts(Some("mx.example.test"));
        unknown.connection.local = None;
        unknown.connection.client = Client::Unknown;
        let judged = judged(&unknown, settings, &Known::default());
        assert_eq!(judged, Some((Reason::HeloOwnName, Action::Reject)));
    }

    #[test]
    fn a_verified_client_may_be_tagged_instead() {
        let settings = HeloSettings { unless_verified: true, ..HeloSettings::default() };
        let mut facts = facts(Some("localhost"));
        let stranger = judged(&facts, settings.clone(), &Known::default());
        assert_eq!(stranger, Some((Reason::HeloLocalhost, Action::Reject)));
        let spf = |result, passes_anyone| {
            let (identity, domain) = (SpfIdentity::MailFrom, "example.org".into());
            let outcome = SpfOutcome { result, identity, domain, passes_anyone };
            Known { spf: Slot::Got(outcome, Duration::ZERO), ..Known::default() }
        };
        for (known, action) in [
            (spf(SpfResult::Pass, false), Action::Tag),
            (spf(SpfResult::Pass, true), Action::Reject),
            (spf(SpfResult::Neutral, false), Action::Reject),
            (spf(SpfResult::TempError, false), Action::Defer),
            (Known { spf: Slot::Unknown(Fault::Timeout, Duration::ZERO), ..Known::default() }, Action::Defer),
        ] {
            assert_eq!(judged(&facts, settings.clone(), &known), Some((Reason::HeloLocalhost, action)));
        }
        facts.connection.client_name = Some("mail.example.org".into());
        assert_eq!(judged(&facts, settings, &Known::default()), Some((Reason::HeloLocalhost, Action::Tag)));
    }

    #[test]
    fn spf_is_asked_where_it_may_excuse_the_name() {
        let needs = |facts: &Facts, helo: HeloSettings| {
            let settings = Settings { helo: Arc::new(helo), ..Settings::default() };
            needs_spf(facts, &settings, &Known::default())
        };
        let excusing = || HeloSettings { unless_verified: true, ..HeloSettings::default() };
        let mut facts = Facts { sender: Some(ReversePath::Null), ..facts(Some("localhost")) };
        assert!(needs(&facts, excusing()));
        assert!(!needs(&facts, HeloSettings::default()));
        assert!(!needs(&facts, HeloSettings { mode: Mode::Off, ..excusing() }));
        assert!(!needs(&Facts { sender: None, ..facts.clone() }, excusing()));
        facts.connection.client_name = Some("mail.example.org".into());
        assert!(!needs(&facts, excusing()));
    }
}
