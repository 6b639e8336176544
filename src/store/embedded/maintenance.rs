//! The thread that does what no answer has to wait for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::files::fault;
use super::journal::{Entry, GenerationWriter, Header};
use super::{State, files, journal, tag};
use crate::store::model::Write;
use crate::store::table::lock;
use crate::store::{StoreFault, Timestamp};

/// A power cut may cost what was recorded in so much time.
const TICK: Duration = Duration::from_secs(1);

/// A 256th of the database is swept every five minutes, all of it in about a day.
const TICKS_PER_SWEEP: u64 = 300;

/// A generation of the journal gets so long, and some more within a tick.
const GENERATION_LEN: u64 = 4 << 20;

/// Proofs that wait are written out after so many ticks, as the journal has them meanwhile;
const TICKS_PER_FLUSH: u64 = 10;

/// and earlier when there are so many,
const FLUSH_WAITING: u64 = 50_000;

/// or, if that is more, as many as a part of what the database has: they stand in nearly all its pages then, which have to be written
/// whole, and a larger batch costs hardly more.
const FLUSH_PART: u64 = 32;

/// The journal is left alone below this many bytes.
const SHORT_JOURNAL: u64 = 4 << 20;

/// The journal is rewritten when it has so many times the bytes of its running clocks, and fewer than [`QUIET_BYTES`] were added
/// since the last tick;
const QUIET_FACTOR: u64 = 3;
/// and when it has so many times their bytes, whatever goes on.
const FACTOR: u64 = 8;

const QUIET_BYTES: u64 = 64 << 10;

/// Clocks looked at for each time their lock is taken.
const CLOCKS_AT_ONCE: usize = 512;

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
                tracing::error!(%error, "the greylist store cannot be maintained; trying again every few seconds");
            }
            // Only a commit tells: most seconds have none, and where no mail comes a flush has nothing to write.
            Ok(()) if failing && tick.is_multiple_of(TICKS_PER_FLUSH) && state.sweep().is_ok() => {
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
        self.journal.sync()?;
        if tick.is_multiple_of(TICKS_PER_FLUSH) || self.is_flush_due()? {
            self.database.flush()?;
            self.drop_generations()?;
        }
        if tick.is_multiple_of(TICKS_PER_SWEEP) {
            self.sweep()?;
        }
        if self.journal.len() >= GENERATION_LEN {
            self.journal.rotate()?;
        }
        self.shorten_journal()?;
        self.database.mend()
    }

    /// Sweeps a part of the database: by the time another, however often the store is opened anew.
    fn sweep(&self) -> Result<(), StoreFault> {
        let now = self.now();
        self.database.sweep((now.as_millis() / (TICK.as_millis() as u64 * TICKS_PER_SWEEP)) as u8, now)
    }

    fn is_flush_due(&self) -> Result<bool, StoreFault> {
        let waiting = self.database.waiting() as u64;
        Ok(waiting >= FLUSH_WAITING && waiting >= self.database.proofs()? / FLUSH_PART)
    }

    /// Syncs the journal and writes out what waits for the database.
    pub(super) fn settle(&self) -> Result<(), StoreFault> {
        self.journal.sync()?;
        self.database.flush()
    }

    /// Drops the generations before that of the oldest clock: of theirs none runs, and all else of them is in the database.
    fn drop_generations(&self) -> Result<(), StoreFault> {
        let current = self.journal.generation();
        let generations = journal::generations(&self.directory)?;
        if generations.len() < 2 {
            return Ok(());
        }
        // Whoever still appended to an earlier generation is done with its attempt once we had its lock.
        let tags = self.running.each().filter_map(|shard| shard.clocks.oldest_tag());
        let oldest = tags.reduce(|oldest, tag| if is_before(tag, oldest) { tag } else { oldest });
        self.database.flush()?;
        for (generation, path) in generations {
            let is_over = oldest.is_none_or(|oldest| is_before(tag(generation), oldest));
            if generation >= current || !is_over {
                break;
            }
            files::remove(&path)?;
        }
        Ok(())
    }

    /// Rewrites the journal when little of it is of use, at a quiet moment, or when it is very long.
    fn shorten_journal(&self) -> Result<(), StoreFault> {
        let bytes = self.journal_bytes()?;
        let appended = bytes.saturating_sub(self.journal_seen.swap(bytes, Ordering::Relaxed));
        let useful = SHORT_JOURNAL.max(self.running.len() as u64 * journal::CLOCK_LEN);
        let factor = if appended < QUIET_BYTES { QUIET_FACTOR } else { FACTOR };
        if bytes < useful * factor {
            return Ok(());
        }
        self.drop_generations()?;
        if self.journal_bytes()? < useful * factor {
            return Ok(());
        }
        let replacement = self.journal.rotate()?;
        self.replace_generations(replacement, self.now(), &[])
    }

    fn journal_bytes(&self) -> Result<u64, StoreFault> {
        let generations = journal::generations(&self.directory)?;
        let lens = generations.iter().map(|(_, path)| path.metadata().map(|metadata| metadata.len()));
        lens.sum::<io::Result<u64>>().map_err(fault("look at the journal in", &self.directory))
    }

    /// Puts what is left of all generations before `replacement` into that one. They are removed, or set aside where they are
    /// `damaged` from some byte on. Attempts go on meanwhile, in the generation after it.
    pub(super) fn replace_generations(
        &self,
        replacement: u64,
        now: Timestamp,
        damaged: &[(&Path, u64)],
    ) -> Result<(), StoreFault> {
        // Whoever still appended to an earlier generation is done with its attempt once we had its lock.
        self.running.each().for_each(drop);
        self.database.flush()?;
        let mut old = journal::generations(&self.directory)?;
        old.retain(|(generation, _)| *generation < replacement);
        self.journal.write_generation(replacement, |writer| {
            let mut batch = Vec::with_capacity(CLOCKS_AT_ONCE);
            for (_, path) in &old {
                if journal::read_header(path)? != Header::Intact(self.hash_key) {
                    continue;
                }
                journal::replay(path, |entry| {
                    if matches!(entry, Entry::Write(Write::Begin(..))) {
                        batch.push(entry);
                    }
                    if batch.len() < CLOCKS_AT_ONCE { Ok(()) } else { self.keep_running(&mut batch, writer) }
                })?;
            }
            self.keep_running(&mut batch, writer)
        })?;

        // Oldest first, so that no older state of a record comes back if we die in between.
        for (_, path) in &old {
            match damaged.iter().find(|(damaged, _)| damaged == path) {
                None => files::remove(path)?,
                Some((_, at)) => {
                    let aside = files::set_aside(path, "damaged", now)?;
                    tracing::warn!(
                        file = %path.display(), byte = at, set_aside = %aside.display(),
                        "the greylist journal is damaged from this byte on, or of another store; what stands before was read"
                    );
                }
            }
        }
        Ok(())
    }

    /// Writes those clocks of `batch` that still run.
    fn keep_running(
        &self,
        batch: &mut Vec<Entry>,
        writer: &mut GenerationWriter<'_, '_>,
    ) -> Result<(), StoreFault> {
        batch.retain(|entry| match entry {
            Entry::Write(Write::Begin(key, clock)) => {
                self.running.shard_of(key).clocks.get(key) == Some(clock.first_seen)
            }
            _ => false,
        });
        let written = batch.drain(..).try_for_each(|entry| writer.push(&entry));
        written.map_err(fault("shorten the journal in", &self.directory))
    }
}

/// Which of two tags is of an earlier generation; they wrap around.
const fn is_before(tag: u16, other: u16) -> bool {
    tag != other && other.wrapping_sub(tag) < 1 << 15
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::{Proofs, Proven};
    use crate::store::{Answer, Attempt, Identity, IdentityKind, Key, Rules};

    const START: u64 = 1_000_000_000;

    fn open(directory: &Path) -> State {
        State::open(directory, 1_000_000, Timestamp::from_millis(START)).unwrap()
    }

    fn attempt(state: &State, sender: &str, at: u64) -> Answer {
        let identity = |n: u8| Identity { kind: IdentityKind::Address, key: format!("192.0.2.{n}").into() };
        let attempt = Attempt {
            identities: (1..=4).map(identity).collect(),
            client: [192, 0, 2, 1].into(),
            sender: sender.into(),
            recipient: "r@example.test".into(),
            never_promote: false,
            mail_counted: false,
            rules: Rules { network_cap: u32::MAX, ..Rules::DEFAULT },
        };
        state.record(&attempt, Timestamp::from_millis(at)).unwrap()
    }

    fn generations(directory: &Path) -> Vec<u64> {
        journal::generations(directory).unwrap().into_iter().map(|(generation, _)| generation).collect()
    }

    const fn wait(secs: u64) -> Answer {
        Answer::TooEarly { wait: Duration::from_secs(secs) }
    }

    #[test]
    fn a_long_journal_is_shortened_and_nothing_of_it_lost() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        attempt(&state, "early", START);
        attempt(&state, "proven", START);
        attempt(&state, "proven", START + 120_000);
        // A clock set back by a little again and again: each attempt begins its clocks anew.
        let rewrites = FACTOR * SHORT_JOURNAL / (4 * journal::CLOCK_LEN) + 1;
        for n in 0..rewrites {
            attempt(&state, "back", START + rewrites - n);
        }
        assert_eq!(generations(directory.path()), [1]);
        state.maintain(1).unwrap();
        assert_eq!(generations(directory.path()), [4, 5]);
        assert!(state.journal_bytes().unwrap() < 2_000, "{} bytes are left", state.journal_bytes().unwrap());
        drop(state);

        let state = open(directory.path());
        assert_eq!(attempt(&state, "early", START + 60_000), wait(60));
        assert_eq!(attempt(&state, "back", START + 60_001), wait(60));
        assert!(matches!(attempt(&state, "proven", START + 130_000), Answer::Known { .. }));
        assert_eq!(generations(directory.path()), [4, 5, 7]);
    }

    #[test]
    fn a_journal_of_little_use_is_shortened_at_a_quiet_moment() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        let rewrites = QUIET_FACTOR * SHORT_JOURNAL / (4 * journal::CLOCK_LEN) + 1;
        for n in 0..rewrites {
            attempt(&state, "back", START + rewrites - n);
        }
        // Much was added since the last tick.
        state.shorten_journal().unwrap();
        assert_eq!(generations(directory.path()), [1]);
        state.shorten_journal().unwrap();
        assert_eq!(generations(directory.path()), [2, 3]);
    }

    #[test]
    fn generations_are_dropped_when_their_clocks_are_over() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        attempt(&state, "early", START);
        attempt(&state, "proven", START);
        attempt(&state, "proven", START + 120_000);
        state.journal.rotate().unwrap();
        attempt(&state, "second", START + 120_000);
        state.maintain(TICKS_PER_FLUSH).unwrap();
        assert_eq!(generations(directory.path()), [1, 3]);
        attempt(&state, "early", START + 121_000);
        state.maintain(TICKS_PER_FLUSH + 1).unwrap();
        assert_eq!(generations(directory.path()), [1, 3], "not yet");
        state.maintain(2 * TICKS_PER_FLUSH).unwrap();
        assert_eq!(generations(directory.path()), [3]);
        drop(state);

        let state = open(directory.path());
        assert_eq!(attempt(&state, "second", START + 180_000), wait(60));
        for sender in ["early", "proven"] {
            assert!(matches!(attempt(&state, sender, START + 180_000), Answer::Known { .. }), "{sender}");
        }
    }

    #[test]
    fn tags_wrap_around() {
        for (tag, other, before) in
            [(0, 0, false), (1, 2, true), (2, 1, false), (65_535, 0, true), (0, 65_535, false)]
        {
            assert_eq!(is_before(tag, other), before, "{tag} {other}");
        }
    }

    #[test]
    fn attempts_made_while_the_journal_is_shortened_are_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        const ATTEMPTS: u32 = 20_000;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let counts: Vec<u32> = thread::scope(|scope| {
            let writer = |name: u32| {
                let (state, stop) = (&state, &stop);
                scope.spawn(move || {
                    let mut count = 0;
                    // Bounded, so that the table never has to let go of the oldest.
                    while count < ATTEMPTS && !stop.load(Ordering::Relaxed) {
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
                state.journal.rotate().unwrap();
                state.drop_generations().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        drop(state);

        let state = open(directory.path());
        for (name, count) in counts.into_iter().enumerate() {
            assert!(count > 0);
            for n in 0..count {
                let known = attempt(&state, &format!("{name}-{n}"), START + 121_000);
                assert!(matches!(known, Answer::Known { .. }), "{name}-{n}: {known:?}");
                let early = attempt(&state, &format!("{name}-{n}-early"), START + 60_000);
                assert_eq!(early, wait(60), "{name}-{n}");
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
            state.database.prove(Key::from_bytes(key), Proven { expires });
        }
        state.settle().unwrap();
        assert_eq!((state.database.proofs().unwrap(), state.database.waiting()), (256, 0));
        let later = Timestamp::from_millis(START).plus(Duration::from_secs(2 * 86_400));
        state.database.sweep(5, later).unwrap();
        assert_eq!(state.database.proofs().unwrap(), 255);
        (0..=255).for_each(|first_byte| state.database.sweep(first_byte, later).unwrap());
        assert_eq!(state.database.proofs().unwrap(), 156);
    }

    #[test]
    fn a_store_that_is_opened_again_and_again_is_swept_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let expired = Proven { expires: Timestamp::from_millis(1) };
        let state = open(directory.path());
        (0..=255).for_each(|n| state.database.prove(Key::from_bytes([n; 16]), expired));
        state.settle().unwrap();
        assert_eq!(state.database.proofs().unwrap(), 256);
        drop(state);
        for opened in 0..256 {
            let now = Timestamp::from_millis(START).plus(Duration::from_secs(opened * TICKS_PER_SWEEP));
            State::open(directory.path(), 1_000, now).unwrap().maintain(0).unwrap();
        }
        assert_eq!(open(directory.path()).database.proofs().unwrap(), 0);
    }

    #[test]
    fn a_proof_renewed_while_it_is_written_out_stays_renewed() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        let key = Key::from_bytes([1; 16]);
        let until = |millis| Proven { expires: Timestamp::from_millis(millis) };
        state.database.prove(key, until(1_000));
        state.database.prove(key, until(900));
        assert_eq!(state.database.proven(&key).unwrap(), Some(until(1_000)));
        for (expires, written) in [(1_000, 1), (2_000, 1)] {
            state.database.prove(key, until(expires));
            assert_eq!(state.database.waiting(), 1);
            state.settle().unwrap();
            assert_eq!(state.database.proven(&key).unwrap(), Some(until(expires)));
            assert_eq!((state.database.proofs().unwrap(), state.database.waiting()), (written, 0));
        }
    }
}
