//! A chat's messages as Converse's.
//!
//! Bedrock wants user and assistant by turns, the user first, and no blank text. Claude wants the results of tools at
//! the beginning of the turn after the calls. So neighbours of the same role become one turn. Blank text is left out,
//! and so are messages of nothing else. A conversation that the assistant opens gets a first line that says so.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::OWN;
use super::content::{DOCUMENTS, IMAGES, block, cache_point, mark, reasoning_block, text_block, wrapped};
use crate::llm::FormatId;
use crate::llm::chat::{Content, Message, Part, Role, Source, ToolCall, ToolResult};
use crate::llm::claude::OPENING;
use crate::llm::error::Unsupported;
use crate::llm::members::Place;
use crate::llm::models::{CachePoints, Family, Maker};

/// What the user says along with a document and nothing else: Bedrock takes none without a text.
const UNASKED: &str = "(See the document.)";
/// The result of a tool that said nothing, which has to be some text.
const NO_OUTPUT: &str = "(no output)";
/// The longest id of a call that Bedrock takes.
const LONGEST_ID: usize = 64;
/// How much of a document's name is kept. Bedrock takes 200 characters, and a number may follow.
const LONGEST_NAME: usize = 180;
/// The formats of recordings that Bedrock knows.
const SOUNDS: [&str; 7] = ["wav", "mp3", "flac", "opus", "ogg", "aac", "m4a"];

/// Who reads the conversation.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) family: Family,
    /// Whether the request was said in Converse's words: what it says goes out as it is.
    pub(super) is_own: bool,
}

impl Target {
    /// `blocks` with the cache points for their marks, where the model takes them `at` this place.
    pub(super) fn with_points(self, blocks: Vec<Marked>, at: CachePoints) -> Vec<Value> {
        let takes = self.is_own || self.family.cache_points >= at;
        let may_last = self.is_own || self.family.cache_points >= CachePoints::Hour;
        let point = |mark: Option<Value>| mark.filter(|_| takes).map(|mark| cache_point(&mark, may_last));
        blocks.into_iter().flat_map(|(block, mark)| [Some(block), point(mark)]).flatten().collect()
    }
}

/// A block, and its mark for the provider's prompt cache.
pub(super) type Marked = (Value, Option<Value>);

/// A conversation as Bedrock sees it.
pub(super) struct Conversation {
    target: Target,
    /// The blocks of the system's instruction.
    pub(super) system: Vec<Marked>,
    turns: Vec<Turn>,
    /// The functions that were called.
    pub(super) called: BTreeSet<String>,
    /// How often each name was given to a document: no two of a request may have the same.
    names: HashMap<String, usize>,
}

struct Turn {
    role: &'static str,
    blocks: Vec<Marked>,
    beside: Map<String, Value>,
}

impl Turn {
    fn has(&self, name: &str) -> bool {
        self.blocks.iter().any(|(block, _)| block.get(name).is_some())
    }
}

impl Conversation {
    /// `last_mark` marks the end of the conversation.
    pub(super) fn of(messages: &[Message], target: Target, last_mark: Option<&Value>) -> Result<Self, Unsupported> {
        let (system, turns, called, names) = (Vec::new(), Vec::new(), BTreeSet::new(), HashMap::new());
        let mut conversation = Self { target, system, turns, called, names };
        let place = Place::ROOT.name("messages");
        for (index, message) in messages.iter().enumerate() {
            conversation.add(message, place.index(index))?;
        }
        match (conversation.turns.last_mut().and_then(|turn| turn.blocks.last_mut()), last_mark) {
            // A stored prompt may have messages of its own.
            (None, _) if !target.is_own => {
                return Err(place.wrong("must hold a message of the user that isn't blank"));
            }
            (Some((_, mark)), Some(last_mark)) => drop(mark.get_or_insert_with(|| last_mark.clone())),
            _ => {}
        }
        conversation.settle();
        Ok(conversation)
    }

    /// One more instruction for the model.
    pub(super) fn instruct(&mut self, sentence: &str) {
        self.system.push((json!({"text": sentence}), None));
    }

    /// Whether Claude may think before it goes on. Within calls of tools it wants to see its thoughts from before them.
    /// It doesn't think in an answer that has begun.
    pub(super) fn may_think(&self) -> bool {
        let mut turns = self.turns.iter().rev();
        let is_question = turns.next().is_some_and(|turn| turn.role == "user");
        let is_within_calls = self.turns.last().is_some_and(|turn| turn.has("toolResult"));
        is_question && (!is_within_calls || turns.next().is_some_and(|turn| turn.has("reasoningContent")))
    }

    /// Converse's messages.
    pub(super) fn into_messages(self) -> Vec<Value> {
        let message = |turn: Turn| {
            let content = self.target.with_points(turn.blocks, CachePoints::Prompt);
            let mut message = Map::from_iter([("role".into(), turn.role.into()), ("content".into(), content.into())]);
            message.extend(turn.beside);
            Value::Object(message)
        };
        self.turns.into_iter().map(message).collect()
    }

    fn add(&mut self, message: &Message, place: Place<'_>) -> Result<(), Unsupported> {
        let mut blocks = self.blocks(&message.parts, message.role, place)?;
        if let (Some(mark), Some((_, last))) = (mark(&message.extra), blocks.last_mut()) {
            last.get_or_insert_with(|| mark.clone());
        }
        let role = match message.role {
            Role::System | Role::Developer => {
                self.system.extend(blocks);
                return Ok(());
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let beside = message.extra.members(OWN);
        match self.turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some(turn) if turn.role == role => {
                turn.blocks.extend(blocks);
                turn.beside.extend(beside);
            }
            _ => self.turns.push(Turn { role, blocks, beside }),
        }
        Ok(())
    }

    fn blocks(&mut self, parts: &[Part], role: Role, place: Place<'_>) -> Result<Vec<Marked>, Unsupported> {
        let place = place.name("content");
        let blocks = parts.iter().enumerate().map(|(index, part)| {
            let block = self.block(part, role, place.index(index))?;
            Ok(block.map(|block| (block, mark(&part.extra).cloned())))
        });
        blocks.filter_map(Result::transpose).collect()
    }

    /// The block for a part. None for a blank text, which Bedrock refuses, or for thoughts that the model refuses.
    fn block(&mut self, part: &Part, role: Role, place: Place<'_>) -> Result<Option<Value>, Unsupported> {
        Ok(match (&part.content, role) {
            (Content::Text(text) | Content::Refusal(text), _) => {
                (!text.trim().is_empty()).then(|| text_block(text, &part.extra))
            }
            (Content::Foreign(OWN, block), _) => Some(block.clone()),
            (Content::Reasoning(text), Role::Assistant) => {
                self.takes_thoughts(part).then(|| reasoning_block(text, part))
            }
            (Content::ToolCall(call), Role::Assistant) => Some(self.call(call, part, place)?),
            (Content::ToolResult(result), Role::Tool) => Some(self.result(result, part, place)?),
            (Content::Image(source), Role::User | Role::Tool) => Some(self.file("image", source, None, part, place)?),
            (Content::Document { source, name }, Role::User | Role::Tool) => {
                Some(self.file("document", source, name.as_deref(), part, place)?)
            }
            (Content::Audio { data, format }, Role::User)
                if SOUNDS.contains(&format.as_str()) || self.target.is_own =>
            {
                Some(block("audio", json!({"format": format, "source": {"bytes": data}}), &part.extra))
            }
            _ => return Err(place.wrong("is of a kind that can't stand here for a Bedrock model")),
        })
    }

    /// Claude takes only thoughts that it sealed. Other models get those of requests in Converse's words.
    fn takes_thoughts(&self, part: &Part) -> bool {
        match (self.target.family.maker, &part.seal) {
            (Maker::Anthropic, _) => part.claudes_seal().is_some(),
            // An application's inference profile doesn't tell whose model it has.
            (Maker::Other, _) | (_, None) => self.target.is_own,
            (_, Some(_)) => false,
        }
    }

    fn call(&mut self, call: &ToolCall, part: &Part, place: Place<'_>) -> Result<Value, Unsupported> {
        if call.name.is_empty() {
            return Err(place.name("name").wrong("is missing"));
        }
        let wrong = || place.name("arguments").wrong("must be a JSON object for a Bedrock model");
        let input = call.input().ok_or_else(wrong)?;
        self.called.insert(call.name.clone());
        let id = tool_use_id(&call.id, place)?;
        Ok(block("toolUse", json!({"toolUseId": id, "name": call.name, "input": input}), &part.extra))
    }

    /// A result goes as text even where it is JSON: as Converse's `json` it would lose the end of long numbers, and not
    /// every model takes that.
    fn result(&mut self, result: &ToolResult, part: &Part, place: Place<'_>) -> Result<Value, Unsupported> {
        let content = self.blocks(&result.parts, Role::Tool, place)?;
        let mut content: Vec<Value> = content.into_iter().map(|(block, _)| block).collect();
        if content.is_empty() {
            content.push(json!({"text": NO_OUTPUT}));
        }
        let mut told = json!({"toolUseId": tool_use_id(&result.call_id, place)?, "content": content});
        if result.is_error {
            told["status"] = "error".into();
        }
        Ok(block("toolResult", told, &part.extra))
    }

    /// A picture or a document; whichever it is by its media type.
    fn file(
        &mut self,
        kind: &str,
        source: &Source,
        name: Option<&str>,
        part: &Part,
        place: Place<'_>,
    ) -> Result<Value, Unsupported> {
        let name = name.unwrap_or_default();
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let (format, source) = match source {
            Source::Base64 { media_type, data } => {
                let media_type = media_type.split(';').next().unwrap_or_default().trim();
                let source = json!({"bytes": data});
                if let Some((_, format)) = IMAGES.iter().find(|(known, _)| media_type.eq_ignore_ascii_case(known)) {
                    return Ok(block("image", json!({"format": format, "source": source}), &part.extra));
                }
                let known = DOCUMENTS.iter().filter(|_| kind == "document");
                let known = known.clone().find(|(known, _)| media_type.eq_ignore_ascii_case(known)).or_else(|| {
                    // The extension helps where the type says as little as application/octet-stream does.
                    known.clone().find(|(_, format)| extension.eq_ignore_ascii_case(format))
                });
                let why = "must be an image (png, jpeg, gif or webp) or a document of a type that Bedrock knows";
                (known.ok_or_else(|| place.wrong(why))?.1, source)
            }
            Source::Text(text) if self.target.is_own => {
                (part.extra.member(OWN, "format").and_then(Value::as_str).unwrap_or("txt"), json!({"text": text}))
            }
            // Not every model takes it as text.
            Source::Text(text) => ("txt", json!({"bytes": wrapped(text)})),
            Source::Url(_) | Source::File(_) => {
                return Err(
                    place.wrong("must come with the request, as a data: address, because Bedrock fetches nothing")
                );
            }
        };
        let mut document = json!({"format": format, "name": self.name(name), "source": source});
        // Anthropic's words are Converse's.
        for (name, value) in part.extra.of(FormatId::Anthropic).into_iter().flatten() {
            if ["context", "citations"].contains(&name.as_str()) && self.target.family.maker == Maker::Anthropic {
                document[name] = value.clone();
            }
        }
        Ok(block("document", document, &part.extra))
    }

    /// A name for the file `file` with nothing in it but what Bedrock admits.
    fn name(&mut self, file: &str) -> String {
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let admitted = stem.replace(|c: char| !c.is_ascii_alphanumeric() && !"-()[]".contains(c), " ");
        let words = admitted.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = words.chars().take(LONGEST_NAME).collect();
        let mut name = if short.is_empty() { "document".to_owned() } else { short.trim_end().to_owned() };
        loop {
            let given = self.names.entry(name.to_lowercase()).or_default();
            *given = given.saturating_add(1);
            if *given == 1 {
                return name;
            }
            name = format!("{name} ({given})");
        }
    }

    /// Sees to what Bedrock asks of the whole.
    fn settle(&mut self) {
        if self.turns.first().is_some_and(|turn| turn.role != "user") {
            let blocks = vec![(json!({"text": OPENING}), None)];
            self.turns.insert(0, Turn { role: "user", blocks, beside: Map::new() });
        }
        for turn in self.turns.iter_mut().filter(|turn| turn.role == "user") {
            // The sort is stable.
            turn.blocks.sort_by_key(|(block, _)| block.get("toolResult").is_none());
            if turn.has("document") && !turn.has("text") {
                turn.blocks.push((json!({"text": UNASKED}), None));
            }
        }
        // An answer that has begun mustn't end with white space.
        if let Some(turn) = self.turns.last_mut().filter(|turn| turn.role == "assistant")
            && let Some(Value::String(text)) = turn.blocks.last_mut().and_then(|(block, _)| block.get_mut("text"))
        {
            text.truncate(text.trim_end().len());
        }
    }
}

/// The id of a call, in the letters and of the length that Bedrock admits: a conversation may have begun with another
/// provider.
fn tool_use_id(id: &str, place: Place<'_>) -> Result<String, Unsupported> {
    if id.is_empty() {
        return Err(place.name("id").wrong("is missing"));
    }
    let is_admitted = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    let mut id: Vec<char> = id.chars().map(|c| if is_admitted(c) { c } else { '_' }).collect();
    if id.len() > LONGEST_ID {
        // Ids that begin alike differ at their end, and the other way about.
        id.drain(LONGEST_ID / 2..id.len() - LONGEST_ID / 2);
    }
    Ok(id.into_iter().collect())
}
