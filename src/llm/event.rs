//! An event of a stream, however it was framed, and how server-sent events are found in a stream's bytes.

use std::fmt::Write;

use serde_json::Value;

/// The longest event that is converted or stored, in bytes: a picture in base64 fits in. Arbitrary; Amazon's frames have
/// about the same limit.
pub const MAX_EVENT: usize = 16 << 20;

/// Memory that is kept for the next event, in bytes. More is given back, because most events are small.
const KEPT: usize = 64 << 10;

/// What other programs put before UTF-8, and the standard of events allows.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its name, where the framing gives one.
    pub name: String,
    /// What it says; JSON but for end marks.
    pub data: String,
}

/// Why an event of a stream can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventFault {
    /// It has more bytes than this. It is skipped to its end.
    #[error("an event of the stream is longer than {0} bytes")]
    TooLong(usize),
    /// It isn't UTF-8.
    #[error("an event of the stream is not UTF-8")]
    NotText,
}

/// Finds server-sent events in the bytes of a stream, however they are cut. It holds no more than one event of the longest
/// length that it was made for.
///
/// <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>; `id` and `retry` are of use
/// to browsers only and ignored.
#[derive(Debug)]
pub struct EventSplitter {
    longest: usize,
    /// The line that has begun. Of an event that is skipped, its first byte only, which tells it from an empty line.
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    is_text: bool,
    is_skipping: bool,
    is_first_line: bool,
    after_carriage_return: bool,
}

impl Default for EventSplitter {
    fn default() -> Self {
        Self::with_longest(MAX_EVENT)
    }
}

impl EventSplitter {
    /// Finds events of up to `longest` bytes, names of fields included.
    #[must_use]
    pub fn with_longest(longest: usize) -> Self {
        Self {
            longest,
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            is_text: true,
            is_skipping: false,
            is_first_line: true,
            after_carriage_return: false,
        }
    }

    /// More of the stream. `each` is called for every event that is complete with it, and once for one that is too long, as
    /// soon as it is.
    pub fn feed(&mut self, mut piece: &[u8], mut each: impl FnMut(Result<&Event, EventFault>)) {
        while let Some(&first) = piece.first() {
            if first == b'\n' && std::mem::take(&mut self.after_carriage_return) {
                piece = &piece[1..];
                continue;
            }
            self.after_carriage_return = false;
            let Some(end) = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.keep(piece, &mut each);
            };
            if self.line.is_empty() && self.fits(end) {
                self.end_line(&piece[..end], &mut each);
            } else {
                self.keep(&piece[..end], &mut each);
                let line = std::mem::take(&mut self.line);
                self.end_line(&line, &mut each);
                // Its memory serves the next one.
                self.line = line;
                self.line.clear();
                self.line.shrink_to(KEPT);
            }
            self.after_carriage_return = piece[end] == b'\r';
            piece = &piece[end + 1..];
        }
    }

    fn fits(&self, more: usize) -> bool {
        let held = self.line.len() + self.event.name.len() + self.event.data.len();
        !self.is_skipping && held.saturating_add(more) <= self.longest
    }

    fn keep(&mut self, bytes: &[u8], each: &mut impl FnMut(Result<&Event, EventFault>)) {
        if self.fits(bytes.len()) {
            return self.line.extend_from_slice(bytes);
        }
        if !std::mem::replace(&mut self.is_skipping, true) {
            // Given back: it is large.
            self.line = self.line.first().copied().into_iter().collect();
            self.event = Event::default();
            each(Err(EventFault::TooLong(self.longest)));
        }
        if self.line.is_empty() {
            self.line.extend(bytes.first());
        }
    }

    fn end_line(&mut self, mut line: &[u8], each: &mut impl FnMut(Result<&Event, EventFault>)) {
        if std::mem::take(&mut self.is_first_line) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event(each);
        }
        if self.is_skipping {
            return;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        if !matches!(field, b"data" | b"event") {
            return;
        }
        let Ok(value) = std::str::from_utf8(value.strip_prefix(b" ").unwrap_or(value)) else {
            self.is_text = false;
            return;
        };
        if field == b"event" {
            value.trim().clone_into(&mut self.event.name);
            return;
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.event.data.push('\n');
        }
        self.event.data.push_str(value);
    }

    fn end_event(&mut self, each: &mut impl FnMut(Result<&Event, EventFault>)) {
        let is_skipped = std::mem::take(&mut self.is_skipping);
        let has_something = std::mem::take(&mut self.has_data) || !self.event.name.is_empty();
        if !std::mem::replace(&mut self.is_text, true) {
            each(Err(EventFault::NotText));
        } else if has_something && !is_skipped {
            each(Ok(&self.event));
        }
        self.event.name.clear();
        self.event.data.clear();
        self.event.data.shrink_to(KEPT);
    }
}

/// Writes a server-sent event. Events of formats that don't name theirs have an empty name.
pub fn write_sse(out: &mut String, name: &str, data: &Value) {
    // Writing to a string can't fail.
    let _ =
        if name.is_empty() { write!(out, "data: {data}\n\n") } else { write!(out, "event: {name}\ndata: {data}\n\n") };
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = Result<(String, String), EventFault>;

    fn split(bytes: &[u8], size: usize, longest: usize) -> Vec<Told> {
        let (mut splitter, mut told) = (EventSplitter::with_longest(longest), Vec::new());
        for piece in bytes.chunks(size) {
            splitter.feed(piece, |event| told.push(event.map(|event| (event.name.clone(), event.data.clone()))));
        }
        told
    }

    fn event(name: &str, data: &str) -> Told {
        Ok((name.into(), data.into()))
    }

    #[test]
    fn events_are_found_however_they_are_cut_and_lines_end() {
        let expected = [event("a", "{\"x\": 1}"), event("", "one\ntwo"), event("", "[DONE]")];
        for end in ["\n", "\r\n", "\r"] {
            for mark in ["", "\u{feff}"] {
                let text = ": ping||event: a|data: {\"x\": 1}||data: one|id: 7|data:two||data: [DONE]||data: cut";
                let text = format!("{mark}{text}").replace('|', end);
                for size in [1, 2, 3, 7, 1000] {
                    assert_eq!(split(text.as_bytes(), size, 100), expected, "{end:?} {size}");
                }
            }
        }
    }

    #[test]
    fn lines_are_read_as_the_standard_says() {
        for (text, expected) in [
            ("data\n\n", vec![event("", "")]),
            ("data:\ndata: x\n\n", vec![event("", "\nx")]),
            ("data:  x \n\n", vec![event("", " x ")]),
            ("event: a\n\n", vec![event("a", "")]),
            ("event: a\n: only a comment\nid: 5\n\ndata: x\n\n", vec![event("a", ""), event("", "x")]),
            ("id: 5\n\nretry\n\n\n\n", vec![]),
            ("datax: 1\n data: 1\n\n", vec![]),
            ("\u{feff}data: x\n\n\u{feff}data: x\n\n", vec![event("", "x")]),
        ] {
            for size in [1, 2, 100] {
                assert_eq!(split(text.as_bytes(), size, 100), expected, "{text:?} {size}");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_a_fault_and_what_follows_is_read() {
        let text = b"data: a\xff\n\n: \xff\ndata: b\n\ndata: \xc3\ndata: \xbc\n\n";
        for size in [1, 4, 100] {
            let expected = [Err(EventFault::NotText), event("", "b"), Err(EventFault::NotText)];
            assert_eq!(split(text, size, 100), expected, "{size}");
        }
    }

    #[test]
    fn an_event_that_is_too_long_is_told_at_once_and_skipped_within_bounded_memory() {
        let long = vec![b'x'; 1 << 10];
        for cut in [&b"data: "[..], b"", b":", b"data: begun\ndata: ", b"event: "] {
            let (mut splitter, mut told) = (EventSplitter::with_longest(5 << 10), Vec::new());
            splitter.feed(cut, |_| panic!("nothing is complete"));
            for _ in 0..5000 {
                splitter.feed(&long, |event| told.push(event.map(|event| event.data.clone())));
                assert!(splitter.line.capacity() + splitter.event.data.capacity() <= 16 << 10);
            }
            assert_eq!(told, [Err(EventFault::TooLong(5 << 10))]);
            splitter.feed(b"\ndata: more of it\n\ndata: next\n\n", |event| told.push(event.map(|it| it.data.clone())));
            assert_eq!(told[1..], [Ok("next".to_owned())], "{cut:?}");
        }
    }

    #[test]
    fn the_limit_is_the_same_however_an_event_is_cut() {
        let text = format!("data: {}\n\ndata: {}\n\n", "x".repeat(94), "y".repeat(95));
        for size in [1, 3, 10, 1000] {
            let expected = [event("", &"x".repeat(94)), Err(EventFault::TooLong(100))];
            assert_eq!(split(text.as_bytes(), size, 100), expected, "{size}");
        }
    }
}
