//! Notices when the mail server does not see its clients, but a NAT or proxy before it.
//!
//! Behind a container network or a load balancer every client has the gateway's address. Nothing fails then, and nothing works:
//! the greylist, SPF and HELO checks take the whole Internet for one sender.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

/// How long connections are counted before the count begins anew.
const PERIOD: Duration = Duration::from_secs(3_600);
/// Connections below which nothing is concluded.
const ENOUGH: u32 = 1_000;
/// More than this share of them, in percent, is suspicious.
const SHARE: u64 = 99;
/// Private addresses counted at a time. With more of them none is likely to have the share.
const MAX_ADDRESSES: usize = 64;

/// Nearly all clients have one private address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{connections} of the last {total} SMTP connections came from {client}, a private address: the mail server sees a NAT or \
     proxy instead of its clients, so greylisting, SPF and HELO checks cannot tell them apart. Give it the real addresses: in \
     Docker host networking, or no userland proxy; behind a load balancer the PROXY protocol (Postfix: \
     smtpd_upstream_proxy_protocol = haproxy). If a relay of yours hands over all mail, name it in the scope \"exempt \
     networks\" of scopes.toml"
)]
pub struct Warning {
    /// The address.
    pub client: IpAddr,
    /// Connections from it.
    pub connections: u32,
    /// Connections in all.
    pub total: u32,
}

/// Counts where SMTP connections come from.
#[derive(Debug, Default)]
pub struct NatWatch {
    /// Connections from public addresses, which are nearly all, since the count began.
    public: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    warned: bool,
    began: Option<Instant>,
    /// Connections from private addresses.
    total: u32,
    private: HashMap<IpAddr, u32>,
}

impl NatWatch {
    /// Counts one SMTP connection. The warning comes once, and is to be logged.
    pub fn observe(&self, client: IpAddr, now: Instant) -> Option<Warning> {
        if !is_private(client) {
            self.public.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        // Nobody waits to be counted: who comes while another is counted is not, which is as if fewer had come.
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if state.warned {
            return None;
        }
        if state.is_over(now) {
            *state = State { began: Some(now), ..State::default() };
            self.public.store(0, Ordering::Relaxed);
        }
        state.count(client, now, self.public.load(Ordering::Relaxed))
    }
}

impl State {
    fn is_over(&self, now: Instant) -> bool {
        self.began.is_some_and(|began| now.saturating_duration_since(began) >= PERIOD)
    }

    /// Counts a connection from a private address, beside `public` ones from others.
    fn count(&mut self, client: IpAddr, now: Instant, public: u32) -> Option<Warning> {
        self.began.get_or_insert(now);
        self.total = self.total.saturating_add(1);
        if self.private.len() >= MAX_ADDRESSES && !self.private.contains_key(&client) {
            return None;
        }
        let connections = self.private.entry(client).or_default();
        *connections = connections.saturating_add(1);
        let total = self.total.saturating_add(public);
        let warning = Warning { client, connections: *connections, total };
        self.warned = total >= ENOUGH && u64::from(*connections) * 100 > u64::from(total) * SHARE;
        self.warned.then_some(warning)
    }
}

/// An address that clients on the Internet cannot have and gateways do: RFC 1918, RFC 6598, and RFC 4193. Loopback is not meant:
/// that is mail of the machine itself.
fn is_private(client: IpAddr) -> bool {
    match client {
        IpAddr::V4(address) => address.is_private() || is_shared(address),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// 100.64.0.0/10 (RFC 6598), which clouds and carriers use behind their NAT.
const fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0b1100_0000 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// What `watch` says of so many connections from one address.
    fn observe(watch: &NatWatch, client: &str, connections: u32, now: Instant) -> Vec<Warning> {
        (0..connections).filter_map(|_| watch.observe(address(client), now)).collect()
    }

    #[test]
    fn it_warns_once_at_the_thousandth_connection() {
        let (watch, now) = (NatWatch::default(), Instant::now());
        assert_eq!(observe(&watch, "192.0.2.1", 9, now), []);
        assert_eq!(observe(&watch, "172.17.0.1", 990, now), []);
        let warning = Warning { client: address("172.17.0.1"), connections: 991, total: 1_000 };
        assert_eq!(observe(&watch, "172.17.0.1", 5_000, now), [warning]);
        let text = warning.to_string();
        assert!(text.ends_with(", name it in the scope \"exempt networks\" of scopes.toml"), "{text}");
        let shipped = crate::policy::embedded::text("scopes.toml").unwrap();
        assert!(shipped.contains("name = \"exempt networks\""), "the scope that is named exists");
        assert!(text.starts_with("991 of the last 1000 SMTP connections came from 172.17.0.1, "), "{text}");
        assert_eq!(observe(&watch, "172.17.0.1", 5_000, now + PERIOD), [], "not again");
    }

    #[test]
    fn a_share_of_99_percent_is_not_more_than_that() {
        let (watch, now) = (NatWatch::default(), Instant::now());
        for _ in 0..50 {
            assert_eq!(observe(&watch, "192.0.2.1", 1, now), []);
            assert_eq!(observe(&watch, "10.0.0.1", 99, now), []);
        }
    }

    #[test]
    fn only_private_addresses_are_suspicious() {
        for (client, suspicious) in [
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("172.31.255.255", true),
            ("192.168.0.1", true),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("192.0.2.1", false),
            ("172.32.0.1", false),
            ("100.63.255.255", false),
            ("100.128.0.0", false),
            ("2001:db8::1", false),
        ] {
            let watch = NatWatch::default();
            let warnings = observe(&watch, client, 2_000, Instant::now()).len();
            assert_eq!(warnings, usize::from(suspicious), "{client}");
        }
    }

    #[test]
    fn a_quiet_hour_proves_nothing() {
        let (watch, now) = (NatWatch::default(), Instant::now());
        for hour in 0..5 {
            assert_eq!(observe(&watch, "10.0.0.1", 999, now + hour * PERIOD), []);
        }
    }

    #[test]
    fn nobody_waits_to_be_counted() {
        let (watch, now) = (NatWatch::default(), Instant::now());
        let state = watch.state.lock().unwrap();
        assert_eq!(observe(&watch, "10.0.0.1", 5_000, now), []);
        assert_eq!(state.total, 0);
        drop(state);
        assert_eq!(observe(&watch, "10.0.0.1", 1_000, now).len(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let (watch, now) = (NatWatch::default(), Instant::now());
        for number in 0..100_000_u32 {
            let client = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number);
            assert_eq!(watch.observe(client.into(), now), None);
        }
        assert_eq!(watch.state.lock().unwrap().private.len(), MAX_ADDRESSES);
    }
}
