use proptest::prelude::*;

use super::super::super::{Attributes, ScopeKey, TextHash};
use super::*;

const BYTES: u32 = 1000;

fn cache(n: u8) -> CacheKey {
    CacheKey::new("t", &n.to_string())
}

fn id(n: u32) -> EntryId {
    let scope = ScopeKey::new(cache(0), &[0; 32]);
    EntryId::new(scope, TextHash::of(&n.to_string()), &Attributes::default())
}

fn record(bytes: u32, cost_millis: u32) -> EntryCost {
    EntryCost { bytes, cost_millis, uses: 0, stripe: 0, is_pinned: false }
}

/// Stores an entry as a cache does: it was looked for first, and others go until there is room.
fn store(eviction: &EvictionIndex, n: u32, record: EntryCost) -> Vec<EntryId> {
    eviction.missed(cache(0), id(n));
    eviction.stored(cache(0), id(n), record);
    let mut gone = Vec::new();
    while let Some(RemovalTarget { id, .. }) = eviction.take_to_go(1).pop() {
        gone.push(id);
    }
    assert!(!eviction.is_over());
    gone
}

fn is_there(eviction: &EvictionIndex, n: u32) -> bool {
    eviction.record(cache(0), &id(n)).is_some()
}

fn eviction(most_entries: u32) -> EvictionIndex {
    let eviction = EvictionIndex::new(u64::from(most_entries * BYTES));
    eviction.all_loaded();
    eviction
}

#[test]
fn a_flood_of_prompts_that_nobody_repeats_washes_nothing_of_use_out() {
    let eviction = eviction(1000);
    (0..1000).for_each(|n| drop(store(&eviction, n, record(BYTES, 500))));
    // Half of them are asked for now and then.
    for _ in 0..3 {
        (0..500).for_each(|n| eviction.used(cache(0), id(n)));
    }
    for n in 10_000..30_000 {
        store(&eviction, n, record(BYTES, 500));
        if n % 10 == 0 {
            eviction.used(cache(0), id(n / 10 % 500));
        }
    }
    let kept = (0..500).filter(|n| is_there(&eviction, *n)).count();
    assert!(kept > 450, "{kept} of 500");
    // What came last is there too: it was promised.
    assert!((29_950..30_000).all(|n| is_there(&eviction, n)));
}

#[test]
fn lookups_in_caches_that_nobody_stores_into_leave_nothing_behind() {
    let eviction = EvictionIndex::new(u64::MAX);
    (0..100).for_each(|n| eviction.missed(cache(n), id(0)));
    assert!(eviction.0.lock().caches.is_empty());
    eviction.limit(cache(0), u64::MAX, u64::MAX);
    eviction.missed(cache(0), id(0));
    assert_eq!(eviction.0.lock().caches[&cache(0)].asked.estimate(hash(id(0))), 1);
}

#[test]
fn what_is_asked_for_again_gets_in_and_what_is_no_longer_asked_for_goes() {
    let eviction = eviction(500);
    (0..500).for_each(|n| drop(store(&eviction, n, record(BYTES, 500))));
    (0..500).for_each(|n| eviction.used(cache(0), id(n)));
    // Times change: other prompts, each asked for again and again, whether they are there or not.
    for _ in 0..40 {
        for n in 1000..1400 {
            if is_there(&eviction, n) {
                eviction.used(cache(0), id(n));
            } else {
                drop(store(&eviction, n, record(BYTES, 500)));
            }
        }
    }
    let kept = (1000..1400).filter(|n| is_there(&eviction, *n)).count();
    assert!(kept > 380, "{kept} of 400");
}

#[test]
fn large_and_cheap_ones_go_before_small_and_dear_ones() {
    let eviction = eviction(1000);
    for n in 0..4000 {
        let (bytes, cost) = [(500, 500), (500, 5000), (2000, 500), (2000, 5000)][n as usize % 4];
        store(&eviction, n, record(bytes, cost));
        eviction.used(cache(0), id(n));
    }
    let mut kept = [0; 4];
    (0..4000).filter(|n| is_there(&eviction, *n)).for_each(|n| kept[n as usize % 4] += 1);
    // All of the best and a quarter of the next best would fill it, but for the window.
    assert!(kept[1] > 800 && kept[3] > kept[2] && kept[0] < 300, "{kept:?}");
}

#[test]
fn a_cache_keeps_to_its_own_budget_and_leaves_others_alone() {
    let eviction = eviction(1000);
    eviction.limit(cache(1), u64::from(10 * BYTES), u64::MAX);
    (0..100).for_each(|n| eviction.stored(cache(0), id(n), record(BYTES, 1)));
    (100..200).for_each(|n| eviction.stored(cache(1), id(n), record(BYTES, 1)));
    while let Some(going) = eviction.take_to_go(1).pop() {
        assert_eq!(going.cache, cache(1));
    }
    assert_eq!(eviction.of_cache(cache(0)), (100, u64::from(100 * BYTES)));
    assert_eq!(eviction.of_cache(cache(1)), (10, u64::from(10 * BYTES)));
    eviction.flushed(cache(0));
    assert_eq!(eviction.bytes(), u64::from(10 * BYTES));
}

/// Other caches have budgets of their own, if any; what they lose must not be what is worth more.
#[test]
fn a_flood_in_one_cache_leaves_what_is_of_use_in_others() {
    let eviction = eviction(500);
    for n in 0..50 {
        eviction.stored(cache(1), id(n), record(BYTES, 500));
        eviction.used(cache(1), id(n));
    }
    for n in 1000..20_000 {
        store(&eviction, n, record(BYTES, 500));
        if n % 10 == 0 {
            eviction.used(cache(1), id(n / 10 % 50));
        }
    }
    assert!(eviction.of_cache(cache(1)).0 >= 42, "{:?}", eviction.of_cache(cache(1)));
}

#[test]
fn what_happens_while_records_are_read_is_newer_than_they_are() {
    let eviction = EvictionIndex::new(u64::MAX);
    eviction.stored(cache(0), id(1), record(10, 1));
    eviction.removed(cache(0), &id(2));
    eviction.flushed(cache(1));
    for n in 1..=3 {
        eviction.load(cache(0), id(n), record(70, 1));
    }
    eviction.load(cache(1), id(9), record(70, 1));
    eviction.all_loaded();
    assert_eq!(eviction.of_cache(cache(0)), (2, 80));
    assert_eq!(eviction.of_cache(cache(1)), (0, 0));
    assert_eq!(eviction.bytes(), 80);
}

#[test]
fn what_is_pinned_stays_and_counts() {
    let eviction = eviction(10);
    let pinned = EntryCost { is_pinned: true, ..record(BYTES, 1) };
    (0..4).for_each(|n| eviction.stored(cache(0), id(n), pinned));
    for n in 10..100 {
        let gone = store(&eviction, n, record(BYTES, 500));
        assert!(gone.iter().all(|gone| (10..100).any(|n| *gone == id(n))));
    }
    assert_eq!(eviction.of_cache(cache(0)), (10, u64::from(10 * BYTES)));
    assert_eq!(eviction.pinned_of_cache(cache(0)), (4, u64::from(4 * BYTES)));
    eviction.limit(cache(0), u64::from(3 * BYTES), u64::MAX);
    while !eviction.take_to_go(7).is_empty() {}
    // Nothing that may go is left, so nothing is over.
    assert!(!eviction.is_over());
    assert_eq!(eviction.of_cache(cache(0)), (4, u64::from(4 * BYTES)));
    eviction.stored(cache(0), id(0), record(BYTES, 1));
    assert_eq!(eviction.pinned_of_cache(cache(0)).0, 3);
    eviction.flushed(cache(0));
    assert!(eviction.has_none_pinned(cache(0)) && eviction.bytes() == 0);
}

proptest! {
    /// Whatever happens, bytes add up, and nothing is taken for there that isn't.
    #[test]
    fn a_ledger_adds_up(steps in prop::collection::vec((0u8..6, 0u8..2, 0u32..30, 1u32..50), 1..200)) {
        let eviction = EvictionIndex::new(400);
        eviction.all_loaded();
        let mut model: HashMap<(CacheKey, EntryId), u32> = HashMap::new();
        let mut pinned: HashMap<(CacheKey, EntryId), u32> = HashMap::new();
        for (what, n, entry, bytes) in steps {
            let (cache, id) = (cache(n), id(entry));
            match what {
                5 => {
                    eviction.stored(cache, id, EntryCost { is_pinned: true, ..record(bytes % 3, entry) });
                    model.insert((cache, id), bytes % 3);
                    pinned.insert((cache, id), bytes % 3);
                    for RemovalTarget { cache, id, .. } in std::iter::repeat_with(|| eviction.take_to_go(5)).take_while(|going| !going.is_empty()).flatten() {
                        prop_assert!(!pinned.contains_key(&(cache, id)) && model.remove(&(cache, id)).is_some());
                    }
                }
                0 | 1 => {
                    eviction.stored(cache, id, record(bytes, entry));
                    model.insert((cache, id), bytes);
                    pinned.remove(&(cache, id));
                    for RemovalTarget { cache, id, .. } in std::iter::repeat_with(|| eviction.take_to_go(5)).take_while(|going| !going.is_empty()).flatten() {
                        prop_assert!(!pinned.contains_key(&(cache, id)) && model.remove(&(cache, id)).is_some());
                    }
                }
                2 => {
                    eviction.removed(cache, &id);
                    model.remove(&(cache, id));
                    pinned.remove(&(cache, id));
                }
                3 => eviction.used(cache, id),
                _ if entry == 0 => {
                    eviction.flushed(cache);
                    model.retain(|(other, _), _| *other != cache);
                    pinned.retain(|(other, _), _| *other != cache);
                }
                _ => drop(eviction.take_unsaved()),
            }
            prop_assert_eq!(eviction.bytes(), model.values().map(|bytes| u64::from(*bytes)).sum::<u64>());
            prop_assert!(eviction.bytes() <= 400);
        }
        for ((cache, id), bytes) in &model {
            prop_assert_eq!(eviction.record(*cache, id).map(|record| record.bytes), Some(*bytes));
        }
        let unsaved = eviction.take_unsaved();
        prop_assert!(unsaved.iter().all(|(cache, id, _)| model.contains_key(&(*cache, *id))));
    }
}

#[test]
fn a_flood_after_a_restart_washes_nothing_of_use_out() {
    let before = eviction(1000);
    (0..1000).for_each(|n| drop(store(&before, n, record(BYTES, 500))));
    for _ in 0..3 {
        (0..500).for_each(|n| before.used(cache(0), id(n)));
    }
    let after = EvictionIndex::new(u64::from(1000 * BYTES));
    for n in 0..1000 {
        after.load(cache(0), id(n), before.record(cache(0), &id(n)).unwrap());
    }
    after.all_loaded();
    (10_000..16_000).for_each(|n| drop(store(&after, n, record(BYTES, 500))));
    let kept = (0..500).filter(|n| is_there(&after, *n)).count();
    assert!(kept > 450, "{kept} of 500");
}
