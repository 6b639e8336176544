//! The mails the load is made of: who sends what to whom.

use std::io::{Cursor, Write};

/// Triplets that are known before anything is measured.
pub(crate) const KNOWN: u64 = 10_000;
/// Triplets made known where what is asked about must not be what was decided a moment ago: five times what Greylag remembers of that.
pub(crate) const MANY: u64 = 100_000;
/// Sender domains; after one mail of each, everything the DNS says of them is cached.
pub(crate) const DOMAINS: u64 = 1_000;

/// One triplet, by number.
#[derive(Clone, Debug)]
pub(crate) struct Triplet {
    pub(crate) client: String,
    pub(crate) name: String,
    pub(crate) sender: String,
    pub(crate) recipient: String,
}

impl Triplet {
    /// The triplet `number` of those in `domains` domains. Numbers below [`KNOWN`], or [`MANY`], are made known before the measurement.
    pub(crate) fn new(number: u64, domains: u64) -> Self {
        let domain = format!("sender{}.example", number % domains);
        // Spread over 512 networks of /24, as mail is over the world.
        let host = number.wrapping_mul(0x9e37_79b9) % (1 << 17);
        let [a, b, c, d] = ((198 << 24) + (18 << 16) + host as u32).to_be_bytes();
        Self {
            client: format!("{a}.{b}.{c}.{d}"),
            name: format!("mail.{domain}"),
            // Letters only: digits are what normalisation folds away.
            sender: format!("{}@{domain}", letters(number)),
            recipient: format!("bob{}@recipient.example", number % 50),
        }
    }
}

/// A name for a number, of letters that normalisation leaves alone.
fn letters(mut number: u64) -> String {
    let mut name = String::from("u");
    loop {
        // Consonants spell no hexadecimal run.
        name.push(char::from(b"ghjklmnpqrstvwxz"[(number % 16) as usize]));
        number /= 16;
        if number == 0 {
            return name;
        }
    }
}

/// The header and body of a mail.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) header: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Content {
    /// Some lines of text.
    pub(crate) fn small() -> Self {
        Self {
            header: header("text/plain; charset=utf-8"),
            body:
                b"Dear Bob,\r\n\r\nthe meeting is moved to Thursday, same place, same time.\r\n\r\nAlice\r\n"
                    .to_vec(),
        }
    }

    /// `size` bytes of text.
    pub(crate) fn text(size: usize) -> Self {
        let line = b"the meeting is moved to Thursday, same place, same time, as ever.\r\n";
        let body = line.iter().copied().cycle().take(size).collect();
        Self { header: header("text/plain; charset=utf-8"), body }
    }

    /// A zip of `entries` small files.
    pub(crate) fn of_entries(entries: usize) -> Self {
        let files = (0..entries).map(|number| (format!("note {number}.txt"), b"a note\n".to_vec()));
        Self::attaching(archive(files))
    }

    /// A file in so many zips.
    pub(crate) fn nested(depth: usize) -> Self {
        let file = ("note.txt".to_owned(), noise(10_000, 1));
        let zip = (1..depth).fold(archive([file].into_iter()), |inner, level| {
            archive([(format!("level {level}.zip"), inner)].into_iter())
        });
        Self::attaching(zip)
    }

    /// About `size` bytes, most of it a zip with documents and an inner zip.
    pub(crate) fn with_zip(size: usize) -> Self {
        Self::attaching(zip(size / 4 * 3 - size / 20))
    }

    fn attaching(zip: Vec<u8>) -> Self {
        let mut body =
            b"--limit\r\nContent-Type: text/plain\r\n\r\nPlease find the documents attached.\r\n--limit\r\n\
              Content-Type: application/zip; name=\"documents.zip\"\r\nContent-Transfer-Encoding: base64\r\n\
              Content-Disposition: attachment; filename=\"documents.zip\"\r\n\r\n"
                .to_vec();
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(zip);
        for line in encoded.as_bytes().chunks(76) {
            body.extend_from_slice(line);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--limit--\r\n");
        Self { header: header("multipart/mixed; boundary=limit"), body }
    }
}

fn header(content_type: &str) -> Vec<(String, String)> {
    [
        (
            "Received",
            " from mail.sender.example (mail.sender.example [198.18.0.1])\n\tby mx.example with ESMTPS",
        ),
        ("Date", " Thu, 26 Nov 2026 12:00:00 +0000"),
        ("From", " Alice <alice@sender.example>"),
        ("To", " Bob <bob@recipient.example>"),
        ("Subject", " The meeting on Wednesday"),
        ("Message-ID", " <20261126120000.4711@sender.example>"),
        ("MIME-Version", " 1.0"),
        ("Content-Type", &format!(" {content_type}")),
        ("User-Agent", " a mail program"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A zip of about `size` bytes that cannot be compressed: forty documents, and a zip of five in it.
fn zip(size: usize) -> Vec<u8> {
    let inner = archive((0..5).map(|number| (format!("inner{number}.txt"), noise(size / 100, number))));
    let mut files: Vec<(String, Vec<u8>)> =
        (0..40).map(|number| (format!("folder/document {number}.pdf"), noise(size / 42, number))).collect();
    files.push(("older.zip".to_owned(), inner));
    archive(files.into_iter())
}

fn archive(files: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, content) in files {
        writer.start_file(name, options).expect("a zip in memory");
        writer.write_all(&content).expect("a zip in memory");
    }
    writer.finish().expect("a zip in memory").into_inner()
}

fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| next()).collect()
}
