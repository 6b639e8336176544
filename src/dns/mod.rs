//! Look-ups in the DNS, behind one trait.

use std::net::IpAddr;

/// What the DNS says of a HELO name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeloResolution {
    /// NXDOMAIN.
    NoSuchName,
    /// The name exists, but has no A, AAAA or MX record.
    NoAddress,
    /// The name has an MX record and no address of its own.
    MailExchangerOnly,
    /// The name's addresses.
    Addresses(Vec<IpAddr>),
}
