//! The policy: what is decided for whom, read from `policies/*.toml` into one immutable value.

mod changes;
mod diagnose;
mod effective;
pub mod embedded;
mod idle;
pub mod lists;
mod load;
mod origins;
mod problem;
mod reach;
mod reading;
pub mod reference;
mod rules;
mod scopes;
mod settings;
mod units;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;

pub use changes::Change;
pub(crate) use diagnose::log_lines;
pub use diagnose::{Diagnostic, diagnostics, render};
pub use effective::Settings;
pub(crate) use lists::host_name_checked;
pub use lists::{
    AddressPatterns, Clients, Expressions, Extensions, FileNames, HostPatterns, Networks, Phrases,
    Sha256Sums, matches_file_name,
};
pub use origins::Place;
pub use problem::{Problem, Severity};
pub(crate) use problem::{line_of, sort as sort_problems};
pub use reach::Reach;
pub use reading::Reading;
pub(crate) use reading::quoted;
pub use rules::{Rule, RuleSettings, Rules};
pub use scopes::{Listeners, Logins, PolicyContexts, When};
pub use settings::{CheckSettings, Conflict, EnvelopeAction, KeyDoc, Mode, Setting, SettingChange};
pub use units::{ByteSize, parse_duration};

use crate::facts::{Facts, Recipient};
use crate::reason::Check;
use effective::Pool;
use origins::Origins;
use reach::Reaches;
use scopes::Scopes;

/// Everything an administrator decided. Immutable: a reload makes a new one. Copies share everything.
#[derive(Clone, Debug)]
pub struct Policy {
    base: Arc<Settings>,
    scopes: Arc<Scopes>,
    effective: Arc<Effective>,
    origins: Arc<Origins>,
    reaches: Reaches,
    smallest_cap: usize,
}

impl Policy {
    /// Reads the files of a policy directory by their path in it; a file that is missing means the shipped one. Returned beside
    /// the policy are warnings.
    ///
    /// # Errors
    /// Everything wrong in any of the files, warnings included, when a part of it is an error.
    pub fn load(files: &BTreeMap<String, String>) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let loaded = load::load(files)?;
        let policy =
            Self { origins: Arc::new(loaded.origins), ..Self::new(loaded.base, Scopes::new(loaded.scopes)) };
        Ok((policy, loaded.warnings))
    }

    /// Warns of listeners that the scopes of a policy directory name and that are none of `listeners`, the addresses of the
    /// configuration.
    pub fn unknown_listeners(files: &BTreeMap<String, String>, listeners: &[String]) -> Vec<Problem> {
        load::unknown_listeners(files, listeners)
    }

    /// The settings where no scope holds.
    pub const fn base(&self) -> &Arc<Settings> {
        &self.base
    }

    /// For whom `check` may run.
    pub fn reach(&self, check: Check) -> Reach {
        self.reaches.of(check)
    }

    /// The hardest mode that any check has for anybody.
    pub const fn hardest_mode(&self) -> Mode {
        self.reaches.hardest_mode()
    }

    /// The smallest cap on recipients of one message that anybody has: no message with fewer has too many.
    pub const fn smallest_cap(&self) -> usize {
        self.smallest_cap
    }

    /// Whether the milter and the policy service may judge one mail by different settings, as a scope names a listener or a
    /// `policy_context`.
    pub fn tells_hooks_apart(&self) -> bool {
        self.scopes.tell_hooks_apart()
    }

    /// The settings in force for `facts.recipient`, or for the whole mail where no recipient is judged.
    ///
    /// The same scopes give the same `Arc`, and so do equal settings of one check.
    pub fn settings(&self, facts: &Facts) -> Arc<Settings> {
        self.settings_for(facts, facts.recipient.as_ref())
    }

    /// The settings in force for `recipient` of the mail `facts` are about, or for the whole mail where there is none.
    pub fn settings_for(&self, facts: &Facts, recipient: Option<&Recipient>) -> Arc<Settings> {
        let mut matching = self.scopes.matching(facts, recipient);
        let is_role = recipient.is_some_and(Recipient::is_role);
        if is_role {
            matching.push(Effective::ROLES);
        }
        if matching.is_empty() {
            return Arc::clone(&self.base);
        }
        let made = self.effective.by_scopes.get_or_insert_with(matching.as_slice(), || {
            let mut settings = self.scopes.apply(&self.base, &matching);
            if is_role {
                settings.auth = Arc::new(settings.auth.for_roles());
            }
            self.effective.pool.lock().unwrap_or_else(PoisonError::into_inner).share(&mut settings);
            Ok::<_, Infallible>(Arc::new(settings))
        });
        match made {
            Ok(settings) => settings,
            Err(never) => match never {},
        }
    }

    /// The settings where no scope holds, and those where each scope holds alone.
    pub fn variants(&self) -> impl Iterator<Item = Settings> {
        let scopes = 0..self.scopes.all().len();
        let alone = scopes.map(|index| self.scopes.apply(&self.base, &[index]));
        std::iter::once(Settings::clone(&self.base)).chain(alone)
    }

    /// The names of the scopes that hold for `facts`, in the order in which they apply.
    pub fn scope_names(&self, facts: &Facts) -> Vec<&str> {
        self.scopes
            .matching(facts, facts.recipient.as_ref())
            .into_iter()
            .filter_map(|index| self.scopes.name(index))
            .collect()
    }

    /// Whether there is a scope whose conditions are such as `is_meant` says, be it that it holds or not.
    pub fn has_scope(&self, is_meant: impl Fn(&When) -> bool) -> bool {
        self.scopes.all().iter().any(|scope| is_meant(scope.when()))
    }

    /// Where the scopes begin that hold for `recipient` of the mail `facts` are about, in the order in which they apply.
    pub fn scope_places(&self, facts: &Facts, recipient: Option<&Recipient>) -> Vec<Place> {
        let matching = self.scopes.matching(facts, recipient);
        matching.into_iter().filter_map(|index| self.place_in_scope(index, None)).collect()
    }

    /// Where `key` of `check` is set that is in force for `recipient` of the mail `facts` are about; `None` where it is not set, and
    /// so has its default.
    pub fn place(
        &self,
        facts: &Facts,
        recipient: Option<&Recipient>,
        check: Check,
        key: &str,
    ) -> Option<Place> {
        let matching = self.scopes.matching(facts, recipient);
        let in_scope = |index: &usize| self.place_in_scope(*index, Some((check, key)));
        matching.iter().rev().find_map(in_scope).or_else(|| self.origins.setting(check, key))
    }

    /// Where the content rule of this name stands.
    pub fn place_of_rule(&self, name: &str) -> Option<Place> {
        self.origins.rule(name)
    }

    fn place_in_scope(&self, index: usize, set: Option<(Check, &str)>) -> Option<Place> {
        self.origins.scope(index, self.scopes.all().get(index)?, set)
    }

    fn new(base: Settings, scopes: Scopes) -> Self {
        let mut base = base;
        let mut pool = Pool::default();
        pool.share(&mut base);
        let by_scopes = Cache::new(Effective::MOST);
        let effective = Effective { by_scopes, pool: Mutex::new(pool) };
        Self {
            reaches: Reaches::new(&base, &scopes),
            smallest_cap: smallest_cap(&base, &scopes),
            base: Arc::new(base),
            scopes: Arc::new(scopes),
            effective: Arc::new(effective),
            origins: Arc::default(),
        }
    }
}

fn smallest_cap(base: &Settings, scopes: &Scopes) -> usize {
    let settings = scopes.all().iter().map(|scope| &scope.values).chain([base]);
    // A scope that does not set it has that of the base.
    let caps = settings.map(|settings| settings.recipients.max_recipients.get() as usize);
    caps.min().unwrap_or_default()
}

/// The policy of the shipped files.
impl Default for Policy {
    fn default() -> Self {
        match Self::load(&BTreeMap::new()) {
            Ok((policy, _)) => policy,
            // Not met: a test loads the shipped files.
            Err(_) => Self::new(Settings::default(), Scopes::default()),
        }
    }
}

/// Settings already made, by the scopes that make them. Read without a common lock.
#[derive(Debug)]
struct Effective {
    by_scopes: Cache<Vec<usize>, Arc<Settings>>,
    pool: Mutex<Pool>,
}

impl Effective {
    /// Combinations of scopes kept; a client can choose which scopes hold, so their number is not in our hands.
    const MOST: usize = 20_000;

    /// Stands behind the scopes for postmaster and abuse, who differ even where no scope names them. No scope has this number.
    const ROLES: usize = usize::MAX;
}
