//! A conversation's messages as Gemini's contents.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Unconvertible, is_gemini_3_or_later, media};

/// What Google says to send in place of a thought signature that a history lacks. Models of the third generation refuse a
/// call without one; calls lack it when another provider or our cache answered, or a client dropped what it didn't know.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// A conversation as Gemini sees it.
pub(super) struct Conversation {
    /// The parts of the system's instruction.
    pub(super) system: Vec<Value>,
    /// The turns of the user and of the model.
    pub(super) contents: Vec<Value>,
}

/// Who speaks. Results of tools are the user's to Google too, but they stay in contents of their own, as many as there were
/// calls in the content before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    User,
    Model,
    Tools,
}

/// A call that the model made earlier.
struct Call {
    name: String,
    /// Which call of the conversation it is.
    place: usize,
}

/// Reads the messages of a request to `model`.
pub(super) fn conversation(messages: &Value, model: &str) -> Result<Conversation, Unconvertible> {
    let messages = messages.as_array().ok_or_else(|| Unconvertible::new("messages", "it is no list"))?;
    let last_question = messages.iter().rposition(|message| message["role"] == "user");
    let mut reading = Reading {
        has_ids: is_gemini_3_or_later(model),
        system: Vec::new(),
        turns: Vec::new(),
        calls: HashMap::new(),
        made: 0,
    };
    for (i, message) in messages.iter().enumerate() {
        let field = format!("messages[{i}]");
        match message["role"].as_str() {
            Some("system" | "developer") => {
                reading.system.extend(texts(&message["content"], &format!("{field}.content"))?);
            }
            Some("user") => reading.user(message, &field)?,
            Some("assistant") => reading.assistant(message, &field, last_question.is_none_or(|last| i > last))?,
            Some("tool") => reading.tool(message, &field)?,
            Some(other) => {
                return Err(Unconvertible::new(format!("{field}.role"), format!("`{other}` has no counterpart")));
            }
            None => return Err(Unconvertible::new(format!("{field}.role"), "it is missing")),
        }
    }
    let system = reading.system.iter().map(|text| json!({"text": text})).collect();
    let contents: Vec<Value> = reading.turns.into_iter().map(Turn::content).collect();
    if contents.is_empty() {
        return Err(Unconvertible::new("messages", "there has to be a message of the user that isn't empty"));
    }
    Ok(Conversation { system, contents })
}

struct Turn {
    speaker: Speaker,
    /// The parts, each with its place among those that have to be in an order of their own.
    parts: Vec<(usize, Value)>,
}

impl Turn {
    fn content(mut self) -> Value {
        // Without ids, two calls of one function and their results belong together by their order only.
        self.parts.sort_by_key(|(place, _)| *place);
        let role = if self.speaker == Speaker::Model { "model" } else { "user" };
        let parts: Vec<Value> = self.parts.into_iter().map(|(_, part)| part).collect();
        json!({"role": role, "parts": parts})
    }
}

struct Reading {
    has_ids: bool,
    system: Vec<String>,
    turns: Vec<Turn>,
    calls: HashMap<String, Call>,
    /// How many calls there were, those of an id that came again included.
    made: usize,
}

impl Reading {
    /// Adds to the last turn if it is the same speaker's.
    fn say(&mut self, speaker: Speaker, place: usize, part: Value) {
        match self.turns.last_mut() {
            Some(turn) if turn.speaker == speaker => turn.parts.push((place, part)),
            _ => self.turns.push(Turn { speaker, parts: vec![(place, part)] }),
        }
    }

    fn user(&mut self, message: &Value, field: &str) -> Result<(), Unconvertible> {
        let field = format!("{field}.content");
        match &message["content"] {
            Value::Array(parts) => {
                for (i, part) in parts.iter().enumerate() {
                    if let Some(part) = media::part(part, &format!("{field}[{i}]"))? {
                        self.say(Speaker::User, 0, part);
                    }
                }
            }
            content => {
                for text in texts(content, &field)? {
                    self.say(Speaker::User, 0, json!({"text": text}));
                }
            }
        }
        Ok(())
    }

    fn assistant(&mut self, message: &Value, field: &str, is_current: bool) -> Result<(), Unconvertible> {
        for name in ["function_call", "audio"] {
            if !message[name].is_null() {
                return Err(Unconvertible::new(format!("{field}.{name}"), "it has no counterpart"));
            }
        }
        let said = texts(&message["content"], &format!("{field}.content"))?;
        let refused = texts(&message["refusal"], &format!("{field}.refusal"))?;
        for text in said.into_iter().chain(refused) {
            self.say(Speaker::Model, 0, json!({"text": text}));
        }
        let calls = match &message["tool_calls"] {
            Value::Null => return Ok(()),
            Value::Array(calls) => calls,
            _ => return Err(Unconvertible::new(format!("{field}.tool_calls"), "it is no list")),
        };
        for (i, call) in calls.iter().enumerate() {
            // Only the first of parallel calls has a signature, and only those of the turn that goes on are looked at.
            let wants_signature = self.has_ids && is_current && i == 0;
            self.call(call, &format!("{field}.tool_calls[{i}]"), wants_signature)?;
        }
        Ok(())
    }

    fn call(&mut self, call: &Value, field: &str, wants_signature: bool) -> Result<(), Unconvertible> {
        if !call["type"].is_null() && call["type"] != "function" {
            return Err(Unconvertible::new(format!("{field}.type"), "only functions can be called"));
        }
        let function = &call["function"];
        let name = function["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Unconvertible::new(format!("{field}.function.name"), "it is missing"))?;
        let arguments = arguments(&function["arguments"])
            .map_err(|why| Unconvertible::new(format!("{field}.function.arguments"), why))?;
        let mut called = json!({"name": name, "args": arguments});
        if let Some(id) = call["id"].as_str() {
            if self.has_ids
                && let Value::Object(called) = &mut called
            {
                called.insert("id".into(), id.into());
            }
            self.calls.insert(id.to_owned(), Call { name: name.to_owned(), place: self.made });
            self.made = self.made.saturating_add(1);
        }
        let signature = call["extra_content"]["google"]["thought_signature"].as_str().filter(|text| !text.is_empty());
        let part = match signature.or(wants_signature.then_some(NO_SIGNATURE)) {
            Some(signature) => json!({"functionCall": called, "thoughtSignature": signature}),
            None => json!({"functionCall": called}),
        };
        self.say(Speaker::Model, 0, part);
        Ok(())
    }

    fn tool(&mut self, message: &Value, field: &str) -> Result<(), Unconvertible> {
        let id = message["tool_call_id"].as_str().unwrap_or_default();
        let Some(call) = self.calls.get(id) else {
            return Err(Unconvertible::new(format!("{field}.tool_call_id"), "no call before has this id"));
        };
        let content = texts(&message["content"], &format!("{field}.content"))?.concat();
        let mut response = json!({"name": call.name, "response": response(&content)});
        if self.has_ids
            && let Value::Object(response) = &mut response
        {
            response.insert("id".into(), id.into());
        }
        let place = call.place;
        self.say(Speaker::Tools, place, json!({"functionResponse": response}));
        Ok(())
    }
}

/// The texts of a content that holds nothing else, without empty ones, which Google refuses.
fn texts(content: &Value, field: &str) -> Result<Vec<String>, Unconvertible> {
    let mut texts = Vec::new();
    match content {
        Value::Null => {}
        Value::String(text) => texts.push(text.clone()),
        Value::Array(parts) => {
            for (i, part) in parts.iter().enumerate() {
                let text = match part["type"].as_str() {
                    Some(kind @ ("text" | "refusal")) => part[kind].as_str(),
                    _ => None,
                };
                let why = "only text can stand here";
                texts.push(text.ok_or_else(|| Unconvertible::new(format!("{field}[{i}]"), why))?.to_owned());
            }
        }
        _ => return Err(Unconvertible::new(field, "it is neither a string nor a list of parts")),
    }
    texts.retain(|text| !text.is_empty());
    Ok(texts)
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

/// What a tool said, as the object that Google wants. Lists are told as such; numbers and the like stay text, because what
/// looks like a number may be one too long to be kept, or a name.
fn response(content: &str) -> Value {
    match serde_json::from_str(content) {
        Ok(object @ Value::Object(_)) => object,
        Ok(list @ Value::Array(_)) => json!({"result": list}),
        _ => json!({"result": content}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "gemini-2.5-flash";
    const NEW: &str = "gemini-3.5-flash";

    fn contents(messages: Value, model: &str) -> Value {
        conversation(&messages, model).unwrap().contents.into()
    }

    fn refused(messages: Value) -> String {
        conversation(&messages, OLD).err().unwrap().field
    }

    fn call(id: &str, name: &str, arguments: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }

    #[test]
    fn instructions_are_kept_apart_and_turns_joined() {
        let conversation = conversation(
            &json!([
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "a", "name": "Ann"},
                {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": ""}]},
                {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
                {"role": "assistant", "content": "c", "reasoning_content": "hm"},
                {"role": "assistant", "content": [{"type": "text", "text": "d"}, {"type": "refusal", "refusal": "e"}]},
                {"role": "assistant", "content": null, "refusal": "f"},
                {"role": "user", "content": "g"},
            ]),
            OLD,
        )
        .unwrap();
        assert_eq!(conversation.system, [json!({"text": "Be brief."}), json!({"text": "Be kind."})]);
        assert_eq!(
            Value::from(conversation.contents),
            json!([
                {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
                {"role": "model", "parts": [{"text": "c"}, {"text": "d"}, {"text": "e"}, {"text": "f"}]},
                {"role": "user", "parts": [{"text": "g"}]},
            ])
        );
    }

    #[test]
    fn what_is_empty_goes() {
        assert_eq!(
            contents(
                json!([
                    {"role": "system", "content": ""},
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": null, "tool_calls": null},
                    {"role": "assistant", "content": "", "tool_calls": []},
                    {"role": "assistant"},
                    {"role": "user", "content": null},
                    {"role": "user", "content": []},
                    {"role": "user", "content": "b"},
                ]),
                OLD
            ),
            json!([{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}])
        );
        for nothing in
            [json!([]), json!([{"role": "user", "content": ""}]), json!([{"role": "system", "content": "a"}])]
        {
            assert_eq!(refused(nothing), "messages");
        }
    }

    #[test]
    fn calls_and_results_belong_together_by_name_and_order() {
        let messages = json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "Let me see.",
                "tool_calls": [call("c1", "weather", "{\"city\":\"Bern\"}"), call("c2", "weather", " "), call("c3", "time", "null")]},
            {"role": "tool", "tool_call_id": "c3", "content": "[1, 2]"},
            {"role": "tool", "tool_call_id": "c2", "content": "12"},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "{\"sky\":"}, {"type": "text", "text": "\"blue\"}"}]},
            {"role": "user", "content": "And now?"},
        ]);
        assert_eq!(
            contents(messages.clone(), OLD),
            json!([
                {"role": "user", "parts": [{"text": "Weather?"}]},
                {"role": "model", "parts": [
                    {"text": "Let me see."},
                    {"functionCall": {"name": "weather", "args": {"city": "Bern"}}},
                    {"functionCall": {"name": "weather", "args": {}}},
                    {"functionCall": {"name": "time", "args": {}}},
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "weather", "response": {"sky": "blue"}}},
                    {"functionResponse": {"name": "weather", "response": {"result": "12"}}},
                    {"functionResponse": {"name": "time", "response": {"result": [1, 2]}}},
                ]},
                {"role": "user", "parts": [{"text": "And now?"}]},
            ])
        );
        let new = contents(messages, NEW);
        // The question after it ends the turn of the calls, so nobody asks for their signature.
        assert_eq!(
            new[1]["parts"][1],
            json!({"functionCall": {"name": "weather", "args": {"city": "Bern"}, "id": "c1"}})
        );
        assert_eq!(
            new[2]["parts"][0],
            json!({"functionResponse": {"name": "weather", "response": {"sky": "blue"}, "id": "c1"}})
        );
    }

    #[test]
    fn results_of_any_form_become_an_object() {
        for (content, expected) in [
            (json!("{\"a\":1}"), json!({"a": 1})),
            (json!(""), json!({"result": ""})),
            (json!(null), json!({"result": ""})),
            (json!("sunny"), json!({"result": "sunny"})),
            (json!("{\"a\":"), json!({"result": "{\"a\":"})),
            (json!("12345678901234567890123"), json!({"result": "12345678901234567890123"})),
        ] {
            let messages = json!([{"role": "assistant", "tool_calls": [call("x", "f", "")]},
                {"role": "tool", "tool_call_id": "x", "content": content}]);
            assert_eq!(contents(messages, OLD)[1]["parts"][0]["functionResponse"]["response"], expected);
        }
    }

    #[test]
    fn signatures_go_back_and_missing_ones_are_excused() {
        let mut signed = call("a", "f", "{}");
        signed["extra_content"] = json!({"google": {"thought_signature": "c2ln"}});
        let messages = json!([{"role": "user", "content": "go"},
            {"role": "assistant", "tool_calls": [signed, call("b", "g", "{}")]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "assistant", "tool_calls": [call("c", "f", "{}"), call("d", "g", "{}")]}]);
        for (model, excuse) in [(OLD, Value::Null), (NEW, json!(NO_SIGNATURE))] {
            let contents = contents(messages.clone(), model);
            assert_eq!(contents[1]["parts"][0]["thoughtSignature"], "c2ln");
            assert_eq!(contents[1]["parts"][1]["thoughtSignature"], Value::Null);
            assert_eq!(contents[3]["parts"][0]["thoughtSignature"], excuse);
            assert_eq!(contents[3]["parts"][1]["thoughtSignature"], Value::Null);
        }
    }

    #[test]
    fn an_id_that_comes_twice_is_the_later_call() {
        let messages = json!([
            {"role": "assistant", "tool_calls": [call("x", "f", "")]}, {"role": "tool", "tool_call_id": "x", "content": "1"},
            {"role": "assistant", "tool_calls": [call("x", "g", "")]}, {"role": "tool", "tool_call_id": "x", "content": "2"}]);
        let contents = contents(messages, OLD);
        assert_eq!(contents[1]["parts"][0]["functionResponse"]["name"], "f");
        assert_eq!(contents[3]["parts"][0]["functionResponse"]["name"], "g");
    }

    #[test]
    fn ids_that_every_turn_has_anew_keep_their_order() {
        let turn = |first: &str, second: &str| {
            [
                json!({"role": "assistant", "tool_calls": [call("0", first, ""), call("1", second, "")]}),
                json!({"role": "tool", "tool_call_id": "1", "content": second}),
                json!({"role": "tool", "tool_call_id": "0", "content": first}),
            ]
        };
        let contents = contents(Value::from([turn("a", "b"), turn("c", "d")].concat()), OLD);
        for (content, names) in [(1, ["a", "b"]), (3, ["c", "d"])] {
            let parts = contents[content]["parts"].as_array().unwrap();
            let told: Vec<_> = parts.iter().map(|part| part["functionResponse"]["name"].clone()).collect();
            assert_eq!(told, names);
        }
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_its_place() {
        let with = |call: Value| json!([{"role": "assistant", "tool_calls": [call]}]);
        for (messages, field) in [
            (json!(null), "messages"),
            (json!("hi"), "messages"),
            (json!([5]), "messages[0].role"),
            (json!([{"content": "a"}]), "messages[0].role"),
            (json!([{"role": "function", "name": "f", "content": "a"}]), "messages[0].role"),
            (json!([{"role": "user", "content": 5}]), "messages[0].content"),
            (json!([{"role": "user", "content": [{"type": "hologram"}]}]), "messages[0].content[0]"),
            (json!([{"role": "system", "content": [{"type": "image_url"}]}]), "messages[0].content[0]"),
            (json!([{"role": "assistant", "audio": {"id": "x"}}]), "messages[0].audio"),
            (json!([{"role": "assistant", "function_call": {"name": "f"}}]), "messages[0].function_call"),
            (json!([{"role": "assistant", "tool_calls": {}}]), "messages[0].tool_calls"),
            (json!([{"role": "tool", "tool_call_id": "x", "content": "a"}]), "messages[0].tool_call_id"),
            (json!([{"role": "tool", "content": "a"}]), "messages[0].tool_call_id"),
            (with(json!({"id": "x", "type": "custom"})), "messages[0].tool_calls[0].type"),
            (with(json!({"id": "x", "function": {}})), "messages[0].tool_calls[0].function.name"),
            (with(call("x", "f", "{oops")), "messages[0].tool_calls[0].function.arguments"),
            (with(call("x", "f", "[1]")), "messages[0].tool_calls[0].function.arguments"),
            (with(json!(null)), "messages[0].tool_calls[0].function.name"),
        ] {
            assert_eq!(refused(messages.clone()), field, "{messages}");
        }
    }
}
