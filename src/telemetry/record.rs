//! A decision as bytes: written once by the thread that answers the mail, without allocation, and read where it is shown.
//!
//! Numbers first, then texts, each behind its length; [`ABSENT`] for a length stands for none. The form is this process's own and
//! never stored.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::form::Said as Reply;
use super::said::Said;
use crate::auth::SpfOutcome;
use crate::dns::HeloResolution;
use crate::driver::Protocol;
use crate::facts::{Client, Facts, ReversePath, Stage};
use crate::filter::Slot;
use crate::policy::Mode;
use crate::reason::Reason;
use crate::store::{Identity, IdentityKind, Timestamp};
use crate::verdict::{Action, Code, Finding, Verdict};

/// Longest name or address that is shown whole, in bytes. RFC 5321 §4.5.3.1 allows 64 + 1 + 255.
pub(super) const MAX_ADDRESS: usize = 320;
/// Longest private detail that is shown whole, in bytes.
pub(super) const MAX_DETAIL: usize = 2048;
/// Most items of a list that are shown; the rest is a number.
pub(super) const MAX_ITEMS: usize = 100;
/// Most findings of one decision that are shown.
const MAX_FINDINGS: usize = 200;

const ABSENT: u16 = u16::MAX;
/// Bytes of the length of a list.
const LENGTH: usize = size_of::<u32>();
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

/// What is its own of each decision, even where all else is as it was with another.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
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
    /// The MTA's queue id, once there is one.
    pub queue_id: Option<&'a str>,
}

impl Decision<'_> {
    /// Appends the decision to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Self { transaction, at, took, protocol, stage, facts, .. } = *self;
        let queue_id = facts.queue_id.as_deref();
        Made { transaction, at, took, protocol, stage, queue_id }.write(out);
        self.write_said(out);
    }

    /// What is known and found, to be logged again with [`super::Trace::record_again`].
    pub fn said(&self) -> Said {
        let mut out = Vec::with_capacity(512);
        self.write_said(&mut out);
        Said::new(out.into())
    }

    fn write_said(&self, out: &mut Vec<u8>) {
        let Self { facts, verdict, helo_dns, spf, identities, .. } = *self;
        let mut out = Writer(out);
        out.client(facts.connection.client);
        out.optional(facts.connection.client_name.as_deref());
        out.optional(facts.helo.as_deref());
        out.sender(facts.sender.as_ref());
        out.recipients(facts);
        out.helo_dns(helo_dns);
        out.spf(spf);
        out.list(identities, |out, identity| {
            out.bytes(&[identity.kind as u8]);
            out.text(&identity.key, MAX_ADDRESS);
        });
        out.optional(facts.login.as_deref());
        out.optional(facts.tls.as_deref());
        out.findings(verdict);
    }
}

impl Made<'_> {
    /// Appends it to `out`.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let Self { transaction, at, took, protocol, stage, queue_id } = self;
        let mut out = Writer(out);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        out.numbers([transaction, at.as_millis(), micros]);
        out.bytes(&[protocol as u8, stage as u8]);
        out.optional(queue_id);
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        self.bytes(numbers.map(u64::to_le_bytes).as_flattened());
    }

    fn length(&mut self, length: usize) {
        self.bytes(&(length as u16).to_le_bytes());
    }

    fn absent(&mut self) {
        self.bytes(&ABSENT.to_le_bytes());
    }

    /// A text, cut between characters where it is longer than `max` bytes.
    #[inline]
    fn text(&mut self, text: &str, max: usize) {
        if text.len() <= max {
            self.length(text.len());
            self.bytes(text.as_bytes());
        } else {
            let end = text.floor_char_boundary(max);
            self.length(end + CUT.len());
            self.bytes(&text.as_bytes()[..end]);
            self.bytes(CUT);
        }
    }

    #[inline]
    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text, MAX_ADDRESS),
            None => self.absent(),
        }
    }

    fn client(&mut self, client: Client) {
        match client {
            Client::Unknown => self.bytes(&[Address::UNKNOWN]),
            Client::Local => self.bytes(&[Address::LOCAL]),
            Client::Ip(address) => self.address(address),
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                self.bytes(&[Address::V4, a, b, c, d]);
            }
            IpAddr::V6(address) => {
                self.bytes(&[Address::V6]);
                self.bytes(&address.octets());
            }
        }
    }

    fn sender(&mut self, sender: Option<&ReversePath>) {
        match sender {
            None => self.absent(),
            Some(ReversePath::Null) => self.text("<>", MAX_ADDRESS),
            Some(ReversePath::Address(address)) => match (address.local(), address.domain()) {
                (local, None) => self.text(local, MAX_ADDRESS),
                (local, Some(domain)) if local.len() + 1 + domain.len() <= MAX_ADDRESS => {
                    self.length(local.len() + 1 + domain.len());
                    self.bytes(local.as_bytes());
                    self.bytes(b"@");
                    self.bytes(domain.as_bytes());
                }
                (local, Some(domain)) => self.text(&[local, "@", domain].concat(), MAX_ADDRESS),
            },
        }
    }

    fn recipients(&mut self, facts: &Facts) {
        let judged = match &facts.recipient {
            Some(recipient) => std::slice::from_ref(recipient),
            None => &facts.accepted,
        };
        self.list(judged, |out, recipient| out.text(recipient.raw(), MAX_ADDRESS));
    }

    fn helo_dns(&mut self, slot: &Slot<HeloResolution>) {
        let said = match slot {
            Slot::NotAsked => None,
            Slot::Got(HeloResolution::NoSuchName, _) => Some("no_such_name"),
            Slot::Got(HeloResolution::NoAddress, _) => Some("no_address"),
            Slot::Got(HeloResolution::MailExchangerOnly, _) => Some("mail_exchanger_only"),
            Slot::Got(HeloResolution::Addresses(addresses), _) => {
                self.bytes(&[1]);
                return self.list(addresses, |out, address| out.address(*address));
            }
            Slot::Unknown(fault, _) => {
                self.bytes(&[0]);
                return self.text(&fault.to_string(), MAX_DETAIL);
            }
        };
        self.bytes(&[0]);
        self.optional(said);
    }

    fn spf(&mut self, slot: &Slot<SpfOutcome>) {
        match slot {
            Slot::NotAsked => self.absent(),
            Slot::Got(outcome, _) => self.text(outcome.result.name(), MAX_DETAIL),
            Slot::Unknown(fault, _) => self.text(&fault.to_string(), MAX_DETAIL),
        }
    }

    /// The length of the items that are shown and how many more there are, then those that are shown.
    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        let (shown, more) = items.split_at(items.len().min(MAX_ITEMS));
        self.items(more.len(), |out| shown.iter().for_each(|it| item(out, it)));
    }

    fn items(&mut self, more: usize, items: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.bytes([[0; LENGTH], (more as u32).to_le_bytes()].as_flattened());
        let first = self.0.len();
        items(self);
        let length = (self.0.len() - first) as u32;
        let place = self.0.get_mut(start..).and_then(|from| from.first_chunk_mut());
        place.into_iter().for_each(|place| *place = length.to_le_bytes());
    }

    fn findings(&mut self, Verdict { findings, would, .. }: &Verdict) {
        let more = (findings.len() + would.len()).saturating_sub(MAX_FINDINGS);
        self.items(more, |out| {
            let (findings, rest) =
                (findings.iter().take(MAX_FINDINGS), MAX_FINDINGS.saturating_sub(findings.len()));
            findings.for_each(|finding| out.finding(Mode::Enforce, finding));
            would.iter().take(rest).for_each(|finding| out.finding(Mode::Monitor, finding));
        });
    }

    fn finding(&mut self, mode: Mode, finding: &Finding) {
        let Finding { reason, outcome, detail } = finding;
        self.bytes(&[u8::from(mode == Mode::Enforce), *reason as u8, outcome.action() as u8]);
        if let Some(reply) = outcome.reply() {
            let (subject, detail) = reply.status();
            self.bytes(&[reply.code() as u8, subject, detail]);
            self.text(reply.text(), MAX_DETAIL);
        }
        self.text(detail, MAX_DETAIL);
    }
}

/// What is its own of a decision, read back. Texts are UTF-8, which nobody has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordedMade<'a> {
    pub(super) transaction: u64,
    pub(super) at: Timestamp,
    pub(super) micros: u64,
    pub(super) protocol: Protocol,
    pub(super) stage: Stage,
    pub(super) queue_id: Option<&'a [u8]>,
}

/// All else of it. Lists are read when they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordedSaid<'a> {
    pub(super) client: Client,
    pub(super) client_name: Option<&'a [u8]>,
    pub(super) helo: Option<&'a [u8]>,
    pub(super) sender: Option<&'a [u8]>,
    pub(super) recipients: List<'a, &'a [u8]>,
    pub(super) helo_dns: HeloDns<'a>,
    pub(super) spf: Option<&'a [u8]>,
    pub(super) identities: List<'a, (IdentityKind, &'a [u8])>,
    pub(super) login: Option<&'a [u8]>,
    pub(super) tls: Option<&'a [u8]>,
    /// Those that count first.
    pub(super) findings: List<'a, Found<'a>>,
}

/// Items that are shown, and how many more there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List<'a, T> {
    shown: Reader<'a>,
    more: usize,
    of: PhantomData<T>,
}

impl<'a, T: Stored<'a>> List<'a, T> {
    pub(super) fn items(&self) -> Items<'a, T> {
        Items(self.shown, PhantomData)
    }

    pub(super) const fn more(&self) -> usize {
        self.more
    }
}

/// The items of a list that are shown.
#[derive(Clone, Debug)]
pub(super) struct Items<'a, T>(Reader<'a>, PhantomData<T>);

impl<'a, T: Stored<'a>> Iterator for Items<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        T::read(&mut self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeloDns<'a> {
    NotAsked,
    Said(&'a [u8]),
    Addresses(List<'a, IpAddr>),
}

/// One finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) mode: Mode,
    pub(super) reason: Reason,
    pub(super) action: Action,
    pub(super) reply: Option<Reply<'a>>,
    pub(super) detail: &'a [u8],
}

impl<'a> RecordedMade<'a> {
    /// Reads what [`Made::write`] wrote, and returns what stands behind it; `None` for anything else.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut from = Reader(bytes);
        let made = Self {
            transaction: from.number()?,
            at: Timestamp::from_millis(from.number()?),
            micros: from.number()?,
            protocol: from.one_of(&PROTOCOLS)?,
            stage: from.one_of(&Stage::ALL)?,
            queue_id: from.optional()?,
        };
        Some((made, from.0))
    }
}

impl<'a> RecordedSaid<'a> {
    /// Reads what [`Decision::write`] wrote behind what is the decision's own; `None` for anything else.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        Some(Self {
            client: from.client()?,
            client_name: from.optional()?,
            helo: from.optional()?,
            sender: from.optional()?,
            recipients: from.list()?,
            helo_dns: from.helo_dns()?,
            spf: from.optional()?,
            identities: from.list()?,
            login: from.optional()?,
            tls: from.optional()?,
            findings: from.list()?,
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

/// What is still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// The value with this number among `all`, which stand in the order of their numbers.
    #[inline]
    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.byte()?)).copied()
    }

    /// A text, which may be absent.
    #[inline]
    fn optional(&mut self) -> Option<Option<&'a [u8]>> {
        match self.length()? {
            ABSENT => Some(None),
            length => self.bytes(length.into()).map(Some),
        }
    }

    fn client(&mut self) -> Option<Client> {
        match *self.0.first()? {
            Address::UNKNOWN => self.byte().map(|_| Client::Unknown),
            Address::LOCAL => self.byte().map(|_| Client::Local),
            _ => IpAddr::read(self).map(Client::Ip),
        }
    }

    /// A list; its items are read later.
    fn list<T>(&mut self) -> Option<List<'a, T>> {
        let (length, more) = (u32::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?));
        let shown = Self(self.bytes(length as usize)?);
        Some(List { shown, more: more as usize, of: PhantomData })
    }

    fn helo_dns(&mut self) -> Option<HeloDns<'a>> {
        Some(match self.byte()? {
            0 => self.optional()?.map_or(HeloDns::NotAsked, HeloDns::Said),
            _ => HeloDns::Addresses(self.list()?),
        })
    }
}

/// What lists are made of.
pub(super) trait Stored<'a>: Sized {
    fn read(from: &mut Reader<'a>) -> Option<Self>;
}

impl<'a> Stored<'a> for &'a [u8] {
    #[inline]
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        from.optional()?
    }
}

impl<'a> Stored<'a> for (IdentityKind, &'a [u8]) {
    #[inline]
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        Some((from.one_of(&IdentityKind::ALL)?, from.optional()??))
    }
}

impl Stored<'_> for IpAddr {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.byte()? {
            Address::V4 => from.array().map(|octets: [u8; 4]| Ipv4Addr::from(octets).into()),
            Address::V6 => from.array().map(|octets: [u8; 16]| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }
}

impl<'a> Stored<'a> for Found<'a> {
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        let mode = from.one_of(&[Mode::Monitor, Mode::Enforce])?;
        let reason = from.one_of(Reason::ALL)?;
        let action = from.one_of(&Action::ALL)?;
        let reply = match action.refuses() {
            true => {
                let code = from.one_of(&CODES)?;
                Some(Reply { code, status: from.array()?, text: from.optional()?? })
            }
            false => None,
        };
        Some(Self { mode, reason, action, reply, detail: from.optional()?? })
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
        let read = |bytes| {
            let (made, said) = RecordedMade::read(bytes)?;
            RecordedSaid::read(said).map(|said| (made, said))
        };
        assert!(read(&bytes).is_some());
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), None, "{length}");
        }
        assert_eq!(read(&[0xff; 500]), None);
    }
}
