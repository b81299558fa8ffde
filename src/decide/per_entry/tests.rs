use proptest::prelude::*;

use super::curve::{Curve, GRID, grid, tabled_variance};
use super::*;

fn observed(labels: impl IntoIterator<Item = (f32, bool)>) -> Observations {
    let mut observations = Observations::default();
    for (cosine, right) in labels {
        observations.add(Cosine::new(cosine), right);
    }
    observations
}

/// Right and wrong overlap between 0.86 and 0.87.
fn overlapping() -> Observations {
    observed([(0.8, false), (0.84, false), (0.86, true), (0.87, false), (0.9, true), (0.93, true)])
}

/// The standard normal distribution's share below `z`, by Simpson's rule.
fn below(z: f64) -> f64 {
    let steps = 2000;
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let width = z / f64::from(steps);
    let weighted = |at: i32| {
        let weight = if at == 0 || at == steps { 1.0 } else { f64::from(2 + at % 2 * 2) };
        weight * density(f64::from(at) * width)
    };
    0.5 + (0..=steps).map(weighted).sum::<f64>() * width / 3.0
}

#[test]
fn quantiles_are_those_of_the_grid() {
    assert_eq!(grid().count(), GRID);
    for (epsilon, quantile) in grid() {
        assert!((below(quantile) - (1.0 - epsilon)).abs() < 1e-11, "{epsilon} {quantile}");
    }
    assert!((grid().map(|(epsilon, _)| epsilon).fold(0.0, f64::max) - (1.0 - 1e-6)).abs() < 1e-12);
}

#[test]
fn a_fit_is_what_forty_digits_say() {
    // By root finding and the plain matrix formula, in 40 digits, outside this crate.
    let fit = overlapping().fit().unwrap();
    assert_eq!((fit.curve.threshold, fit.curve.steepness), (0.866, 78.316));
    assert!((fit.deviation - 0.015_837_742_51).abs() < 1e-9, "{}", fit.deviation);
    for (cosine, budget, tau) in [
        (0.82, 0.02, 0.97970),
        (0.82, 0.2, 0.79698),
        (0.88, 0.05, 0.91279),
        (0.95, 0.02, 0.46414),
        (0.95, 0.05, -0.33965),
        (0.99, 0.02, 0.05478),
    ] {
        let got = overlapping().explore_probability(Cosine::new(cosine), budget);
        assert!((got - tau).abs() < 2.1e-5, "{cosine} {budget}: {got} {tau}");
    }
    let p = overlapping().p_correct(Cosine::new(0.88)).unwrap();
    assert!((p - 0.749_589_471).abs() < 1e-6, "{p}");
}

#[test]
fn a_poor_curve_has_a_wide_bound() {
    // Wrong where it is near, right where it is far: also from outside this crate.
    let labels = [(0.6, true), (0.65, true), (0.7, true), (0.75, true), (0.95, false), (0.9, false), (0.97, false)];
    let fit = observed(labels).fit().unwrap();
    assert_eq!((fit.curve.threshold, fit.curve.steepness), (0.179, 0.41));
    assert!((fit.deviation - 3.458_386_795).abs() < 1e-6, "{}", fit.deviation);
    assert!((observed(labels).explore_probability(Cosine::new(0.9), 0.05) - 0.90201).abs() < 1e-9);
}

#[test]
fn a_falling_curve_is_flat() {
    let observations = observed([[(-0.9, true); 4], [(1.0, false); 4]].concat());
    assert_eq!(observations.fit().unwrap().curve.steepness, 0.0);
    assert_eq!(observations.p_correct(Cosine::ONE), Some(0.5));
}

#[test]
fn a_threshold_is_a_cosine_from_zero_to_one() {
    let fit = observed([(-0.5, true), (0.2, true), (0.5, true), (0.9, true), (0.9, true)]).fit().unwrap();
    assert!(fit.curve.threshold == 0.0 && fit.curve.steepness > 0.0, "{fit:?}");
}

#[test]
fn an_entry_that_is_always_wrong_has_a_curve() {
    // Full Newton steps run away from most of these.
    for (cosine, labels) in [(0.95, 4), (0.988, 42), (0.999, 47), (0.996, 256)] {
        let curve = observed((0..labels).map(|_| (cosine, false))).fit().unwrap().curve;
        // A hair less than the cosine itself: it is an f32.
        assert!((f64::from(cosine) - 1e-6..=1.0).contains(&curve.threshold), "{curve:?}");
        assert!(curve.at(f64::from(cosine) - 0.01) < 1e-3, "{curve:?}");
    }
}

#[test]
fn a_known_curve_is_recovered() {
    let truth = Curve { threshold: 0.85, steepness: 40.0 };
    // A linear congruential generator: cosines even from 0.7 to 1, labels as the curve has it.
    let mut state = 12345u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 32) as u32) / f64::from(u32::MAX)
    };
    let (mut thresholds, mut steepnesses, mut covered) = (0.0, 0.0, 0);
    for _ in 0..100 {
        let labels: Vec<_> = (0..256)
            .map(|_| {
                let cosine = 0.7 + 0.3 * uniform();
                (cosine as f32, uniform() < truth.at(cosine))
            })
            .collect();
        let fit = observed(labels).fit().unwrap();
        thresholds += fit.curve.threshold / 100.0;
        steepnesses += fit.curve.steepness / 100.0;
        covered += u32::from((fit.curve.threshold - truth.threshold).abs() < 1.96 * fit.deviation);
    }
    assert!((thresholds - 0.85).abs() < 0.002, "{thresholds}");
    assert!((steepnesses - 40.0).abs() < 3.0, "{steepnesses}");
    // What the deviation promises: 95 of 100, give or take two standard deviations.
    assert!((90..=99).contains(&covered), "{covered}");
}

#[test]
fn separable_observations_use_the_table() {
    let fit = observed([(0.8, false), (0.81, false), (0.9, true), (0.91, true)]).fit().unwrap();
    assert!((fit.deviation.powi(2) - 0.035_445).abs() < 1e-12, "{}", fit.deviation);
    // Halfway, and steep.
    assert!((fit.curve.threshold - 0.855).abs() < 0.003 && fit.curve.steepness > 200.0, "{fit:?}");
    // One wrong label at, or beyond, a right one is enough not to.
    let fit = observed([(0.8, false), (0.9, false), (0.9, true), (0.91, true)]).fit().unwrap();
    assert!((fit.deviation.powi(2) - 0.035_445).abs() > 1e-3, "{}", fit.deviation);
    let fit = observed([(0.8, false), (0.905, false), (0.9, true), (0.91, true)]).fit().unwrap();
    assert!((fit.deviation.powi(2) - 0.035_445).abs() > 1e-3, "{}", fit.deviation);
}

#[test]
fn the_table_is_interpolated_and_ends() {
    for (observations, variance) in
        [(6, 0.035_445), (15, 0.009_253), (23, 0.006_911_5), (31, 0.004_57), (38, 0.011_74), (48, 0.015_31)]
    {
        assert!((tabled_variance(observations) - variance).abs() < 1e-12, "{observations}");
    }
    assert_eq!((tabled_variance(258), tabled_variance(0)), (0.015_31, 0.035_445));
}

#[test]
fn a_narrow_gap_and_a_tie_still_have_a_curve() {
    let gap = observed([(0.9, false), (0.901, true)].repeat(100));
    assert!((0.9..=0.901).contains(&gap.fit().unwrap().curve.threshold));
    let tie = observed([(0.9, false), (0.9, true)].repeat(100));
    assert_eq!(tie.fit().unwrap().curve.threshold, 0.9);
    assert!(tie.p_correct(Cosine::new(0.5)).unwrap() < 1e-3);
}

#[test]
fn cold_start_explores_always() {
    for labels in 0..4 {
        let observations = observed((0..labels).map(|_| (0.9, true)));
        assert_eq!(observations.explore_probability(Cosine::ONE, 1.0), 1.0);
        assert_eq!(observations.p_correct(Cosine::ONE), None);
    }
    let observations = observed([(0.9, true); 4]);
    assert!(observations.explore_probability(Cosine::ONE, 0.05) < 1.0);
    assert!(observations.p_correct(Cosine::ONE).unwrap() > 0.9);
}

#[test]
fn right_labels_near_by_lower_the_probability_of_exploring_and_wrong_ones_raise_it() {
    let explore = |more: usize, right| {
        let mut observations = overlapping();
        for _ in 0..more {
            observations.add(Cosine::new(0.9), right);
        }
        observations.explore_probability(Cosine::new(0.9), 0.02)
    };
    let right: Vec<_> = [0, 5, 20, 100].into_iter().map(|more| explore(more, true)).collect();
    assert!(right.is_sorted_by(|few, many| few > many), "{right:?}");
    assert!(explore(5, false) > explore(0, false));
}

#[test]
fn without_a_budget_everything_is_explored() {
    for budget in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(overlapping().explore_probability(Cosine::new(0.95), budget), 1.0);
    }
    // A hopeless prompt is served with the budget's probability.
    let wrong = observed([(0.9, false), (0.92, false), (0.94, false), (0.96, true), (0.98, true)]);
    assert!((wrong.explore_probability(Cosine::new(0.1), 0.05) - 0.95).abs() < 1e-3);
}

#[test]
fn the_newest_are_kept_to_three_decimals() {
    let mut observations = observed([(0.9, false); 300]);
    assert_eq!(observations.len(), Observations::MAX);
    for _ in 0..Observations::MAX {
        observations.add(Cosine::new(0.800_49), true);
    }
    assert_eq!(observations, observed([(0.8, true); 256]));
    assert!(!observations.is_empty() && Observations::default().is_empty());
    let text = serde_json::to_string(&observations).unwrap();
    assert_eq!(serde_json::from_str::<Observations>(&text).unwrap(), observations);
}

proptest! {
    #[test]
    fn anything_gives_a_probability_that_falls_with_the_cosine_and_the_budget(
        // Few distinct cosines, so that ties and gaps of all kinds come up, or any at all.
        labels in prop_oneof![
            prop::collection::vec(((895i16..905).prop_map(|at| f32::from(at) / 1000.0), any::<bool>()), 0..40),
            prop::collection::vec((any::<f32>(), any::<bool>()), 0..300),
            // Many of the same.
            prop::collection::vec(((-1.0f32..=1.0, any::<bool>()), 1usize..100), 0..5).prop_map(|runs| {
                runs.into_iter().flat_map(|(label, times)| std::iter::repeat_n(label, times)).collect()
            }),
            (0.5f32..1.0, prop::collection::vec(0.0f32..=1.0, 0..300))
                .prop_map(|(threshold, cosines)| cosines.into_iter().map(|at| (at, at > threshold)).collect()),
        ],
        cosines in (any::<f32>(), any::<f32>()),
        budgets in (any::<f64>(), 0.0f64..0.2),
    ) {
        let observations = observed(labels);
        // A curve is always found: not finding one would be hidden as a cold start.
        prop_assert_eq!(observations.fit().is_some(), observations.len() >= 4);
        let (one, other) = (Cosine::new(cosines.0), Cosine::new(cosines.1));
        let (far, near) = if one < other { (one, other) } else { (other, one) };
        for budget in [budgets.0, budgets.1] {
            let (far, near) =
                (observations.explore_probability(far, budget), observations.explore_probability(near, budget));
            prop_assert!(near.is_finite() && far.is_finite() && near <= far && far <= 1.0, "{} {}", near, far);
        }
        let of_budget = |budget| observations.explore_probability(near, budget);
        prop_assert!(of_budget(budgets.1) <= of_budget(budgets.1 / 2.0) && of_budget(0.0) == 1.0);
        if let (Some(far), Some(near)) = (observations.p_correct(far), observations.p_correct(near)) {
            prop_assert!((0.0..=1.0).contains(&far) && (0.0..=1.0).contains(&near) && far <= near);
        }
    }
}
