//! A line for each request, as JSON, in the names that OpenTelemetry gives to what generative models are asked.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::config;
use crate::router::Tokens;
use crate::telemetry;

/// Lines that may wait to be written; beyond, they are counted and dropped.
const QUEUE: usize = 10_000;

/// What is told of a request.
pub(super) struct Line {
    pub(super) tenant: String,
    pub(super) model: String,
    pub(super) provider: String,
    /// The provider's name of the model.
    pub(super) answered_as: Option<String>,
    pub(super) status: u16,
    pub(super) attempts: usize,
    pub(super) outcome: &'static str,
    pub(super) decision: Option<String>,
    pub(super) tokens: Option<Tokens>,
    pub(super) seconds: f64,
    pub(super) first_byte: Option<f64>,
}

/// Where lines go. One thread writes them, so that no request waits for a disk.
#[derive(Default)]
pub(super) struct AccessLog {
    lines: OnceLock<SyncSender<(String, String)>>,
    count: std::sync::atomic::AtomicU64,
}

impl AccessLog {
    /// Writes a line, if one is wanted.
    pub(super) fn write(&self, settings: &config::AccessLog, line: impl FnOnce() -> Line) {
        let Some(to) = &settings.to else { return };
        let count = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let line = line();
        if line.status < 400 && !is_sampled(count, settings.sample) {
            return;
        }
        let lines = self.lines.get_or_init(|| {
            let (sender, receiver) = sync_channel(QUEUE);
            let spawned = std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(&receiver));
            if let Err(error) = spawned {
                tracing::error!(%error, "the access log can't be written");
            }
            sender
        });
        if lines.try_send((to.clone(), line.json().to_string())).is_err() {
            telemetry::degraded("access_log");
        }
    }
}

/// Evenly spread: of ten at a tenth, one.
fn is_sampled(count: u64, share: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a share of requests")]
    let whole = |count: u64| (count as f64 * share).floor();
    whole(count + 1) > whole(count)
}

fn write_all(lines: &Receiver<(String, String)>) {
    while let Ok(first) = lines.recv() {
        let waiting: Vec<_> = std::iter::once(first).chain(lines.try_iter().take(QUEUE)).collect();
        // The settings may have changed in between.
        for run in waiting.chunk_by(|a, b| a.0 == b.0) {
            let to = run.first().map_or("", |(to, _)| to);
            let text: String = run.iter().map(|(_, line)| format!("{line}\n")).collect();
            if let Err(error) = append(to, &text) {
                telemetry::degraded("access_log");
                tracing::warn!(%error, to, "lines of the access log could not be written");
            }
        }
    }
}

fn append(to: &str, text: &str) -> std::io::Result<()> {
    if to == "stdout" {
        return std::io::stdout().lock().write_all(text.as_bytes());
    }
    // Opened anew, so that it can be moved away at any time.
    OpenOptions::new().create(true).append(true).open(to)?.write_all(text.as_bytes())
}

impl Line {
    fn json(&self) -> Value {
        let mut line = json!({
            "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": self.model,
            "http.response.status_code": self.status,
            "gen_ai.client.operation.duration": rounded(self.seconds),
            "refrain.tenant": self.tenant,
            "refrain.outcome": self.outcome,
            "refrain.attempts": self.attempts,
        });
        let mut put = |name: &str, value: Option<Value>| {
            if let (Some(value), Some(members)) = (value, line.as_object_mut()) {
                members.insert(name.to_owned(), value);
            }
        };
        put("gen_ai.provider.name", (!self.provider.is_empty()).then(|| self.provider.clone().into()));
        put("gen_ai.response.model", self.answered_as.clone().map(Value::from));
        put("gen_ai.server.time_to_first_token", self.first_byte.map(|seconds| rounded(seconds).into()));
        put("gen_ai.usage.input_tokens", self.tokens.map(|tokens| tokens.input.into()));
        put("gen_ai.usage.output_tokens", self.tokens.map(|tokens| tokens.output.into()));
        put("refrain.decision", self.decision.clone().map(Value::from));
        put("error.type", (self.status >= 400).then(|| self.status.to_string().into()));
        line
    }
}

/// Microseconds are enough.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_requests_is_sampled_evenly() {
        let sampled = |share: f64| (0..1000).filter(|count| is_sampled(*count, share)).count();
        assert_eq!([sampled(0.0), sampled(0.1), sampled(0.25), sampled(1.0)], [0, 100, 250, 1000]);
    }
}
