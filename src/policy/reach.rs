//! For whom a check runs at all.

use super::effective::Settings;
use super::scopes::Scopes;
use super::settings::Mode;
use crate::reason::Check;

/// How far a check reaches, from a policy as a whole: what holds before anything is known of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// It runs for nobody.
    Nobody,
    /// It is off, and some scope may turn it on.
    Scopes,
    /// It is on; scopes may turn it off.
    All,
}

/// The reach of every check, and the hardest mode that any check has for anybody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaches([Reach; Check::ALL.len()], Mode);

impl Reaches {
    pub(super) fn new(base: &Settings, scopes: &Scopes) -> Self {
        let runs = |settings: &Settings, check| settings.mode(check) != Mode::Off;
        let reaches = Check::ALL.map(|check| {
            let mut turn_on = scopes.all().iter().filter(|scope| scope.has(check, "mode"));
            match runs(base, check) {
                true => Reach::All,
                false if turn_on.any(|scope| runs(&scope.values, check)) => Reach::Scopes,
                false => Reach::Nobody,
            }
        });
        let of_base = Check::ALL.into_iter().map(|check| base.mode(check));
        let of_scopes = scopes.all().iter().flat_map(|scope| {
            let set = Check::ALL.into_iter().filter(|check| scope.has(*check, "mode"));
            set.map(|check| scope.values.mode(check))
        });
        Self(reaches, of_base.chain(of_scopes).min().unwrap_or_default())
    }

    pub(super) const fn hardest_mode(&self) -> Mode {
        self.1
    }

    pub(super) fn of(&self, check: Check) -> Reach {
        let place = Check::ALL.iter().position(|known| *known == check);
        place.and_then(|place| self.0.get(place)).copied().unwrap_or(Reach::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    #[test]
    fn a_check_reaches_whom_its_mode_and_those_of_scopes_say() {
        let scope = |name: &str, sets: &str| format!("[[scope]]\nname = {name:?}\ntls = true\n{sets}\n");
        let scopes = scope("on", "set.auth.mode = \"monitor\"")
            + &scope("off", "set.helo.mode = \"off\"\nset.content.mode = \"off\"")
            + &scope("other", "set.attachments.max_depth = 3");
        let off = |check: &str| (format!("{check}.toml"), "mode = \"off\"".to_owned());
        let mut files: std::collections::BTreeMap<_, _> =
            ["auth", "content", "attachments", "recipients"].map(off).into();
        files.insert("scopes.toml".into(), scopes);
        let policy = Policy::load(&files).map(|(policy, _)| policy).unwrap();
        let found = Check::ALL.map(|check| (check.name(), policy.reach(check)));
        let expected = [
            ("address", Reach::All),
            ("helo", Reach::All),
            ("recipients", Reach::Nobody),
            ("auth", Reach::Scopes),
            ("greylist", Reach::All),
            ("content", Reach::Nobody),
            ("attachments", Reach::Nobody),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_hardest_mode_is_that_of_any_check_for_anybody() {
        let hardest = |mode: &str, scopes: &str| {
            let file = |check: Check| (format!("{}.toml", check.name()), format!("mode = {mode:?}"));
            let mut files: std::collections::BTreeMap<_, _> = Check::ALL.map(file).into();
            files.insert("scopes.toml".into(), scopes.to_owned());
            Policy::load(&files).map(|(policy, _)| policy.hardest_mode()).unwrap()
        };
        let scope = |set: &str| format!("[[scope]]\nname = \"a\"\nclient = [\"192.0.2.1\"]\nset.{set}\n");
        assert_eq!(hardest("monitor", ""), Mode::Monitor);
        assert_eq!(hardest("monitor", &scope("attachments.max_depth = 3")), Mode::Monitor);
        assert_eq!(hardest("monitor", &scope("greylist.mode = \"enforce\"")), Mode::Enforce);
        assert_eq!(hardest("off", &scope("helo.mode = \"monitor\"")), Mode::Monitor);
        assert_eq!(hardest("off", ""), Mode::Off);
    }
}
