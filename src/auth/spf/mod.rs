//! SPF (RFC 7208): may this client send mail of this domain?
//!
//! mail-auth reads the records and expands the macros. Its own evaluation is not used: it asks a resolver of its own, knows no
//! limit of void look-ups, and forgets the qualifier of an `include` whose record includes another one.

mod evaluate;
mod memory;
mod record;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::dns::Resolver;
use crate::facts::{Address, ReversePath, host_name};
use evaluate::{Evaluation, Mailbox};
pub(super) use evaluate::{MAX_NAME, is_name};
use memory::About;
pub use memory::SpfMemory;

/// What SPF is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpfQuery {
    /// The client's address.
    pub client: IpAddr,
    /// The HELO name as the client typed it, empty when it sent none.
    pub helo: String,
    /// The reverse-path.
    pub sender: ReversePath,
}

impl SpfQuery {
    /// What is known when nobody answered: whose policy it would have been.
    pub fn unanswered(&self) -> SpfOutcome {
        let (identity, domain) = asked_of(&self.sender, &self.helo);
        SpfOutcome { result: SpfResult::TempError, identity, domain: domain.into(), passes_anyone: false }
    }
}

/// Whose policy is asked for mail of this sender from a client of this HELO name.
fn asked_of<'a>(sender: &'a ReversePath, helo: &str) -> (SpfIdentity, Cow<'a, str>) {
    match sender.address().and_then(Address::domain) {
        Some(domain) => (SpfIdentity::MailFrom, domain.into()),
        None => (SpfIdentity::Helo, host_name(helo).unwrap_or_default().into()),
    }
}

/// The results of RFC 7208 §2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpfResult {
    /// The client may send mail of the domain.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// The domain says nothing about this client.
    Neutral,
    /// The domain publishes no policy, or is none.
    None,
    /// The policy cannot be read, or costs more look-ups than allowed.
    PermError,
    /// The DNS failed; another time there may be an answer.
    TempError,
}

impl SpfResult {
    /// The result's name in headers and logs (RFC 8601 §2.7.2).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Neutral => "neutral",
            Self::None => "none",
            Self::PermError => "permerror",
            Self::TempError => "temperror",
        }
    }
}

/// Whose policy was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpfIdentity {
    /// The domain of MAIL FROM.
    MailFrom,
    /// The HELO name, as the reverse-path is null or has no domain (RFC 7208 §2.4).
    Helo,
}

/// What SPF says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpfOutcome {
    /// The result.
    pub result: SpfResult,
    /// Whose policy was asked.
    pub identity: SpfIdentity,
    /// The domain asked, in lower case without final dot.
    pub domain: Arc<str>,
    /// A pass that says nothing, as the domain passes addresses it has no business with, too (`+all`).
    pub passes_anyone: bool,
}

impl SpfOutcome {
    /// Where there is nothing to ask: the client has no address, as with mail submitted on the host.
    pub fn none() -> Self {
        Self {
            result: SpfResult::None,
            identity: SpfIdentity::Helo,
            domain: Arc::default(),
            passes_anyone: false,
        }
    }

    /// The MAIL FROM domain, where it vouches for this client rather than for anyone.
    pub fn vouching_domain(&self) -> Option<&Arc<str>> {
        let vouches =
            self.result == SpfResult::Pass && self.identity == SpfIdentity::MailFrom && !self.passes_anyone;
        vouches.then_some(&self.domain)
    }
}

/// Addresses nobody's mail comes from: of networks closed to the Internet (22/8, 215/8), of a link's own (169.254/16), of space
/// never assigned (240/4; of IPv6 what is beyond the registries' blocks, the given-back 3ffe::/16, documentation and benchmarks).
/// A policy that passes one of them passes anyone.
const NOBODY_V4: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(22, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(215, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(250, 0, 0, 1)),
];
const NOBODY_V6: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0x2d00, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1)),
];

const fn nobody(v4: bool) -> [IpAddr; 4] {
    if v4 { NOBODY_V4 } else { NOBODY_V6 }
}

/// Asks the policy of the sender's domain, or of the HELO name where there is none, about the client. Takes as long as its
/// look-ups do, of which RFC 7208 §4.6.4 allows few: the caller sets the deadline.
pub async fn spf(query: &SpfQuery, resolver: &dyn Resolver) -> SpfOutcome {
    evaluate_anew(query.client, &query.sender, &query.helo, resolver, &SpfMemory::default()).await
}

async fn evaluate_anew(
    client: IpAddr,
    sender: &ReversePath,
    helo: &str,
    resolver: &dyn Resolver,
    memory: &SpfMemory,
) -> SpfOutcome {
    let (identity, domain) = asked_of(sender, helo);
    let domain: Arc<str> = domain.into();
    let local = sender.address().map(Address::local).filter(|local| !local.is_empty());
    let local = local.filter(|_| identity == SpfIdentity::MailFrom).unwrap_or("postmaster");
    let mailbox = Mailbox { local, domain: &domain };
    let ask = async |client| {
        let mut evaluation = Evaluation::new(client, helo, mailbox, resolver, memory.records());
        let result = evaluation.check_host(&domain).await;
        (result, evaluation.passes_anyone(), evaluation.holds(result))
    };
    let (result, mut passes_anyone, mut holds) = ask(client).await;
    if result == SpfResult::Pass && !passes_anyone {
        let v4 = client.is_ipv4();
        let about_anyone = About::Anyone { v4 };
        let left;
        (passes_anyone, left) = match memory.recall(about_anyone, &domain) {
            Some(((_, passes_anyone), left)) => (passes_anyone, Some(left)),
            None => {
                // At once, as each may look up names of its own (`exists`, `ptr`), and all of it has the time of one answer. What
                // the first evaluation looked up is in the resolver's cache. Apart, as it is seldom asked and takes much room.
                let each = Box::pin(async {
                    let [one, two, three, four] = nobody(v4).map(&ask);
                    let (one, two, three, four) = tokio::join!(one, two, three, four);
                    [one, two, three, four]
                });
                let each = each.await;
                let passes_anyone = each.iter().any(|(result, ..)| *result == SpfResult::Pass);
                let shortest = each.iter().map(|(.., holds)| *holds).reduce(shorter).flatten();
                memory.remember(about_anyone, Arc::clone(&domain), (result, passes_anyone), shortest);
                (passes_anyone, shortest)
            }
        };
        holds = shorter(holds, left);
    }
    memory.remember(About::Client(client), Arc::clone(&domain), (result, passes_anyone), holds);
    SpfOutcome { result, identity, domain, passes_anyone }
}

/// The shorter of two times; none where either is none.
fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    Some(one?.min(other?))
}
