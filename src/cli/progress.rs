//! What a command is at, on a terminal, when it takes longer than a second.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::cli::printable;

/// What takes no longer needs no progress.
const PATIENCE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(250);
/// Longest name shown, in characters, so that the line fits a terminal.
const MAX_NAME: usize = 50;

/// Tells on standard error how far the command is; nothing where that is no terminal.
pub(super) struct Progress {
    teller: Option<(Sender<Tell>, JoinHandle<()>)>,
}

enum Tell {
    /// Another thing has begun.
    Now(String),
    /// Something else is written: make room, then answer.
    Hide(Sender<()>),
}

impl Progress {
    /// `doing` stands before the name of what it is at.
    pub(super) fn new(doing: &'static str) -> Self {
        Self { teller: io::stderr().is_terminal().then(|| start(doing)) }
    }

    /// Of a command that is at one thing for as long as this lives.
    pub(super) fn at(doing: &'static str, what: &str) -> Self {
        let progress = Self::new(doing);
        progress.now(what);
        progress
    }

    /// From now on it is at `what`.
    pub(super) fn now(&self, what: &str) {
        if let Some((tell, _)) = &self.teller {
            // The teller is gone only when standard error cannot be written.
            let _ = tell.send(Tell::Now(what.to_owned()));
        }
    }

    /// Takes the line away, so that something else can be written.
    pub(super) fn hide(&self) {
        if let Some((tell, _)) = &self.teller {
            let (done, hidden) = mpsc::channel();
            let _ = tell.send(Tell::Hide(done));
            let _ = hidden.recv();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
        if let Some((tell, teller)) = self.teller.take() {
            drop(tell);
            let _ = teller.join();
        }
    }
}

fn start(doing: &'static str) -> (Sender<Tell>, JoinHandle<()>) {
    let (tell, told) = mpsc::channel();
    let teller = thread::spawn(move || {
        let mut errors = io::stderr();
        let (began, mut now, mut is_shown) = (Instant::now(), String::new(), false);
        loop {
            match told.recv_timeout(INTERVAL) {
                Ok(Tell::Now(what)) => now = line(doing, &what),
                Ok(Tell::Hide(done)) => {
                    now.clear();
                    if std::mem::take(&mut is_shown) {
                        let _ = write!(errors, "\r\x1b[K");
                    }
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) if !now.is_empty() && began.elapsed() >= PATIENCE => {
                    let written = write!(errors, "\r\x1b[K{now} ({} s)", began.elapsed().as_secs());
                    if written.and_then(|()| errors.flush()).is_err() {
                        return;
                    }
                    is_shown = true;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    (tell, teller)
}

fn line(doing: &str, what: &str) -> String {
    let length = what.chars().count();
    let name = printable(what);
    if length <= MAX_NAME {
        return format!("{doing} {name}");
    }
    let end: String = name.chars().skip(length - MAX_NAME).collect();
    format!("{doing} ...{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(line("scanning", "a.eml"), "scanning a.eml");
        let long = format!("{}/b\x1b.eml", "a".repeat(100));
        assert_eq!(line("scanning", &long), format!("scanning ...{}/b\u{fffd}.eml", "a".repeat(43)));
    }
}
