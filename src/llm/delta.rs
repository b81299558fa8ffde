//! A stream's steps, and how they come to a whole answer and back.

use super::answer::{Answer, Finish, Usage};
use super::chat::{Content, Extra, Part, Seal};

/// Bytes of text in one step of an answer that is played back, about; cut between words where there are any.
const PIECE: usize = 24;
/// Steps of one text, about, at most: those of a long one are longer.
const PIECES: usize = 400;

/// One step of a streamed answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// The answer begins: its id, model and time, and what is known of its usage. It has no parts yet.
    Begin(Answer),
    /// Part `index` begins, with a text that is empty or begun already. Parts are numbered in the order in which they begin,
    /// from 0, and may grow by turns.
    PartBegin {
        /// Its number.
        index: usize,
        /// What it is so far.
        part: Part,
    },
    /// The text of a part goes on: a text, a refusal, thoughts, or the arguments of a call.
    PartGrow {
        /// Its number.
        index: usize,
        /// More of it.
        text: String,
    },
    /// A part is complete. The seal and the members that are known now are added to those that came with its begin.
    PartEnd {
        /// Its number.
        index: usize,
        /// See [`Part`].
        seal: Option<Seal>,
        /// See [`Part`].
        extra: Extra,
    },
    /// What has been used so far. The last one counts.
    Usage(Usage),
    /// Why the answer ended. Usage may still follow.
    Finish(Finish),
    /// Members of the whole reply that came late, in its format's own words.
    Extra(Extra),
    /// A member that was not understood: see [`Answer::lossy`].
    Lossy(String),
}

/// Puts the steps of a stream together.
#[derive(Debug, Default)]
pub struct Assembler {
    answer: Answer,
    is_finished: bool,
}

impl Assembler {
    /// The next step. Steps for parts that never began are ignored.
    pub fn add(&mut self, delta: Delta) {
        match delta {
            Delta::Begin(begun) => {
                let (parts, lossy) = (std::mem::take(&mut self.answer.parts), self.answer.lossy.take());
                self.answer = Answer { parts, lossy: lossy.or(begun.lossy.clone()), ..begun };
            }
            Delta::PartBegin { index, part } => {
                if index == self.answer.parts.len() {
                    self.answer.parts.push(part);
                }
            }
            Delta::PartGrow { index, text } => {
                if let Some(part) = self.answer.parts.get_mut(index) {
                    part.grow(&text);
                }
            }
            Delta::PartEnd { index, seal, extra } => {
                if let Some(part) = self.answer.parts.get_mut(index) {
                    part.end(seal, extra);
                }
            }
            Delta::Usage(usage) => self.answer.usage = Some(usage),
            Delta::Finish(finish) => {
                self.answer.finish = finish;
                self.is_finished = true;
            }
            Delta::Extra(extra) => self.answer.extra = extra,
            Delta::Lossy(member) => self.answer.lossy = Some(member),
        }
    }

    /// The whole answer; none where nothing said why it ended.
    #[must_use]
    pub fn finish(self) -> Option<Answer> {
        self.is_finished.then_some(self.answer)
    }
}

impl Part {
    /// The text that may grow, whichever the part has.
    fn text_mut(&mut self) -> Option<&mut String> {
        match &mut self.content {
            Content::Text(text) | Content::Refusal(text) | Content::Reasoning(text) => Some(text),
            Content::ToolCall(call) => Some(&mut call.arguments),
            _ => None,
        }
    }

    /// Appends to it.
    pub fn grow(&mut self, more: &str) {
        self.text_mut().into_iter().for_each(|text| text.push_str(more));
    }

    /// Adds what became known with the end of the part.
    pub fn end(&mut self, seal: Option<Seal>, extra: Extra) {
        self.seal = seal.or(self.seal.take());
        if !extra.is_empty() {
            self.extra = extra;
        }
    }

    /// The part with an empty text, and the text.
    pub(super) fn emptied(&self) -> (Self, String) {
        let mut part = self.clone();
        let text = part.text_mut().map(std::mem::take).unwrap_or_default();
        (part, text)
    }
}

/// The steps that a stream with this answer would have had.
#[must_use]
pub fn playback(answer: &Answer) -> Vec<Delta> {
    let begun = Answer { parts: Vec::new(), finish: Finish::default(), ..answer.clone() };
    let mut deltas = vec![Delta::Begin(begun)];
    for (index, part) in answer.parts.iter().enumerate() {
        let (empty, text) = part.emptied();
        let (seal, extra) = (empty.seal.clone(), empty.extra.clone());
        deltas.push(Delta::PartBegin { index, part: empty });
        deltas.extend(pieces(&text).map(|piece| Delta::PartGrow { index, text: piece.to_owned() }));
        deltas.push(Delta::PartEnd { index, seal, extra });
    }
    deltas.push(Delta::Finish(answer.finish.clone()));
    deltas.extend(answer.usage.clone().map(Delta::Usage));
    deltas
}

/// Cuts `text` after a space once a piece is long enough, and never within a character.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let size = PIECE.max(text.len() / PIECES);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut ends = rest.char_indices().map(|(at, c)| (at + c.len_utf8(), c));
        let end = ends.find(|(end, c)| *end >= size && c.is_whitespace() || *end >= 4 * size);
        let (piece, later) = rest.split_at(end.map_or(rest.len(), |(end, _)| end));
        rest = later;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::llm::chat::ToolCall;

    proptest! {
        #[test]
        fn pieces_come_to_the_text(text in "\\PC{0,300}") {
            prop_assert_eq!(pieces(&text).collect::<String>(), text.as_str());
            prop_assert!(pieces(&text).all(|piece| !piece.is_empty()));
        }

        #[test]
        fn an_answer_played_back_is_the_same_answer(texts in proptest::collection::vec("\\PC{0,80}", 0..5)) {
            let parts = texts.iter().enumerate().map(|(place, text)| Part::new(match place % 3 {
                0 => Content::Reasoning(text.clone()),
                1 => Content::Text(text.clone()),
                _ => Content::ToolCall(ToolCall { id: format!("c{place}"), name: "f".into(), arguments: text.clone() }),
            }));
            let answer = Answer { id: "a".into(), parts: parts.collect(), finish: Finish::ToolCalls,
                usage: Some(Usage { input: 3, output: 5, ..Usage::default() }), ..Answer::default() };
            let mut assembler = Assembler::default();
            playback(&answer).into_iter().for_each(|delta| assembler.add(delta));
            prop_assert_eq!(assembler.finish(), Some(answer));
        }
    }
}
