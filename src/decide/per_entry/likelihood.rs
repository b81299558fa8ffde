//! The likeliest line through labels, by Newton's method.

/// Mean score, per observation, at which the likelihood counts as largest.
const TOLERANCE: f64 = 1e-8;

/// Newton steps after which there is no curve. None of two million random entries took more than 28; where observations
/// aren't separable it takes about 10.
const MAX_STEPS: usize = 100;

/// Halvings of one Newton step.
const MAX_HALVINGS: i32 = 30;

/// The part of the promised gain that a step must bring.
const SUFFICIENT: f64 = 0.25;

/// An observation as the fit sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) cosine: f64,
    pub(super) right: bool,
}

/// The log odds of being right as a line in the cosine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) intercept: f64,
    pub(super) slope: f64,
}

/// The negative log likelihood at a line, with its derivatives.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    loss: f64,
    /// The score: its negative derivative by the intercept, and by the slope.
    score: (f64, f64),
    /// The sum of the weights p (1 - p), the weighted mean cosine, and the weighted sum of squares about it: together
    /// the second derivative.
    pub(super) weight: f64,
    pub(super) mean: f64,
    pub(super) spread: f64,
}

impl Line {
    /// The line that makes `points` likeliest, without a penalty, by Newton's method; and the state there.
    pub(super) fn likeliest(points: &[Point]) -> Option<(Self, State)> {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let tolerance = TOLERANCE * points.len() as f64;
        let mut line = Self { intercept: 0.0, slope: 0.0 };
        let mut state = line.state(points);
        for _ in 0..MAX_STEPS {
            let (by_intercept, by_slope) = state.score;
            if by_intercept.abs().max(by_slope.abs()) <= tolerance {
                return Some((line, state));
            }
            // About the mean cosine the second derivative is diagonal.
            let slope = (by_slope - state.mean * by_intercept) / state.spread;
            let intercept = by_intercept / state.weight - slope * state.mean;
            if !slope.is_finite() || !intercept.is_finite() {
                return None;
            }
            // A full step can overshoot, and then leave only one cosine with any weight. So it is halved until the
            // likelihood grows by a good part of what the score promises (Armijo).
            let promised = by_intercept * intercept + by_slope * slope;
            (line, state) = (0..MAX_HALVINGS).find_map(|halvings| {
                let part = 0.5f64.powi(halvings);
                let next = Self { intercept: line.intercept + part * intercept, slope: line.slope + part * slope };
                let there = next.state(points);
                // Close to the end, rounding may hide that it grew.
                let rounding = 1e-12 * (1.0 + state.loss);
                (there.loss <= state.loss - SUFFICIENT * part * promised + rounding).then_some((next, there))
            })?;
        }
        None
    }

    /// The log odds of being right at `cosine`.
    fn at(self, cosine: f64) -> f64 {
        self.intercept + self.slope * cosine
    }

    fn state(self, points: &[Point]) -> State {
        let mut state = State { loss: 0.0, score: (0.0, 0.0), weight: 0.0, mean: 0.0, spread: 0.0 };
        for point in points {
            let odds = self.at(point.cosine);
            let (sign, margin) = if point.right { (1.0, odds) } else { (-1.0, -odds) };
            // Of the smaller exponential, so that nothing overflows and probabilities near 0 keep their digits.
            let small = (-margin.abs()).exp();
            let missed = if margin > 0.0 { small } else { 1.0 } / (1.0 + small);
            state.loss += (-margin).max(0.0) + small.ln_1p();
            state.score.0 += sign * missed;
            state.score.1 += sign * missed * point.cosine;
            let weight = weight(odds);
            state.weight += weight;
            state.mean += weight * point.cosine;
        }
        state.mean /= state.weight;
        for point in points {
            state.spread += weight(self.at(point.cosine)) * (point.cosine - state.mean).powi(2);
        }
        state
    }
}

/// p (1 - p) at log odds.
fn weight(odds: f64) -> f64 {
    let small = (-odds.abs()).exp();
    small / (1.0 + small).powi(2)
}
