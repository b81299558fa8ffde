//! Milliseconds per text and texts per second of each engine: `cargo bench --bench embed`. `refrain bench embed` measures
//! the same and can be told what.

#![allow(clippy::expect_used, reason = "a benchmark stops where it can't go on")]

use refrain::cli::bench::{EmbedOptions, embed};
use refrain::config;

fn main() {
    embed(&config::Embedding::default(), &EmbedOptions::default()).expect("the model (refrain model fetch)");
}
