//! Tests of what becomes of mail while the disk hangs.

use std::fs::File;
use std::io::{PipeReader, Read, Write as _};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::*;
use crate::store::{Identity, IdentityKind, Rules};

/// What a pipe takes before it blocks.
const PIPE_LEN: usize = 65_536;

fn attempt(sender: &str) -> Attempt {
    Attempt {
        identities: vec![Identity { kind: IdentityKind::Address, key: "192.0.2.1".into() }],
        client: [192, 0, 2, 1].into(),
        sender: sender.into(),
        recipient: "r@example.test".into(),
        never_promote: false,
        mail_counted: false,
        rules: Rules::DEFAULT,
    }
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_millis(1_000 * secs)
}

const NEW: Answer = Answer::FirstSeen { wait: Duration::from_secs(120) };

/// A store that knows the sender "known", whose journal hangs while an attempt of "first" is written.
struct Hanging {
    store: EmbeddedStore,
    /// What the journal writes to.
    pipe: PipeReader,
    file: Arc<File>,
    first: thread::JoinHandle<Result<Answer, StoreFault>>,
    _directory: tempfile::TempDir,
}

impl Hanging {
    fn begin() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path(), 1_000, at(0)).unwrap();
        for secs in [1_000, 1_120] {
            store.state.record(&attempt("known"), at(secs)).unwrap();
        }
        let (pipe, mut full) = std::io::pipe().unwrap();
        full.write_all(&[0; PIPE_LEN]).unwrap();
        let file = store.state.journal.put_file(Arc::new(File::from(OwnedFd::from(full))));
        let state = Arc::clone(&store.state);
        let first = thread::spawn(move || state.record(&attempt("first"), at(1_200)));
        while !store.state.journal.is_being_written() {
            thread::yield_now();
        }
        Self { store, pipe, file, first, _directory: directory }
    }
}

#[tokio::test]
async fn known_mail_is_answered_and_other_mail_waits_without_a_thread() {
    let mut hanging = Hanging::begin();
    let (known, first, second) = (attempt("known"), attempt("first"), attempt("second"));
    let poll = |answer: StoreFuture<'_, Answer>| pin!(answer).poll(&mut Context::from_waker(Waker::noop()));
    let store = &hanging.store;
    assert!(matches!(poll(store.attempt(&known, at(1_200))), Poll::Ready(Ok(Answer::Known { .. }))));
    assert!(matches!(poll(store.peek(&second, at(1_200))), Poll::Ready(Ok(NEW))));
    // What it would be told goes by a clock that the journal does not have yet.
    assert!(poll(store.attempt(&first, at(1_210))).is_pending());
    let mut waiting = pin!(store.attempt(&second, at(1_201)));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    // Whoever waits no longer is in nobody's way.
    assert!(poll(store.attempt(&attempt("third"), at(1_202))).is_pending());

    hanging.pipe.read_exact(&mut [0; PIPE_LEN]).unwrap();
    assert_eq!(waiting.await.unwrap(), NEW);
    assert_eq!(hanging.first.join().unwrap().unwrap(), NEW);
    hanging.store.state.journal.put_file(hanging.file);
}

/// What is told of a store, and the time it takes to find out.
fn watched(store: &EmbeddedStore) -> Arc<Mutex<Vec<bool>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = Arc::clone(&told);
    store.watch(move |up| lock(&tells).push(up));
    told
}

const TIME_TO_NOTICE: Duration = Duration::from_millis(2_500);

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_told_whoever_is_known() {
    let mut hanging = Hanging::begin();
    let told = watched(&hanging.store);
    tokio::time::sleep(TIME_TO_NOTICE).await;
    let known = hanging.store.attempt(&attempt("known"), at(1_200)).await.unwrap();
    assert!(matches!(known, Answer::Known { .. }));
    tokio::time::sleep(TIME_TO_NOTICE).await;
    assert_eq!(*lock(&told), [true, false]);
    hanging.pipe.read_exact(&mut [0; PIPE_LEN]).unwrap();
    assert_eq!(hanging.first.join().unwrap().unwrap(), NEW);
    tokio::time::sleep(TIME_TO_NOTICE).await;
    assert_eq!(*lock(&told), [true, false, true]);
    hanging.store.state.journal.put_file(hanging.file);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_is_told_whoever_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), 1_000, at(0)).unwrap();
    for secs in [1_000, 1_120] {
        store.state.record(&attempt("known"), at(secs)).unwrap();
    }
    let told = watched(&store);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let file = store.state.journal.put_file(Arc::new(full));
    assert!(matches!(store.attempt(&attempt("first"), at(1_200)).await, Err(StoreFault::Io { .. })));
    for _ in 0..2 {
        tokio::time::sleep(TIME_TO_NOTICE).await;
        let known = store.attempt(&attempt("known"), at(1_200)).await.unwrap();
        assert!(matches!(known, Answer::Known { .. }));
    }
    assert_eq!(*lock(&told), [true, false]);
    store.state.journal.put_file(file);
    assert_eq!(store.attempt(&attempt("second"), at(1_201)).await.unwrap(), NEW);
    tokio::time::sleep(TIME_TO_NOTICE).await;
    assert_eq!(*lock(&told), [true, false, true]);
}

#[test]
fn changes_are_queued_while_a_generation_that_ends_waits_for_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), 1_000, at(0)).unwrap();
    let journal = &store.state.journal;
    let (mut pipe, mut full) = std::io::pipe().unwrap();
    full.write_all(&[0; PIPE_LEN]).unwrap();
    let generation = journal.generation();
    journal.put_file(Arc::new(File::from(OwnedFd::from(full))));
    let change = || std::iter::once(Entry::Forget(Key::from_bytes([1; 16])));
    journal.queue(change());
    let state = Arc::clone(&store.state);
    // It cannot sync a pipe in the end.
    let rotating = thread::spawn(move || state.journal.rotate().unwrap_err());
    while !journal.is_being_written() {
        thread::yield_now();
    }
    let (state, (done, is_done)) = (Arc::clone(&store.state), std::sync::mpsc::channel());
    let queueing = thread::spawn(move || done.send(state.journal.queue(change())));
    assert_eq!(is_done.recv_timeout(Duration::from_secs(5)), Ok(generation));
    queueing.join().unwrap().unwrap();
    pipe.read_exact(&mut [0; PIPE_LEN]).unwrap();
    rotating.join().unwrap();
    assert_eq!(journal.generation(), generation + 2);
}
