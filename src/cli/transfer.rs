//! `refrain export` and `refrain import`

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncWriteExt, BufWriter};

use super::CommandError;
use super::backup::bytes_bar;
use super::control::{self, with_server};
use super::serve::Vectors;
use crate::cache::Imported;
use crate::config::Settings;
use crate::http::ndjson::ENTRIES;

/// Bytes of an import that are read at a time.
const PIECE: usize = 256 << 10;

/// Which cache is meant.
#[derive(clap::Args)]
pub(super) struct CacheArgument {
    /// The cache: of an export the only one, of an import the one for lines that name none.
    #[arg(long, value_name = "ID")]
    cache: Option<String>,
    /// Whose cache that is [default: local, the tenant of a server without API keys]
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

impl CacheArgument {
    fn query(&self) -> Vec<(&'static str, &str)> {
        let tenant = self.tenant.as_deref().map(|tenant| ("tenant", tenant));
        self.cache.as_deref().map(|cache| ("cache", cache)).into_iter().chain(tenant).collect()
    }
}

/// Writes entries to `file`, one JSON object a line.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn export(settings: Settings, file: &Path, cache: &CacheArgument) -> Result<(), CommandError> {
    with_server(settings, Vectors::OfTheModel, async |server| {
        let response = control::send(server.get("/export").query(&cache.query())).await?;
        let count = response.headers().get(ENTRIES).and_then(|count| count.to_str().ok()?.parse().ok());
        let bar = ProgressBar::new(count.unwrap_or(0))
            .with_style(ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} entries {per_sec} {eta}")?);
        // An export that breaks off leaves nothing that looks whole.
        let unfinished = file.with_added_extension("unfinished");
        let mut out = BufWriter::new(tokio::fs::File::create(&unfinished).await?);
        let mut pieces = response.bytes_stream();
        let mut lines = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            let ends = piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            lines += ends;
            bar.inc(ends);
            out.write_all(&piece).await?;
        }
        out.flush().await?;
        out.get_ref().sync_all().await?;
        tokio::fs::rename(&unfinished, file).await?;
        bar.finish_and_clear();
        println!("{lines} entries are in {}", file.display());
        Ok(())
    })
}

/// Stores the entries of `file`. `is_curated`: those that don't say so are curated.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn import(
    settings: Settings,
    file: PathBuf,
    cache: &CacheArgument,
    is_curated: bool,
) -> Result<(), CommandError> {
    with_server(settings, Vectors::OfTheModel, async |server| {
        let input = tokio::fs::File::open(&file).await.map_err(|error| format!("{}: {error}", file.display()))?;
        let bar = bytes_bar(input.metadata().await?.len())?;
        let seen = bar.clone();
        let pieces = tokio_util::io::ReaderStream::with_capacity(input, PIECE)
            .inspect(move |piece| seen.inc(piece.as_ref().map_or(0, |piece| piece.len() as u64)));
        let request = server
            .post("/import")
            .query(&cache.query())
            .query(&[("curated", is_curated)])
            .body(reqwest::Body::wrap_stream(pieces));
        let imported: Imported = control::send(request).await?.json().await?;
        bar.finish_and_clear();
        for (number, why) in &imported.why {
            eprintln!("line {number}: {why}");
        }
        println!(
            "{} entries stored, {} expired, {} lines refused",
            imported.stored, imported.expired, imported.refused
        );
        if imported.stored == 0 && imported.refused > 0 { Err("nothing could be imported".into()) } else { Ok(()) }
    })
}
