//! What is asked of the greylist, and what it answers.

use std::time::Duration;

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
    pub key: String,
}

/// The rules of the greylist, copied into each attempt so that a store needs no settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a new triplet has to wait.
    pub min_delay: Duration,
    /// How long after its first attempt a triplet may mature.
    pub retry_window: Duration,
    /// How long a proven triplet or pair is remembered after its last use.
    pub pass_ttl: Duration,
    /// Whether a triplet that matures proves its (identity, sender) pair, for every recipient; else only itself.
    pub promote_pairs: bool,
}

/// One attempt to deliver: the triplet under every identity its client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The client's identities, strongest first; never empty. Stores use the first [`super::MAX_IDENTITIES`].
    pub identities: Vec<Identity>,
    /// The normalised sender, empty for the null reverse-path.
    pub sender: String,
    /// The normalised recipient.
    pub recipient: String,
    /// The rules that apply.
    pub rules: Rules,
}

/// How a client that may pass was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KnownBy {
    /// This very triplet passed before.
    Triplet,
    /// The (identity, sender) pair passed before, for whatever recipient.
    Pair,
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
    },
    /// Proven earlier.
    Known {
        /// By what.
        by: KnownBy,
    },
}
