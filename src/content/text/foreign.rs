//! SVG and MathML in pages, where elements named as those of HTML are not read as HTML reads them.

use html5gum::StartTag;

/// Elements that end all foreign content around them (HTML standard §13.2.6.5).
const BREAKOUT: &[&[u8]] = &[
    b"b",
    b"big",
    b"blockquote",
    b"body",
    b"br",
    b"center",
    b"code",
    b"dd",
    b"div",
    b"dl",
    b"dt",
    b"em",
    b"embed",
    b"h1",
    b"h2",
    b"h3",
    b"h4",
    b"h5",
    b"h6",
    b"head",
    b"hr",
    b"i",
    b"img",
    b"li",
    b"listing",
    b"menu",
    b"meta",
    b"nobr",
    b"ol",
    b"p",
    b"pre",
    b"ruby",
    b"s",
    b"small",
    b"span",
    b"strike",
    b"strong",
    b"sub",
    b"sup",
    b"table",
    b"tt",
    b"u",
    b"ul",
    b"var",
];

/// Whose element is open.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Svg,
    Math,
    /// HTML within one of the others, in the element of this name.
    Html(Vec<u8>),
}

/// Where in foreign content a page is, as far as tags alone tell.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    open: Vec<Open>,
}

impl Foreign {
    /// Whether what comes next is no HTML.
    fn is_inside(&self) -> bool {
        matches!(self.open.last(), Some(Open::Svg | Open::Math))
    }

    /// Goes by a start tag; whether it is one of foreign content.
    pub(super) fn start(&mut self, tag: &StartTag<()>) -> bool {
        let name = tag.name.0.as_slice();
        if self.is_inside() && breaks_out(tag) {
            self.leave();
        }
        let is_foreign = self.is_inside();
        let opened = match (self.open.last(), name) {
            (None | Some(Open::Html(_) | Open::Svg), b"svg") => Some(Open::Svg),
            (None | Some(Open::Html(_) | Open::Math), b"math") => Some(Open::Math),
            (Some(Open::Svg), b"foreignobject" | b"desc" | b"title")
            | (Some(Open::Math), b"mi" | b"mo" | b"mn" | b"ms" | b"mtext") => Some(Open::Html(name.to_vec())),
            (Some(Open::Math), b"annotation-xml") if holds_html(tag) => Some(Open::Html(name.to_vec())),
            _ => None,
        };
        self.open.extend(opened.filter(|_| !tag.self_closing));
        is_foreign
    }

    /// Goes by an end tag.
    pub(super) fn end(&mut self, name: &[u8]) {
        let ends = match self.open.last() {
            Some(Open::Svg | Open::Math) if matches!(name, b"p" | b"br") => return self.leave(),
            Some(Open::Svg) => name == b"svg",
            Some(Open::Math) => name == b"math",
            Some(Open::Html(element)) => name == element,
            None => false,
        };
        if ends {
            self.open.pop();
        }
    }

    /// Goes back to the HTML around.
    fn leave(&mut self) {
        while self.is_inside() {
            self.open.pop();
        }
    }
}

fn breaks_out(tag: &StartTag<()>) -> bool {
    let is_styled = || tag.attributes.keys().any(|name| matches!(&name.0[..], b"color" | b"face" | b"size"));
    BREAKOUT.contains(&tag.name.0.as_slice()) || tag.name.0 == b"font" && is_styled()
}

/// Whether an `annotation-xml` has HTML in it (HTML standard §13.2.6, "HTML integration point").
fn holds_html(tag: &StartTag<()>) -> bool {
    tag.attributes.iter().any(|(name, value)| {
        let is_html = |kind: &&[u8]| value.0.eq_ignore_ascii_case(kind);
        name.0 == b"encoding" && [&b"text/html"[..], b"application/xhtml+xml"].iter().any(is_html)
    })
}
