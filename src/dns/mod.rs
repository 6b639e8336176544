//! Look-ups in the DNS, behind one trait: the live resolver, a cache before it, and a zone in memory for tests.

mod cache;
mod helo;
mod hickory;
mod zone;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use cache::Cached;
pub use helo::{HeloResolution, resolve_helo};
pub use hickory::Hickory;
pub use zone::Zone;

/// The types of records Greylag asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
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
}

impl Record {
    /// The address of an A or AAAA record.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::A(address) => Some((*address).into()),
            Self::Aaaa(address) => Some((*address).into()),
            Self::Mx(_) => None,
        }
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
    /// The server answered with a failure, or could not be reached.
    #[error("{0}")]
    Failed(String),
}

/// A look-up under way.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Timed, DnsFault>> + Send + 'a>>;

/// Something that answers DNS questions.
pub trait Resolver: std::fmt::Debug + Send + Sync {
    /// Asks for the records of `name` (lower case, without final dot), CNAMEs followed.
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a>;
}
