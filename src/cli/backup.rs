//! `refrain backup` and `refrain restore`

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::CommandError;
use super::control::{self, with_server};
use super::serve::Vectors;
use crate::config::Settings;
use crate::http::control::BackupRequest;

/// The file that says which others make a database.
const CURRENT: &str = "CURRENT";
/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;
const TICK: Duration = Duration::from_millis(100);

/// Copies the data as it is at one moment into `directory`, whether a server runs or not.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn backup(settings: Settings, directory: &Path) -> Result<(), CommandError> {
    let directory = std::path::absolute(directory)?;
    let bar = ProgressBar::new_spinner().with_message("copying");
    bar.enable_steady_tick(TICK);
    with_server(settings, Vectors::OfTheModel, async |server| {
        let request = BackupRequest { directory: directory.clone() };
        control::send(server.post("/backup").json(&request)).await.map(drop)
    })?;
    bar.finish_and_clear();
    let files = files(&directory)?;
    let bytes = files.iter().map(|(_, bytes)| bytes).sum();
    println!("{} holds {} in {} files", directory.display(), HumanBytes(bytes), files.len());
    Ok(())
}

/// Puts a backup where the data should be, which must not be there yet.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn restore(settings: &Settings, directory: &Path) -> Result<(), CommandError> {
    let target = &settings.storage.path;
    if !directory.join(CURRENT).is_file() {
        return Err(format!("{} is no backup: it has no file {CURRENT}", directory.display()).into());
    }
    if fs::read_dir(target).is_ok_and(|mut there| there.next().is_some()) {
        let why = format!(
            "{} is not empty. Move it away first, with no server running, or set storage.path to another directory",
            target.display()
        );
        return Err(why.into());
    }
    let unfinished = unfinished(target);
    if unfinished.exists() {
        // Of a restore that was interrupted.
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    let files = files(directory)?;
    let bytes = files.iter().map(|(_, bytes)| bytes).sum();
    let bar = bytes_bar(bytes)?;
    for (file, _) in &files {
        copy(&directory.join(file), &unfinished.join(file), &bar)?;
    }
    File::open(&unfinished)?.sync_all()?;
    // It is whole, and takes its place in one step.
    if target.exists() {
        fs::remove_dir(target)?;
    }
    fs::rename(&unfinished, target)?;
    bar.finish_and_clear();
    println!("restored {} to {}", HumanBytes(bytes), target.display());
    Ok(())
}

/// A bar for so many bytes.
pub(super) fn bytes_bar(bytes: u64) -> Result<ProgressBar, CommandError> {
    let style =
        ProgressStyle::with_template("{bar:40} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}")?;
    Ok(ProgressBar::new(bytes).with_style(style))
}

/// Beside the data, so that renaming it is one step.
fn unfinished(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    target.with_file_name(name)
}

/// The files of a directory and their lengths.
fn files(directory: &Path) -> Result<Vec<(PathBuf, u64)>, CommandError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_file() {
            files.push((entry.file_name().into(), about.len()));
        }
    }
    Ok(files)
}

fn copy(from: &Path, to: &Path, bar: &ProgressBar) -> Result<(), CommandError> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece)?;
        if length == 0 {
            break;
        }
        to.write_all(&piece[..length])?;
        bar.inc(length as u64);
    }
    Ok(to.sync_all()?)
}
