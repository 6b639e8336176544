//! `greylag explain --against DIR`: the same mail by two policies.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use super::{Args, STORE_NOTE, alone};
use crate::cli::Exit;
use crate::cli::policies::load_or_report;
use crate::explain::{Comparison, Envelope, explain_logged};
use crate::facts::Message;
use crate::policy::Policy;
use crate::telemetry::LoggedDecision;

/// Two policies, both judging in this process.
pub(super) struct Two {
    one: Policy,
    other: Policy,
    /// Which they are.
    note: String,
}

impl Two {
    /// The policy of `--policies`, else the one of the daemon's configuration file, else the built-in one; and the one in `directory`.
    /// `Err` where one cannot be used, which was said.
    pub(super) fn read(
        args: &Args,
        directory: &Path,
        errors: &mut dyn Write,
    ) -> io::Result<Result<Self, Exit>> {
        let configured = match (&args.policies, args.recent.control.policies(errors)) {
            (Some(named), _) => Some(named.clone()),
            (None, Ok(configured)) => configured,
            (None, Err(exit)) => return Ok(Err(exit)),
        };
        let Some(one) = load_or_report(configured.as_deref(), errors)? else { return Ok(Err(Exit::Config)) };
        let Some(other) = load_or_report(Some(directory), errors)? else { return Ok(Err(Exit::Config)) };
        let name =
            configured.map_or_else(|| "the built-in policy".to_owned(), |path| path.display().to_string());
        let note = format!("- is {name}, + is {}", directory.display());
        Ok(Ok(Self { one, other, note }))
    }

    /// What both say of a mail. Outer errors are of this process.
    pub(super) fn compare(
        self,
        args: &Args,
        envelope: &Envelope,
        message: Option<Message>,
    ) -> io::Result<Result<Comparison, Box<dyn Error>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async {
            let mut one = alone(args, envelope, self.one, message.clone()).await?;
            one.notes.splice(..0, [self.note, STORE_NOTE.to_owned()]);
            let other = alone(args, envelope, self.other, message).await?;
            Ok(Comparison::new(one, other))
        }))
    }

    /// What both say of a decision of the log.
    ///
    /// # Errors
    /// What keeps the line from being a decision of Greylag.
    pub(super) fn compare_logged(&self, decision: &LoggedDecision) -> Result<Comparison, String> {
        let mut one = explain_logged(decision, &self.one)?;
        one.notes.insert(0, self.note.clone());
        Ok(Comparison::new(one, explain_logged(decision, &self.other)?))
    }
}
