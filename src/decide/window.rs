//! The latest predictions that came true or didn't.

use std::collections::VecDeque;

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// A prediction, and what became of it.
pub(super) trait Predicted: Copy {
    /// The error that was predicted, before calibration.
    fn error(&self) -> f32;
    /// Whether the answer was right.
    fn is_right(&self) -> bool;
}

impl Predicted for (f32, bool) {
    fn error(&self) -> f32 {
        self.0
    }

    fn is_right(&self) -> bool {
        self.1
    }
}

/// The latest of them. Each decision needs their sums, so these are made when one comes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window<T> {
    latest: VecDeque<T>,
    sums: Sums,
}

/// How many answers were wrong, and how many were predicted to be.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) wrong: usize,
    pub(super) expected: f64,
}

impl std::ops::Add for Sums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wrong: self.wrong + other.wrong, expected: self.expected + other.expected }
    }
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { latest: VecDeque::new(), sums: Sums::default() }
    }
}

impl<T: Predicted> Window<T> {
    /// One more; no more than the latest `max` are remembered.
    pub(super) fn add(&mut self, prediction: T, max: usize) {
        self.latest.push_back(prediction);
        if self.latest.len() > max {
            self.latest.pop_front();
        }
        // From the beginning, because a sum that is added to and taken from drifts away from what it is of.
        self.sums = sums(&self.latest);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.latest.iter()
    }

    pub(super) fn sums(&self) -> Sums {
        self.sums
    }
}

fn sums<T: Predicted>(latest: &VecDeque<T>) -> Sums {
    Sums {
        wrong: latest.iter().filter(|prediction| !prediction.is_right()).count(),
        expected: latest.iter().map(|prediction| f64::from(prediction.error())).sum(),
    }
}

/// As the predictions alone are written.
impl<T: Serialize> Serialize for Window<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.latest.serialize(serializer)
    }
}

impl<'de, T: Predicted + Deserialize<'de>> Deserialize<'de> for Window<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let latest = VecDeque::deserialize(deserializer)?;
        Ok(Self { sums: sums(&latest), latest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_sums_are_of_the_latest_and_are_there_when_it_is_read_again() {
        let mut window = Window::default();
        for n in 0..250u8 {
            window.add((f32::from(n) / 256.0, n.is_multiple_of(2)), 4);
        }
        let of_the_latest = Sums { wrong: 2, expected: f64::from(246 + 247 + 248 + 249) / 256.0 };
        assert_eq!(window.sums(), of_the_latest);
        let written = postcard::to_stdvec(&window).unwrap();
        assert_eq!(postcard::from_bytes::<Window<(f32, bool)>>(&written).unwrap(), window);
        // Builds before wrote the predictions.
        let latest: VecDeque<(f32, bool)> = window.iter().copied().collect();
        assert_eq!(postcard::to_stdvec(&latest).unwrap(), written);
    }
}
