//! Providers' wire formats, a folder each. OpenAI's is also the one that answers are kept in.

pub mod anthropic;
pub mod bedrock;
mod fault;
pub mod gemini;
pub mod openai;
pub mod vertex;
