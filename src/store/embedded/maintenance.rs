//! The thread that does what no answer has to wait for.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::files::fault;
use super::{State, journal};
use crate::store::StoreFault;
use crate::store::table::lock;

/// A power cut may cost what was recorded in so much time.
const TICK: Duration = Duration::from_secs(1);

/// A 256th of the database is swept every five minutes, all of it in less than a day.
const TICKS_PER_SWEEP: u64 = 300;

/// The journal is left alone below this many bytes.
const SHORT_JOURNAL: u64 = 4 << 20;

/// The journal is shortened when it has so many times the bytes of what it has to keep.
const JOURNAL_FACTOR: u64 = 4;

/// Handle of the thread; finishes it when dropped.
#[derive(Debug)]
pub(super) struct Maintenance {
    directory: PathBuf,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    stop: Sender<()>,
    thread: JoinHandle<Result<(), StoreFault>>,
}

impl Maintenance {
    /// Starts the thread.
    pub(super) fn start(state: Arc<State>) -> Result<Self, StoreFault> {
        let directory = state.directory.clone();
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("greylist-store".to_owned())
            .spawn(move || run(&state, &stopped))
            .map_err(fault("start the maintenance thread of", &directory))?;
        Ok(Self { directory, running: Mutex::new(Some(Running { stop, thread })) })
    }

    /// Writes everything out, and waits for it. Does nothing the second time.
    pub(super) fn finish(&self) -> Result<(), StoreFault> {
        let Some(Running { stop, thread }) = lock(&self.running).take() else { return Ok(()) };
        drop(stop);
        let panicked =
            |_| fault("maintain", &self.directory)(io::Error::other("the maintenance thread panicked"));
        thread.join().map_err(panicked)?
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the greylist was not written out; its journal has the rest");
        }
    }
}

fn run(state: &State, stopped: &Receiver<()>) -> Result<(), StoreFault> {
    let mut failing = false;
    for tick in 0_u64.. {
        if stopped.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        match state.maintain(tick) {
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "the greylist store cannot be maintained; trying again each second");
            }
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the greylist store is maintained again");
            }
            _ => {}
        }
    }
    state.settle()
}

impl State {
    /// What has to be done each second.
    fn maintain(&self, tick: u64) -> Result<(), StoreFault> {
        self.settle()?;
        if tick.is_multiple_of(TICKS_PER_SWEEP) {
            self.proven.sweep((tick / TICKS_PER_SWEEP) as u8, self.now())?;
        }
        if self.journal_is_long() {
            let replacement = self.journal.rotate()?;
            self.replace_generations(replacement, self.now(), &[])?;
        }
        Ok(())
    }

    /// Syncs the journal and writes out the proven records that wait.
    fn settle(&self) -> Result<(), StoreFault> {
        self.journal.sync()?;
        self.proven.flush()
    }

    fn journal_is_long(&self) -> bool {
        let kept = (self.unproven_len() + self.proven.waiting_len() as u64) * journal::RECORD_LEN as u64;
        self.journal.len() > SHORT_JOURNAL.max(kept * JOURNAL_FACTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::Proven;
    use crate::store::{Answer, Attempt, Identity, IdentityKind, Key, Rules, Timestamp};
    use std::path::Path;

    const START: u64 = 1_000_000_000;

    fn open(directory: &Path) -> State {
        State::open(directory, 100_000, Timestamp::from_millis(START)).unwrap()
    }

    fn attempt(state: &State, sender: &str, at: u64) -> Answer {
        let identity = |n: u8| Identity { kind: IdentityKind::Address, key: format!("192.0.2.{n}") };
        let attempt = Attempt {
            identities: (1..=4).map(identity).collect(),
            sender: sender.into(),
            recipient: "r@example.test".into(),
            rules: Rules {
                min_delay: Duration::from_secs(120),
                retry_window: Duration::from_secs(48 * 3600),
                pass_ttl: Duration::from_secs(36 * 86_400),
                promote_pairs: true,
            },
        };
        state.decide(&attempt, Timestamp::from_millis(at), true).unwrap()
    }

    fn generations(directory: &Path) -> usize {
        journal::generations(directory).unwrap().len()
    }

    #[test]
    fn a_long_journal_is_shortened_and_nothing_of_it_lost() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        attempt(&state, "early", START);
        attempt(&state, "proven", START);
        attempt(&state, "proven", START + 120_000);
        // A clock set back by a little again and again: each attempt writes its records over.
        let rewrites = SHORT_JOURNAL / (4 * journal::RECORD_LEN as u64) + 1;
        for n in 0..rewrites {
            attempt(&state, "back", START + rewrites - n);
        }
        assert_eq!((state.journal_is_long(), generations(directory.path())), (true, 1));
        state.maintain(1).unwrap();
        assert_eq!((state.journal_is_long(), generations(directory.path())), (false, 2));
        let bytes: u64 = journal::generations(directory.path())
            .unwrap()
            .iter()
            .map(|(_, path)| path.metadata().unwrap().len())
            .sum();
        assert!(bytes < 1_000, "{bytes} bytes are left");
        drop(state);

        let state = open(directory.path());
        let wait = |secs| Answer::TooEarly { wait: Duration::from_secs(secs) };
        assert_eq!(attempt(&state, "early", START + 60_000), wait(60));
        assert_eq!(attempt(&state, "back", START + 60_001), wait(60));
        assert!(matches!(attempt(&state, "proven", START + 130_000), Answer::Known { .. }));
        assert_eq!(generations(directory.path()), 2);
    }

    #[test]
    fn attempts_made_while_the_journal_is_shortened_are_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path(), 1_000_000, Timestamp::from_millis(START)).unwrap();
        const ATTEMPTS: u32 = 20_000;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let counts: Vec<u32> = thread::scope(|scope| {
            let writer = |name: u32| {
                let (state, stop) = (&state, &stop);
                scope.spawn(move || {
                    let mut count = 0;
                    // Bounded, so that the table never has to let go of the oldest.
                    while count < ATTEMPTS && !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        attempt(state, &format!("{name}-{count}"), START);
                        attempt(state, &format!("{name}-{count}"), START + 120_000);
                        attempt(state, &format!("{name}-{count}-early"), START);
                        count += 1;
                    }
                    count
                })
            };
            let writers = [writer(0), writer(1)];
            for _ in 0..12 {
                let replacement = state.journal.rotate().unwrap();
                state.replace_generations(replacement, state.now(), &[]).unwrap();
                state.settle().unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        drop(state);

        let state = State::open(directory.path(), 1_000_000, Timestamp::from_millis(START)).unwrap();
        for (name, count) in counts.into_iter().enumerate() {
            assert!(count > 0);
            for n in 0..count {
                let known = attempt(&state, &format!("{name}-{n}"), START + 121_000);
                assert!(matches!(known, Answer::Known { .. }), "{name}-{n}: {known:?}");
                let early = attempt(&state, &format!("{name}-{n}-early"), START + 60_000);
                assert_eq!(early, Answer::TooEarly { wait: Duration::from_secs(60) }, "{name}-{n}");
            }
        }
    }

    #[test]
    fn expired_proofs_are_swept_from_the_database_slice_by_slice() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        for first_byte in 0..=255 {
            let mut key = [7; 16];
            key[0] = first_byte;
            let days = if first_byte < 100 { 1 } else { 3 };
            let expires = Timestamp::from_millis(START).plus(Duration::from_secs(days * 86_400));
            state.proven.put(Key::from_bytes(key), Proven { expires });
        }
        state.settle().unwrap();
        assert_eq!((state.proven.len().unwrap(), state.proven.waiting_len()), (256, 0));
        let later = Timestamp::from_millis(START).plus(Duration::from_secs(2 * 86_400));
        state.proven.sweep(5, later).unwrap();
        assert_eq!(state.proven.len().unwrap(), 255);
        (0..=255).for_each(|first_byte| state.proven.sweep(first_byte, later).unwrap());
        assert_eq!(state.proven.len().unwrap(), 156);
    }

    #[test]
    fn a_record_renewed_while_it_is_written_out_stays_renewed() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        let key = Key::from_bytes([1; 16]);
        let until = |millis| Proven { expires: Timestamp::from_millis(millis) };
        state.proven.put(key, until(1_000));
        state.proven.put(key, until(900));
        assert_eq!(state.proven.get(&key).unwrap(), Some(until(1_000)));
        state.settle().unwrap();
        assert_eq!((state.proven.get(&key).unwrap(), state.proven.waiting_len()), (Some(until(1_000)), 0));
        state.proven.put(key, until(2_000));
        assert_eq!((state.proven.get(&key).unwrap(), state.proven.waiting_len()), (Some(until(2_000)), 1));
        state.settle().unwrap();
        assert_eq!((state.proven.get(&key).unwrap(), state.proven.len().unwrap()), (Some(until(2_000)), 1));
    }
}
