//! The pieces on the way of a mail, each by itself: reading packets and requests, filter and rules, look-ups, names, archives, store.
//!
//! `cargo bench --ignore-rust-version --bench micro`. `benches/policy.rs` measures lists at size, `benches/scan.rs` whole messages,
//! `benches/store.rs` the store at size.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench fails by panicking, and criterion's macro documents nothing"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Cursor, Write};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use greylag::checks::{AttachmentSettings, address, helo};
use greylag::content::{Cancel, scan_file};
use greylag::delegation::Decoder;
use greylag::facts::{Client, Connection, Facts, Recipient, ReversePath, Stage};
use greylag::filter::{self, Known};
use greylag::milter::{self, Frame, Limits};
use greylag::policy::{Policy, embedded};
use greylag::store::{
    Answer, Attempt, EmbeddedStore, Identity, IdentityKind, Rules, Store, StoreFault, Timestamp,
};
use greylag::verdict::Verdict;

/// A request as Postfix 3.10 sends it.
const REQUEST: &[u8] = b"request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n\
    client_address=198.18.0.1\nclient_name=mail.sender.example\nclient_port=53850\n\
    reverse_client_name=mail.sender.example\nserver_address=127.0.0.1\nserver_port=25\n\
    helo_name=mail.sender.example\nsender=alice@sender.example\nrecipient=bob@recipient.example\n\
    recipient_count=0\nqueue_id=\ninstance=3903.6b03b16e.f2bf9.0\nsize=777\netrn_domain=\nstress=\n\
    sasl_method=\nsasl_username=\nsasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n\
    ccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\nencryption_cipher=TLS_AES_256_GCM_SHA384\n\
    encryption_keysize=256\npolicy_context=\ncompatibility_level=3.6\nmail_version=3.10.0\n\n";

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy protocol");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    let mut decoder = Decoder::default();
    group.bench_function("read a request", |bencher| {
        bencher.iter(|| decoder.decode(black_box(REQUEST)).unwrap().expect("a whole request"));
    });
    group.finish();
}

/// The packets of a small mail, in the order in which Postfix sends them.
fn packets() -> Vec<Frame> {
    let frame = |code: u8, payload: &'static [u8]| Frame { code, payload: Bytes::from_static(payload) };
    let mut packets = vec![
        frame(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff"),
        frame(b'D', b"Cj\0mx.example\0{daemon_name}\0smtpd\0{client_ptr}\0mail.sender.example\0"),
        frame(b'C', b"mail.sender.example\x004\xd2\x5a198.18.0.1\0"),
        frame(b'H', b"mail.sender.example\0"),
        frame(b'M', b"<alice@sender.example>\0"),
        frame(b'R', b"<bob@recipient.example>\0"),
        frame(b'D', b"Ti\x004F2A1B\0"),
        frame(b'T', b""),
    ];
    packets.extend((0..10).map(|_| frame(b'L', b"X-Field\0 with a value of usual length\0")));
    packets.extend([frame(b'N', b""), frame(b'B', b"Dear Bob,\r\n\r\nsee you.\r\n"), frame(b'E', b"")]);
    packets
}

fn milter(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("milter protocol");
    let packets = packets();
    group.throughput(Throughput::Elements(packets.len() as u64));
    let mut bytes = BytesMut::new();
    for Frame { code, payload } in &packets {
        bytes.put_u32(1 + payload.len() as u32);
        bytes.put_u8(*code);
        bytes.put_slice(payload);
    }
    let bytes = bytes.freeze();
    group.bench_function("cut a session of one small mail into packets", |bencher| {
        bencher.iter_batched(
            || BytesMut::from(&bytes[..]),
            |mut bytes| {
                while let Some(packet) = Frame::decode(&mut bytes).unwrap() {
                    black_box(packet);
                }
            },
            BatchSize::SmallInput,
        );
    });
    let accepted = Verdict::default();
    let wishes = milter::Wishes { interest: filter::Interest::ALL, transport: milter::Transport::Tcp };
    group.bench_function("a session of one small mail, nothing judged", |bencher| {
        bencher.iter(|| {
            let mut session = milter::Session::new("milter".into(), Limits::default(), wishes);
            for packet in &packets {
                match session.on_frame(packet.clone()) {
                    milter::Step::Judge(pending) => {
                        black_box(session.on_verdict(pending, &accepted));
                    }
                    milter::Step::JudgeUnheard(unheard) => session.on_unheard(unheard, &accepted),
                    _ => {}
                }
            }
        });
    });
    group.finish();
}

fn facts() -> Facts {
    Facts {
        connection: Connection {
            client: Client::parse("198.18.0.1"),
            client_name: Some("mail.sender.example".to_owned()),
            ..Connection::default()
        },
        helo: Some("mail.sender.example".to_owned()),
        sender: Some(ReversePath::parse("<alice@sender.example>")),
        recipient: Some(Recipient::parse("<bob@recipient.example>")),
        ..Facts::default()
    }
}

fn rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    let (policy, _) = Policy::load(&embedded::files()).expect("the shipped policy loads");
    let facts = facts();
    let settings = policy.settings(&facts);
    group.bench_function("take an address apart", |bencher| {
        bencher.iter(|| Recipient::parse(black_box("<bob@recipient.example>")));
    });
    group.bench_function("address syntax", |bencher| {
        bencher.iter(|| address::judge(black_box(&facts), &settings));
    });
    group.bench_function("HELO name", |bencher| {
        // What is found out once is known afterwards: each round begins with nothing.
        bencher.iter(|| helo::judge(black_box(&facts), &settings, &Known::default()));
    });
    group.bench_function("filter at RCPT, until it asks", |bencher| {
        bencher.iter(|| filter::judge(Stage::Rcpt, black_box(&facts), &policy, &Known::default()));
    });
    group.bench_function("settings of a recipient", |bencher| {
        bencher.iter(|| policy.settings(black_box(&facts)));
    });
    let mut files = embedded::files();
    let scopes = (0..1_000).map(|number| {
        format!("\n[[scope]]\nname = \"{number}\"\nrecipient = [\"@domain{number}.test\"]\nset.helo.mode = \"off\"\n")
    });
    files.entry("scopes.toml".to_owned()).or_default().extend(scopes);
    let (scoped, _) = Policy::load(&files).expect("a policy of a thousand scopes loads");
    group.bench_function("settings of a recipient, 1,000 scopes", |bencher| {
        bencher.iter(|| scoped.settings(black_box(&facts)));
    });
    group.finish();
}

fn names(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("file names");
    let settings = AttachmentSettings::default();
    for (what, name) in [
        // What the scan of such a file takes without its name.
        ("none", ""),
        ("plain", "report.2026.01.pdf"),
        ("encoded words", "=?utf-8?B?cmVjaG51bmc=?= =?utf-8?Q?=2Epdf?="),
        ("of invisible characters", "re\u{200b}port\u{202e}fdp.txt"),
        ("long", "a very long name of a document, as scanners and lawyers give them, of the year 2026.docx"),
    ] {
        group.bench_function(what, |bencher| {
            bencher.iter(|| scan_file(black_box(name), b"text", &settings, &Cancel::default()));
        });
    }
    group.finish();
}

fn archives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("list an archive");
    let settings = AttachmentSettings::default();
    let file = |number: usize| (format!("folder/document {number}.txt"), format!("text of {number}\n"));
    for files in [1, 10, 100, 1_000] {
        group.throughput(Throughput::Elements(files as u64));
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in (0..files).map(file) {
            zip.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        for (name, data) in
            [("a.zip", zip.finish().unwrap().into_inner()), ("a.tar", tar.into_inner().unwrap())]
        {
            group.bench_with_input(BenchmarkId::new(name, files), &data, |bencher, data| {
                bencher.iter(|| scan_file(name, black_box(data), &settings, &Cancel::default()));
            });
        }
    }
    group.finish();
}

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn attempt(number: u32) -> Attempt {
    let [a, b, c, d] = number.wrapping_mul(2_654_435_761).to_be_bytes();
    Attempt {
        identities: vec![Identity { kind: IdentityKind::Network, key: format!("{a}.{b}.{c}.0/24").into() }],
        client: [a, b, c, d].into(),
        sender: format!("{number}@sender.test"),
        recipient: format!("{}@example.test", number % 1_000),
        never_promote: false,
        mail_counted: false,
        rules: Rules::DEFAULT,
    }
}

/// Asks the embedded store.
fn ask(store: &EmbeddedStore, attempt: &Attempt, now: Timestamp) -> Result<Answer, StoreFault> {
    let mut context = Context::from_waker(Waker::noop());
    let mut answer = std::pin::pin!(store.attempt(attempt, now));
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            // The store's own thread has the journal just now.
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("embedded store");
    group.measurement_time(Duration::from_secs(3));
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), 10_000_000, NOW).unwrap();
    let known = attempt(0);
    ask(&store, &known, NOW).unwrap();
    let later = NOW.plus(Rules::DEFAULT.min_delay);
    assert!(matches!(ask(&store, &known, later), Ok(Answer::Matured { .. })));
    group.bench_function("a known triplet", |bencher| {
        bencher.iter(|| ask(&store, black_box(&known), later).unwrap());
    });
    let mut number = 0;
    group.bench_function("a new triplet", |bencher| {
        bencher.iter(|| {
            number += 1;
            ask(&store, &attempt(number), later).unwrap()
        });
    });
    group.finish();
}

/// The mistakes of a policy directory are found at each reload, so it must be quick.
fn policies(criterion: &mut Criterion) {
    let files: BTreeMap<String, String> = embedded::files();
    criterion.bench_function("load the shipped policy", |bencher| {
        bencher.iter_with_large_drop(|| Policy::load(black_box(&files)));
    });
}

criterion_group!(benches, requests, milter, rules, names, archives, store, policies);
criterion_main!(benches);
