//! Keys of records: keyed hashes, so that a store shows no address and nobody can aim at a collision.

use std::fmt;
use std::hash::{Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::attempt::{Attempt, IdentityKind};
use super::fault::StoreFault;

/// Most identities an attempt is recorded under; further ones, which are weaker, are left out.
pub const MAX_IDENTITIES: usize = 4;

/// Version of the rules that make identities, senders and recipients into keys. Raised when they change: old records are then
/// not found any more, instead of being mistaken for others.
const NORMALISER_VERSION: u8 = 1;

/// The key of one record: a 128-bit hash. Its first byte is the same for all triplets of one sender and recipient, whatever
/// the identity: who holds the lock of that shard sees and changes all unproven records of an attempt at once.
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

    /// The shard the record belongs to.
    pub const fn shard(&self) -> u8 {
        self.0[0]
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
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
        let mut keys = AttemptKeys {
            shard: self.shard(sender, recipient),
            identities: [IdentityKeys { pair: Key([0; 16]), triplet: Key([0; 16]) }; MAX_IDENTITIES],
            len: identities.len().min(MAX_IDENTITIES),
        };
        for (slot, identity) in keys.identities.iter_mut().zip(identities) {
            let mut hasher = self.hasher();
            hasher.write(&[kind_byte(identity.kind)]);
            write_field(&mut hasher, &identity.key);
            write_field(&mut hasher, sender);
            slot.pair = finish(&hasher);
            write_field(&mut hasher, recipient);
            slot.triplet = finish(&hasher);
            slot.triplet.0[0] = keys.shard;
        }
        keys
    }

    fn shard(&self, sender: &str, recipient: &str) -> u8 {
        let mut hasher = self.hasher();
        write_field(&mut hasher, sender);
        write_field(&mut hasher, recipient);
        finish(&hasher).shard()
    }

    fn hasher(&self) -> SipHasher13 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&[NORMALISER_VERSION]);
        hasher
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// The keys of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct AttemptKeys {
    /// The shard of all unproven records of the attempt.
    pub shard: u8,
    identities: [IdentityKeys; MAX_IDENTITIES],
    len: usize,
}

impl AttemptKeys {
    /// The keys under each identity, strongest first.
    pub fn identities(&self) -> &[IdentityKeys] {
        &self.identities[..self.len]
    }
}

/// The keys of one attempt under one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityKeys {
    /// Of (identity, sender).
    pub pair: Key,
    /// Of (identity, sender, recipient).
    pub triplet: Key,
}

/// Stored inside keys: never change a number.
const fn kind_byte(kind: IdentityKind) -> u8 {
    match kind {
        IdentityKind::Spf => 1,
        IdentityKind::Host => 2,
        IdentityKind::Network => 3,
        IdentityKind::Address => 4,
    }
}

/// The length goes first, so that no two lists of fields make the same bytes.
fn write_field(hasher: &mut SipHasher13, field: &str) {
    hasher.write(&(field.len() as u64).to_le_bytes());
    hasher.write(field.as_bytes());
}

fn finish(hasher: &SipHasher13) -> Key {
    Key(hasher.finish128().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Identity, Rules};
    use std::collections::HashMap;
    use std::time::Duration;

    const HASH_KEY: HashKey = HashKey::from_bytes([7; 16]);

    fn attempt(kind: IdentityKind, identity: &str, sender: &str, recipient: &str) -> Attempt {
        Attempt {
            identities: vec![Identity { kind, key: identity.into() }],
            sender: sender.into(),
            recipient: recipient.into(),
            rules: Rules {
                min_delay: Duration::ZERO,
                retry_window: Duration::ZERO,
                pass_ttl: Duration::ZERO,
                promote_pairs: true,
            },
        }
    }

    #[test]
    fn no_two_lists_of_fields_share_a_key() {
        let texts = ["", "a", "b", "ab", "a\0", "\0a", "\u{1}", "aa"];
        let mut seen = HashMap::new();
        for kind in IdentityKind::ALL {
            for identity in texts {
                for sender in texts {
                    for recipient in texts {
                        let keys = HASH_KEY.keys(&attempt(kind, identity, sender, recipient));
                        let [IdentityKeys { pair, triplet }] = *keys.identities() else {
                            panic!("one identity")
                        };
                        let triplet_of = format!("{kind:?} {identity:?} {sender:?} {recipient:?}");
                        assert_eq!(seen.insert(triplet, triplet_of), None);
                        let pair_of = format!("{kind:?} {identity:?} {sender:?}");
                        if let Some(before) = seen.insert(pair, pair_of.clone()) {
                            assert_eq!(before, pair_of);
                        }
                    }
                }
            }
        }
        assert_eq!(seen.len(), 4 * 8 * 8 * 9);
    }

    #[test]
    fn keys_stay_the_same_from_version_to_version() {
        let keys = HASH_KEY.keys(&attempt(IdentityKind::Network, "192.0.2.0/24", "a@b.test", "c@d.test"));
        assert_eq!(format!("{:?}", keys.identities()[0].pair), "5da05283ae7b1817ccfac46927f43cef");
        assert_eq!(format!("{:?}", keys.identities()[0].triplet), "c2a691b447593875c4494099a63e49f8");
    }

    #[test]
    fn another_secret_makes_other_keys() {
        let attempt = attempt(IdentityKind::Address, "192.0.2.1", "a@b.test", "c@d.test");
        let other = HashKey::from_bytes([8; 16]);
        assert_ne!(HASH_KEY.keys(&attempt).identities(), other.keys(&attempt).identities());
        assert_ne!(HashKey::random().unwrap(), HashKey::random().unwrap());
        assert_eq!(format!("{other:?}"), "HashKey(secret)");
    }

    #[test]
    fn attempts_of_one_sender_and_recipient_share_a_shard() {
        let one = HASH_KEY.keys(&attempt(IdentityKind::Address, "192.0.2.1", "a@b.test", "c@d.test"));
        let two = HASH_KEY.keys(&attempt(IdentityKind::Network, "10.0.0.0/8", "a@b.test", "c@d.test"));
        assert_eq!(one.shard, two.shard);
        assert_eq!(one.identities()[0].triplet.shard(), one.shard);
        assert_eq!(two.identities()[0].triplet.shard(), one.shard);
    }

    #[test]
    fn identities_beyond_the_most_are_left_out() {
        let mut attempt = attempt(IdentityKind::Address, "192.0.2.1", "a@b.test", "c@d.test");
        attempt.identities = vec![attempt.identities[0].clone(); MAX_IDENTITIES + 3];
        assert_eq!(HASH_KEY.keys(&attempt).identities().len(), MAX_IDENTITIES);
        attempt.identities.clear();
        assert_eq!(HASH_KEY.keys(&attempt).identities(), &[]);
    }
}
