//! The sockets of every service.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::admin::control::{self, Control};
use crate::admin::{self, Admin};
use crate::config::{Config, Environment, ListenAddresses};
use crate::delegation;
use crate::driver::Driver;
use crate::listener::Listener;
use crate::milter::{self, MessageMemory};
use crate::policy::ByteSize;

/// A policy connection without a request is closed after this time; Postfix itself closes after 300 s.
const POLICY_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Every socket, bound: what cannot be bound is told before anything is served.
pub(super) struct Sockets {
    milter: Vec<(Arc<str>, Listener)>,
    policy: Vec<(Arc<str>, Listener)>,
    admin: Vec<(Arc<str>, Listener)>,
    control: Option<Listener>,
}

impl Sockets {
    pub(super) async fn bind(config: &Config) -> Result<Self, String> {
        Ok(Self {
            milter: bind_all(&config.milter, "milter").await?,
            policy: bind_all(&config.policy, "policy").await?,
            admin: bind_all(&config.admin, "admin").await?,
            control: bind_control(config)?,
        })
    }

    pub(super) fn serve(
        self,
        config: &Config,
        driver: &Arc<Driver>,
        admin: Admin,
        control: Control,
        drain: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        let [milters, policies] = [config.max_milter_connections, config.max_policy_connections]
            .map(|most| Arc::new(Semaphore::new(most.get() as usize)));
        let limits = milter::Limits {
            message_bytes: bytes(config.message_memory),
            memory: MessageMemory::new(bytes(config.total_message_memory)),
        };
        for (name, listener) in self.milter {
            let options = milter::server::ListenerOptions {
                name,
                limits: limits.clone(),
                connections: Arc::clone(&milters),
            };
            tasks.spawn(milter::server::serve(listener, Arc::clone(driver), options, drain.clone()));
        }
        for (name, listener) in self.policy {
            let limits =
                delegation::Limits { idle_timeout: POLICY_IDLE_TIMEOUT, connections: Arc::clone(&policies) };
            tasks.spawn(delegation::serve(listener, name, Arc::clone(driver), limits, drain.clone()));
        }
        for (_, listener) in self.admin {
            tasks.spawn(admin::serve(listener, admin.clone(), drain.clone()));
        }
        if let Some(listener) = self.control {
            tasks.spawn(control::serve(listener, Arc::new(control), drain.clone()));
        }
    }
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

async fn bind_all(addresses: &ListenAddresses, service: &str) -> Result<Vec<(Arc<str>, Listener)>, String> {
    let mut bound = Vec::new();
    for address in addresses.iter() {
        let listener = Listener::bind(address).await;
        let listener = listener.map_err(|error| cannot_listen(&address.to_string(), service, &error))?;
        info!(%service, address = %listener.name(), "listening");
        bound.push((address.to_string().into(), listener));
    }
    Ok(bound)
}

fn bind_control(config: &Config) -> Result<Option<Listener>, String> {
    let Some(path) = config.control.path(|| config.state_directory(&Environment::current())) else {
        return Ok(None);
    };
    if let Some(directory) = path.parent() {
        // Where that fails, so does binding, which says why.
        let _ = DirBuilder::new().recursive(true).mode(0o750).create(directory);
    }
    let address = format!("unix:{}", path.display());
    let listener = Listener::bind_unix(&path, control::MODE).map_err(|error| {
        let remedy = "; choose another place with `control` in greylag.toml or with --control";
        cannot_listen(&address, "control", &error) + remedy
    })?;
    info!(service = "control", %address, "listening");
    Ok(Some(listener))
}

fn cannot_listen(address: &str, service: &str, error: &io::Error) -> String {
    let hint = if error.kind() == io::ErrorKind::AddrInUse { ": is another Greylag running?" } else { "" };
    format!("cannot listen at {address} ({service}): {error}{hint}")
}
