//! OpenAI's chat completions: what is kept of a reply, and how it is played back.

mod completion;
mod replay;
mod request;
mod stream;

pub use completion::{NotKept, Recording, record};
pub use replay::{Delivery, completion, deliverable, stream};
pub use request::{Members, members, with_model, without_cache_controls, write};
pub use stream::{has_ended, is_told_over, record_stream, says_why};
