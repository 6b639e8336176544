//! Reads the policy directory and compares it with the policy in force. Blocking: lists may have millions of entries.

use std::fmt::Display;
use std::path::Path;

use crate::config::PolicyDirectory;
use crate::policy::{Policy, Problem, log_lines, render};

/// What is on disk.
#[derive(Debug)]
pub(super) enum Read {
    /// What was there the last time.
    Same,
    /// A policy that can be used.
    Good {
        fingerprint: u64,
        policy: Box<Policy>,
        /// What differs from the policy in force.
        changes: Vec<String>,
        /// What is doubtful in it, one line each.
        warnings: Vec<String>,
        /// The same as `greylag check` shows it.
        diagnostics: String,
    },
    /// One that cannot.
    Bad { fingerprint: Option<u64>, errors: Vec<String>, diagnostics: String },
}

impl Read {
    /// Reads `directory`; the built-in policies where there is none. What has the fingerprint `seen` is not looked at again.
    pub(super) fn new(directory: Option<&Path>, old: &Policy, seen: Option<u64>) -> Self {
        let read = directory.map(PolicyDirectory::read).unwrap_or_default();
        let fingerprint = read.fingerprint();
        if seen == Some(fingerprint) {
            return Self::Same;
        }
        let root = directory.map(|path| path.display().to_string()).unwrap_or_default();
        let show = |problems: &[Problem]| render(problems, &read.files, &root, false);
        match read.load() {
            Ok((policy, problems)) => Self::Good {
                fingerprint,
                changes: policy.changes_since(old).iter().map(ToString::to_string).collect(),
                warnings: log_lines(&problems, &read.files, &root),
                diagnostics: show(&problems),
                policy: Box::new(policy),
            },
            Err(problems) => Self::Bad {
                fingerprint: Some(fingerprint),
                errors: log_lines(&problems, &read.files, &root),
                diagnostics: show(&problems),
            },
        }
    }

    /// A fault of ours: what was on disk is not known.
    pub(super) fn failed(fault: &dyn Display) -> Self {
        let text = format!("reading the policy failed: {fault}");
        Self::Bad { fingerprint: None, errors: vec![text.clone()], diagnostics: text + "\n" }
    }
}
