//! The client's side of the SMTP session.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Where the mail comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Client {
    /// An Internet address. IPv4-mapped IPv6 addresses are IPv4 here.
    Ip(IpAddr),
    /// A local submission: a UNIX socket or standard input.
    Local,
    /// The MTA does not say.
    #[default]
    Unknown,
}

impl Client {
    /// Reads the text form both protocols use; an `IPv6:` prefix is dropped, anything that is no address is `Unknown`.
    pub fn parse(text: &str) -> Self {
        if let Some(address) = dotted_quad(text) {
            return Self::Ip(address.into());
        }
        let bare = match text.get(..5) {
            Some(prefix) if prefix.eq_ignore_ascii_case("ipv6:") => &text[5..],
            _ => text,
        };
        bare.parse::<IpAddr>().map_or(Self::Unknown, |address| Self::Ip(address.to_canonical()))
    }

    /// The Internet address, where there is one.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Local | Self::Unknown => None,
        }
    }
}

/// Reads an IPv4 address, as nearly all are, at a third of what the standard library's parser of all addresses costs.
fn dotted_quad(text: &str) -> Option<Ipv4Addr> {
    let (first, rest) = octet(text.as_bytes())?;
    let (second, rest) = octet(rest.strip_prefix(b".")?)?;
    let (third, rest) = octet(rest.strip_prefix(b".")?)?;
    let (fourth, rest) = octet(rest.strip_prefix(b".")?)?;
    rest.is_empty().then(|| Ipv4Addr::new(first, second, third, fourth))
}

/// A number up to 255 without a needless 0 before it, and what follows it.
fn octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| byte.wrapping_sub(b'0');
    match *text {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ref rest @ ..] => {
            let value = (digit(a) * 10 + digit(b)).checked_mul(10)?.checked_add(digit(c))?;
            Some((value, rest))
        }
        [a @ b'1'..=b'9', b @ b'0'..=b'9', ref rest @ ..] => Some((digit(a) * 10 + digit(b), rest)),
        [a @ b'0'..=b'9', ref rest @ ..] => Some((digit(a), rest)),
        _ => None,
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// The mail server that asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mta {
    /// Its host name (macro `j`).
    pub host_name: Option<String>,
    /// What it calls itself (macro `v`, such as `Postfix 3.7.11`).
    pub version: Option<String>,
}

impl Mta {
    /// Whether it is a Postfix: it shows a milter's reply text as it stands, where Sendmail puts `<recipient>... ` in front.
    pub fn is_postfix(&self) -> bool {
        self.version.as_deref().is_some_and(|version| version.starts_with("Postfix"))
    }
}

/// What the MTA tells of the connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The client's address.
    pub client: Client,
    /// The client's port, 0 when unknown.
    pub client_port: u16,
    /// The client's FCrDNS-verified host name in lower case: its PTR name whose addresses contain the client's.
    pub client_name: Option<String>,
    /// The MTA's own endpoint the client reached.
    pub local: Option<SocketAddr>,
    /// The mail server.
    pub mta: Mta,
    /// The name of our listener that was asked.
    pub listener: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn addresses_are_read_in_every_spelling_the_mtas_use() {
        let v6 = Client::Ip(Ipv6Addr::LOCALHOST.into());
        assert_eq!(Client::parse("IPv6:0:0:0:0:0:0:0:1"), v6);
        assert_eq!(Client::parse("ipv6:::1"), v6);
        assert_eq!(Client::parse("::1"), v6);
        assert_eq!(Client::parse("::ffff:192.0.2.1"), Client::Ip(Ipv4Addr::new(192, 0, 2, 1).into()));
        assert_eq!(Client::parse("192.0.2.1"), Client::Ip(Ipv4Addr::new(192, 0, 2, 1).into()));
        assert_eq!(Client::parse("unknown"), Client::Unknown);
        assert_eq!(Client::parse(""), Client::Unknown);
    }

    #[test]
    fn ipv4_addresses_are_those_of_the_standard_library() {
        let octets =
            ["", "0", "00", "01", "7", "10", "99", "100", "255", "256", "260", "1000", "+1", " 1", "a"];
        for first in octets {
            for second in octets {
                for text in [
                    format!("{first}.{second}.3.4"),
                    format!("1.2.{first}.{second}"),
                    format!("{first}.{second}.3"),
                    format!("{first}.{second}.3.4.5"),
                    format!("{first}.{second}..4"),
                    format!("1.2.{first}.{second}."),
                    format!(".{first}.{second}.1.2"),
                ] {
                    assert_eq!(dotted_quad(&text), text.parse().ok(), "{text}");
                }
            }
        }
    }
}
