//! The keys in Redis.
//!
//! | key | value |
//! |---|---|
//! | `greylag:store` | the layout version and the hash key, `1 0123…ef` |
//! | `greylag:{SSSS}p…` | proof of a pair or a triplet: until when |
//! | `greylag:{SSSS}c…` | clock of a triplet: since when, and in the account of which network |
//! | `greylag:{NNNN}a…` | account of a network: its clocks, sorted by when they were begun |
//! | `greylag:{NNNN}k…` | clock of a network over its cap: since when |
//! | `greylag:{IIII}s…` | standing of an identity |
//! | `greylag:{RRRR}r…` | release: until when |
//!
//! After the letter stands the key of the model, 16 bytes (8 of a network). In braces stand two bytes in hexadecimal digits, by which a
//! Cluster chooses the slot: those of the sender, so that all proofs and clocks of a decision are in one; else those of the network,
//! the identity, the recipient. One key a record, so that Redis forgets each in its time and none crowds out another. Times are
//! milliseconds since the UNIX epoch.

use crate::store::{IdentityKey, Key, NetworkKey, Timestamp};

/// The key that tells the layout and the hash key.
pub(super) const STORE: &str = "greylag:store";
/// What all keys look like to SCAN.
pub(super) const PATTERN: &str = "greylag:{*";

const PREFIX: &[u8] = b"greylag:{";
/// `greylag:{0123}`.
const PREFIX_LEN: usize = 14;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Proof,
    Clock,
    Account,
    Capped,
    Standing,
    Release,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Proof, Self::Clock, Self::Account, Self::Capped, Self::Standing, Self::Release];

    const fn letter(self) -> u8 {
        match self {
            Self::Proof => b'p',
            Self::Clock => b'c',
            Self::Account => b'a',
            Self::Capped => b'k',
            Self::Standing => b's',
            Self::Release => b'r',
        }
    }

    /// The name of what has this hash, in the slot of what begins with these two bytes.
    fn name(self, slot: &[u8], hash: &[u8]) -> Vec<u8> {
        let slot = slot.first_chunk().copied().unwrap_or_default();
        let mut name = Vec::with_capacity(PREFIX_LEN + 1 + hash.len());
        name.extend_from_slice(PREFIX);
        let [high, low]: [u8; 2] = slot;
        let digit = |value: u8| char::from_digit(u32::from(value & 15), 16).map_or(b'0', |it| it as u8);
        name.extend([high >> 4, high, low >> 4, low].map(digit));
        name.extend_from_slice(&[b'}', self.letter()]);
        name.extend_from_slice(hash);
        name
    }
}

pub(super) fn proof(key: &Key) -> Vec<u8> {
    Kind::Proof.name(key.as_bytes(), key.as_bytes())
}

pub(super) fn clock(key: &Key) -> Vec<u8> {
    Kind::Clock.name(key.as_bytes(), key.as_bytes())
}

pub(super) fn account(network: &[u8]) -> Vec<u8> {
    Kind::Account.name(network, network)
}

/// The clock of a network over its cap: in the slot of that network's account, as one look at both says which counts.
pub(super) fn capped(network: &[u8], key: &Key) -> Vec<u8> {
    Kind::Capped.name(network, key.as_bytes())
}

pub(super) fn standing(identity: &IdentityKey) -> Vec<u8> {
    Kind::Standing.name(identity.as_bytes(), identity.as_bytes())
}

pub(super) fn release(key: &Key) -> Vec<u8> {
    Kind::Release.name(key.recipient(), key.as_bytes())
}

/// A network as it stands in keys and clocks.
pub(super) fn network(key: NetworkKey) -> [u8; 8] {
    key.number().to_be_bytes()
}

/// The time a value begins with: the number before the first blank.
pub(super) fn first_number(value: &[u8]) -> Option<Timestamp> {
    let number = value.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(number).ok()?.parse().ok().map(Timestamp::from_millis)
}

/// What a key in Redis holds, and about whom; `None` for keys that are none of a record, and accounts.
pub(super) fn parse(name: &[u8]) -> Option<(Kind, Key)> {
    let (letter, hash) = name.strip_prefix(PREFIX)?.get(PREFIX_LEN - PREFIX.len()..)?.split_first()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.letter() == *letter)?;
    Some((kind, Key::from_bytes(hash.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        let key = Key::from_bytes(*b"ssssssrrrrriiiii");
        let key = Key::from_bytes(std::array::from_fn(|at| key.as_bytes()[at] ^ at as u8));
        for (name, kind) in [
            (proof(&key), Kind::Proof),
            (clock(&key), Kind::Clock),
            (capped(&[1; 8], &key), Kind::Capped),
            (release(&key), Kind::Release),
        ] {
            assert_eq!(parse(&name), Some((kind, key)));
        }
        assert_eq!(parse(STORE.as_bytes()), None);
        assert_eq!(parse(&account(&[1; 8])), None);
        assert_eq!(parse(b"greylag:{0000}"), None);
        assert_eq!(parse(b"greylag:{0000}x0123456789abcdef"), None);
    }

    #[test]
    fn the_slot_is_chosen_by_what_decisions_share() {
        let key = Key::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert!(proof(&key).starts_with(b"greylag:{0001}p"));
        assert!(clock(&key).starts_with(b"greylag:{0001}c"));
        assert!(release(&key).starts_with(b"greylag:{0506}r"));
        let network = [0xab, 0xcd, 0, 0, 0, 0, 0, 0];
        assert!(capped(&network, &key).starts_with(b"greylag:{abcd}k"));
        assert!(account(&network).starts_with(b"greylag:{abcd}a"));
    }
}
