//! Shares, and how sure one can be of them.

/// Normal deviates for 95 % of what may happen.
const Z: f64 = 1.959_963_985;

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Those that count.
    pub some: u64,
    /// All.
    pub all: u64,
}

impl Share {
    /// `some` of `all`.
    #[must_use]
    pub fn new(some: u64, all: u64) -> Self {
        Self { some, all }
    }

    /// The share as it was seen, 0 of nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 2^53 precision")]
    pub fn value(self) -> f64 {
        self.some as f64 / self.all.max(1) as f64
    }

    /// The 95 % interval of the share that is behind what was seen (Wilson 1927); anything from 0 to 1 of nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 2^53 precision")]
    pub fn interval(self) -> (f64, f64) {
        if self.all == 0 {
            return (0.0, 1.0);
        }
        let (n, p) = (self.all as f64, self.value());
        let centre = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // Of Newcombe 1998, table I: 81 of 263, and 0 of 20.
        let (low, high) = Share::new(81, 263).interval();
        assert!((low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4, "{low} {high}");
        let (low, high) = Share::new(0, 20).interval();
        assert!(low.abs() < 1e-9 && (high - 0.1611).abs() < 1e-4, "{low} {high}");
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share(all in 0u64..10_000, part in 0.0f64..=1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
            let share = Share::new((all as f64 * part) as u64, all);
            let (low, high) = share.interval();
            prop_assert!(0.0 <= low && low <= share.value() + 1e-12 && share.value() <= high + 1e-12 && high <= 1.0);
        }
    }
}
