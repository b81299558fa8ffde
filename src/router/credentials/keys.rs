//! A provider's keys: each request takes one by chance, of those that aren't limited at the moment.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::ApiKey;

/// One provider's keys.
pub(in crate::router) struct Keys {
    keys: Vec<ApiKey>,
    cooling: Mutex<Vec<Option<Instant>>>,
}

/// A key that was taken, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::router) struct KeySlot(usize);

impl Keys {
    pub(in crate::router) fn new(keys: Vec<ApiKey>) -> Self {
        Self { cooling: Mutex::new(vec![None; keys.len()]), keys }
    }

    /// Whether another key than `taken` isn't limited at `now`.
    pub(in crate::router) fn has_another(&self, taken: KeySlot, now: Instant) -> bool {
        self.cooling.lock().iter().enumerate().any(|(place, until)| place != taken.0 && is_over(*until, now))
    }

    /// A key by `draw`, from 0 to 1. Where all are limited, the one that will be free first.
    pub(in crate::router) fn take(&self, draw: f64, now: Instant) -> Option<(KeySlot, &ApiKey)> {
        let cooling = self.cooling.lock();
        let free: Vec<usize> = (0..self.keys.len()).filter(|place| is_over(cooling[*place], now)).collect();
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let drawn = (draw * free.len() as f64) as usize;
        let place = match free.get(drawn.min(free.len().saturating_sub(1))) {
            Some(place) => *place,
            None => (0..self.keys.len()).min_by_key(|place| cooling[*place])?,
        };
        self.keys.get(place).map(|key| (KeySlot(place), key))
    }

    /// The provider limits this key for so long.
    pub(in crate::router) fn cool(&self, taken: KeySlot, wait: Duration, now: Instant) {
        if let Some(until) = self.cooling.lock().get_mut(taken.0) {
            *until = (*until).max(Some(now + wait));
        }
    }
}

fn is_over(until: Option<Instant>, now: Instant) -> bool {
    until.is_none_or(|until| until <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn limited_keys_are_left_alone_until_all_are() {
        let key = |text: &str| toml::Value::String(text.into()).try_into::<ApiKey>().unwrap();
        let keys = Keys::new(vec![key("a"), key("b"), key("c")]);
        let now = Instant::now();
        let took = |draw, at| keys.take(draw, at).unwrap().1.expose().to_owned();
        assert_eq!([took(0.0, now), took(0.5, now), took(0.99, now), took(1.0, now)], ["a", "b", "c", "c"]);
        let seconds = Duration::from_secs;
        keys.cool(KeySlot(1), seconds(10), now);
        assert_eq!([took(0.0, now), took(0.5, now), took(0.99, now)], ["a", "c", "c"]);
        assert!(keys.has_another(KeySlot(0), now));
        keys.cool(KeySlot(0), seconds(5), now);
        keys.cool(KeySlot(2), seconds(20), now);
        assert!(!keys.has_another(KeySlot(0), now));
        assert_eq!(took(0.9, now), "a", "free first");
        assert_eq!(took(0.9, now + seconds(10)), "b");
        assert!(Keys::new(Vec::new()).take(0.5, now).is_none());
    }
}
