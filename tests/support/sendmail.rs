//! A private Sendmail, hooked up with the lines of `deploy/sendmail/` as they are shipped.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::process::{self, Process};
use super::sink::Sink;

/// Where `.ci/setup` unpacks Sendmail, as a root directory of its own: the package conflicts with Postfix's. In there no name but
/// `localhost` resolves, so that Sendmail neither asks the machine's DNS about clients nor waits a minute for its own name to appear.
const ROOT: &str = "/opt/greylag-test-sendmail";
/// In [`ROOT`].
const PROGRAM: &str = "/usr/libexec/sendmail/sendmail";

const MILTER_LINES: &str = include_str!("../../deploy/sendmail/greylag.mc");

/// The running Sendmail: takes mail for everybody and hands it to a sink.
#[derive(Debug)]
pub struct Sendmail {
    port: u16,
    _process: Process,
    _dir: TempDir,
}

impl Sendmail {
    /// Starts one that asks the milter at this port and delivers to `sink`. Its virtual users are those of a `virtusertable`, whose
    /// domains are its own.
    pub fn start(milter: u16, sink: &Sink, virtual_users: &[(&str, &str)]) -> Self {
        let installed = Path::new(ROOT).join(&PROGRAM[1..]).is_file();
        assert!(installed, "Sendmail is not there: run .ci/setup as root, which unpacks it to {ROOT}");
        let dir = tempfile::Builder::new()
            .prefix("greylag-test-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in(Path::new(ROOT).join("tmp"))
            .unwrap();
        let port = process::free_port();
        std::fs::DirBuilder::new().mode(0o700).create(dir.path().join("queue")).unwrap();
        // What Sendmail, in its root, calls `dir`.
        let inside = Path::new("/tmp").join(dir.path().file_name().unwrap());
        let table: String =
            virtual_users.iter().map(|(user, account)| format!("{user} {account}\n")).collect();
        std::fs::write(dir.path().join("virtual-users"), table).unwrap();
        let domains = virtual_users.iter().filter_map(|(user, _)| user.split_once('@'));
        let domains: Vec<&str> = domains.map(|(_, domain)| domain).collect();
        let mc = sendmail_mc(&inside, port, milter, sink.port(), &domains.join(" "));
        std::fs::write(dir.path().join("sendmail.mc"), mc).unwrap();
        std::fs::write(dir.path().join("sendmail.cf"), compile(&dir.path().join("sendmail.mc"))).unwrap();
        let mut command = Command::new(process::program("chroot"));
        command.args([ROOT, PROGRAM, "-bD", "-C"]).arg(inside.join("sendmail.cf"));
        // What is said, to be shown when a test fails.
        command.arg("-X").arg(inside.join("log"));
        let mut process = Process::spawn(&mut command, &dir.path().join("log"));
        process.wait_until("accepting connections", || process::accepts(port));
        Self { port, _process: process, _dir: dir }
    }

    /// The port it takes mail on.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

fn sendmail_mc(dir: &Path, port: u16, milter: u16, sink: u16, domains: &str) -> String {
    let shipped = "S=inet:10034@127.0.0.1";
    assert!(MILTER_LINES.contains(shipped), "deploy/sendmail no longer says {shipped}");
    let milter_lines = MILTER_LINES.replace(shipped, &format!("S=inet:{milter}@127.0.0.1"));
    let dir = dir.display();
    format!(
        "divert(0)dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mx.example.test')dnl
define(`QUEUE_DIR', `{dir}/queue')dnl
define(`confPID_FILE', `{dir}/pid')dnl
define(`STATUS_FILE', `')dnl
define(`HELP_FILE', `')dnl
define(`ALIAS_FILE', `')dnl
define(`confTO_IDENT', `0')dnl
dnl Delivered by the process that took it: a background one needs a /dev/null, and there is no /dev.
define(`confDELIVERY_MODE', `interactive')dnl
dnl A busy machine is no reason to queue or to refuse.
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`promiscuous_relay')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={port}')dnl
define(`SMART_HOST', `esmtp:[127.0.0.1]')dnl
define(`ESMTP_MAILER_ARGS', `TCP $h {sink}')dnl
LOCAL_DOMAIN(`{domains}')dnl
FEATURE(`virtusertable', `text -k0 -v1 {dir}/virtual-users')dnl
{milter_lines}MAILER(`local')dnl
MAILER(`smtp')dnl
"
    )
}

/// Makes the sendmail.cf of a sendmail.mc.
fn compile(mc: &Path) -> Vec<u8> {
    let macros = format!("{ROOT}/usr/share/sendmail/cf/");
    let mut m4 = Command::new(process::program("m4"));
    m4.arg(format!("-D_CF_DIR_={macros}")).arg(format!("{macros}m4/cf.m4")).arg(mc);
    let made = m4.output().unwrap();
    assert!(made.status.success(), "m4: {}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}
