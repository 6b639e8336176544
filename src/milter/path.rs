//! Envelope paths that are no plain address. MTAs read comments, phrases, routes, quotes and more than one `@` as RFC 822 has them,
//! and hand on what the client typed: judged by that, a mail would be another's than the one they deliver.

use std::borrow::Cow;

use crate::facts::{Address, Mta};

/// What is an atom by itself to Sendmail (`OperatorChars`, and those of RFC 822): between two others it puts a dot where white space
/// was.
const OPERATORS: &str = ".:%@!^/[]+<>(),;";

/// What names a domain.
const DOMAIN_SIGNS: [char; 3] = ['@', '%', '!'];

/// The mailbox that `mta` finds in `path`; `named` is what it says in `{mail_addr}` or `{rcpt_addr}`.
///
/// To Postfix that is the mailbox. To Sendmail it is what the mailbox leads to, by its own tables: without the domain where that is a
/// local one, and another's where there is a virtual user, whom the client must not hear of.
pub(super) fn mailbox<'a>(path: &'a str, named: Option<String>, mta: &Mta) -> Cow<'a, str> {
    if mta.is_postfix() {
        return named.map_or(Cow::Borrowed(path), Cow::Owned);
    }
    as_sendmail(path, named.as_deref()).into()
}

/// As Sendmail reads it: a domain that is its own it takes off, and reads what is left anew, as in `bob%school.test@mx.test`. Whether
/// it did so, what it says tells: it names either a mailbox on the way or, where none fits, what its tables made of the last one.
fn as_sendmail(path: &str, named: Option<&str>) -> String {
    let mut mailbox = read(path);
    if let Some(named) = named.map(Address::parse) {
        while !is_named(&mailbox, &named)
            && let Some(within) = without_domain(&mailbox)
        {
            mailbox = within;
        }
    }
    mailbox
}

/// Whether the mailbox is the one that is named, be it without its domain.
fn is_named(mailbox: &str, named: &Address) -> bool {
    let address = Address::parse(mailbox);
    address.local().eq_ignore_ascii_case(named.local())
        && named.domain().is_none_or(|domain| address.domain() == Some(domain))
}

/// The mailbox in the local part of another, where it has a domain.
fn without_domain(mailbox: &str) -> Option<String> {
    let address = Address::parse(mailbox);
    let within = Some(address.local()).filter(|local| local.contains(DOMAIN_SIGNS)).map(read)?;
    let names = Address::parse(&within);
    (names.domain().is_some() && !names.local().is_empty()).then_some(within)
}

/// The mailbox of a path, `local@domain`, quoted where it has to be.
fn read(path: &str) -> String {
    let text = innermost(path);
    let text = without_route(&text);
    let at = text.iter().rposition(|symbol| *symbol == Symbol::Plain('@'));
    let (local, domain) = at.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
    let is_plain = |symbol: &Symbol| match symbol {
        Symbol::Plain(_) => true,
        Symbol::Quoted(c) => !DOMAIN_SIGNS.contains(c) && !c.is_whitespace() && !"\"\\<>".contains(*c),
    };
    let mut mailbox = String::new();
    if local.iter().all(is_plain) {
        mailbox.extend(local.iter().map(Symbol::char));
    } else {
        mailbox.push('"');
        for c in local.iter().map(Symbol::char) {
            if matches!(c, '"' | '\\') {
                mailbox.push('\\');
            }
            mailbox.push(c);
        }
        mailbox.push('"');
    }
    if let Some(domain) = domain {
        mailbox.push('@');
        mailbox.extend(domain.iter().map(Symbol::char));
    }
    mailbox
}

/// A character of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    /// One that may mean something.
    Plain(char),
    /// One that stands for itself.
    Quoted(char),
}

impl Symbol {
    const fn char(&self) -> char {
        let (Self::Plain(c) | Self::Quoted(c)) = *self;
        c
    }

    fn is_operator(&self) -> bool {
        matches!(self, Self::Plain(c) if OPERATORS.contains(*c))
    }
}

/// What stands in the last angle brackets, or, without any, behind the name of a group; without comments and white space.
fn innermost(path: &str) -> Vec<Symbol> {
    let mut text: Vec<Symbol> = Vec::new();
    let (mut is_quoted, mut comments, mut has_gap) = (false, 0_usize, false);
    let (mut in_brackets, mut is_behind) = (false, false);
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        let symbol = match c {
            '\\' => match chars.next() {
                Some(c) => Symbol::Quoted(c),
                None => break,
            },
            '"' if comments == 0 => {
                is_quoted = !is_quoted;
                continue;
            }
            c if is_quoted => Symbol::Quoted(c),
            c => Symbol::Plain(c),
        };
        match symbol {
            Symbol::Plain('(') => comments += 1,
            Symbol::Plain(')') if comments > 0 => comments -= 1,
            Symbol::Plain('<') if comments == 0 => {
                text.clear();
                (in_brackets, is_behind) = (true, false);
            }
            Symbol::Plain('>') if comments == 0 => is_behind = in_brackets,
            Symbol::Plain(c) if c.is_whitespace() => {}
            symbol if comments == 0 && !is_behind => {
                let after_word = text.last().is_some_and(|last| !last.is_operator());
                if has_gap && after_word && !symbol.is_operator() {
                    text.push(Symbol::Plain('.'));
                }
                text.push(symbol);
                has_gap = false;
                continue;
            }
            _ => {}
        }
        has_gap = true;
    }
    while text.last() == Some(&Symbol::Plain(';')) {
        text.pop();
    }
    let group = text.iter().position(|symbol| matches!(symbol, Symbol::Plain(':' | '[')));
    if let Some(at) = group.filter(|_| !in_brackets && text.first() != Some(&Symbol::Plain('@')))
        && text.get(at) == Some(&Symbol::Plain(':'))
    {
        text.drain(..=at);
    }
    text
}

/// What follows a source route `@a,@b:` (RFC 5321 §4.1.1.3).
fn without_route(mut text: &[Symbol]) -> &[Symbol] {
    while let [Symbol::Plain('@'), route @ ..] = text {
        let literal = if let [Symbol::Plain('['), ..] = route {
            route.iter().position(|symbol| *symbol == Symbol::Plain(']')).unwrap_or_default()
        } else {
            0
        };
        let colon = route[literal..].iter().position(|symbol| *symbol == Symbol::Plain(':'));
        let Some(colon) = colon else { break };
        text = &route[literal + colon + 1..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sendmail() -> Mta {
        Mta { host_name: None, version: Some("8.17.1.9".into()) }
    }

    #[test]
    fn postfix_names_the_mailbox() {
        let postfix = Mta { version: Some("Postfix 3.7.11".into()), ..sendmail() };
        let named = Some("bob@school.test".to_owned());
        assert_eq!(mailbox("postmaster@<bob%school.test>", named, &postfix), "bob@school.test");
        assert_eq!(mailbox("<;>", Some(String::new()), &postfix), "");
        assert_eq!(mailbox("<b(x)ob@school.test>", None, &postfix), "<b(x)ob@school.test>");
    }

    #[test]
    fn brackets_that_are_quoted_stay_so() {
        for (path, local) in [
            ("<\"<postmaster\"@school.test>", "<postmaster"),
            ("<\\<postmaster@school.test>", "<postmaster"),
            ("<\"postmaster>\"@school.test>", "postmaster>"),
        ] {
            let mailbox = Address::parse(&mailbox(path, Some("bob".to_owned()), &sendmail()));
            assert_eq!((mailbox.local(), mailbox.domain()), (local, Some("school.test")), "{path}");
        }
    }

    /// Each as Sendmail 8.17.1 has it, which says only to whom it is local: `info`, or `john.private` who reads what comes for it.
    #[test]
    fn sendmail_keeps_the_domain_and_says_nothing_of_whom_the_mail_is_for() {
        for path in [
            "<\"info\"@school.test>",
            "<info@school.test(x)>",
            "<info(a)@(b)school.test>",
            "<(a\"b(c))info@school.test>",
            "<(a\\)b)info@school.test>",
            "<@a.test:info@school.test>",
            "<@a.test,@b.test:info@school.test>",
            "<@[IPv6:::1]:info@school.test>",
            "<info%school.test@mx.test>",
            "<info%school.test%mx.test@mx.test>",
            "<school.test!info@mx.test>",
            "<\"info@school.test\"@mx.test>",
            "<\"info%school.test\"@mx.test>",
            "<\"info@school.test\">",
            "postmaster@<info@school.test>",
            "postmaster@<\"info\"@school.test>",
            "<a<info@school.test>b>",
            "x:info@school.test",
            "list:info@school.test;",
            "<info @school.test>",
            "<in\\fo@school.test>",
            "<in\"fo\"@school.test>",
            "<\"in\\fo\"@school.test>",
        ] {
            for named in ["info", "john.private", "john@remote.private"] {
                let found = mailbox(path, Some(named.into()), &sendmail());
                assert_eq!(
                    Address::parse(&found).key(),
                    "info@school.test",
                    "{path}, named {named}: {found}"
                );
            }
        }
    }

    #[test]
    fn sendmail_names_the_domain_it_did_not_take_off() {
        for (path, named, expected) in [
            (
                "<ceo%attacker.test@bank.test>",
                Some("ceo%attacker.test@bank.test"),
                "ceo%attacker.test@bank.test",
            ),
            ("<ceo%attacker.test@bank.test>", None, "ceo%attacker.test@bank.test"),
            ("<\"c e\"@bank.test>", Some("\"c e\"@bank.test"), "\"c e\"@bank.test"),
            ("<\"a\\\"b\"@bank.test>", Some("\"a\\\"b\"@bank.test"), "\"a\\\"b\"@bank.test"),
            ("<\"a@b\"@bank.test>", Some("\"a@b\"@bank.test"), "\"a@b\"@bank.test"),
            ("<info%school.test>", Some("john.private"), "info%school.test"),
            ("<school.test!info>", Some("john.private"), "school.test!info"),
            ("<info!@school.test>", Some("info!"), "info!@school.test"),
            ("<info!@school.test>", Some("john.private"), "info!@school.test"),
            ("<info%@school.test>", Some("john.private"), "info%@school.test"),
            ("<in fo@school.test>", Some("in.fo"), "in.fo@school.test"),
            ("<list:info@school.test;>", Some("list:info"), "list:info@school.test"),
            ("<\"bob\">", Some("bob"), "bob"),
            ("<;>", Some(""), ""),
            ("<(", Some("x"), ""),
            ("<\\", Some("x"), ""),
            ("@:", Some("x"), ""),
        ] {
            let found = mailbox(path, named.map(str::to_owned), &sendmail());
            assert_eq!(found, expected, "{path}, named {named:?}");
        }
    }
}
