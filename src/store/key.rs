//! Keys of records: keyed hashes, so that a store shows no address and nobody can aim at a collision.

use std::fmt;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use siphasher::sip128::{Hash128, Hasher128, SipHasher13};

use super::attempt::{Attempt, Identity, IdentityKind, Query, Release, ReleaseOf, cap_network};
use super::fault::StoreFault;

/// Most identities an attempt is recorded under; further ones, which are weaker, are left out.
pub const MAX_IDENTITIES: usize = 4;

/// Version of the rules that make identities, senders and recipients into keys. Raised when they change: old records are then
/// not found any more, instead of being mistaken for others.
const NORMALISER_VERSION: u8 = 2;

/// The bytes of a part of a key, as a mask over the key read as a little-endian number.
const SENDER: u128 = part(0, 5);
const RECIPIENT: u128 = part(5, 5);
const IDENTITY: u128 = part(10, 6);

const fn part(first: u32, bytes: u32) -> u128 {
    ((1 << (8 * bytes)) - 1) << (8 * first)
}

/// Names and addresses are rarely longer than this, in bytes; so they are hashed in one go.
const USUAL_LEN: usize = 126;

/// What a hash is of; goes first into it. Stored inside keys: never change a number.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Field {
    Spf = 1,
    Host = 2,
    Network = 3,
    Address = 4,
    Sender = 16,
    Recipient = 17,
    CapNetwork = 18,
    RecipientDomain = 19,
    Capped = 20,
}

/// The key of one record: the hashes of sender (5 bytes), recipient (5 bytes) and identity (6 bytes). A part that does not matter
/// is zero: the recipient of a pair, the sender or the identity of a release. So what is held about a sender, a recipient or an
/// identity can be looked up, and two records are only ever mistaken if all three hashes agree, 128 bits of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl Key {
    /// The key with these bytes, as a store wrote them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes to write.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The shard the record belongs to: one for all records of a sender.
    pub const fn shard(&self) -> u8 {
        self.0[0]
    }

    /// The shard the clock of a triplet belongs to: one for all identities of a (sender, recipient).
    pub const fn clock_shard(&self) -> u8 {
        self.0[0] ^ self.0[5]
    }

    /// The part of the recipient.
    pub fn recipient(&self) -> &[u8] {
        &self.0[5..10]
    }

    /// Whether it is of a pair: for every recipient.
    pub const fn is_pair(&self) -> bool {
        self.number() & RECIPIENT == 0
    }

    /// Whether the parts `query` has are those of this key.
    pub fn matches(&self, query: &QueryKeys) -> bool {
        let agrees =
            |part: Option<Hashed>, mask| part.is_none_or(|hash| (self.number() ^ hash.number()) & mask == 0);
        agrees(query.sender, SENDER) && agrees(query.recipient, RECIPIENT) && agrees(query.identity, IDENTITY)
    }

    #[inline]
    fn of(sender: Option<Hashed>, recipient: Option<Hashed>, identity: Option<Hashed>) -> Self {
        let part = |hash: Option<Hashed>, mask| hash.map_or(0, |hash| hash.number() & mask);
        let key = part(sender, SENDER) | part(recipient, RECIPIENT) | part(identity, IDENTITY);
        Self(key.to_le_bytes())
    }

    const fn number(&self) -> u128 {
        u128::from_le_bytes(self.0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Each half has parts that the other lacks.
        let (a, b) = (self.number() as u64, (self.number() >> 64) as u64);
        state.write_u64(a ^ b.rotate_left(29));
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The key of an identity as a whole: a 128-bit hash of its kind and text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdentityKey([u8; 16]);

impl IdentityKey {
    /// The key with these bytes, as a store wrote them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes to write.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The same bytes, for a table that is made for keys.
    pub(super) const fn as_key(self) -> Key {
        Key(self.0)
    }
}

impl Hash for IdentityKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Key(self.0).hash(state);
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Key(self.0).fmt(f)
    }
}

/// The key of a network that clocks are capped by; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkKey(u64);

impl NetworkKey {
    /// The key with this number, as a store wrote it; `None` for zero, which stands for no network.
    pub const fn from_number(number: u64) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number to write.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A 128-bit hash whose parts go into keys, each at its own place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hashed([u8; 16]);

impl Hashed {
    const fn number(self) -> u128 {
        u128::from_le_bytes(self.0)
    }
}

/// The secret of a store; created with it and kept in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// A new secret.
    pub fn random() -> Result<Self, StoreFault> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The secret a store wrote down.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes to write down.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The keys of all records that `attempt` is about.
    pub fn keys(&self, attempt: &Attempt) -> AttemptKeys {
        let Attempt { identities, sender, recipient, .. } = attempt;
        let (sender, recipient_hash) =
            (self.hash(Field::Sender, sender), self.hash(Field::Recipient, recipient));
        let nothing = IdentityKeys { kind: IdentityKind::Address, identity: Hashed([0; 16]) };
        let mut keys = AttemptKeys {
            sender,
            recipient: recipient_hash,
            identities: [nothing; MAX_IDENTITIES],
            len: identities.len().min(MAX_IDENTITIES),
        };
        for (slot, identity) in keys.identities.iter_mut().zip(identities) {
            *slot = IdentityKeys { kind: identity.kind, identity: self.identity(identity) };
        }
        keys
    }

    /// The key of the client's exact address as an identity.
    pub fn address(&self, client: IpAddr) -> IdentityKey {
        let mut text = Text { bytes: [0; 48], len: 0 };
        // The longest address fits.
        let _ = match client.to_canonical() {
            IpAddr::V4(address) => text.write_octets(address.octets()),
            IpAddr::V6(address) => write!(text, "{address}"),
        };
        IdentityKey(self.hash_bytes(Field::Address, text.as_bytes()).0)
    }

    /// The key of the network that the client's clocks are capped by.
    pub fn cap_network(&self, client: IpAddr) -> NetworkKey {
        let Hashed(hash) = self.hash_bytes(Field::CapNetwork, &cap_network(client));
        NetworkKey(hash.first_chunk().map_or(0, |half| u64::from_le_bytes(*half)).max(1))
    }

    /// The key of the clock by which attempts of a network over its cap are judged.
    pub fn capped(&self, attempt: &Attempt) -> Key {
        Key::of(
            Some(self.hash_bytes(Field::Capped, &[])),
            Some(self.hash(Field::RecipientDomain, attempt.recipient_domain())),
            Some(self.hash_bytes(Field::CapNetwork, &cap_network(attempt.client))),
        )
    }

    /// The key of a rule of release.
    pub fn release(&self, release: &Release) -> Key {
        let recipient = Some(self.hash(Field::Recipient, &release.recipient));
        match &release.of {
            ReleaseOf::Sender(sender) => Key::of(Some(self.hash(Field::Sender, sender)), recipient, None),
            ReleaseOf::Identity(identity) => Key::of(None, recipient, Some(self.identity(identity))),
        }
    }

    /// What to look for.
    pub fn query(&self, query: &Query) -> QueryKeys {
        QueryKeys {
            sender: query.sender.as_deref().map(|sender| self.hash(Field::Sender, sender)),
            recipient: query.recipient.as_deref().map(|recipient| self.hash(Field::Recipient, recipient)),
            identity: query.identity.as_ref().map(|identity| self.identity(identity)),
        }
    }

    fn identity(&self, identity: &Identity) -> Hashed {
        let field = match identity.kind {
            IdentityKind::Spf => Field::Spf,
            IdentityKind::Host => Field::Host,
            IdentityKind::Network => Field::Network,
            IdentityKind::Address => Field::Address,
        };
        self.hash(field, &identity.key)
    }

    fn hash(&self, field: Field, text: &str) -> Hashed {
        self.hash_bytes(field, text.as_bytes())
    }

    fn hash_bytes(&self, field: Field, bytes: &[u8]) -> Hashed {
        let key = u128::from_le_bytes(self.0);
        let mut hasher = SipHasher13::new_with_keys(key as u64, (key >> 64) as u64);
        let head = [NORMALISER_VERSION, field as u8];
        let mut joined = [0; 2 + USUAL_LEN];
        let Hash128 { h1, h2 } = match joined.get_mut(..2 + bytes.len()) {
            Some(joined) => {
                let (first, rest) = joined.split_at_mut(2);
                first.copy_from_slice(&head);
                rest.copy_from_slice(bytes);
                hasher.hash(joined)
            }
            None => {
                hasher.write(&head);
                hasher.write(bytes);
                hasher.finish128()
            }
        };
        let mut hash = u128::from(h1) | u128::from(h2) << 64;
        // Zero stands for a part that does not matter.
        for part in [SENDER, RECIPIENT, IDENTITY] {
            if hash & part == 0 {
                hash |= part & part.wrapping_neg();
            }
        }
        Hashed(hash.to_le_bytes())
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// The keys of one attempt.
#[derive(Clone, Copy)]
pub struct AttemptKeys {
    sender: Hashed,
    recipient: Hashed,
    identities: [IdentityKeys; MAX_IDENTITIES],
    len: usize,
}

impl AttemptKeys {
    /// The keys under each identity, strongest first.
    pub fn identities(&self) -> impl ExactSizeIterator<Item = KeysUnder> + '_ {
        self.identities.iter().take(self.len).map(|of| KeysUnder {
            kind: of.kind,
            identity: IdentityKey(of.identity.0),
            pair: Key::of(Some(self.sender), None, Some(of.identity)),
            triplet: Key::of(Some(self.sender), Some(self.recipient), Some(of.identity)),
            release: Key::of(None, Some(self.recipient), Some(of.identity)),
        })
    }

    /// The key of a release of this recipient and sender.
    pub fn release(&self) -> Key {
        Key::of(Some(self.sender), Some(self.recipient), None)
    }

    /// The hash of the sender, and nothing else: in Redis, what all records of a decision share a slot by.
    pub fn sender(&self) -> &[u8; 16] {
        &self.sender.0
    }

    /// The hash of the recipient.
    pub fn recipient(&self) -> &[u8; 16] {
        &self.recipient.0
    }
}

impl fmt::Debug for AttemptKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.identities()).finish()
    }
}

#[derive(Clone, Copy)]
struct IdentityKeys {
    kind: IdentityKind,
    identity: Hashed,
}

/// The keys of one attempt under one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysUnder {
    /// What kind of identity it is.
    pub kind: IdentityKind,
    /// Of the identity as a whole.
    pub identity: IdentityKey,
    /// Of (identity, sender).
    pub pair: Key,
    /// Of (identity, sender, recipient).
    pub triplet: Key,
    /// Of a release of (identity, recipient).
    pub release: Key,
}

/// What to look for: the hashes of what a [`Query`] has.
#[derive(Clone, Copy)]
pub struct QueryKeys {
    sender: Option<Hashed>,
    recipient: Option<Hashed>,
    identity: Option<Hashed>,
}

impl QueryKeys {
    /// The identity as a whole, if it alone is asked for: its standing is of no sender and no recipient.
    pub fn standing(&self) -> Option<IdentityKey> {
        match self {
            Self { sender: None, recipient: None, identity: Some(identity) } => Some(IdentityKey(identity.0)),
            _ => None,
        }
    }

    /// The keys of all records of the sender stand between these two, where a sender is asked for.
    pub fn bounds(&self) -> (Key, Key) {
        let (mut first, mut last) = ([0; 16], [0xff; 16]);
        if let Some(Hashed(sender)) = &self.sender {
            first[..5].copy_from_slice(&sender[..5]);
            last[..5].copy_from_slice(&sender[..5]);
        }
        (Key(first), Key(last))
    }
}

/// A short text without allocation; what does not fit is an error.
struct Text {
    bytes: [u8; 48],
    len: usize,
}

impl Text {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// An IPv4 address as it is displayed, without the machinery for it: each first attempt needs it.
    fn write_octets(&mut self, octets: [u8; 4]) -> fmt::Result {
        for (at, octet) in octets.into_iter().enumerate() {
            if at > 0 {
                self.write_byte(b'.')?;
            }
            if octet >= 100 {
                self.write_byte(b'0' + octet / 100)?;
            }
            if octet >= 10 {
                self.write_byte(b'0' + octet / 10 % 10)?;
            }
            self.write_byte(b'0' + octet % 10)?;
        }
        Ok(())
    }

    fn write_byte(&mut self, byte: u8) -> fmt::Result {
        *self.bytes.get_mut(self.len).ok_or(fmt::Error)? = byte;
        self.len += 1;
        Ok(())
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().try_for_each(|byte| self.write_byte(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Rules;
    use std::collections::HashMap;

    const HASH_KEY: HashKey = HashKey::from_bytes([7; 16]);

    fn attempt(kind: IdentityKind, identity: &str, sender: &str, recipient: &str) -> Attempt {
        Attempt {
            identities: vec![Identity { kind, key: identity.into() }],
            client: [192, 0, 2, 1].into(),
            sender: sender.into(),
            recipient: recipient.into(),
            never_promote: false,
            mail_counted: false,
            rules: Rules::DEFAULT,
        }
    }

    fn only(keys: &AttemptKeys) -> KeysUnder {
        let mut under = keys.identities();
        assert_eq!(under.len(), 1);
        under.next().unwrap()
    }

    #[test]
    fn no_two_lists_of_fields_share_a_key() {
        let texts = ["", "a", "b", "ab", "a\0", "\0a", "\u{1}", "aa"];
        let mut seen = HashMap::new();
        for kind in IdentityKind::ALL {
            for identity in texts {
                for sender in texts {
                    for recipient in texts {
                        let keys = only(&HASH_KEY.keys(&attempt(kind, identity, sender, recipient)));
                        for (key, of) in [
                            (keys.triplet, format!("{kind:?} {identity:?} {sender:?} {recipient:?}")),
                            (keys.pair, format!("{kind:?} {identity:?} {sender:?}")),
                            (keys.release, format!("{kind:?} {identity:?} to {recipient:?}")),
                        ] {
                            if let Some(before) = seen.insert(key, of.clone()) {
                                assert_eq!(before, of);
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(seen.len(), 4 * 8 * (8 * 8 + 8 + 8));
    }

    #[test]
    fn an_address_is_hashed_as_it_is_displayed() {
        for address in [[0, 0, 0, 0], [9, 10, 99, 100], [255, 200, 1, 19]] {
            let mut text = Text { bytes: [0; 48], len: 0 };
            text.write_octets(address).unwrap();
            assert_eq!(text.as_bytes(), std::net::Ipv4Addr::from(address).to_string().as_bytes());
        }
    }

    #[test]
    fn long_texts_are_hashed_as_short_ones_are() {
        for len in [USUAL_LEN - 1, USUAL_LEN, USUAL_LEN + 1, 1_000] {
            let text = vec![b'x'; len];
            let mut hasher = SipHasher13::new_with_key(HASH_KEY.as_bytes());
            hasher.write(&[NORMALISER_VERSION, Field::Sender as u8]);
            hasher.write(&text);
            assert_eq!(HASH_KEY.hash_bytes(Field::Sender, &text).0, hasher.finish128().as_bytes());
        }
    }

    #[test]
    fn keys_stay_the_same_from_version_to_version() {
        let attempt = attempt(IdentityKind::Network, "192.0.2.0/24", "a@b.test", "c@d.test");
        let keys = only(&HASH_KEY.keys(&attempt));
        let (pair, triplet) = (format!("{:?}", keys.pair), format!("{:?}", keys.triplet));
        let address = format!("{:?}", HASH_KEY.address(attempt.client));
        let capped = format!("{:?}", HASH_KEY.capped(&attempt));
        assert_eq!(
            [&*pair, &*triplet, &*address, &*capped],
            [
                "baced48a890000000000b35760380fc5",
                "baced48a894da3dfb3c7b35760380fc5",
                "1f0cbdbbe0d62fb330258279ddc7e3bd",
                "308ab851dec4e8d2f5add8a3e723e5bc"
            ]
        );
    }

    #[test]
    fn another_secret_makes_other_keys() {
        let attempt = attempt(IdentityKind::Address, "192.0.2.1", "a@b.test", "c@d.test");
        let other = HashKey::from_bytes([8; 16]);
        assert_ne!(only(&HASH_KEY.keys(&attempt)), only(&other.keys(&attempt)));
        assert_ne!(HashKey::random().unwrap(), HashKey::random().unwrap());
        assert_eq!(format!("{other:?}"), "HashKey(secret)");
    }

    #[test]
    fn the_clients_address_is_the_identity_of_its_text() {
        for (client, text) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:6666"),
        ] {
            let keys = only(&HASH_KEY.keys(&attempt(IdentityKind::Address, text, "a", "b")));
            assert_eq!(HASH_KEY.address(client.parse().unwrap()), keys.identity, "{client}");
        }
    }

    #[test]
    fn clocks_are_capped_by_the_24_and_the_48() {
        let network = |client: &str| HASH_KEY.cap_network(client.parse().unwrap());
        assert_eq!(network("192.0.2.1"), network("192.0.2.255"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.2"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:ffff::2"));
        assert_ne!(network("2001:db8:1::1"), network("2001:db8:2::1"));
    }

    #[test]
    fn a_query_finds_what_has_all_its_parts() {
        let attempt = attempt(IdentityKind::Spf, "b.test", "a@b.test", "c@d.test");
        let keys = only(&HASH_KEY.keys(&attempt));
        let identity = || Some(attempt.identities[0].clone());
        let (sender, recipient) = (|| Some("a@b.test".to_owned()), || Some("c@d.test".to_owned()));
        for (query, pair, triplet) in [
            (Query { sender: sender(), ..Query::default() }, true, true),
            (Query { recipient: recipient(), ..Query::default() }, false, true),
            (Query { identity: identity(), ..Query::default() }, true, true),
            (Query { sender: sender(), recipient: recipient(), identity: identity() }, false, true),
            (Query { sender: recipient(), ..Query::default() }, false, false),
        ] {
            let wanted = HASH_KEY.query(&query);
            assert_eq!(
                (keys.pair.matches(&wanted), keys.triplet.matches(&wanted)),
                (pair, triplet),
                "{query:?}"
            );
            let (first, last) = wanted.bounds();
            assert!(!pair || (first..=last).contains(&keys.pair));
        }
        assert_eq!(
            HASH_KEY.query(&Query { identity: identity(), ..Query::default() }).standing(),
            Some(keys.identity)
        );
        assert!(keys.pair.is_pair() && !keys.triplet.is_pair());
    }

    #[test]
    fn identities_beyond_the_most_are_left_out() {
        let mut attempt = attempt(IdentityKind::Address, "192.0.2.1", "a@b.test", "c@d.test");
        attempt.identities = vec![attempt.identities[0].clone(); MAX_IDENTITIES + 3];
        assert_eq!(HASH_KEY.keys(&attempt).identities().len(), MAX_IDENTITIES);
        attempt.identities.clear();
        assert_eq!(HASH_KEY.keys(&attempt).identities().len(), 0);
    }
}
