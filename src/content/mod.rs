//! What is inside a message: every name of every attachment, through archives and attached messages, and what
//! cannot be looked into.
//!
//! No single reading of a message is enough, as mail programs and archivers disagree on damaged and ambiguous
//! ones. So several views are united, and what any of them finds counts:
//!
//! ```text
//! bytes of a message
//!   ├─ message     the MIME tree: parts, decoded, with every name their fields can give (header, parameters)
//!   ├─ delimiters  the tree once more, by each delimiter that it did not use
//!   ├─ salvage     what decodes to a file wherever it stands, but for what the tree decoded without doubt
//!   └─ raw         the lines that look like fields of MIME, wherever they stand
//! each part ── scanner
//!   ├─ filename    its names, under every reading (readings)
//!   ├─ magic       its type by content
//!   └─ archive     what is in it by every header in which a name may stand, which goes through the scanner again; an attached message, through message
//! ```
//!
//! What a message says is read apart from that (`text`, `links`), and matched by the rules of the administrator (`rules`).
//!
//! Where the views can disagree on the structure, that is a cause of its own (`ambiguous_mime`). All of it is paid
//! from one budget (`budget`), and what claims to be a container but cannot be read is a finding, never clean.
//!
//! A scan may call into decoders of foreign crates; whoever runs it should be ready to turn a panic into a fault
//! of the scan.

mod archive;
mod budget;
mod delimiters;
mod filename;
mod header;
mod links;
mod magic;
mod message;
mod parameters;
mod raw;
mod readings;
pub(crate) mod rules;
mod salvage;
mod scanner;
mod structure;
mod text;

use crate::checks::{AttachmentSettings, ContentSettings};
use crate::facts::Message;
use crate::reason::Reason;
use crate::verdict::Action;

pub use budget::Cancel;
pub(crate) use budget::DEPTH_CAP;
pub use rules::{Location, Match};
use scanner::{Part, Place, Scanner};
pub use structure::Structure;
use text::Wanted;
pub(crate) use text::{Texts, folded, visible};

/// Looks for forbidden attachments in a message. Takes time linear in its size, within the limits of `settings`.
pub fn scan(message: &Message, settings: &AttachmentSettings, cancel: &Cancel) -> Report {
    scan_structure(&Structure::of(message.clone()), settings, cancel)
}

/// As [`scan`], of a message whose structure others look at, too.
pub fn scan_structure(structure: &Structure, settings: &AttachmentSettings, cancel: &Cancel) -> Report {
    let mut scanner = Scanner::new(structure.message().text().len(), settings, cancel);
    let place = Place::default();
    let result = message::scan_whole(&mut scanner, structure, &place);
    scanner.finish(result, &place)
}

/// As [`scan_structure`], where that is so little work that nobody need be asked for it: a fraction of a millisecond. `None` where it is more.
pub fn scan_at_once(structure: &Structure, settings: &AttachmentSettings) -> Option<Report> {
    let message = structure.message();
    if !may_be_little_work(message) {
        return None;
    }
    let cancel = Cancel::default();
    let mut scanner = Scanner::new(message.len(), settings, &cancel).within(LITTLE_WORK);
    let place = Place::default();
    let result = message::scan_whole(&mut scanner, structure, &place);
    (!scanner.budget.is_spent()).then(|| scanner.finish(result, &place))
}

/// As [`inspect_structure`], where that is as little work.
pub fn inspect_at_once(structure: &Structure, settings: &ContentSettings) -> Option<Inspection> {
    let is_little = may_be_little_work(structure.message()) && settings.rule.is_empty();
    is_little.then(|| inspect_structure(structure, settings, &Cancel::default()))
}

/// Whether [`scan_at_once`] and [`inspect_at_once`] are worth trying.
pub fn may_be_little_work(message: &Message) -> bool {
    message.len() <= LITTLE_TEXT
}

/// Bytes of a message that may be little work,
const LITTLE_TEXT: usize = 16 << 10;
/// and the work that is.
const LITTLE_WORK: u64 = 128 << 10;

/// Looks for forbidden content in a file, as if it were attached to a message under `name`.
pub fn scan_file(name: &str, data: &[u8], settings: &AttachmentSettings, cancel: &Cancel) -> Report {
    let mut scanner = Scanner::new(data.len(), settings, cancel);
    let place = Place::default();
    let part = Part { names: &[name.to_owned()], data, is_message: false };
    let result = scanner.part(&part, &place);
    scanner.finish(result, &place)
}

/// Reads header, texts, links and attachment names of a message by the rules of `settings`, each only where one looks at it. Takes time linear in its size; inflates
/// nothing.
pub fn inspect(message: &Message, settings: &ContentSettings, cancel: &Cancel) -> Inspection {
    inspect_structure(&Structure::of(message.clone()), settings, cancel)
}

/// As [`inspect`], of a message whose structure others look at, too.
pub fn inspect_structure(structure: &Structure, settings: &ContentSettings, cancel: &Cancel) -> Inspection {
    let rules = &settings.rule;
    let wanted = Wanted {
        fields: rules.look_at_header(),
        texts: rules.look_at(Location::Body)
            || rules.look_at(Location::Link)
            || settings.malformed_link != Action::Accept,
        names: rules.look_at(Location::AttachmentName),
    };
    let texts = Texts::read(structure, wanted, settings.max_text.0, cancel);
    let mut malformed = texts.links.iter().filter_map(|link| Some((link, link.malformed?)));
    Inspection {
        matches: settings.rule.matches(&texts, cancel),
        malformed_link: malformed.next().map(|(link, fault)| MalformedLink {
            link: link.readings.first().cloned().unwrap_or_default(),
            fault: fault.name(),
        }),
    }
}

/// What the content rules say of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The rules that match, in the order of the file.
    pub matches: Vec<Match>,
    /// The first link that is malformed.
    pub malformed_link: Option<MalformedLink>,
}

/// A link that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedLink {
    /// The link as written.
    pub link: String,
    /// What is wrong with it.
    pub fault: &'static str,
}

/// What a scan found in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Everything with a cause, in the order it was met; at most [`MAX_FOUND`] of each cause.
    pub found: Vec<Found>,
    /// What is inside the message, each container before its content.
    pub tree: Vec<Node>,
    /// Work done, in bytes read, decoded and inflated; the same on every machine.
    pub work: u64,
}

/// Things found of one cause that a [`Report`] lists; a message with more of them is refused all the same.
pub const MAX_FOUND: usize = 32;

/// One thing a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cause.
    pub reason: Reason,
    /// Where it was found, from the outermost container inwards: `a.zip/b.zip/evil.exe`. Empty for the message
    /// itself.
    pub path: String,
    /// The forbidden extension in lower case, without dot.
    pub extension: Option<String>,
    /// The view that saw it.
    pub view: View,
}

/// A view of a message or archive; the findings of all views count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The MIME structure.
    Tree,
    /// Lines that look like MIME header fields, or open a uuencoded or yEnc file, wherever they stand.
    Raw,
    /// Bytes that decode to a file wherever they stand, or under another reading of their encoding.
    Salvage,
    /// The central directory of a zip.
    CentralDirectory,
    /// A local header of a zip that its central directory does not list, or under another name.
    LocalHeader,
    /// The Unicode path field (0x7075) of a zip entry.
    UnicodePath,
    /// A header of a container of another kind.
    Entry,
}

impl View {
    /// The view's name in log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Raw => "raw",
            Self::Salvage => "salvage",
            Self::CentralDirectory => "central_directory",
            Self::LocalHeader => "local_header",
            Self::UnicodePath => "unicode_path",
            Self::Entry => "entry",
        }
    }
}

/// A part, an archive or an archive entry, as [`Report::tree`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Containers around it: 0 for what is attached to the message itself.
    pub depth: u32,
    /// Its name, without control and invisible characters; may be empty.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes: decoded for a part, as declared for an archive entry.
    pub size: u64,
    /// The causes found at it.
    pub reasons: Vec<Reason>,
}

/// What a [`Node`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file that holds nothing else.
    File,
    /// An attached message.
    Message,
    /// A zip archive, or a file that has one in it.
    Zip,
    /// A tar archive.
    Tar,
    /// A 7z archive.
    SevenZ,
    /// A RAR archive, or a file that has one in it.
    Rar,
    /// A cabinet.
    Cab,
    /// An ARJ archive.
    Arj,
    /// An LHA archive.
    Lzh,
    /// A compound file: a message of Outlook, or a document of old Office.
    Ole,
    /// The attachments of a message in TNEF.
    Tnef,
    /// A signed or encrypted message of S/MIME.
    Cms,
    /// A file in AppleSingle or AppleDouble format.
    Apple,
    /// A file in MacBinary format.
    MacBinary,
    /// A cpio archive.
    Cpio,
    /// An ar archive.
    Ar,
    /// A document in RTF.
    Rtf,
    /// An archive that no reader here lists.
    Unlisted,
    /// One file, compressed by gzip.
    Gzip,
    /// One file, compressed by bzip2.
    Bzip2,
    /// One file, compressed by xz.
    Xz,
    /// One file, compressed by LZMA alone.
    Lzma,
    /// One file, compressed by lzip.
    Lzip,
    /// One file, compressed by Zstandard.
    Zstd,
    /// One file, compressed by LZ4.
    Lz4,
    /// One file, compressed by `compress`.
    Compress,
}

impl Kind {
    /// The kind's name in `greylag scan`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Message => "message",
            Self::Zip => "zip",
            Self::Tar => "tar",
            Self::SevenZ => "7z",
            Self::Rar => "rar",
            Self::Cab => "cab",
            Self::Arj => "arj",
            Self::Lzh => "lzh",
            Self::Ole => "ole",
            Self::Tnef => "tnef",
            Self::Cms => "smime",
            Self::Apple => "applefile",
            Self::MacBinary => "macbinary",
            Self::Cpio => "cpio",
            Self::Ar => "ar",
            Self::Rtf => "rtf",
            Self::Unlisted => "archive",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Lzip => "lzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Compress => "compress",
        }
    }
}
