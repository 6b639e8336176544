//! Messages: the MIME tree, other readings of its delimiters, then the salvage and raw views of the same bytes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use mail_parser::{ContentType, Encoding, Message, MessagePart, PartFlags, PartKind, Source};

use super::budget::Exceeded;
use super::filename::{self, Content};
use super::header::Header;
use super::raw::Seen;
use super::salvage::decode::{self, Padding};
use super::scanner::{Part, Place, Scanner};
use super::structure::{Limits, Structure};
use super::{Kind, View, delimiters, magic, parameters, raw, salvage};
use crate::reason::Reason;

/// Multiparts around a part, for each message around it, that the parser follows.
const MULTIPARTS_PER_MESSAGE: usize = 12;

/// Work of a field that may name a part, in bytes, besides its own.
const FIELD: u64 = 64;

/// Kinds of `message/*` that hold fields about a message instead of one (RFC 3464, RFC 8098, RFC 5965, RFC 6533).
const REPORTS: [&str; 5] = [
    "delivery-status",
    "disposition-notification",
    "feedback-report",
    "global-delivery-status",
    "global-disposition-notification",
];

/// Looks into the message `text`, whose attachments are in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, text: &[u8], place: &Place) -> Result<(), Exceeded> {
    let parsed = parse(scanner, text)?;
    views(scanner, text, parsed.as_ref(), place)
}

/// The same of a whole message, whose structure others look at too.
pub(super) fn scan_whole(
    scanner: &mut Scanner<'_>,
    structure: &Structure,
    place: &Place,
) -> Result<(), Exceeded> {
    let text = structure.message().text();
    scanner.budget.work(text.len() as u64)?;
    structure.look(limits(scanner), |parsed| views(scanner, text, parsed, place))
}

/// Unites the views of `text`, whose MIME tree is `parsed`.
fn views(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    parsed: Option<&Message<'_>>,
    place: &Place,
) -> Result<(), Exceeded> {
    let mut tree = Tree::default();
    if let Some(message) = parsed {
        tree.walk(scanner, message, place)?;
    }
    let mut is_ambiguous = other_readings(scanner, text, place, &tree)?;
    lines(scanner, text, place, &tree.decoded)?;
    for (text, place) in &tree.messages {
        is_ambiguous |= other_readings(scanner, text, place, &tree)?;
        lines(scanner, text, place, &tree.decoded)?;
    }
    for (text, place) in &tree.texts {
        lines(scanner, text, place, &[])?;
    }
    if is_ambiguous {
        tree.ambiguous.get_or_insert_with(|| place.path_of(""));
    }
    if let Some(path) = tree.ambiguous {
        scanner.found(Reason::AttachmentAmbiguousMime, path, None, View::Tree);
    }
    Ok(())
}

fn parse<'t>(scanner: &mut Scanner<'_>, text: &'t [u8]) -> Result<Option<Message<'t>>, Exceeded> {
    scanner.budget.work(text.len() as u64)?;
    Ok(limits(scanner).parse(text))
}

/// How far the parser follows a message.
fn limits(scanner: &Scanner<'_>) -> Limits {
    let levels = scanner.budget.max_depth() as usize + 1;
    Limits {
        depth: levels * MULTIPARTS_PER_MESSAGE,
        parts: scanner.budget.parts_left() as usize + 1,
        encoded_depth: levels,
    }
}

/// Reads `text` once more by each delimiter that the tree did not use, and by bare CRs as line ends. Returns whether
/// mail programs can disagree on where the parts are.
fn other_readings(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    place: &Place,
    tree: &Tree<'_>,
) -> Result<bool, Exceeded> {
    // What is base64 without doubt has neither in it.
    let pieces = without(text, &tree.base64);
    let mut unused = delimiters::unused(text, &pieces, &tree.boundaries);
    let limit = unused.len() + delimiters::MAX_DECLARED;
    let search = |scanner: &mut Scanner<'_>, unused: &mut Vec<_>, declared: &HashSet<_>| {
        if !declared.is_empty() {
            scanner.budget.work(text.len() as u64)?;
            delimiters::add_declared(unused, text, &pieces, declared);
        }
        Ok(())
    };
    search(scanner, &mut unused, &tree.declared)?;
    let mut next = 0;
    while let Some(delimiter) = unused.get(next).filter(|_| next < limit) {
        // Under this delimiter there may be parts that declare others.
        let other = again(scanner, &delimiter.as_message(text), place)?;
        search(scanner, &mut unused, &other.declared)?;
        next += 1;
    }
    if unused.len() > limit {
        scanner.found(Reason::AttachmentLimitEntries, place.path_of(""), None, View::Tree);
    }
    let by_bare_cr = if pieces.iter().any(|piece| has_bare_cr(text, piece)) {
        again(scanner, &with_bare_cr_as_line_end(text), place)?.parts
    } else {
        0
    };
    Ok((tree.is_lost && !unused.is_empty()) || by_bare_cr > tree.parts)
}

/// What another reading of a text shows of its structure.
#[derive(Default)]
struct Reading {
    /// How many parts it has.
    parts: usize,
    /// The boundaries that are declared in it and that it does not use.
    declared: HashSet<Vec<u8>>,
}

/// Walks another reading of a text. What cannot be read under it may be none, as where an old bounce quotes the beginning of a
/// message.
fn again(scanner: &mut Scanner<'_>, text: &[u8], place: &Place) -> Result<Reading, Exceeded> {
    let mut tree = Tree::default();
    let Some(message) = &parse(scanner, text)? else { return Ok(Reading::default()) };
    tree.walk(scanner, message, &place.salvaged())?;
    for (text, place) in &tree.messages {
        // Deeper is told by a limit, and nothing is followed.
        if place.depth <= scanner.budget.max_depth() {
            other_readings(scanner, text, place, &tree)?;
        }
        lines(scanner, text, place, &tree.decoded)?;
    }
    for (text, place) in &tree.texts {
        lines(scanner, text, place, &tree.decoded)?;
    }
    Ok(Reading { parts: tree.parts, declared: tree.declared })
}

/// Whether a CR in this piece of `text` ends no line.
fn has_bare_cr(text: &[u8], piece: &Range<usize>) -> bool {
    let piece = &text[piece.start..text.len().min(piece.end + 1)];
    let next = piece.get(1..).unwrap_or_default();
    // Without a way out of the loop it takes many bytes at a time.
    let is_bare = |(byte, next): (&u8, &u8)| u8::from(*byte == b'\r') & u8::from(*next != b'\n');
    piece.iter().zip(next).map(is_bare).fold(0, |any, is_bare| any | is_bare) != 0 || text.ends_with(b"\r")
}

/// The text with every CR that ends no line turned into LF.
fn with_bare_cr_as_line_end(text: &[u8]) -> Vec<u8> {
    let mut other = text.to_vec();
    for at in memchr::memchr_iter(b'\r', text).filter(|at| text.get(at + 1) != Some(&b'\n')) {
        other[at] = b'\n';
    }
    other
}

/// The pieces of `text` that are left without `ranges`, which are told by addresses.
fn without(text: &[u8], ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let start = text.as_ptr().addr();
    let within = ranges.iter().filter(|range| range.start >= start && range.end <= start + text.len());
    let mut pieces = Vec::new();
    let mut from = 0;
    for range in within {
        let (begin, end) = (range.start - start, range.end - start);
        if begin >= from {
            pieces.push(from..begin);
            from = end;
        }
    }
    pieces.push(from..text.len());
    pieces
}

/// The salvage and raw views of `text`, without what the tree `decoded` without doubt.
fn lines(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    place: &Place,
    decoded: &[Range<usize>],
) -> Result<(), Exceeded> {
    for piece in without(text, decoded) {
        let piece = &text[piece];
        scanner.budget.work(2 * piece.len() as u64)?;
        salvage::scan(scanner, piece, place)?;
        raw::seen(piece, |seen| {
            match seen {
                Seen::Name(name) => scanner.raw_name(name, place)?,
                Seen::Partial => scanner.found_by_lines(Reason::AttachmentPartialMessage, place),
                Seen::External => scanner.found_by_lines(Reason::AttachmentExternalBody, place),
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What the MIME tree of a text leaves for the other views.
#[derive(Default)]
struct Tree<'m> {
    parts: usize,
    /// Boundaries that were used.
    boundaries: HashSet<Vec<u8>>,
    /// Boundaries that a header gives, too, besides the one by which its part was read.
    declared: HashSet<Vec<u8>>,
    /// Bodies that were decoded without doubt, by their addresses.
    decoded: Vec<Range<usize>>,
    /// Those of them that are base64 and nothing else.
    base64: Vec<Range<usize>>,
    /// Attached messages that were transfer-encoded.
    messages: Vec<(&'m [u8], Place)>,
    /// Texts that were transfer-encoded.
    texts: Vec<(Cow<'m, [u8]>, Place)>,
    /// Whether something that says it has parts has none.
    is_lost: bool,
    /// Where mail programs can disagree on a part.
    ambiguous: Option<String>,
}

impl<'m> Tree<'m> {
    /// Walks all parts of a message and of those nested in it.
    fn walk(
        &mut self,
        scanner: &mut Scanner<'_>,
        message: &'m Message<'_>,
        place: &Place,
    ) -> Result<(), Exceeded> {
        let cut_short = message.parts().len() > scanner.budget.parts_left() as usize;
        let mut places = vec![place.clone(); message.messages().len()];
        for part in message.parts() {
            scanner.budget.part()?;
            self.parts += 1;
            let place = places.get(part.message().id() as usize).cloned().unwrap_or_default();
            let location = script_of_page(&part);
            let names = names(scanner, &part, location.as_deref())?;
            if let Some(location) = location {
                scanner.know(location);
            }
            let name = names.first().map_or("", String::as_str);
            let is_cut = part.flags().contains(PartFlags::LIMIT_REACHED) && !cut_short;
            if is_cut && place.depth <= scanner.budget.max_depth() {
                scanner.too_deep(place.path_of(name));
            }
            let header = Header::of(&part);
            self.note(scanner, &part, &header, || place.path_of(&filename::shown(name)));
            match part.kind() {
                PartKind::Message(inner) => {
                    let name = filename::shown(name);
                    scanner.node(&place, name.clone(), Kind::Message, inner.raw().len() as u64);
                    let prefix = super::archive::prefix(inner.raw());
                    let content = Content::Known { prefix, size: inner.raw().len() as u64 };
                    scanner.names(&names, content, &place, View::Tree)?;
                    let inside = place.child(if name.is_empty() { Kind::Message.name() } else { &name });
                    scanner.enter(&inside);
                    if matches!(inner.source(), Source::Decoded(id) if id == part.id()) {
                        scanner.budget.work(inner.source_bytes().len() as u64)?;
                        self.decoded_body(&part);
                        self.messages.push((inner.source_bytes(), inside.clone()));
                    }
                    if let Some(slot) = places.get_mut(inner.id() as usize) {
                        *slot = inside;
                    }
                }
                PartKind::Multipart => {
                    let content = Content::Known { prefix: &[], size: part.raw_body().len() as u64 };
                    scanner.names(&names, content, &place, View::Tree)?;
                }
                PartKind::Text | PartKind::Html | PartKind::Binary | PartKind::InlineBinary => {
                    self.leaf(scanner, &part, &header, &names, &place)?;
                }
            }
        }
        Ok(())
    }

    /// Takes note of what the header of a part says.
    fn note(
        &mut self,
        scanner: &mut Scanner<'_>,
        part: &MessagePart<'_>,
        header: &Header,
        path: impl Fn() -> String,
    ) {
        let is_multipart = matches!(part.kind(), PartKind::Multipart);
        let used = part.boundary().filter(|_| is_multipart).map(str::as_bytes);
        if let Some(boundary) = used {
            self.boundaries.insert(boundary.to_vec());
        }
        // Space at the end of a delimiter means nothing (RFC 2046 §5.1.1).
        let declared = header.boundaries.iter().map(|boundary| boundary.trim_ascii_end());
        let others = declared.filter(|boundary| !boundary.is_empty() && Some(*boundary) != used);
        self.declared.extend(others.map(<[u8]>::to_vec));
        let is_loose = part.flags().intersects(PartFlags::FALLBACK_DELIMITER);
        self.is_lost |= header.is_multipart && (!is_multipart || is_loose || part.children().len() == 0);
        let is_encoded_multipart = header.is_multipart && part.encoding() != Encoding::None;
        if header.is_ambiguous || is_encoded_multipart {
            self.ambiguous.get_or_insert_with(&path);
        }
        if header.is_partial {
            scanner.found(Reason::AttachmentPartialMessage, path(), None, View::Tree);
        }
        if header.is_external {
            scanner.found(Reason::AttachmentExternalBody, path(), None, View::Tree);
        }
    }

    fn leaf(
        &mut self,
        scanner: &mut Scanner<'_>,
        part: &MessagePart<'m>,
        header: &Header,
        names: &[String],
        place: &Place,
    ) -> Result<(), Exceeded> {
        scanner.budget.work(part.raw_body().len() as u64)?;
        let (data, problems) = part.decoded_checked();
        let content_type = part.content_type();
        let main_type = content_type.map_or("", |content_type| content_type.ctype());
        // Some mail programs decode a multipart that is transfer-encoded, though RFC 2045 §6.4 forbids to encode it.
        if main_type == "multipart"
            && part.encoding() != Encoding::None
            && let Some(field) = part.headers().get("Content-Type")
        {
            let whole = [b"Content-Type:", field.raw_value().trim_ascii_end(), b"\r\n\r\n", &data].concat();
            self.decoded_body(part);
            return scanner.part(&Part { names, data: &whole, is_message: true }, place);
        }
        let subtype = content_type.and_then(|content_type| content_type.subtype()).unwrap_or_default();
        let is_message =
            (main_type == "message" && !REPORTS.contains(&subtype)) || is_of_digest(part, header);
        let is_message = is_message && !data.trim_ascii().is_empty();
        let of_type =
            content_type.filter(|_| names.is_empty()).and_then(|kind| name_of_type(kind, is_attached(part)));
        let names = of_type.as_slice().iter().chain(names).cloned().collect::<Vec<_>>();
        let is_intact = problems.is_empty() && !is_padded_inside(part);
        let named = Part { names: &names, data: &data, is_message };
        let others = other_decodings(scanner, part, header, &named, is_intact)?;
        let lenient = place.salvaged();
        // Without an empty line the content is no body for the tree, and in uuencode it is none that it decodes: the
        // salvage view finds it in both.
        let is_elsewhere = part.flags().contains(PartFlags::NO_BLANK_LINE) || data.starts_with(b"begin ");
        let is_lenient = is_cut_in_bounce(part) || is_elsewhere;
        let inside = if is_lenient { &lenient } else { place };
        scanner.part_in_each_decoding(&named, &others, inside)?;
        let is_file = magic::is_sure(super::archive::prefix(&data));
        let is_base64 = is_intact && part.encoding() == Encoding::Base64;
        if is_base64 {
            self.base64.push(addresses(part));
        }
        if is_file || (is_base64 && !begins_within_group(part)) {
            self.decoded_body(part);
        }
        let wide = salvage::from_utf16(&data);
        let is_text = matches!(main_type, "text" | "message" | "")
            || wide.is_some()
            || memchr::memchr(0, &data).is_none();
        // A message is looked through line by line where it is opened; what else begins like a file may go on as text.
        if is_text
            && (is_file || part.encoding() != Encoding::None)
            && !super::archive::is_message(&names, super::archive::prefix(&data), is_message)
        {
            self.texts.push((wide.map_or(data, Cow::Owned), place.clone()));
        }
        Ok(())
    }

    fn decoded_body(&mut self, part: &MessagePart<'_>) {
        self.decoded.push(addresses(part));
    }
}

/// Where the body of a part is.
fn addresses(part: &MessagePart<'_>) -> Range<usize> {
    let body = part.raw_body().as_ptr_range();
    body.start.addr()..body.end.addr()
}

/// Whether a part is a message because it is in a digest and says nothing else (RFC 2046 §5.1.5).
fn is_of_digest(part: &MessagePart<'_>, header: &Header) -> bool {
    !header.has_type && part.parent().is_some_and(|parent| parent.is_content_type("multipart", "digest"))
}

/// Whether base64 goes on behind its padding, which ends it for some.
fn is_padded_inside(part: &MessagePart<'_>) -> bool {
    let body = part.raw_body();
    let padding = memchr::memchr(b'=', body).filter(|_| part.encoding() == Encoding::Base64);
    padding.is_some_and(|at| body[at..].iter().any(|byte| decode::digit(*byte).is_some()))
}

/// Whether the first line of base64 ends within a group: who decodes line by line reads the others in another way.
fn begins_within_group(part: &MessagePart<'_>) -> bool {
    let mut lines = raw::Lines::new(part.raw_body()).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    first.iter().filter(|byte| decode::digit(**byte).is_some()).count() % 4 != 0 && lines.next().is_some()
}

/// Whether a part is the last of a message that was returned as undeliverable and cut on the way: what is in it is not
/// whole, and nobody's fault.
fn is_cut_in_bounce(part: &MessagePart<'_>) -> bool {
    let is_cut = part.parent().is_some_and(|parent| parent.flags().contains(PartFlags::UNTERMINATED));
    let returned_in = part.message().container().and_then(|returned| returned.parent());
    is_cut && returned_in.is_some_and(|parent| parent.is_content_type("multipart", "report"))
}

/// Whether a part is offered as a file, and belongs to no page.
fn is_attached(part: &MessagePart<'_>) -> bool {
    part.content_disposition().is_some_and(|disposition| disposition.is_attachment())
        && !part.parent().is_some_and(|parent| parent.is_content_type("multipart", "related"))
}

/// The name that mail programs give a part without one, where its type is registered for programs. Those that pages are made of
/// count where the part `is_attached`.
fn name_of_type(content_type: ContentType<'_>, is_attached: bool) -> Option<String> {
    let main = content_type.ctype();
    let mut full = [main, "/", content_type.subtype().unwrap_or_default()].concat();
    full.make_ascii_lowercase();
    let extension = match full.as_str() {
        "application/x-msdownload"
        | "application/x-msdos-program"
        | "application/x-dosexec"
        | "application/exe"
        | "application/x-exe"
        | "application/dos-exe"
        | "application/x-winexe"
        | "application/msdos-windows"
        | "application/vnd.microsoft.portable-executable"
        | "vms/exe" => "exe",
        "application/x-com" => "com",
        "application/cmd" | "application/x-cmd" => "cmd",
        "application/x-bat" | "application/bat" | "text/x-msdos-batch" => "bat",
        "application/x-cpl" | "application/cpl+zip" => "cpl",
        "application/hta" => "hta",
        "application/x-msi" => "msi",
        "application/x-ms-shortcut" => "lnk",
        "text/vbscript" | "application/vbscript" | "text/vbs" | "application/x-vbs" => "vbs",
        "text/scriptlet" => "sct",
        "text/javascript" | "application/javascript" | "application/x-javascript" if is_attached => "js",
        "application/internet-shortcut" if is_attached => "url",
        "application/java-archive" => "jar",
        "application/x-java-jnlp-file" => "jnlp",
        _ => return None,
    };
    Some(format!("unnamed.{extension}"))
}

/// What else the body of a part can be decoded to, where its encoding is damaged or contradicts itself; only what is
/// a file then, or opened as a message, which may be long before it shows that it is one. It is `decoded` by the encoding that
/// the tree takes.
fn other_decodings(
    scanner: &mut Scanner<'_>,
    part: &MessagePart<'_>,
    header: &Header,
    decoded: &Part<'_>,
    is_intact: bool,
) -> Result<Vec<Vec<u8>>, Exceeded> {
    let body = part.raw_body();
    let glance = &body[..body.len().min(2 * magic::SURE)];
    let is_due = |encoding, begins: &[u8]| {
        let is_used = part.encoding() == encoding;
        let is_claimed = header.encodings.contains(&encoding);
        (is_used && !is_intact) || (!is_used && (is_claimed || magic::is_sure(begins)))
    };
    let mut others = Vec::new();
    if is_due(Encoding::Base64, &decode::base64(glance, Padding::EndsGroup, magic::SURE)) {
        scanner.budget.work(3 * body.len() as u64)?;
        let paddings = [Padding::EndsGroup, Padding::EndsAll, Padding::Ignored];
        others.extend(paddings.map(|padding| decode::base64(body, padding, usize::MAX)));
    }
    // Quoted-printable is the same as the text itself but where it has an escape.
    let has_escapes = memchr::memchr(b'=', glance).is_some();
    if has_escapes && is_due(Encoding::QuotedPrintable, &decode::quoted_printable(glance, magic::SURE)) {
        scanner.budget.work(body.len() as u64)?;
        others.push(decode::quoted_printable(body, usize::MAX));
    }
    if part.encoding() != Encoding::None && header.encodings.contains(&Encoding::None) {
        others.push(body.to_vec());
    }
    if header.is_uuencoded {
        scanner.budget.work(body.len() as u64)?;
        others.push(decode::uuencoded(body).0);
    }
    others.retain(|other| {
        let begins = super::archive::prefix(other);
        other != decoded.data
            && (magic::is_sure(begins)
                || magic::file_type(other).is_some()
                || super::archive::is_message(decoded.names, begins, decoded.is_message))
    });
    others.dedup();
    Ok(others)
}

/// Every name a part can have: first as mail-parser decodes it, then as written in any instance of any
/// `Content-*` field and its like, but for the `location` of a script.
fn names(
    scanner: &mut Scanner<'_>,
    part: &MessagePart<'_>,
    location: Option<&str>,
) -> Result<Vec<String>, Exceeded> {
    let mut names: Vec<String> = part.attachment_name().map(filename::shown).into_iter().collect();
    for header in part.headers().iter().filter(|header| raw::may_name(header.raw_name().as_bytes())) {
        scanner.budget.work(FIELD + header.raw_value().len() as u64)?;
        if let Some(typed) = header.value().as_content_type() {
            let named = typed.attributes().filter(|(name, _)| name.contains("name"));
            names.extend(named.map(|(_, value)| value.to_owned()));
        }
        names.extend(parameters::names(header.raw_value()));
        let name = raw::name_of_field(header.raw_name().as_bytes(), header.raw_value());
        names.extend(name.filter(|name| location != Some(name)));
    }
    Ok(names)
}

/// Where a script of a saved page was (RFC 2557): a location that browsers look for, and no name under which a mail program
/// would offer it.
fn script_of_page(part: &MessagePart<'_>) -> Option<String> {
    let kind = part.content_type().filter(|kind| matches!(kind.ctype(), "text" | "application"))?;
    let is_script = matches!(kind.subtype()?, "javascript" | "x-javascript" | "ecmascript");
    let is_of_page = part.parent().is_some_and(|parent| {
        parent.is_content_type("multipart", "related")
            && parent.children().next().is_some_and(|page| page.is_content_type("text", "html"))
    });
    let location = part.headers().get("Content-Location").filter(|_| is_script && is_of_page)?;
    let name = raw::name_of_field(b"content-location", location.raw_value())?;
    name.to_ascii_lowercase().ends_with(".js").then_some(name)
}
