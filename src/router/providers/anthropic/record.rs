//! What is kept of an Anthropic-shaped reply: what is kept of the OpenAI-shaped one that says the same.

use std::convert::Infallible;
use std::fmt::Write;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use sse_stream::SseByteStream;

use super::super::openai::{self, NotKept, Recording};
use super::{Chunks, completion};

/// What is kept of a message with the status 200: the whole of it, if it is one complete answer.
///
/// # Errors
/// See [`NotKept`].
pub fn record(body: &[u8]) -> Result<Recording, NotKept> {
    let message: Value = serde_json::from_slice(body).map_err(|error| NotKept::Malformed(error.to_string()))?;
    let completion = completion(&message, 0).map_err(|why| NotKept::Malformed(why.to_string()))?;
    openai::record(completion.to_string().as_bytes())
}

/// What is kept of a streamed message.
///
/// # Errors
/// See [`NotKept`].
pub async fn record_stream(body: Bytes) -> Result<Recording, NotKept> {
    let mut events = SseByteStream::new(stream::iter([Ok::<_, Infallible>(body)]));
    let mut chunks = Chunks::new(0, true);
    let mut told = String::new();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| NotKept::Malformed(error.to_string()))?;
        let Some(data) = event.data.filter(|data| !data.is_empty()) else { continue };
        let mut made = Vec::new();
        chunks.event(&data, &mut made).map_err(|fault| NotKept::Malformed(fault.to_string()))?;
        for chunk in made {
            // Writing to a string can't fail.
            let _ = write!(told, "data: {chunk}\n\n");
        }
        if chunks.is_complete() {
            told.push_str("data: [DONE]\n\n");
            return openai::record_stream(told.into()).await;
        }
    }
    Err(NotKept::BrokenOff)
}

/// Whether a body that ends with `end` ends with the event that ends a message.
#[must_use]
pub fn has_ended(end: &[u8]) -> bool {
    const MARK: &[u8] = b"event: message_stop";
    let is_blank_line = ["\n\n", "\r\n\r\n"].iter().any(|line| end.ends_with(line.as_bytes()));
    is_blank_line && end.windows(MARK.len()).any(|window| window == MARK)
}

/// Whether the last bytes of a stream have the event that ends a message, or an error, which ends it too.
#[must_use]
pub fn is_told_over(end: &[u8]) -> bool {
    let lines = end.split(|byte| matches!(byte, b'\n' | b'\r'));
    let events = lines.filter_map(|line| serde_json::from_slice::<Value>(line.strip_prefix(b"data:")?).ok());
    events.into_iter().any(|event| event["type"] == "message_stop" || event["type"] == "error")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn streamed(events: &[Value]) -> String {
        let kind = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
        events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", kind(event))).collect()
    }

    async fn read(text: &str) -> Result<Recording, NotKept> {
        record_stream(Bytes::copy_from_slice(text.as_bytes())).await
    }

    #[tokio::test]
    async fn a_message_and_its_stream_are_kept_alike_and_only_when_whole() {
        let usage = json!({"input_tokens": 3, "output_tokens": 2});
        let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
            "content": [{"type": "text", "text": "Paris"}], "stop_reason": "end_turn", "stop_sequence": null, "usage": usage});
        let whole = record(message.to_string().as_bytes()).unwrap();
        assert_eq!(whole.answer.text, "Paris");
        let mut begun = message.clone();
        begun["content"] = json!([]);
        begun["stop_reason"] = Value::Null;
        let events = [
            json!({"type": "message_start", "message": begun}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Par"}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "is"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
            json!({"type": "message_stop"}),
        ];
        let text = streamed(&events);
        assert_eq!(read(&text).await.unwrap().answer.text, "Paris");
        assert!(has_ended(text.as_bytes()));
        let early = streamed(&events[..6]);
        assert_eq!(read(&early).await, Err(NotKept::BrokenOff));
        assert!(!has_ended(early.as_bytes()));
        let mut limited = message;
        limited["stop_reason"] = "max_tokens".into();
        assert_eq!(record(limited.to_string().as_bytes()), Err(NotKept::Incomplete("length".into())));
    }
}
