//! Writes a stream.
//!
//! Clients follow one item at a time, so parts that grow by turns are written one after the other: the earliest that
//! hasn't ended is live, and the later ones wait. A text or thoughts end when something later begins, because some
//! formats don't say when they end; should one go on nevertheless, what follows is another item.

use serde_json::{Map, Value, json};

use super::items::{self, Kind, Side};
use super::{FORMAT, OWN, reply};
use crate::llm::chat::{Content, Part};
use crate::llm::event::write_sse;
use crate::llm::members::{map, object};
use crate::llm::{Answer, Delta, Finish, Frame, ProviderError, StreamWriter};

/// The list of summaries, as events call it.
const SUMMARY: &str = "reasoning_summary";

/// See [`StreamWriter`].
#[derive(Default)]
pub(super) struct Writer {
    frame: Frame,
    head: Answer,
    has_begun: bool,
    sequence: u64,
    /// The parts, as far as they have come.
    parts: Vec<State>,
    /// Where a part of the answer stands in `parts`, by its number.
    places: Vec<usize>,
    /// The place of the part that is being written.
    live: usize,
    items: Vec<Item>,
    finish: Option<Finish>,
    /// Whether the answer is over, and not complete.
    is_cut: bool,
}

struct State {
    part: Part,
    has_ended: bool,
    /// Where it stands in its item: the list, and the place there. None until something of it is written.
    at: Option<(&'static str, usize)>,
}

/// An item that has been added.
struct Item {
    id: Value,
    /// Places of its parts.
    parts: Vec<usize>,
    is_done: bool,
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Begin(answer) => {
                self.head = answer.clone();
                self.begin(out);
            }
            Delta::PartBegin { index, part } if *index == self.places.len() => {
                self.places.push(self.parts.len());
                self.push(part.clone(), out);
            }
            Delta::PartGrow { index, text } => self.grow(*index, text, out),
            Delta::PartEnd { index, seal, extra } => {
                let Some(place) = self.places.get(*index).copied() else { return };
                if let Some(state) = self.parts.get_mut(place) {
                    state.part.end(seal.clone(), extra.clone());
                    state.has_ended = true;
                    self.advance(out);
                }
            }
            Delta::Usage(usage) => self.head.usage = Some(usage.clone()),
            Delta::Finish(finish) => self.finish = Some(finish.clone()),
            Delta::Extra(extra) => self.head.extra = extra.clone(),
            Delta::PartBegin { .. } | Delta::Lossy(_) => {}
        }
    }

    fn finish(&mut self, out: &mut String) {
        self.begin(out);
        self.parts.iter_mut().for_each(|state| state.has_ended = true);
        self.advance(out);
        let finish = self.finish.take().unwrap_or_default();
        let parts: Vec<Part> = self.parts.iter().map(|state| state.part.clone()).collect();
        let reason = reply::cut(&finish, &parts);
        self.is_cut = reason.is_some();
        self.close(out);
        let mut output: Vec<Value> = (0..self.items.len()).filter_map(|index| self.item(index)).collect();
        if let Some(last) = output.last_mut().filter(|_| reason.is_some()) {
            reply::mark_cut(last);
        }
        let name = if reason.is_some() { "response.incomplete" } else { "response.completed" };
        let response = reply::response(&self.head, &self.frame, Some(reason), output);
        self.event(name, json!({"response": response}), out);
    }

    /// Flat, as it is documented, and with the object that the service sends in fact, at which OpenAI's Python client
    /// raises.
    fn fail(&mut self, error: &ProviderError, out: &mut String) {
        let object = FORMAT.write_error(error)["error"].take();
        let code = object["code"].as_str().or(object["type"].as_str());
        let event = json!({"code": code, "message": error.message, "param": error.param, "error": object});
        self.event("error", event, out);
    }
}

impl Writer {
    pub(super) fn new(frame: &Frame) -> Self {
        Self { frame: frame.clone(), ..Self::default() }
    }

    fn event(&mut self, name: &str, members: Value, out: &mut String) {
        let mut event = object(json!({"type": name, "sequence_number": self.sequence}));
        self.sequence += 1;
        event.extend(map(members));
        write_sse(out, name, &event.into());
    }

    fn begin(&mut self, out: &mut String) {
        if !std::mem::replace(&mut self.has_begun, true) {
            for name in ["response.created", "response.in_progress"] {
                let response = reply::response(&self.head, &self.frame, None, Vec::new());
                self.event(name, json!({"response": response}), out);
            }
        }
    }

    fn push(&mut self, part: Part, out: &mut String) {
        self.begin(out);
        self.parts.push(State { part, has_ended: false, at: None });
        if self.live + 1 == self.parts.len() {
            self.open(out);
        }
        self.advance(out);
    }

    fn grow(&mut self, index: usize, text: &str, out: &mut String) {
        let Some(place) = self.places.get(index).copied() else { return };
        let Some(state) = self.parts.get_mut(place) else { return };
        if place >= self.live {
            state.part.grow(text);
            if place == self.live {
                self.delta(place, text, out);
            }
        } else if is_open_ended(&state.part) {
            let content = match &state.part.content {
                Content::Reasoning(_) => Content::Reasoning(text.to_owned()),
                Content::Refusal(_) => Content::Refusal(text.to_owned()),
                _ => Content::Text(text.to_owned()),
            };
            if let Some(place) = self.places.get_mut(index) {
                *place = self.parts.len();
            }
            self.push(Part::new(content), out);
        }
    }

    /// Goes on to the part that is live now.
    fn advance(&mut self, out: &mut String) {
        while let Some(state) = self.parts.get(self.live)
            && (state.has_ended || is_open_ended(&state.part) && self.live + 1 < self.parts.len())
        {
            self.part_done(self.live, out);
            self.live += 1;
            if self.live < self.parts.len() {
                self.open(out);
            }
        }
    }

    /// Begins the live part, in its item or a new one, with what of its text has come.
    fn open(&mut self, out: &mut String) {
        let place = self.live;
        let Some(part) = self.parts.get(place).map(|state| state.part.clone()) else { return };
        let Some(kind) = items::kind(&part) else { return };
        let before = self.items.last().filter(|item| !item.is_done).and_then(|item| item.parts.last());
        if before.and_then(|at| self.parts.get(*at)).is_none_or(|before| items::begins(&before.part, &part)) {
            self.close(out);
            let output_index = self.items.len();
            let Some(mut item) = items::write(&[&part], Side::Output(&self.frame.id, output_index)) else { return };
            self.items.push(Item { id: item["id"].clone(), parts: Vec::new(), is_done: false });
            if let Some(members) = item.as_object_mut().filter(|_| kind != Kind::Foreign) {
                members.shift_remove("encrypted_content");
                members.retain(|name, _| name != "content" || kind == Kind::Message);
                for (name, empty) in [("content", json!([])), ("summary", json!([])), ("arguments", "".into())] {
                    members.entry(name).and_modify(|value| *value = empty);
                }
                members.entry("status").and_modify(|status| *status = "in_progress".into());
            }
            self.event("response.output_item.added", json!({"output_index": output_index, "item": item}), out);
        }
        if let Some(item) = self.items.last_mut() {
            item.parts.push(place);
        }
        match &part.content {
            Content::Text(text) | Content::Refusal(text) => {
                self.part_added(place, out);
                self.delta(place, text, out);
            }
            Content::Reasoning(text) => self.delta(place, text, out),
            Content::ToolCall(call) => self.delta(place, &call.arguments, out),
            _ => {}
        }
    }

    /// The members that say of an event which item and part it is about.
    fn address(&self, place: usize) -> Map<String, Value> {
        let id = self.items.last().map(|item| item.id.clone());
        let index = self.items.len().saturating_sub(1);
        let mut members = object(json!({"item_id": id, "output_index": index}));
        if let Some((list, at)) = self.parts.get(place).and_then(|state| state.at) {
            members.insert(format!("{}_index", list.trim_start_matches("reasoning_")), at.into());
        }
        members
    }

    fn part_event(&mut self, place: usize, name: &str, more: Value, out: &mut String) {
        let mut members = self.address(place);
        members.extend(map(more));
        self.event(name, members.into(), out);
    }

    fn part_added(&mut self, place: usize, out: &mut String) {
        let Some(part) = self.parts.get(place).map(|state| state.part.clone()) else { return };
        let list = list_of(&part);
        let others = self.items.last().map(|item| item.parts.as_slice()).unwrap_or_default();
        let lists = others.iter().filter_map(|at| self.parts.get(*at)?.at);
        let at = lists.filter(|(of, _)| *of == list).count();
        if let Some(state) = self.parts.get_mut(place) {
            state.at = Some((list, at));
        }
        let empty = match &part.content {
            Content::Refusal(_) => json!({"type": "refusal", "refusal": ""}),
            Content::Reasoning(_) => {
                json!({"type": if list == SUMMARY { "summary_text" } else { "reasoning_text" }, "text": ""})
            }
            _ => json!({"type": "output_text", "annotations": [], "logprobs": [], "text": ""}),
        };
        self.part_event(place, &format!("response.{list}_part.added"), json!({"part": empty}), out);
    }

    /// A piece of the live part's text. Thoughts begin with the first, because there may be none.
    fn delta(&mut self, place: usize, text: &str, out: &mut String) {
        let Some(state) = self.parts.get(place).filter(|_| !text.is_empty()) else { return };
        let Some(name) = event_of(&state.part) else { return };
        let more = match state.part.content {
            Content::Text(_) => json!({"delta": text, "logprobs": []}),
            _ => json!({"delta": text}),
        };
        if matches!(state.part.content, Content::Reasoning(_)) && state.at.is_none() {
            self.part_added(place, out);
        }
        self.part_event(place, &format!("response.{name}.delta"), more, out);
    }

    fn part_done(&mut self, place: usize, out: &mut String) {
        let Some(part) = self.parts.get(place).map(|state| state.part.clone()) else { return };
        let has_place = self.parts.get(place).is_some_and(|state| state.at.is_some());
        let text = match &part.content {
            Content::ToolCall(call) => json!({"arguments": call.arguments, "name": call.name}),
            Content::Text(text) => json!({"text": text, "logprobs": []}),
            Content::Refusal(text) => json!({"refusal": text}),
            Content::Reasoning(text) => json!({"text": text}),
            _ => Value::Null,
        };
        if let Some(name) = event_of(&part).filter(|_| has_place || matches!(part.content, Content::ToolCall(_))) {
            self.part_event(place, &format!("response.{name}.done"), text, out);
        }
        if has_place {
            let whole = items::thought(&part).or_else(|| items::write_part(&part, "output_text"));
            self.part_event(place, &format!("response.{}_part.done", list_of(&part)), json!({"part": whole}), out);
        }
        if matches!(items::kind(&part), Some(Kind::Call | Kind::Foreign)) {
            self.close(out);
        }
    }

    /// Ends the item that is open, if one is.
    fn close(&mut self, out: &mut String) {
        let index = self.items.len().saturating_sub(1);
        let Some(open) = self.items.last_mut().filter(|item| !item.is_done) else { return };
        open.is_done = true;
        if let Some(mut item) = self.item(index) {
            if self.is_cut {
                reply::mark_cut(&mut item);
            }
            self.event("response.output_item.done", json!({"output_index": index, "item": item}), out);
        }
    }

    /// An item, as far as it has come, under the id with which it was added.
    fn item(&self, index: usize) -> Option<Value> {
        let added = self.items.get(index)?;
        let parts: Vec<&Part> = added.parts.iter().filter_map(|at| Some(&self.parts.get(*at)?.part)).collect();
        let mut item = items::write(&parts, Side::Output(&self.frame.id, index))?;
        if let Some(id) = item.get_mut("id") {
            *id = added.id.clone();
        }
        Some(item)
    }
}

/// Whether a part may end without a word: see the head of this file.
fn is_open_ended(part: &Part) -> bool {
    matches!(part.content, Content::Text(_) | Content::Refusal(_) | Content::Reasoning(_))
}

/// The list of its item in which a part stands.
fn list_of(part: &Part) -> &'static str {
    let is_summary = matches!(part.content, Content::Reasoning(_)) && part.extra.member(OWN, "type").is_none();
    if is_summary { SUMMARY } else { "content" }
}

/// The name that events about a part's text have.
fn event_of(part: &Part) -> Option<&'static str> {
    match &part.content {
        Content::Text(_) => Some("output_text"),
        Content::Refusal(_) => Some("refusal"),
        Content::Reasoning(_) if list_of(part) == SUMMARY => Some("reasoning_summary_text"),
        Content::Reasoning(_) => Some("reasoning_text"),
        Content::ToolCall(_) => Some("function_call_arguments"),
        _ => None,
    }
}
