use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const DIMENSION: usize = 16;

/// A unit vector that depends on nothing but `seed`.
fn vector(seed: u64) -> Embedding {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values = (0..DIMENSION)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % 2001) as f32 / 1000.0 - 1.0
        })
        .collect();
    Embedding::normalised(values).unwrap()
}

fn row(key: u32, expiry: Expiry, tags: &[Tag]) -> Row<u32> {
    Row { key, expiry, tags: tags.into() }
}

#[derive(Debug, Clone)]
enum Step {
    Insert { key: u32, seed: u64, tag: Tag },
    Remove { key: u32 },
    Absorb,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u32..40, any::<u64>(), 0u64..3).prop_map(|(key, seed, tag)| Step::Insert { key, seed, tag }),
        2 => (0u32..40).prop_map(|key| Step::Remove { key }),
        1 => Just(Step::Absorb),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    /// Whatever happened before: what was inserted last is found with its own vector, what was removed is not found, and
    /// a filter neither lets others through nor loses its own. Vectors are read back as they were inserted.
    #[test]
    fn an_index_is_a_map_that_can_be_searched(steps in steps()) {
        let index = VectorIndex::new(DIMENSION);
        let mut model: HashMap<u32, (u64, Tag)> = HashMap::new();
        for step in steps {
            match step {
                Step::Insert { key, seed, tag } => {
                    index.insert(row(key, Expiry::NEVER, &[tag]), &vector(seed));
                    model.insert(key, (seed, tag));
                }
                Step::Remove { key } => prop_assert_eq!(index.remove(&key), model.remove(&key).is_some()),
                Step::Absorb => {
                    index.absorb(|| true);
                }
            }
        }
        prop_assert_eq!(index.len(), model.len());
        let keys: Vec<u32> = (0..40).collect();
        for (key, read) in keys.iter().zip(index.vectors(keys.iter())) {
            prop_assert_eq!(read, model.get(key).map(|(seed, _)| vector(*seed)));
        }
        for (key, (seed, tag)) in &model {
            let found = index.search(&vector(*seed), 40, &Filter { now: 0, tags: vec![*tag], ..Filter::default() });
            let same_tag = model.values().filter(|(_, other)| other == tag).count();
            prop_assert_eq!(found.len(), same_tag);
            let own = found.iter().find(|n| n.key == *key);
            prop_assert!(own.is_some_and(|n| n.cosine.get() > 0.999));
            prop_assert!(found.windows(2).all(|pair| pair[0].cosine >= pair[1].cosine));
            prop_assert!(found.iter().all(|n| model.get(&n.key).is_some_and(|(_, t)| t == tag)));
        }
    }
}

/// An image with its parts, and the rows that there are, made an index.
fn restored(head: &[u8], parts: &[Vec<u8>], rows: &HashMap<u32, (u64, Tag)>) -> Result<VectorIndex<u32>, ImageError> {
    let mut restoring = Restoring::new(DIMENSION, head)?;
    for part in parts {
        restoring.push(part)?;
    }
    restoring.check()?;
    for (key, (seed, tag)) in rows {
        restoring.insert(row(*key, Expiry::NEVER, &[*tag]), &vector(*seed));
    }
    Ok(restoring.finish())
}

fn image(index: &VectorIndex<u32>) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut parts = Vec::new();
    let head = index.save_image::<ImageError>(|part| {
        parts.push(part);
        Ok(())
    });
    (head.unwrap().expect("a graph"), parts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever was stored and removed after the image was taken, and however far a graph had come: the restored index has
    /// the rows that it is given, finds each, and can be stored into again.
    #[test]
    fn a_restored_index_has_the_rows_that_there_are(
        before in 1u32..700,
        removed in prop::collection::vec(0u32..700, 0..300),
        after in 0u32..200,
    ) {
        let index = VectorIndex::new(DIMENSION);
        let mut rows: HashMap<u32, (u64, Tag)> = HashMap::new();
        for key in 0..before {
            let (seed, tag) = (u64::from(key % 600), u64::from(key % 3));
            index.insert(row(key, Expiry::NEVER, &[tag]), &vector(seed));
            rows.insert(key, (seed, tag));
        }
        index.absorb(|| true);
        let (head, parts) = image(&index);
        rows.retain(|key, _| !removed.contains(key));
        rows.extend((1000..1000 + after).map(|key| (key, (u64::from(key), 7))));

        let restored = restored(&head, &parts, &rows).unwrap();
        prop_assert_eq!(restored.len(), rows.len());
        restored.insert(row(9999, Expiry::NEVER, &[]), &vector(9999));
        rows.insert(9999, (9999, 8));
        restored.absorb(|| true);
        for (key, (seed, tag)) in &rows {
            let tags = if *tag == 8 { vec![] } else { vec![*tag] };
            let found = restored.search(&vector(*seed), 5, &Filter { now: 0, tags, ..Filter::default() });
            prop_assert!(found.iter().any(|near| near.key == *key), "{key}");
            prop_assert!(found.iter().all(|near| rows.contains_key(&near.key)));
        }
        // Nothing is linked twice.
        prop_assert_eq!(restored.len(), rows.len());
    }

    #[test]
    fn a_damaged_image_is_an_error_or_of_no_consequence(cut in 0usize..2000, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let index = VectorIndex::new(DIMENSION);
        let rows: HashMap<u32, (u64, Tag)> = (0..300).map(|key| (key, (u64::from(key), 0))).collect();
        rows.iter().for_each(|(key, (seed, _))| index.insert(row(*key, Expiry::NEVER, &[]), &vector(*seed)));
        index.absorb(|| true);
        let (head, parts) = image(&index);
        prop_assert!(restored(&head, &parts[1..], &rows).is_err());
        prop_assert!(restored(&head, &[parts.clone(), parts.clone()].concat(), &rows).is_err());
        let mut cut_off = parts.clone();
        let length = cut_off[0].len();
        cut_off[0].truncate(length.saturating_sub(cut + 1));
        prop_assert!(restored(&head, &cut_off, &rows).is_err());
        let mut flipped = parts.clone();
        *at.get_mut(&mut flipped[0]) ^= 1 << bit;
        if let Ok(index) = restored(&head, &flipped, &rows) {
            let near = index.search(&vector(5), 5, &Filter::default());
            prop_assert!(near.iter().all(|near| rows.contains_key(&near.key)));
        }
    }
}

#[test]
fn an_image_that_is_taken_while_vectors_are_linked_reaches_all_that_it_has() {
    let index = VectorIndex::new(DIMENSION);
    let insert = |keys: std::ops::Range<u32>| {
        keys.for_each(|key| index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into())));
    };
    insert(0..500);
    index.absorb(|| true);
    insert(500..6000);
    std::thread::scope(|scope| {
        let absorber = scope.spawn(|| index.absorb(|| true));
        let mut sizes = Vec::new();
        while !absorber.is_finished() {
            let (head, parts) = image(&index);
            let rows: HashMap<u32, (u64, Tag)> = (0..6000).map(|key| (key, (key.into(), 0))).collect();
            let restored = restored(&head, &parts, &rows).unwrap();
            sizes.push(restored.parts.read().tail.len());
            for key in (0..6000).step_by(11) {
                assert_eq!(restored.search(&vector(key.into()), 1, &Filter::default())[0].key, key);
            }
        }
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    });
}

/// A row that is stored again moves from the graph, which a search is going through, to the tail, where it has been.
#[test]
fn a_row_that_is_stored_again_and_again_is_always_found() {
    let index = VectorIndex::new(DIMENSION);
    for key in 0..2000 {
        index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into()));
    }
    index.absorb(|| true);
    std::thread::scope(|scope| {
        let storing = scope.spawn(|| {
            for _ in 0..3000 {
                index.insert(row(7, Expiry::NEVER, &[]), &vector(7));
                index.absorb(|| true);
            }
        });
        while !storing.is_finished() {
            let found = index.search(&vector(7), 4, &Filter::default());
            assert_eq!(found[0].key, 7);
            assert_eq!(found.iter().filter(|near| near.key == 7).count(), 1);
        }
    });
}

#[test]
fn expired_rows_are_not_found_in_either_part() {
    let index = VectorIndex::new(DIMENSION);
    index.insert(row(1, Expiry(100), &[]), &vector(1));
    index.absorb(|| true);
    index.insert(row(2, Expiry(200), &[]), &vector(1));
    let keys = |now| {
        let mut keys: Vec<u32> = index
            .search(&vector(1), 5, &Filter { now, tags: vec![], ..Filter::default() })
            .iter()
            .map(|n| n.key)
            .collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(99), [1, 2]);
    assert_eq!(keys(100), [2]);
    assert_eq!(keys(200), [] as [u32; 0]);
}

#[test]
fn a_mostly_dead_graph_is_rebuilt_without_its_dead_and_a_small_one_is_given_up() {
    let index = VectorIndex::new(DIMENSION);
    for key in 0..1000 {
        index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into()));
    }
    index.absorb(|| true);
    let remove = |keys: std::ops::Range<u32>| {
        assert!(keys.clone().all(|key| index.remove(&key)));
        assert!(index.needs_upkeep());
        index.keep_up(|| true, || {});
        assert!(!index.needs_upkeep());
        assert_eq!(index.len(), 1000 - keys.end as usize);
        for key in keys.end..1000 {
            let found = index.search(&vector(key.into()), 1, &Filter::default());
            assert_eq!(found[0].key, key);
        }
    };
    remove(0..700);
    assert!(index.parts.read().graph.as_ref().is_some_and(|graph| graph.dead_share() == 0.0));
    remove(700..800);
    assert!(index.parts.read().graph.is_none());
}

#[test]
fn searches_and_changes_go_on_while_the_tail_is_absorbed() {
    let index = VectorIndex::new(DIMENSION);
    for key in 0..3000 {
        index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into()));
    }
    std::thread::scope(|scope| {
        let absorber = scope.spawn(|| index.absorb(|| true));
        for key in (0..3000).step_by(7) {
            assert_eq!(index.search(&vector(key.into()), 1, &Filter::default())[0].key, key);
            assert!(index.remove(&key));
            index.insert(row(10_000 + key, Expiry::NEVER, &[]), &vector(key.into()));
        }
        absorber.join().unwrap();
    });
    index.absorb(|| true);
    assert_eq!(index.len(), 3000);
    for key in (0..3000).step_by(7) {
        assert_eq!(index.search(&vector(key.into()), 1, &Filter::default())[0].key, 10_000 + key);
    }
}

/// HNSW itself loses vectors behind more than its links' number of equal ones.
#[test]
fn equal_vectors_and_what_lies_behind_them_are_found() {
    let index = VectorIndex::new(DIMENSION);
    for key in 0..200 {
        index.insert(row(key, Expiry::NEVER, &[u64::from(key)]), &vector(7));
    }
    index.absorb(|| true);
    for key in 1000..2500 {
        index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into()));
    }
    index.absorb(|| true);
    for key in 1000..2500 {
        assert_eq!(index.search(&vector(key.into()), 1, &Filter::default())[0].key, key);
    }
    for key in 0..200 {
        let found = index.search(&vector(7), 3, &Filter { now: 0, tags: vec![u64::from(key)], ..Filter::default() });
        assert_eq!(found.iter().map(|near| near.key).collect::<Vec<_>>(), [key]);
    }
    assert_eq!(index.search(&vector(7), 500, &Filter::default()).iter().filter(|near| near.key < 200).count(), 200);
}

#[test]
fn one_of_several_tags_is_enough_where_that_is_asked_for() {
    let index = VectorIndex::new(DIMENSION);
    let insert = |key: u32| index.insert(row(key, Expiry::NEVER, &[u64::from(key % 7), 10]), &vector(key.into()));
    let agrees = |one_of: &[u64], tags: &[u64]| {
        let filter = Filter { now: 0, tags: tags.to_vec(), one_of: one_of.to_vec() };
        let mut found: Vec<u32> = index.search(&vector(1), 5000, &filter).iter().map(|near| near.key).collect();
        found.sort_unstable();
        let carries = |key: &u32| {
            let carried = [u64::from(key % 7), 10];
            (one_of.is_empty() || one_of.iter().any(|tag| carried.contains(tag)))
                && tags.iter().all(|tag| carried.contains(tag))
        };
        let expected: Vec<u32> = (0..u32::try_from(index.len()).unwrap()).filter(carries).collect();
        assert_eq!(found, expected, "{one_of:?} {tags:?}");
    };
    (0..300).for_each(insert);
    // In the tail, and then in a graph.
    for _ in 0..2 {
        for (one_of, tags) in
            [(&[1, 3, 99][..], &[][..]), (&[1, 3], &[10]), (&[1, 3], &[3]), (&[99], &[]), (&[], &[10])]
        {
            agrees(one_of, tags);
        }
        (300..2000).for_each(insert);
        index.absorb(|| true);
    }
}

/// A prompt that is answered anew again and again.
#[test]
fn storing_the_same_again_leaves_nothing_dead_behind() {
    let index = VectorIndex::new(DIMENSION);
    for key in 0..50 {
        index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into()));
    }
    index.absorb(|| true);
    for round in 0..100 {
        index.insert(row(3, Expiry(1000 + round), &[]), &vector(3));
        index.absorb(|| true);
    }
    assert!(index.parts.read().graph.as_ref().is_some_and(|graph| graph.dead_share() == 0.0));
    assert_eq!(index.len(), 50);
    assert_eq!(index.search(&vector(3), 1, &Filter { now: 1098, tags: vec![], ..Filter::default() })[0].key, 3);
    assert_ne!(index.search(&vector(3), 1, &Filter { now: 1099, tags: vec![], ..Filter::default() })[0].key, 3);
}

/// A crowd around a query and some far from it, nearest of which are asked for: a walk from the crowd's midst would have to get
/// through all of it.
#[test]
fn what_a_search_compares_is_bounded_where_all_that_is_near_is_dead_or_not_asked_for() {
    const NEAR: u32 = 40_000;
    const FAR: u32 = 4_400;
    // Of what walks may compare: EF_MOST candidates, with some neighbours each.
    const WALKS: usize = 25_000;
    let off = |seed: u64, sign: f32, spread: f32| {
        let noise = vector(seed);
        let mut values: Vec<f32> = noise.as_slice().iter().map(|x| x * spread).collect();
        values[0] += sign;
        Embedding::normalised(values).unwrap()
    };
    let index = VectorIndex::new(DIMENSION);
    let far = |key: u32| off(key.into(), -1.0, 0.8);
    for key in 0..NEAR {
        index.insert(row(key, Expiry::NEVER, &[1]), &off(key.into(), 1.0, 0.3));
    }
    (NEAR..NEAR + FAR).for_each(|key| index.insert(row(key, Expiry(100), &[2]), &far(key)));
    index.absorb(|| true);
    let assert_found = |filter: &Filter, most: usize| {
        let (mut found, mut compared) = (0, 0);
        for n in 0..20 {
            let query = off(1_000_000 + n, 1.0, 0.3);
            let mut exact: Vec<(u32, f32)> =
                (NEAR..NEAR + FAR).map(|key| (key, far(key).cosine(&query).get())).collect();
            exact.sort_by(|a, b| b.1.total_cmp(&a.1));
            let before = hnsw::COMPARED.get();
            let near = index.search(&query, 8, filter);
            compared = compared.max(hnsw::COMPARED.get() - before);
            found += near.iter().filter(|near| exact[..8].iter().any(|(key, _)| *key == near.key)).count();
        }
        assert!(found >= 158, "{found} of 160");
        assert!(compared < most, "{compared}");
    };
    assert_found(&Filter { now: 0, tags: vec![2], ..Filter::default() }, FAR as usize + WALKS);
    (0..NEAR).for_each(|key| assert!(index.remove(&key)));
    assert!(index.needs_upkeep());
    assert_found(&Filter::default(), FAR as usize + WALKS);
    // A few more less, and no walk is worth its while.
    (NEAR..NEAR + 400).for_each(|key| assert!(index.remove(&key)));
    let before = hnsw::COMPARED.get();
    assert_eq!(index.search(&far(NEAR + 400), 1, &Filter::default())[0].key, NEAR + 400);
    assert!(hnsw::COMPARED.get() - before <= FAR as usize);
    assert_eq!(index.search(&far(NEAR + 400), 1, &Filter { now: 100, tags: vec![], ..Filter::default() }), []);
}

/// While more is stored than can be linked, the tail is long and only the likest of its rows are compared.
#[test]
fn what_is_near_is_found_in_a_long_tail_also_where_few_are_asked_for() {
    const ROWS: u32 = 12_000;
    let wide = |seed: u64| {
        let values = (0..8).flat_map(|part| vector(seed * 8 + part).as_slice().to_vec()).collect();
        Embedding::normalised(values).unwrap()
    };
    let index = VectorIndex::new(8 * DIMENSION);
    for key in 0..ROWS {
        index.insert(row(key, Expiry::NEVER, &[u64::from(key % 1000)]), &wide(key.into()));
    }
    assert!((0..ROWS / 2).all(|key| index.remove(&(key * 2))));
    for key in (1..ROWS).step_by(190) {
        let jittered =
            wide(key.into()).as_slice().iter().zip(wide(9_999_999).as_slice()).map(|(x, y)| x + 0.6 * y).collect();
        let query = Embedding::normalised(jittered).unwrap();
        assert_eq!(index.search(&query, 1, &Filter::default())[0].key, key);
        let of_few =
            index.search(&query, 20, &Filter { now: 0, tags: vec![u64::from(key % 1000)], ..Filter::default() });
        assert_eq!((of_few[0].key, of_few.len()), (key, 12));
    }
}
