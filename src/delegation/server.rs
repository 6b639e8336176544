//! The service Postfix connects to: one task owns a connection, which stays open, and answers its requests in order.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::before::Requests;
use super::request::Found;
use super::{Decoder, RequestError, Response, Session, Step};
use crate::driver::{Driver, Judged, Protocol, Regular, Transaction};
use crate::listener::{self, Input, Listener, Readable, Stream};
use crate::patience::within;
use crate::telemetry::metrics;

/// Room for one read; a request is about 1 KiB.
const READ_SIZE: usize = 4096;

/// A peer that does not take a reply of some bytes within this time does not read at all.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What one listener allows its peers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A connection without a request is closed after this time. Postfix itself closes after `max_idle` (300 s), but only while it
    /// has no client.
    pub idle_timeout: Duration,
    /// A permit for each connection; several listeners may share them.
    pub connections: Arc<Semaphore>,
}

/// Serves a listener until `drain` is cancelled: then no more connections are accepted, idle ones are closed, requests under way are
/// answered first. `name` names the listener in facts.
pub async fn serve(
    listener: Listener,
    name: Arc<str>,
    driver: Arc<Driver>,
    limits: Limits,
    drain: CancellationToken,
) {
    let Limits { idle_timeout, connections } = limits;
    let requests = Arc::<Requests>::default();
    listener::serve(listener, connections, drain.clone(), move |stream, peer| {
        let (session, requests) = (Session::new(Arc::clone(&name)), Arc::clone(&requests));
        serve_one(stream, peer, session, requests, Arc::clone(&driver), idle_timeout, drain.clone())
    })
    .await;
}

async fn serve_one(
    stream: Stream,
    peer: String,
    session: Session,
    requests: Arc<Requests>,
    driver: Arc<Driver>,
    idle_timeout: Duration,
    drain: CancellationToken,
) {
    let _open = metrics::connection(Protocol::Policy);
    let mut connection = Connection::new(stream, session, requests, &driver);
    match connection.run(&driver, idle_timeout, &drain).await {
        Ok(()) => {}
        // Closing without an answer makes Postfix ask once more, then take its own default action.
        Err(ConnectionError::Request(error)) => {
            metrics::protocol_error(Protocol::Policy);
            warn!(%peer, %error, "connection closed: not the policy protocol");
        }
        Err(ConnectionError::Io(error)) => debug!(%peer, %error, "connection lost"),
    }
}

/// Why a connection ended early.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The peer does not speak the policy protocol.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The connection is lost.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Answers requests on one connection until the peer closes, is idle for too long, or `drain` is cancelled.
///
/// # Errors
///
/// When the peer speaks another protocol, or the connection is lost.
pub async fn converse(
    stream: impl AsyncRead + AsyncWrite + Readable + Unpin,
    session: Session,
    driver: &Driver,
    idle_timeout: Duration,
    drain: &CancellationToken,
) -> Result<(), ConnectionError> {
    Connection::new(stream, session, Arc::default(), driver).run(driver, idle_timeout, drain).await
}

struct Connection<S> {
    stream: S,
    decoder: Decoder,
    session: Session,
    requests: Arc<Requests>,
    transaction: Transaction,
    input: Input,
    output: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Readable + Unpin> Connection<S> {
    fn new(stream: S, session: Session, requests: Arc<Requests>, driver: &Driver) -> Self {
        let transaction = driver.begin(Protocol::Policy);
        let (decoder, input, output) = (Decoder::default(), Input::default(), BytesMut::new());
        Self { stream, decoder, session, requests, transaction, input, output }
    }

    async fn run(
        &mut self,
        driver: &Driver,
        idle_timeout: Duration,
        drain: &CancellationToken,
    ) -> Result<(), ConnectionError> {
        // A token of the connection's own, for its whole life: to wait for the one that all share is to take its lock, for each
        // request.
        let drain = drain.child_token();
        let mut drained = pin!(drain.cancelled());
        loop {
            if drain.is_cancelled() {
                return Ok(());
            }
            let Self { stream, input, output, .. } = self;
            let read = tokio::select! {
                biased;
                read = input.fill(stream, READ_SIZE, idle_timeout, || *output = BytesMut::new()) => read?,
                // Asked only where nothing was read, as it costs more than to look.
                () = &mut drained => return Ok(()),
            };
            match read {
                Some(0) => return Ok(()),
                Some(_) => {}
                None => {
                    debug!(idle = ?idle_timeout, "connection closed: idle");
                    return Ok(());
                }
            }
            let answered = self.answer(driver).await;
            self.send().await?;
            answered?;
        }
    }

    /// Answers every request that was read.
    async fn answer(&mut self, driver: &Driver) -> Result<(), RequestError> {
        while let Some((length, step)) = self.next_step(driver)? {
            match step {
                Step::Answer(response) => response.encode(&mut self.output),
                Step::Judge { stage, begins } => {
                    if begins {
                        driver.begin_next(&mut self.transaction, |_| true);
                    }
                    self.session.set_milter_follows(driver.milter_follows(self.session.facts()));
                    let judged = driver.judge(stage, self.session.facts(), &mut self.transaction).await;
                    let response = self.session.on_verdict(stage, &judged);
                    response.encode(&mut self.output);
                    if let (Judged::Again(regular), Response::Dunno) = (&judged, &response) {
                        self.remember(length, regular);
                    }
                }
            }
            self.input.buffer.advance(length);
        }
        self.input.release();
        Ok(())
    }

    /// Takes in the next request, if all of it was read, and tells its length. Apart, as what it borrows would lie in the connection's
    /// task for as long as it is judged.
    fn next_step(&mut self, driver: &Driver) -> Result<Option<(usize, Step)>, RequestError> {
        let Self { decoder, session, requests, transaction, input, .. } = self;
        let Some(found) = decoder.find(&input.buffer)? else { return Ok(None) };
        let length = found.whole.len();
        let step = if passes_as_before(&found, session, requests, transaction, driver) {
            Step::Answer(Response::Dunno)
        } else {
            session.on_request(&found.read()?)
        };
        Ok(Some((length, step)))
    }

    /// Remembers that the request of this length was one of a regular.
    fn remember(&self, length: usize, regular: &Regular) {
        let request = self.input.buffer.get(..length).unwrap_or_default();
        if let Ok(Some(found)) = Decoder::default().find(request)
            && let Some(glance) = found.glance()
        {
            self.requests.remember(glance.lasting, &regular.again);
        }
    }

    /// Sends the answers, by one write.
    async fn send(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            within(WRITE_TIMEOUT, self.stream.write_all(&self.output))
                .await
                .ok_or(io::ErrorKind::TimedOut)??;
            self.output.clear();
        }
        Ok(())
    }
}

/// Whether the request is the first about a mail, and passes as one did that said the same.
fn passes_as_before(
    found: &Found<'_>,
    session: &mut Session,
    requests: &Requests,
    transaction: &mut Transaction,
    driver: &Driver,
) -> bool {
    let Some(glance) = found.glance().filter(|glance| session.is_first_of(glance.instance)) else {
        return false;
    };
    let Some(before) = requests.recall(glance.lasting) else { return false };
    driver.begin_next(transaction, |_| true);
    let passes = driver.judge_again(&before.again, glance.client_port, glance.queue_id, transaction);
    if passes {
        session.let_pass_unread(found.whole, glance.instance);
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Cached, Zone};
    use crate::driver::{Clock, Scanner};
    use crate::facts::{Client, Facts, Stage};
    use crate::policy::Policy;
    use crate::store::{EmbeddedStore, Timestamp};
    use crate::telemetry::{TraceQuery, Traced};
    use tokio::io::DuplexStream;
    use tokio_util::either::Either;

    /// A task is as large as its future, whatever it is doing: this is most of what an idle connection costs.
    #[tokio::test]
    async fn an_idle_connection_is_small() {
        let driver = Arc::new(Driver::accepting());
        let stream = Either::Right(tokio::net::UnixStream::pair().unwrap().0);
        let (drain, timeout) = (CancellationToken::new(), Duration::from_secs(1));
        let session = Session::new("test".into());
        let future = serve_one(stream, String::new(), session, Arc::default(), driver, timeout, drain);
        let size = size_of_val(&future);
        assert!(size <= 5 * 1024, "{size} bytes");
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// Greylag with three senders who are known to Alice and Bob, and not to Carol.
    async fn driver(directory: &std::path::Path) -> Driver {
        let clock = Clock::stopped(Timestamp::from_millis(1_800_000_000_000));
        let zone = Zone::parse(
            "mx.sender.test A 192.0.2.1
             mx.sender.test AAAA 2001:db8::1
             sender.test TXT v=spf1 ip4:192.0.2.0/24 -all",
        );
        let resolver = Arc::new(Cached::new(Arc::new(zone), 100));
        let store = Arc::new(EmbeddedStore::open(directory, 1_000, clock.now()).unwrap());
        let driver =
            Driver::new(Policy::default(), resolver, store, Scanner::new(1)).with_clock(clock.clone());
        let mut connection = connection(&driver);
        for round in ["a", "b", "c", "d"] {
            clock.advance(10 * MINUTE);
            for number in 0..6 {
                let recipient = ["alice", "bob"][number % 2];
                let request = request("RCPT", &format!("{round}{number}"), number / 2, recipient, 1000);
                connection.ask(&driver, &request).await;
            }
        }
        driver
    }

    fn connection(driver: &Driver) -> Connection<DuplexStream> {
        let (stream, _) = tokio::io::duplex(64);
        Connection::new(stream, Session::new("test".into()), Arc::default(), driver)
    }

    impl Connection<DuplexStream> {
        async fn ask(&mut self, driver: &Driver, request: &str) -> String {
            self.input.buffer.extend_from_slice(request.as_bytes());
            self.answer(driver).await.unwrap();
            String::from_utf8(self.output.split().to_vec()).unwrap()
        }
    }

    fn request(state: &str, instance: &str, sender: usize, recipient: &str, port: u32) -> String {
        format!(
            "request=smtpd_access_policy\nprotocol_state={state}\nprotocol_name=ESMTP\nclient_address=192.0.2.1\n\
             client_name=mx.sender.test\nclient_port={port}\nreverse_client_name=mx.sender.test\n\
             server_address=192.0.2.9\nserver_port=25\nhelo_name=mx.sender.test\nsender=news{sender}@sender.test\n\
             recipient={recipient}@example.test\nrecipient_count=0\nqueue_id=\ninstance={instance}\nsize={port}\n\
             etrn_domain=\nstress=\nsasl_method=\nsasl_username=\nsasl_sender=\nccert_subject=\nccert_issuer=\n\
             ccert_fingerprint=\nccert_pubkey_fingerprint=\nencryption_protocol=\nencryption_cipher=\n\
             encryption_keysize=0\npolicy_context=\ncompatibility_level=3.6\nmail_version=3.10.13\n\n"
        )
    }

    /// Mails of one to four requests, as Postfix asks and as nobody would.
    fn random_requests(count: usize) -> Vec<String> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = move |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        let mut requests = Vec::new();
        while requests.len() < count {
            let instance = match below(8) {
                0 => String::new(),
                1 => "again".to_owned(),
                _ => requests.len().to_string(),
            };
            let (sender, port) = (below(3), 1000 + below(3) as u32);
            for _ in 0..=below(4) {
                let state =
                    ["RCPT", "RCPT", "RCPT", "RCPT", "MAIL", "DATA", "END-OF-MESSAGE", "VRFY"][below(8)];
                let recipient = ["alice", "bob", "alice", "carol"][below(4)];
                requests.push(request(state, &instance, sender, recipient, port));
            }
        }
        requests
    }

    #[tokio::test]
    async fn a_request_that_came_before_changes_nothing_but_the_work() {
        let directory = tempfile::tempdir().unwrap();
        let driver = driver(directory.path()).await;
        let (mut remembering, mut reading) = (connection(&driver), connection(&driver));
        let mut unread = 0;
        for request in random_requests(2_000) {
            reading.requests = Arc::default();
            let answers = (remembering.ask(&driver, &request).await, reading.ask(&driver, &request).await);
            assert_eq!(answers.0, answers.1, "{request}");
            let facts = [&remembering, &reading].map(|connection| connection.session.facts());
            if remembering.session.has_unread() {
                unread += 1;
            } else if request.contains("=RCPT") || request.contains("=DATA") {
                assert_eq!(format!("{:?}", facts[0]), format!("{:?}", facts[1]), "{request}");
            }
        }
        assert!((300..1_000).contains(&unread), "{unread}");
    }

    #[tokio::test]
    async fn a_request_that_came_before_is_logged_as_others_are() {
        let directory = tempfile::tempdir().unwrap();
        let driver = driver(directory.path()).await;
        let mut connection = connection(&driver);
        for instance in ["1", "2"] {
            connection.ask(&driver, &request("RCPT", instance, 0, "alice", 7)).await;
        }
        assert!(connection.session.has_unread());
        let query = TraceQuery { last: 2, ..TraceQuery::default() };
        let [first, second] = driver.trace().find(&query).try_into().unwrap();
        let decision = |mut traced: Traced| {
            traced.steps[0].decision["micros"].take();
            (traced.steps.len(), traced.steps.swap_remove(0).decision)
        };
        assert_ne!(first.transaction, second.transaction);
        assert_eq!(decision(first), decision(second));
    }

    #[tokio::test]
    async fn a_failure_of_spf_waits_where_a_milter_follows() {
        let directory = tempfile::tempdir().unwrap();
        let driver = driver(directory.path()).await;
        let mut milter = driver.begin(Protocol::Milter);
        let mut client = Facts::default();
        client.connection.client = Client::parse("198.51.100.1");
        client.connection.client_port = 7;
        driver.judge(Stage::Connect, &client, &mut milter).await;
        let mut connection = connection(&driver);
        let refused = "action=550 5.7.23 SPF: sender.test does not permit";
        // With a milter it comes regularly, and is no regular without one.
        let asked =
            [(6, refused), (7, "action=DUNNO"), (7, "action=DUNNO"), (7, "action=DUNNO"), (6, refused)];
        for (instance, (port, expected)) in asked.into_iter().enumerate() {
            let request = request("RCPT", &instance.to_string(), 0, "alice", port);
            let forwarded = request.replace("client_address=192.0.2.1", "client_address=198.51.100.1");
            let answer = connection.ask(&driver, &forwarded).await;
            assert!(answer.starts_with(expected), "{instance}: {answer}");
        }
        // Nor does it wait where a scope may let the milter judge it otherwise, or where the milter is gone.
        let ask = async |connection: &mut Connection<_>, instance| {
            let request = request("RCPT", instance, 0, "alice", 7);
            connection
                .ask(&driver, &request.replace("client_address=192.0.2.1", "client_address=198.51.100.1"))
                .await
        };
        let scope = "[[scope]]\nname = \"s\"\npolicy_context = [\"mx\"]\nset.helo.mode = \"off\"\n";
        let shipped = driver.policy();
        let files =
            [("scopes.toml", scope), ("helo.toml", "mode = \"off\""), ("greylist.toml", "mode = \"off\"")];
        let files = files.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
        driver.set_policy(Policy::load(&files).map(|(policy, _)| policy).unwrap());
        assert!(ask(&mut connection, "apart").await.starts_with(refused));
        driver.set_policy(Policy::clone(&shipped));
        assert!(ask(&mut connection, "alike").await.starts_with("action=DUNNO"));
        drop(milter);
        assert!(ask(&mut connection, "gone").await.starts_with(refused));
    }

    #[tokio::test]
    async fn a_recipient_that_is_asked_about_twice_takes_one_place() {
        let directory = tempfile::tempdir().unwrap();
        let driver = driver(directory.path()).await;
        let files = [("recipients.toml", "max_recipients = 2"), ("greylist.toml", "mode = \"off\"")];
        let files = files.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
        driver.set_policy(Policy::load(&files).map(|(policy, _)| policy).unwrap());
        let mut connection = connection(&driver);
        for (recipient, expected) in [
            ("alice", "action=DUNNO\n\n"),
            ("alice", "action=DUNNO\n\n"),
            ("bob", "action=DUNNO\n\n"),
            ("bob", "action=DUNNO\n\n"),
            ("alice", "action=DUNNO\n\n"),
            (
                "carol",
                "action=452 4.5.3 Too many recipients: at most 2 in one message, send the others in another one\n\n",
            ),
        ] {
            assert_eq!(
                connection.ask(&driver, &request("RCPT", "m", 0, recipient, 7)).await,
                expected,
                "{recipient}"
            );
        }
    }
}
