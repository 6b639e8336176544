//! Mail that comes again and again: the same sender to the same recipient from the same client, as mailing lists, monitoring and
//! newsletters send it.
//!
//! The filter is pure, so on the same facts, with the same answers of the world, it says the same. What it said of a recipient whose
//! sender the greylist knows is kept for as long as all of these answers hold, and said again without asking for them: until the
//! policy changes, the first answer of the DNS is no longer good, or the greylist has to write or has forgotten something.

use std::fmt;
use std::hash::{BuildHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use foldhash::fast::RandomState;
use quick_cache::sync::Cache;

use crate::auth::SpfOutcome;
use crate::dns::HeloResolution;
use crate::facts::{Client, Connection, Facts, Mta, Recipient, ReversePath, Stage};
use crate::filter::{Known, Slot};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::store::{Answer, Identity, Lasting};
use crate::telemetry::Said;
use crate::verdict::{Outcome, Verdict};

/// Triplets that are remembered, some hundreds of bytes for each.
const CAPACITY: usize = 20_000;
/// Bytes that may be said of one of them: most are a few hundred. Who writes more, as nobody has to, is judged each time.
pub(super) const MOST_SAID: usize = 1_024;

/// What was decided of a recipient.
#[derive(Debug)]
pub struct Regular {
    /// The facts it was judged on.
    pub(super) grounds: KeptGrounds,
    /// What was decided.
    pub(super) verdict: Verdict,
    /// What it was decided on, where more is to be decided and logged of the mail.
    pub(super) asked: Option<Box<Asked>>,
    /// What it takes to decide the same of it.
    pub again: Again,
}

/// What was asked of the world about a recipient, as the log shows it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) helo: Slot<HeloResolution>,
    pub(super) spf: Slot<SpfOutcome>,
    pub(super) identities: Box<[Identity]>,
}

/// What it takes to say again what was said of a recipient. All of it is looked at each time, so it lies together.
#[derive(Clone, Debug)]
pub struct Again {
    pub(super) client: Client,
    /// Why the recipient passes, where nothing else was found: no tags for the rest of the mail, and nothing in monitor mode.
    pub(super) passes: Option<Reason>,
    /// What the greylist answered.
    pub(super) answer: Answer,
    /// What is logged of it.
    pub(super) said: Arc<Said>,
    /// The policy it was decided by. Not kept by this: it may have large lists.
    pub(super) policy: Weak<Policy>,
    /// Until when the DNS would say the same.
    pub(super) dns_until: Instant,
    /// Until when the greylist would answer the same.
    pub(super) greylist: Lasting,
}

impl Again {
    /// Why a recipient of whom this was found passes, where nothing else was.
    pub(super) fn passes(Verdict { findings, would, edits: _ }: &Verdict) -> Option<Reason> {
        let passes = would.is_empty() && findings.iter().all(|finding| finding.outcome == Outcome::Accept);
        findings.first().filter(|_| passes).map(|finding| finding.reason)
    }
}

/// A hash of the facts that a recipient is judged on. Others may have the same.
type Hash = u64;

/// Regulars by a hash of the facts. One that came once only has no more than its place.
pub(super) struct Regulars {
    known: Cache<Hash, Option<Arc<Regular>>>,
    random: RandomState,
}

impl Default for Regulars {
    fn default() -> Self {
        Self { known: Cache::new(CAPACITY), random: RandomState::default() }
    }
}

impl fmt::Debug for Regulars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Regulars").field("len", &self.known.len()).finish_non_exhaustive()
    }
}

/// What is remembered of a recipient.
#[derive(Debug)]
pub(super) enum Seen {
    /// It is none that could be: what is said of it does not stand on its facts alone.
    Unlike,
    /// It never came.
    Never(Hash),
    /// It came once, or another with its hash did.
    Once(Hash),
    /// It came more often.
    Regularly(Hash, Arc<Regular>),
}

impl Regulars {
    /// Looks up the recipient that is judged. Only the first one of a mail is looked up, as what is said of others depends on it; and
    /// only if nothing could not be found out, as the rest of the mail does without it then.
    pub(super) fn recall(&self, stage: Stage, facts: &Facts, known: &Known) -> Seen {
        let is_first = stage == Stage::Rcpt && facts.accepted.is_empty();
        let lacks = matches!(known.helo, Slot::Unknown(..))
            || matches!(known.spf, Slot::Unknown(..))
            || matches!(known.greylist, Slot::Unknown(..));
        if !is_first || lacks {
            return Seen::Unlike;
        }
        let grounds = Grounds::of(facts);
        let hash = grounds.hash(&self.random);
        match self.known.get(&hash) {
            None => Seen::Never(hash),
            Some(Some(regular)) if regular.grounds == grounds => Seen::Regularly(hash, regular),
            Some(_) => Seen::Once(hash),
        }
    }

    /// Makes room for a recipient that never came, and remembers one that came before.
    pub(super) fn remember(&self, seen: &Seen, regular: impl FnOnce() -> Option<Regular>) {
        match seen {
            Seen::Unlike => {}
            Seen::Never(hash) => self.known.insert(*hash, None),
            Seen::Once(hash) | Seen::Regularly(hash, _) => {
                if let Some(regular) = regular() {
                    self.known.insert(*hash, Some(Arc::new(regular)));
                }
            }
        }
    }
}

/// All facts that the filter judges the first recipient of a mail on. No two sets of facts make the same of it.
struct Grounds<'a> {
    fixed: Fixed,
    /// Those that tell one mail from another first.
    texts: [&'a str; TEXTS],
}

/// Of these facts, what is no text, and the lengths of the texts: so that it is certain where each ends.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fixed {
    content_follows: bool,
    milter_follows: bool,
    client: Client,
    local: Option<SocketAddr>,
    /// [`ABSENT`] where there is none.
    lengths: [u32; TEXTS],
}

/// How many texts there are.
const TEXTS: usize = 11;
/// How many of them tell one mail from another. The others are nearly always what they were, and are compared only.
const TELLING: usize = 4;

const ABSENT: u32 = u32::MAX;

impl<'a> Grounds<'a> {
    fn of(facts: &'a Facts) -> Self {
        // Named one by one, so that a new one has to be put on its side.
        let Facts {
            connection,
            helo,
            sender,
            login,
            tls,
            policy_context,
            recipient,
            content_follows,
            milter_follows,
            queue_id: _,
            accepted: _,
            recipient_count: _,
            message: _,
        } = facts;
        let Connection { client, client_port: _, client_name, local, mta, listener } = connection;
        let Mta { host_name, version } = mta;
        let (sender_local, sender_domain) = match sender {
            None => (None, None),
            Some(ReversePath::Null) => (Some(""), None),
            Some(ReversePath::Address(address)) => (Some(address.local()), address.domain().or(Some(""))),
        };
        let texts = [
            recipient.as_ref().map(Recipient::raw),
            sender_local,
            sender_domain,
            helo.as_deref(),
            client_name.as_deref(),
            login.as_deref(),
            tls.as_deref(),
            policy_context.as_deref(),
            host_name.as_deref(),
            version.as_deref(),
            Some(&**listener),
        ];
        let fixed = Fixed {
            content_follows: *content_follows,
            milter_follows: *milter_follows,
            client: *client,
            local: *local,
            lengths: [ABSENT; TEXTS],
        };
        let mut grounds = Self { fixed, texts: [""; TEXTS] };
        let places = grounds.texts.iter_mut().zip(&mut grounds.fixed.lengths);
        for ((place, length), text) in places.zip(texts) {
            if let Some(text) = text {
                (*place, *length) = (text, text.len() as u32);
            }
        }
        grounds
    }

    fn hash(&self, random: &RandomState) -> Hash {
        let mut hasher = random.build_hasher();
        self.fixed.hash(&mut hasher);
        self.texts.iter().take(TELLING).for_each(|text| hasher.write(text.as_bytes()));
        hasher.finish()
    }
}

/// The same facts, kept.
#[derive(Debug)]
pub(super) struct KeptGrounds {
    fixed: Fixed,
    texts: Box<str>,
}

impl KeptGrounds {
    pub(super) fn of(facts: &Facts) -> Self {
        let Grounds { fixed, texts } = Grounds::of(facts);
        Self { fixed, texts: texts.concat().into() }
    }
}

impl PartialEq<Grounds<'_>> for KeptGrounds {
    fn eq(&self, other: &Grounds<'_>) -> bool {
        let rest = other.texts.iter().try_fold(&*self.texts, |rest, text| rest.strip_prefix(text));
        self.fixed == other.fixed && rest.is_some_and(str::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Cached, Zone};
    use crate::driver::{Clock, Driver, Judged, Protocol, Scanner};
    use crate::facts::Message;
    use crate::reason::Reason;
    use crate::store::{Attempt, EmbeddedStore, Held, Query, Release, Stats, Store, StoreFuture, Timestamp};
    use crate::telemetry::TraceQuery;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A store on disk that counts the attempts it is asked about.
    #[derive(Debug)]
    struct Counting(EmbeddedStore, AtomicUsize);

    impl Store for Counting {
        fn attempt<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.attempt(attempt, now)
        }

        fn peek<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
            self.0.peek(attempt, now)
        }

        fn lasting(&self, attempt: &Attempt, now: Timestamp) -> Option<Lasting> {
            self.0.lasting(attempt, now)
        }

        fn removals(&self) -> Option<u64> {
            self.0.removals()
        }

        fn add_identities<'a>(&'a self, attempt: &'a Attempt, made: Timestamp) -> StoreFuture<'a, ()> {
            self.0.add_identities(attempt, made)
        }

        fn release<'a>(&'a self, release: &'a Release, now: Timestamp) -> StoreFuture<'a, ()> {
            self.0.release(release, now)
        }

        fn show<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, Vec<Held>> {
            self.0.show(query)
        }

        fn forget<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, u64> {
            self.0.forget(query)
        }

        fn stats(&self) -> StoreFuture<'_, Stats> {
            self.0.stats()
        }

        fn close(&self) -> StoreFuture<'_, ()> {
            self.0.close()
        }
    }

    /// Greylag, and one triplet that it is asked about.
    struct Site {
        driver: Driver,
        store: Arc<Counting>,
        clock: Clock,
        facts: Facts,
        _directory: tempfile::TempDir,
    }

    impl Site {
        /// A site where the triplet is known, and came twice since.
        async fn with_a_regular() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let clock = Clock::stopped(Timestamp::from_millis(1_800_000_000_000));
            let zone = Zone::parse(
                "mx.sender.test A 192.0.2.1
                 mx.sender.test AAAA 2001:db8::1
                 other.sender.test A 192.0.2.1
                 other.sender.test AAAA 2001:db8::1
                 sender.test TXT v=spf1 a:mx.sender.test -all",
            );
            let resolver = Arc::new(Cached::new(Arc::new(zone), 100));
            let store = EmbeddedStore::open(directory.path(), 1_000, clock.now()).unwrap();
            let store = Arc::new(Counting(store, AtomicUsize::new(0)));
            let driver = Driver::new(Policy::default(), resolver, Arc::clone(&store) as _, Scanner::new(1))
                .with_clock(clock.clone());
            let site = Self { driver, store, clock, facts: facts(), _directory: directory };
            assert_eq!(site.ask().await, (Some(Reason::GreylistFirstSeen), 1));
            site.clock.advance(5 * MINUTE);
            assert_eq!(site.ask().await, (Some(Reason::GreylistMatured), 1));
            for _ in 0..2 {
                assert_eq!(site.ask().await, (Some(Reason::GreylistKnown), 1));
            }
            site
        }

        /// What a mail of its own is answered, and how often the store was asked for that.
        async fn ask(&self) -> (Option<Reason>, usize) {
            self.ask_with(&self.facts).await
        }

        async fn ask_with(&self, facts: &Facts) -> (Option<Reason>, usize) {
            let mut mail = self.driver.begin(Protocol::Policy);
            let before = self.store.1.load(Ordering::Relaxed);
            let verdict = self.driver.judge(Stage::Rcpt, facts, &mut mail).await;
            let asked = self.store.1.load(Ordering::Relaxed) - before;
            (verdict.decisive().map(|finding| finding.reason), asked)
        }
    }

    fn facts() -> Facts {
        Facts {
            connection: Connection { client: Client::parse("192.0.2.1"), ..Connection::default() },
            helo: Some("mx.sender.test".into()),
            sender: Some(ReversePath::parse("<news@sender.test>")),
            recipient: Some(Recipient::parse("<bob@example.test>")),
            ..Facts::default()
        }
    }

    const ASKED: (Option<Reason>, usize) = (Some(Reason::GreylistKnown), 1);
    const REMEMBERED: (Option<Reason>, usize) = (Some(Reason::GreylistKnown), 0);

    #[tokio::test]
    async fn who_comes_regularly_is_remembered_until_the_policy_changes() {
        let site = Site::with_a_regular().await;
        assert_eq!(site.ask().await, REMEMBERED);
        site.driver.set_policy(Policy::default());
        assert_eq!(site.ask().await, ASKED);
        assert_eq!(site.ask().await, REMEMBERED);
    }

    #[tokio::test]
    async fn who_says_much_is_not_remembered() {
        let site = Site::with_a_regular().await;
        let name = |length: usize| format!("<bob+{}@example.test>", "x".repeat(length));
        let of = |length| Facts { recipient: Some(Recipient::parse(&name(length))), ..site.facts.clone() };
        for facts in [of(100), of(MOST_SAID)] {
            for _ in 0..3 {
                site.ask_with(&facts).await;
            }
        }
        assert_eq!(site.ask_with(&of(100)).await, REMEMBERED);
        assert_eq!(site.ask_with(&of(MOST_SAID)).await, ASKED);
    }

    #[tokio::test]
    async fn the_store_is_asked_again_where_it_forgot_and_where_it_has_to_write() {
        let site = Site::with_a_regular().await;
        assert_eq!(site.ask().await, REMEMBERED);
        let somebody = Query { sender: Some("somebody@else.test".into()), ..Query::default() };
        site.store.forget(&somebody).await.unwrap();
        assert_eq!(site.ask().await, ASKED);
        assert_eq!(site.ask().await, REMEMBERED);
        // An eighth of 36 days.
        site.clock.advance(4 * DAY + 12 * 60 * MINUTE);
        assert_eq!(site.ask().await, REMEMBERED);
        site.clock.advance(MINUTE);
        assert_eq!(site.ask().await, ASKED);
        let sender = Query { sender: Some("news@sender.test".into()), ..Query::default() };
        site.store.forget(&sender).await.unwrap();
        assert_eq!(site.ask().await, (Some(Reason::GreylistFirstSeen), 1));
    }

    #[tokio::test]
    async fn it_holds_no_longer_than_the_answers_of_the_dns() {
        let site = Site::with_a_regular().await;
        let seen = site.driver.regulars.recall(Stage::Rcpt, &site.facts, &Known::default());
        let Seen::Regularly(_, regular) = seen else { panic!("{seen:?}") };
        let (policy, now) = (site.driver.policy(), site.clock.now());
        let holds = |instant| site.driver.still_holds(&regular.again, &policy, (now, instant));
        let last = regular.again.dns_until - Duration::from_nanos(1);
        assert_eq!((holds(last), holds(regular.again.dns_until)), (true, false));
        // What the zone says.
        assert!(regular.again.dns_until <= Instant::now() + Duration::from_secs(300));
    }

    #[tokio::test]
    async fn all_that_is_judged_makes_another_of_it() {
        let site = Site::with_a_regular().await;
        let regular = || site.facts.clone();
        let login = Facts { login: Some("joe".into()), ..regular() };
        assert_eq!(site.ask_with(&login).await, (None, 0));
        let bare = Facts { helo: Some("192.0.2.1".into()), ..regular() };
        assert_eq!(site.ask_with(&bare).await, (Some(Reason::HeloBareAddress), 0));
        for other in [
            Facts { helo: Some("other.sender.test".into()), ..regular() },
            Facts { recipient: Some(Recipient::parse("<Bob@example.test>")), ..regular() },
            Facts { tls: Some("TLSv1.3".into()), ..regular() },
            Facts { policy_context: Some("mx".into()), ..regular() },
            Facts { accepted: vec![Recipient::parse("<alice@example.test>")], ..regular() },
            Facts { content_follows: true, ..regular() },
            Facts { milter_follows: true, ..regular() },
        ] {
            assert_eq!(site.ask_with(&other).await, ASKED, "{other:?}");
        }
        let queued = Facts { queue_id: Some("4F".into()), recipient_count: Some(0), ..regular() };
        assert_eq!(site.ask_with(&queued).await, REMEMBERED);
    }

    #[tokio::test]
    async fn the_end_of_a_regulars_message_is_logged_as_that_of_others() {
        let site = Site::with_a_regular().await;
        let before_content = Facts { content_follows: true, ..site.facts.clone() };
        let whole = Facts { message: Some(Message::new(Vec::new(), b"hi", false)), ..before_content.clone() };
        let mut logged = Vec::new();
        let mut is_again = Vec::new();
        for _ in 0..4 {
            let mut mail = site.driver.begin(Protocol::Milter);
            let judged = site.driver.judge(Stage::Rcpt, &before_content, &mut mail).await;
            is_again.push(matches!(judged, Judged::Again(_)));
            site.driver.judge(Stage::EndOfMessage, &whole, &mut mail).await;
            let query = TraceQuery { last: 1, ..TraceQuery::default() };
            let mut decision = site.driver.trace().find(&query).remove(0).steps.pop().unwrap().decision;
            assert_eq!(decision["stage"], "end_of_message");
            decision["micros"].take();
            logged.push(decision);
        }
        assert_eq!(is_again, [false, false, true, true]);
        assert_eq!(logged[0]["helo_dns"], serde_json::json!(["192.0.2.1", "2001:db8::1"]));
        for decision in &logged[1..] {
            assert_eq!(*decision, logged[0]);
        }
    }

    #[test]
    fn no_two_sets_of_facts_are_judged_as_one() {
        let mut all = vec![facts()];
        let mut add = |change: &dyn Fn(&mut Facts)| {
            let mut changed = facts();
            change(&mut changed);
            all.push(changed);
        };
        for text in [None, Some(""), Some("a"), Some("mx")] {
            let text = || text.map(str::to_owned);
            add(&|facts| facts.connection.client_name = text());
            add(&|facts| facts.connection.mta.host_name = text());
            add(&|facts| facts.connection.mta.version = text());
            add(&|facts| facts.helo = text());
            add(&|facts| facts.login = text());
            add(&|facts| facts.tls = text());
            add(&|facts| facts.policy_context = text());
        }
        for client in [Client::Unknown, Client::Local, Client::parse("192.0.2.2"), Client::parse("::4")] {
            add(&|facts| facts.connection.client = client);
        }
        for local in ["192.0.2.9:25", "192.0.2.9:587", "[2001:db8::9]:25"] {
            add(&|facts| facts.connection.local = Some(local.parse().unwrap()));
        }
        add(&|facts| facts.connection.listener = "mx2".into());
        for sender in ["<>", "<a>", "<@>", "<a@b.test>", "<A@b.test>"] {
            add(&|facts| facts.sender = Some(ReversePath::parse(sender)));
        }
        add(&|facts| facts.sender = None);
        add(&|facts| facts.recipient = None);
        add(&|facts| facts.content_follows = true);
        add(&|facts| facts.milter_follows = true);

        let kept: Vec<KeptGrounds> = all.iter().map(KeptGrounds::of).collect();
        for (kept, of) in kept.iter().zip(&all) {
            for facts in &all {
                let is_same = format!("{of:?}") == format!("{facts:?}");
                assert_eq!(*kept == Grounds::of(facts), is_same, "{of:?} {facts:?}");
            }
        }
    }
}
