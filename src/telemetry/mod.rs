//! What can be watched: metric names, and how logs look. Prompt texts never reach either.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

mod cache_labels;

pub use cache_labels::CacheLabels;

use crate::config;

const LOOKUPS: &str = "refrain_lookups_total";
const CURATED_HITS: &str = "refrain_curated_hits_total";
const VECTORS: &str = "refrain_embedding_inputs_total";
const STORES: &str = "refrain_stores_total";
const LABELS: &str = "refrain_labels_total";
const LABELS_LOST: &str = "refrain_labels_lost_total";
const ALARM: &str = "refrain_drift_alarm";
const STEP: &str = "refrain_step_seconds";
const EMBED_BATCH: &str = "refrain_embed_batch_texts";
const EMBED_TOKENS: &str = "refrain_embed_batch_tokens";
const EMBED_QUEUE: &str = "refrain_embed_queue_texts";
const EMBEDDINGS: &str = "refrain_embeddings_total";
const DEGRADED: &str = "refrain_degraded_total";
const UPSTREAM: &str = "refrain_upstream_responses_total";
const RETRIES: &str = "refrain_upstream_failed_tries_total";
const JUDGED: &str = "refrain_judgements_total";
const RELOADS: &str = "refrain_reloads_total";
const LIMITED: &str = "refrain_limited_total";
const TOKENS: &str = "refrain_provider_tokens_total";
const COST: &str = "refrain_cost_microdollars_total";
const SAVED: &str = "refrain_saved_microdollars_total";
const SAVED_TOKENS: &str = "refrain_saved_tokens_total";
const ENTRIES: &str = "refrain_entries";
const SCOPES: &str = "refrain_scopes";
const UNLINKED: &str = "refrain_index_unlinked";
const LOADED: &str = "refrain_index_loaded_ratio";
const REEMBEDDED: &str = "refrain_reembedded_ratio";
const HELD: &str = "refrain_held_bytes";
const LEARNED: &str = "refrain_learned_bytes";
const EVICTED: &str = "refrain_evictions_total";

/// Upper bounds of the step histogram's buckets in seconds: from a point read to a slow model's answer.
const STEP_BUCKETS: [f64; 17] =
    [0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0, 60.0];

/// A step in the life of a request whose duration is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The exact lookup.
    Exact,
    /// An embedding as its caller sees it: waiting and running.
    Embed,
    /// A text waiting for its batch.
    EmbedWait,
    /// A batch in the model.
    EmbedRun,
    /// The nearest neighbours' search.
    Search,
    /// The decision.
    Decide,
    /// The durable write and the index insert.
    Store,
    /// Until the provider's response head.
    Upstream,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Embed => "embed",
            Self::EmbedWait => "embed_wait",
            Self::EmbedRun => "embed_run",
            Self::Search => "search",
            Self::Decide => "decide",
            Self::Store => "store",
            Self::Upstream => "upstream",
        }
    }
}

/// Installs the metrics recorder. Returns the handle that renders them.
///
/// # Errors
/// Where a recorder is installed already.
pub fn install_metrics() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(STEP.into()), &STEP_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(EMBED_BATCH.into()), &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])?
        .set_buckets_for_metric(
            Matcher::Full(EMBED_TOKENS.into()),
            &[8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0],
        )?
        .install_recorder()?;
    describe_counter!(LOOKUPS, "Lookups by tenant, cache and outcome");
    describe_counter!(
        VECTORS,
        "Inputs of requests for a provider's embeddings, by cache and whether their vectors were known"
    );
    describe_counter!(STORES, "Stores by cache and result");
    describe_counter!(LABELS, "Labels of best candidates by cache, source and what they say");
    describe_counter!(
        LABELS_LOST,
        "Decisions by cache whose answer would have been a label and that had to make room before it came"
    );
    describe_gauge!(ALARM, "1 while a cache answers equal texts only, because its answers have changed");
    describe_histogram!(STEP, "Seconds that each step of a request took");
    describe_histogram!(EMBED_BATCH, "Texts per embedding batch");
    describe_histogram!(EMBED_TOKENS, "Tokens per embedding batch");
    describe_gauge!(EMBED_QUEUE, "Texts that wait to be embedded or are being embedded");
    describe_counter!(EMBEDDINGS, "Embeddings by where they came from");
    describe_counter!(DEGRADED, "Requests that went on without the cache, by the part that failed them");
    describe_counter!(UPSTREAM, "Provider responses by provider and status class");
    describe_counter!(RETRIES, "Tries by provider that came to nothing and left room for another one");
    describe_counter!(JUDGED, "Pairs of answers that a model was to compare, by what it said");
    describe_counter!(RELOADS, "How often the settings were read again, by result");
    describe_counter!(LIMITED, "Requests that were turned away, by the limit");
    describe_counter!(TOKENS, "Tokens that providers read and wrote, as far as they tell");
    describe_counter!(COST, "Millionths of a dollar that providers cost, as far as prices are set");
    describe_counter!(SAVED, "Millionths of a dollar that answers from the cache and shared calls spared");
    describe_counter!(SAVED_TOKENS, "Tokens that answers from the cache and shared calls spared");
    describe_gauge!(ENTRIES, "Entries in the semantic index");
    describe_gauge!(SCOPES, "Scopes in the semantic index");
    describe_gauge!(UNLINKED, "Entries that are scanned until the graph that should have them does");
    describe_gauge!(REEMBEDDED, "How many of the vectors have been made anew with another model, from 0 to 1");
    describe_gauge!(LOADED, "How much of the semantic index has been loaded since the start, from 0 to 1");
    describe_gauge!(LEARNED, "Bytes of memory that what caches have learned and decided takes, about");
    describe_gauge!(HELD, "Bytes that all entries take on disk, before compression");
    describe_counter!(EVICTED, "Entries that had to go because there was no room for them");
    Ok(handle)
}

/// Sends log events to standard error.
///
/// # Errors
/// Where the filter isn't understood.
pub fn install_logs(log: &config::Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.level).map_err(|error| format!("log.level = {:?}: {error}", log.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match log.format {
        config::LogFormat::Text => builder.try_init(),
        config::LogFormat::Json => builder.json().try_init(),
    };
    installed.map_err(|error| error.to_string())
}

/// What lies at the bottom of an error, for the log: callers are told the top.
#[must_use]
pub fn cause(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

/// A step ended after `duration`.
pub fn step(step: Step, duration: Duration) {
    histogram!(STEP, "step" => step.name()).record(duration);
}

/// A lookup in `cache` ended with `outcome`.
pub fn lookup(cache: &CacheLabels, outcome: &'static str) {
    counter!(LOOKUPS, "tenant" => cache.tenant(), "cache" => cache.cache(), "outcome" => outcome).increment(1);
}

/// A lookup in `cache` was answered with a curated entry.
pub fn curated_hit(cache: &CacheLabels) {
    counter!(CURATED_HITS, "tenant" => cache.tenant(), "cache" => cache.cache()).increment(1);
}

/// A request for vectors found so many in `cache`, and so many not.
pub fn vectors(cache: &CacheLabels, known: usize, unknown: usize) {
    for (outcome, count) in [("hit", known), ("miss", unknown)] {
        counter!(VECTORS, "tenant" => cache.tenant(), "cache" => cache.cache(), "outcome" => outcome)
            .increment(count as u64);
    }
}

/// A store in `cache` ended with `result`.
pub fn store(cache: &CacheLabels, result: &'static str) {
    counter!(STORES, "tenant" => cache.tenant(), "cache" => cache.cache(), "result" => result).increment(1);
}

/// A label of `source` came for a decision of `cache`: its best candidate was right, or wasn't.
pub fn label(cache: &CacheLabels, source: &'static str, right: bool) {
    let right = if right { "right" } else { "wrong" };
    counter!(LABELS, "tenant" => cache.tenant(), "cache" => cache.cache(), "source" => source, "label" => right)
        .increment(1);
}

/// So many decisions of `cache` are no longer waited for: their answers will be no labels.
pub fn labels_lost(cache: &CacheLabels, lost: usize) {
    counter!(LABELS_LOST, "tenant" => cache.tenant(), "cache" => cache.cache()).increment(lost as u64);
}

/// Answers of `cache` are known to have changed, or no longer.
pub fn drift_alarm(cache: &CacheLabels, is_on: bool) {
    // What several share says nothing of any of them.
    if cache.is_own() {
        gauge!(ALARM, "tenant" => cache.tenant(), "cache" => cache.cache()).set(f64::from(u8::from(is_on)));
    }
}

/// A batch of `texts` texts (or windows of long ones) of `tokens` tokens together was embedded.
#[expect(clippy::cast_precision_loss, reason = "batches are small")]
pub fn embed_batch(texts: usize, tokens: usize) {
    histogram!(EMBED_BATCH).record(texts as f64);
    histogram!(EMBED_TOKENS).record(tokens as f64);
}

/// `texts` texts wait to be embedded or are being embedded.
#[expect(clippy::cast_precision_loss, reason = "queues are short")]
pub fn embed_queue(texts: usize) {
    gauge!(EMBED_QUEUE).set(texts as f64);
}

/// Where an embedding came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingSource {
    /// The model computed it.
    Computed,
    /// It was computed for an equal text at the same time.
    Joined,
    /// It was computed for an equal text before.
    Memo,
}

/// A text got its embedding.
pub fn embedding(source: EmbeddingSource) {
    let source = match source {
        EmbeddingSource::Computed => "computed",
        EmbeddingSource::Joined => "joined",
        EmbeddingSource::Memo => "memo",
    };
    counter!(EMBEDDINGS, "source" => source).increment(1);
}

/// A request went on without the cache because `part` failed.
pub fn degraded(part: &'static str) {
    counter!(DEGRADED, "part" => part).increment(1);
}

/// `provider` answered with `status`, or not at all.
pub fn upstream(provider: &str, status: Option<u16>) {
    let class = match status {
        Some(200..=299) => "2xx",
        Some(300..=399) => "3xx",
        Some(400..=499) => "4xx",
        Some(_) => "5xx",
        None => "unreachable",
    };
    counter!(UPSTREAM, "provider" => provider.to_owned(), "status" => class).increment(1);
}

/// A try of `provider` came to nothing.
pub fn retry(provider: &str) {
    counter!(RETRIES, "provider" => provider.to_owned()).increment(1);
}

/// The judge was asked whether two answers say the same, and what came of it.
pub fn judged(what: &'static str) {
    counter!(JUDGED, "judgement" => what).increment(1);
}

/// The settings were read again, with or without success.
pub fn reloaded(is_ok: bool) {
    counter!(RELOADS, "result" => if is_ok { "ok" } else { "refused" }).increment(1);
}

/// A request was turned away by a limit of its `key`, its `model`, or of what its tenant may `spend`.
pub fn limited(by: &'static str) {
    counter!(LIMITED, "limit" => by).increment(1);
}

/// `provider` read and wrote so much.
pub fn tokens(provider: &str, input: u64, output: u64) {
    counter!(TOKENS, "provider" => provider.to_owned(), "kind" => "input").increment(input);
    counter!(TOKENS, "provider" => provider.to_owned(), "kind" => "output").increment(output);
}

/// A request cost, or saved, so much.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "micro-dollars of one request")]
pub fn money(cost: f64, saved: f64, saved_tokens: u64) {
    let micros = |dollars: f64| (dollars * 1e6).round().max(0.0) as u64;
    counter!(COST).increment(micros(cost));
    counter!(SAVED).increment(micros(saved));
    counter!(SAVED_TOKENS).increment(saved_tokens);
}

/// The semantic index holds `entries` in `scopes`, of which `unlinked` wait to become part of a graph.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn index_size(entries: usize, scopes: usize, unlinked: usize) {
    gauge!(ENTRIES).set(entries as f64);
    gauge!(SCOPES).set(scopes as f64);
    gauge!(UNLINKED).set(unlinked as f64);
}

/// `count` of about `all` vectors are loaded.
#[expect(clippy::cast_precision_loss, reason = "a share needs no 2^53 precision")]
pub fn index_loaded(count: u64, all: u64) {
    gauge!(LOADED).set((count as f64 / all.max(1) as f64).min(1.0));
}

/// `count` of about `all` vectors are made anew.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
pub fn reembedded(count: u64, all: u64) {
    gauge!(REEMBEDDED).set((count as f64 / all.max(1) as f64).min(1.0));
}

/// All entries together take `bytes`.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn held(bytes: u64) {
    gauge!(HELD).set(bytes as f64);
}

/// What caches have learned and decided takes so many bytes of memory.
#[expect(clippy::cast_precision_loss, reason = "gauges are f64")]
pub fn learned(bytes: u64) {
    gauge!(LEARNED).set(bytes as f64);
}

/// So many entries had to go.
pub fn evicted(entries: u64) {
    counter!(EVICTED).increment(entries);
}
