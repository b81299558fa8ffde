//! What can be told of a database from its files, before it is opened.

use std::path::Path;

use rocksdb::{DB, Options};

use super::{OpenError, family};

/// The file that names the manifest.
const CURRENT: &str = "CURRENT";

/// The column families that there are; none where there is no database yet.
///
/// RocksDB makes an empty database where `CURRENT` is missing, whatever else is there, and leaves families alone that it isn't told of.
/// Either would lose what is stored without a word.
pub(super) fn families(path: &Path) -> Result<Vec<String>, OpenError> {
    let incomplete = |missing: &str| OpenError::Incomplete { path: path.to_owned(), missing: missing.to_owned() };
    match std::fs::read_to_string(path.join(CURRENT)) {
        Ok(manifest) if !path.join(manifest.trim()).is_file() => return Err(incomplete(manifest.trim())),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return if has_tables(path) { Err(incomplete(CURRENT)) } else { Ok(Vec::new()) };
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

/// Whether there is any file that a database of before has left.
fn has_tables(path: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(path) else { return false };
    files.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("MANIFEST-") || name.ends_with(".sst")
    })
}
