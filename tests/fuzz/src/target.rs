//! What is fuzzed, and what must hold of any input. The fuzzers and the replay of their corpora (`tests/attachments/corpus.rs`)
//! share this file.

#![allow(unreachable_pub, reason = "the fuzzers' library shows it, the tests do not")]

use std::num::NonZeroU32;
use std::sync::LazyLock;

use greylag::checks::AttachmentSettings;
use greylag::content::{self, Cancel, Report};
use greylag::facts::Message;
use greylag::policy::ByteSize;

/// A reader of hostile bytes.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// A whole message, through every view.
    Mime,
    /// The parameters of a part's header fields.
    Names,
    /// A page whose script puts files together.
    Script,
    /// A file named and read as a container of this kind.
    Zip,
    Rar,
    Tnef,
    Tar,
    Ole,
    Sevenz,
    Cab,
    Lzh,
    Arj,
    Cms,
    Rtf,
    Pdf,
    /// AppleSingle, AppleDouble and MacBinary.
    Apple,
    /// cpio and ar.
    Unix,
    /// One compressed file, by any of the methods.
    Compressed,
}

impl Target {
    pub const ALL: [Self; 18] = [
        Self::Mime,
        Self::Names,
        Self::Script,
        Self::Zip,
        Self::Rar,
        Self::Tnef,
        Self::Tar,
        Self::Ole,
        Self::Sevenz,
        Self::Cab,
        Self::Lzh,
        Self::Arj,
        Self::Cms,
        Self::Rtf,
        Self::Pdf,
        Self::Apple,
        Self::Unix,
        Self::Compressed,
    ];

    /// Its name, and its corpus' folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mime => "mime",
            Self::Names => "names",
            Self::Script => "script",
            Self::Zip => "zip",
            Self::Rar => "rar",
            Self::Tnef => "tnef",
            Self::Tar => "tar",
            Self::Ole => "ole",
            Self::Sevenz => "sevenz",
            Self::Cab => "cab",
            Self::Lzh => "lzh",
            Self::Arj => "arj",
            Self::Cms => "cms",
            Self::Rtf => "rtf",
            Self::Pdf => "pdf",
            Self::Apple => "apple",
            Self::Unix => "unix",
            Self::Compressed => "compressed",
        }
    }

    /// Scans `data` as the target reads it, with little enough to inflate that a fuzzer stays quick.
    pub fn scan(self, data: &[u8]) -> Report {
        let settings = &*SETTINGS;
        let cancel = Cancel::default();
        let file = |name: &str| content::scan_file(name, data, settings, &cancel);
        match self {
            Self::Mime => content::scan(&Message::from_bytes(data), settings, &cancel),
            Self::Names => {
                let field = b"Content-Disposition: attachment; filename".as_slice();
                let mail = [field, data, b"\r\nContent-Type: text/plain; name", data, b"\r\n\r\nHello\r\n"];
                content::scan(&Message::from_bytes(&mail.concat()), settings, &cancel)
            }
            Self::Script => {
                let page = [b"Content-Type: text/html\r\n\r\n<script>".as_slice(), data];
                content::scan(&Message::from_bytes(&page.concat()), settings, &cancel)
            }
            Self::Zip => file("a.zip"),
            Self::Rar => file("a.rar"),
            Self::Tnef => file("winmail.dat"),
            Self::Tar => file("a.tar"),
            Self::Ole => file("a.msg"),
            Self::Sevenz => file("a.7z"),
            Self::Cab => file("a.cab"),
            Self::Lzh => file("a.lzh"),
            Self::Arj => file("a.arj"),
            Self::Cms => file("smime.p7m"),
            Self::Rtf => file("a.rtf"),
            Self::Pdf => file("a.pdf"),
            Self::Apple => file("a.bin"),
            Self::Unix => file("a.cpio"),
            Self::Compressed => file("a.gz"),
        }
    }
}

const MAX_INFLATED: u64 = 1 << 20;
const MAX_NODES: u32 = 500;

/// Made once, as the lists in them are read then.
static SETTINGS: LazyLock<AttachmentSettings> = LazyLock::new(|| {
    let nodes = NonZeroU32::MIN.saturating_add(MAX_NODES - 1);
    AttachmentSettings {
        max_inflated: ByteSize(MAX_INFLATED),
        max_parts: nodes,
        max_entries: nodes,
        ..AttachmentSettings::default()
    }
});

/// The most work a scan of `size` bytes may do under these settings: linear in the bytes that came and that may be inflated.
pub fn work_limit(size: usize) -> u64 {
    // A target may put the input into a message twice, with some hundred bytes around it.
    let bytes = 2 * size as u64 + 1_000 + MAX_INFLATED;
    16 * bytes + 4096 * 2 * u64::from(MAX_NODES) + 1
}
