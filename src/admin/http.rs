//! `/metrics`, `/healthz` and `/readyz` over HTTP/1.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Readiness;
use crate::listener::{self, Listener, Stream};
use crate::telemetry::metrics::Metrics;

/// Connections at a time: Prometheus and a few probes.
const MAX_CONNECTIONS: usize = 64;

/// Time a client has for its request line and headers; also how long it may be idle between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Room for request line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Headers of one request.
const MAX_HEADERS: usize = 64;

/// A connection is asked to end after this time, so that a client that reads nothing cannot keep it.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(600);

/// Time for the last response of a connection that was asked to end.
const LAST_RESPONSE: Duration = Duration::from_secs(10);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// What is shown.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Renders the metrics.
    pub metrics: Metrics,
    /// What `/readyz` answers by.
    pub readiness: Arc<Readiness>,
}

/// Serves a listener until `drain` is cancelled and the requests under way are answered.
pub async fn serve(listener: Listener, admin: Admin, drain: CancellationToken) {
    serve_with(listener, admin, HEADER_TIMEOUT, drain).await;
}

async fn serve_with(listener: Listener, admin: Admin, header_timeout: Duration, drain: CancellationToken) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    listener::serve(listener, connections, drain.clone(), move |stream, peer| {
        let (admin, drain) = (admin.clone(), drain.clone());
        async move {
            if let Err(error) = converse(stream, admin, header_timeout, drain).await {
                debug!(%peer, %error, "admin connection failed");
            }
        }
    })
    .await;
}

async fn converse(
    stream: Stream,
    admin: Admin,
    header_timeout: Duration,
    drain: CancellationToken,
) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&admin, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = drain.cancelled() => {}
        () = sleep(MAX_CONNECTION_AGE) => {}
    }
    connection.as_mut().graceful_shutdown();
    timeout(LAST_RESPONSE, connection).await.unwrap_or(Ok(()))
}

/// The response to one request. hyper leaves out the body where the method is HEAD.
fn respond(admin: &Admin, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
        return text(StatusCode::NOT_FOUND, "not found; there are /metrics, /healthz and /readyz\n");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; use GET or HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            let mut response = text(StatusCode::OK, admin.metrics.render());
            response.headers_mut().insert(CONTENT_TYPE, PROMETHEUS_TEXT);
            response
        }
        "/readyz" => match admin.readiness.complaints().as_slice() {
            [] => text(StatusCode::OK, "ok\n"),
            complaints => text(StatusCode::SERVICE_UNAVAILABLE, complaints.join("\n") + "\n"),
        },
        _ => text(StatusCode::OK, "ok\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Part;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    struct Server {
        address: SocketAddr,
        readiness: Arc<Readiness>,
        drain: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn server() -> Server {
        server_with(HEADER_TIMEOUT).await
    }

    async fn server_with(header_timeout: Duration) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle().into();
        metrics::with_local_recorder(&recorder, || metrics::counter!("greylag_test_total").increment(7));
        let readiness = Arc::new(Readiness::default());
        let admin = Admin { metrics, readiness: Arc::clone(&readiness) };
        let drain = CancellationToken::new();
        let task = tokio::spawn(serve_with(Listener::Tcp(listener), admin, header_timeout, drain.clone()));
        Server { address, readiness, drain, task }
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(server: &Server, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A server that closes before it read everything resets the connection, after its answer.
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().ok();
        String::from_utf8(answer).unwrap()
    }

    /// Status line, headers in lower case, and body of a request on a connection of its own.
    async fn request(server: &Server, line: &str) -> (String, String, String) {
        let bytes = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = exchange(server, bytes.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let (status, headers) = head.split_once("\r\n").unwrap();
        (status.into(), headers.to_lowercase(), body.into())
    }

    #[tokio::test]
    async fn metrics_are_shown_in_the_text_format() {
        let server = server().await;
        let (status, headers, body) = request(&server, "GET /metrics").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers.contains("content-type: text/plain; version=0.0.4\r\n"), "{headers}");
        assert_eq!(body, "# TYPE greylag_test_total counter\ngreylag_test_total 7\n\n");
    }

    #[tokio::test]
    async fn every_path_and_method_has_its_answer() {
        let server = server().await;
        for (line, status, body) in [
            ("GET /healthz", "200 OK", "ok\n"),
            ("GET /healthz?verbose=1", "200 OK", "ok\n"),
            ("HEAD /healthz", "200 OK", ""),
            ("HEAD /metrics", "200 OK", ""),
            ("GET /", "404 Not Found", "not found; there are /metrics, /healthz and /readyz\n"),
            ("POST /shutdown", "404 Not Found", "not found; there are /metrics, /healthz and /readyz\n"),
            ("GET /metrics/", "404 Not Found", "not found; there are /metrics, /healthz and /readyz\n"),
            ("POST /metrics", "405 Method Not Allowed", "method not allowed; use GET or HEAD\n"),
            ("DELETE /readyz", "405 Method Not Allowed", "method not allowed; use GET or HEAD\n"),
        ] {
            let (got_status, headers, got_body) = request(&server, line).await;
            assert_eq!((got_status, got_body.as_str()), (format!("HTTP/1.1 {status}"), body), "{line}");
            assert_eq!(headers.contains("allow: get, head"), status.starts_with("405"), "{line}");
        }
        let (_, headers, _) = request(&server, "HEAD /healthz").await;
        assert!(headers.contains("content-length: 3"), "{headers}");
    }

    #[tokio::test]
    async fn readiness_follows_its_parts() {
        let server = server().await;
        let (status, _, body) = request(&server, "GET /readyz").await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(
            body,
            "store: the greylist store does not answer\ndns: the DNS resolver does not answer\n\
             policy: no policy is loaded\n"
        );
        Part::ALL.into_iter().for_each(|part| server.readiness.set(part, true));
        let (status, _, body) = request(&server, "GET /readyz").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ok\n"));
    }

    #[tokio::test]
    async fn a_connection_serves_several_requests() {
        let server = server().await;
        let answer = exchange(
            &server,
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
    }

    #[tokio::test]
    async fn slow_idle_and_foreign_clients_are_closed() {
        let server = server_with(Duration::from_millis(300)).await;
        // Never finishes its header, sends none, stays idle after a request.
        assert_eq!(exchange(&server, b"GET /healthz HTTP/1.1\r\nHost: ").await, "");
        assert_eq!(exchange(&server, b"").await, "");
        let answer = exchange(&server, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.ends_with("ok\n"), "{answer}");
        let answer = exchange(&server, b"\x16\x03\x01\x02\x00 TLS\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[tokio::test]
    async fn a_large_header_is_refused() {
        let server = server().await;
        let header = format!("GET /healthz HTTP/1.1\r\nX: {}", "y".repeat(MAX_HEADER_BYTES));
        assert!(exchange(&server, header.as_bytes()).await.starts_with("HTTP/1.1 431 "));
        let headers = "X: y\r\n".repeat(MAX_HEADERS + 1);
        let request = format!("GET /healthz HTTP/1.1\r\n{headers}\r\n");
        assert!(exchange(&server, request.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_and_drain_closes_all() {
        let server = server().await;
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            held.push(TcpStream::connect(server.address).await.unwrap());
        }
        let mut one_more = TcpStream::connect(server.address).await.unwrap();
        one_more.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        assert!(timeout(Duration::from_millis(100), one_more.read_exact(&mut answer)).await.is_err());
        drop(held.pop());
        timeout(Duration::from_secs(5), one_more.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        server.drain.cancel();
        timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
    }
}
