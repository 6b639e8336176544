//! What CONNECT and its macros say of the client and the MTA.

use std::net::SocketAddr;
use std::sync::Arc;

use super::command::Peer;
use super::macros::Macros;
use crate::facts::{Client, Connection, Mta, host_name};

/// The connection of a CONNECT command, whose macros came just before it.
pub(super) fn connection(name: &str, peer: &Peer, macros: &Macros, listener: Arc<str>) -> Connection {
    let [host_name, version, client_resolve, origin, daemon_addr, if_addr, daemon_port] =
        macros.get(["j", "v", "client_resolve", "_", "daemon_addr", "if_addr", "daemon_port"]);
    let mta = Mta { host_name, version };
    let (client, client_port) = match peer {
        Peer::Internet { port, address } => (Client::parse(address), *port),
        Peer::Unix => (Client::Local, 0),
        // `sendmail -bs` on standard input.
        Peer::Unknown if name.eq_ignore_ascii_case("localhost") => (Client::Local, 0),
        Peer::Unknown => (Client::Unknown, 0),
    };
    Connection {
        client,
        client_port,
        client_name: client.ip().and_then(|_| verified_name(name, client_resolve, origin, &mta)),
        local: local_endpoint([daemon_addr, if_addr], daemon_port),
        mta,
        listener,
    }
}

/// The name of CONNECT, if its addresses contain the client's.
///
/// Postfix sends no other; where it has none it sends `[address]` or `unknown`. Sendmail sends what the address
/// resolves to, and says in `{client_resolve}` and `_` whether that is confirmed. A peer that says nothing
/// confirms nothing.
fn verified_name(
    name: &str,
    client_resolve: Option<String>,
    origin: Option<String>,
    mta: &Mta,
) -> Option<String> {
    if name.starts_with('[') || name.eq_ignore_ascii_case("unknown") {
        return None;
    }
    let resolve = client_resolve.map(|answer| answer == "OK");
    let origin = origin.map(|origin| !origin.contains("may be forged"));
    let verified = match (resolve, origin) {
        (None, None) => mta.is_postfix(),
        (resolve, origin) => resolve.unwrap_or(true) && origin.unwrap_or(true),
    };
    host_name(name).filter(|_| verified)
}

/// The MTA's end of the connection. Sendmail's `{daemon_addr}` may be the wildcard address it listens on, its
/// `{if_addr}` is the interface; Postfix has the former only, with the real address.
fn local_endpoint(addresses: [Option<String>; 2], port: Option<String>) -> Option<SocketAddr> {
    let address = addresses
        .into_iter()
        .filter_map(|address| Client::parse(&address?).ip())
        .find(|address| !address.is_unspecified())?;
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(0);
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::milter::macros::MacroStage;

    fn connect(name: &str, peer: Peer, definitions: &[u8]) -> Connection {
        let mut macros = Macros::default();
        macros.define(MacroStage::Connect, definitions);
        connection(name, &peer, &macros, "mx".into())
    }

    fn internet(address: &str) -> Peer {
        Peer::Internet { port: 4242, address: address.into() }
    }

    #[test]
    fn a_postfix_connection() {
        let connection = connect(
            "Mail.Example.Org",
            internet("2001:db8::1"),
            b"j\0mx.test\0{daemon_addr}\0IPv6:2001:db8::25\0{daemon_port}\x0025\0v\0Postfix 3.7.11\0\
              _\0mail.example.org [2001:db8::1]\0",
        );
        assert_eq!(connection.client, Client::parse("2001:db8::1"));
        assert_eq!(connection.client_port, 4242);
        assert_eq!(connection.client_name.as_deref(), Some("mail.example.org"));
        assert_eq!(connection.local, Some("[2001:db8::25]:25".parse().unwrap()));
        assert_eq!(connection.mta.host_name.as_deref(), Some("mx.test"));
        assert!(connection.mta.is_postfix());
        assert_eq!(&*connection.listener, "mx");
    }

    #[test]
    fn the_client_of_each_family() {
        for (name, peer, expected) in [
            ("h", internet("192.0.2.1"), Client::parse("192.0.2.1")),
            ("h", internet("IPv6:0:0:0:0:0:0:0:1"), Client::parse("::1")),
            ("unknown", internet("unknown"), Client::Unknown),
            ("localhost", Peer::Unix, Client::Local),
            ("localhost", Peer::Unknown, Client::Local),
            ("unknown", Peer::Unknown, Client::Unknown),
        ] {
            assert_eq!(connect(name, peer.clone(), b"").client, expected, "{name} {peer:?}");
        }
    }

    #[test]
    fn only_confirmed_names_count() {
        for (name, macros, expected) in [
            ("a.test", &b"v\0Postfix 3.1\0"[..], Some("a.test")),
            ("A.Test.", b"_\0a.test [192.0.2.1]\0", Some("a.test")),
            ("a.test", b"_\0a.test [192.0.2.1] (may be forged)\0", None),
            ("a.test", b"{client_resolve}\0OK\0", Some("a.test")),
            ("a.test", b"{client_resolve}\0FORGED\0_\0a.test [192.0.2.1]\0", None),
            ("a.test", b"{client_resolve}\0FAIL\0", None),
            ("a.test", b"{client_resolve}\0TEMP\0", None),
            ("a.test", b"", None),
            ("[192.0.2.1]", b"v\0Postfix 3.1\0", None),
            ("[IPv6:0:0:0:0:0:0:0:1]", b"{client_resolve}\0OK\0", None),
            ("unknown", b"v\0Postfix 3.1\0", None),
        ] {
            let found = connect(name, internet("192.0.2.1"), macros).client_name;
            assert_eq!(found.as_deref(), expected, "{name} {}", macros.escape_ascii());
        }
        assert_eq!(connect("localhost", Peer::Unix, b"v\0Postfix 3.1\0").client_name, None);
    }

    #[test]
    fn the_local_endpoint_is_never_a_wildcard() {
        for (macros, expected) in [
            (&b""[..], None),
            (b"daemon_addr\x00192.0.2.25\0daemon_port\x0025\0", Some("192.0.2.25:25")),
            (b"daemon_addr\x000.0.0.0\0daemon_port\x0025\0if_addr\x00192.0.2.25\0", Some("192.0.2.25:25")),
            (b"daemon_addr\0::\0daemon_port\x0025\0", None),
            (b"if_addr\x00192.0.2.25\0", Some("192.0.2.25:0")),
            (b"daemon_addr\x00192.0.2.25\0daemon_port\0smtp\0", Some("192.0.2.25:0")),
        ] {
            let found = connect("h", internet("192.0.2.1"), macros).local.map(|local| local.to_string());
            assert_eq!(found.as_deref(), expected, "{}", macros.escape_ascii());
        }
    }
}
