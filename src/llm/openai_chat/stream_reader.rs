//! Reading streams.

use serde_json::{Map, Value};

use super::content::{self, BETWEEN_THOUGHTS, THOUGHTS};
use super::{DONE, OWN, merge, reply};
use crate::llm::chat::{Content, Extra, Part, Seal, SealKind, ToolCall};
use crate::llm::members::{Members, Place, is_blank};
use crate::llm::{Answer, Delta, Event, Malformed, StreamFault, StreamReader, Terminal, Unsupported, openai};

/// Members of deltas that are lists, whose pieces follow one another.
const LISTS: [&str; 3] = ["reasoning_details", "annotations", "images"];

/// Whether a chunk ends a stream.
pub(super) fn terminal(event: &Event) -> Option<Terminal> {
    let data = event.data.trim();
    if data == DONE {
        return Some(Terminal::End);
    }
    if event.name == "error" {
        return Some(Terminal::Error);
    }
    // Within a text the quotes would have backslashes before them.
    let says_why = data
        .split("\"finish_reason\"")
        .skip(1)
        .any(|rest| rest.trim_start().strip_prefix(':').is_some_and(|value| value.trim_start().starts_with('"')));
    if !says_why && !data.contains("\"error\"") {
        return None;
    }
    let chunk: Value = serde_json::from_str(data).ok()?;
    if openai::is_told(&chunk["error"]) {
        return Some(Terminal::Error);
    }
    match chunk["choices"].as_array()?.iter().find_map(|choice| choice["finish_reason"].as_str())? {
        "error" => Some(Terminal::Error),
        _ => Some(Terminal::Whole),
    }
}

/// Reads the chunks of one stream.
///
/// A text is taken for complete when a call begins, and thoughts when anything else does; what comes later of the same
/// kind is another part. Why the answer ended is told at the very end only, because some providers say more after it.
#[derive(Debug, Default)]
pub(super) struct Reader {
    has_begun: bool,
    is_complete: bool,
    /// Its id, model and time; the rest is in parts.
    answer: Answer,
    rest: Map<String, Value>,
    message: Map<String, Value>,
    choice: Map<String, Value>,
    /// Whether there are further members that weren't told.
    has_news: bool,
    is_lossy: bool,
    /// The number of parts that have begun.
    count: usize,
    /// The thoughts that are open, and their text.
    thoughts: Option<(usize, String)>,
    has_thought: bool,
    text: Option<usize>,
    refusal: Option<usize>,
    refuses: bool,
    /// A signature of the text.
    seal: Option<Seal>,
    calls: Vec<Call>,
    finish: Option<String>,
}

/// A call, as far as it is known.
#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    seal: Option<Seal>,
    extra: Map<String, Value>,
    part: Option<usize>,
    has_ended: bool,
}

impl Call {
    /// Whether nothing is missing from the arguments. A look at the last letter saves most of the reading.
    fn is_whole(&self) -> bool {
        let arguments = self.arguments.trim();
        arguments.starts_with('{')
            && arguments.ends_with('}')
            && serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok()
    }
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
        let parsed = serde_json::from_str(data);
        if event.name == "error" {
            let told: Value = parsed.unwrap_or_else(|_| data.into());
            let error = if openai::is_told(&told["error"]) { &told["error"] } else { &told };
            return Err(StreamFault::Provider(openai::error_in_stream(error)));
        }
        let chunk: Value = parsed.map_err(|why| Malformed(format!("an event is no JSON ({why})")))?;
        if openai::is_told(&chunk["error"]) {
            return Err(StreamFault::Provider(openai::error_in_stream(&chunk["error"])));
        }
        Ok(self.chunk(chunk, out)?)
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        if self.is_complete { Ok(()) } else { self.end(out) }
    }
}

impl Reader {
    fn chunk(&mut self, chunk: Value, out: &mut Vec<Delta>) -> Result<(), Unsupported> {
        let mut chunk = Members::of(chunk, Place::ROOT)?;
        let object = chunk.take("object");
        let usage = chunk.take("usage").and_then(reply::read_usage);
        let is_known = chunk.get("choices").is_some() || usage.is_some() || object.is_some();
        if !is_known {
            return Ok(());
        }
        for (name, place) in [("id", &mut self.answer.id), ("model", &mut self.answer.model)] {
            if let Some(Value::String(given)) = chunk.take(name).filter(|given| place.is_empty() && given != "") {
                *place = given;
            }
        }
        let created = chunk.take("created").and_then(|created| created.as_u64()).filter(|created| *created > 0);
        self.answer.created = self.answer.created.or(created);
        // Padding against guessing at lengths, made anew for every chunk.
        chunk.take("obfuscation");
        let choices = chunk.list("choices")?;
        for (name, value) in chunk.into_map().into_iter().filter(|(_, value)| !is_blank(value)) {
            self.has_news |= self.rest.get(&name) != Some(&value);
            self.rest.insert(name, value);
        }
        for choice in choices {
            self.choice(choice, out)?;
        }
        if let Some(usage) = usage {
            self.begin(out);
            out.push(Delta::Usage(usage));
        }
        Ok(())
    }

    fn choice(&mut self, choice: Value, out: &mut Vec<Delta>) -> Result<(), Unsupported> {
        let place = Place::ROOT.name("choices");
        let place = place.index(0);
        let mut choice = Members::of(choice, place)?;
        self.begin(out);
        if choice.take("index").and_then(|index| index.as_u64()).unwrap_or(0) != 0 {
            self.lose("choices", out);
            return Ok(());
        }
        if let Some(delta) = choice.take("delta") {
            self.delta(Members::of(delta, place.name("delta"))?, out)?;
        }
        // A reason other than being done is never taken back.
        if let Some(Value::String(reason)) = choice.take("finish_reason")
            && self.finish.as_deref().is_none_or(|known| known == "stop")
        {
            self.finish = Some(reason);
        }
        for (name, value) in choice.into_map().into_iter().filter(|(_, value)| !is_blank(value)) {
            let is_list = value.is_array() && self.choice.get(&name).is_some_and(|known| *known != value);
            if is_list || matches!(&*name, "logprobs" | "message") {
                self.lose(&name, out);
            } else {
                self.choice.insert(name, value);
                self.has_news = true;
            }
        }
        Ok(())
    }

    fn delta(&mut self, mut delta: Members<'_>, out: &mut Vec<Delta>) -> Result<(), Unsupported> {
        delta.take("role");
        // LiteLLM repeats there what it says elsewhere.
        if let Some(Value::Object(mut fields)) = delta.take("provider_specific_fields") {
            fields.retain(|name, value| delta.get(name) != Some(value));
            delta.put_back_rest("provider_specific_fields", fields);
        }
        self.read_thoughts(&mut delta, out);
        match delta.take("content") {
            None => {}
            Some(Value::String(text)) => self.say(&text, out),
            Some(Value::Array(parts)) => {
                for part in parts {
                    match (part["text"].as_str(), content::mistral_thought(&part).map(|part| part.content)) {
                        (Some(text), _) if part["type"] == "text" => self.say(text, out),
                        (_, Some(Content::Reasoning(text))) => self.think("content", &text, out),
                        _ => self.lose("content", out),
                    }
                }
            }
            Some(_) => self.lose("content", out),
        }
        if let Some(refusal) = delta.text("refusal")?.filter(|refusal| !refusal.is_empty()) {
            self.refuses = true;
            self.close_thoughts(None, out);
            match self.refusal {
                Some(index) => out.push(Delta::PartGrow { index, text: refusal }),
                None => self.refusal = Some(self.begin_part(Part::new(Content::Refusal(refusal)), out)),
            }
        }
        self.seal = content::take_google_seal(&mut delta).or(self.seal.take());
        for piece in delta.list("tool_calls")? {
            self.tool_call(piece, out)?;
        }
        for (name, value) in delta.into_map().into_iter().filter(|(_, value)| !is_blank(value)) {
            self.has_news = true;
            if name == "function_call" || !join(&mut self.message, &name, value) {
                self.lose(&name, out);
            }
        }
        Ok(())
    }

    /// Thoughts as text, and as LiteLLM tells Claude's: in pieces, the last of which has the signature. A block that
    /// repeats all of a text that has come before is how Refrain tells a signature.
    fn read_thoughts(&mut self, delta: &mut Members<'_>, out: &mut Vec<Delta>) {
        let text = |name: &&str| delta.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let told = THOUGHTS.iter().find_map(|name| Some((*name, text(name)?.to_owned())));
        let (name, told) = told.unwrap_or((THOUGHTS[0], String::new()));
        if !told.is_empty() {
            delta.take(name);
        }
        let blocks = delta.get("thinking_blocks").and_then(Value::as_array);
        let blocks = blocks.and_then(|blocks| blocks.iter().map(content::read_thinking_block).collect());
        let blocks: Vec<Part> = blocks.unwrap_or_default();
        if !blocks.is_empty() {
            delta.take("thinking_blocks");
        }
        // What Refrain puts between a block and the next, as another part of the answer.
        let is_separator = told == BETWEEN_THOUGHTS && self.has_thought && self.thoughts.is_none() && blocks.is_empty();
        if content::thoughts_of(&blocks, "").is_empty() && !is_separator {
            self.think(name, &told, out);
        }
        for block in blocks {
            let Content::Reasoning(text) = &block.content else { continue };
            if block.seal.as_ref().is_some_and(|seal| seal.kind == SealKind::Encrypted) {
                self.close_thoughts(None, out);
                let (seal, extra) = (block.seal.clone(), Extra::default());
                let index = self.begin_part(block, out);
                out.push(Delta::PartEnd { index, seal, extra });
                continue;
            }
            let is_repeated = told.is_empty() && self.thoughts.as_ref().is_some_and(|(_, so_far)| so_far == text);
            if !is_repeated {
                self.think(name, text, out);
            }
            if block.seal.is_some() {
                if self.thoughts.is_none() {
                    let index = self.begin_part(Part::new(Content::Reasoning(String::new())), out);
                    self.thoughts = Some((index, String::new()));
                }
                self.close_thoughts(block.seal, out);
            }
        }
    }

    fn think(&mut self, name: &str, piece: &str, out: &mut Vec<Delta>) {
        if piece.is_empty() {
            return;
        }
        if let Some((index, text)) = &mut self.thoughts {
            text.push_str(piece);
            out.push(Delta::PartGrow { index: *index, text: piece.to_owned() });
            return;
        }
        self.close_text(out);
        self.has_thought = true;
        let part = Part { extra: content::stood_in(name), ..Part::new(Content::Reasoning(piece.to_owned())) };
        self.thoughts = Some((self.begin_part(part, out), piece.to_owned()));
    }

    fn say(&mut self, piece: &str, out: &mut Vec<Delta>) {
        if piece.is_empty() {
            return;
        }
        match self.text {
            Some(index) => out.push(Delta::PartGrow { index, text: piece.to_owned() }),
            None => {
                self.close_thoughts(None, out);
                self.close_calls(Call::is_whole, out);
                self.text = Some(self.begin_part(Part::text(piece), out));
            }
        }
    }

    /// A piece of a call: the first has its id and name, and all have a part of the arguments.
    fn tool_call(&mut self, piece: Value, out: &mut Vec<Delta>) -> Result<(), Unsupported> {
        let place = Place::ROOT.name("tool_calls");
        let mut piece = Members::of(piece, place)?;
        if piece.take("type").is_some_and(|kind| kind != "function" && kind != "") {
            self.lose("tool_calls", out);
            return Ok(());
        }
        let index = piece.take("index").and_then(|index| index.as_u64());
        let id = piece.text("id")?.unwrap_or_default();
        let mut function = Members::of(piece.take("function").unwrap_or(Map::new().into()), place)?;
        let name = function.text("name")?.unwrap_or_default();
        let more = function.arguments("arguments").unwrap_or_default();
        piece.put_back_rest("function", function.into_map());
        let seal = content::take_google_seal(&mut piece);

        let position = self.position(index, &id, &name, !more.trim().is_empty(), out);
        let Some(call) = self.calls.get_mut(position) else { return Ok(()) };
        if call.has_ended && !more.trim().is_empty() {
            return Err(place.wrong("go on with a call after its end"));
        }
        if call.has_ended {
            // The call has been told already, and says what it says without a signature that comes late.
            if seal.is_some() || piece.rest(OWN).get().is_some() {
                self.lose("tool_calls", out);
            }
            return Ok(());
        }
        for (known, given) in [(&mut call.id, id), (&mut call.name, name)] {
            if known.is_empty() {
                *known = given;
            }
        }
        call.arguments.push_str(&more);
        call.seal = seal.or(call.seal.take());
        if let Some((_, rest)) = piece.rest(OWN).get() {
            merge(&mut call.extra, rest);
        }
        match call.part {
            Some(_) if more.is_empty() => {}
            Some(index) => out.push(Delta::PartGrow { index, text: more }),
            None if call.name.is_empty() => {}
            None => {
                let id = content::call_id(&call.id, &self.answer.id, position);
                let content = ToolCall { id, name: call.name.clone(), arguments: call.arguments.clone() };
                let extra = Extra::new(OWN, call.extra.clone());
                let part = Part { content: Content::ToolCall(content), seal: call.seal.clone(), extra };
                self.close_thoughts(None, out);
                self.close_text(out);
                self.close_calls(Call::is_whole, out);
                let index = self.begin_part(part, out);
                self.calls.iter_mut().skip(position).take(1).for_each(|call| call.part = Some(index));
            }
        }
        Ok(())
    }

    /// Which call a piece belongs to; one that is new has been added. Where several calls share an index, the pieces may
    /// be anybody's.
    fn position(&mut self, index: Option<u64>, id: &str, name: &str, has_more: bool, out: &mut Vec<Delta>) -> usize {
        let fits = |known: &str, given: &str| known.is_empty() || given.is_empty() || known == given;
        let same_id = self.calls.iter().rposition(|call| !id.is_empty() && call.id == id);
        let same_index = || self.calls.iter().rposition(|call| index.is_none_or(|index| call.index == Some(index)));
        let found = same_id.or_else(same_index);
        let call = found.and_then(|position| self.calls.get(position));
        let begins_anew = |call: &Call| !name.is_empty() && has_more && call.is_whole();
        if let (Some(position), Some(call)) = (found, call)
            && fits(&call.id, id)
            && fits(&call.name, name)
            && !begins_anew(call)
        {
            return position;
        }
        if found.is_some() && index.is_some() {
            self.lose("tool_calls", out);
        }
        self.calls.push(Call { index, ..Call::default() });
        self.calls.len() - 1
    }

    fn begin(&mut self, out: &mut Vec<Delta>) {
        if !self.has_begun {
            self.has_begun = true;
            self.has_news = false;
            out.push(Delta::Begin(Answer { extra: self.extra(), ..self.answer.clone() }));
        }
    }

    fn begin_part(&mut self, part: Part, out: &mut Vec<Delta>) -> usize {
        let index = self.count;
        self.count += 1;
        out.push(Delta::PartBegin { index, part });
        index
    }

    fn close_thoughts(&mut self, seal: Option<Seal>, out: &mut Vec<Delta>) {
        let open = self.thoughts.take();
        out.extend(open.map(|(index, _)| Delta::PartEnd { index, seal, extra: Extra::default() }));
    }

    fn close_text(&mut self, out: &mut Vec<Delta>) {
        if let Some(index) = self.text.take() {
            out.push(Delta::PartEnd { index, seal: self.seal.take(), extra: Extra::default() });
        }
    }

    fn close_calls(&mut self, which: impl Fn(&Call) -> bool, out: &mut Vec<Delta>) {
        for call in self.calls.iter_mut().filter(|call| !call.has_ended && which(call)) {
            if let Some(index) = call.part {
                call.has_ended = true;
                let extra = Extra::new(OWN, call.extra.clone());
                out.push(Delta::PartEnd { index, seal: call.seal.clone(), extra });
            }
        }
    }

    fn lose(&mut self, name: &str, out: &mut Vec<Delta>) {
        if !self.is_lossy {
            self.is_lossy = true;
            out.push(Delta::Lossy(name.to_owned()));
        }
    }

    /// The further members so far.
    fn extra(&self) -> Extra {
        let mut all = self.rest.clone();
        for (name, members) in [("message", &self.message), ("choice", &self.choice)] {
            if !members.is_empty() {
                all.insert(name.into(), members.clone().into());
            }
        }
        Extra::new(OWN, all)
    }

    fn end(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        let word = self.finish.take().ok_or(StreamFault::Truncated)?;
        if self.calls.iter().any(|call| call.part.is_none()) {
            return Err(Malformed("a tool call has no function name".into()).into());
        }
        let calls = !self.calls.is_empty();
        let read = reply::read_finish(&word, self.choice.get("stop_reason"), calls, self.refuses);
        let (finish, word) = read.map_err(|why| Malformed(format!("it {why}")))?;
        if let Some(word) = word {
            self.choice.insert("finish_reason".into(), word.into());
            self.has_news = true;
        }
        self.begin(out);
        self.close_thoughts(None, out);
        self.close_text(out);
        if let Some(index) = self.refusal.take() {
            out.push(Delta::PartEnd { index, seal: None, extra: Extra::default() });
        }
        if let Some(seal) = self.seal.take() {
            let index = self.begin_part(Part { seal: Some(seal.clone()), ..Part::text("") }, out);
            out.push(Delta::PartEnd { index, seal: Some(seal), extra: Extra::default() });
        }
        self.close_calls(|_| true, out);
        if self.has_news {
            out.push(Delta::Extra(self.extra()));
        }
        out.push(Delta::Finish(finish));
        self.is_complete = true;
        Ok(())
    }
}

/// Adds a piece of a member to those before. Returns whether that says all that there is to say.
fn join(members: &mut Map<String, Value>, name: &str, value: Value) -> bool {
    match (members.get_mut(name), value) {
        (None, value) => {
            members.insert(name.to_owned(), value);
            true
        }
        (Some(Value::Array(all)), Value::Array(more)) if LISTS.contains(&name) => {
            all.extend(more);
            true
        }
        (Some(Value::String(all)), Value::String(more)) if THOUGHTS.contains(&name) => {
            all.push_str(&more);
            true
        }
        (Some(known), value) => *known == value,
    }
}
