//! Every scope's index.
//!
//! At start the indexes are loaded from disk in the order of their scopes, while entries come and go. What happens to a
//! scope before it is loaded is remembered, and done to its index when that is [adopted](ScopeIndexes::adopt).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use super::super::{CacheKey, EntryId, ScopeKey};
use crate::embed::Embedding;
use crate::index::{Filter, Neighbour, Row, VectorIndex};
use crate::telemetry;

/// A graph of which one part in so many isn't in its last image gets another.
const UNSAVED_PART: usize = 5;

type Index = VectorIndex<EntryId>;
type Scopes = HashMap<ScopeKey, Arc<Index>>;

/// One index per scope that has vectors: scopes can't meet, because nothing holds two of them.
pub(super) struct ScopeIndexes {
    dimension: usize,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    caches: HashMap<CacheKey, Scopes>,
    /// None once everything is loaded.
    loading: Option<Loading>,
}

/// How far loading has come, and what happened to the scopes beyond.
#[derive(Default)]
struct Loading {
    /// The last scope that was adopted, or for which there is nothing to adopt.
    reached: Option<(CacheKey, ScopeKey)>,
    /// Entries of other scopes that were stored or removed.
    changed: HashMap<(CacheKey, ScopeKey), HashSet<EntryId>>,
    /// Caches that were emptied.
    flushed: HashSet<CacheKey>,
}

/// What there is in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) entries: usize,
    pub(super) scopes: usize,
    /// Entries that wait to become part of a graph.
    pub(super) unlinked: usize,
}

/// The scope's vectors are not loaded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotLoaded;

impl ScopeIndexes {
    /// For vectors of `dimension` components, none of which is loaded.
    pub(super) fn new(dimension: usize) -> Self {
        let state = State { loading: Some(Loading::default()), ..State::default() };
        Self { dimension, state: RwLock::new(state) }
    }

    /// Components of each vector.
    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(super) fn insert(&self, cache: CacheKey, scope: ScopeKey, row: Row<EntryId>, vector: &Embedding) {
        // Inserted under the map's lock in either case, so that `remove` can't drop an emptied index from the map between
        // finding it and filling it.
        {
            let state = self.state.read();
            if let Some(index) = state.index(cache, scope).filter(|_| state.is_loaded(cache, scope)) {
                index.insert(row, vector);
                return;
            }
        }
        let state = &mut *self.state.write();
        state.note(cache, scope, row.key);
        let new = || Arc::new(VectorIndex::new(self.dimension));
        state.caches.entry(cache).or_default().entry(scope).or_insert_with(new).insert(row, vector);
    }

    pub(super) fn remove(&self, cache: CacheKey, scope: ScopeKey, id: &EntryId) {
        {
            let state = self.state.read();
            if state.is_loaded(cache, scope) {
                let emptied = state.index(cache, scope).is_some_and(|index| index.remove(id) && index.is_empty());
                if !emptied {
                    return;
                }
            }
        }
        let state = &mut *self.state.write();
        state.note(cache, scope, *id);
        if let Some(index) = state.index(cache, scope) {
            index.remove(id);
            state.forget_if_empty(cache, scope);
        }
    }

    pub(super) fn flush(&self, cache: CacheKey) {
        let gone = {
            let state = &mut *self.state.write();
            if let Some(loading) = &mut state.loading {
                loading.flushed.insert(cache);
            }
            state.caches.remove(&cache)
        };
        // Millions of vectors take a while to drop; not under the lock.
        drop(gone);
    }

    pub(super) fn search(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        query: &Embedding,
        k: usize,
        filter: &Filter,
    ) -> Result<Vec<Neighbour<EntryId>>, NotLoaded> {
        let index = {
            let state = self.state.read();
            if !state.is_loaded(cache, scope) {
                return Err(NotLoaded);
            }
            state.index(cache, scope).cloned()
        };
        Ok(index.map(|index| index.search(query, k, filter)).unwrap_or_default())
    }

    /// The vectors of some entries; None of those that aren't in the scope any more.
    pub(super) fn vectors<'e>(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        entries: impl Iterator<Item = &'e EntryId>,
    ) -> Vec<Option<Embedding>> {
        self.index(cache, scope).map(|index| index.vectors(entries)).unwrap_or_default()
    }

    /// Whether nothing can be found in a scope.
    pub(super) fn is_empty(&self, cache: CacheKey, scope: ScopeKey) -> bool {
        let state = self.state.read();
        state.is_loaded(cache, scope) && state.index(cache, scope).is_none()
    }

    /// Vectors of a scope.
    pub(super) fn len(&self, cache: CacheKey, scope: ScopeKey) -> usize {
        self.index(cache, scope).map_or(0, |index| index.len())
    }

    pub(super) fn needs_upkeep(&self, cache: CacheKey, scope: ScopeKey) -> bool {
        self.index(cache, scope).is_some_and(|index| index.needs_upkeep())
    }

    /// Does what is due while `go_on` says yes, `between` its steps too, and tells whether anything was.
    pub(super) fn keep_up(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        go_on: impl Fn() -> bool,
        between: impl Fn(),
    ) -> bool {
        self.index(cache, scope).is_some_and(|index| index.keep_up(go_on, between))
    }

    /// Entries of a scope that wait to become part of its graph.
    pub(super) fn unlinked(&self, cache: CacheKey, scope: ScopeKey) -> usize {
        self.index(cache, scope).map_or(0, |index| index.unlinked())
    }

    /// The scopes whose graphs want upkeep.
    pub(super) fn due(&self) -> Vec<(CacheKey, ScopeKey)> {
        self.scopes_where(Index::needs_upkeep)
    }

    /// The scopes that have a graph of which something isn't in its last image.
    pub(super) fn unsaved(&self) -> Vec<(CacheKey, ScopeKey)> {
        self.scopes_where(|index| index.unsaved() > 0)
    }

    fn scopes_where(&self, condition: impl Fn(&Index) -> bool) -> Vec<(CacheKey, ScopeKey)> {
        let state = self.state.read();
        let all = state.all().filter(|(_, index)| condition(index));
        all.map(|(of, _)| of).collect()
    }

    /// The next scope's index, in the order of caches and scopes.
    pub(super) fn adopt(&self, cache: CacheKey, scope: ScopeKey, index: Index) {
        let state = &mut *self.state.write();
        let Some(loading) = &mut state.loading else { return };
        loading.reached = Some((cache, scope));
        let changed = loading.changed.remove(&(cache, scope)).unwrap_or_default();
        if loading.flushed.contains(&cache) {
            return;
        }
        for id in &changed {
            index.remove(id);
        }
        let scopes = state.caches.entry(cache).or_default();
        if let Some(newer) = scopes.remove(&scope) {
            index.take_in(&newer);
        }
        scopes.insert(scope, Arc::new(index));
        state.forget_if_empty(cache, scope);
    }

    /// Nothing more will be adopted.
    pub(super) fn all_loaded(&self) {
        self.state.write().loading = None;
    }

    /// The index of a scope that has one.
    #[cfg(test)]
    pub(super) fn index_of(&self, cache: CacheKey, scope: ScopeKey) -> Arc<Index> {
        self.index(cache, scope).unwrap()
    }

    /// Whether everything is loaded.
    #[cfg(test)]
    pub(super) fn is_loaded(&self) -> bool {
        self.state.read().loading.is_none()
    }

    /// The index of a scope of whose graph so much has changed since its last image that another is worth its while, or
    /// `anything`.
    pub(super) fn worth_saving(&self, cache: CacheKey, scope: ScopeKey, anything: bool) -> Option<Arc<Index>> {
        let index = self.index(cache, scope)?;
        let least = if anything { 1 } else { index.len() / UNSAVED_PART };
        (index.unsaved() >= least.max(1)).then_some(index)
    }

    /// Whether a scope's index is still this one.
    pub(super) fn has(&self, cache: CacheKey, scope: ScopeKey, index: &Arc<Index>) -> bool {
        self.index(cache, scope).is_some_and(|its| Arc::ptr_eq(&its, index))
    }

    pub(super) fn size(&self) -> Size {
        let mut size = Size::default();
        for (_, index) in self.state.read().all() {
            size.entries += index.len();
            size.scopes += 1;
            size.unlinked += index.unlinked();
        }
        size
    }

    pub(super) fn report_size(&self) {
        let Size { entries, scopes, unlinked } = self.size();
        telemetry::index_size(entries, scopes, unlinked);
    }

    fn index(&self, cache: CacheKey, scope: ScopeKey) -> Option<Arc<Index>> {
        self.state.read().index(cache, scope).cloned()
    }
}

impl State {
    fn index(&self, cache: CacheKey, scope: ScopeKey) -> Option<&Arc<Index>> {
        self.caches.get(&cache)?.get(&scope)
    }

    fn all(&self) -> impl Iterator<Item = ((CacheKey, ScopeKey), &Arc<Index>)> {
        let caches = self.caches.iter();
        caches.flat_map(|(cache, scopes)| scopes.iter().map(move |(scope, index)| ((*cache, *scope), index)))
    }

    fn is_loaded(&self, cache: CacheKey, scope: ScopeKey) -> bool {
        self.loading.as_ref().is_none_or(|loading| loading.reached >= Some((cache, scope)))
    }

    /// An entry of this scope was stored or removed.
    fn note(&mut self, cache: CacheKey, scope: ScopeKey, id: EntryId) {
        if !self.is_loaded(cache, scope)
            && let Some(loading) = &mut self.loading
        {
            loading.changed.entry((cache, scope)).or_default().insert(id);
        }
    }

    fn forget_if_empty(&mut self, cache: CacheKey, scope: ScopeKey) {
        if let Some(scopes) = self.caches.get_mut(&cache) {
            if scopes.get(&scope).is_some_and(|index| index.is_empty()) {
                scopes.remove(&scope);
            }
            if scopes.is_empty() {
                self.caches.remove(&cache);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::super::{Attributes, TextHash};
    use super::*;
    use crate::index::Expiry;

    type Place = (CacheKey, ScopeKey);

    #[derive(Debug, Clone)]
    enum Step {
        Insert { place: usize, n: u8 },
        Remove { place: usize, n: u8 },
        Flush { cache: usize },
        LoadNext,
    }

    fn places() -> Vec<Place> {
        let scope = |cache, n: u8| (cache, ScopeKey::new(cache, &[n; 32]));
        let mut all: Vec<Place> =
            (0..2u8).flat_map(|cache| (0..3).map(move |n| scope(CacheKey::new("t", &cache.to_string()), n))).collect();
        all.sort_unstable();
        all
    }

    fn id((_, scope): Place, n: u8) -> EntryId {
        EntryId::new(scope, TextHash::of(&n.to_string()), &Attributes::default())
    }

    fn row(id: EntryId) -> Row<EntryId> {
        Row { key: id, expiry: Expiry::NEVER, tags: Box::default() }
    }

    fn vector() -> Embedding {
        Embedding::normalised(vec![1.0, 2.0]).unwrap()
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0usize..6, 0u8..4).prop_map(|(place, n)| Step::Insert { place, n }),
            4 => (0usize..6, 0u8..4).prop_map(|(place, n)| Step::Remove { place, n }),
            1 => (0usize..2).prop_map(|cache| Step::Flush { cache }),
            2 => Just(Step::LoadNext),
        ];
        prop::collection::vec(step, 0..40)
    }

    proptest! {
        /// What is stored and removed while the disk is read is newer than what was on it.
        #[test]
        fn what_happens_while_loading_is_not_undone_by_it(
            on_disk in prop::collection::btree_set((0usize..6, 0u8..4), 0..20),
            steps in steps(),
        ) {
            let places = places();
            let memory = ScopeIndexes::new(2);
            let mut model: BTreeMap<(Place, EntryId), ()> = BTreeMap::new();
            let mut disk: BTreeMap<Place, Vec<EntryId>> = BTreeMap::new();
            for (place, n) in on_disk {
                let place = places[place];
                model.insert((place, id(place, n)), ());
                disk.entry(place).or_default().push(id(place, n));
            }
            let mut load_next = || {
                if let Some((place, ids)) = disk.pop_first() {
                    let index = VectorIndex::new(2);
                    ids.into_iter().for_each(|id| index.insert(row(id), &vector()));
                    memory.adopt(place.0, place.1, index);
                    true
                } else {
                    memory.all_loaded();
                    false
                }
            };
            for step in steps {
                match step {
                    Step::Insert { place, n } => {
                        let place = places[place];
                        memory.insert(place.0, place.1, row(id(place, n)), &vector());
                        model.insert((place, id(place, n)), ());
                    }
                    Step::Remove { place, n } => {
                        let place = places[place];
                        memory.remove(place.0, place.1, &id(place, n));
                        model.remove(&(place, id(place, n)));
                    }
                    Step::Flush { cache } => {
                        let cache = places[3 * cache].0;
                        memory.flush(cache);
                        model.retain(|((other, _), _), ()| *other != cache);
                    }
                    Step::LoadNext => {
                        load_next();
                    }
                }
            }
            while load_next() {}
            for place in places {
                let found = memory.search(place.0, place.1, &vector(), 10, &Filter::default()).unwrap();
                let mut found: Vec<EntryId> = found.into_iter().map(|near| near.key).collect();
                found.sort_unstable();
                let expected: Vec<EntryId> = model.keys().filter(|(of, _)| *of == place).map(|(_, id)| *id).collect();
                prop_assert_eq!(memory.is_empty(place.0, place.1), expected.is_empty());
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn scopes_that_are_not_loaded_say_so() {
        let places = places();
        let memory = ScopeIndexes::new(2);
        let search = |place: Place| memory.search(place.0, place.1, &vector(), 1, &Filter::default());
        memory.adopt(places[2].0, places[2].1, VectorIndex::new(2));
        assert_eq!(search(places[1]), Ok(vec![]));
        assert_eq!(search(places[3]), Err(NotLoaded));
        assert!(!memory.is_empty(places[3].0, places[3].1));
    }
}
