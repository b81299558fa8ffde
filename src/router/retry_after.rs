//! For how long a provider asks to be left alone, in the ways in which providers say so.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// OpenAI and Azure say it in milliseconds too.
const MILLIS: &str = "retry-after-ms";
/// Azure once more.
const AZURE: &str = "x-ms-retry-after-ms";
/// When a limit is over: OpenAI's of requests and of tokens (`1s`, `6m0s`, `20ms`), each with what is left of it.
const RESETS: [(&str, &str); 2] = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
];
/// The same from Anthropic, as moments.
const MOMENTS: [(&str, &str); 2] = [
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
];

/// The longest that anybody is believed; beyond lies what can't be added to a time.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What the headers of a refusal say, at `now`.
pub(super) fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    said(headers, now).map(|wait| wait.min(LONGEST))
}

fn said(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    if let Some(millis) = number(MILLIS).or_else(|| number(AZURE)) {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    if let Some(said) = text(RETRY_AFTER.as_str()) {
        let until = |at: SystemTime| at.duration_since(now).unwrap_or_default();
        return match said.parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Err(_) => httpdate::parse_http_date(said).ok().map(until),
        };
    }
    let is_used_up = |name: &str| number(name).is_some_and(|left| left < 1.0);
    let resets = RESETS.iter().filter(|(left, _)| is_used_up(left));
    let spans = resets.filter_map(|(_, reset)| humantime::parse_duration(&spaced(text(reset)?)).ok());
    let moments = MOMENTS.iter().filter(|(left, _)| is_used_up(left));
    let until = moments.filter_map(|(_, reset)| {
        let at = humantime::parse_rfc3339_weak(text(reset)?).ok()?;
        Some(at.duration_since(now).unwrap_or_default())
    });
    spans.chain(until).max()
}

/// `6m0s` and `1.5s` as humantime reads them: whole numbers.
fn spaced(span: &str) -> String {
    match span.strip_suffix('s').map(|seconds| (seconds, seconds.parse::<f64>())) {
        Some((_, Ok(seconds))) => format!("{}ms", (seconds * 1000.0).ceil()),
        _ => span.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(headers: &[(&'static str, &'static str)]) -> Option<u128> {
        let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let now = humantime::parse_rfc3339_weak("2026-01-01T00:00:00Z").unwrap();
        wait(&map, now).map(|wait| wait.as_millis())
    }

    #[test]
    fn every_way_of_saying_it_is_read() {
        assert_eq!(told(&[("retry-after", "7")]), Some(7000));
        assert_eq!(told(&[("retry-after", "0.5")]), Some(500));
        assert_eq!(told(&[("retry-after", "Thu, 01 Jan 2026 00:00:20 GMT")]), Some(20_000));
        assert_eq!(told(&[("retry-after", "Thu, 01 Jan 2015 00:00:20 GMT")]), Some(0));
        assert_eq!(told(&[("retry-after-ms", "250"), ("retry-after", "1")]), Some(250));
        assert_eq!(told(&[("x-ms-retry-after-ms", "90")]), Some(90));
        let limit = ("x-ratelimit-remaining-tokens", "0");
        assert_eq!(told(&[limit, ("x-ratelimit-reset-tokens", "6m0s")]), Some(360_000));
        assert_eq!(told(&[limit, ("x-ratelimit-reset-tokens", "1.5s")]), Some(1500));
        assert_eq!(told(&[("x-ratelimit-remaining-tokens", "5"), ("x-ratelimit-reset-tokens", "1s")]), None);
        let anthropic = ("anthropic-ratelimit-requests-remaining", "0");
        assert_eq!(told(&[anthropic, ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:30Z")]), Some(30_000));
        assert_eq!(told(&[("retry-after", "9223372036854775807")]), Some(86_400_000));
        for rubbish in ["soon", "-3", "NaN", "inf", ""] {
            assert_eq!(told(&[("retry-after", rubbish)]), None, "{rubbish}");
        }
        assert_eq!(told(&[]), None);
    }
}
