//! What the cache and the router cost and save, through HTTP: `cargo bench --bench proxy`.
//!
//! Three processes: a fast fake provider (this program, started again), the built `refrain`, and the load generator. All
//! rows come from one run on one machine, so their ratios mean something where their values don't.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops where it can't go on")]

#[path = "common/server.rs"]
mod server;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use server::Process;

const SECONDS: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_millis(500);
/// Between two rows, for what goes on behind replies to end: misses are embedded and stored there.
const SETTLE: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 16;
const UPSTREAM: &str = "upstream";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if std::env::args().any(|argument| argument == UPSTREAM) {
        runtime.block_on(upstream());
    } else {
        runtime.block_on(measure());
    }
}

/// A provider that answers at once.
async fn upstream() {
    let answer = |body: String| async move {
        let kind = |kind: &'static str| [(axum::http::header::CONTENT_TYPE, kind)];
        if body.contains("\"stream\":true") {
            (kind("text/event-stream"), EVENTS.to_owned())
        } else {
            (kind("application/json"), COMPLETION.to_owned())
        }
    };
    let routes = axum::Router::new().route("/v1/chat/completions", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    axum::serve(listener, routes).await.expect("to serve");
}

const COMPLETION: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Paris is the capital of France."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16}}"#;
const EVENTS: &str = concat!(
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Paris\"}}]}\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n"
);

fn start_upstream() -> (Process, SocketAddr) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program).arg(UPSTREAM).stdout(Stdio::piped()).spawn().expect("the upstream");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its address");
    (Process(child), line.trim().parse().expect("an address"))
}

fn start_refrain(upstream: SocketAddr, data: &std::path::Path) -> (Process, String) {
    let provider = format!("http://{upstream}/v1");
    // A rule that learns would learn that every prompt has the same answer here, and serve it.
    let settings = [("REFRAIN_PROVIDERS__FAKE__BASE_URL", &*provider), ("REFRAIN_CACHES__DEFAULT__POLICY", "static")];
    let (process, address) = server::start(data, &settings);
    (process, format!("http://{address}"))
}

/// One kind of request.
#[derive(Clone)]
struct Load {
    client: reqwest::Client,
    url: String,
    cache_control: &'static str,
    stream: bool,
    /// Makes each request's text (and with it, or without, its system prompt).
    ask: fn(u64) -> (String, String),
    expect: &'static str,
}

impl Load {
    /// Microseconds until the first byte of the body and until its end.
    async fn send(&self, n: u64) -> (f64, f64) {
        let (system, text) = (self.ask)(n);
        let body = json!({"model": "m", "stream": self.stream, "messages": [
            {"role": "system", "content": system}, {"role": "user", "content": text}]});
        let started = Instant::now();
        let mut request = self.client.post(format!("{}/v1/chat/completions", self.url)).body(body.to_string());
        if !self.cache_control.is_empty() {
            request = request.header("cache-control", self.cache_control);
        }
        let response = request.send().await.expect("an answer");
        let status = response.headers().get("x-cache-status").and_then(|value| value.to_str().ok()).unwrap_or("");
        assert!(response.status().is_success() && status == self.expect, "{status} instead of {}", self.expect);
        let mut body = response.bytes_stream();
        let _ = body.next().await;
        let first = started.elapsed();
        while body.next().await.is_some() {}
        (first.as_secs_f64() * 1e6, started.elapsed().as_secs_f64() * 1e6)
    }

    /// Requests per second with many connections, and sorted microseconds until the end of each.
    async fn flood(&self) -> (f64, Vec<f64>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let started = Instant::now();
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let load = self.clone();
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while started.elapsed() < WARM_UP + SECONDS {
                        let (_, end) = load.send(NEXT.fetch_add(1, Ordering::Relaxed)).await;
                        if started.elapsed() > WARM_UP {
                            times.push(end);
                        }
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for worker in workers {
            times.extend(worker.await.expect("a worker"));
        }
        times.sort_by(f64::total_cmp);
        (times.len() as f64 / SECONDS.as_secs_f64(), times)
    }

    /// Sorted microseconds until the first byte and until the end, one request after the other.
    async fn alone(&self) -> (Vec<f64>, Vec<f64>) {
        static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
        let started = Instant::now();
        let (mut first, mut end) = (Vec::new(), Vec::new());
        while started.elapsed() < WARM_UP + SECONDS {
            let (a, b) = self.send(NEXT.fetch_add(1, Ordering::Relaxed)).await;
            if started.elapsed() > WARM_UP {
                first.push(a);
                end.push(b);
            }
        }
        first.sort_by(f64::total_cmp);
        end.sort_by(f64::total_cmp);
        (first, end)
    }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q) as usize] / 1000.0
}

fn same(_: u64) -> (String, String) {
    ("Be brief.".into(), "What is the capital of France?".into())
}

/// Texts of eight words drawn from a hundred, too far apart for the threshold, all in one scope.
fn different(n: u64) -> (String, String) {
    let mut state = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut word = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        WORDS[(state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % WORDS.len()]
    };
    let words: Vec<&str> = (0..8).map(|_| word()).collect();
    ("Be brief.".into(), words.join(" "))
}

const WORDS: [&str; 100] = [
    "anchor",
    "bakery",
    "cactus",
    "drum",
    "engine",
    "feather",
    "garden",
    "hammer",
    "island",
    "jacket",
    "kettle",
    "ladder",
    "magnet",
    "needle",
    "orchard",
    "pencil",
    "quarry",
    "ribbon",
    "saddle",
    "temple",
    "umbrella",
    "violin",
    "window",
    "yacht",
    "zebra",
    "algebra",
    "battery",
    "cathedral",
    "diamond",
    "election",
    "forest",
    "glacier",
    "harvest",
    "insurance",
    "jungle",
    "kingdom",
    "lawyer",
    "mortgage",
    "novel",
    "opera",
    "parliament",
    "quilt",
    "railway",
    "satellite",
    "tornado",
    "university",
    "vaccine",
    "whisky",
    "xylophone",
    "yoghurt",
    "asteroid",
    "bicycle",
    "carpet",
    "dentist",
    "elephant",
    "fountain",
    "guitar",
    "hospital",
    "iceberg",
    "jewel",
    "keyboard",
    "lemon",
    "mountain",
    "notebook",
    "ocean",
    "pyramid",
    "queen",
    "robot",
    "spider",
    "tractor",
    "uncle",
    "volcano",
    "waterfall",
    "axe",
    "bridge",
    "candle",
    "desert",
    "envelope",
    "factory",
    "ghost",
    "honey",
    "inflation",
    "judge",
    "knight",
    "library",
    "mirror",
    "nurse",
    "onion",
    "pension",
    "quiz",
    "river",
    "soldier",
    "tunnel",
    "urine",
    "village",
    "wedding",
    "oxygen",
    "pirate",
    "poem",
    "salary",
];

/// A system prompt, and so a scope, of its own for each, as in long conversations.
fn own_scope(n: u64) -> (String, String) {
    (format!("You are assistant number {n}."), "What is the capital of France?".into())
}

async fn measure() {
    let (_upstream, upstream) = start_upstream();
    let data = tempfile::tempdir().expect("a directory");
    let (_refrain, refrain) = start_refrain(upstream, data.path());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().tcp_nodelay(true).no_proxy().build().expect("a client");
    let load = |url: &str, cache_control, ask, expect| Load {
        client: client.clone(),
        url: url.to_owned(),
        cache_control,
        stream: false,
        ask,
        expect,
    };
    let direct = load(&format!("http://{upstream}"), "", same, "");
    let off = load(&refrain, "no-cache, no-store", same, "Refresh");
    let miss = load(&refrain, "", different, "Miss");
    let cold = load(&refrain, "", own_scope, "Miss");
    let hit = load(&refrain, "", same, "Hit");
    load(&refrain, "no-cache", same, "Refresh").send(0).await;

    println!("whole answers, {CONNECTIONS} connections      requests/s    p50 ms    p99 ms");
    let mut rates = Vec::new();
    for (name, load) in [
        ("upstream alone", &direct),
        ("forwarded, cache off", &off),
        ("forwarded, miss, own scope each", &cold),
        ("forwarded, miss, one scope", &miss),
        ("exact hit", &hit),
    ] {
        tokio::time::sleep(SETTLE).await;
        let (rate, times) = load.flood().await;
        println!("{name:36} {rate:10.0}  {:8.3}  {:8.3}", quantile(&times, 0.5), quantile(&times, 0.99));
        rates.push(rate);
    }
    let [_, off_rate, cold_rate, miss_rate, hit_rate] = rates[..] else { return };
    println!(
        "an exact hit against a forwarded request: {:.1} times a miss, {:.1} times one in a scope of its own, {:.1} times \
         one with the cache off\n",
        hit_rate / miss_rate,
        hit_rate / cold_rate,
        hit_rate / off_rate
    );

    println!("one request after the other         first byte p50 ms    end p50 ms   end p99 ms");
    let streamed = |load: &Load| Arc::new(Load { stream: true, ..load.clone() });
    let mut firsts = Vec::new();
    for (name, load) in [
        ("stream, upstream alone", streamed(&direct)),
        ("stream, cache off", streamed(&off)),
        ("stream, miss, own scope each", streamed(&cold)),
        ("stream, miss, one scope", streamed(&miss)),
        ("stream, exact hit", streamed(&hit)),
        ("whole, exact hit", Arc::new(hit.clone())),
    ] {
        tokio::time::sleep(SETTLE).await;
        let (first, end) = load.alone().await;
        println!(
            "{name:36} {:16.3}  {:12.3} {:12.3}",
            quantile(&first, 0.5),
            quantile(&end, 0.5),
            quantile(&end, 0.99)
        );
        firsts.push(quantile(&first, 0.5));
    }
    println!(
        "added to a stream's first byte at p50: {:.3} ms with the cache off, {:.3} ms by a miss in a scope of its own, \
         {:.3} ms by a miss that embeds its prompt",
        firsts[1] - firsts[0],
        firsts[2] - firsts[0],
        firsts[3] - firsts[0]
    );
}
