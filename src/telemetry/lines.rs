//! Lines on their way into the log: the threads that answer mail leave decisions and other events here, and one thread of the log's
//! own writes them out. Where it cannot keep up, or cannot write, lines are dropped and counted; mail never waits for the log.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime};

use super::kept::Kept;
use super::log::{Dates, Format};
use super::metrics;
use super::per_thread::LockedPerThread;
use super::said::Said;
use crate::priority;
use crate::store::Timestamp;

/// What may wait of each thread that answers, in bytes: some 10,000 decisions.
const MOST_WAITING: usize = 4 << 20;

/// What may wait of events other than decisions, in bytes: some thousands.
const MOST_EVENTS_WAITING: usize = 1 << 20;

/// Lines are gathered for so long while they come, to be written together; so few that no answer waits long for the processor.
const GATHERING: Duration = Duration::from_millis(1);

/// What waits to be written.
pub(super) struct Lines {
    waiting: LockedPerThread<Kept>,
    events: Mutex<Events>,
    /// Whether the writing thread waits to be woken.
    is_asleep: AtomicBool,
    thread: OnceLock<Thread>,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
}

/// Events other than decisions, in the order in which they came.
#[derive(Default)]
struct Events {
    /// When each came, and its line.
    each: Vec<(Timestamp, Box<[u8]>)>,
    /// The bytes of all lines.
    size: usize,
}

/// How often it was asked that all be written, and how many of these requests are met.
#[derive(Default)]
struct Flushes {
    asked: u64,
    done: u64,
}

/// What the thread writes with, kept from time to time.
struct Writing {
    format: Format,
    batches: Vec<Kept>,
    events: Events,
    text: Vec<u8>,
    dates: Dates,
    out: Out,
}

impl Lines {
    /// Starts the thread that writes to `out`, which is not to keep anything back.
    ///
    /// # Errors
    /// When the system has no thread.
    pub(super) fn start(format: Format, out: impl io::Write + Send + 'static) -> io::Result<Arc<Self>> {
        let waiting = LockedPerThread::<Kept>::default();
        let writing = Writing {
            format,
            batches: waiting.each().map(|_| Kept::default()).collect(),
            events: Events::default(),
            text: Vec::new(),
            dates: Dates::default(),
            out: Out { to: Box::new(out), is_cut: false },
        };
        let lines = Arc::new(Self {
            waiting,
            events: Mutex::default(),
            is_asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
            flushes: Mutex::default(),
            flushed: Condvar::new(),
        });
        let ours = Arc::clone(&lines);
        let thread = thread::Builder::new().name("log".into()).spawn(move || ours.write_on(writing))?;
        lines.thread.get_or_init(|| thread.thread().clone());
        Ok(lines)
    }

    /// Leaves a decision: all of it as it is written, or what is its own and what it shares.
    pub(super) fn push(&self, bytes: &[u8], shared: Option<&Arc<Said>>) {
        let Some(mut waiting) = self.waiting.lock_own() else { return };
        if waiting.size() + Kept::size_of(bytes, shared) > MOST_WAITING {
            drop(waiting);
            return metrics::log_lines_dropped(Kept::lines_of(bytes, shared));
        }
        waiting.push(bytes, shared);
        drop(waiting);
        self.wake();
    }

    /// Leaves an event, which is a line.
    pub(super) fn push_event(&self, line: &[u8]) {
        let mut events = lock(&self.events);
        if events.size + line.len() > MOST_EVENTS_WAITING {
            drop(events);
            return metrics::log_lines_dropped(1);
        }
        events.size += line.len();
        events.each.push((SystemTime::now().into(), line.into()));
        drop(events);
        self.wake();
    }

    /// Waits until what was left so far is written, but not for longer than this: a log may take nothing any more.
    pub(super) fn flush(&self, at_most: Duration) {
        let mut flushes = lock(&self.flushes);
        flushes.asked += 1;
        let ours = flushes.asked;
        drop(flushes);
        self.wake();
        let is_waiting = |flushes: &mut Flushes| flushes.done < ours;
        drop(self.flushed.wait_timeout_while(lock(&self.flushes), at_most, is_waiting));
    }

    /// Wakes the writing thread. To be called after what it is to see was left behind a lock: then either the thread sees that, or
    /// this sees that it is asleep.
    fn wake(&self) {
        if self.is_asleep.load(Ordering::Acquire)
            && self.is_asleep.swap(false, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn write_on(&self, mut writing: Writing) {
        priority::give_way();
        loop {
            // Before the lines are taken: those that were left before it was asked are among them.
            let asked = lock(&self.flushes).asked;
            let were_any = self.write_waiting(&mut writing);
            lock(&self.flushes).done = asked;
            self.flushed.notify_all();
            if were_any {
                thread::sleep(GATHERING);
                continue;
            }
            self.is_asleep.store(true, Ordering::Release);
            if self.has_nothing_to_do() {
                thread::park();
            }
            self.is_asleep.store(false, Ordering::Release);
        }
    }

    fn has_nothing_to_do(&self) -> bool {
        let flushes = lock(&self.flushes);
        let is_flushed = flushes.done == flushes.asked;
        drop(flushes);
        is_flushed
            && lock(&self.events).each.is_empty()
            && self.waiting.lock_each().all(|waiting| waiting.is_empty())
    }

    /// Writes what waits; whether anything did.
    fn write_waiting(&self, writing: &mut Writing) -> bool {
        let Writing { format, batches, events, text, dates, out } = writing;
        for (batch, mut waiting) in batches.iter_mut().zip(self.waiting.lock_each()) {
            mem::swap(batch, &mut *waiting);
        }
        // After the decisions, so that none is written before an event that led to it.
        mem::swap(events, &mut *lock(&self.events));
        let mut decisions: Vec<_> = batches.iter_mut().flat_map(Kept::records).collect();
        // Those of one thread are in their order already.
        decisions.sort_by_key(|decision| decision.made.at);
        text.clear();
        let mut earlier = events.each.drain(..).peekable();
        for decision in &decisions {
            while let Some((_, line)) = earlier.next_if(|(at, _)| *at <= decision.made.at) {
                text.extend_from_slice(&line);
            }
            format.write(decision, dates, text);
        }
        earlier.for_each(|(_, line)| text.extend_from_slice(&line));
        events.size = 0;
        batches.iter_mut().for_each(Kept::clear);
        if text.is_empty() {
            return false;
        }
        let missing = out.write(text);
        if missing > 0 {
            metrics::log_lines_dropped(missing);
        }
        true
    }
}

/// Each event of the log comes as one piece.
impl io::Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push_event(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines are written to.
struct Out {
    to: Box<dyn io::Write + Send>,
    /// Whether the last line there is not whole.
    is_cut: bool,
}

impl Out {
    /// Writes lines as far as it goes. Returns how many of them are not there, or not whole.
    fn write(&mut self, lines: &[u8]) -> u64 {
        // A line that was cut off must not run into the next one.
        if self.is_cut && self.take(b"\n") == 1 {
            self.is_cut = false;
        }
        let taken = if self.is_cut { 0 } else { self.take(lines) };
        let (written, missing) = lines.split_at(taken);
        if let Some(last) = written.last() {
            self.is_cut = *last != b'\n';
        }
        memchr::memchr_iter(b'\n', missing).count() as u64
    }

    /// Writes until all is written, or an error comes. Returns how much was.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => break,
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What becomes of the lines is counted; there is nowhere else to tell it.
                Err(_) => break,
            }
        }
        bytes.len() - rest.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Protocol;
    use crate::facts::{Facts, Stage};
    use crate::filter::Slot;
    use crate::telemetry::record::Decision;
    use crate::verdict::Verdict;
    use std::io::Write as _;
    use std::sync::mpsc;
    use std::time::Instant;

    /// Longer than anything takes that is not blocked.
    const SOON: Duration = Duration::from_secs(10);

    fn decision(helo: &str, at: u64) -> Vec<u8> {
        let facts = Facts { helo: Some(helo.to_owned()), ..Facts::default() };
        let mut bytes = Vec::new();
        let verdict = Verdict::default();
        let decision = Decision {
            transaction: 1,
            at: Timestamp::from_millis(at),
            took: Duration::from_micros(7),
            protocol: Protocol::Policy,
            stage: Stage::Data,
            facts: &facts,
            verdict: &verdict,
            helo_dns: &Slot::NotAsked,
            spf: &Slot::NotAsked,
            identities: &[],
        };
        decision.write(&mut bytes);
        bytes
    }

    fn helos(text: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(text).into_owned();
        let helo = |line: &str| line.split(" helo=").nth(1)?.split(' ').next().map(str::to_owned);
        text.lines().filter_map(helo).collect()
    }

    /// Passes on what is written, once it is let.
    struct Gate(mpsc::Sender<Vec<u8>>, mpsc::Receiver<()>);

    impl io::Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            self.1.recv().unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_written_soon_and_all_are_after_a_flush() {
        let (written, lines_written) = mpsc::channel();
        let (let_on, gate) = mpsc::channel();
        let lines = Lines::start(Format::Text, Gate(written, gate)).unwrap();
        lines.push(&decision("a", 1), None);
        let first = lines_written.recv_timeout(SOON).unwrap();
        assert_eq!(helos(&first), ["a"]);
        lines.push(&decision("b", 2), None);
        lines.push(&decision("c", 3), None);
        let_on.send(()).unwrap();
        let_on.send(()).unwrap();
        let_on.send(()).unwrap();
        lines.flush(SOON);
        let rest: Vec<u8> = lines_written.try_iter().flatten().collect();
        assert_eq!(helos(&rest), ["b", "c"]);
    }

    #[test]
    fn nobody_waits_for_a_log_that_does_not_take_lines() {
        let (written, _lines_written) = mpsc::channel();
        let (let_on, gate) = mpsc::channel();
        let lines = Lines::start(Format::Text, Gate(written, gate)).unwrap();
        let (began, decision) = (Instant::now(), decision("a", 1));
        for _ in 0..2 * MOST_WAITING / decision.len() {
            lines.push(&decision, None);
        }
        assert!(began.elapsed() < Duration::from_secs(30));
        let waiting: usize = lines.waiting.lock_each().map(|waiting| waiting.size()).sum();
        assert!((1..=MOST_WAITING).contains(&waiting), "{waiting}");
        drop(let_on);
    }

    #[test]
    fn lines_of_several_threads_stand_in_the_order_of_their_time() {
        let (written, lines_written) = mpsc::channel();
        let (let_on, gate) = mpsc::channel();
        let lines = Lines::start(Format::Text, Gate(written, gate)).unwrap();
        // Keeps the writing thread busy while the others come.
        lines.push(&decision("first", 0), None);
        lines_written.recv_timeout(SOON).unwrap();
        thread::scope(|scope| {
            for number in (1..9).rev() {
                let lines = &lines;
                scope.spawn(move || lines.push(&decision(&number.to_string(), number), None)).join().unwrap();
            }
        });
        (0..3).for_each(|_| let_on.send(()).unwrap());
        lines.flush(SOON);
        let shown = helos(&lines_written.try_iter().flatten().collect::<Vec<u8>>());
        assert_eq!(shown, ["1", "2", "3", "4", "5", "6", "7", "8"]);
    }

    #[test]
    fn events_stand_among_the_decisions_in_the_order_of_their_time() {
        let (written, lines_written) = mpsc::channel();
        let (let_on, gate) = mpsc::channel();
        let lines = Lines::start(Format::Text, Gate(written, gate)).unwrap();
        lines.push_event(b"first\n");
        assert_eq!(lines_written.recv_timeout(SOON).unwrap(), b"first\n");
        lines.push(&decision("to_come", 9_000_000_000_000), None);
        (&*lines).write_all(b"event helo=now \n").unwrap();
        lines.push_event(b"event helo=then \n");
        lines.push(&decision("past", 1), None);
        (0..2).for_each(|_| let_on.send(()).unwrap());
        lines.flush(SOON);
        let shown = helos(&lines_written.try_iter().flatten().collect::<Vec<u8>>());
        assert_eq!(shown, ["past", "now", "then", "to_come"]);
    }

    #[test]
    fn neither_events_nor_a_flush_wait_for_a_log_that_does_not_take_lines() {
        let (written, lines_written) = mpsc::channel();
        let (let_on, gate) = mpsc::channel();
        let lines = Lines::start(Format::Text, Gate(written, gate)).unwrap();
        lines.push_event(b"first\n");
        lines_written.recv_timeout(SOON).unwrap();
        let event = [b'x'; 256];
        (0..10_000).for_each(|_| lines.push_event(&event));
        assert_eq!(lock(&lines.events).each.len(), MOST_EVENTS_WAITING / event.len());
        let began = Instant::now();
        lines.flush(Duration::from_millis(50));
        assert!((Duration::from_millis(50)..SOON).contains(&began.elapsed()));
        drop(let_on);
    }

    #[test]
    fn a_flush_with_nothing_left_to_write_returns_at_once() {
        let lines = Lines::start(Format::Text, io::sink()).unwrap();
        let began = Instant::now();
        (0..3).for_each(|_| lines.flush(SOON));
        assert!(began.elapsed() < SOON);
    }

    /// Takes so many bytes, then has no room for once, then takes all.
    struct Full {
        room: Option<usize>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = match self.room {
                Some(0) => {
                    self.room = None;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Some(room) => room.min(bytes.len()),
                None => bytes.len(),
            };
            self.room = self.room.map(|room| room - length);
            lock(&self.taken).extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_line_after_one_that_was_cut_off_begins_anew() {
        let taken = Arc::default();
        let full = Full { room: Some(100), taken: Arc::clone(&taken) };
        let lines = Lines::start(Format::Text, full).unwrap();
        for (helo, at) in [("a", 1), ("b", 2), ("c", 3)] {
            lines.push(&decision(helo, at), None);
            lines.flush(SOON);
        }
        let taken = String::from_utf8(lock(&taken).clone()).unwrap();
        let [cut, rest @ ..] = &*taken.lines().collect::<Vec<_>>() else { panic!("nothing written") };
        assert_eq!(cut.len(), 100, "{taken}");
        assert!(rest.iter().all(|line| line.starts_with("1970-01-01T00:00:00.00")), "{taken}");
        assert_eq!(helos(rest.join("\n").as_bytes()), ["b", "c"]);
    }

    #[test]
    fn lines_that_are_not_written_or_not_whole_are_counted() {
        let (lines, taken) = (b"one\ntwo\nthree\n", Arc::default());
        for (room, missing, text) in [
            (0, 3, "one\ntwo\nthree\n"),
            (2, 3, "on\none\ntwo\nthree\n"),
            (4, 2, "one\none\ntwo\nthree\n"),
            (6, 2, "one\ntw\none\ntwo\nthree\n"),
            (14, 0, "one\ntwo\nthree\none\ntwo\nthree\n"),
        ] {
            let full = Full { room: Some(room), taken: Arc::clone(&taken) };
            let mut out = Out { to: Box::new(full), is_cut: false };
            assert_eq!(out.write(lines), missing, "{room}");
            if missing == 0 {
                // There is no room for the next.
                assert_eq!(out.write(b"lost\n"), 1);
            }
            assert_eq!(out.write(lines), 0, "{room}");
            assert_eq!(String::from_utf8(mem::take(&mut *lock(&taken))).unwrap(), text, "{room}");
        }
        // Still no room, for a line end alone.
        let full = Full { room: Some(0), taken };
        assert_eq!(Out { to: Box::new(full), is_cut: true }.write(lines), 3);
    }
}
