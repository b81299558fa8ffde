//! Looking at a data directory that nobody serves from, and keeping what can be read of one that can't be opened.

use std::fmt;
use std::path::{Path, PathBuf};

use rocksdb::{DB, WriteBatch};

use super::super::super::{CacheName, StoreError, TextHash};
use super::super::quarantines::Quarantined;
use super::super::record::{
    self, EntryRecord, ExpiryKey, GraphKey, InRecord, Slot, VectorKey, check_answer, decode, decode_answer,
    decode_entry, decode_record, decode_vector,
};
use super::models::{Models, identity};
use super::scan::Scan;
use super::{CacheKey, EntryId, LOSS, OpenError, family, files, has_key, options};

/// What a data directory holds, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Examination {
    /// The caches that it knows.
    pub caches: Vec<CacheName>,
    /// Entries that can be read.
    pub entries: u64,
    /// Of these, how many are kept from somebody because they were reported wrong.
    pub quarantined: u64,
    /// What their owners have written: statistics, what was learned, changes of policies, accounts.
    pub states: Vec<StateOnDisk>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// A state that only its owner understands.
#[derive(Debug)]
pub struct StateOnDisk {
    /// Of which cache; none where that isn't known, or where it isn't a cache's.
    pub cache: Option<CacheName>,
    /// Under which name.
    pub name: String,
    /// What was written.
    pub bytes: Vec<u8>,
}

/// Something that is wrong with a data directory. Displayed, it says what can be done.
#[derive(Debug)]
pub enum Problem {
    /// It can't be opened, or not by this program.
    Unopenable(OpenError),
    /// So many places in a column family can't be read.
    Unreadable {
        /// The family.
        family: &'static str,
        /// The places.
        places: u64,
    },
    /// Entries that should have a vector have none.
    WithoutVector(u64),
    /// Entries aren't found by their text.
    NotFoundByText(u64),
    /// What entries take isn't known, so that they aren't counted and never make room.
    NotCounted(u64),
    /// Acknowledged writes were lost, and no server has started since.
    Loss,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopenable(error) => error.fmt(f),
            Self::Unreadable { family, places } => {
                let what = match *family {
                    family::ENTRIES => "of entries: those are lost, and all others are served. A backup has them",
                    family::ANSWERS => {
                        "of answers: their entries are lost, and all others are served. A backup has them"
                    }
                    family::VECTORS_A | family::VECTORS_B => {
                        "of vectors: their entries serve exact texts only, until `refrain reembed` has made them anew"
                    }
                    family::EXACT => "of the directory of texts: some entries are found by near texts only",
                    family::EXPIRY => "of expiries: some entries stay on disk for longer, though they aren't served",
                    family::GRAPHS => "of graphs: those are linked anew at the next start",
                    family::WORTH => "of what entries take: those aren't counted, and never make room",
                    family::QUARANTINE => "of quarantines: their entries are kept from everybody",
                    family::DECISIONS => "of decisions: those are lost, and nothing depends on them",
                    family::CACHES => "of the list of caches: those appear again with the next store",
                    _ => "of what was learned, and of policies; what depends on them says so at start",
                };
                write!(f, "{places} unreadable places in `{family}`, {what}")
            }
            Self::WithoutVector(entries) => {
                write!(
                    f,
                    "{entries} entries lack their vector and serve exact texts only; `refrain reembed` makes them"
                )
            }
            Self::NotFoundByText(entries) => {
                write!(f, "{entries} entries aren't found by their text; export the cache and import it again")
            }
            Self::NotCounted(entries) => {
                write!(f, "{entries} entries aren't counted, and never make room; export the cache and import it again")
            }
            Self::Loss => write!(
                f,
                "acknowledged writes were lost, reports of wrong answers perhaps among them: caches answer equal texts only, until they are \
                 flushed"
            ),
        }
    }
}

/// Looks at everything in a data directory, and changes nothing. No server may use it meanwhile.
#[must_use]
pub fn examine(path: &Path) -> Examination {
    match open_to_read(path) {
        Ok(db) => Examiner { db: &db, found: Examination::default() }.examine(),
        Err(error) => Examination { problems: vec![Problem::Unopenable(error)], ..Examination::default() },
    }
}

fn open_to_read(path: &Path) -> Result<DB, OpenError> {
    let there = files::families(path)?;
    if there.is_empty() {
        let missing = "everything".to_owned();
        return Err(OpenError::Incomplete { path: path.to_owned(), missing });
    }
    let (options, shared) = (options::of_database()?, options::Shared::new());
    DB::open_cf_descriptors_read_only(&options, path, shared.families(&there), false)
        .map_err(|error| OpenError::new(path, error))
}

struct Examiner<'d> {
    db: &'d DB,
    found: Examination,
}

impl Examiner<'_> {
    fn examine(mut self) -> Examination {
        match identity(self.db) {
            Ok(Some(models)) => {
                self.list_caches();
                self.look_at_entries(&models);
            }
            Ok(None) => self.found.problems.push(Problem::Unreadable { family: family::META, places: 1 }),
            Err(error) => self.found.problems.push(Problem::Unopenable(OpenError::Damaged(error))),
        }
        self.look_at_rows(family::VECTORS_A, |key, value| VectorKey::read(key).and(decode_vector(value)).map(drop));
        self.look_at_rows(family::VECTORS_B, |key, value| VectorKey::read(key).and(decode_vector(value)).map(drop));
        self.look_at_rows(family::ANSWERS, |key, value| record::read_entry_key(key).and(check_answer(value)));
        self.look_at_rows(family::EXACT, |_, value| decode::<Vec<EntryId>>(value).map(drop));
        self.look_at_rows(family::EXPIRY, |key, _| ExpiryKey::read(key).map(drop));
        self.look_at_rows(family::GRAPHS, |key, _| GraphKey::read(key).map(drop));
        self.look_at_rows(family::WORTH, |key, value| record::read_entry_key(key).and(decode_record(value)).map(drop));
        self.look_at_rows(family::DECISIONS, |_, _| Ok(()));
        self.found.quarantined =
            self.look_at_rows(family::QUARANTINE, |_, value| decode::<Quarantined>(value).map(drop));
        self.list_states();
        if has_key(self.db, family::META, LOSS).unwrap_or(true) {
            self.found.problems.push(Problem::Loss);
        }
        self.found
    }

    /// Reads all of a family; returns how many rows are as they should be.
    fn look_at_rows(&mut self, name: &'static str, mut row: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>) -> u64 {
        let (mut rows, mut places) = (0, 0);
        // One of before may lack some.
        if let Some(family) = self.db.cf_handle(name) {
            for item in Scan::new(self.db, family) {
                match item.and_then(|(key, value)| row(&key, &value)) {
                    Ok(()) => rows += 1,
                    Err(_) => places += 1,
                }
            }
        }
        if places > 0 {
            self.found.problems.push(Problem::Unreadable { family: name, places });
        }
        rows
    }

    fn list_caches(&mut self) {
        let mut caches = Vec::new();
        self.look_at_rows(family::CACHES, |_, value| {
            let (tenant, id) = decode(value)?;
            caches.push(CacheName { tenant, id });
            Ok(())
        });
        self.found.caches = caches;
    }

    fn list_states(&mut self) {
        let mut states = Vec::new();
        let caches = std::mem::take(&mut self.found.caches);
        self.look_at_rows(family::STATE, |key, value| {
            let Some((of, name)) = key.split_at_checked(size_of::<CacheKey>()) else {
                return Err(StoreError::Damaged("a state's key is too short".into()));
            };
            let cache = caches.iter().find(|cache| CacheKey::new(&cache.tenant, &cache.id).0 == *of).cloned();
            let name = String::from_utf8_lossy(name).into_owned();
            states.push(StateOnDisk { cache, name, bytes: value.to_vec() });
            Ok(())
        });
        (self.found.caches, self.found.states) = (caches, states);
    }

    fn look_at_entries(&mut self, models: &Models) {
        let (mut without_vector, mut not_found, mut not_counted) = (0, 0, 0);
        let db = self.db;
        let has = |name: &str, key: &[u8]| {
            db.cf_handle(name).is_some_and(|family| db.get_pinned_cf(family, key).is_ok_and(|found| found.is_some()))
        };
        let ids = |key: &[u8]| -> Vec<EntryId> {
            let found = db.cf_handle(family::EXACT).and_then(|family| db.get_pinned_cf(family, key).ok().flatten());
            found.and_then(|bytes| decode(&bytes).ok()).unwrap_or_default()
        };
        let vectors = match models.slot() {
            Slot::A => family::VECTORS_A,
            Slot::B => family::VECTORS_B,
        };
        self.found.entries = self.look_at_rows(family::ENTRIES, |key, value| {
            let (cache, id) = record::read_entry_key(key)?;
            let EntryRecord { entry, vectors: about } = decode_entry(value)?;
            if let InRecord::Apart(gist) = entry.answer {
                let found = db.cf_handle(family::ANSWERS).map(|family| db.get_pinned_cf(family, key));
                let found = found.and_then(Result::ok).flatten();
                let answer = found.and_then(|bytes| decode_answer(&bytes, &entry, gist).ok().flatten());
                answer.ok_or_else(|| StoreError::Damaged("its answer is missing".into()))?;
            }
            let scope = entry.scope;
            without_vector += u64::from(about.wanted && !has(vectors, &VectorKey { cache, scope, id }.bytes()));
            let by_text = ids(&record::exact_key(cache, scope, TextHash::of(&entry.prompt)));
            not_found += u64::from(!by_text.contains(&id));
            not_counted += u64::from(!has(family::WORTH, &record::entry_key(cache, id)));
            Ok(())
        });
        let counted = [
            (without_vector, Problem::WithoutVector as fn(u64) -> Problem),
            (not_found, Problem::NotFoundByText),
            (not_counted, Problem::NotCounted),
        ];
        let problems = counted.into_iter().filter(|(count, _)| *count > 0);
        self.found.problems.extend(problems.map(|(count, problem)| problem(count)));
    }
}

/// Makes a data directory that can't be opened one that can, with all that can be read, and tells where the files of before are. No server
/// may use it meanwhile. Unless `nothing_was_reported`, caches answer equal texts only until they are flushed: reports of wrong answers may be lost.
///
/// # Errors
/// Where files can't be read or written, or where this is no data directory.
pub fn mend(path: &Path, nothing_was_reported: bool) -> Result<PathBuf, OpenError> {
    let before = keep_aside(path).map_err(OpenError::Io)?;
    let wrong = |error| OpenError::new(path, error);
    let options = options::of_database()?;
    DB::repair(&options, path).map_err(wrong)?;
    let shared = options::Shared::new();
    let mut there = DB::list_cf(&options, path).map_err(wrong)?;
    there.extend(
        family::ALL.iter().map(|name| (*name).to_owned()).filter(|name| !there.contains(name)).collect::<Vec<_>>(),
    );
    let db = DB::open_cf_descriptors(&options, path, shared.families(&there)).map_err(wrong)?;
    let mut batch = WriteBatch::default();
    let of =
        |name| db.cf_handle(name).ok_or_else(|| OpenError::Damaged(StoreError::Damaged(format!("no family {name}"))));
    if !matches!(identity(&db), Ok(Some(_))) {
        // Nobody knows whose vectors these are.
        for name in [family::VECTORS_A, family::VECTORS_B, family::GRAPHS] {
            batch.delete_range_cf(of(name)?, &[0][..], &[0xff; 81][..]);
        }
    }
    if !nothing_was_reported {
        batch.put_cf(of(family::META)?, LOSS, []);
    }
    db.write(batch).map_err(wrong)?;
    db.flush_wal(true).map_err(wrong)?;
    files::mark_closed(path).map_err(OpenError::Io)?;
    Ok(before)
}

/// Keeps all files as they are in another directory: links to tables, which never change, and copies of what else there is.
fn keep_aside(path: &Path) -> std::io::Result<PathBuf> {
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".before-mend-{n}"));
        PathBuf::from(name)
    };
    let aside = (1..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0));
    std::fs::create_dir(&aside)?;
    for file in std::fs::read_dir(path)? {
        let file = file?;
        if !file.file_type()?.is_file() || file.file_name() == "LOCK" {
            continue;
        }
        let (from, to) = (file.path(), aside.join(file.file_name()));
        let is_table = from.extension().is_some_and(|ending| ending == "sst");
        if !is_table || std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(aside)
}
