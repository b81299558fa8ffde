//! A judge that knows the trace's groups, for replays.

use std::collections::HashMap;

use async_trait::async_trait;

use super::Trace;
use crate::cache::{Judge, Pair};

/// Says whether two responses of a trace are of one group, and errs in a share of the pairs: the same ones each time.
pub(super) struct GroupJudge {
    groups: HashMap<String, String>,
    error: f64,
}

impl GroupJudge {
    pub(super) fn new(trace: &Trace, error: f64) -> Self {
        let with_response =
            trace.requests.iter().filter_map(|request| Some((request.response.clone()?, request.group.clone())));
        Self { groups: with_response.collect(), error }
    }

    fn errs(&self, pair: Pair<'_>) -> bool {
        let mut hasher = blake3::Hasher::new_derive_key("refrain replay judge");
        for text in [pair.fresh, pair.stored] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let mut bytes = [0; 4];
        hasher.finalize_xof().fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0) < self.error
    }
}

#[async_trait]
impl Judge for GroupJudge {
    async fn agree(&self, pair: Pair<'_>) -> Option<bool> {
        let of = |text| self.groups.get(text);
        let (fresh, stored) = (of(pair.fresh)?, of(pair.stored)?);
        Some((fresh == stored) != self.errs(pair))
    }
}
