//! Streams: each comes to an answer or to a fault, wherever its bytes are cut, and an answer is whole.

use crate::llm::{
    Answer, Assembler, Delta, Event, EventFault, EventSplitter, FormatId, Frame, StreamFault, playback,
    without_lone_surrogates,
};
use crate::{bodies, replies};

/// The longest event that is read here.
const LONGEST: usize = 4 << 10;

pub(crate) fn check(format: FormatId, bytes: &[u8]) {
    let events = split([bytes]);
    assert_eq!(split(bytes.chunks(1)), events, "byte by byte, the events are others");
    assert_eq!(split(pieces(bytes)), events, "in pieces, the events are others");
    for event in events.iter().flatten() {
        let _ = format.format().terminal(event);
    }
    let Ok(read) = read(format, &events) else { return };
    if !replies::has_distinct_calls(&read.answer) {
        return;
    }
    let all_at_once = playback(&read.answer);
    for to in FormatId::ALL {
        same(to, &all_at_once, &read.answer);
        if !grows_by_turns(&read.deltas) {
            same(to, &read.deltas, &read.answer);
        }
    }
}

/// A stream that is written in another format says the same there.
fn same(to: FormatId, deltas: &[Delta], answer: &Answer) {
    let written = write(to, deltas);
    let events = split_all(written.as_bytes());
    if events.iter().flatten().any(|event| event.data.starts_with('{') && bodies::again(&event.data).is_none()) {
        return;
    }
    let again = read(to, &events);
    let again = again.unwrap_or_else(|fault| panic!("{} can't be read: {fault}\n{written}", to.name()));
    replies::same(to, answer, &again.answer, &written);
}

/// Whether an earlier part goes on after a later one has begun, for which most formats have no words.
fn grows_by_turns(deltas: &[Delta]) -> bool {
    let mut latest = 0;
    deltas.iter().any(|delta| match delta {
        Delta::PartBegin { index, .. } => {
            latest = *index;
            false
        }
        Delta::PartGrow { index, .. } => *index < latest,
        _ => false,
    })
}

/// What a stream came to.
struct Read {
    deltas: Vec<Delta>,
    answer: Answer,
}

/// Reads a stream as conversions do.
fn read(format: FormatId, events: &[Result<Event, EventFault>]) -> Result<Read, StreamFault> {
    let (mut reader, mut deltas) = (format.format().stream_reader(), Vec::new());
    for event in events {
        let Ok(event) = event else { return Err(StreamFault::Truncated) };
        let data = without_lone_surrogates(&event.data).unwrap_or_else(|| event.data.clone());
        reader.read(&Event { name: event.name.clone(), data }, &mut deltas)?;
        if reader.is_complete() {
            break;
        }
    }
    reader.finish(&mut deltas)?;
    let mut assembler = Assembler::default();
    deltas.iter().cloned().for_each(|delta| assembler.add(delta));
    let answer = assembler.finish().expect("a stream that is no fault says why it ends");
    Ok(Read { deltas, answer })
}

fn write(format: FormatId, deltas: &[Delta]) -> String {
    let frame = Frame { id: "id".into(), model: "m".into(), created: 1, include_usage: true, chat: None };
    let (mut writer, mut out) = (format.format().stream_writer(&frame), String::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    out
}

fn split<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<Result<Event, EventFault>> {
    let (mut splitter, mut events) = (EventSplitter::with_longest(LONGEST), Vec::new());
    pieces.into_iter().for_each(|piece| splitter.feed(piece, |event| events.push(event.cloned())));
    events
}

fn split_all(bytes: &[u8]) -> Vec<Result<Event, EventFault>> {
    let (mut splitter, mut events) = (EventSplitter::default(), Vec::new());
    splitter.feed(bytes, |event| events.push(event.cloned()));
    events
}

/// `bytes` in pieces of sizes that they say themselves.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let size = usize::from(rest.first()? % 32) + 1;
        let (piece, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        Some(piece)
    })
}
