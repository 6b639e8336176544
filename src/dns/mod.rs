//! Look-ups in the DNS, behind one trait.
//!
//! In the daemon three resolvers stand one before the other: [`Cached`] keeps answers and shares look-ups under way,
//! [`Guarded`] stops asking while no server answers, and [`Hickory`] asks the servers. [`Zone`] is a DNS in memory for tests.

mod cache;
mod guarded;
mod helo;
mod hickory;
mod zone;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use cache::Cached;
pub use guarded::Guarded;
pub use helo::{Addresses, HeloResolution, helo_at_hand, resolve_helo};
pub use hickory::Hickory;
pub use zone::Zone;

/// The longest a live look-up takes. It leaves something of the 2 s within which every RCPT is answered.
const LOOKUP_BUDGET: Duration = Duration::from_millis(1_200);
/// Answers that are kept: some 12 MB of them.
const CAPACITY: usize = 50_000;

/// The daemon's resolver: asks `servers`, or those of `/etc/resolv.conf` where there are none. `on_change` is told whether they
/// answer: once now (they are taken to), then at each change.
///
/// # Errors
/// When the system's configuration cannot be read, or names no server.
pub fn live(
    servers: &[SocketAddr],
    on_change: impl Fn(bool) + Send + Sync + 'static,
) -> Result<Cached, DnsFault> {
    let servers = Hickory::new(servers, LOOKUP_BUDGET)?;
    let guarded = Guarded::new(Arc::new(servers), on_change);
    Ok(Cached::new(Arc::new(guarded), CAPACITY))
}

/// The types of records Greylag asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Texts: SPF, DKIM and DMARC records.
    Txt,
    /// Host names of an address, asked of the name [`reverse_name`] gives.
    Ptr,
}

impl RecordType {
    /// Every type.
    pub const ALL: [Self; 5] = [Self::A, Self::Aaaa, Self::Mx, Self::Txt, Self::Ptr];

    /// Its name in zone files, and as a metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Ptr => "PTR",
        }
    }
}

/// The data of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A mail exchanger's name, lower case, without final dot; empty for the null MX of RFC 7505.
    Mx(String),
    /// A text, its character strings joined without anything between them (RFC 7208 §3.3).
    Txt(Vec<u8>),
    /// A host name, lower case, without final dot.
    Ptr(String),
}

impl Record {
    /// The address of an A or AAAA record.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::A(address) => Some((*address).into()),
            Self::Aaaa(address) => Some((*address).into()),
            Self::Mx(_) | Self::Txt(_) | Self::Ptr(_) => None,
        }
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn size(&self) -> usize {
        let text = match self {
            Self::A(_) | Self::Aaaa(_) => 0,
            Self::Mx(name) | Self::Ptr(name) => name.len(),
            Self::Txt(text) => text.len(),
        };
        size_of::<Self>() + text
    }
}

/// What the DNS answered; shared, as caches hand it out many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name has records of the type.
    Records(Arc<[Record]>),
    /// The name exists, without records of the type.
    NoRecords,
    /// NXDOMAIN: the name does not exist, for whatever type.
    NoSuchName,
}

/// An answer and how long it may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// The answer.
    pub answer: Answer,
    /// Its time to live, from the records or, for a negative answer, from the zone's SOA.
    pub ttl: Duration,
}

/// Why there is no answer. Never a reason to refuse mail: whatever was asked is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsFault {
    /// No server answered in time.
    #[error("timeout")]
    Timeout,
    /// A server answered with a failure: this name cannot be resolved, others may.
    #[error("{0}")]
    Failed(String),
    /// No server could be reached.
    #[error("no name server can be reached: {0}")]
    Unreachable(String),
    /// Nobody was asked, as no answer was to be expected in time.
    #[error("{0}")]
    NotAsked(&'static str),
}

impl DnsFault {
    /// Whether it speaks against the name servers, and not only against the name that was asked for.
    const fn is_silence(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable(_))
    }
}

/// A look-up under way.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Timed, DnsFault>> + Send + 'a>>;

/// Something that answers DNS questions.
pub trait Resolver: std::fmt::Debug + Send + Sync {
    /// Asks for the records of `name` (lower case, without final dot), CNAMEs followed.
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a>;

    /// What [`Self::lookup`] would answer, where nobody has to be asked for it.
    fn at_hand(&self, _name: &str, _record_type: RecordType) -> Option<Result<Timed, DnsFault>> {
        None
    }
}

/// What another resolver has at hand. A look-up of anything else never ends: for work that is given up then.
#[derive(Debug)]
pub(crate) struct AtHand<'a>(pub(crate) &'a dyn Resolver);

impl Resolver for AtHand<'_> {
    fn lookup<'a>(&'a self, _name: &'a str, _record_type: RecordType) -> Lookup<'a> {
        Box::pin(std::future::pending())
    }

    fn at_hand(&self, name: &str, record_type: RecordType) -> Option<Result<Timed, DnsFault>> {
        self.0.at_hand(name, record_type)
    }
}

/// Asks for the records of `name`, without waiting where they are at hand.
pub(crate) async fn look_up(
    resolver: &dyn Resolver,
    name: &str,
    record_type: RecordType,
) -> Result<Timed, DnsFault> {
    match resolver.at_hand(name, record_type) {
        Some(answer) => answer,
        None => resolver.lookup(name, record_type).await,
    }
}

/// The name whose PTR records are the host names of `address` (RFC 1035 §3.5, RFC 3596 §2.5).
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev().flat_map(|byte| [byte & 0xf, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names_run_backwards() {
        assert_eq!(reverse_name(Ipv4Addr::new(192, 0, 2, 10).into()), "10.2.0.192.in-addr.arpa");
        let v6 = "2001:db8::567:89ab".parse::<IpAddr>().unwrap();
        assert_eq!(
            reverse_name(v6),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
