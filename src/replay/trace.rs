//! Prompt traces: one JSON object a line.

use std::io::BufRead;

use serde::Deserialize;

/// A request of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Request {
    /// What is asked.
    pub prompt: String,
    /// Requests of one group have the same right answer.
    pub group: String,
}

/// Requests in their order, and what couldn't be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Those that could be.
    pub requests: Vec<Request>,
    /// Lines that are no request, by their number, and why; some of them.
    pub broken: Vec<(u64, String)>,
    /// How many those are.
    pub skipped: u64,
}

impl Trace {
    /// Broken lines that are told at most.
    const TOLD: usize = 20;

    /// Reads lines, `most` requests of them. Other members than `prompt` and `group` are passed over.
    ///
    /// # Errors
    /// Where the lines can't be read. What is wrong with one line is told in the trace.
    pub fn read(lines: impl BufRead, most: usize) -> std::io::Result<Self> {
        let mut trace = Self::default();
        for (number, line) in (1..).zip(lines.split(b'\n')) {
            let line = line?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            if trace.requests.len() == most {
                break;
            }
            match serde_json::from_slice::<Request>(&line) {
                Ok(request) if request.prompt.is_empty() => trace.skip(number, "its prompt is empty".into()),
                Ok(request) => trace.requests.push(request),
                Err(error) => trace.skip(number, error.to_string()),
            }
        }
        Ok(trace)
    }

    fn skip(&mut self, number: u64, why: String) {
        self.skipped += 1;
        if self.broken.len() < Self::TOLD {
            self.broken.push((number, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lines_are_numbered_and_the_others_read() {
        let text = b"{\"prompt\": \"a\", \"group\": \"g\", \"at\": 5}\n\n{\n{\"prompt\": \"b\"}\n{\"prompt\": \"\", \"group\": \"g\"}\n\xff\n{\"prompt\": \"c\", \"group\": \"h\"}";
        let trace = Trace::read(&text[..], usize::MAX).unwrap();
        let prompts: Vec<&str> = trace.requests.iter().map(|request| request.prompt.as_str()).collect();
        let broken: Vec<u64> = trace.broken.iter().map(|(number, _)| *number).collect();
        assert_eq!((prompts.as_slice(), broken.as_slice(), trace.skipped), (&["a", "c"][..], &[3, 4, 5, 6][..], 4));
        assert_eq!(Trace::read(&text[..], 1).unwrap().requests.len(), 1);
    }
}
