//! Accepting connections on TCP and UNIX sockets alike, for every service of the daemon.

mod input;

pub use input::{Input, Readable};

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::config::{Host, ListenAddress};

/// Pause after a failed `accept`: with no file descriptor left it fails at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections to a UNIX socket that may wait to be accepted; the kernel takes no more than net.core.somaxconn.
const BACKLOG: u32 = 1024;

/// Silence after which the kernel asks whether a peer on another host is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(300);

/// One accepted connection.
pub type Stream = Either<TcpStream, UnixStream>;

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A UNIX stream socket.
    Unix(UnixListener),
}

impl Listener {
    /// Binds the address. Every local user may connect to a UNIX socket, so that the MTA's can: who may is for the permissions of its
    /// directory to say.
    ///
    /// # Errors
    /// When the system refuses, or a host name has no address.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(Host::Ip(ip), port) => TcpListener::bind((*ip, *port)).await.map(Self::Tcp),
            ListenAddress::Tcp(Host::Name(name), port) => {
                TcpListener::bind((name.as_str(), *port)).await.map(Self::Tcp)
            }
            ListenAddress::Unix(path) => Self::bind_unix(path, 0o666),
        }
    }

    /// Binds a UNIX socket with these permissions. One that a dead process left behind is replaced, one that answers is not.
    ///
    /// # Errors
    /// When the system refuses: [`io::ErrorKind::AddrInUse`] where somebody answers there, or the file is no socket.
    pub fn bind_unix(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // Before it listens nobody can connect, so that nobody slips in under the permissions the umask gave it.
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.listen(BACKLOG).map(Self::Unix)
    }

    /// The bound address, as log lines name it: `127.0.0.1:10033` or `unix:/run/greylag/policy`.
    pub fn name(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| "tcp".into(), |at| at.to_string()),
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|at| at.as_pathname());
                path.map_or_else(|| "unix".into(), |path| format!("unix:{}", path.display()))
            }
        }
    }

    /// The next connection, and its peer as log lines name it.
    async fn accept(&self, name: &str) -> io::Result<(Stream, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Replies are smaller than a segment: Nagle would only hold them back. It fails only where the peer is gone,
                // which the first read will tell.
                stream.set_nodelay(true).ok();
                let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
                socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive).ok();
                Ok((Either::Left(stream), peer.to_string()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Either::Right(stream), name.to_owned()))
            }
        }
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::net::UnixStream;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    match UnixStream::connect(path) {
        Err(error) if is_socket && error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

/// Accepts connections until `drain` is cancelled, gives each to `handle` on a task of its own, and returns when the last of them
/// has ended. `handle` has to watch `drain` itself.
///
/// A connection beyond `connections` waits until another one ends, the first of each listener accepted and unheard, the others in its
/// socket's backlog: refused, it would get the MTA's default action, which is worse than a short wait.
pub async fn serve<H, F>(
    listener: Listener,
    connections: Arc<Semaphore>,
    drain: CancellationToken,
    mut handle: H,
) where
    H: FnMut(Stream, String) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let name = listener.name();
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.cancelled() => break,
            accepted = accept(&listener, &name, &connections) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                // Moved into the task as it is, it would lie there twice: as what the task is made of, and as what it waits for.
                let connection = Box::pin(handle(stream, peer));
                tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(listener = %name, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn accept(
    listener: &Listener,
    name: &str,
    connections: &Arc<Semaphore>,
) -> io::Result<(Stream, String, OwnedSemaphorePermit)> {
    // The connection first: a listener that waits for one must hold no permit that others could use.
    let (stream, peer) = listener.accept(name).await?;
    let permit = match Arc::clone(connections).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            warn!(listener = %name, "connection limit reached; further connections wait");
            Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?
        }
    };
    Ok((stream, peer, permit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let address = ListenAddress::Unix(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "dropping a socket leaves its file");
        let listener = Listener::bind(&address).await.unwrap();
        assert_eq!(listener.name(), format!("unix:{}", path.display()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(Listener::bind(&address).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_listener_without_connections_leaves_its_share_to_the_others() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let connections = Arc::new(Semaphore::new(1));
        let directory = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| directory.path().join(name));
        for path in &paths {
            let listener = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap();
            let greet = |mut stream: Stream, _| async move {
                stream.write_all(b"hello").await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.unwrap();
            };
            tokio::spawn(serve(listener, Arc::clone(&connections), CancellationToken::new(), greet));
        }
        let [a, b] = &paths;
        for path in [a, b, a, a, b] {
            let mut stream = UnixStream::connect(path).await.unwrap();
            let mut greeting = [0; 5];
            let heard = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut greeting)).await;
            assert_eq!(heard.ok().map(Result::unwrap), Some(5), "{}", path.display());
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(
            Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
    }
}
