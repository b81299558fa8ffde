//! How much a caller or a model may use a minute.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZero;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

const MINUTE: f64 = 60.0;
/// Callers that are remembered beyond those that use anything at the moment.
const IDLE: usize = 10_000;

/// What may be used a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Requests.
    pub requests: Option<NonZero<u32>>,
    /// Tokens of prompts and answers.
    pub tokens: Option<NonZero<u32>>,
}

/// Which of the two is used up, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// `requests` or `tokens`.
    pub what: &'static str,
    /// A minute's allowance of it.
    pub allowed: u32,
    /// Until the next request is let through.
    pub wait: Duration,
}

/// A vessel that fills evenly and holds a minute's allowance. What was used is taken out of it; tokens are taken out once they
/// are known, so it may be below empty.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn fill(&mut self, allowed: u32, now: Instant) {
        let allowed = f64::from(allowed);
        let filled = self.level + now.saturating_duration_since(self.at).as_secs_f64() * allowed / MINUTE;
        *self = Self { level: filled.min(allowed), at: now };
    }

    /// Until the level is above `least`.
    fn wait(&self, least: f64, allowed: u32) -> Option<Duration> {
        let missing = least - self.level;
        (missing > 0.0).then(|| Duration::from_secs_f64(missing * MINUTE / f64::from(allowed)))
    }
}

#[derive(Debug)]
struct Used {
    requests: Bucket,
    tokens: Bucket,
}

/// What each of many has used of late.
#[derive(Debug)]
pub struct Limits<K>(Mutex<HashMap<K, Used>>);

impl<K> Default for Limits<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Limits<K> {
    /// Takes one request out of `who`'s allowance.
    ///
    /// # Errors
    /// Where nothing is left; nothing is taken then.
    pub fn take(&self, who: K, allowance: Allowance, now: Instant) -> Result<(), Exceeded> {
        if allowance == Allowance::default() {
            return Ok(());
        }
        let all = &mut *self.0.lock();
        if all.len() > IDLE {
            all.retain(|_, used| now.saturating_duration_since(used.requests.at).as_secs_f64() < MINUTE);
        }
        let full = |most: Option<NonZero<u32>>| Bucket { level: most.map_or(0.0, |most| most.get().into()), at: now };
        let used = all
            .entry(who)
            .or_insert_with(|| Used { requests: full(allowance.requests), tokens: full(allowance.tokens) });
        if let Some(allowed) = allowance.tokens.map(NonZero::get) {
            used.tokens.fill(allowed, now);
            // One whole token, because a level that just rose above nothing would let everybody through again and again.
            if let Some(wait) = used.tokens.wait(1.0, allowed) {
                return Err(Exceeded { what: "tokens", allowed, wait });
            }
        }
        if let Some(allowed) = allowance.requests.map(NonZero::get) {
            used.requests.fill(allowed, now);
            if let Some(wait) = used.requests.wait(1.0, allowed) {
                return Err(Exceeded { what: "requests", allowed, wait });
            }
            used.requests.level -= 1.0;
        } else {
            used.requests.at = now;
        }
        Ok(())
    }

    /// `who` has used these tokens.
    pub fn spend(&self, who: &K, tokens: u64) {
        if let Some(used) = self.0.lock().get_mut(who) {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let tokens = tokens as f64;
            used.tokens.level -= tokens;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(requests: u32, tokens: u32) -> Allowance {
        Allowance { requests: NonZero::new(requests), tokens: NonZero::new(tokens) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_requests_may_come_at_once_and_then_evenly() {
        let (limits, start) = (Limits::default(), Instant::now());
        let take = |who: &'static str, seconds: f64| {
            limits
                .take(who, allow(60, 0), start + Duration::from_secs_f64(seconds))
                .map_err(|over| over.wait.as_millis())
        };
        (0..60).for_each(|_| take("a", 0.0).unwrap());
        assert_eq!(take("a", 0.0), Err(1000));
        assert_eq!(take("a", 0.75), Err(250));
        take("b", 0.75).unwrap();
        take("a", 1.0).unwrap();
        assert!(take("a", 1.0).is_err());
        (0..60).for_each(|_| take("a", 500.0).unwrap());
        assert!(take("a", 500.0).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_taken_out_afterwards_and_paid_back() {
        let (limits, start) = (Limits::default(), Instant::now());
        let take = |seconds: u64| limits.take("a", allow(0, 600), start + Duration::from_secs(seconds));
        take(0).unwrap();
        limits.spend(&"a", 900);
        let over = take(0).unwrap_err();
        assert_eq!((over.what, over.allowed), ("tokens", 600));
        assert_eq!(over.wait.as_millis(), 30_100);
        assert!(take(30).is_err() && take(31).is_ok());
        assert_eq!(limits.take("free", Allowance::default(), start), Ok(()));
    }
}
