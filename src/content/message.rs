//! Messages: the MIME tree, then the raw view of the same bytes.

use mail_parser::{Encoding, Message, MessageParser, MessagePart, PartFlags, PartKind, Source};

use super::budget::Exceeded;
use super::filename::{self, Content};
use super::scanner::{Part, Place, Scanner};
use super::{Kind, View, parameters, raw};

/// Multiparts around a part, for each message around it, that the parser follows.
const MULTIPARTS_PER_MESSAGE: usize = 12;

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
    scanner.budget.work(text.len() as u64)?;
    let levels = scanner.budget.max_depth() as usize + 1;
    let parser = MessageParser::new()
        .max_depth(levels * MULTIPARTS_PER_MESSAGE)
        .max_parts(scanner.budget.parts_left() as usize + 1)
        .max_encoded_nesting(levels);
    let mut decoded = Vec::new();
    let parsed = parser.parse(text);
    if let Some(message) = &parsed {
        decoded = tree(scanner, message, place)?;
    }
    raw_view(scanner, text, place)?;
    for (text, place) in decoded {
        raw_view(scanner, text, &place)?;
    }
    Ok(())
}

/// Walks all parts of a message and of those nested in it. Returns the text of nested messages that were
/// transfer-encoded.
fn tree<'m>(
    scanner: &mut Scanner<'_>,
    message: &'m Message<'_>,
    place: &Place,
) -> Result<Vec<(&'m [u8], Place)>, Exceeded> {
    let cut_short = message.parts().len() > scanner.budget.parts_left() as usize;
    let mut places = vec![place.clone(); message.messages().len()];
    let mut decoded = Vec::new();
    for part in message.parts() {
        scanner.budget.part()?;
        let place = places.get(part.message().id() as usize).cloned().unwrap_or_default();
        let names = names(&part);
        let is_cut = part.flags().contains(PartFlags::LIMIT_REACHED) && !cut_short;
        if is_cut && place.depth <= scanner.budget.max_depth() {
            scanner.too_deep(place.path_of(names.first().map_or("", String::as_str)));
        }
        match part.kind() {
            PartKind::Message(inner) => {
                let name = names.first().map_or_else(String::new, |name| filename::shown(name));
                scanner.node(&place, name.clone(), Kind::Message, inner.raw().len() as u64);
                let prefix = super::archive::prefix(inner.raw());
                let content = Content::Known { prefix, size: inner.raw().len() as u64 };
                scanner.names(&names, content, &place, View::Tree)?;
                let inside = place.child(if name.is_empty() { Kind::Message.name() } else { &name });
                scanner.enter(&inside);
                if matches!(inner.source(), Source::Decoded(id) if id == part.id()) {
                    scanner.budget.work(inner.source_bytes().len() as u64)?;
                    decoded.push((inner.source_bytes(), inside.clone()));
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
                leaf(scanner, &part, &names, &place)?;
            }
        }
    }
    Ok(decoded)
}

fn leaf(
    scanner: &mut Scanner<'_>,
    part: &MessagePart<'_>,
    names: &[String],
    place: &Place,
) -> Result<(), Exceeded> {
    scanner.budget.work(part.raw_body().len() as u64)?;
    let data = part.decoded();
    let content_type = part.content_type();
    let main_type = content_type.map_or("", |content_type| content_type.ctype());
    // Some mail programs decode a multipart that is transfer-encoded, though RFC 2045 §6.4 forbids to encode it.
    if main_type == "multipart"
        && part.encoding() != Encoding::None
        && let Some(field) = part.headers().get("Content-Type")
    {
        let whole = [b"Content-Type:", field.raw_value().trim_ascii_end(), b"\r\n\r\n", &data].concat();
        return scanner.part(&Part { names, data: &whole, is_message: true }, place);
    }
    let subtype = content_type.and_then(|content_type| content_type.subtype()).unwrap_or_default();
    let is_message = main_type == "message" && !REPORTS.contains(&subtype) && !data.trim_ascii().is_empty();
    scanner.part(&Part { names, data: &data, is_message }, place)
}

/// Every name a part can have: first as mail-parser decodes it, then as written in any instance of any
/// `Content-*` field.
fn names(part: &MessagePart<'_>) -> Vec<String> {
    let mut names: Vec<String> = part.attachment_name().map(filename::shown).into_iter().collect();
    for header in part.headers().iter().filter(|header| raw::is_content_field(header.raw_name().as_bytes())) {
        if let Some(typed) = header.value().as_content_type() {
            let named = typed.attributes().filter(|(name, _)| name.contains("name"));
            names.extend(named.map(|(_, value)| value.to_owned()));
        }
        names.extend(parameters::names(header.raw_value()));
    }
    names.extend(part.content_description().filter(|text| !text.contains(' ')).map(str::to_owned));
    names
}

fn raw_view(scanner: &mut Scanner<'_>, text: &[u8], place: &Place) -> Result<(), Exceeded> {
    scanner.budget.work(text.len() as u64)?;
    raw::names(text, |name| scanner.raw_name(name, place))
}
