//! Addresses to listen at, and DNS servers to ask.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;
use toml::Spanned;
use toml::de::DeValue;

use crate::policy::{Reading, Setting, host_name_checked};

/// A host of a TCP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, resolved when the socket is bound.
    Name(String),
}

/// An address to listen at: `HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A TCP socket; port 0 lets the system choose.
    Tcp(Host, u16),
    /// A UNIX socket.
    Unix(PathBuf),
}

/// A text that is no address to listen at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Neither `unix:` nor a port.
    #[error("has no port: expected HOST:PORT or unix:PATH")]
    NoPort,
    /// The part behind the last colon is no port.
    #[error("{0:?} is not a port from 0 to 65535")]
    Port(String),
    /// The part before the port is neither an address nor a name.
    #[error("{0:?} is not a host; for every address of this host write 0.0.0.0 or [::]")]
    Host(String),
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets: [{0}]:PORT")]
    Brackets(String),
    /// A UNIX socket's path that no socket can have (`sun_path` has 108 bytes with its final NUL).
    #[error("a socket's path is absolute, 2 to 107 bytes long")]
    Path,
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let good = path.starts_with('/') && (2..=107).contains(&path.len()) && !path.contains('\0');
            return if good { Ok(Self::Unix(path.into())) } else { Err(AddressError::Path) };
        }
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(AddressError::Brackets(text.to_owned()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        let bad_host = || AddressError::Host(host.to_owned());
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or_else(|| AddressError::Port(port.to_owned()))?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => Host::Ip(IpAddr::V6(v6.parse().map_err(|_| bad_host())?)),
            None => match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(_)) => return Err(AddressError::Brackets(host.to_owned())),
                Ok(v4) => Host::Ip(v4),
                Err(_) => Host::Name(host_name_checked(host).ok_or_else(bad_host)?),
            },
        };
        Ok(Self::Tcp(host, port))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(Host::Ip(address), port) => SocketAddr::new(*address, *port).fmt(f),
            Self::Tcp(Host::Name(name), port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Addresses to listen at; none switches the service off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenAddresses(Vec<ListenAddress>);

impl ListenAddresses {
    /// 127.0.0.1 with this port.
    pub fn localhost(port: u16) -> Self {
        Self(vec![ListenAddress::Tcp(Host::Ip(std::net::Ipv4Addr::LOCALHOST.into()), port)])
    }

    /// The addresses in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ListenAddress> {
        self.0.iter()
    }

    /// The addresses that `other` has as well.
    pub(super) fn common(&self, other: &Self) -> impl Iterator<Item = &ListenAddress> {
        let chosen_by_system = |address: &ListenAddress| matches!(address, ListenAddress::Tcp(_, 0));
        self.0.iter().filter(move |address| other.0.contains(address) && !chosen_by_system(address))
    }
}

/// For the command line, where `--milter` takes the place of what the file says.
impl FromIterator<ListenAddress> for ListenAddresses {
    fn from_iter<I: IntoIterator<Item = ListenAddress>>(addresses: I) -> Self {
        Self(addresses.into_iter().collect())
    }
}

impl Setting for ListenAddresses {
    const EXPECTED: &'static str =
        "a list of addresses, such as [\"127.0.0.1:10034\", \"unix:/run/greylag/milter\"]";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let mut addresses = Vec::new();
        each_text::<Self>(value, reading, |text, span, reading| {
            match text.parse::<ListenAddress>() {
                Ok(address) if addresses.contains(&address) => {
                    reading.warning(span, format!("{address} is listed twice"), "already in this list");
                }
                Ok(address) => addresses.push(address),
                Err(error) => {
                    reading.error(
                        span,
                        format!("{text:?} is not an address to listen at"),
                        error.to_string(),
                    );
                }
            };
        })?;
        Some(Self(addresses))
    }

    fn show(&self) -> String {
        show_texts(&self.0)
    }
}

/// The DNS servers to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DnsServers {
    /// Those of `/etc/resolv.conf`.
    #[default]
    System,
    /// These, in their order.
    Servers(Vec<SocketAddr>),
}

/// A DNS server: an address, with a port where it is not 53.
///
/// # Errors
/// What was expected instead.
pub fn dns_server(text: &str) -> Result<SocketAddr, &'static str> {
    const PORT: u16 = 53;
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
    address.or_else(|_| text.parse()).map_err(|_| "expected an address, with a port where it is not 53")
}

impl Setting for DnsServers {
    const EXPECTED: &'static str =
        "\"system\" or a list of addresses, such as [\"127.0.0.1\", \"[::1]:5353\"]";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        if value.get_ref().as_str() == Some("system") {
            return Some(Self::System);
        }
        let mut servers: Vec<SocketAddr> = Vec::new();
        each_text::<Self>(value, reading, |text, span, reading| match dns_server(text) {
            Ok(server) => servers.push(server),
            Err(expected) => {
                reading.error(span, format!("{text:?} is not a DNS server"), expected);
            }
        })?;
        if value.get_ref().as_array().is_some_and(|array| array.is_empty()) {
            reading.unexpected::<Self>(value).help("Greylag needs a DNS server");
            return None;
        }
        Some(Self::Servers(servers))
    }

    fn show(&self) -> String {
        match self {
            Self::System => "\"system\"".to_owned(),
            Self::Servers(servers) => show_texts(servers),
        }
    }
}

fn each_text<T: Setting>(
    value: &Spanned<DeValue<'_>>,
    reading: &mut Reading<'_>,
    mut read: impl FnMut(&str, std::ops::Range<usize>, &mut Reading<'_>),
) -> Option<()> {
    let Some(array) = value.get_ref().as_array() else {
        return reading.wrong_for_list::<T>(value).map(drop);
    };
    for entry in array.iter() {
        match entry.get_ref().as_str() {
            Some(text) => read(text, entry.span(), reading),
            None => return reading.wrong::<T>(entry).map(drop),
        }
    }
    Some(())
}

fn show_texts<T: ToString>(values: &[T]) -> String {
    let texts: Vec<String> =
        values.iter().map(|value| toml::Value::from(value.to_string()).to_string()).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["127.0.0.1:10033", "[::1]:0", "mx.example.test:10034", "unix:/run/greylag/policy"] {
            assert_eq!(text.parse::<ListenAddress>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, error) in [
            ("", AddressError::NoPort),
            ("127.0.0.1", AddressError::NoPort),
            ("127.0.0.1:", AddressError::Port(String::new())),
            ("127.0.0.1:65536", AddressError::Port("65536".into())),
            ("127.0.0.1:+1", AddressError::Port("+1".into())),
            ("127.0.0.1:smtp", AddressError::Port("smtp".into())),
            (":10033", AddressError::Host(String::new())),
            ("*:10033", AddressError::Host("*".into())),
            ("[127.0.0.1]:10033", AddressError::Host("[127.0.0.1]".into())),
            ("::1", AddressError::Brackets("::1".into())),
            ("fe80::1:2:3:4:5:6:10033", AddressError::Brackets("fe80::1:2:3:4:5:6".into())),
            ("unix:", AddressError::Path),
            ("unix:run/x", AddressError::Path),
            (&long, AddressError::Path),
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(error), "{text}");
        }
    }
}
