//! The state of one scan, and what is done with each thing that has a name and content.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::archive;
use super::budget::{Budget, Cancel, Exceeded};
use super::filename::{self, Content, Judged};
use super::{Found, Kind, MAX_FOUND, Node, Report, View, magic, message};
use crate::checks::AttachmentSettings;
use crate::policy::matches_file_name;
use crate::reason::Reason;

/// Longest path in bytes; a longer one loses its outermost containers.
const MAX_PATH: usize = 1024;

/// A container, or the message itself.
#[derive(Clone, Default)]
pub(super) struct Place {
    /// Path of the container, empty for the message itself.
    path: String,
    /// Containers around its content.
    pub(super) depth: u32,
    /// Whether only the salvage view sees it.
    is_salvaged: bool,
}

impl Place {
    /// The container `name` in this one.
    pub(super) fn child(&self, name: &str) -> Self {
        Self { path: self.path_of(name), depth: self.depth + 1, is_salvaged: self.is_salvaged }
    }

    /// The same place, for what the salvage view finds in it.
    pub(super) fn salvaged(&self) -> Self {
        Self { is_salvaged: true, ..self.clone() }
    }

    /// The view that sees what stands in this place.
    const fn view(&self) -> View {
        if self.is_salvaged { View::Salvage } else { View::Tree }
    }

    /// The path of `name` in this container.
    pub(super) fn path_of(&self, name: &str) -> String {
        let path = match (self.path.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}/{name}", self.path),
        };
        path[path.ceil_char_boundary(path.len().saturating_sub(MAX_PATH))..].to_owned()
    }
}

/// A leaf of the MIME tree, or a file, or an archive entry that is worth opening.
pub(super) struct Part<'p> {
    /// All its names; the first is shown.
    pub(super) names: &'p [String],
    /// Its decoded content.
    pub(super) data: &'p [u8],
    /// Whether its type says that it is a message.
    pub(super) is_message: bool,
}

/// One scan.
pub(super) struct Scanner<'s> {
    pub(super) budget: Budget<'s>,
    settings: &'s AttachmentSettings,
    report: Report,
    /// Whether nothing says that what is looked into is a file at all, so that one which cannot be read is none.
    is_salvaging: bool,
    /// The first that could not be read while salvaging.
    unread: Option<(String, View)>,
    /// Names that were judged with their content, so that the raw view need not judge them without it.
    judged: HashSet<String>,
}

impl<'s> Scanner<'s> {
    /// A scan of `size` bytes.
    pub(super) fn new(size: usize, settings: &'s AttachmentSettings, cancel: &'s Cancel) -> Self {
        Self {
            budget: Budget::new(size, settings, cancel),
            settings,
            report: Report::default(),
            is_salvaging: false,
            unread: None,
            judged: HashSet::new(),
        }
    }

    /// The same, with no more than so much work.
    pub(super) fn within(self, work: u64) -> Self {
        Self { budget: self.budget.within(work), ..self }
    }

    /// The report of a scan that ended with `result`; a limit reached is the last thing found.
    pub(super) fn finish(mut self, result: Result<(), Exceeded>, place: &Place) -> Report {
        if let Err(exceeded) = result {
            self.found(exceeded.reason(), place.path.clone(), None, View::Tree);
        }
        self.report.work = self.budget.work_done();
        self.report
    }

    /// Judges the names of a part, then looks into it.
    pub(super) fn part(&mut self, part: &Part<'_>, place: &Place) -> Result<(), Exceeded> {
        let size = part.data.len() as u64;
        self.budget.work(size)?;
        let name = part.names.first().map_or("", String::as_str);
        let kind = archive::kind(part.names, part.data, part.is_message);
        self.node(place, filename::shown(name), kind, size);
        let content = Content::Known { prefix: archive::prefix(part.data), size };
        if self.is_allowed_content(part.data) {
            self.judged.extend(part.names.iter().cloned());
            return Ok(());
        }
        let is_forbidden = self.is_forbidden(part.names, content, place, place.view())?;
        if !is_forbidden && part.data.len() > archive::PREFIX {
            self.file_type(name, part.data, place, place.view());
        }
        // Also where what is attached to it makes it look like an archive.
        self.names_in_pdf(name, part.data, place)?;
        let before = self.is_salvaging;
        self.is_salvaging |= place.is_salvaged;
        let result = self.open(kind, part.names, part.data, place);
        self.is_salvaging = before;
        result
    }

    /// Judges the names of files that are attached to a document.
    fn names_in_pdf(&mut self, name: &str, data: &[u8], place: &Place) -> Result<(), Exceeded> {
        let inside = place.child(&filename::shown(name));
        for attached in archive::names_in_pdf(data) {
            // They may lie one in the other, and each is read as far as a name goes.
            self.budget.work(filename::MAX_NAME as u64)?;
            let Some(attached) = attached else { continue };
            self.budget.entry()?;
            self.names(&[attached], Content::Unknown, &inside, View::Entry)?;
        }
        Ok(())
    }

    /// Judges a part that can be decoded in several ways. It is unreadable only where it is so in each of them: one is what
    /// its sender meant, and the others are garbage.
    pub(super) fn part_in_each_decoding(
        &mut self,
        part: &Part<'_>,
        others: &[Vec<u8>],
        place: &Place,
    ) -> Result<(), Exceeded> {
        if others.is_empty() {
            return self.part(part, place);
        }
        let place = &place.salvaged();
        self.unread = None;
        self.part(part, place)?;
        let mut unread = self.unread.take();
        for data in others {
            self.part(&Part { data, ..*part }, place)?;
            let found = self.unread.take();
            unread = unread.filter(|_| found.is_some());
        }
        if let Some((path, view)) = unread {
            self.unreadable(path, view);
        }
        Ok(())
    }

    /// Reads what may be none: that it cannot be read is no finding.
    pub(super) fn leniently(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), Exceeded>,
    ) -> Result<(), Exceeded> {
        let before = std::mem::replace(&mut self.is_salvaging, true);
        let unread = self.unread.take();
        let result = read(self);
        self.is_salvaging = before;
        self.unread = unread;
        result
    }

    /// Looks into a container under its own depth; a plain file holds nothing.
    pub(super) fn open(
        &mut self,
        kind: Kind,
        names: &[String],
        data: &[u8],
        place: &Place,
    ) -> Result<(), Exceeded> {
        let shown = filename::shown(names.first().map_or("", String::as_str));
        let inside = match (kind, shown.as_str()) {
            (Kind::File, _) => return Ok(()),
            (kind, "") => place.child(kind.name()),
            (_, name) => place.child(name),
        };
        if !self.enter(&inside) {
            return Ok(());
        }
        match kind {
            Kind::Message => message::scan(self, data, &inside),
            kind => archive::scan(self, kind, names, data, &inside),
        }
    }

    /// Whether `inside` may be looked into; if not, that is a finding, told once at the outermost such container.
    pub(super) fn enter(&mut self, inside: &Place) -> bool {
        let max_depth = self.budget.max_depth();
        if inside.depth == max_depth + 1 {
            self.too_deep(inside.path.clone());
        }
        inside.depth <= max_depth
    }

    /// Something nested too deeply to be looked into.
    pub(super) fn too_deep(&mut self, path: String) {
        self.found(Reason::AttachmentLimitDepth, path, None, View::Tree);
    }

    /// Lists something in the tree; findings that follow are its.
    pub(super) fn node(&mut self, place: &Place, name: String, kind: Kind, size: u64) {
        self.report.tree.push(Node { depth: place.depth, name, kind, size, reasons: Vec::new() });
    }

    /// Judges the names of one thing, and its content as far as it is known.
    pub(super) fn names(
        &mut self,
        names: &[String],
        content: Content<'_>,
        place: &Place,
        view: View,
    ) -> Result<(), Exceeded> {
        self.is_forbidden(names, content, place, view).map(|_| ())
    }

    /// Judges names and content; one finding of each cause is enough. Returns whether they are forbidden.
    fn is_forbidden(
        &mut self,
        names: &[String],
        content: Content<'_>,
        place: &Place,
        view: View,
    ) -> Result<bool, Exceeded> {
        let mut found = Vec::new();
        for name in names.iter().filter(|name| filename::may_have_extension(name)) {
            if matches!(view, View::Tree | View::Salvage) {
                self.judged.insert(name.clone());
            }
            self.budget.work(filename::work(name))?;
            let of_name = filename::judge(name, content, &self.settings.forbidden_extensions);
            if of_name != Judged::default() {
                found.push(of_name);
            }
        }
        // An allowed name excuses the content, and other names that end alike: most are spellings of it, for older programs.
        let names_allowed = found.iter().filter_map(|of_name| of_name.forbidden.as_ref());
        let allowed: Vec<String> = names_allowed
            .filter(|found| self.is_allowed_name(&found.name))
            .map(|found| found.extension.clone())
            .collect();
        let is_allowed = !allowed.is_empty();
        let is_excused = |of_name: &Judged| {
            of_name.forbidden.as_ref().is_some_and(|found| allowed.contains(&found.extension))
        };
        let judged =
            found.into_iter().filter(|of_name| !is_excused(of_name)).fold(Judged::default(), Judged::or);
        let misleading = [
            (judged.class_id, Reason::AttachmentClsidName),
            (judged.bidi, Reason::AttachmentBidiName),
            (judged.decoy, Reason::AttachmentDoubleExtension),
        ];
        let is_forbidden = match (judged.forbidden, content) {
            (Some(found), _) => {
                let path = place.path_of(&found.name);
                self.found(Reason::AttachmentForbiddenExtension, path, Some(found.extension), view);
                true
            }
            (None, Content::Known { prefix, .. }) if !is_allowed => {
                self.file_type(names.first().map_or("", String::as_str), prefix, place, view)
            }
            (None, _) => false,
        };
        for (name, reason) in misleading {
            if let Some(name) = name {
                self.found(reason, place.path_of(&name), None, view);
            }
        }
        Ok(is_forbidden)
    }

    /// Whether the administrator allows files of this name, wherever they are.
    fn is_allowed_name(&self, name: &str) -> bool {
        let patterns = &self.settings.allowed_names;
        let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
        !patterns.is_empty() && matches_file_name(patterns, &filename::shown(file).to_lowercase())
    }

    /// Whether the administrator allows this very content.
    fn is_allowed_content(&self, data: &[u8]) -> bool {
        let sums = &self.settings.allowed_sha256;
        if sums.is_empty() {
            return false;
        }
        let hex: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
        sums.contains(&hex)
    }

    /// Judges what a file is by its content. Returns whether that is forbidden.
    pub(super) fn file_type(&mut self, name: &str, data: &[u8], place: &Place, view: View) -> bool {
        let extensions = &self.settings.forbidden_extensions;
        let found = magic::file_type(data)
            .filter(|found| extensions.contains(found.listed_as) && !self.is_allowed_name(name));
        if let Some(found) = found {
            let path = place.path_of(&filename::shown(name));
            self.found(Reason::AttachmentForbiddenType, path, Some(found.name.to_owned()), view);
        }
        found.is_some()
    }

    /// A name that the raw view need not judge.
    pub(super) fn know(&mut self, name: String) {
        self.judged.insert(name);
    }

    /// Judges a name of the raw view, unless it was judged before with the content it belongs to.
    pub(super) fn raw_name(&mut self, name: &str, place: &Place) -> Result<(), Exceeded> {
        if self.judged.contains(name) {
            return Ok(());
        }
        self.names(&[name.to_owned()], Content::Unknown, place, View::Raw)
    }

    /// A cause that lines tell wherever they stand, unless the tree told it before.
    pub(super) fn found_by_lines(&mut self, reason: Reason, place: &Place) {
        if !self.report.found.iter().any(|found| found.reason == reason) {
            self.found(reason, place.path_of(""), None, View::Raw);
        }
    }

    /// A container that claims to be one and cannot be read.
    pub(super) fn unreadable(&mut self, path: String, view: View) {
        if self.is_salvaging {
            self.unread.get_or_insert((path, view));
        } else {
            self.found(Reason::AttachmentUnreadableContainer, path, None, view);
        }
    }

    /// The container `place` claims to be one and cannot be read.
    pub(super) fn unreadable_in(&mut self, place: &Place) {
        self.found_in(place, Reason::AttachmentUnreadableContainer, View::Entry);
    }

    /// Something found about the container `place`, perhaps after what is in it.
    pub(super) fn found_in(&mut self, place: &Place, reason: Reason, view: View) {
        let is_damage =
            matches!(reason, Reason::AttachmentUnreadableContainer | Reason::AttachmentZipInconsistent);
        if is_damage && self.is_salvaging {
            self.unread.get_or_insert_with(|| (place.path_of(""), view));
            return;
        }
        let container = self.report.tree.iter_mut().rev().find(|node| node.depth < place.depth);
        if let Some(node) = container
            && !node.reasons.contains(&reason)
        {
            node.reasons.push(reason);
        }
        self.add(Found { reason, path: place.path_of(""), extension: None, view });
    }

    /// Something found about what the tree lists last.
    pub(super) fn found(&mut self, reason: Reason, path: String, extension: Option<String>, view: View) {
        if let Some(node) = self.report.tree.last_mut()
            && !node.reasons.contains(&reason)
        {
            node.reasons.push(reason);
        }
        self.add(Found { reason, path, extension, view });
    }

    fn add(&mut self, found: Found) {
        let reason = found.reason;
        let same = self.report.found.iter().filter(|other| other.reason == reason).count();
        if same < MAX_FOUND && !self.report.found.contains(&found) {
            self.report.found.push(found);
        }
    }
}
