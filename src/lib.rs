//! Refrain: a semantic cache for LLM traffic.
//!
//! ARCHITECTURE.md draws the rooms. A module imports only modules under it in this list.

pub mod cli;

pub mod http;

pub mod replay;

pub mod router;

pub mod cache;

pub mod decide;

pub mod prompt;

pub mod store;

pub mod index;

pub mod embed;

pub mod config;

pub mod background;

pub mod telemetry;
