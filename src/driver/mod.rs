//! Fetches what the filter asks for and hands its verdict to the protocols. The only IO between question and answer.

mod adopt;
mod clock;
mod fetch;
mod late;
mod record;
mod regulars;
mod scanner;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};

use crate::auth::SpfMemory;
use crate::checks::{auth, helo};
use crate::dns::Resolver;
use crate::facts::{Client, Facts, Stage};
use crate::filter::{self, Known, Lookups, Step};
use crate::policy::Policy;
use crate::store::{Answer, Attempt, Store, Timestamp};
use crate::telemetry::Trace;
use crate::telemetry::nat::NatWatch;
use crate::verdict::{Finding, Outcome, Verdict};
use adopt::{Adopted, Told};
pub use clock::Clock;
use late::{LateMail, LateSpf};
pub use regulars::{Again, Regular};
use regulars::{Asked, KeptGrounds, MOST_SAID, Regulars, Seen};
pub use scanner::Scanner;

/// Longest time a DNS question may take; with [`STORE_BUDGET`] it stays below the 2 s within which every RCPT is answered.
const DNS_BUDGET: Duration = Duration::from_millis(1_400);
/// Longest time the look-ups and the hashing for DKIM and DMARC may take, at the end of the message, where the MTA waits longer.
const MESSAGE_AUTH_BUDGET: Duration = Duration::from_secs(10);
/// Longest time the greylist store may take.
const STORE_BUDGET: Duration = Duration::from_millis(500);
/// Rounds of asking after which something asks in circles, and one more for each recipient: at most 3 are needed, and one for each
/// further group of recipients.
const MAX_ROUNDS: usize = 8;

/// The protocol an MTA asks by; a metric label and a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The milter protocol.
    Milter,
    /// The Postfix policy delegation protocol.
    Policy,
}

impl Protocol {
    /// The protocol's name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milter => "milter",
            Self::Policy => "policy",
        }
    }
}

/// A verdict, be it just made or made before.
#[derive(Debug)]
pub enum Judged {
    /// Just made.
    Anew(Verdict),
    /// That of mail that comes regularly.
    Again(Arc<Regular>),
}

impl Deref for Judged {
    type Target = Verdict;

    fn deref(&self) -> &Verdict {
        match self {
            Self::Anew(verdict) => verdict,
            Self::Again(regular) => &regular.verdict,
        }
    }
}

/// What is kept beside the facts while one mail is judged: the policy it began with, and what was already asked.
#[derive(Debug)]
pub struct Transaction {
    /// The protocol that asks.
    pub protocol: Protocol,
    /// The policy the mail began with; a reload does not change it under way.
    pub policy: Arc<Policy>,
    /// What the world answered so far.
    pub known: Known,
    /// The mail's number in this process.
    number: u64,
    /// Address and port of the client of this session.
    client: Option<(Client, u16)>,
    /// Held by a milter that told of this client.
    told: Option<Arc<Told>>,
    /// The HELO name that `known.helo` is about.
    helo: Option<String>,
    /// What takes this mail's attempts until SPF answers after all.
    late_spf: Option<LateMail>,
    /// What the recipient judged last is known as, if it came before and nothing was asked of it this time.
    regular: Option<Arc<Regular>>,
    /// Tags found at earlier stages, written into the message at its end.
    tags: Vec<Finding>,
}

/// Judges mails for both protocols.
#[derive(Debug)]
pub struct Driver {
    policy: ArcSwap<Policy>,
    resolver: Arc<dyn Resolver>,
    store: Arc<dyn Store>,
    scanner: Scanner,
    clock: Clock,
    adopted: Adopted,
    late_spf: LateSpf,
    spf: Arc<SpfMemory>,
    regulars: Regulars,
    nat: NatWatch,
    trace: Trace,
    /// Whether mails are judged, or only explained.
    is_live: bool,
    /// Mails begun so far.
    mails: AtomicU64,
}

impl Driver {
    /// A driver that decides by `policy` and asks these.
    pub fn new(policy: Policy, resolver: Arc<dyn Resolver>, store: Arc<dyn Store>, scanner: Scanner) -> Self {
        Self {
            policy: ArcSwap::from_pointee(policy),
            resolver,
            store,
            scanner,
            clock: Clock::default(),
            adopted: Adopted::default(),
            late_spf: LateSpf::default(),
            spf: Arc::default(),
            regulars: Regulars::default(),
            nat: NatWatch::default(),
            trace: Trace::default(),
            is_live: true,
            mails: AtomicU64::new(0),
        }
    }

    /// A driver that judges as this one does at this moment and leaves no trace of it: it looks into the greylist and writes nothing,
    /// and it counts, logs and remembers no decision.
    pub fn explaining(&self) -> Self {
        let (resolver, store) = (Arc::clone(&self.resolver), Arc::clone(&self.store));
        let policy = Policy::clone(&self.policy());
        let clock = self.clock.clone();
        Self { is_live: false, clock, ..Self::new(policy, resolver, store, self.scanner.clone()) }
    }

    /// What was decided lately.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The same driver, which keeps its last decisions in this trace.
    #[must_use]
    pub fn with_trace(self, trace: Trace) -> Self {
        Self { trace, ..self }
    }

    /// The same driver by another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Puts a new policy in force. Mails under way finish on the one they began with.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Begins the first mail of a connection.
    pub fn begin(&self, protocol: Protocol) -> Transaction {
        Transaction {
            protocol,
            number: self.mails.fetch_add(1, Ordering::Relaxed),
            policy: self.policy.load_full(),
            known: Known::default(),
            client: None,
            told: None,
            helo: None,
            late_spf: None,
            regular: None,
            tags: Vec::new(),
        }
    }

    /// Begins another mail of a connection when the last one ended: by the policy in force where the connection `serves` it, and
    /// by that of the last mail otherwise.
    pub fn begin_next(&self, transaction: &mut Transaction, serves: impl FnOnce(&Policy) -> bool) {
        // Of the HELO name nothing is known any more, whichever it is: it stays, to be compared with the next one.
        let Transaction { policy, known, number, late_spf, regular, tags, .. } = transaction;
        *number = self.mails.fetch_add(1, Ordering::Relaxed);
        // Mostly it is the one there is: to count it up and down for each mail, all threads would write to one place.
        let in_force = self.policy.load();
        if !Arc::ptr_eq(&in_force, policy) && serves(&in_force) {
            *policy = Guard::into_inner(in_force);
        }
        known.forget_mail();
        *late_spf = None;
        *regular = None;
        tags.clear();
    }

    /// Whether a milter was told of this client, so that it asks about a mail after the policy service, and judges it by the same
    /// settings.
    pub fn milter_follows(&self, facts: &Facts) -> bool {
        !self.policy.load().tells_hooks_apart()
            && self.adopted.is_wanted((facts.connection.client, facts.connection.client_port))
    }

    /// Judges what is known at `stage`: asks the world what the filter needs, each question under its deadline, until there is a
    /// verdict. Always answers, within 2 s before the end of message. What is decided is counted and logged here.
    pub async fn judge(&self, stage: Stage, facts: &Facts, transaction: &mut Transaction) -> Judged {
        let began = Instant::now();
        let client = (facts.connection.client, facts.connection.client_port);
        if transaction.meet(client) {
            transaction.told = self.adopted.meet(client, transaction.protocol);
            if self.is_live {
                self.watch_nat(client, began);
            }
        }
        transaction.enter(stage, facts);
        if let Some(verdict) = self.adopted.verdict(stage, facts, transaction.protocol) {
            let verdict = self.adopt(verdict, facts, transaction, began);
            transaction.keep_tags(&verdict);
            return Judged::Anew(verdict);
        }
        let seen = match self.store.removals() {
            Some(_) if self.is_live => self.regulars.recall(stage, facts, &transaction.known),
            _ => Seen::Unlike,
        };
        if let Seen::Regularly(_, regular) = &seen {
            let now = self.clock.now();
            if self.still_holds(&regular.again, &transaction.policy, (now, began)) {
                self.say_again(regular, facts, transaction, (now, began));
                transaction.regular = regular.asked.is_some().then(|| Arc::clone(regular));
                return Judged::Again(Arc::clone(regular));
            }
        }
        self.prefetch(stage, facts, transaction);
        let mut verdict = self.ask_until_done(stage, facts, transaction).await;
        if stage == Stage::EndOfMessage {
            filter::clean_header(facts, &transaction.policy, &transaction.tags, &mut verdict);
        }
        self.adopted.remember(stage, facts, transaction.protocol, &verdict);
        if let Some(Answer::Known { .. }) = transaction.known.greylist.got() {
            self.regulars.remember(&seen, || self.regular(facts, transaction, &verdict));
        }
        if stage != Stage::EndOfMessage {
            transaction.keep_tags(&verdict);
        }
        transaction.known.note(&verdict);
        if self.is_live {
            let when = (self.clock.now(), began.elapsed());
            record::decision(stage, facts, transaction, &verdict, when, &self.trace);
        }
        if stage == Stage::EndOfMessage {
            verdict.add(transaction.tags.drain(..));
        }
        Judged::Anew(verdict)
    }

    /// Whether the filter would say again what it said of this regular.
    fn still_holds(&self, again: &Again, policy: &Arc<Policy>, (now, instant): (Timestamp, Instant)) -> bool {
        std::ptr::eq(again.policy.as_ptr(), Arc::as_ptr(policy))
            && instant < again.dns_until
            && now <= again.greylist.until
            && self.store.removals() == Some(again.greylist.removals)
    }

    /// Says it again, as if it had been judged anew.
    fn say_again(
        &self,
        regular: &Regular,
        facts: &Facts,
        transaction: &mut Transaction,
        (now, began): (Timestamp, Instant),
    ) {
        self.adopted.remember(Stage::Rcpt, facts, transaction.protocol, &regular.verdict);
        transaction.keep_tags(&regular.verdict);
        let queue_id = facts.queue_id.as_deref();
        record::again(regular, queue_id, transaction, (now, began.elapsed()), &self.trace);
    }

    /// Judges the first recipient of a mail that just begins, whose facts are those of a regular: says what was said of them
    /// before, if that still holds. `client_port` is the client's, `queue_id` the mail's. Nothing else of the facts is kept, so this is
    /// for regulars whose verdict wants nothing of the rest of the mail.
    pub fn judge_again(
        &self,
        again: &Again,
        client_port: u16,
        queue_id: Option<&str>,
        transaction: &mut Transaction,
    ) -> bool {
        let Some(reason) = again.passes else { return false };
        let client = (again.client, client_port);
        let (began, now) = (Instant::now(), self.clock.now());
        let holds = self.is_live
            && !self.adopted.is_wanted(client)
            && self.still_holds(again, &transaction.policy, (now, began));
        if holds {
            if transaction.meet(client) {
                self.watch_nat(client, began);
            }
            record::passed_again(reason, again, queue_id, transaction, (now, began.elapsed()), &self.trace);
        }
        holds
    }

    /// What was just decided of a recipient, if it is known how long it holds.
    fn regular(&self, facts: &Facts, transaction: &Transaction, verdict: &Verdict) -> Option<Regular> {
        let Transaction { policy, known, .. } = transaction;
        let attempt = known.attempt.as_ref()?;
        let dns_until = Instant::now() + self.dns_holds(facts, known)?;
        let now = self.clock.now();
        let said = record::of(Stage::Rcpt, facts, transaction, verdict, (now, Duration::ZERO)).said();
        if said.size() > MOST_SAID {
            return None;
        }
        let asked = || Asked {
            helo: known.helo.clone(),
            spf: known.spf.clone(),
            identities: attempt.identities.as_slice().into(),
        };
        Some(Regular {
            grounds: KeptGrounds::of(facts),
            verdict: verdict.clone(),
            asked: facts.content_follows.then(|| asked().into()),
            again: Again {
                client: facts.connection.client,
                // Where no milter follows, more is judged.
                passes: Again::passes(verdict).filter(|_| !facts.milter_follows),
                answer: *known.greylist.got()?,
                said: said.into(),
                policy: Arc::downgrade(policy),
                dns_until,
                greylist: self.store.lasting(attempt, now)?,
            },
        })
    }

    async fn ask_until_done(&self, stage: Stage, facts: &Facts, transaction: &mut Transaction) -> Verdict {
        for _ in 0..MAX_ROUNDS + facts.accepted.len() {
            match filter::judge(stage, facts, &transaction.policy, &transaction.known) {
                Step::Done(verdict) => return verdict,
                Step::Ask(mut needs) => self.fetch(&mut needs, facts, transaction).await,
            }
        }
        tracing::error!(
            stage = stage.name(),
            "the filter asks in circles; the mail passes this stage unjudged"
        );
        Verdict::default()
    }

    /// Takes over a verdict of the policy service, which is counted and logged already; what is added to it is not.
    fn adopt(
        &self,
        adopted: Verdict,
        facts: &Facts,
        transaction: &mut Transaction,
        began: Instant,
    ) -> Verdict {
        let added = filter::judge_adopted(&adopted, facts, &transaction.policy, &transaction.known);
        transaction.known.note(&added);
        if self.is_live && added != Verdict::default() {
            let when = (self.clock.now(), began.elapsed());
            record::decision(Stage::Rcpt, facts, transaction, &added, when, &self.trace);
        }
        let mut verdict = adopted;
        verdict.add(added.findings);
        verdict.would.extend(added.would);
        verdict
    }

    fn watch_nat(&self, (client, _): (Client, u16), now: Instant) {
        let warning = client.ip().and_then(|client| self.nat.observe(client, now));
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
    }

    /// Starts look-ups whose answers will be wanted. They are kept by the resolver's cache and the memory of SPF; nobody waits here.
    fn prefetch(&self, stage: Stage, facts: &Facts, transaction: &Transaction) {
        let Transaction { policy, known, .. } = transaction;
        let Lookups { helo, spf } = filter::early(stage, facts, policy, known);
        if spf
            && self.spf_at_hand(facts).is_none()
            && let Some(query) = auth::spf_query(facts)
        {
            let (memory, resolver) = (Arc::clone(&self.spf), Arc::clone(&self.resolver));
            tokio::spawn(async move {
                let _ = tokio::time::timeout(DNS_BUDGET, memory.ask(&query, &*resolver)).await;
            });
        }
        if helo
            && self.helo_at_hand(facts, known).is_none()
            && let Some(name) = helo::name(facts, known).map(str::to_owned)
        {
            let resolver = Arc::clone(&self.resolver);
            tokio::spawn(async move {
                let resolution = crate::dns::resolve_helo(&*resolver, &name);
                let _ = tokio::time::timeout(DNS_BUDGET, resolution).await;
            });
        }
    }
}

impl Transaction {
    /// What the greylist was asked for the recipient judged last.
    pub const fn attempt(&self) -> Option<&Attempt> {
        self.known.attempt.as_ref()
    }

    /// Whether this is another client than before, and so another session: a connection of the policy protocol carries many.
    fn meet(&mut self, client: (Client, u16)) -> bool {
        let is_new = self.client.replace(client) != Some(client);
        if is_new {
            self.known.splits = 0;
        }
        is_new
    }

    /// Forgets answers to questions that are put anew: those on another HELO name, and those on the last recipient.
    fn enter(&mut self, stage: Stage, facts: &Facts) {
        if self.helo != facts.helo {
            self.helo.clone_from(&facts.helo);
            self.known.forget_helo();
        }
        if stage == Stage::Rcpt {
            self.known.forget_recipient();
            self.regular = None;
        }
    }

    /// Remembers what earlier stages want written into the message: it has no header to write into yet.
    fn keep_tags(&mut self, verdict: &Verdict) {
        for finding in verdict.findings.iter().filter(|finding| finding.outcome == Outcome::Tag) {
            if !verdict.action().refuses() && !self.tags.iter().any(|tag| tag.reason == finding.reason) {
                self.tags.push(finding.clone());
            }
        }
    }
}

#[cfg(test)]
impl Driver {
    /// A driver that accepts everything, for tests of what stands before it.
    pub(crate) fn accepting() -> Self {
        let off = crate::reason::Check::ALL
            .map(|check| (format!("{}.toml", check.name()), "mode = \"off\"".to_owned()));
        let policy = Policy::load(&off.into()).map(|(policy, _)| policy).unwrap();
        let store = crate::store::MemoryStore::new(1_000).unwrap();
        Self::new(policy, Arc::new(crate::dns::Zone::default()), Arc::new(store), Scanner::new(1))
    }
}
