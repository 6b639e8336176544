//! The store goes away under 50 clients: every one is answered in time and by the configured rule, and the service comes back by itself.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greylag::store::{Attempt, Rules, Timestamp};

use super::support::greylag::{Greylag, Setup, Store};
use super::support::policy::{PolicyClient, PolicyRequest};
use super::support::process::{eventually, loopback};
use super::support::redis::{Cluster, Redis, Sentinels};
use super::{attempt, first_seen, fresh_attempt, open_watched};

const CLIENTS: usize = 50;
/// Pause of a client between two questions.
const PAUSE: Duration = Duration::from_millis(400);
/// Within it the full service is back once the store is.
const RECOVERY: Duration = Duration::from_secs(5);
/// Of the latest answers of all clients so many count as full service: on a machine that is busy with other things, one now and then is
/// not ready within the time a store has.
const NEARLY_ALL: usize = CLIENTS - 3;
const PATIENCE: Duration = Duration::from_secs(20);
/// What a first attempt is told while the store answers.
const GREYLISTED: &str = "DEFER_IF_PERMIT 4.7.1 Greylisted, try again in ";
const DEFER: (&str, &str) =
    ("on_store_failure = \"defer\"\n", "DEFER_IF_PERMIT 4.3.0 Temporary failure, please try again later");
const ACCEPT: (&str, &str) = ("on_store_failure = \"accept\"\n", "DUNNO");

/// A daemon, and clients that ask it without end, each time about a triplet never seen.
struct Load {
    greylag: Greylag,
    /// What a client is told while the store fails.
    rule: &'static str,
    /// When each answer came, and what it was.
    answers: Arc<Mutex<Vec<(Instant, String)>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn start(url: &str, (setting, rule): (&str, &'static str)) -> Self {
        let greylist = format!("client_identity = [\"network\"]\n{setting}");
        let policies = [
            ("greylist.toml", greylist.as_str()),
            ("helo.toml", "mode = \"off\"\n"),
            ("auth.toml", "mode = \"off\"\n"),
        ];
        let greylag =
            Greylag::start(Setup { policies: &policies, store: Store::Url(url), ..Setup::default() });
        let mut load =
            Self { greylag, rule, answers: Arc::default(), stop: Arc::default(), clients: Vec::new() };
        for client in 0..CLIENTS {
            let (answers, stop) = (Arc::clone(&load.answers), Arc::clone(&load.stop));
            let mut connection = PolicyClient::tcp(loopback(load.greylag.ports().policy)).await;
            load.clients.push(tokio::spawn(async move {
                for number in 0_usize.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // Different in all by which a Cluster chooses a node.
                    let request = PolicyRequest::rcpt(&format!("r{client}x{}@example.org", number % 7))
                        .with("instance", &format!("{client}.{number}"))
                        .with("client_address", &format!("198.18.{}.10", (7 * number + client) % 256))
                        .with("sender", &format!("{number}x{client}y@sender.example"));
                    let answer = connection.ask(&request).await.expect("an answer");
                    answers.lock().unwrap().push((Instant::now(), answer));
                    tokio::time::sleep(PAUSE).await;
                }
            }));
        }
        let load = load;
        load.until("full service", PATIENCE, NEARLY_ALL, |answer, _| answer.starts_with(GREYLISTED)).await;
        load
    }

    /// Waits until `enough` of the latest answers, as many as there are clients, and all given after now, are as expected.
    async fn until(
        &self,
        what: &str,
        within: Duration,
        enough: usize,
        is_expected: impl Fn(&str, &str) -> bool,
    ) {
        let (start, from) = (Instant::now(), self.answers.lock().unwrap().len());
        loop {
            let latest: Vec<String> = {
                let answers = self.answers.lock().unwrap();
                answers[from..].iter().rev().take(CLIENTS).map(|(_, answer)| answer.clone()).collect()
            };
            let expected = latest.iter().filter(|answer| is_expected(answer, self.rule)).count();
            if latest.len() == CLIENTS && expected >= enough {
                return;
            }
            assert!(start.elapsed() < within, "{what}: {expected} of {} after {within:?}", latest.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// While the whole store is away.
    async fn expect_outage(&self) {
        eventually("the outage is noticed", || self.greylag.readyz().0 == 503);
        self.until("answers by the rule", PATIENCE, CLIENTS, |answer, rule| answer == rule).await;
        assert_eq!(self.greylag.metrics().sum("greylag_store_up", &[]), 0.0);
    }

    /// Full service again, within 5 s from now.
    async fn expect_recovery(&self) {
        self.until("full service", RECOVERY, NEARLY_ALL, |answer, _| answer.starts_with(GREYLISTED)).await;
        assert_eq!(self.greylag.readyz().0, 200);
        assert_eq!(self.greylag.metrics().sum("greylag_store_up", &[]), 1.0);
    }

    /// As [`Self::finish_whatever`]; and one log line was written when each outage began, and one when it ended.
    async fn finish(self, outages: RangeInclusive<usize>) {
        let lost = || self.greylag.log_lines(&["ERROR", "the greylist store does not answer"]);
        let back = || self.greylag.log_lines(&["INFO", "the greylist store answers again"]);
        // In the log a moment after it is said.
        eventually("each outage has ended in the log", || back().len() == lost().len());
        let lost = lost();
        assert!(outages.contains(&lost.len()), "{lost:?}");
        self.finish_whatever().await;
    }

    /// Ends the clients, and sees that every answer was one of the two that the rule allows, and in time.
    async fn finish_whatever(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let answers = self.answers.lock().unwrap();
        let wrong: Vec<&String> = answers
            .iter()
            .map(|(_, answer)| answer)
            .filter(|answer| !answer.starts_with(GREYLISTED) && *answer != self.rule)
            .collect();
        assert!(wrong.is_empty(), "{} wrong answers of {}: {:?}", wrong.len(), answers.len(), wrong[0]);
        // As the daemon measured it, from when it had the request: this machine may be too busy to hand an answer over in time.
        let metrics = self.greylag.metrics();
        let decisions = |suffix: &str, labels: &[(&str, &str)]| {
            let labels = [labels, &[("protocol", "policy"), ("stage", "rcpt")]].concat();
            metrics.sum(&format!("greylag_decision_duration_seconds_{suffix}"), &labels)
        };
        assert_eq!(decisions("count", &[]), answers.len() as f64);
        assert_eq!(
            decisions("bucket", &[("le", "2.5")]),
            answers.len() as f64,
            "an answer came later than after 2.5 s"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_is_killed_and_restarted_frozen_and_thawed() {
    let mut redis = Redis::start("");
    let load = Load::start(&redis.url(), DEFER).await;
    redis.kill();
    load.expect_outage().await;
    redis.start_again();
    load.expect_recovery().await;

    redis.freeze();
    load.expect_outage().await;
    redis.thaw();
    load.expect_recovery().await;
    load.finish(2..=2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_quick_is_hardly_noticed() {
    let mut redis = Redis::start("");
    let load = Load::start(&redis.unix_url(), ACCEPT).await;
    redis.kill();
    redis.start_again();
    load.expect_recovery().await;
    load.finish_whatever().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_reads_is_an_outage_though_it_knows_senders() {
    const TRY: Duration = Duration::from_millis(300);
    let redis = Redis::start("");
    let changes = Arc::default();
    let store = open_watched(&redis.url(), &changes).await.unwrap();
    let known = attempt("192.0.2.0/24", "known@sender.test", "r@example.test");
    let rules = Rules { min_delay: Duration::ZERO, ..Rules::DEFAULT };
    let known = Attempt { rules, ..known };
    for _ in 0..3 {
        store.attempt(&known, Timestamp::EPOCH).await.unwrap();
    }
    assert_eq!(redis.ask(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let is_up = |changes: &Arc<Mutex<Vec<bool>>>| *changes.lock().unwrap().last().unwrap();
    let began = Instant::now();
    while is_up(&changes) {
        assert!(began.elapsed() < PATIENCE, "the outage is not noticed");
        let _ = store.attempt(&known, Timestamp::EPOCH).await;
        let _ = store.attempt(&fresh_attempt(), Timestamp::EPOCH).await;
        tokio::time::sleep(TRY).await;
    }
    assert!(store.attempt(&fresh_attempt(), Timestamp::EPOCH).await.is_err());
    assert_eq!(redis.ask(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    let began = Instant::now();
    while !is_up(&changes) {
        assert!(began.elapsed() < RECOVERY, "not back");
        tokio::time::sleep(TRY).await;
    }
    assert_eq!(store.attempt(&fresh_attempt(), Timestamp::EPOCH).await.unwrap(), first_seen());
    assert_eq!(*changes.lock().unwrap(), [true, false, true]);
}

/// URLs of so many hosts that take connections and answer nobody, as `HOST:PORT,`; they do so as long as the listeners live.
fn black_holes(count: usize) -> (Vec<std::net::TcpListener>, String) {
    let holes: Vec<_> = (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses = holes.iter().map(|hole| format!("{},", hole.local_addr().unwrap())).collect();
    (holes, addresses)
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_hosts_at_the_head_of_a_url_keep_no_live_one_out() {
    let (cluster, sentinels) = (Cluster::of(1), Sentinels::start());
    let (_holes, dead) = black_holes(8);
    for (url, scheme) in [(cluster.url(), "redis+cluster://"), (sentinels.url(), "redis+sentinel://")] {
        let changes = Arc::default();
        let store = open_watched(&url.replace(scheme, &format!("{scheme}{dead}")), &changes).await.unwrap();
        let began = Instant::now();
        while changes.lock().unwrap().last() != Some(&true) {
            assert!(began.elapsed() < PATIENCE, "{scheme} is not reached");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(store.attempt(&fresh_attempt(), Timestamp::EPOCH).await.unwrap(), first_seen());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_choose_another_master() {
    let mut sentinels = Sentinels::start();
    let load = Load::start(&sentinels.url(), ACCEPT).await;
    let old = sentinels.master_port();
    let master = sentinels.servers.iter_mut().find(|server| server.port() == old).unwrap();
    master.kill();
    let new = || sentinels.servers.iter().find(|server| server.port() != old).unwrap();
    eventually("a new master", || new().ask(&["INFO", "replication"]).contains("role:master"));
    load.expect_recovery().await;
    assert_eq!(sentinels.master_port(), new().port());
    load.finish_whatever().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_loses_a_node_and_gets_it_back() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.url(), DEFER).await;
    cluster.nodes[1].kill();
    // A Cluster without all its slots answers nobody, unless it is told to.
    eventually("the Cluster gives up", || {
        cluster.nodes[0].ask(&["CLUSTER", "INFO"]).contains("cluster_state:fail")
    });
    load.expect_outage().await;
    cluster.nodes[1].start_again();
    cluster.wait_until_it_agrees();
    load.expect_recovery().await;
    // Until it gives up, the other nodes answer: a question to one of them may end the outage that one to the lost node began.
    load.finish(1..=3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_nodes_of_a_cluster_go_on_where_they_may() {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        assert_eq!(node.ask(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]), "OK");
    }
    let load = Load::start(&cluster.url(), DEFER).await;
    cluster.nodes[1].freeze();
    eventually("the others know", || cluster.nodes[0].ask(&["CLUSTER", "NODES"]).contains("fail"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    // An unknown sender has records in up to four slots, so by chance one in five has none on the third node.
    let is_served = |answer: &str, _: &str| answer.starts_with(GREYLISTED);
    load.until("service by the two nodes that are left", PATIENCE, CLIENTS / 12, is_served).await;
    cluster.nodes[1].thaw();
    cluster.wait_until_it_agrees();
    load.expect_recovery().await;
    load.finish_whatever().await;
}
