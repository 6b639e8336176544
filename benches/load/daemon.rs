//! The real `greylag serve`, with its decision log in a file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::ports::{self, Ports};
use crate::support::process::free_port;

/// The running daemon; ends when this value does.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) ports: Ports,
    /// From its start until it accepted connections.
    pub(crate) start: Duration,
}

/// State and log of a daemon, which outlive it.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        let home =
            tempfile::Builder::new().prefix("greylag-bench-").tempdir().expect("a temporary directory");
        let policies = home.path().join("policies");
        for directory in [&policies, &home.path().join("log")] {
            std::fs::create_dir(directory).expect("a directory in it");
        }
        // All checks as shipped. A triplet matures after a second, so that the benchmark need not wait for two minutes.
        std::fs::write(policies.join("greylist.toml"), "min_delay = \"1s\"\n").expect("a file in it");
        Self(home)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Adds a file to the policy directory, or to the end of one.
    pub(crate) fn policy(&self, name: &str, text: &str) {
        use std::io::Write;
        let path = self.path().join("policies").join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory in it");
        let mut file = File::options().create(true).append(true).open(path).expect("a file in it");
        file.write_all(text.as_bytes()).expect("room on the disk");
    }

    /// Its log, in a directory of its own: that of the policies is watched, and so is the one it is in, where no log is written
    /// in any other installation.
    fn log(&self) -> std::path::PathBuf {
        self.path().join("log").join("greylag.log")
    }

    /// Where its embedded store is.
    pub(crate) fn store(&self) -> std::path::PathBuf {
        self.path().join("store")
    }
}

/// The program that is measured: GREYLAG, so that two of them can be compared by one load, or the one built with this bench.
pub(crate) fn program() -> OsString {
    std::env::var_os("GREYLAG").unwrap_or_else(|| env!("CARGO_BIN_EXE_greylag").into())
}

impl Daemon {
    /// Starts it with the embedded store of `home`, or with `store`.
    pub(crate) fn start(home: &Home, dns: SocketAddr, store: Option<&str>) -> Self {
        Self::start_with(home, dns, store, None)
    }

    /// Starts it with a configuration file as well.
    pub(crate) fn start_with(
        home: &Home,
        dns: SocketAddr,
        store: Option<&str>,
        config: Option<&Path>,
    ) -> Self {
        let (ports, admin) = (Ports::free(), free_port());
        let log = File::create(home.log()).expect("a log file");
        let embedded = format!("redb:{}", home.store().display());
        let began = std::time::Instant::now();
        let child = Command::new(program())
            .arg("serve")
            .args(config.into_iter().flat_map(|config| [OsStr::new("--config"), config.as_os_str()]))
            .arg("--policies")
            .arg(home.path().join("policies"))
            .args(["--policy", &format!("127.0.0.1:{}", ports.policy)])
            .args(["--milter", &format!("127.0.0.1:{}", ports.milter)])
            .args(["--admin", &format!("127.0.0.1:{admin}")])
            .args(["--store", store.unwrap_or(&embedded)])
            .args(["--dns", &dns.to_string()])
            .env("STATE_DIRECTORY", home.path())
            .env("RUNTIME_DIRECTORY", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("greylag starts");
        ports::wait(ports.policy);
        Self { child, ports, start: began.elapsed() }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Makes it read its policies anew.
    pub(crate) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM, so that the store is closed; SIGKILL is for benches of crashes.
        self.signal(Signal::TERM);
        let _ = self.child.wait();
    }
}
