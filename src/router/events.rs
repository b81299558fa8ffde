//! The events of a provider's stream, however they are framed.

use std::collections::VecDeque;

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::Message;
use bytes::BytesMut;
use futures_util::StreamExt;
use serde_json::json;

use super::pieces::Pieces;
use crate::llm::{Event, EventSplitter};

/// The largest frame; AWS sends none beyond 16 MiB, and a damaged length could ask for 4 GiB.
const LARGEST_FRAME: usize = 24 << 20;

/// The events of a stream.
pub(super) enum Events {
    /// Server-sent ones.
    Sent(Sent),
    /// AWS's frames.
    Framed(Frames),
}

impl Events {
    pub(super) fn sent(pieces: Pieces) -> Self {
        Self::Sent(Sent { pieces, splitter: EventSplitter::default(), ready: VecDeque::new() })
    }

    pub(super) fn framed(pieces: Pieces) -> Self {
        Self::Framed(Frames { pieces, rest: BytesMut::new() })
    }

    /// The next one that says something; none at the end. The error is a sentence.
    pub(super) async fn next(&mut self) -> Option<Result<Event, String>> {
        match self {
            Self::Sent(events) => events.next().await,
            Self::Framed(frames) => frames.next().await,
        }
    }
}

/// Server-sent events.
pub(super) struct Sent {
    pieces: Pieces,
    splitter: EventSplitter,
    /// Events of the last piece that weren't asked for yet.
    ready: VecDeque<Result<Event, String>>,
}

impl Sent {
    async fn next(&mut self) -> Option<Result<Event, String>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.pieces.next().await? {
                Ok(piece) => self.splitter.feed(&piece, |event| match event {
                    Ok(event) if event.data.is_empty() => {}
                    event => self.ready.push_back(event.cloned().map_err(|fault| fault.to_string())),
                }),
                Err(error) => return Some(Err(error.to_string())),
            }
        }
    }
}

/// Events in AWS's binary framing (`application/vnd.amazon.eventstream`): each begins with its length, and has checksums.
pub(super) struct Frames {
    pieces: Pieces,
    rest: BytesMut,
}

impl Frames {
    async fn next(&mut self) -> Option<Result<Event, String>> {
        loop {
            if let Some(length) = self.rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
                if length > LARGEST_FRAME {
                    return Some(Err("an event of the provider's stream is too long".into()));
                }
                if self.rest.len() >= length {
                    let message = read_message_from(self.rest.split_to(length).freeze());
                    return Some(match message {
                        Ok(message) => event(&message),
                        Err(error) => Err(format!("the provider's stream is damaged: {error}")),
                    });
                }
            }
            match self.pieces.next().await {
                Some(Ok(piece)) => self.rest.extend_from_slice(&piece),
                Some(Err(error)) => return Some(Err(error.to_string())),
                None if self.rest.is_empty() => return None,
                None => return Some(Err("the provider's stream ended within an event".into())),
            }
        }
    }
}

fn event(message: &Message) -> Result<Event, String> {
    let of = |name: &str| {
        let found = message.headers().iter().find(|header| header.name().as_str() == name)?;
        found.value().as_string().ok().map(|value| value.as_str().to_owned())
    };
    match of(":message-type").as_deref() {
        // What went wrong in the service rather than in the request is told in headers.
        Some("error") => {
            let message = of(":error-message").unwrap_or_default();
            let code = of(":error-code").unwrap_or_default();
            // Named as exceptions are, by which they are known.
            let kind = if code.ends_with("Exception") { code } else { format!("{code}Exception") };
            Ok(Event { name: kind, data: json!({ "message": message }).to_string() })
        }
        _ => {
            let kind = of(":exception-type").or_else(|| of(":event-type")).unwrap_or_default();
            let data = String::from_utf8(message.payload().to_vec());
            Ok(Event { name: kind, data: data.map_err(|_| "the provider's stream is not text".to_owned())? })
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{Header, HeaderValue};
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn frame(headers: &[(&'static str, &'static str)], data: &'static str) -> Vec<u8> {
        let of =
            |(name, value): &(&'static str, &'static str)| Header::new(*name, HeaderValue::String((*value).into()));
        let mut bytes = Vec::new();
        let message = Message::new_from_parts(headers.iter().map(of).collect(), data);
        write_message_to(&message, &mut bytes).unwrap();
        bytes
    }

    async fn read(bytes: &[u8], size: usize) -> Vec<Result<Event, String>> {
        let pieces: Vec<_> = bytes.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut events = Events::framed(stream::iter(pieces).boxed());
        let mut all = Vec::new();
        while let Some(next) = events.next().await {
            let is_last = next.is_err();
            all.push(next);
            if is_last {
                break;
            }
        }
        all
    }

    fn event(kind: &str, data: &str) -> Result<Event, String> {
        Ok(Event { name: kind.into(), data: data.into() })
    }

    #[tokio::test]
    async fn frames_are_read_however_they_come() {
        let bytes = [
            frame(&[(":message-type", "event"), (":event-type", "messageStart")], "{}"),
            frame(&[(":message-type", "exception"), (":exception-type", "throttlingException")], r#"{"message":"m"}"#),
            frame(&[(":message-type", "error"), (":error-code", "c"), (":error-message", "\"m\"")], ""),
        ]
        .concat();
        let expected = vec![
            event("messageStart", "{}"),
            event("throttlingException", r#"{"message":"m"}"#),
            event("cException", r#"{"message":"\"m\""}"#),
        ];
        for size in [1, 3, 12, 13, bytes.len()] {
            assert_eq!(read(&bytes, size).await, expected, "{size}");
        }
    }

    #[tokio::test]
    async fn what_is_cut_or_damaged_is_no_event() {
        let whole = frame(&[(":message-type", "event"), (":event-type", "messageStart")], "{}");
        let cut = read(&whole[..whole.len() - 1], 7).await;
        assert!(matches!(&cut[..], [Err(why)] if why.contains("within an event")), "{cut:?}");
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x40;
            let read = read(&damaged, 9).await;
            assert!(read.iter().all(Result::is_err), "{place}: {read:?}");
        }
        assert!(matches!(&read(&[0; 16], 16).await[..], [Err(_)]));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_events_or_an_error(
            mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            small in proptest::prelude::any::<bool>(),
            size in 1..50usize,
        ) {
            // A length that the bytes come to.
            bytes.iter_mut().take(if small { 3 } else { 0 }).for_each(|byte| *byte = 0);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(read(&bytes, size));
            proptest::prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
