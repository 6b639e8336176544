//! What is asked of the greylist, and what it answers.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;

use super::key::Key;
use super::model::{Proven, Standing};
use super::timestamp::Timestamp;

/// What identifies a client to the greylist, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentityKind {
    /// The MAIL FROM domain, where its SPF policy vouches for the client.
    Spf,
    /// The registrable domain of the client's verified host name (FCrDNS).
    Host,
    /// The network of the client's address.
    Network,
    /// The client's exact address.
    Address,
}

impl IdentityKind {
    /// All kinds, strongest first.
    pub const ALL: [Self; 4] = [Self::Spf, Self::Host, Self::Network, Self::Address];

    /// The name in settings, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spf => "spf",
            Self::Host => "host",
            Self::Network => "network",
            Self::Address => "address",
        }
    }
}

/// One identity of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What kind it is.
    pub kind: IdentityKind,
    /// Its text, such as `192.0.2.0/24`.
    pub key: Arc<str>,
}

impl Identity {
    /// The address that it is, or the first one of its network.
    pub fn address(&self) -> Option<IpAddr> {
        match self.kind {
            IdentityKind::Spf | IdentityKind::Host => None,
            IdentityKind::Network => self.key.parse::<IpNet>().ok().map(|network| network.network()),
            IdentityKind::Address => self.key.parse().ok(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.key)
    }
}

/// A text that is no identity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no identity: expected spf:DOMAIN, host:DOMAIN, network:NETWORK or address:ADDRESS")]
pub struct IdentityError(String);

impl FromStr for Identity {
    type Err = IdentityError;

    /// Reads `KIND:NAME`, in whatever case and with whatever host bits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (kind, name) = text.split_once(':')?;
            let kind = IdentityKind::ALL.into_iter().find(|known| known.name() == kind)?;
            let key = match kind {
                IdentityKind::Spf | IdentityKind::Host => {
                    let name = name.trim_end_matches('.');
                    idna::domain_to_ascii(name).ok().filter(|name| !name.is_empty())?
                }
                IdentityKind::Network => name.parse::<IpNet>().ok()?.trunc().to_string(),
                IdentityKind::Address => name.parse::<IpAddr>().ok()?.to_canonical().to_string(),
            };
            Some(Self { kind, key: key.into() })
        };
        read().ok_or_else(|| IdentityError(text.to_owned()))
    }
}

/// The rules of the greylist, copied into each attempt so that a store needs no settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a new triplet has to wait.
    pub min_delay: Duration,
    /// How long after its first attempt a triplet may mature.
    pub retry_window: Duration,
    /// How long a proven triplet or pair, and the standing of an identity, is remembered after its last use.
    pub pass_ttl: Duration,
    /// Whether a triplet that matures proves its (identity, sender) pair, for every recipient; else only itself.
    pub promote_pairs: bool,
    /// When an identity passes as a whole; `None`: never.
    pub promotion: Option<Promotion>,
    /// Clocks that may run for attempts of one [`cap_network`], each of which begins one for every identity it has; beyond it the
    /// oldest gives way, or the attempt is judged by its network and the recipient's domain. Below [`super::MAX_IDENTITIES`] an
    /// attempt may have more identities than there ever is room for; the settings allow no such cap.
    pub network_cap: u32,
}

/// When an identity passes as a whole, and when no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// So many different senders must have matured; at most [`super::model::MAX_DISTINCT`] count.
    pub senders: u8,
    /// With so many different recipients; at most [`super::model::MAX_DISTINCT`] count.
    pub recipients: u8,
    /// From the first to the latest of them so much time must have passed.
    pub span: Duration,
    /// More first attempts than so many for each triplet that matured, within a day, and the standing is lost.
    pub first_seen_per_matured: u32,
}

impl Promotion {
    /// What DESIGN.md §3 specifies.
    pub const DEFAULT: Self =
        Self { senders: 5, recipients: 5, span: Duration::from_secs(24 * 3600), first_seen_per_matured: 20 };
}

impl Rules {
    /// What DESIGN.md §3 specifies, and the shipped policy says.
    pub const DEFAULT: Self = Self {
        min_delay: Duration::from_secs(120),
        retry_window: Duration::from_secs(48 * 3600),
        pass_ttl: Duration::from_secs(36 * 86_400),
        promote_pairs: true,
        promotion: Some(Promotion::DEFAULT),
        network_cap: 10_000,
    };
}

/// One attempt to deliver: the triplet under every identity its client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The client's identities, strongest first; never empty. Stores use the first [`super::MAX_IDENTITIES`].
    pub identities: Vec<Identity>,
    /// The client's address: its network is what caps count by, and it is what `Host` and `Network` identities promote.
    pub client: IpAddr,
    /// The normalised sender, empty for the null reverse-path.
    pub sender: String,
    /// The normalised recipient.
    pub recipient: String,
    /// The attempt neither counts for a promotion nor profits from one: an identity of it, or its sender, is on the list of
    /// those that are never promoted.
    pub never_promote: bool,
    /// An earlier recipient of the same mail may have counted as a first attempt: this one does not count against a standing once
    /// more. A mail is one first attempt, however many it is for.
    pub mail_counted: bool,
    /// The rules that apply.
    pub rules: Rules,
}

impl Attempt {
    /// The domain of the recipient, by which a network over its cap is judged; the whole recipient when it has none.
    pub fn recipient_domain(&self) -> &str {
        self.recipient.rsplit_once('@').map_or(&self.recipient, |(_, domain)| domain)
    }
}

/// The network by which clocks are capped, as bytes with its length last: the /24 of an IPv4 address (mapped ones too), the /48
/// of an IPv6 address.
pub const fn cap_network(client: IpAddr) -> [u8; 7] {
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            [a, b, c, 0, 0, 0, 24]
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, ..] = address.octets();
            [a, b, c, d, e, f, 48]
        }
    }
}

/// How a client that may pass was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KnownBy {
    /// This very triplet passed before.
    Triplet,
    /// The (identity, sender) pair passed before, for whatever recipient.
    Pair,
    /// The identity was promoted, for whatever sender and recipient: an SPF domain, or the client's exact address.
    Promotion,
}

impl KnownBy {
    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Triplet => "triplet",
            Self::Pair => "pair",
            Self::Promotion => "promotion",
        }
    }
}

/// What the greylist says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Never seen: recorded; the client may come again after `wait`.
    FirstSeen {
        /// Time until the triplet matures.
        wait: Duration,
    },
    /// Seen, and come again too early; the clock runs on from the first attempt.
    TooEarly {
        /// Time until the triplet matures.
        wait: Duration,
    },
    /// This attempt is the proper retry: proven from now on.
    Matured {
        /// Time since the first attempt.
        waited: Duration,
        /// The identity whose clock it was; the strongest of several.
        identity: IdentityKind,
    },
    /// Proven earlier.
    Known {
        /// By what.
        by: KnownBy,
        /// The identity that is known; the strongest of several.
        identity: IdentityKind,
    },
    /// Never seen, or too early, but somebody released the mail by a rule.
    Released,
    /// The client's network has as many clocks running as it may, so the attempt was judged by its network and the recipient's
    /// domain.
    Capped {
        /// Time until such attempts pass; `None`: this one may.
        wait: Option<Duration>,
    },
}

impl Answer {
    /// Whether it is what a first attempt may be answered whose clocks begin: one that passes all the same counts, too.
    pub const fn may_be_first(self) -> bool {
        matches!(self, Self::FirstSeen { .. } | Self::Released | Self::Known { by: KnownBy::Promotion, .. })
    }
}

/// Lets mail pass that waits, or would have to: to one recipient, from one sender or identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The normalised recipient.
    pub recipient: String,
    /// Whose mail.
    pub of: ReleaseOf,
    /// Until when.
    pub expires: Timestamp,
}

/// Whose mail a [`Release`] lets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseOf {
    /// The normalised sender, empty for the null reverse-path.
    Sender(String),
    /// A client's identity.
    Identity(Identity),
}

/// What is looked up by `show` and `forget`: records about all that is given; at least one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The normalised sender, empty for the null reverse-path.
    pub sender: Option<String>,
    /// The normalised recipient.
    pub recipient: Option<String>,
    /// A client's identity.
    pub identity: Option<Identity>,
}

/// One thing held. Addresses are kept as keyed hashes, so only what was asked for can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A triplet waits for its retry.
    Waiting {
        /// When it was first attempted.
        first_seen: Timestamp,
    },
    /// A pair passes for every recipient.
    ProvenPair {
        /// Until when.
        expires: Timestamp,
    },
    /// A triplet passes.
    ProvenTriplet {
        /// Until when.
        expires: Timestamp,
    },
    /// How far an identity is on its way to pass as a whole.
    Standing {
        /// Whether it does.
        promoted: bool,
        /// Different senders that matured.
        senders: u8,
        /// Different recipients they matured with.
        recipients: u8,
        /// Until when this is remembered.
        expires: Timestamp,
    },
    /// A rule of release.
    Release {
        /// Until when.
        expires: Timestamp,
    },
}

impl Held {
    /// The proof under `key`.
    pub(super) fn proven(key: &Key, proof: Proven) -> Self {
        let expires = proof.expires;
        if key.is_pair() { Self::ProvenPair { expires } } else { Self::ProvenTriplet { expires } }
    }

    /// A standing.
    pub(super) fn standing(standing: &Standing) -> Self {
        Self::Standing {
            promoted: standing.promoted,
            senders: standing.senders.len(),
            recipients: standing.recipients.len(),
            expires: standing.expires,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_they_are_written() {
        for (text, written) in [
            ("spf:Example.COM.", "spf:example.com"),
            ("host:b\u{fc}cher.example", "host:xn--bcher-kva.example"),
            ("network:192.0.2.77/24", "network:192.0.2.0/24"),
            ("network:2001:db8::1/64", "network:2001:db8::/64"),
            ("address:::ffff:192.0.2.1", "address:192.0.2.1"),
        ] {
            let identity: Identity = text.parse().unwrap();
            assert_eq!(identity.to_string(), written);
            assert_eq!(written.parse(), Ok(identity));
        }
        for wrong in
            ["", "spf", "spf:", "SPF:a", "ip:192.0.2.1", "192.0.2.1", "network:192.0.2.1", "address:a"]
        {
            assert_eq!(wrong.parse::<Identity>(), Err(IdentityError(wrong.to_owned())));
        }
    }

    #[test]
    fn the_domain_of_a_recipient_is_what_stands_behind_the_last_at() {
        let attempt = |recipient: &str| Attempt {
            identities: Vec::new(),
            client: [192, 0, 2, 1].into(),
            sender: String::new(),
            recipient: recipient.into(),
            never_promote: false,
            mail_counted: false,
            rules: Rules::DEFAULT,
        };
        for (recipient, domain) in
            [("a@b.test", "b.test"), ("\"a@b\"@c.test", "c.test"), ("postmaster", "postmaster")]
        {
            assert_eq!(attempt(recipient).recipient_domain(), domain);
        }
    }
}
