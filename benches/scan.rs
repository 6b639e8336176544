//! What a scan takes, by kind of mail, and one pass of base64 decoding over the same attachment for comparison: a clean mail with a PDF
//! of 1 MB is to take no more than three of them.
//!
//! `cargo bench --ignore-rust-version --bench scan`
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "it shares the tests' modules, a bench fails by panicking, and criterion's macro documents \
             nothing"
)]

#[path = "../tests/attachments/build.rs"]
mod build;

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use greylag::checks::AttachmentSettings;
use greylag::content::{self, Cancel};
use greylag::facts::Message;

use build::{attachment, forwarded, mail, zip};

const MEGABYTE: usize = 1 << 20;

/// Bytes that neither compress nor look like anything, the same on every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(next).collect()
}

fn pdf(length: usize) -> Vec<u8> {
    [b"%PDF-1.7\n".to_vec(), noise(length), b"\n%%EOF\n".to_vec()].concat()
}

/// As a mail program attaches it.
fn pdf_part(length: usize) -> String {
    let fields = "Content-Type: application/pdf; name=\"report.pdf\"\r\n\
        Content-Disposition: attachment; filename=\"report.pdf\"";
    build::part(fields, &pdf(length))
}

/// As a newsletter has it.
fn page(length: usize) -> String {
    let row =
        "<tr><td style=\"padding:0 12px;color:#4d4d4d\">77 offers, 80% off at www.example.com</td></tr>\r\n";
    "Content-Type: text/html; charset=utf-8\r\n\r\n".to_owned() + &row.repeat(length / row.len())
}

fn mails() -> Vec<(&'static str, Vec<u8>)> {
    let text = |size: usize| {
        "Content-Type: text/plain; charset=utf-8\r\n\r\n".to_owned()
            + &"Hello, see www.example.com.\r\n".repeat(size / 29)
    };
    let documents: Vec<(String, Vec<u8>)> =
        (0..100).map(|number| (format!("scan {number}.tif"), noise(MEGABYTE / 10))).collect();
    let documents: Vec<(&str, &[u8])> =
        documents.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
    let nested = (0..6).fold(zip(&[("a.pdf", &pdf(MEGABYTE))]), |inner, level| {
        zip(&[(&format!("{level}.zip"), &inner), ("readme.txt", b"hello")])
    });
    let parts = |count: usize| vec!["Content-Type: text/plain; name=\"a.txt\"\r\n\r\nx".to_owned(); count];
    vec![
        ("small mail", mail(&[text(2_000)])),
        ("text of 1 MB", mail(&[text(MEGABYTE)])),
        ("PDF of 1 MB", mail(&[text(2_000), pdf_part(MEGABYTE)])),
        ("PDF of 1 MB without a type", mail(&[build::part("X-Part: 1", &pdf(MEGABYTE))])),
        ("page of 1 MB", mail(&[page(MEGABYTE)])),
        ("PDF of 10 MB", mail(&[text(2_000), pdf_part(10 * MEGABYTE)])),
        ("PDF of 1 MB, forwarded", mail(&[forwarded("a.eml", &mail(&[pdf_part(MEGABYTE)]))])),
        ("zip of 10 MB", mail(&[attachment("scans.zip", &zip(&documents))])),
        ("zips one in the other", mail(&[attachment("a.zip", &nested)])),
        ("9,000 parts", mail(&parts(9_000))),
        ("fields all over, 1 MB", mail(&["Content-Type: text/plain; name=a.txt\r\n".repeat(MEGABYTE / 38)])),
        ("boundaries all over, 1 MB", mail(&["--=_bound x\r\n".repeat(MEGABYTE / 13)])),
    ]
}

fn scans(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    let settings = AttachmentSettings::default();
    for (what, mail) in mails() {
        let message = Message::from_bytes(&mail);
        group.throughput(Throughput::Bytes(mail.len() as u64));
        group.bench_function(what, |bencher| {
            bencher.iter(|| content::scan(black_box(&message), &settings, &Cancel::default()));
        });
    }
    group.finish();
}

/// The yardstick: the base64 of the PDF of 1 MB, line by line, into one buffer.
fn base64(criterion: &mut Criterion) {
    let text = build::base64(&pdf(MEGABYTE));
    let mut group = criterion.benchmark_group("base64");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("decode the PDF of 1 MB", |bencher| {
        bencher.iter(|| {
            let mut decoded = Vec::with_capacity(text.len());
            for line in black_box(&text).lines() {
                STANDARD.decode_vec(line, &mut decoded).unwrap();
            }
            decoded
        });
    });
    group.finish();
}

criterion_group!(benches, scans, base64);
criterion_main!(benches);
