//! Requests of the policy protocol at a fixed rate, whatever the answers do: an open loop, as the mail of the world is one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::policy::PolicyRequest;

/// Longest wait for the answers after the last request.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// The policy service.
    pub address: SocketAddr,
    /// The request; each is about a mail of its own.
    pub request: PolicyRequest,
    /// Requests a second, over all connections.
    pub rate: u32,
    /// Connections that share them.
    pub connections: u32,
    /// How long they are sent.
    pub duration: Duration,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Right before it was sent.
    pub sent: Instant,
    /// When the answer was there.
    pub answered: Instant,
    /// The action of the answer.
    pub action: String,
}

impl Load {
    /// Sends it all and waits for the answers; each connection's in the order they were sent.
    ///
    /// # Panics
    /// When a request gets no answer, or an answer was not asked for.
    pub async fn run(&self) -> Vec<Vec<Answered>> {
        let begin = Instant::now();
        let tasks: Vec<_> = (0..self.connections)
            .map(|number| tokio::spawn(connection(self.clone(), begin, number)))
            .collect();
        let mut answered = Vec::new();
        for task in tasks {
            answered.push(task.await.unwrap());
        }
        answered
    }
}

async fn connection(load: Load, begin: Instant, number: u32) -> Vec<Answered> {
    let stream = TcpStream::connect(load.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (reader, mut writer) = stream.into_split();
    let (sent, mut times) = mpsc::unbounded_channel();
    let sending = tokio::spawn(async move {
        let step = Duration::from_secs(1) * load.connections / load.rate;
        let mut count = 0;
        let mut due = begin + step * number / load.connections;
        while due < begin + load.duration {
            // Where the timer wakes late, the requests that are due go out together.
            sleep_until(due.into()).await;
            let request = load.request.clone().with("instance", &format!("{number}.{count}")).to_bytes();
            sent.send(Instant::now()).unwrap();
            writer.write_all(&request).await.unwrap();
            due += step;
            count += 1;
        }
        writer
    });
    let mut reader = BufReader::new(reader);
    let mut answers = Vec::new();
    while let Some(sent) = times.recv().await {
        let mut line = String::new();
        for expected in ["an action", "an empty line"] {
            let read = timeout(PATIENCE, reader.read_line(&mut line)).await;
            assert!(read.is_ok_and(|read| read.is_ok_and(|bytes| bytes > 0)), "no answer: {expected}");
        }
        let action = line.strip_prefix("action=").and_then(|line| line.strip_suffix("\n\n"));
        let action = action.unwrap_or_else(|| panic!("{line:?} is no answer")).to_owned();
        answers.push(Answered { sent, answered: Instant::now(), action });
    }
    let writer = sending.await.unwrap();
    drop(writer);
    let mut rest = String::new();
    reader.read_line(&mut rest).await.unwrap();
    assert_eq!(rest, "", "an answer nobody asked for");
    answers
}
