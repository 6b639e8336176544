//! Private Redis servers: one alone, under Sentinels, and Clusters. Each has a directory and ports of its own.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::{self, Process, eventually};

/// Every slot of a Cluster.
const SLOTS: u16 = 16_384;

/// One server; it ends with this value.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    program: &'static str,
    port: u16,
    dir: TempDir,
}

impl Redis {
    /// Starts a server that keeps nothing on disk, with further lines of configuration.
    pub fn start(lines: &str) -> Self {
        let port = process::free_port();
        Self::start_at(port, "redis-server", &format!("port {port}\n{lines}\n"))
    }

    /// One that speaks TLS only, by the certificate and key in these PEM files.
    pub fn start_tls(certificate: &Path, key: &Path) -> Self {
        let port = process::free_port();
        let lines = format!(
            "port 0\ntls-port {port}\ntls-auth-clients no\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {0}\n",
            certificate.display(),
            key.display(),
        );
        Self::start_at(port, "redis-server", &lines)
    }

    fn start_at(port: u16, program: &'static str, lines: &str) -> Self {
        let dir = process::temp_dir();
        let root = dir.path().display();
        let mut config = format!(
            "bind 127.0.0.1\ndir {root}\npidfile {root}/redis.pid\nunixsocket {root}/redis.sock\nunixsocketperm 700\n"
        );
        if program == "redis-server" {
            config.push_str("save \"\"\nappendonly no\n");
        }
        config.push_str(lines);
        std::fs::write(dir.path().join("redis.conf"), config).unwrap();
        Self { process: spawn(program, &dir), program, port, dir }
    }

    /// The port it listens on.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        process::loopback(self.port).to_string()
    }

    /// The URL of a store on it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The path of its UNIX socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// The URL of a store on it, by its UNIX socket.
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// What it answers to a command, as redis-cli would show it; by its UNIX socket, as the default user.
    pub fn ask(&self, command: &[&str]) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write_command(&mut stream, command);
        read_answer(&mut stream)
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Self::kill`], empty.
    pub fn start_again(&mut self) {
        std::fs::remove_file(self.socket()).unwrap();
        self.process = spawn(self.program, &self.dir);
    }

    /// Stops it in its tracks: connections stay, and nobody answers.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn spawn(program: &str, dir: &TempDir) -> Process {
    let mut command = Command::new(process::program(program));
    command.arg(dir.path().join("redis.conf"));
    let mut process = Process::spawn(&mut command, &dir.path().join("redis.log"));
    let socket = dir.path().join("redis.sock");
    process.wait_until("serving", || UnixStream::connect(&socket).is_ok());
    process
}

/// A master, a replica and three Sentinels that watch them as `greylag`.
#[derive(Debug)]
pub struct Sentinels {
    /// The servers: the first one is the master at the beginning.
    pub servers: Vec<Redis>,
    /// The Sentinels.
    pub sentinels: Vec<Redis>,
}

impl Sentinels {
    /// The service they watch.
    pub const SERVICE: &str = "greylag";

    /// Starts them, with a master that counts as down after half a second.
    pub fn start() -> Self {
        let master = Redis::start("repl-diskless-sync-delay 0");
        let replica =
            Redis::start(&format!("repl-diskless-sync-delay 0\nreplicaof 127.0.0.1 {}", master.port()));
        eventually("the replica is in step", || {
            replica.ask(&["INFO", "replication"]).contains("master_link_status:up")
        });
        let sentinels = (0..3).map(|_| sentinel(master.port())).collect();
        let all = Self { servers: vec![master, replica], sentinels };
        for sentinel in &all.sentinels {
            eventually("the Sentinels know each other and the replica", || {
                let known = sentinel.ask(&["INFO", "sentinel"]);
                known.contains("slaves=1,sentinels=3")
            });
        }
        all
    }

    /// The URL of a store under them.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.sentinels.iter().map(Redis::address).collect();
        format!("redis+sentinel://{}/{}", addresses.join(","), Self::SERVICE)
    }

    /// The port of the master, by the last Sentinel.
    pub fn master_port(&self) -> u16 {
        let answer = self.sentinels[2].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::SERVICE]);
        answer.lines().last().unwrap().parse().unwrap()
    }
}

fn sentinel(master: u16) -> Redis {
    let port = process::free_port();
    let service = Sentinels::SERVICE;
    let lines = format!(
        "port {port}\nsentinel monitor {service} 127.0.0.1 {master} 2\nsentinel down-after-milliseconds {service} 500\n\
         sentinel failover-timeout {service} 2000\n"
    );
    Redis::start_at(port, "redis-sentinel", &lines)
}

/// A Cluster of masters without replicas.
#[derive(Debug)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts one of three nodes, which count as failed after a second.
    pub fn start() -> Self {
        Self::of(3)
    }

    /// Starts one of so many nodes.
    pub fn of(shards: usize) -> Self {
        Self::announcing(shards, |port| port)
    }

    /// Starts one of three nodes that tell clients to come to other ports: those `announce` has for their own.
    pub fn start_announcing(announce: impl Fn(u16) -> u16) -> Self {
        Self::announcing(3, announce)
    }

    fn announcing(shards: usize, announce: impl Fn(u16) -> u16) -> Self {
        let node = |_| {
            let (port, bus) = (process::free_port(), process::free_port());
            let announced = announce(port);
            let lines = format!(
                "port {port}\ncluster-port {bus}\ncluster-enabled yes\ncluster-node-timeout 1000\n\
                 cluster-config-file nodes.conf\ncluster-announce-ip 127.0.0.1\ncluster-announce-port {announced}\n\
                 cluster-announce-bus-port {bus}\n"
            );
            Redis::start_at(port, "redis-server", &lines)
        };
        let cluster = Self { nodes: (0..shards).map(node).collect() };
        cluster.join();
        cluster
    }

    fn join(&self) {
        let shards = u16::try_from(self.nodes.len()).unwrap();
        let share = SLOTS.div_ceil(shards);
        for (index, node) in (0_u16..).zip(&self.nodes) {
            let (first, last) = (index * share, ((index + 1) * share).min(SLOTS) - 1);
            let answer = node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            assert_eq!(answer.trim(), "OK");
            for other in &self.nodes {
                let bus = other.ask(&["CONFIG", "GET", "cluster-port"]);
                let bus = bus.lines().last().unwrap();
                let answer = node.ask(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), bus]);
                assert_eq!(answer.trim(), "OK");
            }
        }
        self.wait_until_it_agrees();
    }

    /// Waits until every node says that all is well.
    pub fn wait_until_it_agrees(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            eventually("the nodes of the Cluster agree", || {
                let state = node.ask(&["CLUSTER", "INFO"]);
                state.contains("cluster_state:ok") && state.contains(&known)
            });
        }
    }

    /// The URL of a store on it.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(Redis::address).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }
}

fn write_command(stream: &mut UnixStream, command: &[&str]) {
    let mut text = format!("*{}\r\n", command.len());
    for word in command {
        write!(text, "${}\r\n{word}\r\n", word.len()).unwrap();
    }
    stream.write_all(text.as_bytes()).unwrap();
}

/// An answer as text: one line for each value of an array.
fn read_answer(stream: &mut impl Read) -> String {
    let line = read_line(stream);
    let (kind, rest) = line.split_at(1);
    match kind {
        "$" | "*" if rest == "-1" => String::new(),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
            stream.read_exact(&mut bytes).unwrap();
            bytes.truncate(bytes.len() - 2);
            String::from_utf8_lossy(&bytes).into_owned()
        }
        "*" => {
            let values: Vec<String> =
                (0..rest.parse::<usize>().unwrap()).map(|_| read_answer(stream)).collect();
            values.join("\n")
        }
        _ => rest.to_owned(),
    }
}

fn read_line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).unwrap()
}
