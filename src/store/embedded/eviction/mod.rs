//! What every entry takes and saves, and which one has to go when there is too much.
//!
//! An entry is worth what it has saved, against its size and age: its [`Value`] is the clock when it was last of use, plus
//! uses × cost ÷ bytes, where the clock is the value of the last entry that had to go. That is GreedyDual-Size-Frequency
//! (Cherkasova 1998). The least is looked for among some that are drawn at random, which needs no order to be kept.
//!
//! What is new waits in a *window* first, a tenth of the cache. What leaves it has to be worth more than what would go in its
//! place, by how often either was asked for lately (TinyLFU): a flood of prompts that nobody repeats passes through the
//! window and leaves the rest as it was.
//!
//! Entries that are *pinned* never have to go. They count for what a cache takes, so beside many of them others go the sooner.
//!
//! All this is in memory; [`EntryCost`]s of it are on disk, those of entries that were of use a little late.

mod sketch;

use std::collections::{HashMap, VecDeque};

use super::super::{CacheKey, EntryId};
use super::removal::RemovalTarget;
use parking_lot::Mutex;
use sketch::Sketch;

/// The window's part of a cache's bytes.
const WINDOW_PART: u64 = 10;
/// The part of all bytes that may be pinned.
const PINNED_PART: u64 = 2;
/// Entries that are drawn to find the one that is worth least.
const DRAWN: usize = 24;
/// Caches that are drawn where all together take too much.
const DRAWN_CACHES: usize = 8;

/// Beyond its bound by this part of it, a cache takes much too much.
const MUCH_PART: u64 = 50;

/// How far something is beyond what it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Excess {
    None,
    Some,
    Much,
}

impl Excess {
    fn of(bytes: u64, most: u64) -> Self {
        match bytes.saturating_sub(most) {
            0 => Self::None,
            excess if excess > most / MUCH_PART => Self::Much,
            _ => Self::Some,
        }
    }
}

/// What an entry takes and has saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryCost {
    /// What all its records take on disk.
    pub(super) bytes: u32,
    /// Milliseconds that its answer took, and that each use saves.
    pub(super) cost_millis: u32,
    /// Lookups that were answered with it.
    pub(super) uses: u32,
    /// Which lock its writes take; see [`Inner`](super::Inner).
    pub(super) stripe: u8,
    /// Whether it stays, whatever it is worth.
    pub(super) is_pinned: bool,
}

/// Clock plus uses × cost ÷ bytes: milliseconds per byte.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Value(f64);

/// An entry.
struct Evictable {
    id: EntryId,
    record: EntryCost,
    /// The clock when it was stored or last of use.
    clock: Value,
    is_new: bool,
    /// Whether its record on disk is older than this.
    is_unsaved: bool,
}

/// An entry that stays.
struct Pinned {
    record: EntryCost,
    is_unsaved: bool,
}

/// The entries of one cache.
struct CacheEntries {
    /// Those that may have to go.
    slots: Vec<Evictable>,
    by_id: HashMap<EntryId, u32>,
    /// New entries, the oldest first, and some that are gone.
    window: VecDeque<EntryId>,
    window_bytes: u64,
    /// Those that stay, and what they take.
    pinned: HashMap<EntryId, Pinned>,
    pinned_bytes: u64,
    /// Of all.
    bytes: u64,
    max_bytes: u64,
    max_pinned: u64,
    asked: Sketch,
    unsaved: Vec<EntryId>,
}

/// All entries.
pub(super) struct EvictionIndex(Mutex<EvictionState>);

struct EvictionState {
    caches: HashMap<CacheKey, CacheEntries>,
    bytes: u64,
    pinned_bytes: u64,
    max_bytes: u64,
    /// What the last entry that had to go was worth.
    clock: Value,
    draw: Draw,
    /// What was stored, removed or flushed while records are still being read.
    since_open: Option<SinceOpen>,
}

#[derive(Default)]
struct SinceOpen {
    entries: std::collections::HashSet<EntryId>,
    caches: std::collections::HashSet<CacheKey>,
}

impl EvictionIndex {
    /// An empty one that wants no more than `max_bytes`, and whose records are still to be [read](Self::load).
    pub(super) fn new(max_bytes: u64) -> Self {
        Self(Mutex::new(EvictionState {
            caches: HashMap::new(),
            bytes: 0,
            pinned_bytes: 0,
            max_bytes,
            clock: Value(0.0),
            draw: Draw(0x9E37_79B9_7F4A_7C15),
            since_open: Some(SinceOpen::default()),
        }))
    }

    /// Bounds one cache, and what of it may be pinned.
    pub(super) fn limit(&self, cache: CacheKey, max_bytes: u64, max_pinned: u64) {
        let state = &mut *self.0.lock();
        let entries = state.entries(cache);
        (entries.max_bytes, entries.max_pinned) = (max_bytes, max_pinned);
    }

    /// The bound that keeps another entry of `cache` from being pinned, if any does.
    pub(super) fn pinned_is_full(&self, cache: CacheKey) -> Option<u64> {
        let state = self.0.lock();
        let of_all = state.max_bytes / PINNED_PART;
        let entries = state.caches.get(&cache);
        let own =
            entries.filter(|entries| entries.pinned_bytes >= entries.max_pinned).map(|entries| entries.max_pinned);
        own.or((state.pinned_bytes >= of_all).then_some(of_all))
    }

    /// Whether nothing of a cache is pinned, as far as is known.
    pub(super) fn has_none_pinned(&self, cache: CacheKey) -> bool {
        let state = self.0.lock();
        state.since_open.is_none() && state.caches.get(&cache).is_none_or(|entries| entries.pinned.is_empty())
    }

    /// An entry as it was found on disk.
    pub(super) fn load(&self, cache: CacheKey, id: EntryId, record: EntryCost) {
        let state = &mut *self.0.lock();
        let is_older = state
            .since_open
            .as_ref()
            .is_none_or(|since| !since.entries.contains(&id) && !since.caches.contains(&cache));
        if is_older {
            if record.is_pinned {
                return state.pin(cache, id, record);
            }
            state.bytes += u64::from(record.bytes);
            let clock = state.clock;
            let entries = state.entries(cache);
            entries.add(Evictable { id, record, clock, is_new: false, is_unsaved: false });
            // Or the first flood after a start would look as much asked for as what always was.
            entries.asked.remember(hash(id), record.uses);
        }
    }

    /// All records were read.
    pub(super) fn all_loaded(&self) {
        self.0.lock().since_open = None;
    }

    /// Whether they were.
    #[cfg(test)]
    pub(super) fn is_loaded(&self) -> bool {
        self.0.lock().since_open.is_none()
    }

    /// An entry was stored.
    pub(super) fn stored(&self, cache: CacheKey, id: EntryId, record: EntryCost) {
        let state = &mut *self.0.lock();
        state.note(id);
        let clock = state.clock;
        if record.is_pinned || state.entries(cache).pinned.contains_key(&id) {
            state.forget(cache, &id);
        }
        if record.is_pinned {
            return state.pin(cache, id, record);
        }
        let entries = state.entries(cache);
        match entries.slot_mut(&id) {
            Some(slot) => {
                let before = std::mem::replace(&mut slot.record, record).bytes;
                slot.clock = clock;
                let is_new = slot.is_new;
                entries.resize(before, record.bytes, is_new);
                state.bytes = state.bytes - u64::from(before) + u64::from(record.bytes);
            }
            None => {
                entries.add(Evictable { id, record, clock, is_new: true, is_unsaved: false });
                state.bytes += u64::from(record.bytes);
            }
        }
        if !state.is_over(cache) {
            state.entries(cache).let_in();
        }
    }

    /// What an entry takes has changed by so many bytes.
    pub(super) fn resized(&self, cache: CacheKey, id: &EntryId, by: i64) {
        let state = &mut *self.0.lock();
        let entries = state.entries(cache);
        let resized = |before: u32| u32::try_from(i64::from(before).saturating_add(by).max(0)).unwrap_or(u32::MAX);
        if let Some(pinned) = entries.pinned.get_mut(id) {
            let before = pinned.record.bytes;
            let after = resized(before);
            pinned.record.bytes = after;
            if !std::mem::replace(&mut pinned.is_unsaved, true) {
                entries.unsaved.push(*id);
            }
            entries.bytes = entries.bytes - u64::from(before) + u64::from(after);
            entries.pinned_bytes = entries.pinned_bytes - u64::from(before) + u64::from(after);
            state.pinned_bytes = state.pinned_bytes - u64::from(before) + u64::from(after);
            state.bytes = state.bytes - u64::from(before) + u64::from(after);
            return;
        }
        let Some(slot) = entries.slot_mut(id) else { return };
        let before = slot.record.bytes;
        slot.record.bytes = resized(before);
        let (after, is_new) = (slot.record.bytes, slot.is_new);
        if !std::mem::replace(&mut slot.is_unsaved, true) {
            entries.unsaved.push(*id);
        }
        entries.resize(before, after, is_new);
        state.bytes = state.bytes - u64::from(before) + u64::from(after);
    }

    /// What is known of an entry.
    pub(super) fn record(&self, cache: CacheKey, id: &EntryId) -> Option<EntryCost> {
        let state = self.0.lock();
        let entries = state.caches.get(&cache)?;
        let pinned = || entries.pinned.get(id).map(|pinned| pinned.record);
        entries.slot(id).map(|slot| slot.record).or_else(pinned)
    }

    pub(super) fn removed(&self, cache: CacheKey, id: &EntryId) {
        let state = &mut *self.0.lock();
        state.note(*id);
        state.forget(cache, id);
    }

    pub(super) fn flushed(&self, cache: CacheKey) {
        let state = &mut *self.0.lock();
        if let Some(since) = &mut state.since_open {
            since.caches.insert(cache);
        }
        if let Some(entries) = state.caches.get_mut(&cache) {
            state.bytes -= entries.bytes;
            state.pinned_bytes -= entries.pinned_bytes;
            let (max_bytes, max_pinned) = (entries.max_bytes, entries.max_pinned);
            *entries = CacheEntries { max_pinned, ..CacheEntries::new(max_bytes) };
        }
    }

    /// A lookup was answered with an entry.
    pub(super) fn used(&self, cache: CacheKey, id: EntryId) {
        let state = &mut *self.0.lock();
        let clock = state.clock;
        let entries = state.entries(cache);
        if let Some(pinned) = entries.pinned.get_mut(&id) {
            pinned.record.uses = pinned.record.uses.saturating_add(1);
            if !std::mem::replace(&mut pinned.is_unsaved, true) {
                entries.unsaved.push(id);
            }
            return;
        }
        entries.asked.count(hash(id));
        if let Some(slot) = entries.slot_mut(&id) {
            slot.record.uses = slot.record.uses.saturating_add(1);
            slot.clock = clock;
            if !std::mem::replace(&mut slot.is_unsaved, true) {
                entries.unsaved.push(id);
            }
        }
    }

    /// A lookup would have been answered with this entry, had it been there. Nothing is kept of caches that hold nothing and have no bounds.
    pub(super) fn missed(&self, cache: CacheKey, id: EntryId) {
        if let Some(entries) = self.0.lock().caches.get_mut(&cache) {
            entries.asked.count(hash(id));
        }
    }

    /// Whether some cache, or all together, take more than they may.
    pub(super) fn is_over(&self) -> bool {
        let state = self.0.lock();
        state.are_over() || state.caches.values().any(CacheEntries::is_over)
    }

    /// By how much `cache`, or all together, take more than they may.
    pub(super) fn excess(&self, cache: CacheKey) -> Excess {
        let state = self.0.lock();
        let of_all = if state.are_over() { Excess::of(state.bytes, state.max_bytes) } else { Excess::None };
        let own = state.caches.get(&cache).filter(|entries| entries.is_over());
        own.map_or(Excess::None, |entries| Excess::of(entries.bytes, entries.max_bytes)).max(of_all)
    }

    /// The entries that have to go next, up to `most`, and none where nothing takes too much. They no longer count.
    pub(super) fn take_to_go(&self, most: usize) -> Vec<RemovalTarget> {
        let state = &mut *self.0.lock();
        let mut going = Vec::new();
        while going.len() < most
            && let Some((cache, id)) = state.next_to_go()
        {
            let stripe = state.caches.get(&cache).and_then(|entries| entries.slot(&id)).map(|slot| slot.record.stripe);
            state.note(id);
            state.forget(cache, &id);
            going.push(RemovalTarget { cache, id, stripe });
        }
        going
    }

    /// The records of entries that differ from those on disk.
    pub(super) fn take_unsaved(&self) -> Vec<(CacheKey, EntryId, EntryCost)> {
        let state = &mut *self.0.lock();
        let mut all = Vec::new();
        for (cache, entries) in &mut state.caches {
            for id in std::mem::take(&mut entries.unsaved) {
                if let Some(slot) = entries.slot_mut(&id) {
                    slot.is_unsaved = false;
                    all.push((*cache, id, slot.record));
                } else if let Some(pinned) = entries.pinned.get_mut(&id) {
                    pinned.is_unsaved = false;
                    all.push((*cache, id, pinned.record));
                }
            }
        }
        all
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().bytes
    }

    /// All entries.
    pub(super) fn entries(&self) -> u64 {
        self.0.lock().caches.values().map(|entries| entries.entries() as u64).sum()
    }

    /// Entries of a cache, and their bytes.
    pub(super) fn of_cache(&self, cache: CacheKey) -> (usize, u64) {
        self.0.lock().caches.get(&cache).map_or((0, 0), |entries| (entries.entries(), entries.bytes))
    }

    /// Pinned entries of a cache, and their bytes.
    pub(super) fn pinned_of_cache(&self, cache: CacheKey) -> (usize, u64) {
        self.0.lock().caches.get(&cache).map_or((0, 0), |entries| (entries.pinned.len(), entries.pinned_bytes))
    }
}

impl EvictionState {
    fn entries(&mut self, cache: CacheKey) -> &mut CacheEntries {
        self.caches.entry(cache).or_insert_with(|| CacheEntries::new(u64::MAX))
    }

    fn note(&mut self, id: EntryId) {
        if let Some(since) = &mut self.since_open {
            since.entries.insert(id);
        }
    }

    /// Adds an entry that stays, and that isn't there yet.
    fn pin(&mut self, cache: CacheKey, id: EntryId, record: EntryCost) {
        let bytes = u64::from(record.bytes);
        self.bytes += bytes;
        self.pinned_bytes += bytes;
        let entries = self.entries(cache);
        entries.bytes += bytes;
        entries.pinned_bytes += bytes;
        entries.pinned.insert(id, Pinned { record, is_unsaved: false });
    }

    /// Removes an entry, if it is there.
    fn forget(&mut self, cache: CacheKey, id: &EntryId) {
        let Some(entries) = self.caches.get_mut(&cache) else { return };
        if let Some(slot) = entries.remove(id) {
            self.bytes -= u64::from(slot.record.bytes);
        } else if let Some(Pinned { record, .. }) = entries.pinned.remove(id) {
            let bytes = u64::from(record.bytes);
            entries.bytes -= bytes;
            entries.pinned_bytes -= bytes;
            self.pinned_bytes -= bytes;
            self.bytes -= bytes;
        }
    }

    /// Whether all together take too much, and something could go.
    fn are_over(&self) -> bool {
        self.bytes > self.max_bytes && self.bytes > self.pinned_bytes
    }

    fn is_over(&self, cache: CacheKey) -> bool {
        self.are_over() || self.caches.get(&cache).is_some_and(CacheEntries::is_over)
    }

    fn next_to_go(&mut self) -> Option<(CacheKey, EntryId)> {
        let over = self.caches.iter().find(|(_, entries)| entries.is_over()).map(|(cache, _)| *cache);
        let among = match over {
            Some(cache) => vec![cache],
            None if self.are_over() => (0..DRAWN_CACHES).filter_map(|_| self.draw_cache()).collect(),
            None => return None,
        };
        self.next_of(&among)
    }

    /// The entry of some caches that has to go: what leaves a window, or what is worth least of all and would have to go in its
    /// place.
    fn next_of(&mut self, among: &[CacheKey]) -> Option<(CacheKey, EntryId)> {
        let (mut least, mut leaving) = (None::<(CacheKey, EntryId, Value)>, None);
        for cache in among {
            let entries = self.caches.get_mut(cache)?;
            if let Some((id, value)) = entries.least(&mut self.draw)
                && least.is_none_or(|(.., least)| value < least)
            {
                least = Some((*cache, id, value));
            }
            leaving = leaving.or_else(|| entries.leaving_window().map(|id| (*cache, id)));
        }
        match (leaving, least) {
            (None, None) => {
                let entries = self.caches.get(among.first()?)?;
                entries.slots.first().map(|slot| (among[0], slot.id))
            }
            (Some(leaving), Some(least)) if self.rate(leaving) <= self.rate((least.0, least.1)) => Some(leaving),
            (Some(leaving), None) => Some(leaving),
            (leaving, Some((cache, id, value))) => {
                if let Some((cache, id)) = leaving {
                    self.entries(cache).keep(id);
                }
                if value > self.clock {
                    self.clock = value;
                }
                Some((cache, id))
            }
        }
    }

    /// What keeping an entry saves for as long as it is asked for as often as lately: milliseconds per byte.
    fn rate(&self, (cache, id): (CacheKey, EntryId)) -> f64 {
        self.caches.get(&cache).map_or(0.0, |entries| entries.rate(id))
    }

    /// The cache of a byte that is drawn at random, of those that may go: the larger ones give more.
    fn draw_cache(&mut self) -> Option<CacheKey> {
        let mut at = self.draw.below(self.bytes - self.pinned_bytes);
        for (cache, entries) in &self.caches {
            match at.checked_sub(entries.bytes - entries.pinned_bytes) {
                Some(rest) => at = rest,
                None => return Some(*cache),
            }
        }
        None
    }
}

impl CacheEntries {
    fn new(max_bytes: u64) -> Self {
        Self {
            slots: Vec::new(),
            by_id: HashMap::new(),
            window: VecDeque::new(),
            window_bytes: 0,
            pinned: HashMap::new(),
            pinned_bytes: 0,
            bytes: 0,
            max_bytes,
            max_pinned: u64::MAX,
            asked: Sketch::new(),
            unsaved: Vec::new(),
        }
    }

    fn entries(&self) -> usize {
        self.slots.len() + self.pinned.len()
    }

    /// Whether they take too much, and something could go.
    fn is_over(&self) -> bool {
        self.bytes > self.max_bytes && !self.slots.is_empty()
    }

    fn slot(&self, id: &EntryId) -> Option<&Evictable> {
        self.by_id.get(id).map(|at| &self.slots[*at as usize])
    }

    fn slot_mut(&mut self, id: &EntryId) -> Option<&mut Evictable> {
        self.by_id.get(id).map(|at| &mut self.slots[*at as usize])
    }

    fn add(&mut self, slot: Evictable) {
        #[expect(clippy::cast_possible_truncation, reason = "4 billion entries don't fit into memory")]
        let at = self.slots.len() as u32;
        self.by_id.insert(slot.id, at);
        self.bytes += u64::from(slot.record.bytes);
        if slot.is_new {
            self.window.push_back(slot.id);
            self.window_bytes += u64::from(slot.record.bytes);
        }
        self.slots.push(slot);
        self.asked.grow(self.slots.len());
    }

    fn resize(&mut self, before: u32, after: u32, is_new: bool) {
        self.bytes = self.bytes - u64::from(before) + u64::from(after);
        if is_new {
            self.window_bytes = self.window_bytes - u64::from(before) + u64::from(after);
        }
    }

    fn remove(&mut self, id: &EntryId) -> Option<Evictable> {
        let at = self.by_id.remove(id)?;
        let slot = self.slots.swap_remove(at as usize);
        if let Some(moved) = self.slots.get(at as usize) {
            self.by_id.insert(moved.id, at);
        }
        self.resize(slot.record.bytes, 0, slot.is_new);
        Some(slot)
    }

    /// The window's oldest entry, where the window is too large.
    fn leaving_window(&mut self) -> Option<EntryId> {
        while self.window_bytes > (self.bytes - self.pinned_bytes) / WINDOW_PART {
            let id = *self.window.front()?;
            if self.slot(&id).is_some_and(|slot| slot.is_new) {
                return Some(id);
            }
            self.window.pop_front();
        }
        None
    }

    /// Takes an entry out of the window and keeps it.
    fn keep(&mut self, id: EntryId) {
        if let Some(slot) = self.slot_mut(&id) {
            slot.is_new = false;
            let bytes = slot.record.bytes;
            self.window_bytes -= u64::from(bytes);
        }
    }

    /// Keeps what leaves the window.
    fn let_in(&mut self) {
        while let Some(id) = self.leaving_window() {
            self.keep(id);
        }
    }

    /// The least valuable of some entries that aren't new, and its value.
    fn least(&self, draw: &mut Draw) -> Option<(EntryId, Value)> {
        let drawn = (0..DRAWN).map(|_| draw.below(self.slots.len() as u64));
        let old = drawn.filter_map(|at| self.slots.get(usize::try_from(at).ok()?)).filter(|slot| !slot.is_new);
        let least = old.min_by(|a, b| a.value().0.total_cmp(&b.value().0))?;
        Some((least.id, least.value()))
    }

    /// See [`EvictionState::rate`].
    fn rate(&self, id: EntryId) -> f64 {
        self.slot(&id).map_or(0.0, |slot| f64::from(self.asked.estimate(hash(id))) * slot.record.saving())
    }
}

impl Evictable {
    fn value(&self) -> Value {
        Value(self.clock.0 + (1.0 + f64::from(self.record.uses)) * self.record.saving())
    }
}

impl EntryCost {
    /// Milliseconds per byte that each use saves.
    fn saving(&self) -> f64 {
        f64::from(self.cost_millis.max(1)) / f64::from(self.bytes.max(1))
    }
}

/// Numbers that look random, and are the same in every run (xorshift64).
struct Draw(u64);

impl Draw {
    /// A number below `end`, or 0.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

fn hash(id: EntryId) -> u128 {
    u128::from_le_bytes(id.0)
}

#[cfg(test)]
mod tests;
