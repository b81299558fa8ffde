//! Watching a stream that passes through: whether its end mark has come.

use std::sync::Arc;

use super::reply::Progress;
use crate::llm::{EventSplitter, FormatId, Terminal};

/// The longest event that is looked into. A stream with a longer one is passed through without knowing how it ends.
const MAX_EVENT: usize = 1 << 20;

/// What is known of a stream's end so far.
#[derive(Debug)]
pub(super) struct EndWatch {
    format: FormatId,
    events: EventSplitter,
    terminal: Option<Terminal>,
    /// Whether there was an event that couldn't be looked into.
    has_skipped: bool,
    progress: Arc<Progress>,
}

impl EndWatch {
    /// Of a stream in `format`. `progress` is told how far it has come.
    pub(super) fn new(format: FormatId, progress: Arc<Progress>) -> Self {
        Self { format, events: EventSplitter::with_longest(MAX_EVENT), terminal: None, has_skipped: false, progress }
    }

    /// More of the stream.
    pub(super) fn see(&mut self, piece: &[u8]) {
        let (format, terminal, has_skipped) = (self.format.format(), &mut self.terminal, &mut self.has_skipped);
        self.events.feed(piece, |event| match event {
            Ok(event) => *terminal = format.terminal(event).or(*terminal),
            Err(_) => *has_skipped = true,
        });
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
        self.terminal.is_some() || self.has_skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(bytes: &[u8]) -> EndWatch {
        let mut watch = EndWatch::new(FormatId::OpenAiChat, Arc::default());
        bytes.chunks(100 << 10).for_each(|piece| watch.see(piece));
        watch
    }

    #[test]
    fn a_stream_with_an_event_that_is_not_looked_into_may_end_anywhere() {
        assert!(!watch(b"data: {}\n\n").may_end());
        assert!(watch(b"data: [DONE]\n\n").has_ended());
        for odd in [[b"data: ".to_vec(), vec![b'x'; 5 << 20]].concat(), b"data: \xff\n\n".to_vec()] {
            let mut watch = watch(&odd);
            assert!(watch.may_end() && !watch.has_ended());
            watch.see(b"\n\ndata: [DONE]\n\n");
            assert!(watch.has_ended() && watch.progress.has_ended());
        }
    }
}
