//! The real `greylag serve` with policies and state of its own.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::metrics::Metrics;
use super::postfix::Ports;
use super::process::{self, Process};

/// Which greylist store it uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store<'a> {
    /// `memory:`.
    #[default]
    Memory,
    /// `redb:` in the temporary directory.
    Embedded,
    /// Another one.
    Url(&'a str),
}

/// How it is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup<'a> {
    /// File name and text of the policies; what is not named is as shipped. `$MILTER` and `$POLICY` stand for the addresses of the
    /// two listeners.
    pub policies: &'a [(&'a str, &'a str)],
    /// The greylist store.
    pub store: Store<'a>,
    /// The DNS server it asks.
    pub dns: Option<SocketAddr>,
    /// Text of the configuration file; settings that the tests need stand on the command line.
    pub configuration: &'a str,
    /// Environment variables, beside those of the test.
    pub environment: &'a [(&'a str, &'a str)],
    /// It counts as started when `/readyz` answers, whatever it says.
    pub may_be_unready: bool,
    /// Another `greylag` than the one that was built with the tests.
    pub program: Option<&'a str>,
    /// Where its standard error goes instead of the log that is read here, as a shell has it: `2>/dev/full`.
    pub redirection: &'a str,
}

/// What it is started with, each time.
#[derive(Debug)]
struct Launch {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    may_be_unready: bool,
}

/// The running daemon.
#[derive(Debug)]
pub struct Greylag {
    process: Process,
    launch: Launch,
    ports: Ports,
    admin: u16,
    dir: TempDir,
}

impl Greylag {
    /// Starts one and waits until `/readyz` says 200.
    pub fn start(setup: Setup<'_>) -> Self {
        let dir = process::temp_dir();
        let policies = dir.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        let [milter, policy, admin] = std::array::from_fn(|_| process::free_port());
        for (file, text) in setup.policies {
            let text = text.replace("$MILTER", &process::loopback(milter).to_string());
            let text = text.replace("$POLICY", &process::loopback(policy).to_string());
            std::fs::write(policies.join(file), text).unwrap();
        }
        if setup.policies.is_empty() {
            // A directory without any policy file is refused.
            std::fs::write(policies.join("address.toml"), "# As shipped.\n").unwrap();
        }
        let store = match setup.store {
            Store::Memory => "memory:".to_owned(),
            Store::Embedded => format!("redb:{}", dir.path().join("store").display()),
            Store::Url(url) => url.to_owned(),
        };
        let mut arguments = vec!["serve".to_owned()];
        let configuration = dir.path().join("greylag.toml");
        std::fs::write(&configuration, setup.configuration).unwrap();
        let options = [
            ("--config", configuration.display().to_string()),
            ("--policies", policies.display().to_string()),
            ("--milter", process::loopback(milter).to_string()),
            ("--policy", process::loopback(policy).to_string()),
            ("--admin", process::loopback(admin).to_string()),
            ("--store", store),
        ];
        let dns = setup.dns.map(|address| ("--dns", address.to_string()));
        for (option, value) in options.into_iter().chain(dns) {
            arguments.extend([option.to_owned(), value]);
        }
        let environment = setup.environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let mut program = setup.program.unwrap_or(env!("CARGO_BIN_EXE_greylag")).to_owned();
        if !setup.redirection.is_empty() {
            let script = format!("exec \"$0\" \"$@\" {}", setup.redirection);
            arguments.splice(0..0, ["-c".to_owned(), script, program]);
            program = "sh".to_owned();
        }
        let launch = Launch {
            program,
            arguments,
            environment: environment.collect(),
            may_be_unready: setup.may_be_unready,
        };
        let process = spawn(&launch, &dir, admin);
        Self { process, launch, ports: Ports { milter, policy }, admin, dir }
    }

    /// The port of metrics and health.
    pub const fn admin_port(&self) -> u16 {
        self.admin
    }

    /// Where it listens.
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// Lines it has logged that contain every one of `parts`. The log has a decision a moment after the answer: those that are
    /// counted are waited for.
    pub fn log_lines(&self, parts: &[&str]) -> Vec<String> {
        let counted = process::http_get(self.admin, "/metrics").map_or(0.0, |(_, body)| {
            let metrics = Metrics::parse(&body);
            metrics.sum("greylag_decisions_total", &[]) + metrics.sum("greylag_would_total", &[])
        });
        let is_decision = |line: &&str| {
            line.contains(" INFO decision protocol=") || line.contains("\"target\":\"greylag::decision\"")
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        let is_behind = || (self.process.log().lines().filter(is_decision).count() as f64) < counted;
        while is_behind() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let log = self.process.log();
        let lines = log.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.map(str::to_owned).collect()
    }

    /// What `/metrics` says now.
    pub fn metrics(&self) -> Metrics {
        match process::http_get(self.admin, "/metrics") {
            Some((200, body)) => Metrics::parse(&body),
            other => panic!("/metrics answered {other:?}"),
        }
    }

    /// Status code and text of `/readyz` now.
    pub fn readyz(&self) -> (u16, String) {
        process::http_get(self.admin, "/readyz").expect("/readyz answers")
    }

    /// Its resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.process.resident_kib()
    }

    /// Ends it as an administrator does and starts it again on the same ports.
    pub fn restart(&mut self) {
        self.process.terminate();
        self.process = spawn(&self.launch, &self.dir, self.admin);
    }

    /// Where it reads its policies from.
    pub fn policies(&self) -> PathBuf {
        self.dir.path().join("policies")
    }

    /// Its control socket, where it is by default.
    pub fn control_socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// Has it reload its policies by the control socket, and returns when it has.
    pub fn reload(&self) {
        let mut stream = UnixStream::connect(self.control_socket()).unwrap();
        stream.write_all(b"{\"command\":\"reload\"}\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"outcome\":\"reloaded\""), "{answer}");
    }

    /// Sends it SIGHUP.
    pub fn hang_up(&self) {
        self.process.hang_up();
    }

    /// Where the embedded store is.
    pub fn store_directory(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Tells it to end; [`Self::wait`] waits until it has.
    pub fn begin_to_terminate(&self) {
        self.process.begin_to_terminate();
    }

    /// The exit code, once it has ended; `None` when a signal did it.
    pub fn wait(&mut self) -> Option<i32> {
        self.process.wait()
    }

    /// Ends it with SIGKILL; [`Self::start_again`] brings it back.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same ports after [`Self::kill`].
    pub fn start_again(&mut self) {
        self.process = spawn(&self.launch, &self.dir, self.admin);
    }
}

fn spawn(launch: &Launch, dir: &TempDir, admin: u16) -> Process {
    let mut command = Command::new(&launch.program);
    // The directories systemd would give it; without them it would use the machine's own.
    command
        .args(&launch.arguments)
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(dir.path())
        .env("STATE_DIRECTORY", dir.path())
        .env("RUNTIME_DIRECTORY", dir.path());
    let mut process = Process::spawn(&mut command, &dir.path().join("greylag.log"));
    process.wait_until("ready", || {
        process::http_get(admin, "/readyz").is_some_and(|(code, _)| code == 200 || launch.may_be_unready)
    });
    process
}
