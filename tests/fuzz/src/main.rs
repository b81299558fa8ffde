//! Fuzz targets: what must hold of every byte string that a caller or a provider may send. `FUZZ_TARGET` says which one
//! runs; `run.sh` knows them all.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

use llm::FormatId;

// The modules themselves: they are pure, and building Refrain takes minutes.
#[allow(dead_code, unused_imports)]
#[path = "../../../src/llm/mod.rs"]
mod llm;
#[allow(dead_code, unused_imports)]
#[path = "../../../src/prompt/mod.rs"]
mod prompt;

mod bodies;
mod replies;
mod requests;
mod storable;
mod streams;

/// What is fuzzed.
#[derive(Clone, Copy)]
enum Target {
    /// Bodies of requests in a format.
    Requests(FormatId),
    /// Streams, whole replies and refusals of a provider that speaks a format.
    Replies(FormatId),
    /// A request and the answer to it.
    Storable,
}

impl Target {
    fn of_name(name: &str) -> Option<Self> {
        let formats = || FormatId::ALL.into_iter().chain([FormatId::OpenAiCompletions]);
        let format = |name: &str| formats().find(|format| format.name() == name);
        match name.split_once('-') {
            Some(("requests", name)) => format(name).map(Self::Requests),
            Some(("replies", name)) => format(name).map(Self::Replies),
            None if name == "storable" => Some(Self::Storable),
            _ => None,
        }
    }

    fn check(self, bytes: &[u8]) {
        match self {
            Self::Requests(format) => requests::check(format, bytes),
            Self::Replies(format) => {
                streams::check(format, bytes);
                replies::check(format, bytes);
            }
            Self::Storable => storable::check(bytes),
        }
    }
}

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        Target::of_name(&name).unwrap_or_else(|| panic!("FUZZ_TARGET names no target: {name:?}"))
    });
    target.check(bytes);
});
