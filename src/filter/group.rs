//! Recipients with different settings in one message.

use std::sync::Arc;

use crate::facts::Facts;
use crate::policy::{Policy, Settings};

/// The different settings of the accepted recipients, each once, in the order of the recipients. A message whose recipients are
/// not known (the policy protocol at DATA) has those of its sender alone. The hardest verdict of all of them counts.
pub(super) fn of_accepted(facts: &Facts, policy: &Policy) -> Vec<Arc<Settings>> {
    if facts.accepted.is_empty() {
        return vec![policy.settings(facts)];
    }
    let mut groups: Vec<Arc<Settings>> = Vec::new();
    for recipient in &facts.accepted {
        let settings = policy.settings_for(facts, Some(recipient));
        if !groups.iter().any(|known| Arc::ptr_eq(known, &settings)) {
            groups.push(settings);
        }
    }
    groups
}
