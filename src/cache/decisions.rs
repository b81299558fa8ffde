//! Decisions that were made, for whoever asks why, and for labels that come later.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::lookup::{Decision, DecisionId};
use crate::decide::{Case, Source};
use crate::store::{EntryId, ScopeKey, TextHash, Timestamp};

/// Decisions that one cache keeps at most; the oldest go first. Each takes about a kilobyte where candidates were weighed.
const MOST: usize = 20_000;

/// A decision, and what became known of it.
#[derive(Debug, Clone)]
pub struct Logged {
    /// When it was made.
    pub at: Timestamp,
    /// What was decided, and why.
    pub decision: Arc<Decision>,
    /// What the rule went by, where it learns.
    pub case: Option<Arc<Case>>,
    /// The entry whose answer was served.
    pub served: Option<EntryId>,
    /// Labels, in the order in which they came.
    pub labels: Vec<Label>,
}

/// Whether the answer that was served, or would have been, was right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// Who said so.
    pub source: Source,
    /// What they said.
    pub right: bool,
    /// When.
    pub at: Timestamp,
}

/// The decisions of one cache.
pub(super) struct Decisions {
    keep_millis: u64,
    by_id: HashMap<DecisionId, Logged>,
    by_age: VecDeque<(Timestamp, DecisionId)>,
    /// Those whose question the provider was asked: its answer is their label.
    waiting: HashMap<(ScopeKey, TextHash), DecisionId>,
}

impl Decisions {
    pub(super) fn new(keep_millis: u64) -> Self {
        Self { keep_millis, by_id: HashMap::new(), by_age: VecDeque::new(), waiting: HashMap::new() }
    }

    /// Keeps a decision. `question` is what was asked, where the provider's answer to it will be a label.
    pub(super) fn add(&mut self, logged: Logged, question: Option<(ScopeKey, TextHash)>) {
        let (id, now) = (logged.decision.id, logged.at);
        if let Some(question) = question {
            self.waiting.insert(question, id);
        }
        self.by_id.insert(id, logged);
        self.by_age.push_back((now, id));
        let is_old = |(at, _): &(Timestamp, DecisionId)| now.since(*at) > self.keep_millis;
        while self.by_age.len() > MOST || self.by_age.front().is_some_and(is_old) {
            if let Some((_, oldest)) = self.by_age.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
        if self.waiting.len() > 2 * MOST {
            let by_id = &self.by_id;
            self.waiting.retain(|_, id| by_id.contains_key(id));
        }
    }

    /// The decision of `id`, unless it is older than decisions are kept.
    pub(super) fn get(&self, id: DecisionId, now: Timestamp) -> Option<&Logged> {
        self.by_id.get(&id).filter(|logged| now.since(logged.at) <= self.keep_millis)
    }

    pub(super) fn get_mut(&mut self, id: DecisionId, now: Timestamp) -> Option<&mut Logged> {
        self.by_id.get_mut(&id).filter(|logged| now.since(logged.at) <= self.keep_millis)
    }

    /// The decision after which the provider was asked this; each is given once.
    pub(super) fn answered(&mut self, scope: ScopeKey, text: TextHash) -> Option<(DecisionId, Arc<Case>)> {
        let id = self.waiting.remove(&(scope, text))?;
        Some((id, Arc::clone(self.by_id.get(&id)?.case.as_ref()?)))
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
        self.waiting.clear();
    }
}
