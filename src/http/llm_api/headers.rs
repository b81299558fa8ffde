//! Response headers that say what the cache did.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::cache::{Decision, Hit};
use crate::decide::Outcome;
use crate::router::FailedAttempt;
use crate::store::Timestamp;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_CACHE_STATUS: HeaderName = HeaderName::from_static("x-cache-status");
const DECISION: HeaderName = HeaderName::from_static("x-refrain-decision");
const COSINE: HeaderName = HeaderName::from_static("x-refrain-cosine");
/// The curated entry that the answer is from.
const CURATED: HeaderName = HeaderName::from_static("x-refrain-curated");
/// Who answered; in a request, who is to.
pub(super) const PROVIDER: HeaderName = HeaderName::from_static("x-refrain-provider");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-refrain-attempts");
/// How many of a request's inputs have vectors that were known, of how many.
const EMBEDDINGS: HeaderName = HeaderName::from_static("x-refrain-embeddings");
const TRIED: HeaderName = HeaderName::from_static("x-refrain-tried");

/// Headers for a reply that is forwarded, or that would have been.
pub(super) fn not_a_hit(decision: &Decision, refreshed: bool, expose_cosine: bool) -> Vec<(HeaderName, HeaderValue)> {
    // RFC 9211: `request` where the request's own directives forbade using the cache.
    let (short, forwarded) = match decision.outcome {
        _ if refreshed => ("Refresh", "request"),
        Outcome::Bypass => ("Bypass", "bypass"),
        _ => ("Miss", "miss"),
    };
    let mut status = format!("refrain; fwd={forwarded}");
    if let Some(reason) = &decision.reason {
        status.push_str(&format!("; detail={}", quoted(reason)));
    }
    headers(short, &status, decision, expose_cosine)
}

/// Headers for a request that couldn't be asked of any cache.
pub(super) fn unavailable(why: &str) -> Vec<(HeaderName, HeaderValue)> {
    let mut list = vec![(X_CACHE_STATUS, HeaderValue::from_static("Bypass"))];
    let status = format!("refrain; fwd=bypass; detail={}", quoted(why));
    list.extend(HeaderValue::try_from(status).map(|value| (CACHE_STATUS, value)));
    list
}

/// Headers for a stored answer.
pub(super) fn hit(decision: &Decision, hit: &Hit, expose_cosine: bool) -> Vec<(HeaderName, HeaderValue)> {
    let left = time_left(hit.entry.expires);
    let how = match (decision.outcome == Outcome::ExactHit, hit.is_curated()) {
        (true, false) => "exact",
        (false, false) => "semantic",
        (true, true) => "curated-exact",
        (false, true) => "curated-semantic",
    };
    let mut list = headers("Hit", &format!("refrain; hit{left}; detail={how}"), decision, expose_cosine);
    if hit.is_curated() {
        list.extend(HeaderValue::try_from(hit.entry.id.to_string()).map(|value| (CURATED, value)));
    }
    list.push((header::AGE, HeaderValue::from(hit.age_millis / 1000)));
    list
}

/// What the cache knew of a request for vectors.
#[derive(Debug, Clone, Copy)]
pub(super) enum VectorsFound<'f> {
    /// All of them: the oldest has this age in milliseconds, and this is when the first of them expires.
    All {
        age_millis: u64,
        expires: Timestamp,
    },
    /// Not all. The others are asked for.
    Some,
    None,
    /// The request says that none may come from the cache.
    Refresh,
    /// It couldn't be asked.
    Trouble(&'f str),
}

/// Headers for a request of `asked` inputs, of which `known` have vectors from the cache.
pub(super) fn vectors(found: VectorsFound<'_>, known: usize, asked: usize) -> Vec<(HeaderName, HeaderValue)> {
    // RFC 9211: `partial` where the cache had a part of what was asked for.
    let (short, status) = match found {
        VectorsFound::All { expires, .. } => ("Hit", format!("hit{}; detail=exact", time_left(expires))),
        VectorsFound::Some => ("Partial", "fwd=partial".to_owned()),
        VectorsFound::None => ("Miss", "fwd=miss".to_owned()),
        VectorsFound::Refresh => ("Refresh", "fwd=request".to_owned()),
        VectorsFound::Trouble(why) => ("Bypass", format!("fwd=bypass; detail={}", quoted(why))),
    };
    let mut list = vec![(X_CACHE_STATUS, HeaderValue::from_static(short))];
    list.extend(HeaderValue::try_from(format!("refrain; {status}")).map(|value| (CACHE_STATUS, value)));
    list.extend(HeaderValue::try_from(format!("{known}/{asked}")).map(|value| (EMBEDDINGS, value)));
    if let VectorsFound::All { age_millis, .. } = found {
        list.push((header::AGE, HeaderValue::from(age_millis / 1000)));
    }
    list
}

/// One that never expires has no time to live to tell.
fn time_left(expires: Timestamp) -> String {
    let left = Some(expires).filter(|expires| expires.0 != u64::MAX).map(|expires| expires.since(Timestamp::now()));
    left.map(|millis| format!("; ttl={}", millis / 1000)).unwrap_or_default()
}

/// Who answered, how many were asked in all, and what those did that didn't answer.
pub(super) fn forwarded(provider: &str, failed_attempts: &[FailedAttempt]) -> Vec<(HeaderName, HeaderValue)> {
    let mut list = vec![(ATTEMPTS, HeaderValue::from(failed_attempts.len() + 1))];
    list.extend(HeaderValue::try_from(provider).map(|value| (PROVIDER, value)));
    list.extend(failed(failed_attempts));
    list
}

/// Attempts that failed, as `provider=what it did`.
pub(super) fn failed(failed_attempts: &[FailedAttempt]) -> Option<(HeaderName, HeaderValue)> {
    let each: Vec<String> =
        failed_attempts.iter().map(|FailedAttempt { provider, what }| format!("{provider}={what}")).collect();
    (!each.is_empty()).then(|| HeaderValue::try_from(each.join(", ")).ok()).flatten().map(|value| (TRIED, value))
}

/// Says that a request shares another one's call (RFC 9211).
pub(super) fn collapsed(list: &mut [(HeaderName, HeaderValue)]) {
    for (name, value) in list {
        if *name == CACHE_STATUS
            && let Ok(text) = value.to_str()
            && let Some(why) = ["fwd=miss", "fwd=partial"].into_iter().find(|why| text.contains(why))
            && let Ok(more) = HeaderValue::try_from(text.replacen(why, &format!("{why}; collapsed"), 1))
        {
            *value = more;
        }
    }
}

/// Replaces headers of the same names: an upstream cache's say gives way to ours.
pub(super) fn set(headers: &mut HeaderMap, list: Vec<(HeaderName, HeaderValue)>) {
    for (name, value) in list {
        headers.insert(name, value);
    }
}

fn headers(
    short: &'static str,
    status: &str,
    decision: &Decision,
    expose_cosine: bool,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut list = vec![(X_CACHE_STATUS, HeaderValue::from_static(short))];
    list.extend(HeaderValue::try_from(status).map(|value| (CACHE_STATUS, value)));
    list.extend(HeaderValue::try_from(decision.id.to_string()).map(|value| (DECISION, value)));
    if let Some(cosine) = decision.best_cosine().filter(|_| expose_cosine) {
        list.extend(HeaderValue::try_from(format!("{:.4}", cosine.get())).map(|value| (COSINE, value)));
    }
    list
}

/// A string of RFC 8941: quotes and backslashes escaped, and nothing but printable ASCII.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}
