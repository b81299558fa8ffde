//! Refrain: a semantic cache for LLM traffic.
//!
//! ARCHITECTURE.md draws the rooms. A module imports only modules under it in this list.

pub mod cache;
pub mod config;
pub mod decide;
pub mod embed;
pub mod index;
pub mod prompt;
pub mod router;

pub mod store;
pub mod telemetry;
