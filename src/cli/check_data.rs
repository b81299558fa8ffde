//! `refrain check --data`

use std::path::{Path, PathBuf};

use super::CommandError;
use crate::cache::check_state;
use crate::router::Usage;
use crate::store::embedded::{StateOnDisk, examine, mend};

#[derive(clap::Args)]
pub(super) struct DataArguments {
    /// Look at this data directory instead of the settings, with no server using it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where it can't be opened: make it one that can, with all that can be read. The files of before are kept beside it
    #[arg(long, requires = "data")]
    mend: bool,
    /// No answer was ever reported wrong: near texts may be answered although reports may be among what is lost
    #[arg(long, requires = "mend")]
    nothing_was_reported: bool,
}

impl DataArguments {
    pub(super) fn directory(&self) -> Option<&Path> {
        self.data.as_deref()
    }
}

/// Says what a data directory holds and what is wrong with it.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn run(directory: &Path, arguments: &DataArguments) -> Result<(), CommandError> {
    if !directory.is_dir() {
        return Err(format!("{} is no directory", directory.display()).into());
    }
    if arguments.mend {
        let before = mend(directory, arguments.nothing_was_reported)?;
        println!("mended; the files of before are in {}", before.display());
    }
    let found = examine(directory);
    let mut problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    problems.extend(found.states.iter().filter_map(unreadable));
    for (name, count) in
        [("caches", found.caches.len() as u64), ("entries", found.entries), ("quarantined", found.quarantined)]
    {
        println!("{name:<12} {count}");
    }
    for problem in &problems {
        println!("problem      {problem}");
    }
    match problems.len() {
        0 => {
            println!("all of it can be read");
            Ok(())
        }
        count => Err(format!("{count} of what was looked at isn't as it should be").into()),
    }
}

/// What is wrong with a state, if anything is.
fn unreadable(state: &StateOnDisk) -> Option<String> {
    let StateOnDisk { cache, name, bytes } = state;
    let checked = match cache {
        Some(_) => check_state(name, bytes),
        None if name == Usage::STATE => Usage::check(bytes),
        None => Ok(()),
    };
    let error = checked.err()?;
    let of = cache.as_ref().map_or_else(String::new, |cache| match cache.tenant.as_str() {
        "" => format!(" of cache `{}`", cache.id),
        tenant => format!(" of tenant `{tenant}`'s cache `{}`", cache.id),
    });
    Some(format!("`{name}`{of} can't be read ({error}); what follows from that is told at start"))
}
