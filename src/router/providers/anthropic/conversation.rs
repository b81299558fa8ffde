//! OpenAI's list of messages as Anthropic's system prompt and turns.
//!
//! Anthropic wants user and assistant by turns, the user first, tool results at the beginning of the turn after the
//! calls, and no blank text. So neighbours of the same role become one turn, blank text and messages of nothing else
//! go, and a conversation that the assistant opens gets a first line that says so.
//!
//! System messages all go to the system prompt, wherever they stand: as text of the user they would lose their
//! authority, and that is what Anthropic's own OpenAI endpoint does with them.

use serde_json::{Value, json};

use super::{Unconvertible, unconvertible};

/// What the user says where the assistant spoke first.
const OPENING: &str = "(The assistant begins.)";

/// A conversation in Anthropic's form.
#[derive(Default)]
pub(super) struct Conversation {
    system: Vec<Value>,
    turns: Vec<Turn>,
}

struct Turn {
    role: &'static str,
    blocks: Vec<Value>,
}

impl Conversation {
    pub(super) fn read(messages: &Value) -> Result<Self, Unconvertible> {
        let messages = messages.as_array().ok_or_else(|| unconvertible("messages", "must be a list of messages"))?;
        let mut conversation = Self::default();
        for (index, message) in messages.iter().enumerate() {
            conversation.add(message, &format!("messages[{index}]"))?;
        }
        if conversation.turns.is_empty() {
            return Err(unconvertible("messages", "must hold a message of the user that isn't blank"));
        }
        conversation.settle();
        Ok(conversation)
    }

    /// One more instruction for the model.
    pub(super) fn instruct(&mut self, sentence: &str) {
        self.system.push(json!({"type": "text", "text": sentence}));
    }

    /// Whether Anthropic lets the model think before it goes on. It doesn't in the middle of calls of tools, where it
    /// wants to see the thoughts before them, which OpenAI's messages don't hold, nor in an answer that has begun.
    pub(super) fn may_think(&self) -> bool {
        self.turns.last().is_some_and(|turn| turn.role == "user" && !turn.blocks.iter().any(is_tool_result))
    }

    /// The system prompt: one text, or blocks where one of them is marked for caching.
    pub(super) fn system(&self) -> Option<Value> {
        if self.system.is_empty() {
            None
        } else if self.system.iter().any(|block| block.get("cache_control").is_some()) {
            Some(self.system.clone().into())
        } else {
            let texts: Vec<&str> = self.system.iter().filter_map(|block| block["text"].as_str()).collect();
            Some(texts.join("\n\n").into())
        }
    }

    /// The messages.
    pub(super) fn into_messages(self) -> Value {
        self.turns.into_iter().map(|turn| json!({"role": turn.role, "content": turn.blocks})).collect()
    }

    fn add(&mut self, message: &Value, place: &str) -> Result<(), Unconvertible> {
        let content = &message["content"];
        match message["role"].as_str() {
            Some("system" | "developer") => self.system.extend(blocks(content, place, Parts::Text)?),
            Some("user") => self.say("user", blocks(content, place, Parts::All)?),
            Some("assistant") => {
                let mut said = blocks(content, place, Parts::Text)?;
                if said.is_empty() {
                    said.extend(text_block(message["refusal"].as_str().unwrap_or_default(), message));
                }
                said.extend(tool_uses(message, place)?);
                self.say("assistant", said);
            }
            Some("tool") => self.say("user", vec![tool_result(message, place)?]),
            Some("function") => {
                return Err(unconvertible(format!("{place}.role"), "`function` is outdated; use `tool`"));
            }
            _ => {
                let why = "must be system, developer, user, assistant or tool";
                return Err(unconvertible(format!("{place}.role"), why));
            }
        }
        Ok(())
    }

    fn say(&mut self, role: &'static str, blocks: Vec<Value>) {
        if blocks.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.blocks.extend(blocks),
            _ => self.turns.push(Turn { role, blocks }),
        }
    }

    /// Sees to what Anthropic asks of the whole.
    fn settle(&mut self) {
        if self.turns.first().is_some_and(|turn| turn.role != "user") {
            self.turns.insert(0, Turn { role: "user", blocks: vec![json!({"type": "text", "text": OPENING})] });
        }
        for turn in &mut self.turns {
            // The sort is stable.
            turn.blocks.sort_by_key(|block| !is_tool_result(block));
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

fn is_tool_result(block: &Value) -> bool {
    block["type"] == "tool_result"
}

/// Which parts a message may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    Text,
    All,
}

fn blocks(content: &Value, place: &str, allowed: Parts) -> Result<Vec<Value>, Unconvertible> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text_block(text, &Value::Null).into_iter().collect()),
        Value::Array(parts) => {
            let blocks = parts
                .iter()
                .enumerate()
                .map(|(index, part)| block(part, &format!("{place}.content[{index}]"), allowed))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(blocks.into_iter().flatten().collect())
        }
        _ => Err(unconvertible(format!("{place}.content"), "must be a text or a list of parts")),
    }
}

/// The block for a part; none for blank text.
fn block(part: &Value, place: &str, allowed: Parts) -> Result<Option<Value>, Unconvertible> {
    let of_text = |field: &str| match part[field].as_str() {
        Some(text) => Ok(text_block(text, part)),
        None => Err(unconvertible(format!("{place}.{field}"), "must be a text")),
    };
    match part["type"].as_str() {
        Some("text") => of_text("text"),
        Some("refusal") => of_text("refusal"),
        Some("image_url") if allowed == Parts::All => image(part, place).map(Some),
        Some("file") if allowed == Parts::All => document(part, place).map(Some),
        Some(kind) => {
            Err(unconvertible(place, format!("is of type `{kind}`, which an Anthropic model doesn't take here")))
        }
        None => Err(unconvertible(format!("{place}.type"), "must be a text")),
    }
}

fn text_block(text: &str, part: &Value) -> Option<Value> {
    (!text.trim().is_empty()).then(|| with_cache_control(json!({"type": "text", "text": text}), part))
}

fn image(part: &Value, place: &str) -> Result<Value, Unconvertible> {
    let url = part["image_url"]["url"].as_str().or(part["image_url"].as_str());
    let source = match url {
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => json!({"type": "url", "url": url}),
        Some(url) => match data_url(url) {
            // The registered name is image/jpeg, and Anthropic knows no other.
            Some(("image/jpg", data)) => base64("image/jpeg", data),
            Some((media_type, data)) => base64(media_type, data),
            None => {
                let why = "must be an http or https address, or a data: address in base64";
                return Err(unconvertible(format!("{place}.image_url.url"), why));
            }
        },
        None => return Err(unconvertible(format!("{place}.image_url.url"), "is missing")),
    };
    Ok(with_cache_control(json!({"type": "image", "source": source}), part))
}

fn document(part: &Value, place: &str) -> Result<Value, Unconvertible> {
    let file = &part["file"];
    match file["file_data"].as_str().and_then(data_url) {
        Some((media_type @ "application/pdf", data)) => {
            let mut document = json!({"type": "document", "source": base64(media_type, data)});
            insert(&mut document, "title", &file["filename"]);
            Ok(with_cache_control(document, part))
        }
        _ => {
            let why = "must be a PDF as a data: address in base64; an Anthropic model takes no other file from here";
            Err(unconvertible(format!("{place}.file.file_data"), why))
        }
    }
}

fn base64(media_type: &str, data: &str) -> Value {
    json!({"type": "base64", "media_type": media_type, "data": data})
}

/// Type and base64 of a `data:` address.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let head = head.strip_suffix(";base64")?;
    let media_type = head.split(';').next().filter(|media_type| !media_type.is_empty())?;
    Some((media_type, data))
}

fn tool_uses(message: &Value, place: &str) -> Result<Vec<Value>, Unconvertible> {
    if !message["function_call"].is_null() {
        return Err(unconvertible(format!("{place}.function_call"), "is outdated; use `tool_calls`"));
    }
    let calls = message["tool_calls"].as_array().into_iter().flatten().enumerate();
    calls.map(|(index, call)| tool_use(call, &format!("{place}.tool_calls[{index}]"))).collect()
}

fn tool_use(call: &Value, place: &str) -> Result<Value, Unconvertible> {
    if call["type"].as_str().is_some_and(|kind| kind != "function") {
        return Err(unconvertible(format!("{place}.type"), "must be `function` for an Anthropic model"));
    }
    let function = &call["function"];
    let Some(name) = function["name"].as_str() else {
        return Err(unconvertible(format!("{place}.function.name"), "is missing"));
    };
    let input = match &function["arguments"] {
        Value::Null => json!({}),
        Value::String(text) if text.trim().is_empty() => json!({}),
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        arguments => arguments.clone(),
    };
    if !input.is_object() {
        return Err(unconvertible(format!("{place}.function.arguments"), "must be a JSON object"));
    }
    let id = tool_id(&call["id"], &format!("{place}.id"))?;
    Ok(with_cache_control(json!({"type": "tool_use", "id": id, "name": name, "input": input}), call))
}

fn tool_result(message: &Value, place: &str) -> Result<Value, Unconvertible> {
    let id = tool_id(&message["tool_call_id"], &format!("{place}.tool_call_id"))?;
    let mut result = json!({"type": "tool_result", "tool_use_id": id});
    match &message["content"] {
        Value::String(text) if text.is_empty() => {}
        text @ Value::String(_) => insert(&mut result, "content", text),
        content => {
            let blocks = blocks(content, place, Parts::All)?;
            if !blocks.is_empty() {
                insert(&mut result, "content", &blocks.into());
            }
        }
    }
    Ok(with_cache_control(result, message))
}

/// The id of a call, in the letters that Anthropic admits: other providers write ids such as `functions.f:0`, and a
/// conversation may have begun with one of them.
fn tool_id(id: &Value, place: &str) -> Result<String, Unconvertible> {
    match id.as_str() {
        Some(id) if !id.is_empty() => {
            Ok(id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect())
        }
        _ => Err(unconvertible(place, "is missing")),
    }
}

fn with_cache_control(mut block: Value, part: &Value) -> Value {
    insert(&mut block, "cache_control", part.get("cache_control").unwrap_or(&Value::Null));
    block
}

/// Adds a member that says something.
fn insert(object: &mut Value, name: &str, value: &Value) {
    if let Value::Object(members) = object
        && !value.is_null()
    {
        members.insert(name.into(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(messages: Value) -> Value {
        Conversation::read(&messages).unwrap().into_messages()
    }

    fn refused(messages: Value) -> String {
        Conversation::read(&messages).err().unwrap().to_string()
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    #[test]
    fn system_messages_become_the_system_prompt_wherever_they_stand() {
        let conversation = Conversation::read(&json!([
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": " "}]},
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": "Speak French."},
        ]))
        .unwrap();
        assert_eq!(conversation.system().unwrap(), "Be brief.\n\nBe kind.\n\nSpeak French.");
        assert_eq!(conversation.into_messages(), json!([{"role": "user", "content": [text("Hi")]}]));
    }

    #[test]
    fn a_system_prompt_marked_for_caching_stays_in_blocks() {
        let marked = json!({"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}});
        let conversation = Conversation::read(&json!([
            {"role": "system", "content": [marked]}, {"role": "system", "content": "Short."}, {"role": "user", "content": "Hi"},
        ]))
        .unwrap();
        assert_eq!(conversation.system().unwrap(), json!([marked, text("Short.")]));
    }

    #[test]
    fn neighbours_of_one_role_become_one_turn_and_blanks_go() {
        let expected = json!([
            {"role": "user", "content": [text("a"), text("b")]},
            {"role": "assistant", "content": [text("c"), text("d")]},
            {"role": "user", "content": [text("e")]},
        ]);
        assert_eq!(
            messages(json!([
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": null},
                {"role": "assistant", "content": ""},
                {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "\n"}]},
                {"role": "assistant", "content": "c", "reasoning_content": "hm"},
                {"role": "assistant", "content": [], "refusal": "d"},
                {"role": "user", "content": "e"},
            ])),
            expected
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
    fn images_and_pdfs_become_sources() {
        let parts = json!([
            {"type": "text", "text": "What is it?", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}, "cache_control": {"type": "ephemeral"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        ]);
        assert_eq!(
            messages(json!([{"role": "user", "content": parts}]))[0]["content"],
            json!([
                {"type": "text", "text": "What is it?", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"},
                    "cache_control": {"type": "ephemeral"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                    "title": "a.pdf"},
            ])
        );
    }

    #[test]
    fn calls_and_their_results_become_blocks_and_results_stand_first() {
        let call = |id: &str, arguments: Value| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
        let turns = messages(json!([
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content": "Right.", "tool_calls": [
                call("call_1", "{\"x\": 1}".into()), call("functions.f:2", "".into()),
                call("c3", json!({"y": 2})), call("c4", Value::Null)]},
            {"role": "user", "content": "Wait."},
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
            {"role": "tool", "tool_call_id": "functions.f:2", "content": [{"type": "text", "text": "two"}]},
            {"role": "tool", "tool_call_id": "c3", "content": ""},
            {"role": "tool", "tool_call_id": "c4", "content": null},
            {"role": "user", "content": "And now?"},
        ]));
        assert_eq!(
            turns[1]["content"],
            json!([
                text("Right."),
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "functions_f_2", "name": "f", "input": {}},
                {"type": "tool_use", "id": "c3", "name": "f", "input": {"y": 2}},
                {"type": "tool_use", "id": "c4", "name": "f", "input": {}},
            ])
        );
        assert_eq!(
            turns[2],
            json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "functions_f_2", "content": [text("two")]},
                {"type": "tool_result", "tool_use_id": "c3"},
                {"type": "tool_result", "tool_use_id": "c4"},
                text("Wait."),
                text("And now?"),
            ]})
        );
        assert_eq!(turns[3], Value::Null);
    }

    #[test]
    fn the_model_thinks_only_where_anthropic_lets_it() {
        let may = |messages: Value| Conversation::read(&messages).unwrap().may_think();
        let user = json!({"role": "user", "content": "Go"});
        assert!(may(json!([user])));
        assert!(!may(json!([user, {"role": "assistant", "content": "Well,"}])));
        assert!(!may(json!([user, {"role": "tool", "tool_call_id": "a", "content": "1"}])));
    }

    #[test]
    fn what_cannot_be_said_names_its_place() {
        let user = |part: Value| json!([{"role": "user", "content": [part]}]);
        let calls = |call: Value| json!([{"role": "assistant", "tool_calls": [call]}]);
        for (messages, place) in [
            (Value::Null, "`messages`"),
            (json!([]), "`messages`"),
            (json!([{"role": "system", "content": "a"}]), "`messages`"),
            (json!(["a"]), "`messages[0].role`"),
            (json!([{"role": "function", "content": "a"}]), "`messages[0].role`"),
            (json!([{"role": "user", "content": 5}]), "`messages[0].content`"),
            (user(json!("a")), "`messages[0].content[0].type`"),
            (user(json!({"type": "text"})), "`messages[0].content[0].text`"),
            (user(json!({"type": "input_audio", "input_audio": {}})), "`messages[0].content[0]`"),
            (user(json!({"type": "image_url"})), "`messages[0].content[0].image_url.url`"),
            (
                user(json!({"type": "image_url", "image_url": {"url": "file:///a"}})),
                "`messages[0].content[0].image_url.url`",
            ),
            (user(json!({"type": "file", "file": {"file_id": "f"}})), "`messages[0].content[0].file.file_data`"),
            (json!([{"role": "system", "content": [{"type": "image_url"}]}]), "`messages[0].content[0]`"),
            (json!([{"role": "tool", "content": "a"}]), "`messages[0].tool_call_id`"),
            (json!([{"role": "assistant", "function_call": {}}]), "`messages[0].function_call`"),
            (calls(json!({"id": "a", "type": "custom"})), "`messages[0].tool_calls[0].type`"),
            (calls(json!({"id": "a"})), "`messages[0].tool_calls[0].function.name`"),
            (calls(json!({"function": {"name": "f"}})), "`messages[0].tool_calls[0].id`"),
            (
                calls(json!({"id": "a", "function": {"name": "f", "arguments": "{oops"}})),
                "`messages[0].tool_calls[0].function.arguments`",
            ),
            (
                calls(json!({"id": "a", "function": {"name": "f", "arguments": "[1]"}})),
                "`messages[0].tool_calls[0].function.arguments`",
            ),
        ] {
            let message = refused(messages);
            assert!(message.starts_with(place), "{message}");
        }
    }
}
