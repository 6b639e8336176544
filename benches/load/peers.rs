//! The same load against other servers, as Debian packages them, on loopback ports and in directories of their own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::ports;
use crate::support::process::free_port;

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Policy,
    Milter,
}

/// A server that can be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    program: &'static str,
    start: fn(home: &Path, port: u16, dns: SocketAddr) -> Vec<Command>,
}

/// Every peer that Debian has.
pub(crate) const ALL: [Peer; 4] = [
    Peer { name: "postgrey", protocol: Protocol::Policy, program: "postgrey", start: postgrey },
    Peer {
        name: "postfwd, one trivial rule",
        protocol: Protocol::Policy,
        program: "postfwd2",
        start: postfwd,
    },
    Peer {
        name: "rspamd, only greylisting",
        protocol: Protocol::Milter,
        program: "rspamd",
        start: greylisting,
    },
    Peer { name: "rspamd, Debian's modules", protocol: Protocol::Milter, program: "rspamd", start: rspamd },
];

/// A running peer; ends when this value does.
pub(crate) struct Running {
    children: Vec<Child>,
    pub(crate) port: u16,
    home: TempDir,
}

impl Peer {
    /// Starts it with an empty state.
    ///
    /// # Errors
    /// It is not installed.
    pub(crate) fn start(&self, dns: SocketAddr) -> io::Result<Running> {
        let home = tempfile::Builder::new().prefix("greylag-peer-").tempdir()?;
        let port = free_port();
        let mut children = Vec::new();
        for mut command in (self.start)(home.path(), port, dns) {
            let log = std::fs::File::create(home.path().join("output.log"))?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            children.push(command.spawn().map_err(|error| {
                io::Error::other(format!(
                    "{}: {error}; benches/peers.sh installs it: apt-get install postgrey postfwd rspamd redis-server",
                    self.program
                ))
            })?);
        }
        ports::wait(port);
        Ok(Running { children, port, home })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let daemon = std::fs::read_to_string(self.home.path().join("pid")).ok();
        let daemon = daemon.and_then(|text| text.trim().parse().ok());
        let children = self.children.iter().filter_map(|child| i32::try_from(child.id()).ok());
        for id in children.chain(daemon).filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

fn postgrey(home: &Path, port: u16, _: SocketAddr) -> Vec<Command> {
    let mut command = Command::new("postgrey");
    command.arg(format!("--inet=127.0.0.1:{port}")).arg(format!("--dbdir={}", home.display())).args([
        "--delay=1",
        "--auto-whitelist-clients=0",
        "--user=root",
        "--group=root",
    ]);
    vec![command]
}

/// It goes into the background by itself, and leaves its process id.
fn postfwd(home: &Path, port: u16, _: SocketAddr) -> Vec<Command> {
    let mut command = Command::new("postfwd2");
    command
        .args(["--rule", "id=TRIVIAL; client_address=192.0.2.1; action=REJECT"])
        .args(["--interface", "127.0.0.1", "--port", &port.to_string(), "--user", "root", "--group", "root"])
        .args(["--cache_proto", "unix", "--cache_port"])
        .arg(home.join("cache"))
        .arg("--pidfile")
        .arg(home.join("pid"))
        .args(["--nodns", "--norulelog"]);
    vec![command]
}

fn rspamd(home: &Path, port: u16, dns: SocketAddr) -> Vec<Command> {
    let redis = redis(home);
    let local = home.join("local.d");
    let write = |name: &str, text: String| std::fs::write(local.join(name), text).expect("a file of rspamd");
    std::fs::create_dir(&local).expect("a directory of rspamd");
    write("worker-proxy.inc", proxy(port) + "count = 2;\n");
    write("worker-normal.inc", "enabled = false;\n".to_owned());
    write("worker-controller.inc", format!("bind_socket = \"127.0.0.1:{}\";\n", free_port()));
    write("options.inc", resolver(dns));
    write("redis.conf", format!("servers = \"127.0.0.1:{}\";\n", redis.port));
    write("greylist.conf", "timeout = 1s;\n".to_owned());
    let command = started(home, Path::new("/etc/rspamd/rspamd.conf"));
    vec![redis.command, command]
}

/// The same program with one module.
fn greylisting(home: &Path, port: u16, dns: SocketAddr) -> Vec<Command> {
    let redis = redis(home);
    let config = home.join("rspamd.conf");
    let text = format!(
        "lua = \"$RULESDIR/rspamd.lua\"\n\
         modules {{ path = \"$PLUGINSDIR/greylist.lua\"; }}\n\
         options {{ pidfile = \"$RUNDIR/rspamd.pid\"; filters = \"\"; {} }}\n\
         logging {{ type = \"file\"; filename = \"$LOGDIR/rspamd.log\"; level = \"info\"; }}\n\
         actions {{ reject = 15; add_header = 6; greylist = 4; }}\n\
         worker \"rspamd_proxy\" {{ {} count = 2; }}\n\
         greylist {{ servers = \"127.0.0.1:{}\"; timeout = 1s; greylist_min_score = -10; }}\n",
        resolver(dns),
        proxy(port),
        redis.port
    );
    std::fs::write(&config, text).expect("a file of rspamd");
    let command = started(home, &config);
    vec![redis.command, command]
}

fn started(home: &Path, config: &Path) -> Command {
    let mut command = Command::new("rspamd");
    command.args(["--no-fork", "--insecure", "--user", "root", "--group", "root", "--config"]).arg(config);
    for name in ["LOCAL_CONFDIR", "DBDIR", "RUNDIR", "LOGDIR"] {
        command.arg(format!("--var={name}={}", home.display()));
    }
    command
}

fn proxy(port: u16) -> String {
    format!(
        "bind_socket = \"127.0.0.1:{port}\"; milter = yes; timeout = 120s;\n\
         upstream \"local\" {{ default = yes; self_scan = yes; }}\n"
    )
}

fn resolver(dns: SocketAddr) -> String {
    format!("dns {{ nameserver = \"{}:{}\"; }}\n", dns.ip(), dns.port())
}

struct Redis {
    command: Command,
    port: u16,
}

fn redis(home: &Path) -> Redis {
    let (mut command, port) = (Command::new("redis-server"), free_port());
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(home)
        .args(["--logfile", "redis.log"]);
    Redis { command, port }
}
