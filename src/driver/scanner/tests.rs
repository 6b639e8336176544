use std::sync::mpsc;
use std::thread;

use super::*;
use crate::content::{Found, View};
use crate::dns::Zone;
use crate::driver::{Driver, Protocol};
use crate::facts::{Facts, Stage};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::store::MemoryStore;
use crate::verdict::Action;

const SOON: Duration = Duration::from_secs(30);

fn mail(subject: &str, size: usize) -> Message {
    Message::from_bytes(format!("Subject: {subject}\r\n\r\n{}", "x".repeat(size)).as_bytes())
}

fn subject(message: &Message) -> String {
    String::from_utf8_lossy(&message.headers()[0].value).into_owned()
}

fn client(last: u8) -> Client {
    Client::parse(&format!("192.0.2.{last}"))
}

async fn scan(
    scanner: &Scanner,
    client: Client,
    message: Message,
    budget: Duration,
) -> Result<Arc<Report>, Fault> {
    scanner.scan(client, &Arc::new(Structure::of(message)), Arc::default(), budget).await
}

/// A pool of `threads` whose scans say that they began and then wait to be let go.
fn gated(threads: usize) -> (Scanner, mpsc::Receiver<String>, mpsc::Sender<()>) {
    let (began, begun) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let scanner = Scanner::with(
        threads,
        move |structure, _, cancel| {
            let _ = began.send(subject(structure.message()));
            while !cancel.is_cancelled() && gate.lock().unwrap().try_recv().is_err() {
                thread::sleep(Duration::from_millis(1));
            }
            Report::default()
        },
        None,
    );
    (scanner, begun, go)
}

/// Waits until all threads are free.
async fn idle(scanner: &Scanner) {
    let began = Instant::now();
    while scanner.pool.lock().running > 0 {
        assert!(began.elapsed() < SOON);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_scan_finds_what_is_in_the_message() {
    let message = Message::from_bytes(b"Content-Disposition: attachment; filename=evil.exe\r\n\r\nMZ");
    let report = scan(&Scanner::new(1), client(1), message, SOON).await.unwrap();
    let expected = Found {
        reason: Reason::AttachmentForbiddenExtension,
        path: "evil.exe".into(),
        extension: Some("exe".into()),
        view: View::Tree,
    };
    assert!(report.found.contains(&expected), "{report:?}");
}

#[tokio::test]
async fn one_client_with_many_large_mails_does_not_starve_another() {
    let (scanner, begun, go) = gated(1);
    let send = |last: u8, subject: String, size: usize| {
        let scanner = scanner.clone();
        tokio::spawn(async move { scan(&scanner, client(last), mail(&subject, size), SOON).await })
    };
    let mut waiting = Vec::new();
    for number in 0..5 {
        waiting.push(send(1, format!("large {number}"), 1 << 20));
        tokio::task::yield_now().await;
    }
    waiting.push(send(2, "small".into(), 100));
    tokio::task::yield_now().await;
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(begun.recv_timeout(SOON).unwrap());
        go.send(()).unwrap();
    }
    assert_eq!(order, ["large 0", "small", "large 1", "large 2", "large 3", "large 4"]);
    for scan in waiting {
        assert!(scan.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn no_more_run_at_once_than_there_are_threads() {
    let (scanner, begun, go) = gated(2);
    let scans: Vec<_> = (0..5)
        .map(|number| {
            let scanner = scanner.clone();
            tokio::spawn(async move { scan(&scanner, client(number), mail("x", 1), SOON).await })
        })
        .collect();
    while scanner.pool.lock().running < 2 {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        begun.recv_timeout(SOON).unwrap();
    }
    assert!(begun.recv_timeout(Duration::from_millis(50)).is_err(), "a third one runs");
    for _ in 0..5 {
        go.send(()).unwrap();
    }
    for scan in scans {
        assert!(scan.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn time_is_up_while_scanning_and_while_waiting() {
    let (scanner, begun, _go) = gated(1);
    let send = |subject: &str, millis: u64| {
        scan(&scanner, client(1), mail(subject, 1), Duration::from_millis(millis))
    };
    // The one that waits gives up first: were both up at once, the thread might take it in that very moment.
    let (one, other) = tokio::join!(send("one", 1_000), send("other", 50));
    assert_eq!((one, other), (Err(Fault::Timeout), Err(Fault::Timeout)));
    assert_eq!(begun.recv_timeout(SOON).unwrap(), "one");
    // The first is cancelled and the second taken back, so that the thread is free for whoever comes next.
    idle(&scanner).await;
    assert!(begun.try_recv().is_err(), "a scan ran that nobody waited for");
}

#[tokio::test]
async fn a_panic_is_a_fault_and_the_same_content_a_repeated_one() {
    let beside: fn(&Structure, &AttachmentSettings, &Cancel) -> Report =
        |structure, settings, cancel| match subject(structure.message()).as_str() {
            "bad" => panic!("injected"),
            _ => content::scan_structure(structure, settings, cancel),
        };
    let at_once: ScanAtOnce = |structure, settings| match subject(structure.message()).as_str() {
        "bad" => panic!("injected"),
        _ => content::scan_at_once(structure, settings),
    };
    for scanner in [Scanner::with(1, beside, None), Scanner::with(1, beside, Some(at_once))] {
        let send = |subject: &str, last: u8| scan(&scanner, client(last), mail(subject, 1), SOON);
        assert_eq!(send("bad", 1).await, Err(Fault::Failed("the scan failed".into())));
        assert!(send("good", 1).await.is_ok());
        assert_eq!(send("bad", 2).await, Err(Fault::FailedAgain("the scan failed".into())));
        assert!(send("good", 1).await.is_ok());
        idle(&scanner).await;
    }
}

#[tokio::test]
async fn mail_that_breaks_the_scan_is_deferred_once_and_then_quarantined() {
    let scanner = Scanner::with(
        1,
        |structure, settings, cancel| match subject(structure.message()).as_str() {
            "bad" => panic!("injected"),
            _ => content::scan_structure(structure, settings, cancel),
        },
        None,
    );
    let store = Arc::new(MemoryStore::new(1_000).unwrap());
    let driver = Driver::new(Policy::default(), Arc::new(Zone::default()), store, scanner);
    for (subject, expected) in [
        ("bad", Action::Defer),
        ("good", Action::Accept),
        ("bad", Action::Quarantine),
        ("bad", Action::Quarantine),
    ] {
        let facts = Facts { message: Some(mail(subject, 10)), ..Facts::default() };
        let verdict = driver.judge(Stage::EndOfMessage, &facts, &mut driver.begin(Protocol::Milter)).await;
        let scan = verdict.findings.iter().find(|finding| finding.reason == Reason::AttachmentScanFault);
        let action = scan.map_or(Action::Accept, |finding| finding.outcome.action());
        assert_eq!(action, expected, "{subject}: {verdict:?}");
    }
}

#[tokio::test]
async fn threads_are_kept_and_end_with_the_pool() {
    let (scanner, begun, go) = gated(3);
    let state = |scanner: &Scanner| {
        let waiting = scanner.pool.lock();
        (waiting.started, waiting.running)
    };
    assert_eq!(state(&scanner), (0, 0));
    for round in [1, 1, 2, 2, 1, 3, 3] {
        let scans: Vec<_> = (0..round)
            .map(|number| {
                let scanner = scanner.clone();
                tokio::spawn(async move { scan(&scanner, client(number), mail("x", 1), SOON).await })
            })
            .collect();
        tokio::task::yield_now().await;
        (0..round).for_each(|_| drop(begun.recv_timeout(SOON).unwrap()));
        assert_eq!(state(&scanner).1, usize::from(round));
        (0..round).for_each(|_| go.send(()).unwrap());
        for scan in scans {
            assert_eq!(scan.await.unwrap(), Ok(Arc::default()));
        }
        idle(&scanner).await;
    }
    assert_eq!(state(&scanner), (3, 0));
    let pool = Arc::downgrade(&scanner.pool);
    drop(scanner);
    let began = Instant::now();
    while pool.strong_count() > 0 {
        assert!(began.elapsed() < SOON, "a thread goes on");
        thread::sleep(Duration::from_millis(1));
    }
}
