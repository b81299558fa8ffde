//! Refrain: a semantic cache for LLM traffic.
//!
//! ARCHITECTURE.md draws them. A module imports only modules under it in this list.

/// glibc's kept 55 MB that loading a model had let go; streams that come and go would leave holes too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub mod cli;

pub mod http;

pub mod replay;

pub mod router;

pub mod cache;

pub mod decide;

pub mod prompt;

pub mod llm;

pub mod store;

pub mod index;

pub mod embed;

pub mod telemetry;

pub mod config;

pub mod background;

#[cfg(test)]
mod layers;
