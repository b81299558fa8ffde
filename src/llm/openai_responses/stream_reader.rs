//! Reads a stream.
//!
//! The service tells each item three times: in pieces, whole when it is done, and with the whole response at the end.
//! Other servers leave some of these out, or number items differently from event to event. So pieces are taken where
//! they come, and what comes whole later completes them, and must agree with them.

use std::mem::discriminant;

use serde_json::{Map, Value, json};

use super::{OWN, error, items, reply};
use crate::llm::chat::{Content, Extra, Part};
use crate::llm::error::Malformed;
use crate::llm::members::{Place, map};
use crate::llm::{Delta, Event, StreamFault, StreamReader, Terminal};

/// Whether an event ends a stream.
pub(super) fn terminal(event: &Event) -> Option<Terminal> {
    match event.name.as_str() {
        "" | "message" => {}
        name => return ending(name),
    }
    // In the text of an answer these would stand with backslashes before their quotes.
    let marks = ["\"response.completed\"", "\"response.incomplete\"", "\"response.done\"", "\"response.failed\""];
    if !marks.iter().chain(["\"error\"", "\"response.cancelled\""].iter()).any(|mark| event.data.contains(mark)) {
        return None;
    }
    let data: Value = serde_json::from_str(&event.data).ok()?;
    ending(data["type"].as_str().unwrap_or_default()).or((!data["error"].is_null()).then_some(Terminal::Error))
}

/// How an event of this type ends a stream, if it does.
fn ending(kind: &str) -> Option<Terminal> {
    match kind {
        "response.completed" | "response.incomplete" | "response.done" => Some(Terminal::End),
        "response.failed" | "response.cancelled" | "error" => Some(Terminal::Error),
        _ => None,
    }
}

/// Events about texts: whose, the type of the part, and the member that has all of it at its end.
const TEXTS: [(&str, &str, &str); 5] = [
    ("response.output_text", "output_text", "text"),
    ("response.refusal", "refusal", "refusal"),
    ("response.reasoning_summary_text", "summary_text", "text"),
    ("response.reasoning_text", "reasoning_text", "text"),
    ("response.function_call_arguments", "function_call", "arguments"),
];

/// See [`StreamReader`].
#[derive(Default)]
pub(super) struct Reader {
    has_begun: bool,
    is_complete: bool,
    items: Vec<Item>,
    /// Parts that have begun.
    parts: usize,
}

/// An item of the output.
#[derive(Default)]
struct Item {
    index: Option<u64>,
    id: String,
    kind: String,
    /// The item as it was when it was added, without its content.
    head: Map<String, Value>,
    pieces: Vec<Piece>,
    /// The last part of the item before.
    before: Option<Part>,
    /// Whether it has come whole.
    is_whole: bool,
    /// Whether the output of the whole response has it.
    is_claimed: bool,
    /// Something in it that only the whole item tells.
    untold: Option<&'static str>,
}

/// A part of an item that has begun.
struct Piece {
    /// What the stream calls it: the list that it stands in, and its place there.
    key: (&'static str, u64),
    /// What the steps call it.
    index: usize,
    part: Part,
    has_ended: bool,
    /// Whether the item has come whole with it.
    is_whole: bool,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        if matches!(event.data.trim(), "" | "[DONE]") {
            return Ok(());
        }
        let data: Value = serde_json::from_str(&event.data)
            .map_err(|why| Malformed(format!("an event of its stream is no JSON: {why}")))?;
        let kind = data["type"].as_str().unwrap_or(&event.name);
        if matches!(kind, "response.failed" | "response.cancelled" | "error") || !data["error"].is_null() {
            return Err(StreamFault::Provider(error::of_event(&data)));
        }
        let (subject, step) = kind.rsplit_once('.').unwrap_or_default();
        if let Some((_, list, whole)) = TEXTS.iter().find(|(name, ..)| *name == subject)
            && matches!(step, "delta" | "done")
        {
            let is_whole = step == "done";
            let text = data[if is_whole { *whole } else { "delta" }].as_str().unwrap_or_default();
            return self.text(&data, list, text, is_whole, out);
        }
        match kind {
            "response.created" | "response.queued" | "response.in_progress" => self.begin(&data["response"], out),
            "response.output_item.added" => self.added(&data, out),
            "response.output_item.done" => self.item_done(&data, out)?,
            "response.output_text.annotation.added" => self.item(&data, "message")?.0.untold = Some("annotations"),
            "response.content_part.done" => self.part_done(&data)?,
            "response.completed" | "response.incomplete" | "response.done" => {
                self.complete(kind, data["response"].clone(), out)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn finish(&mut self, _: &mut Vec<Delta>) -> Result<(), StreamFault> {
        if self.is_complete { Ok(()) } else { Err(StreamFault::Truncated) }
    }
}

impl Reader {
    fn begin(&mut self, response: &Value, out: &mut Vec<Delta>) {
        if !self.has_begun {
            self.has_begun = true;
            out.push(Delta::Begin(reply::head(map(response.clone()))));
        }
    }

    fn added(&mut self, data: &Value, out: &mut Vec<Delta>) {
        self.begin(&Value::Null, out);
        let Value::Object(mut head) = data["item"].clone() else { return };
        for name in ["content", "summary", "encrypted_content", "status"] {
            head.shift_remove(name);
        }
        let text = |name: &str| head.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = Some(text("type")).filter(|kind| !kind.is_empty()).unwrap_or_else(|| "message".into());
        let (id, index) = (text("id"), data["output_index"].as_u64());
        let is_named_call = kind == "function_call" && !text("name").is_empty();
        let at = self.push(Item { index, id, kind, head, ..Item::default() });
        if let Some(item) = self.items.get_mut(at).filter(|_| is_named_call) {
            item.piece(("function_call", 0), &mut self.parts, out);
        }
    }

    fn push(&mut self, mut item: Item) -> usize {
        item.before = self.items.iter().rev().find_map(|before| Some(before.pieces.last()?.part.clone()));
        self.items.push(item);
        self.items.len() - 1
    }

    /// The item that an event is about, by its id and its number as far as the server tells them, and the number of parts.
    fn item(&mut self, data: &Value, kind: &str) -> Result<(&mut Item, &mut usize), StreamFault> {
        let id = [&data["item_id"], &data["item"]["id"]].into_iter().find_map(Value::as_str).unwrap_or_default();
        let index = data["output_index"].as_u64();
        let fits = |item: &&Item| item.kind == kind && !item.is_whole;
        let by_id = |item: &Item| !id.is_empty() && item.id == id;
        let by_index = |item: &Item| index.is_some() && item.index == index;
        if id.is_empty() && self.items.iter().filter(fits).filter(|item| by_index(item)).count() > 1 {
            return Err(Malformed("pieces of several items share an index".into()).into());
        }
        let find = |test: &dyn Fn(&Item) -> bool| self.items.iter().rposition(|item| fits(&item) && test(item));
        let found = find(&|item| by_id(item) && by_index(item)).or_else(|| find(&by_id)).or_else(|| find(&by_index));
        // Where the server gives no number, pieces belong to what is going on.
        let found = found.or_else(|| if index.is_none() { find(&|_| true) } else { None });
        let found = found.unwrap_or_else(|| {
            let mut head = Map::from_iter([("type".to_owned(), kind.into())]);
            if !id.is_empty() {
                head.insert("id".into(), id.into());
            }
            self.push(Item { index, id: id.to_owned(), kind: kind.to_owned(), head, ..Item::default() })
        });
        let item = self.items.get_mut(found).ok_or(StreamFault::Truncated)?;
        Ok((item, &mut self.parts))
    }

    /// More of the text of a part, whose type is `list`, or all of it.
    fn text(
        &mut self,
        data: &Value,
        list: &'static str,
        text: &str,
        is_whole: bool,
        out: &mut Vec<Delta>,
    ) -> Result<(), StreamFault> {
        self.begin(&Value::Null, out);
        let (item, parts) = self.item(data, kind_of(list))?;
        let is_there = is_whole && item.pieces.iter().any(|piece| piece.key.0 == list && piece.text() == text);
        if let Some(piece) = (!text.is_empty() && !is_there).then(|| item.piece(key(data, list), parts, out)).flatten()
        {
            if is_whole { piece.settle(text, out) } else { piece.grow(text, out) }
        }
        Ok(())
    }

    /// A part of a message is whole: its further members are known now.
    fn part_done(&mut self, data: &Value) -> Result<(), StreamFault> {
        let list = match data["part"]["type"].as_str() {
            Some("output_text") => "output_text",
            Some("refusal") => "refusal",
            _ => return Ok(()),
        };
        let ((item, _), key) = (self.item(data, "message")?, key(data, list));
        if let Some(part) = item.made(list, data["part"].clone(), item.is_first(key))
            && let Some(piece) = item.pieces.iter_mut().find(|piece| piece.key == key && !piece.has_ended)
        {
            piece.part.extra = part.extra;
            item.untold = None;
        }
        Ok(())
    }

    fn item_done(&mut self, data: &Value, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        self.begin(&Value::Null, out);
        let whole = data["item"].clone();
        if whole.is_object() {
            let parts = items::read(whole.clone(), Place::ROOT.name("item"))?;
            let kind = whole["type"].as_str().unwrap_or("message");
            let (item, begun) = self.item(data, kind)?;
            item.reconcile(parts, begun, out);
        }
        Ok(())
    }

    fn complete(&mut self, kind: &str, response: Value, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        self.begin(&response, out);
        let status = match response["status"].as_str() {
            Some(status @ ("incomplete" | "completed")) => status.to_owned(),
            Some("failed" | "cancelled") => {
                return Err(StreamFault::Provider(error::of_event(&json!({"response": response}))));
            }
            _ if kind == "response.incomplete" => "incomplete".into(),
            _ => "completed".into(),
        };
        let mut members = map(response);
        let details = members.shift_remove("incomplete_details").unwrap_or_default();
        let output = match members.shift_remove("output") {
            Some(Value::Array(output)) => output,
            _ => Vec::new(),
        };
        self.agree(output, out)?;
        let head = reply::head(members);
        let parts: Vec<Part> =
            self.items.iter().flat_map(|item| item.pieces.iter().map(|piece| piece.part.clone())).collect();
        out.extend(head.usage.map(Delta::Usage));
        out.push(Delta::Extra(head.extra));
        out.push(Delta::Finish(reply::finish(&status, &details, &parts)));
        self.is_complete = true;
        Ok(())
    }

    /// Compares the output of the whole response with what has come, and completes that. Some servers leave the output
    /// out.
    fn agree(&mut self, output: Vec<Value>, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        let has_output = !output.is_empty();
        for whole in output {
            let kind = whole["type"].as_str().unwrap_or("message").to_owned();
            let id = whole["id"].as_str().unwrap_or_default().to_owned();
            let parts = items::read(whole, Place::ROOT.name("output"))?;
            let free = |test: &dyn Fn(&Item) -> bool| {
                self.items.iter().position(|item| !item.is_claimed && item.kind == kind && test(item))
            };
            let found = free(&|item| !id.is_empty() && item.id == id).or_else(|| free(&|_| true));
            let found = found.unwrap_or_else(|| self.push(Item { kind, id, ..Item::default() }));
            let Some(item) = self.items.get_mut(found) else { continue };
            item.is_claimed = true;
            if !item.is_whole {
                item.reconcile(parts, &mut self.parts, out);
            } else if item.kind != "reasoning" && item.texts() != parts.iter().map(text_of).collect::<String>() {
                out.push(Delta::Lossy("output".into()));
            }
        }
        for item in &mut self.items {
            let is_lost = item.pieces.is_empty() && item.kind != "message" && item.kind != "reasoning";
            if has_output && !item.is_claimed && !item.texts().is_empty() {
                out.push(Delta::Lossy("output".into()));
            } else if !item.is_whole && (is_lost || item.untold.is_some()) {
                out.push(Delta::Lossy(item.untold.unwrap_or("output").into()));
            }
            item.pieces.iter_mut().for_each(|piece| piece.end(out));
        }
        Ok(())
    }
}

impl Item {
    fn is_first(&self, key: (&str, u64)) -> bool {
        self.pieces.first().is_none_or(|piece| piece.key == key)
    }

    /// The part that `piece` of this item is, with the members of the item where it is the first.
    fn made(&self, list: &str, piece: Value, is_first: bool) -> Option<Part> {
        let mut whole = if is_first { self.head.clone() } else { Map::new() };
        whole.insert("type".into(), self.kind.as_str().into());
        let (name, value) = match list {
            "function_call" => ("arguments", "".into()),
            "summary_text" => ("summary", vec![piece].into()),
            _ => ("content", vec![piece].into()),
        };
        whole.insert(name.into(), value);
        items::read(whole.into(), Place::ROOT.name("item")).ok()?.into_iter().next()
    }

    /// Sees to it that the first part of this item doesn't go on with the item before.
    fn set_apart(&self, first: &mut Part) {
        if self.before.as_ref().is_some_and(|before| !items::begins(before, first)) {
            items::mark(first, Map::new());
        }
    }

    /// The piece of this key. It begins where it hasn't yet, and the one before it ends. None where the item can't
    /// begin.
    fn piece(&mut self, key: (&'static str, u64), parts: &mut usize, out: &mut Vec<Delta>) -> Option<&mut Piece> {
        if let Some(at) = self.pieces.iter().position(|piece| piece.key == key) {
            return self.pieces.get_mut(at);
        }
        let empty = match key.0 {
            "refusal" => json!({"type": "refusal", "refusal": ""}),
            list => json!({"type": list, "text": ""}),
        };
        let mut part = self.made(key.0, empty, self.pieces.is_empty())?;
        if self.pieces.is_empty() {
            self.set_apart(&mut part);
        }
        self.pieces.iter_mut().for_each(|piece| piece.end(out));
        self.push(key, part, parts, out)
    }

    fn push(
        &mut self,
        key: (&'static str, u64),
        part: Part,
        parts: &mut usize,
        out: &mut Vec<Delta>,
    ) -> Option<&mut Piece> {
        out.push(Delta::PartBegin { index: *parts, part: part.clone() });
        self.pieces.push(Piece { key, index: *parts, part, has_ended: false, is_whole: false });
        *parts += 1;
        self.pieces.last_mut()
    }

    /// The item has come whole, as these parts.
    fn reconcile(&mut self, mut parts: Vec<Part>, begun: &mut usize, out: &mut Vec<Delta>) {
        parts.iter_mut().take(1).for_each(|first| self.set_apart(first));
        for part in parts {
            let like = |piece: &Piece| {
                let same_type = piece.part.extra.member(OWN, "type") == part.extra.member(OWN, "type");
                !piece.is_whole && discriminant(&piece.part.content) == discriminant(&part.content) && same_type
            };
            let text = text_of(&part);
            let free = |test: &dyn Fn(&Piece) -> bool| self.pieces.iter().position(|piece| like(piece) && test(piece));
            // One that is empty may have had no pieces, and takes none of another one's.
            let found = free(&|piece| text.starts_with(&piece.text()));
            let found = found.or_else(|| if text.is_empty() { None } else { free(&|_| true) });
            if let Some(piece) = found.and_then(|at| self.pieces.get_mut(at)) {
                piece.is_whole = true;
                piece.settle(&text, out);
                piece.part.seal = part.seal;
                piece.part.extra = part.extra;
                piece.end(out);
            } else if let Some(piece) = self.push(("whole", 0), part, begun, out) {
                piece.is_whole = true;
                piece.end(out);
            }
        }
        if self.pieces.iter().any(|piece| !piece.is_whole && !piece.text().is_empty()) {
            out.push(Delta::Lossy("output".into()));
        }
        self.pieces.iter_mut().for_each(|piece| piece.end(out));
        self.is_whole = true;
    }

    fn texts(&self) -> String {
        self.pieces.iter().map(Piece::text).collect()
    }
}

impl Piece {
    fn text(&self) -> String {
        text_of(&self.part)
    }

    fn grow(&mut self, more: &str, out: &mut Vec<Delta>) {
        self.part.grow(more);
        out.push(Delta::PartGrow { index: self.index, text: more.to_owned() });
    }

    /// The text has come whole.
    fn settle(&mut self, whole: &str, out: &mut Vec<Delta>) {
        match whole.strip_prefix(self.text().as_str()) {
            Some("") => {}
            Some(more) => self.grow(more, out),
            None => out.push(Delta::Lossy("output".into())),
        }
    }

    fn end(&mut self, out: &mut Vec<Delta>) {
        if !self.has_ended {
            self.has_ended = true;
            let (seal, extra): (_, Extra) = (self.part.seal.clone(), self.part.extra.clone());
            out.push(Delta::PartEnd { index: self.index, seal, extra });
        }
    }
}

/// The key of the part that an event is about.
fn key(data: &Value, list: &'static str) -> (&'static str, u64) {
    let place = if list == "summary_text" { "summary_index" } else { "content_index" };
    (list, data[place].as_u64().unwrap_or_default())
}

/// The type of the items whose parts are of this type.
fn kind_of(list: &str) -> &str {
    match list {
        "output_text" | "refusal" => "message",
        "summary_text" | "reasoning_text" => "reasoning",
        kind => kind,
    }
}

fn text_of(part: &Part) -> String {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) | Content::Reasoning(text) => text.clone(),
        Content::ToolCall(call) => call.arguments.clone(),
        Content::Foreign(_, whole) => whole.to_string(),
        _ => String::new(),
    }
}
