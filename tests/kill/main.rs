//! A store that is killed at any moment, under load, again and again: what was acknowledged is there and whole, what was
//! deleted stays away, and exact and semantic answers agree with a model that this test keeps outside.
//!
//! The store runs in a child process, this very program. While its workers store and delete, entries expire and are evicted;
//! in some lives a backup is made, in others the embedding model is changed to and fro. `REFRAIN_KILLS` sets how often it is
//! killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod child;
mod world;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use refrain::config::Durability;
use refrain::store::embedded::EmbeddedStore;
use refrain::store::{EntryFilter, Store, StoreError, TextHash};

use child::{Said, backup_of, makes_backup};
use world::{
    Contents, Dice, LATER, NOW, Op, WORKERS, answer, apply, cache, id, may_go, models, new_entry, open, scope, text,
    vector,
};

const KILLS: u64 = 200;
/// The child runs so long at most; each tenth time so long that graphs are built and saved, or models changed.
const LIFE: Duration = Duration::from_millis(120);
const LONG_LIFE: Duration = Duration::from_millis(1500);

/// What a life came to.
struct Life {
    /// What each worker was about to do.
    about_to: Vec<Option<Op>>,
    acknowledged: usize,
    switched: usize,
    /// What a backup may hold of each worker, where one was begun, and whether it was finished.
    backup: Option<(Vec<Vec<Contents>>, bool)>,
}

/// Starts a child, kills it after a while, and brings the model up to date.
fn run_and_kill(path: &Path, seed: u64, dice: &mut Dice, model: &mut [Contents]) -> Life {
    let mut child = child::start(path, seed);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| Said::read(&line.unwrap()));
    assert_eq!(lines.next(), Some(Said::Ready));
    let life = if matches!(seed % 20, 2 | 9 | 19) { LONG_LIFE } else { LIFE } * dice.below(100) / 100;
    let killer = std::thread::spawn(move || {
        std::thread::sleep(life);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut life = Life { about_to: vec![None; WORKERS.len()], acknowledged: 0, switched: 0, backup: None };
    for said in lines {
        match said {
            Said::Begin(worker, op) => life.about_to[worker] = Some(op),
            Said::Done(worker) => {
                apply(&mut model[worker], life.about_to[worker].take().unwrap());
                life.acknowledged += 1;
                if let Some((held, false)) = &mut life.backup {
                    held[worker].push(model[worker].clone());
                }
            }
            Said::BackupBegins => life.backup = Some((model.iter().map(|now| vec![now.clone()]).collect(), false)),
            Said::BackupDone => {
                let (held, is_done) = life.backup.as_mut().unwrap();
                *is_done = true;
                under_way(held, &life.about_to);
            }
            Said::Switched => life.switched += 1,
            Said::Ready => panic!("a child is born once"),
        }
    }
    if let Some((held, false)) = &mut life.backup {
        under_way(held, &life.about_to);
    }
    killer.join().unwrap();
    life
}

/// What hasn't been acknowledged may be in a backup already.
fn under_way(held: &mut [Vec<Contents>], about_to: &[Option<Op>]) {
    for (held, op) in held.iter_mut().zip(about_to) {
        let mut next = held.last().unwrap().clone();
        op.iter().for_each(|op| apply(&mut next, *op));
        held.push(next);
    }
}

/// What should be there, given that some of it may have been evicted or have expired.
fn expected(worker: usize, model: &Contents, found: &Contents) -> Contents {
    let stays = |prompt: &u32| !may_go(worker, *prompt) || found.contains_key(prompt);
    model.iter().filter(|(prompt, _)| stays(prompt)).map(|(prompt, version)| (*prompt, *version)).collect()
}

/// All entries that the store has of a worker, each seen to be whole.
async fn contents(store: &EmbeddedStore, worker: usize) -> Contents {
    let mut found = Contents::new();
    for prompt in 0..WORKERS[worker].prompts {
        let text = text(worker, prompt);
        let (hash, wanted) = (TextHash::of(&text), EntryFilter::default());
        let exact = store.find_exact(cache(worker), scope(worker), hash, &wanted, NOW).await.unwrap();
        assert_eq!(exact, store.get(cache(worker), id(worker, prompt), NOW).await.unwrap());
        if WORKERS[worker].expires && may_go(worker, prompt) {
            assert_eq!(store.get(cache(worker), id(worker, prompt), LATER).await.unwrap(), None, "it has expired");
        }
        if let Some(entry) = exact {
            assert_eq!(entry.prompt, text);
            let version = entry.answer.text.split([' ', ';']).nth(2).unwrap().parse().unwrap();
            assert_eq!(entry.answer.text, answer(worker, prompt, version), "an answer is not whole");
            found.insert(prompt, version);
        }
    }
    found
}

/// Asks with every so many prompts' own vectors: they must be found if they are there, and nothing that isn't.
async fn assert_searches_agree(store: &EmbeddedStore, worker: usize, model: &Contents, offset: u64) {
    let (mut asked, mut missed) = (0, 0);
    for prompt in (0..WORKERS[worker].prompts).skip(offset as usize % 7).step_by(7) {
        let query = vector(&text(worker, prompt), &store.model());
        let near = store.nearest(cache(worker), scope(worker), &query, 5, &EntryFilter::default(), NOW).await.unwrap();
        for candidate in &near {
            let number = candidate.entry.prompt.split(' ').nth(1).unwrap().parse::<u32>().unwrap();
            let version = model.get(&number).expect("an entry that isn't there is found");
            let entry = store.get(cache(worker), candidate.entry.id, NOW).await.unwrap().unwrap();
            assert_eq!(entry.answer.text, answer(worker, number, *version));
        }
        assert_eq!(near.len(), model.len().min(5));
        if model.contains_key(&prompt) {
            asked += 1;
            missed += usize::from(near[0].entry.id != id(worker, prompt));
        }
    }
    // A graph is approximate.
    assert!(missed * 50 <= asked, "{missed} of {asked} are not found");
}

async fn wait_for_index(store: &EmbeddedStore, worker: usize) {
    let query = vector("any", &store.model());
    while matches!(
        store.nearest(cache(worker), scope(worker), &query, 1, &EntryFilter::default(), NOW).await,
        Err(StoreError::Loading)
    ) {
        tokio::task::yield_now().await;
    }
}

/// A backup that is there is whole, and of one moment of each worker while it was made.
async fn assert_backup_agrees(directory: &Path, held: &[Vec<Contents>]) {
    let store = open(directory, Durability::Buffered);
    for (worker, held) in held.iter().enumerate() {
        let found = contents(&store, worker).await;
        let is_of_a_moment = held.iter().any(|moment| expected(worker, moment, &found) == found);
        assert!(is_of_a_moment, "a backup holds what worker {worker} never had");
        wait_for_index(&store, worker).await;
        assert_searches_agree(&store, worker, &found, 0).await;
    }
    store.close().await.unwrap();
}

#[test]
fn what_was_acknowledged_survives_being_killed() {
    let kills = std::env::var("REFRAIN_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut dice = Dice(42);
    let mut model = vec![Contents::new(); WORKERS.len()];
    let (mut acknowledged, mut switched, mut backups, mut gone) = (0, 0, 0, 0);
    {
        let store = open(&path, Durability::Buffered);
        for prompt in 0..WORKERS[0].prompts {
            runtime.block_on(store.put(new_entry(0, prompt, 0, &models()[0]))).unwrap();
            model[0].insert(prompt, 0);
        }
        runtime.block_on(store.close()).unwrap();
    }
    for kill in 0..kills {
        let life = run_and_kill(&path, kill, &mut dice, &mut model);
        acknowledged += life.acknowledged;
        switched += life.switched;
        let store = open(&path, Durability::Buffered);
        runtime.block_on(async {
            for (worker, about_to) in life.about_to.into_iter().enumerate() {
                let found = contents(&store, worker).await;
                // What was under way may have happened, or not at all.
                if let Some(op) = about_to
                    && found != expected(worker, &model[worker], &found)
                {
                    apply(&mut model[worker], op);
                }
                let there = expected(worker, &model[worker], &found);
                assert_eq!(found, there, "kill {kill}, worker {worker}");
                gone += model[worker].len() - there.len();
                model[worker] = there;
                assert_eq!(store.holdings(cache(worker)).entries, found.len(), "kill {kill}, worker {worker}");
                wait_for_index(&store, worker).await;
                assert_searches_agree(&store, worker, &model[worker], kill).await;
            }
        });
        let backup = backup_of(&path, kill);
        if let Some((held, is_done)) = life.backup {
            assert!(makes_backup(kill) && (backup.exists() || !is_done));
            if backup.exists() {
                backups += 1;
                runtime.block_on(assert_backup_agrees(&backup, &held));
                std::fs::remove_dir_all(&backup).unwrap();
            }
        }
    }
    println!(
        "{kills} kills, {acknowledged} operations acknowledged, {gone} entries evicted or expired, {backups} backups, \
         {switched} changes of the model"
    );
    let kills = kills as usize;
    assert!(acknowledged > 20 * kills, "there was hardly any load: {acknowledged}");
    assert!(kills < 50 || (gone > kills && backups > kills / 20 && switched > 0), "there was hardly any upheaval");
}
