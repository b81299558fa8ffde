//! The static frontier: what every fixed threshold would have served, known only in hindsight.
//!
//! A threshold is replayed without a cache, on the vectors alone: each request is answered by the nearest of those that were
//! stored before, where that is near enough, and stored otherwise.

use super::report::Point;
use crate::decide::Share;
use crate::embed::Embedding;

/// Thresholds of the frontier, in hundredths.
const HUNDREDTHS: std::ops::RangeInclusive<u8> = 60..=98;
/// Nearest earlier requests that are known of each. Where none of them was stored, all that were stored are looked through, and
/// with a low threshold these are few.
const KNOWN: usize = 64;

/// A request before, and how near it is.
#[derive(Clone, Copy)]
struct Near {
    cosine: f32,
    request: usize,
}

/// One request: its vector, if it can have one, and the group that it belongs to.
pub struct Asked<'t> {
    /// Requests of one group have the same right answer.
    pub group: &'t str,
    /// Its prompt's vector.
    pub vector: Option<Embedding>,
}

/// What each threshold would have made of `requests`.
#[must_use]
pub fn frontier(requests: &[Asked<'_>]) -> Vec<Point> {
    let near = nearest_before(requests);
    HUNDREDTHS.map(|hundredths| replay(requests, &near, f32::from(hundredths) / 100.0)).collect()
}

/// Hits of the fixed threshold that serves this share wrong, between two of the frontier.
#[must_use]
pub fn hits_at(frontier: &[Point], wrong: f64) -> f64 {
    let at = |point: &Point| (point.wrong_of_requests.value(), point.hits.value());
    let between = frontier.windows(2).filter_map(|pair| {
        let ((more_wrong, more_hits), (less_wrong, less_hits)) = (at(&pair[0]), at(&pair[1]));
        let is_between = (less_wrong..=more_wrong).contains(&wrong) && more_wrong > less_wrong;
        let part = (wrong - less_wrong) / (more_wrong - less_wrong);
        is_between.then_some(less_hits + part * (more_hits - less_hits))
    });
    let below = frontier.iter().filter(|point| at(point).0 <= wrong).map(|point| at(point).1);
    between.chain(below).fold(0.0, f64::max)
}

fn replay(requests: &[Asked<'_>], near: &[Vec<Near>], min_cosine: f32) -> Point {
    let mut stored = vec![false; requests.len()];
    let mut places = Vec::new();
    let (mut hits, mut wrong) = (0, 0);
    for (number, asked) in requests.iter().enumerate() {
        let known = near[number].iter().find(|near| stored[near.request]).copied();
        let all_known = near[number].len() < KNOWN || near[number].last().is_some_and(|last| last.cosine < min_cosine);
        let found = if known.is_none() && !all_known { scan(requests, &places, number) } else { known };
        match found.filter(|found| found.cosine >= min_cosine) {
            Some(found) => {
                hits += 1;
                wrong += u64::from(requests[found.request].group != asked.group);
            }
            None => {
                stored[number] = true;
                places.push(number);
            }
        }
    }
    let all = requests.len() as u64;
    Point {
        min_cosine,
        hits: Share::new(hits, all),
        wrong_of_requests: Share::new(wrong, all),
        wrong_of_hits: Share::new(wrong, hits),
    }
}

fn scan(requests: &[Asked<'_>], stored: &[usize], number: usize) -> Option<Near> {
    let vector = requests[number].vector.as_ref()?;
    let cosines = stored.iter().filter_map(|request| {
        Some(Near { cosine: requests[*request].vector.as_ref()?.cosine(vector).get(), request: *request })
    });
    cosines.max_by(|a, b| a.cosine.total_cmp(&b.cosine))
}

/// The [`KNOWN`] nearest earlier ones of each request, nearest first.
fn nearest_before(requests: &[Asked<'_>]) -> Vec<Vec<Near>> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut all = vec![Vec::new(); requests.len()];
    std::thread::scope(|scope| {
        // Later requests have more before them, so they are dealt out in turns.
        let mut dealt: Vec<Vec<(usize, &mut Vec<Near>)>> = (0..threads).map(|_| Vec::new()).collect();
        for (number, near) in all.iter_mut().enumerate() {
            dealt[number % threads].push((number, near));
        }
        for hand in dealt {
            scope.spawn(move || {
                for (number, near) in hand {
                    *near = nearest(requests, number);
                }
            });
        }
    });
    all
}

fn nearest(requests: &[Asked<'_>], number: usize) -> Vec<Near> {
    let Some(vector) = &requests[number].vector else { return Vec::new() };
    let mut top: Vec<Near> = Vec::with_capacity(KNOWN + 1);
    for (request, other) in requests[..number].iter().enumerate() {
        let Some(other) = &other.vector else { continue };
        let cosine = other.cosine(vector).get();
        if top.len() < KNOWN || top.last().is_some_and(|last| cosine > last.cosine) {
            let place = top.partition_point(|near| near.cosine >= cosine);
            top.insert(place, Near { cosine, request });
            top.truncate(KNOWN);
        }
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_serves_what_is_near_enough_and_stores_the_rest() {
        let at = |degrees: f32, group: &'static str| Asked {
            group,
            vector: Embedding::normalised(vec![degrees.to_radians().cos(), degrees.to_radians().sin()]),
        };
        // 10° is a cosine of 0.985, 20° one of 0.940, 30° one of 0.866.
        let requests = [at(0.0, "a"), at(10.0, "a"), at(30.0, "b"), at(32.0, "b"), at(11.0, "b")];
        let points = frontier(&requests);
        let of = |hundredths: usize| {
            let point = points[hundredths - 60];
            (point.hits.some, point.wrong_of_requests.some)
        };
        // At 0.98: 10° and 11° are answered by 0°, the latter wrongly; 32° by 30°.
        assert_eq!(of(98), (3, 1));
        // At 0.80 all but the first are answered by it.
        assert_eq!(of(80), (4, 3));
    }

    #[test]
    fn what_is_beyond_the_known_nearest_is_found_too() {
        let mut requests: Vec<Asked<'_>> = Vec::new();
        for n in 0..500u16 {
            let angle = f32::from(n % 100) / 100.0;
            let vector = Embedding::normalised(vec![angle.cos(), angle.sin()]);
            requests.push(Asked { group: "g", vector });
        }
        for (point, at) in frontier(&requests).iter().zip(HUNDREDTHS) {
            let mut stored: Vec<usize> = Vec::new();
            let threshold = f32::from(at) / 100.0;
            for number in 0..requests.len() {
                if scan(&requests, &stored, number).is_none_or(|near| near.cosine < threshold) {
                    stored.push(number);
                }
            }
            assert_eq!(point.hits.some, (requests.len() - stored.len()) as u64, "{threshold}");
        }
    }
}
