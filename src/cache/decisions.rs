//! Decisions that were made, for whoever asks why, and for labels that come later.
//!
//! The newest are in memory. All go to the store behind the lookups, some seconds later, and are read from there after a restart
//! and when they are no longer in memory.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::decision::{Considered, Decision, DecisionId};
use crate::decide::{Assessment, LabelSource, RejectionReason};
use crate::store::{EntryId, Timestamp};

/// Decisions that one cache has in memory at most. Each takes about a kilobyte where candidates were weighed.
pub(super) const MAX_DECISIONS: usize = 20_000;

/// A decision, and what became known of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Logged {
    /// When it was made.
    pub at: Timestamp,
    /// What was decided, and why.
    pub decision: Arc<Decision>,
    /// What the policy went by, where it learns.
    #[serde(rename = "case")]
    pub assessment: Option<Arc<Assessment>>,
    /// The entry whose answer was served.
    pub served: Option<EntryId>,
    /// Labels, in the order in which they came.
    pub labels: Vec<Label>,
}

/// Whether the answer that was served, or would have been, was right.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Label {
    /// Who said so.
    pub source: LabelSource,
    /// What they said.
    pub right: bool,
    /// When.
    pub at: Timestamp,
}

impl Logged {
    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        let considered = self.decision.candidates.len() * (size_of::<Considered>() + size_of::<RejectionReason>());
        let assessment = self.assessment.as_ref().map_or(0, |assessment| assessment.bytes());
        // With its places in three collections.
        size_of::<Self>() + size_of::<Decision>() + 4 * size_of::<DecisionId>() + considered + assessment
    }
}

/// The decisions of one cache.
pub(super) struct Decisions {
    keep_millis: u64,
    by_id: HashMap<DecisionId, Logged>,
    by_age: VecDeque<(Timestamp, DecisionId)>,
    /// Those that changed since they were last written to the store.
    unsaved: HashSet<DecisionId>,
    /// What those in memory take, about.
    bytes: usize,
    /// Those that had to make room, with labels that aren't in the store yet.
    leaving: Vec<Logged>,
}

impl Decisions {
    pub(super) fn new(keep_millis: u64) -> Self {
        Self {
            keep_millis,
            by_id: HashMap::new(),
            by_age: VecDeque::new(),
            unsaved: HashSet::new(),
            bytes: 0,
            leaving: Vec::new(),
        }
    }

    /// Keeps a decision.
    pub(super) fn add(&mut self, logged: Logged) {
        let (id, now) = (logged.decision.id, logged.at);
        // Of one that nothing was near to, and that served nothing, there is nothing to tell that its reply didn't.
        if logged.assessment.is_some() || logged.served.is_some() || !logged.decision.candidates.is_empty() {
            self.unsaved.insert(id);
        }
        self.insert(logged);
        self.by_age.push_back((now, id));
        let keep_millis = self.keep_millis;
        let is_old = |(at, _): &(Timestamp, DecisionId)| now.since(*at) > keep_millis;
        while self.by_age.len() > MAX_DECISIONS || self.by_age.front().is_some_and(is_old) {
            self.drop_oldest();
        }
    }

    /// Takes one in. Whether it is new.
    fn insert(&mut self, logged: Logged) -> bool {
        self.bytes += logged.bytes();
        let before = self.by_id.insert(logged.decision.id, logged);
        self.bytes -= before.as_ref().map_or(0, Logged::bytes).min(self.bytes);
        before.is_none()
    }

    fn drop_oldest(&mut self) {
        let Some((_, oldest)) = self.by_age.pop_front() else { return };
        let left = self.by_id.remove(&oldest);
        self.bytes -= left.as_ref().map_or(0, Logged::bytes).min(self.bytes);
        let is_unsaved = self.unsaved.remove(&oldest);
        // Without its label, the same could be said of it again.
        self.leaving.extend(left.filter(|left| is_unsaved && !left.labels.is_empty()));
    }

    /// What they take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the oldest until so many bytes are free, and returns how many are.
    pub(super) fn shed(&mut self, bytes: usize) -> usize {
        let before = self.bytes;
        while before - self.bytes < bytes && !self.by_age.is_empty() {
            self.drop_oldest();
        }
        before - self.bytes
    }

    /// Takes up one that was no longer in memory.
    pub(super) fn bring_back(&mut self, logged: Logged) {
        let (id, at) = (logged.decision.id, logged.at);
        if self.insert(logged) {
            self.by_age.push_front((at, id));
        }
    }

    /// Takes up older ones, newest first, as far as there is room.
    pub(super) fn recall(&mut self, older: impl IntoIterator<Item = Logged>, now: Timestamp) {
        for logged in older {
            let (id, at) = (logged.decision.id, logged.at);
            if self.by_age.len() >= MAX_DECISIONS || now.since(at) > self.keep_millis {
                return;
            }
            if self.by_id.contains_key(&id) {
                continue;
            }
            self.insert(logged);
            self.by_age.push_front((at, id));
        }
    }

    /// Those that changed since the last time, which count as saved now.
    pub(super) fn take_unsaved(&mut self) -> Vec<Logged> {
        let unsaved = std::mem::take(&mut self.unsaved);
        let kept = unsaved.iter().filter_map(|id| self.by_id.get(id).cloned());
        std::mem::take(&mut self.leaving).into_iter().chain(kept).collect()
    }

    /// These weren't saved after all.
    pub(super) fn save_again(&mut self, unsaved: Vec<Logged>) {
        for logged in unsaved {
            if self.by_id.contains_key(&logged.decision.id) {
                self.unsaved.insert(logged.decision.id);
            } else if !logged.labels.is_empty() && self.leaving.len() < MAX_DECISIONS {
                self.leaving.push(logged);
            }
        }
    }

    /// From now on each is kept for so long.
    pub(super) fn keep_for(&mut self, millis: u64) {
        self.keep_millis = millis;
    }

    /// Whether a decision made at `at` is still kept.
    pub(super) fn keeps(&self, at: Timestamp, now: Timestamp) -> bool {
        now.since(at) <= self.keep_millis
    }

    /// The decision of `id`, unless it is older than decisions are kept.
    pub(super) fn get(&self, id: DecisionId, now: Timestamp) -> Option<&Logged> {
        let leaving = || self.leaving.iter().find(|logged| logged.decision.id == id);
        self.by_id.get(&id).or_else(leaving).filter(|logged| now.since(logged.at) <= self.keep_millis)
    }

    /// Adds what became known of a decision. Returns what was known before.
    pub(super) fn label(&mut self, id: DecisionId, label: Label) -> Vec<Label> {
        let kept = self.by_id.get_mut(&id).filter(|logged| label.at.since(logged.at) <= self.keep_millis);
        let Some(logged) = kept else { return Vec::new() };
        let before = logged.labels.clone();
        logged.labels.push(label);
        self.unsaved.insert(id);
        before
    }

    /// The decisions that were answered with `entry`, newest first.
    pub(super) fn served(&self, entry: EntryId) -> Vec<DecisionId> {
        let all = self.by_age.iter().rev().filter_map(|(_, id)| self.by_id.get(id));
        all.filter(|logged| logged.served == Some(entry)).map(|logged| logged.decision.id).collect()
    }

    /// All that are kept, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Logged> {
        self.by_age.iter().filter_map(|(_, id)| self.by_id.get(id))
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
        self.by_age.clear();
        self.unsaved.clear();
        self.leaving.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Outcome;
    use crate::store::{Attributes, CacheKey, ScopeKey, TextHash};

    fn logged() -> Logged {
        let id = uuid::Uuid::now_v7().simple().to_string().parse().unwrap();
        let (candidates, rejections) = (Vec::new(), Vec::new());
        let (outcome, p_correct, budget) = (Outcome::ExactHit, None, None);
        let decision =
            Decision { id, outcome, p_correct, budget, candidates, rejections, reason: None, curated: false };
        let scope = ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]);
        let served = Some(EntryId::new(scope, TextHash::of("a prompt"), &Attributes::default()));
        Logged { at: Timestamp(1), decision: Arc::new(decision), assessment: None, served, labels: Vec::new() }
    }

    #[test]
    fn a_label_outlives_its_decisions_place_in_memory() {
        let mut decisions = Decisions::new(1000);
        let old = logged();
        let id = old.decision.id;
        decisions.bring_back(old);
        decisions.label(id, Label { source: LabelSource::Feedback, right: false, at: Timestamp(1) });
        (0..MAX_DECISIONS).for_each(|_| decisions.add(logged()));
        let is_labelled =
            |decisions: &Decisions| decisions.get(id, Timestamp(1)).is_some_and(|old| !old.labels.is_empty());
        assert!(is_labelled(&decisions));
        let unsaved = decisions.take_unsaved();
        assert_eq!(unsaved.iter().filter(|logged| logged.decision.id == id).count(), 1);
        // Where that fails, it is tried again.
        decisions.save_again(unsaved);
        assert!(is_labelled(&decisions) && decisions.take_unsaved().iter().any(|logged| logged.decision.id == id));
        assert!(decisions.get(id, Timestamp(1)).is_none() && decisions.take_unsaved().is_empty());
    }
}
