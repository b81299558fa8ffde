//! A conversation's messages as Converse's.
//!
//! Bedrock wants user and assistant by turns, the user first, and no blank text. Claude wants the results of tools at the
//! beginning of the turn after the calls. So neighbours of the same role become one turn, blank text and messages of
//! nothing else go, and a conversation that the assistant opens gets a first line that says so.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Unconvertible;
use super::media::{self, Names};

/// What the user says where the assistant spoke first.
const OPENING: &str = "(The assistant begins.)";
/// What the user says along with a document and nothing else: Bedrock takes none without a text.
const UNASKED: &str = "(See the document.)";
/// The result of a tool that said nothing, which has to be some text.
const NO_OUTPUT: &str = "(no output)";
/// The longest id of a call that Bedrock takes.
const LONGEST_ID: usize = 64;

/// A conversation as Bedrock sees it.
#[derive(Default)]
pub(super) struct Conversation {
    /// The blocks of the system's instruction.
    pub(super) system: Vec<Value>,
    turns: Vec<Turn>,
    /// The functions that were called.
    pub(super) called: BTreeSet<String>,
    names: Names,
}

struct Turn {
    role: &'static str,
    blocks: Vec<Value>,
}

impl Conversation {
    pub(super) fn read(messages: &Value) -> Result<Self, Unconvertible> {
        let messages = messages.as_array().ok_or_else(|| Unconvertible::new("messages", "it is no list"))?;
        let mut conversation = Self::default();
        for (i, message) in messages.iter().enumerate() {
            conversation.add(message, &format!("messages[{i}]"))?;
        }
        if conversation.turns.is_empty() {
            return Err(Unconvertible::new("messages", "there has to be a message of the user that isn't blank"));
        }
        conversation.settle();
        Ok(conversation)
    }

    /// One more instruction for the model.
    pub(super) fn instruct(&mut self, sentence: &str) {
        self.system.push(json!({"text": sentence}));
    }

    /// Whether Claude may think before it goes on. In the midst of calls it wants to see its thoughts from before them,
    /// which OpenAI's messages don't hold, and it doesn't think in an answer that has begun.
    pub(super) fn may_think(&self) -> bool {
        self.turns.last().is_some_and(|turn| turn.role == "user" && !turn.blocks.iter().any(is_result))
    }

    /// Converse's messages.
    pub(super) fn into_messages(self) -> Value {
        self.turns.into_iter().map(|turn| json!({"role": turn.role, "content": turn.blocks})).collect()
    }

    fn add(&mut self, message: &Value, field: &str) -> Result<(), Unconvertible> {
        let content = &message["content"];
        match message["role"].as_str() {
            Some("system" | "developer") => self.system.extend(texts(content, &format!("{field}.content"))?),
            Some("user") => {
                let blocks = self.blocks(content, &format!("{field}.content"))?;
                self.say("user", blocks);
            }
            Some("assistant") => self.assistant(message, field)?,
            Some("tool") => self.tool(message, field)?,
            Some(other) => {
                return Err(Unconvertible::new(format!("{field}.role"), format!("`{other}` has no counterpart")));
            }
            None => return Err(Unconvertible::new(format!("{field}.role"), "it is missing")),
        }
        Ok(())
    }

    /// Adds to the last turn if it is the same speaker's.
    fn say(&mut self, role: &'static str, blocks: Vec<Value>) {
        match self.turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some(turn) if turn.role == role => turn.blocks.extend(blocks),
            _ => self.turns.push(Turn { role, blocks }),
        }
    }

    fn blocks(&mut self, content: &Value, field: &str) -> Result<Vec<Value>, Unconvertible> {
        let Value::Array(parts) = content else { return texts(content, field) };
        let blocks = parts.iter().enumerate().map(|(i, part)| {
            let field = format!("{field}[{i}]");
            media::part(part, &field, &mut self.names)
        });
        blocks.filter_map(Result::transpose).collect()
    }

    fn assistant(&mut self, message: &Value, field: &str) -> Result<(), Unconvertible> {
        for name in ["function_call", "audio"] {
            if !message[name].is_null() {
                return Err(Unconvertible::new(format!("{field}.{name}"), "it has no counterpart"));
            }
        }
        let mut said = texts(&message["content"], &format!("{field}.content"))?;
        said.extend(texts(&message["refusal"], &format!("{field}.refusal"))?);
        match &message["tool_calls"] {
            Value::Null => {}
            Value::Array(calls) => {
                for (i, call) in calls.iter().enumerate() {
                    said.push(self.call(call, &format!("{field}.tool_calls[{i}]"))?);
                }
            }
            _ => return Err(Unconvertible::new(format!("{field}.tool_calls"), "it is no list")),
        }
        self.say("assistant", said);
        Ok(())
    }

    fn call(&mut self, call: &Value, field: &str) -> Result<Value, Unconvertible> {
        if !call["type"].is_null() && call["type"] != "function" {
            return Err(Unconvertible::new(format!("{field}.type"), "only functions can be called"));
        }
        let function = &call["function"];
        let name = function["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Unconvertible::new(format!("{field}.function.name"), "it is missing"))?;
        let input = arguments(&function["arguments"])
            .map_err(|why| Unconvertible::new(format!("{field}.function.arguments"), why))?;
        let id = tool_use_id(&call["id"], &format!("{field}.id"))?;
        self.called.insert(name.to_owned());
        Ok(json!({"toolUse": {"toolUseId": id, "name": name, "input": input}}))
    }

    /// A result goes as text even where it is JSON: as Converse's `json` it would lose the order of its members and the
    /// end of long numbers, and not every model takes that. It has no `status`, because OpenAI's messages don't say
    /// whether a tool has failed.
    fn tool(&mut self, message: &Value, field: &str) -> Result<(), Unconvertible> {
        let id = tool_use_id(&message["tool_call_id"], &format!("{field}.tool_call_id"))?;
        let field = format!("{field}.content");
        let mut content = self.blocks(&message["content"], &field)?;
        if content.iter().any(|block| block.get("audio").is_some()) {
            return Err(Unconvertible::new(field, "a sound can't be the result of a tool"));
        }
        if content.is_empty() {
            content.push(json!({"text": NO_OUTPUT}));
        }
        self.say("user", vec![json!({"toolResult": {"toolUseId": id, "content": content}})]);
        Ok(())
    }

    /// Sees to what Bedrock asks of the whole.
    fn settle(&mut self) {
        if self.turns.first().is_some_and(|turn| turn.role != "user") {
            self.turns.insert(0, Turn { role: "user", blocks: vec![json!({"text": OPENING})] });
        }
        for turn in &mut self.turns {
            // The sort is stable.
            turn.blocks.sort_by_key(|block| !is_result(block));
            let has = |name: &str| turn.blocks.iter().any(|block| block.get(name).is_some());
            if has("document") && !has("text") {
                turn.blocks.push(json!({"text": UNASKED}));
            }
        }
        // An answer that has begun mustn't end with white space.
        if let Some(turn) = self.turns.last_mut()
            && turn.role == "assistant"
            && let Some(Value::String(text)) = turn.blocks.last_mut().and_then(|block| block.get_mut("text"))
        {
            text.truncate(text.trim_end().len());
        }
    }
}

fn is_result(block: &Value) -> bool {
    block.get("toolResult").is_some()
}

/// The blocks of a content that holds nothing but text, without blank ones.
fn texts(content: &Value, field: &str) -> Result<Vec<Value>, Unconvertible> {
    let mut texts = Vec::new();
    match content {
        Value::Null => {}
        Value::String(text) => texts.push(text.as_str()),
        Value::Array(parts) => {
            for (i, part) in parts.iter().enumerate() {
                let text = match part["type"].as_str() {
                    Some(kind @ ("text" | "refusal")) => part[kind].as_str(),
                    _ => None,
                };
                let why = "only text can stand here";
                texts.push(text.ok_or_else(|| Unconvertible::new(format!("{field}[{i}]"), why))?);
            }
        }
        _ => return Err(Unconvertible::new(field, "it is neither a string nor a list of parts")),
    }
    Ok(texts.into_iter().filter(|text| !text.trim().is_empty()).map(|text| json!({"text": text})).collect())
}

/// The arguments of a call, which OpenAI writes as JSON in a string.
fn arguments(written: &Value) -> Result<Value, &'static str> {
    let parsed = match written {
        Value::String(text) if text.trim().is_empty() => Value::Null,
        Value::String(text) => serde_json::from_str(text).map_err(|_| "they are not valid JSON")?,
        other => other.clone(),
    };
    match parsed {
        Value::Null => Ok(json!({})),
        Value::Object(_) => Ok(parsed),
        _ => Err("they are no JSON object"),
    }
}

/// The id of a call, in the letters and of the length that Bedrock admits: a conversation may have begun with another
/// provider.
fn tool_use_id(id: &Value, field: &str) -> Result<String, Unconvertible> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or_else(|| Unconvertible::new(field, "it is missing"))?;
    let is_admitted = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    let mut id: Vec<char> = id.chars().map(|c| if is_admitted(c) { c } else { '_' }).collect();
    if id.len() > LONGEST_ID {
        // Ids that begin alike differ at their end, and the other way about.
        id.drain(LONGEST_ID / 2..id.len() - LONGEST_ID / 2);
    }
    Ok(id.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(messages: Value) -> Value {
        Conversation::read(&messages).unwrap().into_messages()
    }

    fn call(id: &str, arguments: Value) -> Value {
        json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
    }

    fn text(text: &str) -> Value {
        json!({"text": text})
    }

    #[test]
    fn instructions_are_kept_apart_turns_joined_and_blanks_gone() {
        let conversation = Conversation::read(&json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "a", "name": "Ann"},
            {"role": "assistant", "content": null},
            {"role": "assistant", "content": "", "tool_calls": []},
            {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "\n"}]},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": " "}]},
            {"role": "assistant", "content": "c", "reasoning_content": "hm"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "d"}], "refusal": "e"},
            {"role": "user", "content": "g"},
        ]))
        .unwrap();
        assert_eq!(conversation.system, [text("Be brief."), text("Be kind.")]);
        assert_eq!(
            conversation.into_messages(),
            json!([
                {"role": "user", "content": [text("a"), text("b")]},
                {"role": "assistant", "content": [text("c"), text("d"), text("e")]},
                {"role": "user", "content": [text("g")]},
            ])
        );
    }

    #[test]
    fn the_user_is_first_and_an_answer_that_has_begun_ends_without_white_space() {
        assert_eq!(
            messages(json!([{"role": "assistant", "content": "Once upon a time \n"}])),
            json!([{"role": "user", "content": [text(OPENING)]}, {"role": "assistant", "content": [text("Once upon a time")]}])
        );
    }

    #[test]
    fn calls_and_their_results() {
        let turns = Conversation::read(&json!([
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content": "Right.", "tool_calls": [call("call_1", "{\"x\": 1}".into()),
                call("f#2 \u{fc}", " ".into()), call("c3", json!({"y": 2})), call("c4", "null".into())]},
            {"role": "user", "content": "Wait."},
            {"role": "tool", "tool_call_id": "call_1", "content": "{\"one\": 1}"},
            {"role": "tool", "tool_call_id": "f#2 \u{fc}", "content": [{"type": "text", "text": "two"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC"}}]},
            {"role": "tool", "tool_call_id": "c3", "content": ""},
            {"role": "tool", "tool_call_id": "c4", "content": null},
            {"role": "user", "content": "And now?"},
        ]))
        .unwrap();
        assert!(turns.called.iter().eq(["f"]));
        let used = |id: &str, input: Value| json!({"toolUse": {"toolUseId": id, "name": "f", "input": input}});
        let result = |id: &str, content: Value| json!({"toolResult": {"toolUseId": id, "content": content}});
        assert_eq!(
            turns.into_messages(),
            json!([
                {"role": "user", "content": [text("Go")]},
                {"role": "assistant", "content": [text("Right."), used("call_1", json!({"x": 1})), used("f_2__", json!({})),
                    used("c3", json!({"y": 2})), used("c4", json!({}))]},
                {"role": "user", "content": [
                    result("call_1", json!([text("{\"one\": 1}")])),
                    result("f_2__", json!([text("two"), {"image": {"format": "png", "source": {"bytes": "AAEC"}}}])),
                    result("c3", json!([text(NO_OUTPUT)])),
                    result("c4", json!([text(NO_OUTPUT)])),
                    text("Wait."),
                    text("And now?"),
                ]},
            ])
        );
    }

    #[test]
    fn long_ids_are_cut_in_their_midst() {
        let id = |id: &str| tool_use_id(&id.into(), "f").unwrap();
        assert_eq!(id(&"a".repeat(64)), "a".repeat(64));
        let (one, other) = (id(&format!("{}1", "a".repeat(99))), id(&format!("{}2", "a".repeat(99))));
        assert_eq!((one.len(), other.len()), (64, 64));
        assert_ne!(one, other);
        assert_ne!(id(&format!("1{}", "a".repeat(99))), id(&format!("2{}", "a".repeat(99))));
    }

    #[test]
    fn documents_have_a_text_with_them_and_names_of_their_own() {
        let file =
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}});
        let document = |name: &str| json!({"document": {"format": "pdf", "name": name, "source": {"bytes": "AA=="}}});
        assert_eq!(
            messages(json!([{"role": "user", "content": [file]}, {"role": "assistant", "content": "b"},
                {"role": "user", "content": [file, {"type": "text", "text": "c"}]}])),
            json!([
                {"role": "user", "content": [document("a"), text(UNASKED)]},
                {"role": "assistant", "content": [text("b")]},
                {"role": "user", "content": [document("a (2)"), text("c")]},
            ])
        );
    }

    #[test]
    fn the_model_thinks_only_where_claude_may() {
        let may = |messages: Value| Conversation::read(&messages).unwrap().may_think();
        let user = json!({"role": "user", "content": "Go"});
        assert!(may(json!([user])));
        assert!(!may(json!([user, {"role": "assistant", "content": "Well,"}])));
        assert!(!may(json!([user, {"role": "tool", "tool_call_id": "a", "content": "1"}])));
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_its_place() {
        let with = |call: Value| json!([{"role": "assistant", "tool_calls": [call]}]);
        let sound = json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}});
        for (messages, field) in [
            (json!(null), "messages"),
            (json!([]), "messages"),
            (json!([{"role": "system", "content": "a"}]), "messages"),
            (json!([{"role": "user", "content": " "}]), "messages"),
            (json!([5]), "messages[0].role"),
            (json!([{"role": "function", "name": "f", "content": "a"}]), "messages[0].role"),
            (json!([{"role": "user", "content": 5}]), "messages[0].content"),
            (json!([{"role": "user", "content": [{"type": "hologram"}]}]), "messages[0].content[0]"),
            (json!([{"role": "system", "content": [{"type": "image_url"}]}]), "messages[0].content[0]"),
            (json!([{"role": "assistant", "audio": {"id": "x"}}]), "messages[0].audio"),
            (json!([{"role": "assistant", "function_call": {"name": "f"}}]), "messages[0].function_call"),
            (json!([{"role": "assistant", "tool_calls": {}}]), "messages[0].tool_calls"),
            (json!([{"role": "tool", "content": "a"}]), "messages[0].tool_call_id"),
            (json!([{"role": "tool", "tool_call_id": "x", "content": [sound]}]), "messages[0].content"),
            (with(json!({"id": "x", "type": "custom"})), "messages[0].tool_calls[0].type"),
            (with(json!({"id": "x", "function": {}})), "messages[0].tool_calls[0].function.name"),
            (with(json!({"function": {"name": "f"}})), "messages[0].tool_calls[0].id"),
            (with(call("x", "{oops".into())), "messages[0].tool_calls[0].function.arguments"),
            (with(call("x", "[1]".into())), "messages[0].tool_calls[0].function.arguments"),
        ] {
            assert_eq!(Conversation::read(&messages).err().unwrap().field, field, "{messages}");
        }
    }
}
