//! Milliseconds per text and texts per second of each engine, and what HTTP adds: `cargo bench --bench embed`. The engines'
//! part is `refrain bench embed`, which can be told what to measure.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops where it can't go on")]

#[path = "common/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use refrain::cli::bench::{EmbedOptions, embed};
use refrain::config;
use refrain::embed::Model;

/// Texts that are embedded each way.
const TEXTS: u64 = 2000;

fn main() {
    let settings = config::Embedding::default();
    if !std::env::args().any(|argument| argument == "http") {
        embed(&settings, &EmbedOptions::default()).expect("the model (refrain model fetch)");
    }
    let model = Model::load(&settings).expect("the model (refrain model fetch)");
    let data = tempfile::tempdir().expect("a directory");
    let (_refrain, address) = server::start(data.path(), &[]);
    let connection = TcpStream::connect(address).expect("a connection");
    connection.set_nodelay(true).expect("to be set");
    let mut connection = BufReader::new(connection);
    // One way and the other in turns, so that both see the same noise.
    let (mut own, mut through) = (Vec::new(), Vec::new());
    for n in 0..TEXTS {
        let started = Instant::now();
        model.embed(&text(2 * n)).expect("an embedding");
        own.push(started.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        request(&mut connection, &text(2 * n + 1));
        through.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let (own, through) = (median(own), median(through));
    println!("\none text of 16 tokens, alone: {own:.3} ms by a call, {through:.3} ms through /v1/embeddings (p50)");
}

/// 16 tokens, special ones included, and never the same ones twice.
fn text(n: u64) -> String {
    const WORDS: [&str; 16] = [
        "river", "stone", "paper", "green", "window", "table", "chair", "music", "silver", "yellow", "garden",
        "winter", "summer", "coffee", "orange", "market",
    ];
    let words: Vec<&str> = (0..14).map(|place| WORDS[(n >> (4 * (place % 5))) as usize % 16]).collect();
    words.join(" ")
}

fn request(connection: &mut BufReader<TcpStream>, text: &str) {
    let body = format!(r#"{{"model":"all-MiniLM-L6-v2","input":"{text}","encoding_format":"base64"}}"#);
    let head = format!("POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
    let request = format!("{head}content-type: application/json\r\n\r\n{body}");
    connection.get_mut().write_all(request.as_bytes()).expect("to be sent");
    let mut length = 0;
    for line in connection.lines() {
        let line = line.expect("a head").to_lowercase();
        assert!(!line.starts_with("http/1.1 ") || line.contains(" 200 "), "{line}");
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().expect("a length");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).expect("a body");
    assert!(body.starts_with(b"{") && length > 2000);
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
