//! A decision as bytes: written once by the thread that answers the mail, without allocation, and read where it is shown.
//!
//! Numbers first, then texts, each behind its length; [`ABSENT`] for a length stands for none. The form is this process's own and
//! never stored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::auth::SpfOutcome;
use crate::dns::HeloResolution;
use crate::driver::Protocol;
use crate::facts::{Client, Facts, ReversePath, Stage};
use crate::filter::Slot;
use crate::policy::Mode;
use crate::reason::Reason;
use crate::store::{Identity, IdentityKind, Timestamp};
use crate::verdict::{Action, Code, Finding, Reply, Verdict};

/// Longest name or address that is shown whole, in bytes. RFC 5321 §4.5.3.1 allows 64 + 1 + 255.
pub(super) const MAX_ADDRESS: usize = 320;
/// Longest private detail that is shown whole, in bytes.
pub(super) const MAX_DETAIL: usize = 2048;
/// Most items of a list that are shown; the rest is a number.
pub(super) const MAX_ITEMS: usize = 100;
/// Most findings of one decision that are shown.
const MAX_FINDINGS: usize = 200;

const ABSENT: u16 = u16::MAX;
/// Stands behind what was cut.
const CUT: &[u8] = b"...";

const PROTOCOLS: [Protocol; 2] = [Protocol::Milter, Protocol::Policy];
const CODES: [Code; 4] = [Code::C451, Code::C452, Code::C550, Code::C554];

/// What is logged and traced of a decision: all that was known and found.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The mail's number in this process.
    pub transaction: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Time from question to verdict.
    pub took: Duration,
    /// The protocol that asked.
    pub protocol: Protocol,
    /// The stage that was judged.
    pub stage: Stage,
    /// What was known. The log shows the recipient that is judged, or else all that were accepted.
    pub facts: &'a Facts,
    /// What was found.
    pub verdict: &'a Verdict,
    /// What the DNS said of the HELO name.
    pub helo_dns: &'a Slot<HeloResolution>,
    /// What SPF said of the sender.
    pub spf: &'a Slot<SpfOutcome>,
    /// Under which identities the greylist was asked; shown with their kinds.
    pub identities: &'a [Identity],
}

impl Decision<'_> {
    /// Appends the decision to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Self { transaction, at, took, protocol, stage, facts, verdict, helo_dns, spf, identities } =
            *self;
        let mut out = Writer(out);
        out.number(transaction);
        out.number(at.as_millis());
        out.number(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        out.0.extend([protocol as u8, stage as u8]);
        out.client(facts.connection.client);
        out.optional(facts.queue_id.as_deref());
        out.optional(facts.connection.client_name.as_deref());
        out.optional(facts.helo.as_deref());
        out.sender(facts.sender.as_ref());
        out.recipients(facts);
        out.helo_dns(helo_dns);
        out.spf(spf);
        out.list(identities, |out, identity| {
            out.0.push(identity.kind as u8);
            out.text(&[&identity.key], MAX_ADDRESS);
        });
        out.optional(facts.login.as_deref());
        out.optional(facts.tls.as_deref());
        out.findings(verdict);
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        self.0.extend((length as u16).to_le_bytes());
    }

    fn absent(&mut self) {
        self.0.extend(ABSENT.to_le_bytes());
    }

    /// The parts as one text, cut between characters where it is longer than `max` bytes.
    fn text(&mut self, parts: &[&str], max: usize) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length <= max {
            self.length(length);
            parts.iter().for_each(|part| self.0.extend_from_slice(part.as_bytes()));
        } else {
            let whole = parts.concat();
            let end = whole.floor_char_boundary(max);
            self.length(end + CUT.len());
            self.0.extend_from_slice(&whole.as_bytes()[..end]);
            self.0.extend_from_slice(CUT);
        }
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(&[text], MAX_ADDRESS),
            None => self.absent(),
        }
    }

    fn client(&mut self, client: Client) {
        match client {
            Client::Unknown => self.0.push(Address::UNKNOWN),
            Client::Local => self.0.push(Address::LOCAL),
            Client::Ip(address) => self.address(address),
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.0.push(Address::V4);
                self.0.extend(address.octets());
            }
            IpAddr::V6(address) => {
                self.0.push(Address::V6);
                self.0.extend(address.octets());
            }
        }
    }

    fn sender(&mut self, sender: Option<&ReversePath>) {
        match sender {
            None => self.absent(),
            Some(ReversePath::Null) => self.text(&["<>"], MAX_ADDRESS),
            Some(ReversePath::Address(address)) => match address.domain() {
                Some(domain) => self.text(&[address.local(), "@", domain], MAX_ADDRESS),
                None => self.text(&[address.local()], MAX_ADDRESS),
            },
        }
    }

    fn recipients(&mut self, facts: &Facts) {
        let judged = match &facts.recipient {
            Some(recipient) => std::slice::from_ref(recipient),
            None => &facts.accepted,
        };
        self.list(judged, |out, recipient| out.text(&[recipient.raw()], MAX_ADDRESS));
    }

    fn helo_dns(&mut self, slot: &Slot<HeloResolution>) {
        let said = match slot {
            Slot::NotAsked => None,
            Slot::Got(HeloResolution::NoSuchName, _) => Some("no_such_name"),
            Slot::Got(HeloResolution::NoAddress, _) => Some("no_address"),
            Slot::Got(HeloResolution::MailExchangerOnly, _) => Some("mail_exchanger_only"),
            Slot::Got(HeloResolution::Addresses(addresses), _) => {
                self.0.push(1);
                return self.list(addresses, |out, address| out.address(*address));
            }
            Slot::Unknown(fault, _) => {
                self.0.push(0);
                return self.text(&[&fault.to_string()], MAX_DETAIL);
            }
        };
        self.0.push(0);
        self.optional(said);
    }

    fn spf(&mut self, slot: &Slot<SpfOutcome>) {
        match slot {
            Slot::NotAsked => self.absent(),
            Slot::Got(outcome, _) => self.text(&[outcome.result.name()], MAX_DETAIL),
            Slot::Unknown(fault, _) => self.text(&[&fault.to_string()], MAX_DETAIL),
        }
    }

    /// How many items there are, then those that are shown.
    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        items.iter().take(MAX_ITEMS).for_each(|it| item(self, it));
    }

    fn findings(&mut self, verdict: &Verdict) {
        let found = verdict.findings.iter().map(|finding| (Mode::Enforce, finding));
        let would = verdict.would.iter().map(|finding| (Mode::Monitor, finding));
        let count = verdict.findings.len() + verdict.would.len();
        self.0.push(count.min(MAX_FINDINGS) as u8);
        found.chain(would).take(MAX_FINDINGS).for_each(|(mode, finding)| self.finding(mode, finding));
    }

    fn finding(&mut self, mode: Mode, finding: &Finding) {
        let Finding { reason, outcome, detail } = finding;
        self.0.extend([u8::from(mode == Mode::Enforce), *reason as u8, outcome.action() as u8]);
        if let Some(reply) = outcome.reply() {
            let (subject, detail) = reply.status();
            self.0.extend([reply.code() as u8, subject, detail]);
            self.text(&[reply.text()], MAX_DETAIL);
        }
        self.text(&[detail], MAX_DETAIL);
    }
}

/// A decision, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded<'a> {
    pub(super) transaction: u64,
    pub(super) at: Timestamp,
    pub(super) micros: u64,
    pub(super) protocol: Protocol,
    pub(super) stage: Stage,
    pub(super) client: Client,
    pub(super) queue_id: Option<&'a str>,
    pub(super) client_name: Option<&'a str>,
    pub(super) helo: Option<&'a str>,
    pub(super) sender: Option<&'a str>,
    pub(super) recipients: List<&'a str>,
    pub(super) helo_dns: HeloDns<'a>,
    pub(super) spf: Option<&'a str>,
    pub(super) identities: List<(IdentityKind, &'a str)>,
    pub(super) login: Option<&'a str>,
    pub(super) tls: Option<&'a str>,
    /// Those that count first.
    pub(super) findings: Vec<Found<'a>>,
}

/// Items that are shown, and how many more there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List<T> {
    pub(super) shown: Vec<T>,
    pub(super) more: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeloDns<'a> {
    NotAsked,
    Said(&'a str),
    Addresses(List<IpAddr>),
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) mode: Mode,
    pub(super) reason: Reason,
    pub(super) action: Action,
    pub(super) reply: Option<Reply>,
    pub(super) detail: &'a str,
}

impl<'a> Recorded<'a> {
    /// Reads decisions that stand one behind the other, each behind its length (`u32`, little-endian).
    pub(super) fn read_all(mut bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let (length, rest) = bytes.split_first_chunk()?;
            let (decision, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            bytes = rest;
            Self::read(decision)
        })
    }

    /// Reads what [`Decision::write`] wrote; `None` for anything else.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        Some(Self {
            transaction: from.number()?,
            at: Timestamp::from_millis(from.number()?),
            micros: from.number()?,
            protocol: from.one_of(&PROTOCOLS)?,
            stage: from.one_of(&Stage::ALL)?,
            client: from.client()?,
            queue_id: from.text()?,
            client_name: from.text()?,
            helo: from.text()?,
            sender: from.text()?,
            recipients: from.list(|from| from.text()?)?,
            helo_dns: from.helo_dns()?,
            spf: from.text()?,
            identities: from.list(|from| Some((from.one_of(&IdentityKind::ALL)?, from.text()??)))?,
            login: from.text()?,
            tls: from.text()?,
            findings: from.findings()?,
        })
    }
}

struct Address;

impl Address {
    const UNKNOWN: u8 = 0;
    const LOCAL: u8 = 1;
    const V4: u8 = 4;
    const V6: u8 = 6;
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// The value with this number among `all`, which stand in the order of their numbers.
    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.byte()?)).copied()
    }

    /// A text, which may be absent.
    fn text(&mut self) -> Option<Option<&'a str>> {
        match self.array().map(u16::from_le_bytes)? {
            ABSENT => Some(None),
            length => std::str::from_utf8(self.bytes(length.into())?).ok().map(Some),
        }
    }

    fn client(&mut self) -> Option<Client> {
        match *self.0.first()? {
            Address::UNKNOWN => self.byte().map(|_| Client::Unknown),
            Address::LOCAL => self.byte().map(|_| Client::Local),
            _ => self.address().map(Client::Ip),
        }
    }

    fn address(&mut self) -> Option<IpAddr> {
        match self.byte()? {
            Address::V4 => self.array().map(|octets: [u8; 4]| Ipv4Addr::from(octets).into()),
            Address::V6 => self.array().map(|octets: [u8; 16]| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<List<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        let shown = (0..count.min(MAX_ITEMS)).map(|_| item(self)).collect::<Option<_>>()?;
        Some(List { shown, more: count.saturating_sub(MAX_ITEMS) })
    }

    fn helo_dns(&mut self) -> Option<HeloDns<'a>> {
        Some(match self.byte()? {
            0 => self.text()?.map_or(HeloDns::NotAsked, HeloDns::Said),
            _ => HeloDns::Addresses(self.list(Self::address)?),
        })
    }

    fn findings(&mut self) -> Option<Vec<Found<'a>>> {
        (0..self.byte()?).map(|_| self.finding()).collect()
    }

    fn finding(&mut self) -> Option<Found<'a>> {
        let mode = self.one_of(&[Mode::Monitor, Mode::Enforce])?;
        let reason = self.one_of(Reason::ALL)?;
        let action = self.one_of(&Action::ALL)?;
        let reply = match action.refuses() {
            true => {
                let code = self.one_of(&CODES)?;
                let [subject, detail] = self.array()?;
                Some(Reply::new(code, (subject, detail), self.text()??))
            }
            false => None,
        };
        Some(Found { mode, reason, action, reply, detail: self.text()?? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values are written by their numbers and read by their places.
    #[test]
    fn numbers_are_places() {
        assert!(Reason::ALL.len() < 256);
        assert!(Reason::ALL.iter().enumerate().all(|(place, it)| *it as usize == place));
        assert!(Action::ALL.iter().enumerate().all(|(place, it)| *it as usize == place));
        assert!(Stage::ALL.iter().enumerate().all(|(place, it)| *it as usize == place));
        assert!(PROTOCOLS.iter().enumerate().all(|(place, it)| *it as usize == place));
        assert!(CODES.iter().enumerate().all(|(place, it)| *it as usize == place));
        assert!(IdentityKind::ALL.iter().enumerate().all(|(place, it)| *it as usize == place));
    }

    #[test]
    fn other_bytes_are_no_decision() {
        let facts = Facts::default();
        let decision = Decision {
            transaction: 1,
            at: Timestamp::from_millis(2),
            took: Duration::from_micros(3),
            protocol: Protocol::Policy,
            stage: Stage::Rcpt,
            facts: &facts,
            verdict: &Verdict::default(),
            helo_dns: &Slot::NotAsked,
            spf: &Slot::NotAsked,
            identities: &[],
        };
        let mut bytes = Vec::new();
        decision.write(&mut bytes);
        assert!(Recorded::read(&bytes).is_some());
        for length in 0..bytes.len() {
            assert_eq!(Recorded::read(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Recorded::read(&[0xff; 500]), None);
    }
}
