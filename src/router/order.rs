//! Which target is tried first.

use crate::config::Strategy;

/// The share of requests that try another target first than the fastest, so that its latency stays known.
const EXPLORED: f64 = 0.05;

/// What a strategy looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) weight: f64,
    /// Seconds until the first byte of late.
    pub(super) latency: Option<f64>,
    /// Whether it may be tried now.
    pub(super) is_open: bool,
}

/// The places of `candidates` in the order in which they are to be tried; those that want to be left alone come last. `draw` is
/// a number from 0 to 1.
pub(super) fn order(candidates: &[Candidate], strategy: Strategy, draw: f64) -> Vec<usize> {
    let mut places: Vec<usize> = (0..candidates.len()).collect();
    match strategy {
        Strategy::Order => {}
        Strategy::Weight => {
            if let Some(first) = drawn(candidates, draw) {
                // The others follow by weight.
                places.sort_by(|a, b| candidates[*b].weight.total_cmp(&candidates[*a].weight));
                to_front(&mut places, first);
            }
        }
        Strategy::Latency => {
            // One of which nothing is known is found out about first.
            let latency = |place: &usize| candidates[*place].latency.unwrap_or(0.0);
            places.sort_by(|a, b| latency(a).total_cmp(&latency(b)));
            if draw < EXPLORED {
                #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let place = (draw / EXPLORED * candidates.len() as f64) as usize;
                to_front(&mut places, place.min(candidates.len().saturating_sub(1)));
            }
        }
    }
    places.sort_by_key(|place| !candidates[*place].is_open);
    places
}

/// A place by weight, among those that are open if there are any.
fn drawn(candidates: &[Candidate], draw: f64) -> Option<usize> {
    let any_open = candidates.iter().any(|candidate| candidate.is_open && candidate.weight > 0.0);
    let counts = |candidate: &Candidate| !any_open || candidate.is_open;
    let weight = |candidate: &Candidate| if counts(candidate) { candidate.weight } else { 0.0 };
    let all: f64 = candidates.iter().map(weight).sum();
    let mut left = draw * all;
    for (place, candidate) in candidates.iter().enumerate() {
        left -= weight(candidate);
        if left < 0.0 {
            return Some(place);
        }
    }
    candidates.iter().rposition(|candidate| weight(candidate) > 0.0)
}

fn to_front(places: &mut [usize], value: usize) {
    if let Some(at) = places.iter().position(|place| *place == value) {
        places[..=at].rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(weight: f64, latency: Option<f64>) -> Candidate {
        Candidate { weight, latency, is_open: true }
    }

    #[test]
    fn the_written_order_holds_except_for_those_that_are_left_alone() {
        let mut all = [candidate(1.0, None); 3];
        assert_eq!(order(&all, Strategy::Order, 0.9), [0, 1, 2]);
        all[0].is_open = false;
        assert_eq!(order(&all, Strategy::Order, 0.9), [1, 2, 0]);
    }

    #[test]
    fn weights_are_chances() {
        let all = [candidate(1.0, None), candidate(3.0, None), candidate(0.0, None)];
        let first = |all: &[Candidate], draw| order(all, Strategy::Weight, draw)[0];
        assert_eq!([first(&all, 0.0), first(&all, 0.24), first(&all, 0.26), first(&all, 1.0)], [0, 1 - 1, 1, 1]);
        assert_eq!(order(&all, Strategy::Weight, 0.1), [0, 1, 2]);
        let mut all = all;
        all[1].is_open = false;
        assert_eq!(order(&all, Strategy::Weight, 0.9), [0, 2, 1]);
        assert_eq!(order(&[candidate(0.0, None)], Strategy::Weight, 0.9), [0]);
    }

    #[test]
    fn the_fastest_comes_first_mostly() {
        let all = [candidate(1.0, Some(0.5)), candidate(1.0, Some(0.1)), candidate(1.0, Some(0.3))];
        assert_eq!(order(&all, Strategy::Latency, 0.5), [1, 2, 0]);
        assert_eq!(order(&all, Strategy::Latency, 0.001)[0], 0);
        assert_eq!(order(&all, Strategy::Latency, 0.049)[0], 2);
        let all = [candidate(1.0, Some(0.5)), candidate(1.0, None)];
        assert_eq!(order(&all, Strategy::Latency, 0.5), [1, 0]);
    }
}
