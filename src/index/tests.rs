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
    /// a filter neither lets others through nor loses its own.
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
                Step::Absorb => index.absorb(),
            }
        }
        prop_assert_eq!(index.len(), model.len());
        for (key, (seed, tag)) in &model {
            let found = index.search(&vector(*seed), 40, &Filter { now: 0, tags: vec![*tag] });
            let same_tag = model.values().filter(|(_, other)| other == tag).count();
            prop_assert_eq!(found.len(), same_tag);
            let own = found.iter().find(|n| n.key == *key);
            prop_assert!(own.is_some_and(|n| n.cosine.get() > 0.999));
            prop_assert!(found.windows(2).all(|pair| pair[0].cosine >= pair[1].cosine));
            prop_assert!(found.iter().all(|n| model.get(&n.key).is_some_and(|(_, t)| t == tag)));
        }
    }
}

#[test]
fn expired_rows_are_not_found_in_either_part() {
    let index = VectorIndex::new(DIMENSION);
    index.insert(row(1, Expiry(100), &[]), &vector(1));
    index.absorb();
    index.insert(row(2, Expiry(200), &[]), &vector(1));
    let keys = |now| {
        let mut keys: Vec<u32> =
            index.search(&vector(1), 5, &Filter { now, tags: vec![] }).iter().map(|n| n.key).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(99), [1, 2]);
    assert_eq!(keys(100), [2]);
    assert_eq!(keys(200), [] as [u32; 0]);
}

#[test]
fn a_mostly_dead_graph_is_rebuilt_without_its_dead() {
    let index = VectorIndex::new(DIMENSION);
    for key in 0..200 {
        index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into()));
    }
    index.absorb();
    for key in 0..150 {
        assert!(index.remove(&key));
    }
    assert!(index.wants_absorbing());
    index.absorb();
    assert!(!index.wants_absorbing());
    assert_eq!(index.len(), 50);
    for key in 150..200 {
        let found = index.search(&vector(key.into()), 1, &Filter::default());
        assert_eq!(found[0].key, key);
    }
}

#[test]
fn searches_and_changes_go_on_while_the_tail_is_absorbed() {
    let index = VectorIndex::new(DIMENSION);
    for key in 0..3000 {
        index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into()));
    }
    std::thread::scope(|scope| {
        let absorber = scope.spawn(|| index.absorb());
        for key in (0..3000).step_by(7) {
            assert_eq!(index.search(&vector(key.into()), 1, &Filter::default())[0].key, key);
            assert!(index.remove(&key));
            index.insert(row(10_000 + key, Expiry::NEVER, &[]), &vector(key.into()));
        }
        absorber.join().unwrap();
    });
    index.absorb();
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
    index.absorb();
    for key in 1000..2500 {
        index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into()));
    }
    index.absorb();
    for key in 1000..2500 {
        assert_eq!(index.search(&vector(key.into()), 1, &Filter::default())[0].key, key);
    }
    for key in 0..200 {
        let found = index.search(&vector(7), 3, &Filter { now: 0, tags: vec![u64::from(key)] });
        assert_eq!(found.iter().map(|near| near.key).collect::<Vec<_>>(), [key]);
    }
    assert_eq!(index.search(&vector(7), 500, &Filter::default()).iter().filter(|near| near.key < 200).count(), 200);
}

/// A prompt that is answered anew again and again.
#[test]
fn storing_the_same_again_leaves_nothing_dead_behind() {
    let index = VectorIndex::new(DIMENSION);
    for key in 0..50 {
        index.insert(row(key, Expiry::NEVER, &[]), &vector(key.into()));
    }
    index.absorb();
    for round in 0..100 {
        index.insert(row(3, Expiry(1000 + round), &[]), &vector(3));
        index.absorb();
    }
    assert!(!index.wants_absorbing());
    assert_eq!(index.len(), 50);
    assert_eq!(index.search(&vector(3), 1, &Filter { now: 1098, tags: vec![] })[0].key, 3);
    assert_ne!(index.search(&vector(3), 1, &Filter { now: 1099, tags: vec![] })[0].key, 3);
}
