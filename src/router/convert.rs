//! Replies from a provider's format to the caller's.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::events::Events;
use super::pieces::{BodyError, Pieces};
use super::plan::Conversion;
use super::reply::{Progress, Used};
use super::usage::Tokens;
use crate::llm::{
    Answer, Delta, Document, FormatId, Frame, ProviderError, StreamFault, StreamReader, StreamWriter, Usage, playback,
    without_lone_surrogates,
};

/// A whole reply, read.
pub(super) fn read(body: &[u8], from: FormatId) -> Result<Answer, BodyError> {
    let malformed = |error: &dyn std::error::Error| BodyError::Malformed(error.to_string());
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
    let repaired = without_lone_surrogates(text);
    let reply = Document::parse(repaired.as_deref().unwrap_or(text).as_bytes()).map_err(|error| malformed(&error))?;
    let mut answer = from.format().read_reply(reply.value).map_err(|error| malformed(&error))?;
    if repaired.is_some() {
        answer.lossy = Some("a character that is half of one".into());
    }
    Ok(answer)
}

/// An answer as one document.
pub(super) fn whole(answer: &Answer, to: FormatId, frame: &Frame) -> Bytes {
    to.format().write_reply(answer, frame).to_string().into()
}

/// An answer as a stream that comes at once.
pub(super) fn played_back(answer: &Answer, to: FormatId, frame: &Frame) -> Bytes {
    let (mut writer, mut out) = (to.format().stream_writer(frame), String::new());
    playback(answer).iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    out.into()
}

/// A stream that is converted as it comes.
pub(super) struct ConvertedStream {
    events: Events,
    reader: Box<dyn StreamReader>,
    writer: Box<dyn StreamWriter>,
    used: Used,
    progress: Arc<Progress>,
    /// What was read and isn't written yet.
    deltas: Vec<Delta>,
    is_over: bool,
}

impl ConvertedStream {
    pub(super) fn new(pieces: Pieces, conversion: &Conversion, used: Used, progress: Arc<Progress>) -> Self {
        let events = match conversion.from {
            FormatId::Bedrock => Events::framed(pieces),
            _ => Events::sent(pieces),
        };
        let reader = conversion.from.format().stream_reader();
        let writer = conversion.to.format().stream_writer(&conversion.frame);
        Self { events, reader, writer, used, progress, deltas: Vec::new(), is_over: false }
    }

    /// Reads until there is something to tell, so that a stream that begins with an error isn't begun.
    pub(super) async fn begin(&mut self) -> Result<(), StreamFault> {
        while self.deltas.is_empty() && !self.is_over {
            self.read().await?;
        }
        Ok(())
    }

    /// Everything that there is to tell, as it comes.
    pub(super) fn into_pieces(self) -> Pieces {
        stream::unfold(Some(self), |state| async move {
            let mut state = state?;
            loop {
                let read = if state.deltas.is_empty() && !state.is_over { state.read().await } else { Ok(()) };
                let mut out = String::new();
                for delta in state.deltas.drain(..) {
                    match &delta {
                        // The last one counts all of the answer.
                        Delta::Usage(usage) => state.used.set(tokens(usage)),
                        Delta::Finish(_) => state.progress.reason(),
                        Delta::Lossy(_) => state.progress.lose(),
                        _ => {}
                    }
                    state.writer.write(&delta, &mut out);
                }
                match read {
                    Err(fault) => {
                        let error = match fault {
                            StreamFault::Provider(error) => error,
                            other => ProviderError {
                                code: Some("stream_cut".into()),
                                ..ProviderError::new(502, other.to_string())
                            },
                        };
                        state.writer.fail(&error, &mut out);
                        return Some((Ok(out.into()), None));
                    }
                    Ok(()) if state.is_over => {
                        state.writer.finish(&mut out);
                        state.progress.end();
                        return Some((Ok(out.into()), None));
                    }
                    Ok(()) if out.is_empty() => {}
                    Ok(()) => return Some((Ok(out.into()), Some(state))),
                }
            }
        })
        .boxed()
    }

    async fn read(&mut self) -> Result<(), StreamFault> {
        match self.events.next().await {
            Some(Ok(mut event)) => {
                if let Some(repaired) = without_lone_surrogates(&event.data) {
                    event.data = repaired;
                    self.deltas.push(Delta::Lossy("a character that is half of one".into()));
                }
                self.reader.read(&event, &mut self.deltas)?;
                self.is_over = self.reader.is_complete();
                if self.is_over {
                    self.reader.finish(&mut self.deltas)?;
                }
                Ok(())
            }
            // What fails after its end has merely ended.
            Some(Err(why)) => self
                .reader
                .finish(&mut self.deltas)
                .map_err(|fault| match fault {
                    StreamFault::Truncated => StreamFault::Provider(ProviderError::new(502, why)),
                    fault => fault,
                })
                .map(|()| self.is_over = true),
            None => {
                self.is_over = true;
                self.reader.finish(&mut self.deltas)
            }
        }
    }
}

/// What an answer used.
pub(super) fn tokens(usage: &Usage) -> Tokens {
    Tokens { input: usage.input, cached: usage.cached_input, output: usage.output }
}
