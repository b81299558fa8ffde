//! The process that is killed. It says what it is about to do and what is done, a line each.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use refrain::config::Durability;
use refrain::store::embedded::EmbeddedStore;
use refrain::store::{NewEntry, Store, StoreError};
use tokio::sync::RwLock;

use super::world::{Dice, LATER, NOW, Op, WORKERS, cache, id, models, new_entry, open, vector};

const VARIABLE: &str = "REFRAIN_KILL_CHILD";
/// How often expired entries are swept out.
const SWEEP: Duration = Duration::from_millis(5);

/// What a child says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Ready,
    Begin(usize, Op),
    Done(usize),
    BackupBegins,
    BackupDone,
    /// Another model's vectors are searched.
    Switched,
}

impl Said {
    pub(super) fn read(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u32>().unwrap_or_else(|_| panic!("the child says {line}"));
        match (words[0], words.get(2).copied()) {
            ("ready", _) => Self::Ready,
            ("begin", Some("put")) => {
                Self::Begin(number(1) as usize, Op::Put { prompt: number(3), version: number(4) })
            }
            ("begin", Some("delete")) => Self::Begin(number(1) as usize, Op::Delete { prompt: number(3) }),
            ("begin", Some("flush")) => Self::Begin(number(1) as usize, Op::Flush),
            ("done", _) => Self::Done(number(1) as usize),
            ("backup-begins", _) => Self::BackupBegins,
            ("backup-done", _) => Self::BackupDone,
            ("switched", _) => Self::Switched,
            _ => panic!("the child says {line}"),
        }
    }

    /// A whole line at a time, past all buffers.
    fn say(&self) {
        let line = match self {
            Self::Ready => "ready\n".into(),
            Self::Begin(worker, Op::Put { prompt, version }) => format!("begin {worker} put {prompt} {version}\n"),
            Self::Begin(worker, Op::Delete { prompt }) => format!("begin {worker} delete {prompt}\n"),
            Self::Begin(worker, Op::Flush) => format!("begin {worker} flush\n"),
            Self::Done(worker) => format!("done {worker}\n"),
            Self::BackupBegins => "backup-begins\n".into(),
            Self::BackupDone => "backup-done\n".into(),
            Self::Switched => "switched\n".into(),
        };
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}

/// Where the backup of a life is made.
pub(super) fn backup_of(path: &Path, seed: u64) -> PathBuf {
    path.with_file_name(format!("backup-{seed}"))
}

/// Whether a life makes a backup, and whether it changes the model.
pub(super) fn makes_backup(seed: u64) -> bool {
    seed % 4 == 1
}

fn changes_model(seed: u64) -> bool {
    seed % 4 == 2
}

/// Starts one with the store in `path`.
pub(super) fn start(path: &Path, seed: u64) -> Child {
    let durability = if seed.is_multiple_of(4) { "fsync" } else { "buffered" };
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, format!("{seed} {durability} {}", path.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test: what the child does until it is killed.
#[test]
#[ignore = "is run by the other test"]
fn child() {
    let Ok(arguments) = std::env::var(VARIABLE) else { return };
    let mut arguments = arguments.splitn(3, ' ');
    let mut argument = || arguments.next().unwrap();
    let (seed, fsync, path) = (argument().parse::<u64>().unwrap(), argument() == "fsync", PathBuf::from(argument()));
    let durability = if fsync { Durability::Fsync } else { Durability::Buffered };
    let store = Arc::new(open(&path, durability));
    for (worker, settings) in WORKERS.iter().enumerate() {
        store.limit(cache(worker), settings.max_bytes, u64::MAX);
    }
    Said::Ready.say();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(sweep(Arc::clone(&store)));
    if makes_backup(seed) {
        runtime.spawn(backup(Arc::clone(&store), backup_of(&path, seed)));
    }
    let expecting = Arc::new(RwLock::new(()));
    if changes_model(seed) {
        let (store, expecting) = (Arc::clone(&store), Arc::clone(&expecting));
        std::thread::spawn(move || change_models(&store, &expecting));
    }
    let workers =
        (0..WORKERS.len()).map(|worker| runtime.spawn(work(Arc::clone(&store), Arc::clone(&expecting), worker, seed)));
    runtime.block_on(futures_util::future::join_all(workers.collect::<Vec<_>>()));
}

async fn work(store: Arc<EmbeddedStore>, expecting: Arc<RwLock<()>>, worker: usize, seed: u64) {
    let mut dice = Dice((seed * 31 + worker as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    loop {
        let op = dice.op(worker);
        Said::Begin(worker, op).say();
        match op {
            Op::Put { prompt, version } => {
                let _same_next = expecting.read().await;
                put(&store, |store| new_entry(worker, prompt, version, &store.model())).await;
            }
            Op::Delete { prompt } => {
                store.delete(cache(worker), id(worker, prompt), NOW).await.unwrap();
            }
            Op::Flush => store.flush(cache(worker)).await.unwrap(),
        }
        Said::Done(worker).say();
    }
}

/// Stores an entry, and makes it once more where the model was changed in between.
async fn put(store: &EmbeddedStore, entry: impl Fn(&EmbeddedStore) -> NewEntry) {
    loop {
        match store.put(entry(store)).await {
            Ok(_) => return,
            Err(StoreError::OtherModel) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn sweep(store: Arc<EmbeddedStore>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        store.sweep(LATER).await.unwrap();
    }
}

async fn backup(store: Arc<EmbeddedStore>, directory: PathBuf) {
    Said::BackupBegins.say();
    store.backup(&directory).await.unwrap();
    Said::BackupDone.say();
}

/// Makes all vectors with the other model, goes over to it, and back again, and so on.
///
/// A vector of the model before is refused after a change, and its entry made once more. Where the store expects that very model
/// again by then, it takes the vector, which isn't searched before the next change: `expecting` is held alone for the moment in
/// which the store learns what comes next, so that this happens to no entry under way.
fn change_models(store: &EmbeddedStore, expecting: &RwLock<()>) {
    loop {
        let current = store.model();
        let other = models().into_iter().find(|model| model.digest != current.digest).unwrap();
        let mut embed = |texts: &[&str]| texts.iter().map(|text| Some(vector(text, &other))).collect();
        {
            let _none_under_way = expecting.blocking_write();
            store.expect_model(&other).unwrap();
        }
        store.make_vectors(&other, &mut embed, &mut |_| ()).unwrap();
        store.switch_model(&mut embed, &mut || Said::Switched.say()).unwrap();
    }
}
