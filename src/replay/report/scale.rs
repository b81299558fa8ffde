//! From numbers to places on an axis.

/// Where numbers lie along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    stretch: Stretch,
}

/// Which numbers get more room than others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    /// None.
    Even,
    /// Small ones: they lie at their roots. Unlike with logarithms, 0 has a place.
    Root,
    /// Those near 1, even more: they lie at the cube roots of what they miss.
    RootOfRest,
}

/// The smallest share that gets a tick on a stretched axis.
const FINEST: f64 = 1e-5;

impl Scale {
    /// All alike.
    pub(super) fn even(from: f64, to: f64) -> Self {
        Self::new(from, to, Stretch::Even)
    }

    /// All alike, over shares `from` to `to` and on to round numbers; from 0 where that takes little room.
    pub(super) fn around(from: f64, to: f64) -> Self {
        let from = if from < to * 0.4 { 0.0 } else { from };
        let step = round_up((to - from).max(1e-3) / 6.0);
        Self::even((from / step + DUST).floor() * step, (to / step - DUST).ceil() * step)
    }

    /// Room for shares near 0.
    pub(super) fn root(to: f64) -> Self {
        Self::new(0.0, to, Stretch::Root)
    }

    /// Room for shares near 1.
    pub(super) fn root_of_rest(from: f64) -> Self {
        Self::new(from, 1.0, Stretch::RootOfRest)
    }

    fn new(from: f64, to: f64, stretch: Stretch) -> Self {
        // One number alone lies at the start of some axis.
        Self { from, to: if to > from { to } else { from + 1e-3 }, stretch }
    }

    /// 0 for the axis's start and 1 for its end, where what is beyond them lies, too.
    pub(super) fn place(&self, number: f64) -> f64 {
        let Self { from, to, stretch } = *self;
        let place = |number: f64| match stretch {
            Stretch::Even => number,
            Stretch::Root => number.max(0.0).sqrt(),
            Stretch::RootOfRest => -(1.0 - number).max(0.0).cbrt(),
        };
        let share = (place(number) - place(from)) / (place(to) - place(from));
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// Round numbers on the axis that lie no nearer together than `gap` of its length.
    pub(super) fn ticks(&self, gap: f64) -> Vec<f64> {
        match self.stretch {
            Stretch::Even => self.even_ticks(gap),
            Stretch::Root => self.stretched_ticks(gap, |share| share),
            Stretch::RootOfRest => self.stretched_ticks(gap, |share| 1.0 - share),
        }
    }

    fn even_ticks(&self, gap: f64) -> Vec<f64> {
        let step = round_up((self.to - self.from) * gap);
        let first = (self.from / step - DUST).ceil();
        let ticks = (0..).map(|number| (first + f64::from(number)) * step);
        ticks.take_while(|tick| *tick <= self.to + step * DUST).collect()
    }

    /// 0, and 1, 2 and 5 times powers of ten, counted from the end that gets most room.
    fn stretched_ticks(&self, gap: f64, counted: impl Fn(f64) -> f64) -> Vec<f64> {
        let end = counted(0.0);
        let mut ticks = vec![end];
        let mut power = 1.0;
        let mut last = f64::INFINITY;
        while power > FINEST {
            for times in [10.0, 5.0, 2.0] {
                let tick = counted(times * power / 10.0);
                let place = self.place(tick);
                let is_on = (self.from - DUST..=self.to + DUST).contains(&tick);
                if is_on && (place - last).abs() >= gap && (place - self.place(end)).abs() >= gap {
                    ticks.push(tick);
                    last = place;
                }
            }
            power /= 10.0;
        }
        ticks
    }
}

/// What sums of floating-point numbers may be off.
const DUST: f64 = 1e-9;

/// The next of 1, 2 and 5 times powers of ten.
fn round_up(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= step * (1.0 - DUST));
    times.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a number is 1, 2 or 5 times a power of ten times a whole number below `most`.
    fn is_round(number: f64, most: f64) -> bool {
        number.abs() < 1e-12
            || (-8..8).any(|power| {
                let times = number.abs() / 10f64.powi(power);
                times < most && (times - times.round()).abs() < 1e-6 && times.round() > 0.0
            })
    }

    #[test]
    fn ticks_are_the_round_numbers_one_expects() {
        assert_eq!(Scale::even(0.0, 10_000.0).ticks(0.15), [0.0, 2000.0, 4000.0, 6000.0, 8000.0, 10_000.0]);
        assert_eq!(Scale::even(-130.0, 420.0).ticks(0.15), [-100.0, 0.0, 100.0, 200.0, 300.0, 400.0]);
        assert_eq!(Scale::root(0.12).ticks(0.1), [0.0, 0.1, 0.05, 0.02, 0.01, 0.002]);
        let percents: Vec<String> =
            Scale::root_of_rest(0.0).ticks(0.09).iter().map(|tick| format!("{:.1}", tick * 100.0)).collect();
        assert_eq!(percents, ["100.0", "0.0", "50.0", "80.0", "90.0", "95.0", "98.0", "99.5"]);
        assert_eq!(Scale::around(0.213, 0.577).ticks(0.3), [0.0, 0.2, 0.4, 0.6000000000000001]);
        assert_eq!(Scale::around(0.413, 0.577).ticks(0.3), [0.4, 0.5, 0.6000000000000001]);
    }

    proptest! {
        #[test]
        fn ticks_are_round_apart_and_on_the_axis(from in 0.0f64..0.9, length in 1e-4f64..1e6, gap in 0.05f64..0.3) {
            let shares = (from + length).min(1.0);
            let even = [Scale::even(from, from + length), Scale::around(from, shares)];
            for scale in even.into_iter().chain([Scale::root(shares), Scale::root_of_rest(from)]) {
                let mut places = Vec::new();
                for tick in scale.ticks(gap) {
                    let counted = if scale.stretch == Stretch::RootOfRest { 1.0 - tick } else { tick };
                    // A fine step far from 0 has many digits.
                    prop_assert!(is_round(counted, if scale.stretch == Stretch::Even { 1e6 } else { 6.0 }), "{tick}");
                    let dust = (scale.to - scale.from) * 1e-6;
                    prop_assert!(tick >= scale.from - dust && tick <= scale.to + dust, "{tick}");
                    places.push(scale.place(tick));
                }
                places.sort_by(f64::total_cmp);
                prop_assert!(places.windows(2).all(|pair| pair[1] - pair[0] > gap - 1e-6), "{places:?}");
            }
        }

        #[test]
        fn places_grow_with_numbers(a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let (low, high) = (a.min(b), a.max(b));
            for scale in [Scale::even(0.0, 1.0), Scale::root(1.0), Scale::root_of_rest(0.0)] {
                prop_assert!(scale.place(low) <= scale.place(high));
            }
        }
    }

    #[test]
    fn there_is_a_place_for_everything() {
        for scale in [Scale::even(1.0, 1.0), Scale::around(0.0, 0.0), Scale::root(0.0), Scale::root_of_rest(1.0)] {
            for number in [0.0, 1.0, -5.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert!((0.0..=1.0).contains(&scale.place(number)), "{scale:?} {number}");
            }
            assert!(scale.ticks(0.1).len() < 20);
        }
    }
}
