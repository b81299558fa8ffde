//! Traces.

/// The arguments that name traces.
pub(crate) fn named() -> Vec<String> {
    let traces: Vec<String> = std::env::args().skip(1).filter(|argument| argument.ends_with(".jsonl")).collect();
    if traces.is_empty() {
        eprintln!("name the traces to use: cargo bench --bench NAME -- TRACE.jsonl…");
    }
    traces
}

/// Pairs of prompt and group, `limit` of them at most.
pub(crate) fn read(path: &str, limit: usize) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).expect("the trace");
    text.lines()
        .take(limit)
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
            let field = |name: &str| line[name].as_str().expect("prompt and group").to_owned();
            (field("prompt"), field("group"))
        })
        .collect()
}
