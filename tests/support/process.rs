//! Child processes: free ports, waiting until they serve, stopping them by process id.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// How long a server may take to serve, and to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ports below the range the kernel takes for outgoing connections, so that nothing else grabs one between look and use.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

/// A loopback port that nobody listens on, TCP or UDP. Test programs that run at the same time start their search at different
/// places, so that they do not choose the same one.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let width = u32::from(PORTS.end - PORTS.start);
    for _ in 0..width {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(61).wrapping_add(step) % width;
        let port = PORTS.start + u16::try_from(offset).unwrap();
        let address = loopback(port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}

/// `127.0.0.1:port`.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A temporary directory that other users may look into, as the servers drop their root rights.
pub fn temp_dir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix("greylag-test-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

/// The path of an installed program; panics with the way to get it. `/usr/sbin` counts even where the PATH leaves it out.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let directories = path.split(':').chain(["/usr/sbin", "/sbin"]);
    let found = directories.map(|directory| Path::new(directory).join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: run .ci/setup, or apt-get install {name}"))
}

/// A child process that ends with this value. What it writes goes to a file, which is shown when the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output is appended to `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name, child, log: log.to_owned() }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says yes; panics with the log when the process ends or the time is over.
    pub fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended ({status}) before it was {what}:\n{}", self.name, self.log());
            }
            assert!(
                Instant::now() < deadline,
                "{} is not {what} after {PATIENCE:?}:\n{}",
                self.name,
                self.log()
            );
            pause();
        }
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Ends it with SIGTERM and waits; panics when it does not end.
    pub fn terminate(&mut self) {
        self.begin_to_terminate();
        self.wait();
    }

    /// Sends it SIGTERM.
    pub fn begin_to_terminate(&self) {
        signal(self.id(), Signal::TERM);
    }

    /// Sends it SIGHUP.
    pub fn hang_up(&self) {
        signal(self.id(), Signal::HUP);
    }

    /// Waits until it has ended and returns its exit code, `None` after a signal; panics when it does not end.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "{} does not end:\n{}", self.name, self.log());
            pause();
        }
    }

    /// Ends it with SIGKILL, as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it with SIGSTOP: it keeps its connections, and does nothing.
    pub fn freeze(&self) {
        signal(self.id(), Signal::STOP);
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        signal(self.id(), Signal::CONT);
    }

    /// Its resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            end(self.id(), Duration::from_secs(5));
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}", self.name, tail(&self.log()));
        }
    }
}

/// Ends the process `id` with SIGTERM, and with SIGKILL when that does not do it within `grace`.
pub fn end(id: u32, grace: Duration) {
    signal(id, Signal::TERM);
    let deadline = Instant::now() + grace;
    while runs(id) && Instant::now() < deadline {
        pause();
    }
    if runs(id) {
        signal(id, Signal::KILL);
    }
}

fn signal(id: u32, signal: Signal) {
    let _ = kill_process(pid(id), signal);
}

/// Whether the process is there and not merely waiting to be reaped.
fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    test_kill_process(pid(id)).is_ok() && !stat.contains(") Z ")
}

fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).unwrap()
}

/// Whether somebody accepts connections there.
pub fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&loopback(port), Duration::from_secs(1)).is_ok()
}

/// Status code and body of an HTTP GET; `None` when nobody answers.
pub fn http_get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&loopback(port), Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// The last lines of a log, enough to see what went wrong.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Waits until `happened` says yes; panics naming `what` when that takes too long.
pub fn eventually(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        pause();
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
