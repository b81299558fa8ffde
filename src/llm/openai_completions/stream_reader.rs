//! Reading streams.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{DONE, FORMAT, OBJECT, reply};
use crate::llm::{Answer, Delta, Event, Malformed, StreamFault, StreamReader, playback};

/// The status of an error in a stream that doesn't tell one.
const IN_STREAM: u16 = 502;

/// Puts the chunks of one stream together. All of the answer is told at the end: nobody converts such streams on their way.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The members of the whole reply.
    reply: Map<String, Value>,
    choices: BTreeMap<u64, Choice>,
    /// A member that can't be put together.
    lossy: Option<String>,
    is_complete: bool,
}

/// A choice so far.
#[derive(Debug, Default)]
struct Choice {
    text: String,
    /// Lists by token, whose pieces follow one another.
    logprobs: Option<Map<String, Value>>,
    others: Map<String, Value>,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        let data = event.data.trim();
        if self.is_complete || data.is_empty() {
            return Ok(());
        }
        if data == DONE {
            return self.end(out);
        }
        let provider_error = || FORMAT.read_error(IN_STREAM, &|_| None, data.as_bytes());
        if event.name == "error" {
            return Err(StreamFault::Provider(provider_error()));
        }
        let chunk: Value =
            serde_json::from_str(data).map_err(|why| Malformed(format!("an event is no JSON ({why})")))?;
        let Value::Object(chunk) = chunk else { return Err(Malformed("an event is no object".into()).into()) };
        if chunk.get("error").is_some_and(says_something) {
            return Err(StreamFault::Provider(provider_error()));
        }
        self.chunk(chunk);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        if self.is_complete { Ok(()) } else { self.end(out) }
    }
}

impl Reader {
    fn chunk(&mut self, chunk: Map<String, Value>) {
        for (name, value) in chunk.into_iter().filter(|(_, value)| says_something(value)) {
            match (name.as_str(), value) {
                ("choices", Value::Array(choices)) => choices.into_iter().for_each(|choice| self.choice(choice)),
                // Padding against guessing at lengths, made anew for every chunk.
                ("obfuscation", _) => {}
                // The first id holds; a dialect has one for every chunk.
                ("id" | "created", value) => {
                    self.reply.entry(name).or_insert(value);
                }
                (_, value) => {
                    self.reply.insert(name, value);
                }
            }
        }
    }

    fn choice(&mut self, choice: Value) {
        let Value::Object(mut piece) = choice else {
            self.lossy = Some("choices".into());
            return;
        };
        let index = piece.shift_remove("index").and_then(|index| index.as_u64()).unwrap_or(0);
        let choice = self.choices.entry(index).or_default();
        for (name, value) in piece.into_iter().filter(|(_, value)| !value.is_null()) {
            match (name.as_str(), value) {
                ("text", Value::String(text)) => choice.text.push_str(&text),
                ("logprobs", Value::Object(piece)) => {
                    if !join(choice.logprobs.get_or_insert_default(), piece) {
                        self.lossy = Some(name);
                    }
                }
                // Whether lists are pieces or repeated, only who sends them knows.
                (_, value @ Value::Array(_)) if choice.others.get(&name).is_some_and(|known| *known != value) => {
                    self.lossy = Some(name);
                }
                (_, value) => {
                    choice.others.insert(name, value);
                }
            }
        }
    }

    fn end(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        let has_ended = |choice: &Choice| choice.others.get("finish_reason").is_some_and(Value::is_string);
        if self.choices.is_empty() || !self.choices.values().all(has_ended) {
            return Err(StreamFault::Truncated);
        }
        self.is_complete = true;
        let mut whole = std::mem::take(&mut self.reply);
        whole.entry("object").or_insert_with(|| OBJECT.into());
        let choices: Vec<Value> = std::mem::take(&mut self.choices).into_iter().map(Choice::whole).collect();
        whole.insert("choices".into(), choices.into());
        let answer = reply::read(whole.into()).map_err(|why| Malformed(why.to_string()))?;
        out.extend(playback(&Answer { lossy: self.lossy.take(), ..answer }));
        Ok(())
    }
}

impl Choice {
    fn whole((index, Self { text, logprobs, mut others }): (u64, Self)) -> Value {
        let finish = others.shift_remove("finish_reason").unwrap_or_default();
        let mut choice = Map::new();
        choice.insert("text".into(), text.into());
        choice.insert("index".into(), index.into());
        choice.insert("logprobs".into(), logprobs.map_or(Value::Null, Value::from));
        choice.insert("finish_reason".into(), finish);
        choice.extend(others);
        choice.into()
    }
}

/// Adds the lists of `piece` to those of `whole`. Tells whether all of them are lists.
fn join(whole: &mut Map<String, Value>, piece: Map<String, Value>) -> bool {
    let mut are_lists = true;
    for (name, value) in piece {
        match (whole.get_mut(&name), value) {
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (Some(Value::Null) | None, value) => {
                are_lists &= value.is_array() || value.is_null();
                whole.insert(name, value);
            }
            (Some(_), Value::Null) => {}
            (Some(_), _) => are_lists = false,
        }
    }
    are_lists
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}
