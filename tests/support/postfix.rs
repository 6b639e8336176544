//! A private Postfix, hooked up with the lines of `deploy/postfix/` as they are shipped.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::process;
use super::sink::Sink;

const MILTER_LINES: &str = include_str!("../../deploy/postfix/main.cf");
const POLICY_LINES: &str = include_str!("../../deploy/postfix/main-policy.cf");
const SMTPD_LINES: &str = include_str!("../../deploy/postfix/master.cf");

/// Which of the shipped hook-ups are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookUp {
    /// `deploy/postfix/main.cf`.
    Milter,
    /// `deploy/postfix/main-policy.cf`.
    Policy,
    /// Both at once.
    Both,
}

/// Where Greylag listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The milter port.
    pub milter: u16,
    /// The port of the policy service.
    pub policy: u16,
}

/// The running Postfix: a mail exchanger for `example.test`, `example.net` and `example.org` that hands everything to a sink.
#[derive(Debug)]
pub struct Postfix {
    port: u16,
    master: u32,
    dir: TempDir,
}

impl Postfix {
    /// Starts one that asks Greylag at `ports` and delivers to `sink`.
    pub fn start(hook_up: HookUp, ports: Ports, sink: &Sink) -> Self {
        Self::start_with(&Self::lines(hook_up, ports), sink)
    }

    /// The shipped lines of `main.cf` for a Greylag at `ports`.
    pub fn lines(hook_up: HookUp, ports: Ports) -> String {
        let milter = substitute(MILTER_LINES, "127.0.0.1:10034", &format!("127.0.0.1:{}", ports.milter));
        let policy = substitute(POLICY_LINES, "127.0.0.1:10033", &format!("127.0.0.1:{}", ports.policy));
        match hook_up {
            HookUp::Milter => milter,
            HookUp::Policy => policy,
            HookUp::Both => milter + &policy,
        }
    }

    /// Starts one with these lines in `main.cf` beside its own.
    pub fn start_with(lines: &str, sink: &Sink) -> Self {
        let dir = process::temp_dir();
        let port = process::free_port();
        for name in ["conf", "queue", "data"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        chown_to_postfix(&dir.path().join("data"));
        let conf = dir.path().join("conf");
        write_old(&conf.join("main.cf"), &(main_cf(dir.path(), sink.port()) + lines));
        write_old(&conf.join("master.cf"), &master_cf(port));
        let started =
            Command::new(process::program("postfix")).arg("-c").arg(&conf).arg("start").output().unwrap();
        let log = || std::fs::read_to_string(dir.path().join("maillog")).unwrap_or_default();
        assert!(
            started.status.success(),
            "postfix start: {}\n{}",
            String::from_utf8_lossy(&started.stderr),
            log()
        );
        let pid_file = dir.path().join("queue/pid/master.pid");
        let pid = std::fs::read_to_string(&pid_file).unwrap_or_else(|error| panic!("{pid_file:?}: {error}"));
        let postfix = Self { port, master: pid.trim().parse().unwrap(), dir };
        process::eventually("Postfix accepts connections", || process::accepts(port));
        postfix
    }

    /// The port it takes mail on.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("maillog")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // The master ends its children. `postfix stop` does the same and sleeps a second in between.
        process::end(self.master, Duration::from_secs(5));
        if std::thread::panicking() {
            eprintln!("--- Postfix logged:\n{}", process::tail(&self.log()));
        }
    }
}

/// `text` with every `from` replaced, which must be there: the shipped lines are what is tested.
fn substitute(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "deploy/postfix no longer says {from}");
    text.replace(from, to)
}

fn main_cf(dir: &Path, sink: u16) -> String {
    let dir = dir.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
# Without a syslog daemon: postlogd writes the file itself, where it is allowed to.
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.test
mydestination =
mynetworks = 127.0.0.0/8
relay_domains = example.test example.net example.org
relay_recipient_maps =
local_recipient_maps =
alias_maps =
alias_database =
local_transport = error:no local delivery
default_transport = smtp:[127.0.0.1]:{sink}
relay_transport = smtp:[127.0.0.1]:{sink}
# All recipients of a message in one delivery, so that the sink can count them.
default_destination_recipient_limit = 1000
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
# The tests appear as clients of other networks.
smtpd_authorized_xclient_hosts = 127.0.0.1
"
    )
}

/// The shipped line of the port-25 service on `port`, and the services it needs; nothing runs in a chroot.
fn master_cf(port: u16) -> String {
    let service = "smtp      inet  n       -       y       -       -       smtpd";
    substitute(SMTPD_LINES, service, &format!("127.0.0.1:{port} inet n - n - - smtpd"))
        + "pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
smtp      unix  -       -       n       -       -       smtp
proxymap  unix  -       -       n       -       -       proxymap
anvil     unix  -       -       n       -       1       anvil
postlog   unix-dgram n  -       n       -       1       postlogd
"
}

/// Writes a file that seems to be a minute old. Postfix waits two seconds before it reads a main.cf that was just written, as it may
/// still be edited.
fn write_old(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let a_minute_ago = SystemTime::now() - Duration::from_secs(60);
    File::options().write(true).open(path).unwrap().set_modified(a_minute_ago).unwrap();
}

fn chown_to_postfix(path: &Path) {
    let done = Command::new("chown").arg("postfix").arg(path).status().unwrap();
    assert!(done.success(), "chown postfix {path:?}: {done}; the tests run Postfix, so they run as root");
}
