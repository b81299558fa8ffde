//! Whether a target is worth trying: what its last answers were, and how long it wants to be left alone.

use std::time::Duration;

use tokio::time::Instant;

/// For how long a target is left alone that was found broken again and again.
const LONGEST: Duration = Duration::from_secs(60);
/// For how long others are asked before one that has too much to do, where it doesn't say for how long.
const RESTING: Duration = Duration::from_secs(2);
/// The longest that one is believed that says it wants to be left alone.
const LONGEST_COOLING: Duration = Duration::from_secs(600);
/// What a new latency weighs against those before.
const NEWNESS: f64 = 0.2;

/// When a target that fails is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// Failures in a row.
    pub(super) failures: u32,
    /// The first time.
    pub(super) recovery: Duration,
}

/// A try that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    /// How often the target had been found broken by then.
    breaks: u32,
    /// Whether it finds out if the target works again.
    is_probe: bool,
}

/// How one try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answered, after so long.
    Answered(Duration),
    /// It works, and refused what this caller asked, which says nothing of how fast it answers.
    Refused,
    /// It failed, or couldn't be reached.
    Failed,
    /// It has too much to do, perhaps for so long.
    Limited(Option<Duration>),
    /// Nothing can be said: the caller went away.
    Unknown,
}

/// What is known of a target.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    failures: u32,
    /// How often it was found broken.
    breaks: u32,
    /// Left alone until then, after failures.
    broken_until: Option<Instant>,
    /// For how long the last time.
    pause: Duration,
    /// Whether a request is trying it after that.
    on_probation: bool,
    /// Left alone until then, as it asked.
    cooling_until: Option<Instant>,
    /// Others are asked first until then: it has too much to do, and didn't say for how long.
    resting_until: Option<Instant>,
    /// Seconds until the first byte of late.
    latency: Option<f64>,
}

impl Health {
    /// Whether it may be tried now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        is_over(self.cooling_until, now) && is_over(self.broken_until, now) && !self.on_probation
    }

    /// Whether it is worth trying before others.
    pub(super) fn is_fit(&self, now: Instant) -> bool {
        self.is_open(now) && is_over(self.resting_until, now)
    }

    /// When it may be tried again, if not now.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.cooling_until.max(self.broken_until).filter(|at| *at > now)
    }

    /// A try begins, if it may be tried now. After failures, it is the only one until it ends.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Begun> {
        if !self.is_open(now) {
            return None;
        }
        self.on_probation = self.broken_until.is_some();
        Some(Begun { breaks: self.breaks, is_probe: self.on_probation })
    }

    /// A try ended. What began before the target was found broken says nothing of whether it still is.
    pub(super) fn end(&mut self, begun: Begun, outcome: Outcome, now: Instant, patience: Patience) {
        let is_current = begun.breaks == self.breaks;
        if begun.is_probe && is_current {
            self.on_probation = false;
        }
        match outcome {
            Outcome::Answered(_) | Outcome::Refused if is_current => {
                self.failures = 0;
                self.broken_until = None;
                self.pause = Duration::ZERO;
            }
            Outcome::Failed if is_current => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= patience.failures {
                    self.pause = (self.pause * 2).clamp(patience.recovery, LONGEST.max(patience.recovery));
                    self.broken_until = Some(now + self.pause);
                    self.breaks = self.breaks.wrapping_add(1);
                }
            }
            Outcome::Answered(_) | Outcome::Refused | Outcome::Failed => {}
            Outcome::Limited(Some(wait)) => {
                self.cooling_until = self.cooling_until.max(Some(now + wait.min(LONGEST_COOLING)));
            }
            Outcome::Limited(None) => self.resting_until = Some(now + RESTING),
            Outcome::Unknown => {}
        }
        if let Outcome::Answered(after) = outcome {
            let after = after.as_secs_f64();
            self.latency = Some(self.latency.map_or(after, |before| before + NEWNESS * (after - before)));
        }
    }

    /// Seconds until its first byte of late; none where nothing is known.
    pub(super) fn latency(&self) -> Option<f64> {
        self.latency
    }

    /// Whether it is left alone because it failed.
    pub(super) fn is_broken(&self) -> bool {
        self.broken_until.is_some()
    }
}

fn is_over(until: Option<Instant>, now: Instant) -> bool {
    until.is_none_or(|until| until <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { failures: 3, recovery: Duration::from_secs(5) };
    const SOON: Outcome = Outcome::Answered(Duration::from_millis(100));

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn tried(health: &mut Health, outcome: Outcome, at: Instant) {
        let begun = health.begin(at).unwrap();
        health.end(begun, outcome, at, PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_close_it_and_one_request_tries_it_again() {
        let (mut health, start) = (Health::default(), Instant::now());
        for outcome in [Outcome::Failed, Outcome::Failed, SOON, Outcome::Failed, Outcome::Failed, Outcome::Refused] {
            tried(&mut health, outcome, start);
        }
        (0..3).for_each(|_| tried(&mut health, Outcome::Failed, start));
        assert!(!health.is_open(after(start, 4)) && health.opens_at(start) == Some(after(start, 5)));
        let probe = health.begin(after(start, 5)).unwrap();
        assert!(health.begin(after(start, 5)).is_none(), "one at a time");
        health.end(probe, Outcome::Failed, after(start, 5), PATIENCE);
        assert!(!health.is_open(after(start, 14)) && health.is_open(after(start, 15)), "twice as long");
        tried(&mut health, Outcome::Unknown, after(start, 15));
        assert!(health.is_open(after(start, 15)), "who went away says nothing");
        tried(&mut health, SOON, after(start, 15));
        assert!(health.is_open(after(start, 15)) && !health.is_broken());
        let mut now = start;
        for _ in 0..20 {
            now = health.opens_at(now).unwrap_or(now);
            tried(&mut health, Outcome::Failed, now);
        }
        assert_eq!(health.opens_at(now), Some(now + LONGEST));
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_was_found_broken_changes_nothing() {
        let (mut health, start) = (Health::default(), Instant::now());
        let many: Vec<Begun> = (0..50).map(|_| health.begin(start).unwrap()).collect();
        many[..40].iter().for_each(|begun| health.end(*begun, Outcome::Failed, start, PATIENCE));
        assert_eq!(health.opens_at(start), Some(after(start, 5)), "one break, however many were under way");
        health.end(many[40], SOON, start, PATIENCE);
        assert!(!health.is_open(after(start, 4)));
        let probe = health.begin(after(start, 5)).unwrap();
        many[41..].iter().for_each(|begun| health.end(*begun, Outcome::Unknown, start, PATIENCE));
        assert!(health.begin(after(start, 6)).is_none(), "the probe is still under way");
        health.end(probe, SOON, after(start, 6), PATIENCE);
        assert!(health.is_open(after(start, 6)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limited_one_is_left_alone_for_as_long_as_it_says() {
        let (mut health, start) = (Health::default(), Instant::now());
        let begun = [health.begin(start).unwrap(), health.begin(start).unwrap()];
        health.end(begun[0], Outcome::Limited(Some(Duration::from_secs(30))), start, PATIENCE);
        health.end(begun[1], Outcome::Limited(None), start, PATIENCE);
        assert!(!health.is_open(after(start, 29)) && health.is_open(after(start, 30)));
        tried(&mut health, Outcome::Limited(Some(Duration::from_secs(86_400))), after(start, 30));
        assert!(health.is_open(after(start, 30) + LONGEST_COOLING));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_say_for_how_long_only_stands_back() {
        let (mut health, start) = (Health::default(), Instant::now());
        tried(&mut health, Outcome::Limited(None), start);
        assert!(health.is_open(start) && !health.is_fit(start) && health.is_fit(after(start, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn latency_follows_what_is_seen() {
        let (mut health, now) = (Health::default(), Instant::now());
        tried(&mut health, Outcome::Refused, now);
        assert_eq!(health.latency(), None);
        tried(&mut health, Outcome::Answered(Duration::from_secs(1)), now);
        assert_eq!(health.latency(), Some(1.0));
        (0..50).for_each(|_| tried(&mut health, SOON, now));
        assert!(health.latency().unwrap() < 0.11);
    }
}
