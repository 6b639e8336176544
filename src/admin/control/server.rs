//! Serves the control socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Answer, Control, MAX_REQUEST, Request};
use crate::facts::Message;
use crate::listener::{self, Listener, Stream};

/// Connections at a time: an administrator and a few scripts.
const MAX_CONNECTIONS: usize = 16;

/// Messages that are held at a time, each as large as [`Control::message_memory`] allows.
const MAX_MESSAGES: usize = 2;

/// Time for the whole request to come, and for the answer to be taken.
const DEADLINE: Duration = Duration::from_secs(10);

/// Serves a listener until `drain` is cancelled and the requests under way are answered.
pub async fn serve(listener: Listener, control: Arc<Control>, drain: CancellationToken) {
    serve_with(listener, control, DEADLINE, drain).await;
}

async fn serve_with(listener: Listener, control: Arc<Control>, deadline: Duration, drain: CancellationToken) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let messages = Arc::new(Semaphore::new(MAX_MESSAGES));
    listener::serve(listener, connections, drain.clone(), move |stream, peer| {
        let (control, messages, drain) = (Arc::clone(&control), Arc::clone(&messages), drain.clone());
        async move {
            if let Err(error) = converse(stream, &control, &messages, deadline, drain).await {
                debug!(%peer, %error, "control connection failed");
            }
        }
    })
    .await;
}

async fn converse(
    mut stream: Stream,
    control: &Control,
    messages: &Semaphore,
    deadline: Duration,
    drain: CancellationToken,
) -> io::Result<()> {
    let read = timeout(deadline, read_line(&mut stream));
    let Some(line) = drain.run_until_cancelled(read).await else { return Ok(()) };
    let answer = match line?? {
        Ok((line, rest)) => match serde_json::from_slice::<Request>(&line) {
            Ok(request) => match request.message_bytes() {
                None => control.answer(request, None).await.into(),
                Some(bytes) if bytes > control.message_memory => Answer::error(format!(
                    "the message is larger than `message_memory` of greylag.toml, {} bytes",
                    control.message_memory
                )),
                Some(bytes) => {
                    let Ok(Ok(_held)) = timeout(deadline, messages.acquire()).await else {
                        return Err(io::ErrorKind::TimedOut.into());
                    };
                    let read = timeout(deadline, read_message(&mut stream, rest, bytes));
                    let Some(message) = drain.run_until_cancelled(read).await else { return Ok(()) };
                    control.answer(request, Some(message??)).await.into()
                }
            },
            Err(error) => Answer::error(format!("not a request this daemon knows: {error}")),
        },
        Err(TooLong) => Answer::error(format!("the request is longer than {MAX_REQUEST} bytes")),
    };
    let mut line = serde_json::to_vec(&answer)?;
    // It takes many times the memory of its text, and a slow reader keeps us waiting.
    drop(answer);
    line.push(b'\n');
    timeout(deadline, stream.write_all(&line)).await?
}

struct TooLong;

/// The message of so many bytes, of which the first are `begun`.
async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    mut begun: Vec<u8>,
    bytes: u64,
) -> io::Result<Message> {
    let missing = bytes.saturating_sub(begun.len() as u64);
    stream.take(missing).read_to_end(&mut begun).await?;
    match begun.len() as u64 {
        length if length < bytes => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(Message::from_bytes(
            begun.get(..usize::try_from(bytes).unwrap_or(usize::MAX)).unwrap_or(&begun),
        )),
    }
}

/// The first line, or all there is where the peer has nothing more to say; and what came behind it.
async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Result<(Vec<u8>, Vec<u8>), TooLong>> {
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await?;
        let bytes = chunk.get(..read).unwrap_or_default();
        let end = memchr::memchr(b'\n', bytes);
        line.extend_from_slice(bytes.get(..end.unwrap_or(read)).unwrap_or_default());
        if line.len() >= MAX_REQUEST {
            return Ok(Err(TooLong));
        }
        match end {
            None if read > 0 => {}
            None if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {
                let rest = end.and_then(|end| bytes.get(end + 1..)).unwrap_or_default();
                return Ok(Ok((line, rest.to_vec())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Readiness;
    use crate::driver::Driver;
    use crate::reload::Reloader;
    use serde_json::{Value, json};
    use std::path::PathBuf;
    use std::time::Instant;
    use tokio::net::UnixStream;
    use tokio::sync::Mutex;
    use tokio::task::JoinHandle;

    struct Server {
        path: PathBuf,
        control: Arc<Control>,
        drain: CancellationToken,
        task: JoinHandle<()>,
        _directory: tempfile::TempDir,
    }

    fn server(deadline: Duration) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = Listener::bind_unix(&path, super::super::MODE).unwrap();
        let drain = CancellationToken::new();
        let driver = Arc::new(Driver::accepting());
        let (reloader, reload) = Reloader::new(None, 0, Arc::clone(&driver));
        tokio::spawn(reloader.run(drain.clone()));
        let readiness = Arc::new(Readiness::default());
        let store = Arc::new(crate::store::MemoryStore::new(1_000).unwrap());
        let (since, message_memory, trace_turn) = (Instant::now(), 100_000, Mutex::default());
        let control =
            Arc::new(Control { driver, reload, readiness, store, since, message_memory, trace_turn });
        let task = tokio::spawn(serve_with(listener, Arc::clone(&control), deadline, drain.clone()));
        Server { path, control, drain, task, _directory: directory }
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(server: &Server, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(&server.path).await.unwrap();
        // The server need not take all of it.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn ask(server: &Server, request: &str) -> Value {
        serde_json::from_str(&exchange(server, request.as_bytes()).await).unwrap()
    }

    #[tokio::test]
    async fn a_line_is_answered_by_a_line() {
        let server = server(DEADLINE);
        let status = ask(&server, "{\"command\":\"status\"}\n").await;
        assert_eq!(status["ok"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["ok"]["not_ready"].as_array().map(Vec::len), Some(3));
        let report = ask(&server, "{\"command\":\"reload\"}\nwhat follows is not read\n").await;
        assert_eq!(report["ok"]["outcome"], "reloaded");
        let answer = exchange(&server, b"{\"command\":\"status\"}\n").await;
        assert_eq!(answer.find('\n'), Some(answer.len() - 1));
    }

    #[tokio::test]
    async fn a_message_follows_the_line() {
        let server = server(Duration::from_millis(500));
        let ask_about = async |bytes: usize, message: &[u8]| {
            let envelope = "{\"client\":\"192.0.2.1\",\"client_name\":null,\"helo\":null,\"sender\":\"<>\",\"recipients\":[],\"login\":null}";
            let line =
                format!("{{\"command\":\"explain_message\",\"envelope\":{envelope},\"bytes\":{bytes}}}\n");
            exchange(&server, &[line.as_bytes(), message].concat()).await
        };
        for size in [0, 1, 5_000, 100_000] {
            let text = vec![b'x'; size];
            let answer: Value = serde_json::from_str(&ask_about(size, &text).await).unwrap();
            let subject = format!("message of {} bytes", Message::from_bytes(&text).len());
            assert_eq!(answer["ok"]["stages"][0]["subject"], subject, "{answer}");
        }
        let too_large = ask_about(100_001, b"x").await;
        assert!(
            too_large.contains("larger than `message_memory` of greylag.toml, 100000 bytes"),
            "{too_large}"
        );
        // Less than was promised.
        assert_eq!(ask_about(10, b"x").await, "");
    }

    #[tokio::test]
    async fn who_asks_for_the_trace_waits_for_those_before() {
        let server = server(DEADLINE);
        let request = "{\"command\":\"trace\",\"last\":1}\n";
        let before = server.control.trace_turn.lock().await;
        assert!(timeout(Duration::from_millis(200), ask(&server, request)).await.is_err());
        drop(before);
        assert_eq!(ask(&server, request).await, json!({ "ok": [] }));
    }

    #[tokio::test]
    async fn what_is_no_request_is_answered_and_harms_nobody_else() {
        let server = server(Duration::from_millis(300));
        let message = |answer: &Value| answer["err"]["message"].as_str().unwrap_or_default().to_owned();
        for garbage in
            ["\n", "{}\n", "GET / HTTP/1.1\n", "{\"command\":\"reboot\"}\n", "\u{0}\u{ff}\n", "[[[[\n"]
        {
            let answer = ask(&server, garbage).await;
            assert!(
                message(&answer).starts_with("not a request this daemon knows: "),
                "{garbage:?}: {answer}"
            );
        }
        let deep = "[".repeat(60_000) + "\n";
        assert!(message(&ask(&server, &deep).await).contains("not a request"), "nested");
        // Longer than may be, with and without an end; silence, and a line that never ends.
        for long in [vec![b'x'; 10_000_000], [vec![b' '; MAX_REQUEST], b"\n".to_vec()].concat()] {
            let answer: Value = serde_json::from_str(&exchange(&server, &long).await).unwrap();
            assert_eq!(answer, json!({ "err": { "message": "the request is longer than 65536 bytes" } }));
        }
        assert_eq!(exchange(&server, b"").await, "");
        assert_eq!(exchange(&server, b"{\"command\":").await, "");
        assert!(exchange(&server, b"{\"command\":\"status\"}\n").await.starts_with("{\"ok\":"));
    }

    #[tokio::test]
    async fn silent_connections_keep_others_out_for_the_deadline_at_most() {
        let server = server(Duration::from_millis(500));
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(UnixStream::connect(&server.path).await.unwrap());
        }
        assert!(exchange(&server, b"{\"command\":\"status\"}\n").await.starts_with("{\"ok\":"));
        server.drain.cancel();
        timeout(DEADLINE, server.task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn only_user_and_group_may_connect() {
        use std::os::unix::fs::PermissionsExt;
        let server = server(DEADLINE);
        let mode = std::fs::metadata(&server.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    }
}
