//! Both hooks at once: what the policy service decided of a recipient, the milter takes over, without a second greylist record,
//! count or log line.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::Protocol;
use crate::facts::{Client, Facts, Stage};
use crate::verdict::Verdict;

/// How long a verdict of the policy service may be taken over: Postfix asks the milter right after it.
const LIFETIME: Duration = Duration::from_secs(60);
/// How many verdicts are kept; beyond it the milter decides anew, which is only slower.
const CAPACITY: usize = 20_000;

/// One RCPT of one SMTP session, as both protocols see it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    client: IpAddr,
    client_port: u16,
    sender: String,
    recipient: String,
}

/// Verdicts of the policy service on recipients, for the milter.
#[derive(Debug)]
pub(super) struct Adopted {
    verdicts: Cache<Key, (Verdict, Instant)>,
    /// Clients that a milter told of lately, by address and port, each for as long as it may ask. Of others nothing need be kept: a
    /// milter hears of the client before it names a recipient.
    clients: Cache<(IpAddr, u16), Weak<Told>>,
}

/// A milter that told of a client keeps it for as long as it may ask about its mail.
#[derive(Debug)]
pub(super) struct Told;

impl Default for Adopted {
    fn default() -> Self {
        Self { verdicts: Cache::new(CAPACITY), clients: Cache::new(CAPACITY) }
    }
}

impl Adopted {
    /// A client is met.
    pub(super) fn meet(&self, client: (Client, u16), protocol: Protocol) -> Option<Arc<Told>> {
        let client = session(client).filter(|_| protocol == Protocol::Milter)?;
        let told = Arc::new(Told);
        self.clients.insert(client, Arc::downgrade(&told));
        Some(told)
    }

    /// The verdict of the policy service on the recipient the milter asks about.
    pub(super) fn verdict(&self, stage: Stage, facts: &Facts, protocol: Protocol) -> Option<Verdict> {
        if stage != Stage::Rcpt || protocol != Protocol::Milter || self.verdicts.is_empty() {
            return None;
        }
        let (verdict, decided) = self.verdicts.get(&key(facts)?)?;
        (decided.elapsed() < LIFETIME).then_some(verdict)
    }

    /// Whether a milter told of this client: what is said of its recipients has to be kept.
    pub(super) fn is_wanted(&self, client: (Client, u16)) -> bool {
        let told = session(client).and_then(|client| self.clients.get(&client));
        told.is_some_and(|told| told.strong_count() > 0)
    }

    /// Keeps a verdict of the policy service.
    pub(super) fn remember(&self, stage: Stage, facts: &Facts, protocol: Protocol, verdict: &Verdict) {
        let is_ours = stage == Stage::Rcpt
            && protocol == Protocol::Policy
            && self.is_wanted((facts.connection.client, facts.connection.client_port));
        if is_ours && let Some(key) = key(facts) {
            self.verdicts.insert(key, (verdict.clone(), Instant::now()));
        }
    }
}

/// Address and port, which are one SMTP session.
fn session((client, port): (Client, u16)) -> Option<(IpAddr, u16)> {
    Some((client.ip()?, Some(port).filter(|port| *port != 0)?))
}

fn key(facts: &Facts) -> Option<Key> {
    let (client, client_port) = session((facts.connection.client, facts.connection.client_port))?;
    Some(Key {
        client,
        client_port,
        sender: facts.sender.as_ref()?.key(),
        recipient: facts.recipient.as_ref()?.address().key(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Connection, Recipient, ReversePath};

    fn client(port: u16) -> (Client, u16) {
        (Client::parse("192.0.2.1"), port)
    }

    fn facts(port: u16) -> Facts {
        let (client, _) = client(port);
        Facts {
            connection: Connection { client, client_port: port, ..Connection::default() },
            sender: Some(ReversePath::parse("<a@b.test>")),
            recipient: Some(Recipient::parse("<r@example.test>")),
            ..Facts::default()
        }
    }

    #[test]
    fn a_verdict_is_kept_where_a_milter_will_ask_for_it() {
        let adopted = Adopted::default();
        let told = adopted.meet(client(1), Protocol::Milter);
        assert!(told.is_some() && adopted.meet(client(2), Protocol::Policy).is_none());
        drop(adopted.meet(client(3), Protocol::Milter));
        let kept = [1, 2, 3].map(|port| {
            adopted.remember(Stage::Rcpt, &facts(port), Protocol::Policy, &Verdict::default());
            adopted.verdict(Stage::Rcpt, &facts(port), Protocol::Milter)
        });
        assert_eq!(kept, [Some(Verdict::default()), None, None]);
    }
}
