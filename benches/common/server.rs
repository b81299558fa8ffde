//! The built `refrain` as a process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A process that ends with the benchmark.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it on a free port, with settings by their environment variables; returns its address.
pub(crate) fn start(data: &Path, settings: &[(&str, &str)]) -> (Process, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_refrain"))
        .arg("serve")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("REFRAIN_SERVER__LISTEN", "127.0.0.1:0")
        .env("REFRAIN_STORAGE__PATH", data)
        .env("REFRAIN_LOG__FORMAT", "json")
        .envs(settings.iter().copied())
        .stderr(Stdio::piped())
        .spawn()
        .expect("refrain");
    let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
        .find_map(|line| Some(line["fields"]["address"].as_str()?.to_owned()))
        .expect("refrain listening");
    // Read on, or its log would block it.
    std::thread::spawn(move || lines.for_each(drop));
    (Process(child), address)
}
