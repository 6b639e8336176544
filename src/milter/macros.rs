//! What the MTA says beside its commands: macros, kept by the stage of the session they came with.

use memchr::memchr_iter;

/// A stage of the SMTP session that has macros of its own, in session order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MacroStage {
    /// The connection.
    Connect,
    /// HELO or EHLO.
    Helo,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA.
    Data,
    /// End of the header.
    EndOfHeader,
    /// End of the message.
    EndOfMessage,
}

impl MacroStage {
    /// Number of stages.
    const COUNT: usize = Self::EndOfMessage as usize + 1;

    /// The stage of a command byte. Postfix sends macros for `L`, `B` and `U` too; they repeat what other stages say.
    pub const fn of_command(code: u8) -> Option<Self> {
        Some(match code {
            b'C' => Self::Connect,
            b'H' => Self::Helo,
            b'M' => Self::Mail,
            b'R' => Self::Rcpt,
            b'T' => Self::Data,
            b'N' => Self::EndOfHeader,
            b'E' => Self::EndOfMessage,
            _ => return None,
        })
    }
}

/// A set up to this size leaves its memory to the next one, in bytes. What Postfix sends by default is smaller.
const KEPT: usize = 512;

/// Definitions kept of a set. Sendmail sends 50 at most; Postfix has no limit, and sends those it was asked for, or a dozen. A packet
/// of NULs, as no MTA sends, would ask for eight times its size to know where they are.
const MAX_DEFINITIONS: usize = 128;

/// The macros of one session: one set a stage.
#[derive(Debug, Default)]
pub(super) struct Macros {
    sets: [Set; MacroStage::COUNT],
}

/// The macros of one stage.
#[derive(Debug, Default)]
struct Set {
    /// Names and values by turns, each ended by a NUL. A copy, so that a few bytes do not keep the whole read buffer alive.
    text: Vec<u8>,
    /// Where these NULs are: those of the connection are looked through for every mail.
    ends: Vec<usize>,
}

impl Macros {
    /// Replaces the set of `stage` by `definitions`: names and values by turns, each ended by a NUL.
    pub(super) fn define(&mut self, stage: MacroStage, definitions: &[u8]) {
        self.sets[stage as usize].define(definitions);
    }

    /// Forgets the sets of all stages after `stage`, as its command was received.
    pub(super) fn enter(&mut self, stage: MacroStage) {
        self.sets[stage as usize + 1..].iter_mut().for_each(Set::forget);
    }

    /// Forgets all sets, and what they took.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The values of these macros (their names without braces), each of the latest stage that has one. Empty values count as none.
    ///
    /// All that a command asks for, at once: each look is a walk through the sets.
    pub(super) fn get<const N: usize>(&self, names: [&str; N]) -> [Option<String>; N] {
        Self::find(&self.sets, names).map(|value| value.filter(|value| !value.is_empty()))
    }

    /// The value of a macro in the set of `stage`; an empty one counts as none.
    pub(super) fn of(&self, stage: MacroStage, name: &str) -> Option<String> {
        self.defined(stage, name).filter(|value| !value.is_empty())
    }

    /// The value of a macro in the set of `stage`, empty or not.
    pub(super) fn defined(&self, stage: MacroStage, name: &str) -> Option<String> {
        let [value] = Self::find(std::slice::from_ref(&self.sets[stage as usize]), [name]);
        value
    }

    /// Forgets the set of `stage`: its next command may come without one.
    pub(super) fn forget(&mut self, stage: MacroStage) {
        self.sets[stage as usize].forget();
    }

    fn find<const N: usize>(sets: &[Set], names: [&str; N]) -> [Option<String>; N] {
        let mut values = [None; N];
        for (defined, value) in sets.iter().rev().flat_map(Set::definitions) {
            for (name, found) in names.iter().zip(&mut values) {
                if found.is_none() && defined == name.as_bytes() {
                    *found = Some(value);
                }
            }
        }
        values.map(|value| value.map(|value| String::from_utf8_lossy(value).into_owned()))
    }
}

impl Set {
    fn define(&mut self, definitions: &[u8]) {
        self.forget();
        let ends = memchr_iter(0, definitions);
        // Room is asked for once, as most connections define each set once.
        self.ends.reserve(ends.clone().count().min(2 * MAX_DEFINITIONS));
        self.ends.extend(ends.take(2 * MAX_DEFINITIONS));
        let kept = self.ends.last().map_or(0, |last| last + 1);
        self.text.extend_from_slice(&definitions[..kept]);
    }

    fn forget(&mut self) {
        if self.text.capacity() > KEPT {
            *self = Self::default();
        } else {
            self.text.clear();
            self.ends.clear();
        }
    }

    /// Names without braces, and values. A last name without a value is dropped.
    fn definitions(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (pairs, _) = self.ends.as_chunks();
        let mut start = 0;
        pairs.iter().filter_map(move |&[middle, end]| {
            let definition = self.text.get(start..middle).zip(self.text.get(middle + 1..end));
            start = end + 1;
            let (name, value) = definition?;
            let bare = name.strip_prefix(b"{").and_then(|name| name.strip_suffix(b"}"));
            Some((bare.unwrap_or(name), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::MacroStage::*;
    use super::*;

    fn get(macros: &Macros, name: &str) -> Option<String> {
        let [value] = macros.get([name]);
        value
    }

    #[test]
    fn names_are_found_with_and_without_braces() {
        let mut macros = Macros::default();
        macros.define(Connect, b"{j}\0mx.test\0daemon_name\0MTA\0{_}\0x [::1]\0");
        assert_eq!(get(&macros, "j").as_deref(), Some("mx.test"));
        assert_eq!(get(&macros, "daemon_name").as_deref(), Some("MTA"));
        assert_eq!(get(&macros, "_").as_deref(), Some("x [::1]"));
        assert_eq!(get(&macros, "daemon"), None);
    }

    #[test]
    fn malformed_sets_give_what_can_be_read() {
        let mut macros = Macros::default();
        for (set, expected) in [
            (&b""[..], None),
            (b"a\0", None),
            (b"a\x001", None),
            (b"a\0\0", None),
            (b"a\x001\0b\0", Some("1")),
            (b"\0\0a\x001\0", Some("1")),
            (b"a\0\xff\0", Some("\u{fffd}")),
        ] {
            macros.define(Connect, set);
            assert_eq!(get(&macros, "a").as_deref(), expected, "{:?}", set.escape_ascii().to_string());
        }
    }

    #[test]
    fn the_latest_stage_wins() {
        let mut macros = Macros::default();
        macros.define(EndOfMessage, b"i\x003\0");
        macros.define(Connect, b"i\x001\0");
        macros.define(Rcpt, b"i\x002\0");
        assert_eq!(get(&macros, "i").as_deref(), Some("3"));
    }

    #[test]
    fn a_new_set_replaces_the_whole_stage() {
        let mut macros = Macros::default();
        macros.define(Mail, b"a\x001\0b\x002\0");
        macros.define(Mail, b"b\x003\0");
        assert_eq!(get(&macros, "a"), None);
        assert_eq!(get(&macros, "b").as_deref(), Some("3"));
    }

    #[test]
    fn a_command_forgets_the_stages_after_its_own() {
        let mut macros = Macros::default();
        for (stage, set) in [
            (Connect, b"c\x001\0"),
            (Helo, b"h\x001\0"),
            (Mail, b"m\x001\0"),
            (Rcpt, b"r\x001\0"),
            (Data, b"t\x001\0"),
        ] {
            macros.define(stage, set);
        }
        macros.enter(Mail);
        let left = macros.get(["c", "h", "m", "r", "t"]).map(|value| value.is_some());
        assert_eq!(left, [true, true, true, false, false]);
        macros.enter(EndOfMessage);
        assert!(get(&macros, "m").is_some());
        macros.clear();
        assert!(get(&macros, "c").is_none());
    }

    #[test]
    fn only_so_many_definitions_are_kept_as_an_mta_sends() {
        let mut macros = Macros::default();
        let definitions = |count: usize| (1..=count).map(|i| format!("{{m{i}}}\0{i}\0")).collect::<String>();
        macros.define(Connect, definitions(MAX_DEFINITIONS + 1).as_bytes());
        assert_eq!(get(&macros, "m128").as_deref(), Some("128"));
        assert_eq!(get(&macros, "m129"), None);

        macros.define(Connect, &vec![0; 1 << 20]);
        let [Set { text, ends }, ..] = &macros.sets;
        assert_eq!((text.len(), ends.len()), (2 * MAX_DEFINITIONS, 2 * MAX_DEFINITIONS));
        assert!(
            text.capacity() <= 1024 && ends.capacity() <= 1024,
            "{}, {}",
            text.capacity(),
            ends.capacity()
        );
        assert_eq!(get(&macros, "j"), None);
        macros.define(Connect, b"j\0mx.test\0");
        assert_eq!(get(&macros, "j").as_deref(), Some("mx.test"));
    }

    #[test]
    fn a_macro_of_one_stage_comes_from_no_other() {
        let mut macros = Macros::default();
        macros.define(Connect, b"i\0stale\0");
        macros.define(Mail, b"i\0A1\0");
        macros.define(Rcpt, b"i\0\0");
        assert_eq!(macros.of(Mail, "i").as_deref(), Some("A1"));
        assert_eq!((macros.of(Rcpt, "i"), macros.of(Data, "i")), (None, None));
    }

    #[test]
    fn commands_without_a_stage_have_no_macros() {
        for code in *b"LBUOAQK\0\xff" {
            assert_eq!(MacroStage::of_command(code), None);
        }
    }
}
