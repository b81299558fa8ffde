//! What can be told of a database from its files, before it is opened.

use std::path::Path;

use rocksdb::{DB, Options};

use super::{OpenError, family};

/// The file that names the manifest.
const CURRENT: &str = "CURRENT";
/// How tables end, and logs of writes.
const TABLE: &str = ".sst";
const LOG: &str = ".log";
/// A file of our own, there while the database is open. Where a process found it at start, the one before was killed, and some
/// of what it wrote is in the log alone.
const OPEN: &str = "OPEN";

/// The column families that there are; none where there is no database yet.
///
/// RocksDB makes an empty database where `CURRENT` is missing, whatever else is there, and leaves families alone that it isn't told of.
/// Either would lose what is stored without a word.
pub(super) fn families(path: &Path) -> Result<Vec<String>, OpenError> {
    let incomplete = |missing: &str| OpenError::Incomplete { path: path.to_owned(), missing: missing.to_owned() };
    match std::fs::read_to_string(path.join(CURRENT)) {
        Ok(manifest) if !path.join(manifest.trim()).is_file() => return Err(incomplete(manifest.trim())),
        Ok(_) if path.join(OPEN).exists() && !has(path, |name| name.ends_with(LOG)) => {
            return Err(incomplete("the log of the last writes (a file *.log)"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let is_left = has(path, |name| name.starts_with("MANIFEST-") || name.ends_with(TABLE));
            return if is_left { Err(incomplete(CURRENT)) } else { Ok(Vec::new()) };
        }
        Err(error) => return Err(OpenError::Io(error)),
    }
    // Whatever else is wrong is told when it is opened.
    let Ok(there) = DB::list_cf(&Options::default(), path) else { return Ok(family::ALL.map(str::to_owned).to_vec()) };
    match there.iter().find(|name| !family::ALL.contains(&name.as_str())) {
        Some(unknown) => {
            Err(OpenError::TooNew { path: path.to_owned(), what: format!("it has a column family `{unknown}`") })
        }
        None => Ok(there),
    }
}

/// From now on what is written may be in the log alone.
pub(super) fn mark_open(path: &Path) -> Result<(), OpenError> {
    let mark = || {
        std::fs::File::create(path.join(OPEN))?.sync_all()?;
        std::fs::File::open(path)?.sync_all()
    };
    mark().map_err(OpenError::Io)
}

/// All that was written is in tables.
pub(super) fn mark_closed(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path.join(OPEN)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether there is a file of such a name.
fn has(path: &Path, is: impl Fn(&str) -> bool) -> bool {
    let Ok(files) = std::fs::read_dir(path) else { return false };
    files.flatten().any(|file| is(&file.file_name().to_string_lossy()))
}

/// The table that an error says is missing.
pub(super) fn missing_table(error: &rocksdb::Error) -> Option<String> {
    let said: &str = error.as_ref();
    let is_missing = said.contains("No such file");
    let mut tables = said.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|word| word.ends_with(TABLE));
    is_missing.then(|| tables.next_back().map(|table| format!("the table {table}"))).flatten()
}
