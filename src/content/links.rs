//! Links: where they stand in a text or a page, what is wrong with them, and what they lead to without their disguises.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;
use url::Url;

use super::text::{Page, visible};

/// Bytes of a link that are looked at.
const MAX_LINK: usize = 2048;

/// A link of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// What is matched: the link as written, then what it leads to in canonical form, its host in Unicode, and without percent
    /// signs; each once.
    pub(super) readings: Vec<String>,
    /// What is wrong with it, where it is no link by RFC 3986 though it looks like one.
    pub(super) malformed: Option<Malformed>,
}

/// Why a link is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// `http//host`.
    NoColon,
    /// `http:/host`, `http:\\host`, `http:host`.
    Slashes,
    /// `http://`, `http:///path`, `http://@/`.
    NoHost,
    /// A host with an empty label or a character that no name has, or a port that is no number.
    Authority,
}

impl Malformed {
    /// What is wrong, in words.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NoColon => "no colon",
            Self::Slashes => "not two slashes",
            Self::NoHost => "no host",
            Self::Authority => "no valid host or port",
        }
    }
}

/// Links as they are met, each once.
pub(super) struct Links {
    known: HashSet<String>,
    links: Vec<Link>,
    most: usize,
}

impl Links {
    /// None yet; `most` are kept.
    pub(super) fn new(most: usize) -> Self {
        Self { known: HashSet::new(), links: Vec::new(), most }
    }

    /// Adds the links of a page's attributes. Relative ones mean nothing in a mail without a base.
    pub(super) fn of_page(&mut self, page: &Page) {
        let base = page.base.as_deref().and_then(|base| Url::parse(base.trim()).ok());
        for written in &page.links {
            // Browsers drop tabs and line ends in addresses (URL standard, 4.4).
            let bare: String = written.chars().filter(|c| !matches!(c, '\t' | '\r' | '\n')).collect();
            self.add(&visible(&bare), base.as_ref(), false);
        }
    }

    /// Adds the links of a text that is [`visible`].
    pub(super) fn of_text(&mut self, text: &str) {
        for found in IN_TEXT.find_iter(text) {
            let written = found.as_str().trim_end_matches(AFTER_LINK);
            let host = host_of(written);
            if host.is_empty() && is_scheme_by_name(text, &found, written) {
                continue;
            }
            self.add(written, None, host.contains(['$', '{', '}', '|', '*', '`']));
        }
    }

    /// All of them, in the order they were met.
    pub(super) fn into_vec(self) -> Vec<Link> {
        self.links
    }

    /// A `template` has a host that stands for one (`https://${HOST}/`): nobody can follow it, and nobody means to deceive by it.
    fn add(&mut self, written: &str, base: Option<&Url>, template: bool) {
        let written = &written[..written.floor_char_boundary(MAX_LINK)];
        if written.is_empty() || self.links.len() >= self.most || !self.known.insert(written.to_owned()) {
            return;
        }
        let link = Link::read(written, base);
        self.links.push(Link { malformed: link.malformed.filter(|_| !template), ..link });
    }
}

/// What a reader or a mail program takes for a link: a web scheme, even where colon or slashes are wrong or it is written `hxxp`, or
/// a name that begins with `www.`.
static IN_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    let scheme = r"(?:h(?:tt|xx)ps?|f[tx]p)(?:(?::|\[:\])[/\\]+|//)";
    #[expect(clippy::unwrap_used, reason = "a constant, compiled by every test of this file")]
    Regex::new(&format!(r#"(?i)(?:{scheme}|(?-u:\b)www\.)[^\s<>"]*"#)).unwrap()
});

/// What follows a link in a sentence and is none of it.
const AFTER_LINK: [char; 13] = ['.', ',', ';', ':', '!', '?', ')', ']', '}', '\'', '"', '*', '_'];

/// What stands between the slashes of a link in a text and the next one.
fn host_of(written: &str) -> &str {
    let scheme = |c: char| c.is_ascii_alphabetic() || matches!(c, '[' | ']' | ':');
    let rest = written.trim_start_matches(scheme).trim_start_matches(['/', '\\']);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or_default()
}

/// Whether the text speaks of links instead of having one: a scheme alone that is no word of its own (`"http://"`, `http://...`).
fn is_scheme_by_name(text: &str, found: &regex::Match<'_>, written: &str) -> bool {
    let before = text.get(..found.start()).and_then(|before| before.chars().next_back());
    let after = text.get(found.end()..).and_then(|after| after.chars().next());
    let parts = |c: Option<char>| c.is_none_or(char::is_whitespace);
    let is_alone = written.trim_end_matches(['/', '\\']).ends_with([':', 'p', 's', ']']);
    is_alone && !(written.len() == found.len() && parts(before) && parts(after))
}

impl Link {
    fn read(written: &str, base: Option<&Url>) -> Self {
        let parsed = Parsed::read(written);
        let mut readings = vec![written.to_owned()];
        let url = match &parsed.repaired {
            Some(repaired) => Url::parse(repaired).ok(),
            None => base.and_then(|base| base.join(written).ok()).or_else(|| Url::parse(written).ok()),
        };
        if let Some(mut url) = url {
            // Who it claims to be for (`http://bank.test@evil.test/`) is not where it leads.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            let canonical = url.as_str().to_owned();
            readings.push(percent_decoded(&canonical));
            if let Some(host) = url.host_str().filter(|host| host.contains("xn--")) {
                let (unicode, _) = idna::domain_to_unicode(host);
                readings.push(canonical.replacen(host, &unicode, 1));
            }
            readings.insert(1, canonical);
        }
        let mut known = HashSet::new();
        readings.retain(|reading| known.insert(reading.clone()));
        Self { readings, malformed: parsed.malformed }
    }
}

/// A web link taken apart as far as it can be.
struct Parsed {
    /// The link with everything put right that can be; `None` for what is no web link.
    repaired: Option<String>,
    malformed: Option<Malformed>,
}

impl Parsed {
    fn read(written: &str) -> Self {
        const SCHEMES: [(&str, &str); 6] = [
            ("https", "https"),
            ("hxxps", "https"),
            ("http", "http"),
            ("hxxp", "http"),
            ("ftp", "ftp"),
            ("fxp", "ftp"),
        ];
        let none = Self { repaired: None, malformed: None };
        if starts_with_ignoring_case(written, "www.") {
            return Self { repaired: Some(format!("http://{}", refanged(written))), malformed: None };
        }
        let Some((typed, scheme)) =
            SCHEMES.into_iter().find(|(typed, _)| starts_with_ignoring_case(written, typed))
        else {
            return none;
        };
        let rest = &written[typed.len()..];
        let colon = [":", "[:]"].into_iter().find_map(|colon| rest.strip_prefix(colon));
        let rest = colon.unwrap_or(rest);
        let after = rest.trim_start_matches(['/', '\\']);
        let slashes = &rest[..rest.len() - after.len()];
        // `https-guide.html` and `httpd` are other words.
        if colon.is_none() && slashes.len() < 2 {
            return none;
        }
        // Only what is defanged on purpose has brackets around its dots.
        let is_defanged = typed != scheme || written.contains("[.]") || written.contains("[:]");
        let after = if is_defanged { refanged(after) } else { after.to_owned() };
        let repaired = format!("{scheme}://{after}");
        let malformed = match (colon, slashes) {
            (None, _) => Some(Malformed::NoColon),
            (_, "//") => authority_fault(&after, &repaired),
            (_, "///") => Some(Malformed::NoHost),
            _ => Some(Malformed::Slashes),
        };
        Self { repaired: Some(repaired), malformed }
    }
}

fn authority_fault(after: &str, url: &str) -> Option<Malformed> {
    let authority = after.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if name.is_empty() {
        return Some(Malformed::NoHost);
    }
    let has_empty_label = !name.starts_with('[') && name.trim_end_matches('.').split('.').any(str::is_empty);
    (has_empty_label || Url::parse(url).is_err()).then_some(Malformed::Authority)
}

/// `evil[.]test` as the name it stands for.
fn refanged(text: &str) -> String {
    text.replace("[.]", ".").replace("(.)", ".").replace("[dot]", ".").replace("(dot)", ".")
}

fn starts_with_ignoring_case(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

fn percent_decoded(text: &str) -> String {
    visible(&String::from_utf8_lossy(&super::readings::percent_decoded(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_text(text: &str) -> Vec<Link> {
        let mut links = Links::new(100);
        links.of_text(text);
        links.into_vec()
    }

    #[test]
    fn links_end_where_the_sentence_goes_on() {
        for (text, expected) in [
            ("see http://a.test/x, then", "http://a.test/x"),
            ("(https://a.test/)", "https://a.test/"),
            ("HTTP://A.test.", "HTTP://A.test"),
            ("<http://a.test/?b=c&d>", "http://a.test/?b=c&d"),
            ("at www.a.test!", "www.a.test"),
            ("clickhttp://a.test", "http://a.test"),
            ("hxxp://a[.]test/x", "hxxp://a[.]test/x"),
        ] {
            assert_eq!(in_text(text)[0].readings[0], expected, "{text}");
        }
        for text in ["HTTP/1.1 404", "httpd and https-guide", "ftp", "the www. thing is", "a//b", "C:\\x"] {
            let found = in_text(text);
            assert!(found.iter().all(|link| link.malformed.is_none()), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_link_is_named() {
        use Malformed::{Authority, NoColon, NoHost, Slashes};
        for (link, fault) in [
            ("http//a.test/", Some(NoColon)),
            ("https//a.test", Some(NoColon)),
            ("http:/a.test/", Some(Slashes)),
            ("http:\\\\a.test\\x", Some(Slashes)),
            ("http:////a.test", Some(Slashes)),
            ("http://", Some(NoHost)),
            ("http:///x", Some(NoHost)),
            ("http://?x", Some(NoHost)),
            ("http://user@/x", Some(NoHost)),
            ("http://:80/", Some(NoHost)),
            ("http://a..test/", Some(Authority)),
            ("http://a.test:port/", Some(Authority)),
            ("http://a.test:99999/", Some(Authority)),
            ("http://a test/", Some(Authority)),
            ("http://a.test", None),
            ("http://a.test./", None),
            ("http://a.test:8080/x//y", None),
            ("http://user:pass@a.test/", None),
            ("https://[2001:db8::1]/", None),
            ("http://b\u{fc}cher.test/", None),
            ("https://sub_domain.a.test/?u=http://b.test", None),
            ("hxxp://a[.]test", None),
            ("www.a.test", None),
            ("mailto:a@b.test", None),
            ("cid:1@x", None),
            ("#top", None),
            ("page.html", None),
        ] {
            assert_eq!(Parsed::read(link).malformed, fault, "{link}");
        }
    }

    #[test]
    fn every_disguise_has_its_plain_reading() {
        for (link, reading) in [
            ("http://bank.test@evil.test/x", "http://evil.test/x"),
            ("http://bank.test:80@evil.test:80/", "http://evil.test/"),
            ("HTTP://EVIL.test", "http://evil.test/"),
            ("http://%65vil.test/", "http://evil.test/"),
            ("http://xn--bcher-kva.test/", "http://b\u{fc}cher.test/"),
            ("http://b\u{fc}cher.test/", "http://xn--bcher-kva.test/"),
            ("http:\\\\evil.test\\x", "http://evil.test/x"),
            ("http//evil.test/x", "http://evil.test/x"),
            ("hxxps://evil[.]test/x", "https://evil.test/x"),
            ("www.evil.test", "http://www.evil.test/"),
            ("http://3221225985/", "http://192.0.2.1/"),
            ("http://0xc0.0.2.1/", "http://192.0.2.1/"),
            ("http://a.test/r?u=http%3A%2F%2Fevil.test", "http://a.test/r?u=http://evil.test"),
        ] {
            let readings = Link::read(link, None).readings;
            assert!(readings.iter().any(|found| found == reading), "{link}: {readings:?}");
        }
        let base = Url::parse("http://evil.test/a/").unwrap();
        assert_eq!(Link::read("b", Some(&base)).readings, ["b", "http://evil.test/a/b"]);
        assert_eq!(Link::read("b", None).readings, ["b"]);
    }
}
