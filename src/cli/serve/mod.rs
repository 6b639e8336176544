//! `greylag serve`: the daemon.

mod files;
mod runtime;
mod sockets;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::Exit;
use super::configuration::configuration_and_warnings;
use super::policies::report;
use crate::admin::control::Control;
use crate::admin::{Admin, Part, Readiness};
use crate::config::{
    Config, ControlSocket, DEFAULT_PATH, DnsServers, Environment, ListenAddress, ListenAddresses,
    PolicyDirectory, ScanThreads, dns_server, is_missing,
};
use crate::dns::{self, DnsFault};
use crate::driver::{Driver, Scanner};
use crate::policy::{Policy, log_lines};
use crate::reload::{Cause, Reload, Reloader};
use crate::store::{Store, StoreFault, StoreUrl};
use crate::telemetry::{Trace, log, metrics};
use sockets::Sockets;

/// How long connections may finish their work after SIGTERM.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Run the daemon: a milter, a policy service, and metrics over HTTP.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without any option Greylag listens on 127.0.0.1, ports 10033 (policy service), 10034 (milter)
and 10035 (metrics), decides by its built-in policies, and keeps the greylist in its state directory.

ADDR is HOST:PORT or unix:PATH. Policies are read anew when a file changes, on SIGHUP, and by
`greylag reload`; SIGTERM lets mails under way finish.

Examples:
  greylag serve
  greylag serve --policies /etc/greylag/policies --milter unix:/run/greylag/milter
  greylag serve --store memory: --dns 127.0.0.1:53")]
pub(super) struct Args {
    /// The configuration file [default: /etc/greylag/greylag.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the policy files.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Where mail servers ask by the milter protocol.
    #[arg(long, value_name = "ADDR")]
    milter: Vec<ListenAddress>,
    /// Where Postfix asks by the policy delegation protocol.
    #[arg(long, value_name = "ADDR")]
    policy: Vec<ListenAddress>,
    /// Where metrics and health are served over HTTP.
    #[arg(long, value_name = "ADDR")]
    admin: Vec<ListenAddress>,
    /// Where commands such as `greylag reload` reach the daemon: unix:PATH, or off.
    #[arg(long, value_name = "ADDR")]
    control: Option<ControlSocket>,
    /// Where the greylist is kept: memory:, redb:DIRECTORY, or Redis: redis://HOST, unix:///SOCKET,
    /// redis+sentinel://HOST,HOST/SERVICE, redis+cluster://HOST,HOST; rediss for TLS.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A DNS server to ask instead of the system's: an address, with a port where it is not 53.
    #[arg(long, value_name = "ADDR", value_parser = dns_server)]
    dns: Vec<SocketAddr>,
}

pub(super) fn run(args: &Args, errors: &mut dyn Write) -> Exit {
    match start(args, errors) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn start(args: &Args, errors: &mut dyn Write) -> Result<Exit, Exit> {
    let runtime = runtime::build().map_err(|error| failed(errors, &error))?;
    // Before anything is read, which may take its time: one that comes early is not lost, and ends nothing.
    let hang_up = runtime.block_on(async { signal(SignalKind::hangup()) });
    let hang_up = hang_up.map_err(|error| failed(errors, &error))?;
    let Configured { config, warnings, directory } = configuration(args, errors)?;
    let metrics = metrics::install().map_err(|error| failed(errors, &error))?;
    // After the metrics, which count what the log does not take.
    log::init(config.log_format.into(), config.log_level.into()).map_err(|error| failed(errors, &error))?;
    if !warnings.is_empty() {
        warn!(problems = %warnings.join("; "), "the configuration has warnings");
    }
    let url = args.store.clone().unwrap_or_else(|| config.store_url(&Environment::current()));
    let url: StoreUrl = url.parse().map_err(|error| wrong(errors, &error))?;
    let (policy, fingerprint) = policy(directory.as_deref(), errors)?;
    let signals =
        runtime.block_on(async { Signals::new(hang_up) }).map_err(|error| failed(errors, &error))?;
    runtime.block_on(async {
        let readiness = Arc::new(Readiness::default());
        let store =
            store(&url, &config, &readiness).await.map_err(|fault| match fault.is_configuration() {
                true => wrong(errors, &fault),
                false => failed(errors, &fault),
            })?;
        let driver = driver(&config, policy, Arc::clone(&store), &readiness)
            .map_err(|error| failed(errors, &error))?;
        let sockets = Sockets::bind(&config).await.map_err(|error| failed(errors, &error))?;
        files::allow(config.max_milter_connections.get(), config.max_policy_connections.get());
        let drain = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (reloader, reload) = Reloader::new(directory, fingerprint, Arc::clone(&driver));
        let reloading = tasks.spawn(reloader.run(drain.clone()));
        let control = Control {
            driver: Arc::clone(&driver),
            reload: reload.clone(),
            readiness: Arc::clone(&readiness),
            store: Arc::clone(&store),
            since: Instant::now(),
            message_memory: config.message_memory.0,
            trace_turn: Mutex::default(),
        };
        let admin = Admin { metrics, readiness: Arc::clone(&readiness) };
        sockets.serve(&config, &driver, admin, control, &drain, &tasks);
        readiness.set(Part::Policy, true);
        info!(version = env!("CARGO_PKG_VERSION"), store = %url, "serving");
        let exit = tokio::select! {
            () = wait(signals, reload) => Exit::Success,
            // Only when it fails: the policies on disk would never be in force again.
            ended = reloading => {
                error!(error = ended.err().map(tracing::field::display), "policies can no longer be reloaded");
                Exit::Failure
            }
        };
        shut_down(&drain, &tasks, &*store).await;
        Ok(exit)
    })
}

fn wrong(errors: &mut dyn Write, error: &dyn std::fmt::Display) -> Exit {
    // What was logged before may tell why.
    log::flush();
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(errors, "greylag: {error}");
    Exit::Config
}

fn failed(errors: &mut dyn Write, error: &dyn std::fmt::Display) -> Exit {
    wrong(errors, error);
    Exit::Failure
}

/// What the daemon is started with.
struct Configured {
    /// The configuration, with what the command line says over it.
    config: Config,
    /// Its warnings, as lines for the log.
    warnings: Vec<String>,
    /// The directory of the policies.
    directory: Option<PathBuf>,
}

fn configuration(args: &Args, errors: &mut dyn Write) -> Result<Configured, Exit> {
    let path = args.config.as_deref().unwrap_or_else(|| Path::new(DEFAULT_PATH));
    let missing_is_fine = args.config.is_none() && is_missing(path);
    let (mut config, warnings) =
        if missing_is_fine { Default::default() } else { configuration_and_warnings(path, errors)? };
    let replace = |setting: &mut ListenAddresses, given: &[ListenAddress]| {
        if !given.is_empty() {
            *setting = given.iter().cloned().collect();
        }
    };
    replace(&mut config.milter, &args.milter);
    replace(&mut config.policy, &args.policy);
    replace(&mut config.admin, &args.admin);
    if let Some(control) = &args.control {
        config.control = control.clone();
    }
    if !args.dns.is_empty() {
        config.dns = DnsServers::Servers(args.dns.clone());
    }
    let directory = args.policies.clone().or_else(|| config.policies.directory(path));
    Ok(Configured { config, warnings, directory })
}

/// The policy in `directory`, or the built-in one, and the fingerprint of what was read. Its warnings are logged, as after a reload.
fn policy(directory: Option<&Path>, errors: &mut dyn Write) -> Result<(Policy, u64), Exit> {
    let read = directory.map(PolicyDirectory::read).unwrap_or_default();
    let (policy, warnings) = read.load().map_err(|problems| {
        // Nobody is left to tell when standard error is closed.
        let _ = report(&problems, &read, directory, errors);
        log::flush();
        Exit::Config
    })?;
    if !warnings.is_empty() {
        let root = directory.map(|path| path.display().to_string()).unwrap_or_default();
        let problems = log_lines(&warnings, &read.files, &root).join("; ");
        warn!(%problems, "the policy has warnings");
    }
    Ok((policy, read.fingerprint()))
}

async fn store(
    url: &StoreUrl,
    config: &Config,
    readiness: &Arc<Readiness>,
) -> Result<Arc<dyn Store>, StoreFault> {
    let readiness = Arc::clone(readiness);
    let on_change = move |up| readiness.set(Part::Store, up);
    url.open(config.store_max_entries.get(), SystemTime::now().into(), on_change).await
}

fn driver(
    config: &Config,
    policy: Policy,
    store: Arc<dyn Store>,
    readiness: &Arc<Readiness>,
) -> Result<Arc<Driver>, DnsFault> {
    let servers = match &config.dns {
        DnsServers::System => Vec::new(),
        DnsServers::Servers(servers) => servers.clone(),
    };
    let readiness = Arc::clone(readiness);
    let resolver = Arc::new(dns::live(&servers, move |up| readiness.set(Part::Dns, up))?);
    let threads = match config.scan_threads {
        ScanThreads::Auto => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        ScanThreads::Number(number) => number.get() as usize,
    };
    let scanner = Scanner::new(threads);
    let trace = Trace::with_capacity(usize::try_from(config.trace_memory.0).unwrap_or(usize::MAX));
    Ok(Arc::new(Driver::new(policy, resolver, store, scanner).with_trace(trace)))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new(hang_up: Signal) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up,
        })
    }
}

/// Returns when the daemon shall end; meanwhile a SIGHUP puts the policies in force as they are on disk then.
async fn wait(mut signals: Signals, reload: Reload) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hang_up.recv() => {
                // Aside, so that SIGTERM does not wait for lists to be read.
                let reload = reload.clone();
                tokio::spawn(async move { reload.ask(Cause::Signal).await });
            }
        }
    }
}

async fn shut_down(drain: &CancellationToken, tasks: &TaskTracker, store: &dyn Store) {
    info!("shutting down: connections finish their work");
    drain.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, tasks.wait()).await.is_err() {
        warn!("some connections did not finish within {} s", DRAIN_TIMEOUT.as_secs());
    }
    if let Err(error) = store.close().await {
        error!(%error, "the store was not closed cleanly");
    }
    log::flush();
}
