//! Watching a stream that passes through: whether its end mark has come.

use std::sync::Arc;

use super::reply::Progress;
use crate::llm::{Event, FormatId, Terminal};

/// The longest event that is looked into. A stream with a longer one is passed through without knowing how it ends.
const MAX_EVENT: usize = 1 << 20;

/// Finds the events in the bytes of a stream, however they are cut.
#[derive(Debug, Default)]
pub(super) struct EventScanner {
    line: Vec<u8>,
    event: Event,
    after_carriage_return: bool,
    is_oversized: bool,
    /// Whether an event was too long to be looked into.
    pub(super) has_skipped: bool,
}

impl EventScanner {
    /// More of the stream. `each` is called for every event that is complete with it.
    pub(super) fn feed(&mut self, mut piece: &[u8], mut each: impl FnMut(&Event)) {
        while let Some(&first) = piece.first() {
            if first == b'\n' && std::mem::take(&mut self.after_carriage_return) {
                piece = &piece[1..];
                continue;
            }
            self.after_carriage_return = false;
            let Some(end) = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.keep(piece);
            };
            self.keep(&piece[..end]);
            self.after_carriage_return = piece[end] == b'\r';
            piece = &piece[end + 1..];
            self.end_line(&mut each);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.line.len() + self.event.data.len() + bytes.len() > MAX_EVENT {
            self.is_oversized = true;
            self.has_skipped = true;
            self.line.clear();
            self.event.data.clear();
        }
        // An event that is too long still has to be told from an empty line.
        if !self.is_oversized {
            self.line.extend_from_slice(bytes);
        } else if self.line.is_empty() {
            self.line.extend(bytes.first());
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(&Event)) {
        if self.line.is_empty() {
            let has_something = !self.event.data.is_empty() || !self.event.name.is_empty();
            if has_something && !self.is_oversized {
                each(&self.event);
            }
            self.event.name.clear();
            self.event.data.clear();
            self.is_oversized = false;
            return;
        }
        let line = String::from_utf8_lossy(&self.line);
        if let Some(data) = line.strip_prefix("data:") {
            if !self.event.data.is_empty() {
                self.event.data.push('\n');
            }
            self.event.data.push_str(data.strip_prefix(' ').unwrap_or(data));
        } else if let Some(name) = line.strip_prefix("event:") {
            self.event.name = name.trim().to_owned();
        }
        drop(line);
        self.line.clear();
    }
}

/// What is known of a stream's end so far.
#[derive(Debug)]
pub(super) struct EndWatch {
    format: FormatId,
    scanner: EventScanner,
    terminal: Option<Terminal>,
    progress: Arc<Progress>,
}

impl EndWatch {
    /// Of a stream in `format`. `progress` is told how far it has come.
    pub(super) fn new(format: FormatId, progress: Arc<Progress>) -> Self {
        Self { format, scanner: EventScanner::default(), terminal: None, progress }
    }

    /// More of the stream.
    pub(super) fn see(&mut self, piece: &[u8]) {
        let (format, terminal) = (self.format.format(), &mut self.terminal);
        self.scanner.feed(piece, |event| *terminal = format.terminal(event).or(*terminal));
        match self.terminal {
            Some(Terminal::End) => self.progress.end(),
            Some(Terminal::Whole) => self.progress.reason(),
            Some(Terminal::Error) | None => {}
        }
    }

    /// The stream has ended; its last event may lack the empty line that ends one.
    pub(super) fn end(&mut self) {
        self.see(b"\n\n");
    }

    /// Whether nothing that matters can follow.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.terminal, Some(Terminal::End | Terminal::Error))
    }

    /// Whether a stream that ends here is whole, or nobody can tell.
    pub(super) fn may_end(&self) -> bool {
        self.terminal.is_some() || self.scanner.has_skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str, size: usize) -> Vec<(String, String)> {
        let (mut scanner, mut events) = (EventScanner::default(), Vec::new());
        for piece in text.as_bytes().chunks(size) {
            scanner.feed(piece, |event| events.push((event.name.clone(), event.data.clone())));
        }
        events
    }

    #[test]
    fn events_are_found_however_they_are_cut_and_lines_end() {
        let expected = [("a", "{\"x\": 1}"), ("", "one\ntwo"), ("", "[DONE]")];
        let expected: Vec<(String, String)> = expected.map(|(name, data)| (name.into(), data.into())).into();
        for end in ["\n", "\r\n", "\r"] {
            let text =
                ": ping||event: a|data: {\"x\": 1}||data: one|data:two||data: [DONE]||data: cut".replace('|', end);
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(scan(&text, size), expected, "{end:?} {size}");
            }
        }
    }

    #[test]
    fn an_event_that_is_too_long_is_skipped_within_bounded_memory() {
        let mut scanner = EventScanner::default();
        let mut seen = Vec::new();
        let long = vec![b'x'; 100 << 10];
        scanner.feed(b"data: ", |_| panic!("nothing is complete"));
        for _ in 0..50 {
            scanner.feed(&long, |_| panic!("nothing is complete"));
            assert!(scanner.line.len() <= MAX_EVENT);
        }
        scanner.feed(b"\n\ndata: next\n\n", |event| seen.push(event.data.clone()));
        assert_eq!(seen, ["next"]);
        assert!(scanner.has_skipped);
    }
}
