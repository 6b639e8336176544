//! `greylag explain --against DIR`: the same mail by two policies.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use super::{Args, Basis, STORE_NOTE, alone};
use crate::cli::Exit;
use crate::cli::policies::load_or_report;
use crate::cli::progress::Progress;
use crate::explain::{Comparison, Envelope, explain_logged};
use crate::facts::Message;
use crate::policy::Policy;
use crate::telemetry::LoggedDecision;

/// Two policies, both judging in this process.
pub(super) struct Two {
    one: Basis,
    other: Policy,
    /// Which they are.
    note: String,
}

impl Two {
    /// The policy of the command line or the daemon's configuration file, and the one in `directory`.
    /// `Err` where one cannot be used, which was said.
    pub(super) fn read(
        args: &Args,
        directory: &Path,
        errors: &mut dyn Write,
    ) -> io::Result<Result<Self, Exit>> {
        let one = match Basis::read(args, errors)? {
            Ok(one) => one,
            Err(exit) => return Ok(Err(exit)),
        };
        let Some(other) = load_or_report(Some(directory), errors)? else { return Ok(Err(Exit::Config)) };
        let note = format!("- is {}, + is that in {}", one.name(), directory.display());
        Ok(Ok(Self { one, other, note }))
    }

    /// What both say of a mail. Outer errors are of this process.
    pub(super) fn compare(
        self,
        envelope: &Envelope,
        message: Option<Message>,
    ) -> io::Result<Result<Comparison, Box<dyn Error>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _progress = Progress::at("judging", "the mail");
        Ok(runtime.block_on(async {
            let Basis { policy, dns, .. } = self.one;
            let mut one = alone(&dns, envelope, policy, message.clone()).await?;
            one.notes.splice(..0, [self.note, STORE_NOTE.to_owned()]);
            let other = alone(&dns, envelope, self.other, message).await?;
            let more = other.notes.iter().filter(|note| !one.notes.contains(note));
            let more: Vec<String> = more.cloned().collect();
            one.notes.extend(more);
            Ok(Comparison::new(one, other))
        }))
    }

    /// What both say of a decision of the log.
    ///
    /// # Errors
    /// What keeps the line from being a decision of Greylag.
    pub(super) fn compare_logged(&self, decision: &LoggedDecision) -> Result<Comparison, String> {
        let mut one = explain_logged(decision, &self.one.policy)?;
        one.notes.insert(0, self.note.clone());
        Ok(Comparison::new(one, explain_logged(decision, &self.other)?))
    }
}
