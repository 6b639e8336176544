//! A decision on a Cluster is one round trip, whoever is asked about.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greylag::store::{Answer, Attempt, IdentityKind, KnownBy, Store};

use super::support::process;
use super::support::redis::Cluster;
use super::{at, attempt, calls, first_seen, open_with_given_times};

const KNOWN: Answer = Answer::Known { by: KnownBy::Pair, identity: IdentityKind::Network };
const MATURED: Answer = Answer::Matured { waited: Duration::from_secs(120), identity: IdentityKind::Network };

/// So long everything is on its way to a node.
const WAY: Duration = Duration::from_millis(400);

/// Makes every way to a node long.
#[derive(Clone, Default)]
struct Ways(Arc<AtomicU64>);

impl Ways {
    fn lengthen(&self, way: Duration) {
        self.0.store(way.as_millis() as u64, Ordering::SeqCst);
    }

    /// A port that leads to `port`.
    fn lead_to(&self, port: u16) -> u16 {
        let listener = TcpListener::bind(process::loopback(process::free_port())).unwrap();
        let own = listener.local_addr().unwrap().port();
        let ways = self.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(process::loopback(port)) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pass_on(server, client, &Self::default()));
                let ways = ways.clone();
                thread::spawn(move || pass_on(from, to, &ways));
            }
        });
        own
    }
}

/// Passes everything on, each piece as long after it came as the way is then.
fn pass_on(mut from: TcpStream, mut to: TcpStream, ways: &Ways) {
    let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
    let writer = thread::spawn(move || {
        for (due, piece) in pieces {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut buffer = [0; 65_536];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let due = Instant::now() + Duration::from_millis(ways.0.load(Ordering::SeqCst));
        if sender.send((due, buffer[..len].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = writer.join();
}

/// Mail of its own sender, from its own network.
fn mail(number: u8) -> Attempt {
    Attempt {
        client: [198, 51, number, 1].into(),
        ..attempt("198.51.100.0/24", &format!("{number}@sender.test"), "r@example.test")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_waits_for_one_round_trip() {
    let ways = Ways::default();
    let cluster = Cluster::start_announcing(|port| ways.lead_to(port));
    let store = open_with_given_times(&cluster.url()).await;
    ways.lengthen(WAY);
    for number in 0..3 {
        let steps = [
            (0, first_seen()),
            (60, Answer::TooEarly { wait: Duration::from_secs(60) }),
            (120, MATURED),
            (121, KNOWN),
        ];
        for (seconds, answer) in steps {
            let began = Instant::now();
            assert_eq!(store.attempt(&mail(number), at(seconds)).await.unwrap(), answer);
            let took = began.elapsed();
            assert!(took >= WAY && took < 2 * WAY, "{answer:?} took {took:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_runs_few_scripts() {
    let cluster = Cluster::start();
    let store = open_with_given_times(&cluster.url()).await;
    let texts = || cluster.nodes.iter().map(|node| calls(node, "eval")).sum::<u64>();
    let sent = texts();
    let scripts = || cluster.nodes.iter().map(|node| calls(node, "evalsha")).sum::<u64>();
    let mut counted = Vec::new();
    for (mail, seconds, answer) in [
        // Of a network that is not known from a moment ago: the clocks, a look at the account, and the account written.
        (mail(1), 0, first_seen()),
        // Of one that is.
        (Attempt { sender: "other@sender.test".into(), ..mail(1) }, 0, first_seen()),
        (mail(1), 60, Answer::TooEarly { wait: Duration::from_secs(60) }),
        // The clocks, and the standing of the address written.
        (mail(1), 120, MATURED),
        (mail(1), 121, KNOWN),
    ] {
        let before = scripts();
        assert_eq!(store.attempt(&mail, at(seconds)).await.unwrap(), answer);
        store.close().await.unwrap();
        counted.push(scripts() - before);
    }
    assert_eq!(counted, [3, 2, 1, 2, 1]);
    // Every node knows every script from the start.
    assert_eq!(texts(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_greylags_share_a_cluster() {
    let cluster = Cluster::start();
    let one = open_with_given_times(&cluster.url()).await;
    let other = open_with_given_times(&cluster.url()).await;
    for number in 0..20 {
        assert_eq!(one.attempt(&mail(number), at(0)).await.unwrap(), first_seen());
        assert_eq!(other.attempt(&mail(number), at(120)).await.unwrap(), MATURED);
        assert_eq!(one.attempt(&mail(number), at(121)).await.unwrap(), KNOWN);
    }
    // At the same moment, whichever comes first: the earlier time counts.
    for number in 20..60 {
        let mail = mail(number);
        let (early, late) = tokio::join!(one.attempt(&mail, at(0)), other.attempt(&mail, at(50)));
        let answers = [early.unwrap(), late.unwrap()];
        assert_eq!(answers.iter().filter(|answer| **answer == first_seen()).count(), 1, "{answers:?}");
        assert_eq!(other.peek(&mail, at(120)).await.unwrap(), MATURED, "{answers:?}");
    }
}
