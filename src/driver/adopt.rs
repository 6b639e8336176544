//! Both hooks at once: what the policy service decided of a recipient, the milter takes over, without a second greylist record,
//! count or log line.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::Protocol;
use crate::facts::{Facts, Stage};
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
    /// Whether a milter ever asked. Before, and where none ever does, nothing need be kept: its connection comes before any
    /// recipient.
    has_milter: AtomicBool,
}

impl Default for Adopted {
    fn default() -> Self {
        Self { verdicts: Cache::new(CAPACITY), has_milter: AtomicBool::new(false) }
    }
}

impl Adopted {
    /// A connection of this protocol begins.
    pub(super) fn note(&self, protocol: Protocol) {
        if protocol == Protocol::Milter {
            self.has_milter.store(true, Ordering::Relaxed);
        }
    }

    /// The verdict of the policy service on the recipient the milter asks about.
    pub(super) fn verdict(&self, stage: Stage, facts: &Facts, protocol: Protocol) -> Option<Verdict> {
        if stage != Stage::Rcpt || protocol != Protocol::Milter || self.verdicts.is_empty() {
            return None;
        }
        let (verdict, decided) = self.verdicts.get(&key(facts)?)?;
        (decided.elapsed() < LIFETIME).then_some(verdict)
    }

    /// Keeps a verdict of the policy service.
    pub(super) fn remember(&self, stage: Stage, facts: &Facts, protocol: Protocol, verdict: &Verdict) {
        let is_ours =
            stage == Stage::Rcpt && protocol == Protocol::Policy && self.has_milter.load(Ordering::Relaxed);
        if is_ours && let Some(key) = key(facts) {
            self.verdicts.insert(key, (verdict.clone(), Instant::now()));
        }
    }
}

fn key(facts: &Facts) -> Option<Key> {
    Some(Key {
        client: facts.connection.client.ip()?,
        client_port: Some(facts.connection.client_port).filter(|port| *port != 0)?,
        sender: facts.sender.as_ref()?.key(),
        recipient: facts.recipient.as_ref()?.address().key(),
    })
}
