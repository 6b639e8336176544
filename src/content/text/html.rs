//! HTML as a reader sees it: the text without tags, and what can be followed.

use std::ops::Range;

use html5gum::{HtmlString, StartTag, State, Token, Tokenizer};

use super::foreign::Foreign;

/// Attributes that lead somewhere, on whatever element they stand.
const LEADING: &[&[u8]] = &[
    b"href",
    b"src",
    b"action",
    b"formaction",
    b"background",
    b"data",
    b"poster",
    b"xlink:href",
    b"longdesc",
];

/// Elements that do not stand within a line, by the style sheet of the HTML standard (§15.3), and line breaks: their tags part
/// words. Those of other elements do not, whether the standard knows them or not.
const BLOCK: &[&[u8]] = &[
    b"address",
    b"article",
    b"aside",
    b"blockquote",
    b"body",
    b"br",
    b"caption",
    b"center",
    b"col",
    b"colgroup",
    b"dd",
    b"details",
    b"dialog",
    b"dir",
    b"div",
    b"dl",
    b"dt",
    b"fieldset",
    b"figcaption",
    b"figure",
    b"footer",
    b"form",
    b"frame",
    b"frameset",
    b"h1",
    b"h2",
    b"h3",
    b"h4",
    b"h5",
    b"h6",
    b"header",
    b"hgroup",
    b"hr",
    b"html",
    b"legend",
    b"li",
    b"listing",
    b"main",
    b"menu",
    b"nav",
    b"ol",
    b"optgroup",
    b"option",
    b"p",
    b"plaintext",
    b"pre",
    b"search",
    b"section",
    b"summary",
    b"table",
    b"tbody",
    b"td",
    b"tfoot",
    b"th",
    b"thead",
    b"tr",
    b"ul",
    b"xmp",
];

/// Elements that have no end.
const VOID: &[&[u8]] = &[
    b"area", b"base", b"br", b"col", b"embed", b"hr", b"img", b"input", b"link", b"meta", b"param",
    b"source", b"track", b"wbr",
];

/// A page, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::content) struct Page {
    /// Its text; tags of blocks are spaces.
    pub(in crate::content) text: String,
    /// The first `<base href>`, which stands before every relative link.
    pub(in crate::content) base: Option<String>,
    /// Values of attributes that lead somewhere, and of `<meta http-equiv="refresh">`.
    pub(in crate::content) links: Vec<String>,
    /// Which bytes of the text stand in elements that are not shown.
    hidden: Vec<Range<usize>>,
}

impl Page {
    /// Reads `html` as the HTML standard's tokenizer does, so that what a browser shows is what is seen. Scripts do not run in mail.
    pub(in crate::content) fn read(html: &str) -> Self {
        let mut tokens = Tokenizer::new(html);
        let mut page = Self::default();
        let mut place = Place::Line;
        // What stands apart from the lines, and parts none of their words.
        let mut apart = String::new();
        let mut foreign = Foreign::default();
        let mut curtain: Option<Curtain> = None;
        while let Some(Ok(token)) = tokens.next() {
            match token {
                Token::String(text) => match place {
                    Place::Line => page.text.push_str(&text_of(&text)),
                    Place::Apart => apart.push_str(&text_of(&text)),
                    Place::Nowhere => {}
                },
                Token::StartTag(tag) => {
                    page.part_words(&tag.name.0);
                    match &mut curtain {
                        Some(curtain) => curtain.depth += usize::from(curtain.element == tag.name.0),
                        None => curtain = Curtain::of(&tag, page.text.len()),
                    }
                    page.attributes(&tag, &mut apart);
                    let is_foreign = foreign.start(&tag);
                    if let Some(state) = state_after(&tag.name.0).filter(|_| !is_foreign) {
                        tokens.set_state(state);
                        place = Place::of(&tag.name.0);
                        apart.push(' ');
                    }
                }
                Token::EndTag(tag) => {
                    if let Some(drawn) = curtain.as_mut().filter(|drawn| drawn.element == tag.name.0) {
                        drawn.depth -= 1;
                        if drawn.depth == 0 {
                            page.hidden.push(drawn.from..page.text.len());
                            curtain = None;
                        }
                    }
                    page.part_words(&tag.name.0);
                    foreign.end(&tag.name.0);
                    place = Place::Line;
                }
                _ => {}
            }
        }
        page.hidden.extend(curtain.map(|drawn| drawn.from..page.text.len()));
        page.hidden.retain(|hidden| !hidden.is_empty());
        page.text.push(' ');
        page.text.push_str(&apart);
        page
    }

    /// The text without what is not shown, where that makes a difference. What tells what is shown is guessed by the elements alone:
    /// nobody should rely on it but together with the whole text.
    pub(in crate::content) fn shown(&self) -> Option<String> {
        if self.hidden.is_empty() {
            return None;
        }
        let mut shown = String::with_capacity(self.text.len());
        let mut end = 0;
        for hidden in &self.hidden {
            shown.push_str(self.text.get(end..hidden.start).unwrap_or_default());
            end = hidden.end;
        }
        shown.push_str(self.text.get(end..).unwrap_or_default());
        Some(shown)
    }

    fn part_words(&mut self, tag: &[u8]) {
        if BLOCK.contains(&tag) {
            self.text.push(' ');
        }
    }

    fn attributes(&mut self, tag: &StartTag<()>, apart: &mut String) {
        for (name, value) in &tag.attributes {
            self.attribute(&tag.name.0, &name.0, &text_of(value), apart);
        }
        if tag.name.0 == b"meta" {
            let value = |key: &[u8]| {
                let mut all = tag.attributes.iter();
                all.find(|(name, _)| name.0 == key).map(|(_, value)| text_of(value))
            };
            let is_refresh = value(b"http-equiv").is_some_and(|it| it.trim().eq_ignore_ascii_case("refresh"));
            self.links.extend(value(b"content").filter(|_| is_refresh).and_then(|it| refresh(&it)));
        }
    }

    fn attribute(&mut self, tag: &[u8], name: &[u8], value: &str, apart: &mut String) {
        match name {
            b"href" if tag == b"base" => {
                self.base.get_or_insert_with(|| value.to_owned());
            }
            b"srcset" => {
                let candidates = value.split(',').filter_map(|candidate| candidate.split_whitespace().next());
                self.links.extend(candidates.map(str::to_owned));
                return;
            }
            // Read instead of a picture.
            b"alt" if !value.is_empty() => {
                self.text.push(' ');
                self.text.push_str(value);
                self.text.push(' ');
                return;
            }
            b"title" => {
                apart.push(' ');
                apart.push_str(value);
                return;
            }
            _ => {}
        }
        if LEADING.contains(&name) && !value.trim().is_empty() {
            self.links.push(value.to_owned());
        }
    }
}

/// An element that is not shown, while it is open.
struct Curtain {
    element: Vec<u8>,
    /// Elements of its name that are open, itself included.
    depth: usize,
    /// Where its text begins.
    from: usize,
}

impl Curtain {
    fn of(tag: &StartTag<()>, from: usize) -> Option<Self> {
        if tag.self_closing || VOID.contains(&tag.name.0.as_slice()) {
            return None;
        }
        let is_hidden = tag.attributes.iter().any(|(name, value)| match name.0.as_slice() {
            b"hidden" => true,
            b"style" => hides(&text_of(value)),
            _ => false,
        });
        is_hidden.then(|| Self { element: tag.name.0.clone(), depth: 1, from })
    }
}

/// Whether a style shows nothing.
fn hides(style: &str) -> bool {
    let style: String = style.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let is_nothing = |value: &str| {
        let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        !number.is_empty() && number.bytes().all(|byte| matches!(byte, b'0' | b'.'))
    };
    style.split(';').filter_map(|rule| rule.split_once(':')).any(|(property, value)| {
        let value = value.trim_end_matches("!important");
        match property {
            "display" => value == "none",
            "visibility" => value == "hidden",
            "font-size" | "opacity" => is_nothing(value),
            _ => false,
        }
    })
}

/// Where the text of an element is read.
#[derive(Clone, Copy)]
enum Place {
    Line,
    /// Not among the lines: in the title of the window.
    Apart,
    /// Scripts and styles, whose text nobody reads.
    Nowhere,
}

impl Place {
    const fn of(element: &[u8]) -> Self {
        match element {
            b"script" | b"style" => Self::Nowhere,
            b"title" => Self::Apart,
            _ => Self::Line,
        }
    }
}

/// How what is in an element is read, where there are no tags in it (HTML standard §13.2.6). `noscript` has tags, as scripts do
/// not run.
const fn state_after(element: &[u8]) -> Option<State> {
    match element {
        b"textarea" | b"title" => Some(State::RcData),
        b"plaintext" => Some(State::PlainText),
        b"script" => Some(State::ScriptData),
        b"style" | b"iframe" | b"xmp" | b"noembed" | b"noframes" => Some(State::RawText),
        _ => None,
    }
}

/// `html` as Outlook reads it, where that makes a difference: with what stands in conditional comments
/// (`<!--[if mso]>...<![endif]-->`, of which the end is a comment of its own).
pub(super) fn for_outlook(html: &str) -> Option<String> {
    const OPEN: &str = "<!--[if";
    let lower = html.to_ascii_lowercase();
    let mut out = String::new();
    let mut end = 0;
    while let Some(at) = lower.get(end..).and_then(|rest| rest.find(OPEN)).map(|at| end + at) {
        let Some(length) = lower.get(at..).and_then(|rest| rest.find("]>")) else { break };
        out.push_str(html.get(end..at).unwrap_or_default());
        end = at + length + "]>".len();
    }
    (end > 0).then(|| out + html.get(end..).unwrap_or_default())
}

fn text_of(bytes: &HtmlString) -> String {
    String::from_utf8_lossy(&bytes.0).into_owned()
}

/// The address in `5; url=http://…`.
fn refresh(content: &str) -> Option<String> {
    let (_, rest) = content.split_once([';', ','])?;
    let rest = rest.trim_start();
    let key = rest.get(..3).filter(|key| key.eq_ignore_ascii_case("url"));
    let value = key.and_then(|_| rest.get(3..)?.trim_start().strip_prefix('='));
    let url = value.unwrap_or(rest).trim();
    let url = url.trim_matches(['"', '\'']);
    (!url.is_empty()).then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> String {
        super::super::visible(&Page::read(html).text)
    }

    #[test]
    fn tags_inside_words_do_not_part_them() {
        for (html, expected) in [
            ("V<b></b>ia<span>gr</span>a", "Viagra"),
            ("Via<!-- x -->gra", "Viagra"),
            ("<p>one</p><p>two</p>", "one two"),
            ("one<br>two", "one two"),
            ("<td>a<td>b", "a b"),
            ("&lt;free&gt; &amp; &#102;&#x72;&eacute;e&nbsp;now&#8203;!", "<free> & frée now!"),
            ("<style>hidden{}</style>seen<script>hidden()</script>", "seen"),
            ("<title>head</title><img alt='picture'>", "picture head"),
            ("a < b", "a < b"),
            ("<div", ""),
            ("lot<zzz></zzz>te<o:p/>r<button>y</button>", "lottery"),
            (
                "lot<label></label><ruby></ruby><map></map><img width=0><meta x><link x><input type=hidden>tery",
                "lottery",
            ),
            (
                "lot<style>x</style><script>y</script><template></template><svg></svg><img alt=''>tery",
                "lottery",
            ),
            ("lot<title>head</title>tery <b title='tip'>now</b>", "lottery now head tip"),
            ("<noscript>lot<b></b>t&#101;ry</noscript>", "lottery"),
            ("<svg><style><p>lot<b></b>tery", "lottery"),
            ("<math><style><p>lot<b></b>tery", "lottery"),
            ("<svg><title><p>lot<b></b>tery</title></svg><title>a<b>", "lottery a<b>"),
            ("<svg><p><style><a b='</style>lottery'>", "lottery'>"),
            ("<svg><foreignObject><style><a b='</style>lottery'>", "lottery'>"),
            ("<math><mi><style><a b='</style>lottery'>", "lottery'>"),
            ("<svg/><style><a b='</style>lottery'>", "lottery'>"),
            ("<svg></svg><style><a b='</style>lottery'>", "lottery'>"),
            ("<noframes>a<b></noframes>", "a<b>"),
        ] {
            assert_eq!(text(html), expected, "{html}");
        }
    }

    #[test]
    fn conditional_comments_are_read_as_outlook_does() {
        for (html, expected) in [
            ("a<!-- [if mso]>b<![endif]-->c", None),
            ("lot<!--[if mso]>te<![endif]-->ry", Some("lottery")),
            (
                "<!--[IF (gte mso 9)|(IE)]><p>a</p><![endif]--><!--[if !mso]><!-->b<!--<![endif]-->",
                Some("a b"),
            ),
            ("a<!--[if mso", None),
        ] {
            assert_eq!(for_outlook(html).map(|html| text(&html)).as_deref(), expected, "{html}");
        }
    }

    #[test]
    fn what_is_not_shown_can_be_left_out() {
        for (html, shown) in [
            ("a<b style='display : NONE'>x</b>c", Some("ac")),
            ("a<div style='color:red;visibility:hidden !important'>x<div>y</div>z</div>c", Some("a c")),
            ("a<span hidden>x</span>b<i style=font-size:0.0px>y</i>c", Some("abc")),
            ("a<p style=opacity:0>x", Some("a")),
            ("a<br hidden>x<img style=display:none>y", None),
            ("a<b style='font-size:0.9em;display:block'>x</b>c", None),
            ("a<b style='display:none'></b>c", None),
        ] {
            let found = Page::read(html).shown().map(|text| super::super::visible(&text));
            assert_eq!(found.as_deref(), shown, "{html}");
        }
    }

    #[test]
    fn whatever_leads_somewhere_is_a_link() {
        let page = Page::read(
            "<base href='http://base.test/'><a href=\"a&amp;b\">x</a><img src=i><form action=f><button formaction=g>\
             <meta http-equiv=Refresh content=\"0; URL='http://r.test/'\"><img srcset='s1 1x, s2 2x'><a href=''>",
        );
        assert_eq!(page.base.as_deref(), Some("http://base.test/"));
        assert_eq!(page.links, ["http://base.test/", "a&b", "i", "f", "g", "http://r.test/", "s1", "s2"]);
    }
}
