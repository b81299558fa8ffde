//! Anthropic's Messages API for callers: a request on its way to a provider that speaks OpenAI's chat completions, and
//! what comes back.

mod error;
mod replay;
mod reply;
mod request;
mod stream;

pub use error::error;
pub use replay::stream_events;
pub use reply::reply;
pub use request::to_chat;
pub use stream::Events;
