//! Refrain: a semantic cache for LLM traffic.
//!
//! ARCHITECTURE.md draws the rooms. A module imports only modules under it in this list.

pub mod config;
pub mod embed;
pub mod index;
pub mod store;
pub mod telemetry;
