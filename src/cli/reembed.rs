//! `refrain reembed`

use std::path::absolute;

use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};

use super::CommandError;
use super::control::{self, with_server};
use super::serve::Vectors;
use crate::cache::{INTERRUPTED, Reembedded};
use crate::config::Settings;
use crate::embed::Model;
use crate::http::control::ReembedRequest;

/// Makes all vectors anew with the model that the settings name.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn run(settings: Settings) -> Result<(), CommandError> {
    // The server may run in another directory.
    let model = absolute(Model::directory(&settings.embedding.model, &settings.embedding.models_dir)?)?;
    let request = ReembedRequest { model };
    with_server(settings, Vectors::Reembed, async |server| {
        let response = control::send(server.post("/reembed").json(&request)).await?;
        let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
            "{bar:40} {human_pos}/{human_len} vectors {per_sec} {eta} {msg}",
        )?);
        let mut pieces = response.bytes_stream();
        let mut rest = Vec::new();
        while let Some(piece) = pieces.next().await {
            // A server that ends is no error of this command.
            let Ok(piece) = piece else { break };
            rest.extend_from_slice(&piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                match serde_json::from_slice(&line)? {
                    Reembedded::Running { done, all } => {
                        bar.set_length(all);
                        bar.set_position(done);
                        bar.set_message(if done == all && all > 0 { "linking them" } else { "" });
                    }
                    Reembedded::Finished { model } => {
                        bar.finish_and_clear();
                        println!("all vectors are made by {model}");
                        return Ok(());
                    }
                    Reembedded::Failed { why } => return Err(why.into()),
                }
            }
        }
        Err(INTERRUPTED.into())
    })
}
