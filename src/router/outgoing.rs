//! A request on its way.

use reqwest::Method;
use reqwest::header::HeaderMap;

use super::plan::ChatRequest;

/// A request to be forwarded.
#[derive(Clone)]
pub struct Outgoing<'o> {
    /// Its method.
    pub method: Method,
    /// The path after `/v1`, with its query: `/chat/completions`.
    pub path: &'o str,
    /// The caller's headers.
    pub headers: &'o HeaderMap,
    /// Whose request it is.
    pub tenant: &'o str,
    /// What it says, where it is a chat.
    pub chat: Option<&'o ChatRequest>,
    /// Whether the caller's own credentials may go to the provider: only where they are not keys of ours.
    pub trust_credentials: bool,
    /// Whether nothing is done twice where it is sent twice. Others are sent again only where they can't have arrived.
    pub is_repeatable: bool,
}
