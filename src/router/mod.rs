//! Forwarding: model aliases, targets, and the providers behind them.
//!
//! The router forwards; it doesn't reinterpret. What it doesn't know passes through. What a chat is, and how each API says
//! it, only [`crate::llm`] knows.

mod adjust;
mod attempt;
mod body;
mod concurrency;
mod conditions;
mod convert;
mod credentials;
mod error;
mod events;
mod headers;
mod health;
mod limits;
mod order;
mod outgoing;
mod pieces;
mod plan;
mod provider;
mod reply;
mod retry_after;
mod route;
mod route_loop;
#[expect(clippy::module_inception, reason = "it is what the module is about")]
mod router;
mod sample;
mod setup_error;
mod tail;
mod target;
mod transport;
mod usage;
mod vertex;
mod watch;

pub use error::{FailedAttempt, SendError, UpstreamError};
pub use limits::{Allowance, Exceeded, Limits};
pub use outgoing::Outgoing;
pub use pieces::{BodyError, Pieces};
pub use plan::ChatRequest;
pub use provider::Provider;
pub use reply::{Progress, Upstream, Used};
pub use route::RouteError;
pub use router::Router;
pub(crate) use sample::sample;
pub use setup_error::RouterError;
pub use tail::Tail;
pub use usage::{Account, Day, Sums, Tokens, Usage};
