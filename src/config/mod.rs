//! `greylag.toml`: where Greylag listens, keeps its state, and what it may use. What it decides stands in the policy directory.

mod address;
mod choices;
mod control;
mod read;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::path::PathBuf;

pub use address::{AddressError, DnsServers, Host, ListenAddress, ListenAddresses, dns_server};
pub use choices::{LogFormat, LogLevel, PolicySource, ScanThreads, StateDirectory, StoreText};
pub use control::ControlSocket;
pub use read::{ConfigFile, DEFAULT_PATH, PolicyDirectory, is_missing};
pub use state::Environment;

use crate::policy::{ByteSize, CheckSettings, Conflict, Problem, Reading, Severity, sort_problems};

crate::settings! {
    /// Greylag's own configuration: where it listens, keeps its state, and what it may use. What it decides stands in the
    /// policy directory.
    pub struct Config {
        /// Where mail servers ask by the milter protocol; the address is the listener's name in scopes.
        milter: ListenAddresses = ListenAddresses::localhost(10034),
        /// Where Postfix asks by the policy delegation protocol.
        policy: ListenAddresses = ListenAddresses::localhost(10033),
        /// Where metrics and health are served over HTTP.
        admin: ListenAddresses = ListenAddresses::localhost(10035),
        /// Where commands such as `greylag reload` reach the daemon: a UNIX socket for its user and group; "auto" is control.sock in
        /// the state directory.
        control: ControlSocket = ControlSocket::Auto,
        /// The directory of the policy files, relative to this file; "built-in" for those that Greylag brings along.
        policies: PolicySource = PolicySource::BuiltIn,
        /// Where the greylist is kept; "redb:" alone means the state directory.
        store: StoreText = StoreText::default(),
        /// First attempts that a greylist in this process holds, each under every identity of its client: some 60 bytes each in memory.
        /// When full, the oldest go. A Redis store has limits of its own.
        store_max_entries: NonZeroU32 = NonZeroU32::MIN.saturating_add(999_999),
        /// Where Greylag keeps files of its own; "auto" takes $STATE_DIRECTORY, else /var/lib/greylag where we may write there,
        /// else greylag in $XDG_STATE_HOME or ~/.local/state.
        state_directory: StateDirectory = StateDirectory::Auto,
        /// The DNS servers to ask, "system" for those of /etc/resolv.conf.
        dns: DnsServers = DnsServers::System,
        /// Connections by the milter protocol at one time, over all its listeners: one for each SMTP session. Further ones wait.
        max_milter_connections: NonZeroU32 = NonZeroU32::MIN.saturating_add(9_999),
        /// Connections by the policy delegation protocol at one time, over all its listeners; further ones wait. Counted apart, so
        /// that a mail server that asks by both protocols never waits for itself.
        max_policy_connections: NonZeroU32 = NonZeroU32::MIN.saturating_add(9_999),
        /// What one message may take in memory. A larger one is deferred where a check that reads the rest is enforced, and else judged
        /// without it.
        message_memory: ByteSize = ByteSize::mib(64),
        /// What all messages together may take in memory; one that there is no room for is treated as one too large.
        total_message_memory: ByteSize = ByteSize::mib(512),
        /// What the last decisions may take in memory, for `greylag explain --recent`; 4 MiB are some 10,000 of them, "0B" keeps none.
        trace_memory: ByteSize = ByteSize::mib(4),
        /// Threads that look into attachments; "auto" for one a processor.
        scan_threads: ScanThreads = ScanThreads::Auto,
        /// How log lines are written.
        log_format: LogFormat = LogFormat::Logfmt,
        /// The least severe lines that are written.
        log_level: LogLevel = LogLevel::Info,
    }
    conflicts = conflicts;
}

impl Config {
    /// Reads the text of the configuration file named `file`. Returned beside it are warnings.
    ///
    /// # Errors
    /// Everything wrong in it.
    pub fn load(file: &str, text: &str) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let files = BTreeMap::new();
        let mut problems = Vec::new();
        let mut config = Self::default();
        let mut reading = Reading { file, files: &files, problems: &mut problems };
        reading.document(text, |table, reading| {
            let mut places = HashMap::new();
            for (key, value) in table.iter() {
                if !config.set(key.get_ref(), value, reading) {
                    let problem = reading.unknown_setting(key, "the configuration", Self::KEYS);
                    if value.get_ref().is_table() {
                        problem.help("settings stand at the top of the file, in no table");
                    }
                }
                places.insert(key.get_ref().as_ref(), key.span());
            }
            for conflict in config.conflicts() {
                reading.conflict(conflict, &places);
            }
        });
        sort_problems(&mut problems);
        if problems.iter().any(Problem::is_error) { Err(problems) } else { Ok((config, problems)) }
    }

    /// The names scopes know the listeners by: the addresses at which mail servers ask.
    pub fn listeners(&self) -> Vec<String> {
        self.milter.iter().chain(self.policy.iter()).map(ToString::to_string).collect()
    }

    /// The URL of the store, with the state directory filled in where none is named.
    pub fn store_url(&self, environment: &Environment) -> String {
        match self.store.as_str() {
            "redb:" => format!("redb:{}", self.state_directory(environment).display()),
            url => url.to_owned(),
        }
    }

    /// The state directory.
    pub fn state_directory(&self, environment: &Environment) -> PathBuf {
        match &self.state_directory {
            StateDirectory::Auto => environment.state_directory(),
            StateDirectory::Path(path) => path.clone(),
        }
    }
}

fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let listeners: [(&'static [&'static str], _, _); 3] = [
        (&["policy", "milter"], &config.milter, &config.policy),
        (&["admin", "milter"], &config.milter, &config.admin),
        (&["admin", "policy"], &config.policy, &config.admin),
    ];
    for (keys, one, other) in listeners {
        conflicts.extend(one.common(other).map(|address| Conflict {
            severity: Severity::Error,
            keys,
            title: format!("`{}` and `{}` listen at the same address", keys[1], keys[0]),
            label: format!("{address} serves one of them only"),
        }));
    }
    if config.message_memory > config.total_message_memory {
        conflicts.push(Conflict {
            severity: Severity::Error,
            keys: &["message_memory", "total_message_memory"],
            title: "one message may take more memory than all together".to_owned(),
            label: "expected `message_memory` to be at most `total_message_memory`".to_owned(),
        });
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Setting, reference};

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Config::load("greylag.toml", ""), Ok((Config::default(), Vec::new())));
        let addresses = |list: &ListenAddresses| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addresses(&Config::default().milter), ["127.0.0.1:10034"]);
        assert_eq!(addresses(&Config::default().policy), ["127.0.0.1:10033"]);
        assert_eq!(addresses(&Config::default().admin), ["127.0.0.1:10035"]);
    }

    #[test]
    fn the_reference_of_the_configuration_is_a_configuration() {
        let text = reference::render_settings::<Config>();
        assert_eq!(Config::load("greylag.toml", &text), Ok((Config::default(), Vec::new())), "{text}");
    }

    #[test]
    fn every_setting_is_read() {
        let text = "
            milter = [\"unix:/run/greylag/milter\", \"[::1]:10034\"]
            policy = []
            policies = \"policies\"
            store = \"memory:\"
            control = \"unix:/run/greylag/control\"
            state_directory = \"/srv/greylag\"
            dns = [\"127.0.0.1\", \"[::1]:5353\"]
            scan_threads = 3
            log_format = \"json\"
            log_level = \"debug\"";
        let (config, _) = Config::load("greylag.toml", text).unwrap();
        assert_eq!(config.milter.iter().count(), 2);
        assert_eq!(config.policy.iter().count(), 0);
        assert_eq!(config.policies, PolicySource::Directory("policies".into()));
        assert_eq!(config.store_url(&Environment::default()), "memory:");
        assert_eq!(config.control, ControlSocket::Path("/run/greylag/control".into()));
        assert_eq!(config.dns.show(), "[\"127.0.0.1:53\", \"[::1]:5353\"]");
        assert_eq!(config.scan_threads, ScanThreads::Number(NonZeroU32::new(3).unwrap()));
        assert_eq!((config.log_format, config.log_level), (LogFormat::Json, LogLevel::Debug));
        let redb = Config { store: StoreText::default(), ..config };
        assert_eq!(redb.store_url(&Environment::default()), "redb:/srv/greylag");
    }
}
