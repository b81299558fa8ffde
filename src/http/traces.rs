//! Spans, sent to an OpenTelemetry collector as OTLP's JSON over HTTP.
//!
//! Written here because the exporter's crates bring a second HTTP client, and protobuf, for what is one document of JSON.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::App;
use crate::config;
use crate::telemetry;

/// Spans that may wait to be sent; beyond, they are counted and dropped.
const QUEUE: usize = 4096;
/// Spans that are sent together, and how long the first of them waits for others.
const BATCH: usize = 512;
const EVERY: Duration = Duration::from_secs(1);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where a span's context is told (W3C Trace Context).
pub(super) const TRACEPARENT: &str = "traceparent";

/// Where in a trace something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    trace: u128,
    span: u64,
    is_sampled: bool,
}

impl Context {
    /// Within the caller's trace, or in one of its own. `draw` is from 0 to 1, and `ids` are numbers that nobody else has.
    fn begin(headers: &HeaderMap, sample: f64, draw: f64, ids: (u128, u64)) -> (Self, Option<u64>) {
        match headers.get(TRACEPARENT).and_then(|value| Self::read(value.to_str().ok()?)) {
            Some(caller) => (Self { span: ids.1, ..caller }, Some(caller.span)),
            None => (Self { trace: ids.0, span: ids.1, is_sampled: draw < sample }, None),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
        if !(is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)) {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace != 0 && span != 0).then_some(Self { trace, span, is_sampled })
    }

    /// As a header says it.
    pub(super) fn header(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }

    /// Its span.
    pub(super) fn span(&self) -> u64 {
        self.span
    }

    /// Within this one.
    pub(super) fn child(&self) -> Self {
        Self { span: fresh().1, ..*self }
    }
}

/// Numbers that nobody else has.
fn fresh() -> (u128, u64) {
    let (trace, (_, span)) = (uuid::Uuid::now_v7().as_u128(), uuid::Uuid::now_v7().as_u64_pair());
    (trace, span)
}

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request to us.
    Server,
    /// A call of ours.
    Client,
}

/// Something that took time.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) context: Context,
    pub(super) parent: Option<u64>,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) began: SystemTime,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failed: bool,
}

/// A request's place in its trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traced {
    pub(super) context: Context,
    pub(super) parent: Option<u64>,
    pub(super) began: SystemTime,
}

/// Takes spans, and sends them some time later.
pub(super) struct Traces {
    spans: mpsc::Sender<(Span, SystemTime)>,
    waiting: parking_lot::Mutex<Option<mpsc::Receiver<(Span, SystemTime)>>>,
}

impl Default for Traces {
    fn default() -> Self {
        let (spans, waiting) = mpsc::channel(QUEUE);
        Self { spans, waiting: Some(waiting).into() }
    }
}

impl Traces {
    /// The place of a request with these headers, where the settings want traces.
    pub(super) fn begin(settings: Option<&config::Traces>, headers: &HeaderMap, draw: f64) -> Option<Traced> {
        let (context, parent) = Context::begin(headers, settings?.sample, draw, fresh());
        Some(Traced { context, parent, began: SystemTime::now() })
    }

    /// Something has ended.
    pub(super) fn end(&self, span: Span) {
        if span.context.is_sampled && self.spans.try_send((span, SystemTime::now())).is_err() {
            telemetry::degraded("traces");
        }
    }

    /// Sends spans for as long as `app` lives.
    pub(super) fn send(app: &Arc<App>) {
        let Some(mut waiting) = app.traces.waiting.lock().take() else { return };
        let app: Weak<App> = Arc::downgrade(app);
        tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, BATCH).await > 0 {
                // Others follow mostly.
                tokio::time::sleep(EVERY).await;
                while batch.len() < BATCH
                    && let Ok(next) = waiting.try_recv()
                {
                    batch.push(next);
                }
                let Some(live) = app.upgrade().map(|app| app.live()) else { return };
                let spans = std::mem::take(&mut batch);
                if let Some(settings) = &live.settings.traces
                    && let Err(error) = post(&client, settings, &spans).await
                {
                    telemetry::degraded("traces");
                    tracing::warn!(cause = telemetry::cause(&error), "spans can't be sent");
                }
            }
        });
    }
}

async fn post(
    client: &reqwest::Client,
    settings: &config::Traces,
    spans: &[(Span, SystemTime)],
) -> Result<(), reqwest::Error> {
    let url = format!("{}/v1/traces", settings.endpoint.trim_end_matches('/'));
    let mut request = client.post(url).timeout(PATIENCE).json(&document(spans));
    for (name, value) in &settings.headers {
        request = request.header(name, value);
    }
    request.send().await.and_then(reqwest::Response::error_for_status).map(drop).map_err(reqwest::Error::without_url)
}

/// OTLP's JSON: ids in hexadecimal digits, times as texts of nanoseconds.
fn document(spans: &[(Span, SystemTime)]) -> Value {
    let spans: Vec<Value> = spans.iter().map(|(span, ended)| span.json(*ended)).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes(&[
            ("service.name", "refrain".into()), ("service.version", env!("CARGO_PKG_VERSION").into())
        ])},
        "scopeSpans": [{"scope": {"name": "refrain"}, "spans": spans}],
    }]})
}

impl Span {
    fn json(&self, ended: SystemTime) -> Value {
        let nanos =
            |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos()).to_string();
        let kind = match self.kind {
            Kind::Server => 2,
            Kind::Client => 3,
        };
        json!({
            "traceId": format!("{:032x}", self.context.trace),
            "spanId": format!("{:016x}", self.context.span),
            "parentSpanId": self.parent.map(|span| format!("{span:016x}")).unwrap_or_default(),
            "name": self.name,
            "kind": kind,
            "startTimeUnixNano": nanos(self.began),
            "endTimeUnixNano": nanos(ended),
            "attributes": attributes(&self.attributes),
            "status": {"code": if self.failed { 2 } else { 0 }},
        })
    }
}

fn attributes(list: &[(&'static str, Value)]) -> Value {
    let value = |value: &Value| match value {
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    list.iter().map(|(key, what)| json!({"key": key, "value": value(what)})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_callers_trace_goes_on_and_others_begin_by_chance() {
        let headers: HeaderMap = [(TRACEPARENT.parse().unwrap(), CALLER.parse().unwrap())].into_iter().collect();
        let (context, parent) = Context::begin(&headers, 0.0, 0.5, (1, 2));
        assert_eq!(context.header(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000002-01");
        assert_eq!(parent, Some(0x00f0_67aa_0ba9_02b7));
        let none = HeaderMap::new();
        assert_eq!(Context::begin(&none, 0.4, 0.5, (1, 2)).0.header(), format!("00-{:032x}-{:016x}-00", 1, 2));
        assert!(Context::begin(&none, 0.6, 0.5, (1, 2)).0.is_sampled);
    }

    #[test]
    fn what_is_no_context_is_none() {
        assert_eq!(Context::read(CALLER).map(|context| context.header()).as_deref(), Some(CALLER));
        let cut = &CALLER[..54];
        for wrong in ["", "00", cut, &CALLER.replace('4', "x"), &CALLER.replacen("00", "ff", 1)] {
            assert_eq!(Context::read(wrong), None, "{wrong}");
        }
        let zero = format!("00-{:032x}-{:016x}-01", 0, 1);
        assert_eq!(Context::read(&zero), None);
    }

    #[test]
    fn a_span_is_written_as_a_collector_reads_it() {
        let span = Span {
            context: Context::read(CALLER).unwrap(),
            parent: Some(1),
            kind: Kind::Client,
            name: "chat m".into(),
            began: SystemTime::UNIX_EPOCH + Duration::from_nanos(5),
            attributes: vec![("a", 1.into()), ("b", 0.5.into()), ("c", "x".into()), ("d", true.into())],
            failed: true,
        };
        let document = document(&[(span, SystemTime::UNIX_EPOCH + Duration::from_nanos(9))]);
        let span = &document["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((&span["parentSpanId"], &span["kind"]), (&json!("0000000000000001"), &json!(3)));
        assert_eq!((&span["startTimeUnixNano"], &span["endTimeUnixNano"]), (&json!("5"), &json!("9")));
        assert_eq!(span["status"]["code"], 2);
        let values: Vec<&Value> = span["attributes"].as_array().unwrap().iter().map(|each| &each["value"]).collect();
        let expected = [
            json!({"intValue": "1"}),
            json!({"doubleValue": 0.5}),
            json!({"stringValue": "x"}),
            json!({"boolValue": true}),
        ];
        assert_eq!(values, expected.iter().collect::<Vec<_>>());
    }
}
