//! A provider's reply on its way to the caller.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::{Value, json};

use super::events::{Event, Events};
use super::providers::{anthropic, bedrock, gemini, openai};
use super::send::Used;
use super::tail::Tail;
use super::usage::Tokens;
use super::wire::{Converted, Dialect, Foreign};

/// The largest reply that is converted.
const LARGEST: usize = 64 << 20;
/// What a stream of OpenAI's ends with.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// A body's pieces as they arrive.
pub type Pieces = BoxStream<'static, Result<Bytes, BodyError>>;

/// Why a body can't be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The provider broke off, or went silent.
    #[error("the provider broke off its answer")]
    Broken(#[source] reqwest::Error),
    /// It isn't what the provider's API says.
    #[error("the provider's answer is not understood: {0}")]
    Malformed(String),
}

impl BodyError {
    /// Whether the provider was too slow.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Broken(error) if error.is_timeout())
    }
}

/// The same pieces, and where the stream was cut, an event that says so.
pub(super) fn told_when_cut(pieces: Pieces, dialect: Dialect, provider: String) -> Pieces {
    let state = (Some(pieces), End::default());
    stream::unfold(state, move |(pieces, mut end)| {
        let provider = provider.clone();
        async move {
            let mut pieces: Pieces = pieces?;
            let why = match pieces.next().await {
                Some(Ok(piece)) => {
                    end.0.add(&piece);
                    return Some((Ok(piece), (Some(pieces), end)));
                }
                // What fails after its end mark has merely ended.
                Some(Err(_)) if end.has_mark(dialect) => return None,
                None if end.is_whole(dialect) => return None,
                Some(Err(error)) => {
                    // What came before leaves first, as far as the caller's socket takes it at once.
                    tokio::task::yield_now().await;
                    tracing::warn!(provider, %error, "a stream was cut");
                    if error.is_timeout() { "went silent" } else { "broke off" }
                }
                None => {
                    tracing::warn!(provider, "a stream ended early");
                    "ended its answer early"
                }
            };
            let message = format!("the provider `{provider}` {why}; the answer is not complete");
            Some((Ok(cut_event(dialect, &message)), (None, end)))
        }
    })
    .boxed()
}

fn cut_event(dialect: Dialect, message: &str) -> Bytes {
    // Begun with an empty line, because a cut may be in the midst of an event.
    match dialect {
        Dialect::OpenAi => {
            let error =
                json!({"error": {"message": message, "type": "upstream_error", "param": null, "code": "stream_cut"}});
            format!("\n\ndata: {error}\n\n")
        }
        Dialect::Anthropic => format!("\n\nevent: error\ndata: {}\n\n", anthropic::messages::error(502, message)),
    }
    .into()
}

/// The end of a stream, which tells whether it is whole.
#[derive(Default)]
struct End(Tail);

impl End {
    /// Whether a stream has come to its end mark, or to an error of its own.
    fn has_mark(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::OpenAi => openai::is_told_over(self.0.bytes()),
            Dialect::Anthropic => anthropic::is_told_over(self.0.bytes()),
        }
    }

    /// Whether a stream that was ended properly is whole: some providers say why it finished, and leave it at that.
    fn is_whole(&self, dialect: Dialect) -> bool {
        self.has_mark(dialect) || (dialect == Dialect::OpenAi && openai::says_why(self.0.bytes()))
    }
}

/// A body's beginning, of `most` bytes or a piece more, and the rest where it is longer.
pub(super) async fn begun(mut pieces: Pieces, most: usize) -> Result<(Bytes, Option<Pieces>), BodyError> {
    let Some(first) = pieces.next().await.transpose()? else { return Ok((Bytes::new(), None)) };
    let Some(second) = pieces.next().await.transpose()? else { return Ok((first, None)) };
    let mut all = BytesMut::from(&first[..]);
    all.extend_from_slice(&second);
    while all.len() <= most {
        let Some(piece) = pieces.next().await.transpose()? else { return Ok((all.freeze(), None)) };
        all.extend_from_slice(&piece);
    }
    Ok((all.freeze(), Some(pieces)))
}

/// All of a body.
pub(super) async fn whole(mut pieces: Pieces) -> Result<Bytes, BodyError> {
    let mut all = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        all.extend_from_slice(&piece?);
        if all.len() > LARGEST {
            return Err(BodyError::Malformed(format!("it is larger than {} MiB", LARGEST >> 20)));
        }
    }
    Ok(all.freeze())
}

/// A whole reply in OpenAI's shape.
pub(super) fn completion(body: &[u8], converted: &Converted) -> Result<Bytes, BodyError> {
    let malformed = |why: String| BodyError::Malformed(why);
    let reply: Value = serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    let completion =
        match converted.from {
            Foreign::Anthropic => {
                anthropic::completion(&reply, converted.created).map_err(|why| malformed(why.to_string()))
            }
            Foreign::Gemini => gemini::completion(&reply, &converted.model, converted.created)
                .map_err(|why| malformed(why.to_string())),
            Foreign::Bedrock => bedrock::completion(&reply, &converted.model, converted.created)
                .map_err(|why| malformed(why.to_string())),
        };
    Ok(completion?.to_string().into())
}

/// An error in OpenAI's shape. `kind`: what the reply's headers say that it is, at AWS.
pub(super) fn error(status: u16, kind: Option<&str>, body: &[u8], from: Foreign) -> Bytes {
    match from {
        Foreign::Anthropic => anthropic::error(status, body),
        Foreign::Gemini => gemini::error(status, body),
        Foreign::Bedrock => bedrock::error(status, kind, body),
    }
    .to_string()
    .into()
}

/// A stream in OpenAI's shape. What it used is told to `used`, and to the caller if they want to know.
pub(super) fn chunks(pieces: Pieces, converted: &Converted, used: Used) -> Pieces {
    let Converted { model, created, .. } = converted;
    let (events, chunks) = match converted.from {
        Foreign::Anthropic => (Events::sent(pieces), Chunks::Anthropic(anthropic::Chunks::new(*created, true))),
        Foreign::Gemini => (Events::sent(pieces), Chunks::Gemini(gemini::Chunks::new(model, *created, true))),
        Foreign::Bedrock => (Events::framed(pieces), Chunks::Bedrock(bedrock::Chunks::new(model, *created, true))),
    };
    let state = Reader { events, chunks, used, include_usage: converted.include_usage };
    stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        loop {
            match state.next().await {
                Next::Nothing => {}
                Next::Piece(piece) => return Some((Ok(piece), Some(state))),
                Next::Last(piece) => return Some((Ok(piece), None)),
            }
        }
    })
    .boxed()
}

/// What reads a provider's own events.
enum Chunks {
    Anthropic(anthropic::Chunks),
    Gemini(gemini::Chunks),
    Bedrock(bedrock::Chunks),
}

struct Reader {
    events: Events,
    chunks: Chunks,
    used: Used,
    include_usage: bool,
}

enum Next {
    Nothing,
    Piece(Bytes),
    Last(Bytes),
}

impl Reader {
    async fn next(&mut self) -> Next {
        let mut made = Vec::new();
        let read = match self.events.next().await {
            Some(Ok(Event { kind, data })) => match &mut self.chunks {
                Chunks::Anthropic(chunks) => chunks.event(&data, &mut made).map_err(|fault| fault.to_string()),
                Chunks::Gemini(chunks) => chunks.event(&data, &mut made).map_err(|fault| fault.to_string()),
                Chunks::Bedrock(chunks) => chunks.event(&kind, &data, &mut made).map_err(|fault| fault.to_string()),
            },
            Some(Err(why)) => Err(why),
            None => return Next::Last(self.finish()),
        };
        let out = self.written(made);
        match read {
            Err(why) => Next::Last(joined(&out, &cut_event(Dialect::OpenAi, &why))),
            Ok(()) if matches!(&self.chunks, Chunks::Anthropic(chunks) if chunks.is_complete()) => {
                Next::Last(joined(&out, DONE))
            }
            Ok(()) if out.is_empty() => Next::Nothing,
            Ok(()) => Next::Piece(out),
        }
    }

    fn finish(&mut self) -> Bytes {
        let mut made = Vec::new();
        let finished = match &mut self.chunks {
            Chunks::Anthropic(_) => Err("the provider ended its answer early".to_owned()),
            Chunks::Gemini(chunks) => chunks.finish(&mut made).map_err(|fault| fault.to_string()),
            Chunks::Bedrock(chunks) => chunks.finish(&mut made).map_err(|fault| fault.to_string()),
        };
        let out = self.written(made);
        match finished {
            Ok(()) => joined(&out, DONE),
            Err(why) => joined(&out, &cut_event(Dialect::OpenAi, &why)),
        }
    }
}

impl Reader {
    fn written(&self, chunks: Vec<Value>) -> Bytes {
        let mut out = String::new();
        for mut chunk in chunks {
            if let Some(used) = Tokens::of(&chunk["usage"]) {
                // Told once.
                let _ = self.used.set(used);
            }
            if !self.include_usage
                && let Value::Object(members) = &mut chunk
            {
                let told = members.remove("usage");
                // OpenAI tells it in a chunk of its own.
                if told.is_some_and(|usage| !usage.is_null()) && members["choices"] == json!([]) {
                    continue;
                }
            }
            out.push_str(&format!("data: {chunk}\n\n"));
        }
        out.into()
    }
}

fn joined(a: &[u8], b: &[u8]) -> Bytes {
    [a, b].concat().into()
}
