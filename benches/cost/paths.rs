//! The paths that are counted: the daemon's own connections, driver, checks, store, DNS cache, metrics and log, without sockets.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use greylag::config::{LogFormat, LogLevel};
use greylag::content::{Cancel, scan};
use greylag::delegation;
use greylag::dns::{Cached, RecordType, Resolver, live};
use greylag::driver::{Clock, Driver, Scanner};
use greylag::facts::{HeaderField, Message};
use greylag::milter::Limits;
use greylag::milter::server::{self, ListenerOptions};
use greylag::policy::Policy;
use greylag::store::{EmbeddedStore, Store};
use greylag::telemetry::{log, metrics};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::dns;
use crate::mail::{Content, Triplet};
use crate::postfix;
use crate::script::Script;
use crate::talk;

/// Sender domains of all mails that are counted, so that the DNS was asked about each before.
const DOMAINS: u64 = 20;
/// Triplets made known before anything is counted.
const KNOWN: u64 = 100;

/// A path that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// A policy request about a known triplet.
    PolicyKnown,
    /// One about a known triplet that did not come since the start, so that nothing is remembered of it but in the store.
    PolicyKnownAnew,
    /// A policy request about a triplet never seen, of a known domain.
    PolicyNew,
    /// An SMTP session with one small mail of a known triplet.
    MilterSession,
    /// A further small mail in an SMTP session.
    MilterMail,
    /// The scan for attachments of a mail of 1 MB with a zip.
    AttachmentScan,
}

impl Path {
    pub(crate) const ALL: [Self; 6] = [
        Self::PolicyKnown,
        Self::PolicyKnownAnew,
        Self::PolicyNew,
        Self::MilterSession,
        Self::MilterMail,
        Self::AttachmentScan,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PolicyKnown => "policy_known",
            Self::PolicyKnownAnew => "policy_known_anew",
            Self::PolicyNew => "policy_new",
            Self::MilterSession => "milter_session",
            Self::MilterMail => "milter_mail",
            Self::AttachmentScan => "attachment_scan",
        }
    }

    /// How often it is taken to be counted; twice that in the second run.
    pub(crate) const fn times(self) -> u64 {
        match self {
            // Many, as it costs little more than what varies: buffers that grow, the seeds of hashes.
            Self::PolicyKnown => 2_000,
            Self::PolicyKnownAnew | Self::PolicyNew => 400,
            Self::MilterSession | Self::MilterMail => 400,
            // The first ones grow the buffers that the others use.
            Self::AttachmentScan => 10,
        }
    }

    /// Takes it so often, in this process.
    pub(crate) fn run(self, times: u64) {
        if self == Self::AttachmentScan {
            return scans(times);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            // Known ones come first, then as many as the longer run takes.
            let others = KNOWN..KNOWN + 2 * self.times();
            let known = if self == Self::PolicyKnownAnew { others.end } else { KNOWN };
            let greylag = Greylag::start(known).await;
            match self {
                Self::PolicyKnown => greylag.ask(0..KNOWN, times, "DUNNO").await,
                Self::PolicyKnownAnew => greylag.ask(others, times, "DUNNO").await,
                Self::PolicyNew => greylag.ask(others, times, "DEFER_IF_PERMIT").await,
                Self::MilterSession => greylag.mails(times, 1).await,
                Self::MilterMail => greylag.mails(1, times).await,
                Self::AttachmentScan => {}
            }
        });
        // Waited for by a thread beside the one that answers, of which nothing else is counted.
        std::thread::spawn(log::flush).join().expect("a log that is written");
    }
}

/// Everything `greylag serve` has, but its sockets.
struct Greylag {
    driver: Arc<Driver>,
    _directory: tempfile::TempDir,
}

impl Greylag {
    /// Starts it with the shipped policy, and makes triplets `known`. They are on disk afterwards, as those of yesterday are.
    async fn start(known: u64) -> Self {
        log::init(LogFormat::Logfmt.into(), LogLevel::Info.into()).expect("the first log of this process");
        let _ = metrics::install().expect("the first metrics of this process");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let resolver = resolver().await;
        let clock = Clock::stopped(SystemTime::now().into());
        let store = open(&directory, &clock);
        let greylag = Self { driver: driver(Arc::clone(&store), &resolver, &clock), _directory: directory };
        greylag.ask(0..known, known, "DEFER_IF_PERMIT").await;
        clock.advance(Duration::from_secs(1_000));
        greylag.ask(0..known, known, "DUNNO").await;
        store.close().await.expect("a store that closes");
        let Self { driver: last, _directory } = greylag;
        drop((last, store));
        let store = open(&_directory, &clock);
        let greylag = Self { driver: driver(store, &resolver, &clock), _directory };
        greylag.ask(0..KNOWN, 3 * KNOWN, "DUNNO").await;
        greylag
    }

    /// One policy connection that asks about these triplets in turn.
    async fn ask(&self, triplets: std::ops::Range<u64>, times: u64, answer: &str) {
        let requests: Vec<Vec<u8>> = triplets
            .enumerate()
            .map(|(mail, number)| {
                let mut request = String::new();
                postfix::policy_request(&Triplet::new(number, DOMAINS), mail as u64, &mut request);
                request.into_bytes()
            })
            .collect();
        let says = requests.iter().map(Vec::as_slice).cycle().take(times as usize);
        let mut script = Script::new(says);
        let (session, drain) = (delegation::Session::new("policy".into()), CancellationToken::new());
        let idle_timeout = Duration::from_secs(3_600);
        delegation::converse(&mut script, session, &self.driver, idle_timeout, &drain)
            .await
            .expect("the protocol");
        let answered = String::from_utf8_lossy(&script.answered);
        assert!(answered.contains(answer), "{answered}");
    }

    /// Milter connections with so many mails each.
    async fn mails(&self, sessions: u64, mails: u64) {
        let options = ListenerOptions {
            name: "milter".into(),
            limits: Limits::default(),
            connections: Arc::new(Semaphore::new(1)),
        };
        let protocol = self.negotiate(&options).await;
        let content = Content::small();
        let triplets: Vec<Triplet> = (0..KNOWN).map(|number| Triplet::new(number, DOMAINS)).collect();
        // Each triplet comes three times before it is counted: only then nothing of it is new.
        let sessions = match sessions {
            1 => 1,
            _ => sessions as usize + 3 * KNOWN as usize,
        };
        let talks: Vec<Vec<Vec<u8>>> = match sessions {
            1 => vec![talk::milter_session(protocol, &triplets[0], &content, mails as usize)],
            _ => triplets.iter().map(|it| talk::milter_session(protocol, it, &content, 1)).collect(),
        };
        for talk in talks.iter().cycle().take(sessions) {
            let mut script = Script::new(talk.iter().map(Vec::as_slice));
            server::converse(&mut script, Arc::clone(&self.driver), &options).await.expect("the protocol");
        }
    }

    /// The protocol flags of the answer to OPTNEG.
    async fn negotiate(&self, options: &ListenerOptions) -> u32 {
        let mut script = Script::new([postfix::OFFER].into_iter());
        server::converse(&mut script, Arc::clone(&self.driver), options).await.expect("the protocol");
        let flags = script.answered.get(13..17).and_then(|flags| flags.try_into().ok());
        u32::from_be_bytes(flags.expect("an answer to OPTNEG"))
    }
}

fn open(directory: &tempfile::TempDir, clock: &Clock) -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::open(directory.path(), 1_000_000, clock.now()).expect("a store"))
}

fn driver(store: Arc<EmbeddedStore>, resolver: &Arc<Cached>, clock: &Clock) -> Arc<Driver> {
    let resolver = Arc::clone(resolver);
    Arc::new(Driver::new(Policy::default(), resolver, store, Scanner::new(1)).with_clock(clock.clone()))
}

/// The daemon's resolver, that has what the DNS says of every domain. Under callgrind on a busy machine a look-up may take longer
/// than a mail would wait, so it is made beforehand, as often as it needs.
async fn resolver() -> Arc<Cached> {
    let resolver = Arc::new(live(&[dns::start()], |_| {}).expect("a resolver"));
    for number in 0..DOMAINS {
        let Triplet { name, sender, .. } = Triplet::new(number, DOMAINS);
        let domain = sender.split('@').nth(1).unwrap_or_default();
        for (name, kind) in [(&*name, RecordType::A), (&*name, RecordType::Aaaa), (domain, RecordType::Txt)] {
            while resolver.lookup(name, kind).await.is_err() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    resolver
}

fn scans(times: u64) {
    let Content { header, body } = Content::with_zip(1_000_000);
    let field = |(name, value): &(String, String)| HeaderField {
        name: name.clone().into_bytes().into(),
        value: value.clone().into_bytes().into(),
    };
    let header: Vec<HeaderField> = header.iter().map(field).collect();
    let policy = Policy::default();
    for _ in 0..times {
        let mut message = Message::new(header.clone(), b"", true);
        body.chunks(65_535).for_each(|chunk| message.push_body(chunk));
        let report = scan(black_box(&message), &policy.base().attachments, &Cancel::default());
        assert!(report.found.is_empty(), "{report:?}");
    }
}
