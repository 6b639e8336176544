//! Commands about the greylist: what is held about somebody, and letting mail of theirs pass.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::checks::greylist::{typed_recipient, typed_sender};
use crate::policy::Policy;
use crate::store::{Held, Identity, Query, Release, ReleaseOf, Store, Timestamp};

/// Whom a command is about. Addresses are written as people write them, `<>` for the null sender; identities as `spf:DOMAIN`,
/// `host:DOMAIN`, `network:NETWORK` or `address:ADDRESS`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The envelope sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The envelope recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// An identity of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// What the greylist is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum GreylistRequest {
    /// What is held about somebody; answered by a list of [`Shown`].
    Show(About),
    /// Let mail to a recipient pass, of a sender or an identity; answered by a [`Released`].
    Release {
        /// To whom, and whose: the recipient, and either the sender or the identity.
        about: About,
        /// For how long from now on.
        seconds: u64,
    },
    /// Forget what is held about somebody; answered by a [`Forgotten`].
    Forget(About),
    /// How much is held; answered by a [`Counts`].
    Stats,
}

/// One thing that is held. Times are in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shown {
    /// A triplet waits for its retry.
    Waiting {
        /// When it was first attempted.
        first_seen: u64,
        /// How long ago that is, in seconds.
        age: u64,
    },
    /// A client and a sender pass for every recipient.
    ProvenPair {
        /// Until when.
        expires: u64,
    },
    /// A triplet passes.
    ProvenTriplet {
        /// Until when.
        expires: u64,
    },
    /// An identity passes as a whole, or is on its way.
    Standing {
        /// Whether it passes.
        promoted: bool,
        /// Different senders that came again.
        senders: u8,
        /// Different recipients they wrote to.
        recipients: u8,
        /// Until when that is remembered.
        expires: u64,
    },
    /// A rule lets mail pass.
    Release {
        /// Until when.
        expires: u64,
    },
}

/// A rule of release was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The recipient, as the greylist knows it.
    pub recipient: String,
    /// The sender or the identity, as the greylist knows it.
    pub of: String,
    /// Until when, in seconds since 1970.
    pub expires: u64,
}

/// Records were forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// How many.
    pub forgotten: u64,
}

/// How much is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Triplets that wait for their retry, under each identity.
    pub waiting: u64,
    /// Pairs and triplets that pass.
    pub proven: u64,
    /// Identities that pass as a whole, or are on their way.
    pub standings: u64,
    /// Rules of release.
    pub releases: u64,
}

/// What is held about somebody, what expired left out, longest in force last.
pub(super) async fn show(store: &dyn Store, policy: &Policy, about: &About) -> Result<Vec<Shown>, String> {
    let now = Timestamp::from(SystemTime::now());
    // A clock does not say for whom it runs: it is shown as long as it may be of use to anybody.
    let windows = policy.variants().map(|settings| settings.greylist.retry_window);
    let retry_window = windows.max().unwrap_or_default();
    let held = store.show(&about.query()?).await.map_err(|fault| fault.to_string())?;
    let mut shown: Vec<Shown> =
        held.into_iter().filter_map(|held| Shown::of(held, now, retry_window)).collect();
    shown.sort_by_key(Shown::order);
    Ok(shown)
}

pub(super) async fn release(
    store: &dyn Store,
    policy: &Policy,
    about: &About,
    seconds: u64,
) -> Result<Released, String> {
    let Query { sender, recipient, identity } = about.query()?;
    if seconds == 0 {
        return Err("for how long? a release lasts a second at least".to_owned());
    }
    let recipient =
        recipient.filter(|name| !name.is_empty()).ok_or("to whom? a release is for one recipient")?;
    let (of, text) = match (sender, identity) {
        (Some(sender), None) => (ReleaseOf::Sender(sender.clone()), format!("<{sender}>")),
        (None, Some(identity)) => {
            check_is_known_by(&identity, policy)?;
            (ReleaseOf::Identity(identity.clone()), identity.to_string())
        }
        _ => return Err("whose mail? a release is of one sender, or of one identity".to_owned()),
    };
    let now = Timestamp::from(SystemTime::now());
    let release = Release { recipient, of, expires: now.plus(Duration::from_secs(seconds)) };
    store.release(&release, now).await.map_err(|fault| fault.to_string())?;
    tracing::info!(recipient = %release.recipient, of = %text, seconds, "mail released from the greylist");
    Ok(Released { recipient: release.recipient, of: text, expires: seconds_of(release.expires) })
}

/// A release of an identity that the policy gives nobody would let no mail pass.
fn check_is_known_by(identity: &Identity, policy: &Policy) -> Result<(), String> {
    if policy.variants().any(|settings| settings.greylist.may_know(identity)) {
        return Ok(());
    }
    let network = identity.address().and_then(|address| policy.base().greylist.network_of(address));
    let instead = network.map_or_else(
        || "an identity the log shows for the client, or the sender".to_owned(),
        |network| network.to_string(),
    );
    Err(format!("{identity} would let nothing pass, as greylist.toml knows no client by it: name {instead}"))
}

pub(super) async fn forget(store: &dyn Store, about: &About) -> Result<Forgotten, String> {
    let forgotten = store.forget(&about.query()?).await.map_err(|fault| fault.to_string())?;
    tracing::info!(?about, forgotten, "greylist records forgotten");
    Ok(Forgotten { forgotten })
}

pub(super) async fn stats(store: &dyn Store) -> Result<Counts, String> {
    let stats = store.stats().await.map_err(|fault| fault.to_string())?;
    Ok(Counts {
        waiting: stats.unproven,
        proven: stats.proven,
        standings: stats.standings,
        releases: stats.releases,
    })
}

impl About {
    /// By the names the store knows.
    fn query(&self) -> Result<Query, String> {
        if *self == Self::default() {
            return Err("about whom? name a sender, a recipient or an identity".to_owned());
        }
        let identity = self.identity.as_deref().map(str::parse::<Identity>).transpose();
        Ok(Query {
            sender: self.sender.as_deref().map(|sender| typed_sender(sender, self.recipient.as_deref())),
            recipient: self.recipient.as_deref().map(typed_recipient),
            identity: identity.map_err(|error| error.to_string())?,
        })
    }
}

impl Shown {
    fn of(held: Held, now: Timestamp, retry_window: Duration) -> Option<Self> {
        let live = |expires: Timestamp| (now <= expires).then(|| seconds_of(expires));
        Some(match held {
            Held::Waiting { first_seen } => {
                let age = now.since(first_seen);
                let first_seen = (age <= retry_window).then(|| seconds_of(first_seen))?;
                Self::Waiting { first_seen, age: age.as_secs() }
            }
            Held::ProvenPair { expires } => Self::ProvenPair { expires: live(expires)? },
            Held::ProvenTriplet { expires } => Self::ProvenTriplet { expires: live(expires)? },
            Held::Standing { promoted, senders, recipients, expires } => {
                Self::Standing { promoted, senders, recipients, expires: live(expires)? }
            }
            Held::Release { expires } => Self::Release { expires: live(expires)? },
        })
    }

    const fn order(&self) -> (u8, u64) {
        match *self {
            Self::Waiting { first_seen, .. } => (0, first_seen),
            Self::ProvenTriplet { expires } => (1, expires),
            Self::ProvenPair { expires } => (2, expires),
            Self::Standing { expires, .. } => (3, expires),
            Self::Release { expires } => (4, expires),
        }
    }
}

const fn seconds_of(time: Timestamp) -> u64 {
    time.as_millis() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Answer, Attempt, IdentityKind, MemoryStore, Rules};

    fn about(sender: &str, recipient: &str, identity: &str) -> About {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        About { sender: given(sender), recipient: given(recipient), identity: given(identity) }
    }

    fn attempt() -> Attempt {
        Attempt {
            identities: vec![Identity { kind: IdentityKind::Network, key: "192.0.2.0/24".into() }],
            client: [192, 0, 2, 1].into(),
            sender: "a@sender.test".into(),
            recipient: "r@example.test".into(),
            never_promote: false,
            mail_counted: false,
            rules: Rules::DEFAULT,
        }
    }

    #[tokio::test]
    async fn what_waits_is_shown_released_and_forgotten() {
        let (store, policy) = (MemoryStore::new(1_000).unwrap(), Policy::default());
        let now = Timestamp::from(SystemTime::now());
        store.attempt(&attempt(), now).await.unwrap();
        // As people write it.
        let triplet = about("A@Sender.TEST", "R+shop@Example.test", "network:192.0.2.77/24");
        let shown = show(&store, &policy, &triplet).await.unwrap();
        assert!(matches!(shown[..], [Shown::Waiting { age: 0..=5, .. }]), "{shown:?}");

        let released =
            release(&store, &policy, &about("<a@sender.test>", "r@example.test", ""), 60).await.unwrap();
        assert_eq!((&*released.recipient, &*released.of), ("r@example.test", "<a@sender.test>"));
        assert_eq!(store.attempt(&attempt(), now).await.unwrap(), Answer::Released);
        let identity = about("", "r@example.test", "network:192.0.2.0/24");
        assert_eq!(release(&store, &policy, &identity, 60).await.unwrap().of, "network:192.0.2.0/24");
        assert_eq!(stats(&store).await.unwrap(), Counts { waiting: 1, proven: 0, standings: 0, releases: 2 });

        assert_eq!(
            forget(&store, &about("", "r@example.test", "")).await.unwrap(),
            Forgotten { forgotten: 3 }
        );
        assert_eq!(show(&store, &policy, &triplet).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_clock_that_ran_out_is_not_shown() {
        let (store, policy) = (MemoryStore::new(1_000).unwrap(), Policy::default());
        let long_ago = SystemTime::now() - Duration::from_secs(48 * 3600 + 60);
        store.attempt(&attempt(), Timestamp::from(long_ago)).await.unwrap();
        let sender = about("a@sender.test", "", "");
        assert_eq!(show(&store, &policy, &sender).await.unwrap(), []);
        let scope = "[[scope]]\nname = \"slow\"\ntls = true\nset.greylist.retry_window = \"3d\"\n";
        let files = [("scopes.toml".to_owned(), scope.to_owned())].into();
        let (patient, _) = Policy::load(&files).unwrap();
        let shown = show(&store, &patient, &sender).await.unwrap();
        assert!(matches!(shown[..], [Shown::Waiting { age: 172_860..=172_870, .. }]), "{shown:?}");
    }

    #[tokio::test]
    async fn an_identity_that_nobody_is_known_by_is_not_released() {
        let (store, policy) = (MemoryStore::new(1_000).unwrap(), Policy::default());
        let refusal = |identity: &str, instead: &str| {
            format!(
                "{identity} would let nothing pass, as greylist.toml knows no client by it: name {instead}"
            )
        };
        for (identity, network) in [
            ("address:203.0.113.9", "network:203.0.113.0/24"),
            ("network:203.0.113.0/25", "network:203.0.113.0/24"),
            ("address:2001:db8::9", "network:2001:db8::/64"),
        ] {
            let error = release(&store, &policy, &about("", "b@example.net", identity), 60).await;
            assert_eq!(error.unwrap_err(), refusal(identity, network));
        }
        let files = [("greylist.toml".to_owned(), "client_identity = [\"address\"]\n".to_owned())].into();
        let (plain, _) = Policy::load(&files).unwrap();
        for (policy, identity) in [
            (&policy, "network:203.0.113.0/24"),
            (&policy, "spf:a.test"),
            (&policy, "host:a.test"),
            (&plain, "address:203.0.113.9"),
        ] {
            let released = release(&store, policy, &about("", "b@example.net", identity), 60).await;
            assert_eq!(released.unwrap().of, identity);
        }
        let error = release(&store, &plain, &about("", "b@example.net", "spf:a.test"), 60).await;
        let instead = "an identity the log shows for the client, or the sender";
        assert_eq!(error.unwrap_err(), refusal("spf:a.test", instead));
    }

    #[tokio::test]
    async fn what_is_missing_is_said() {
        let (store, policy) = (MemoryStore::new(1_000).unwrap(), Policy::default());
        let shown = |error: Result<Released, String>| error.unwrap_err();
        for (about, message) in [
            (about("", "", ""), "about whom? name a sender, a recipient or an identity"),
            (about("a@b.test", "", ""), "to whom? a release is for one recipient"),
            (about("a@b.test", "<>", ""), "to whom? a release is for one recipient"),
            (about("", "r", ""), "whose mail? a release is of one sender, or of one identity"),
            (
                about("a", "r", "address:192.0.2.1"),
                "whose mail? a release is of one sender, or of one identity",
            ),
            (
                about("", "r", "192.0.2.1"),
                "\"192.0.2.1\" is no identity: expected spf:DOMAIN, host:DOMAIN, network:NETWORK or address:ADDRESS",
            ),
        ] {
            assert_eq!(shown(release(&store, &policy, &about, 60).await), message);
        }
    }
}
