use serde_json::{Value, json};

use super::*;
use crate::llm::answer::Finish;
use crate::llm::chat::{Content, Delivery};
use crate::llm::storable::{NotStorable, check_storable};
use crate::llm::{Answer, Assembler, Chat, Delta, Event, Frame, StreamFault, playback};

fn read_request(request: Value) -> Chat {
    OWN.format().read_request(request).unwrap()
}

fn reply(choices: Value) -> Value {
    json!({"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "m-1", "choices": choices,
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, "system_fingerprint": "fp"})
}

fn choice(index: u64, text: &str, finish: &str) -> Value {
    json!({"text": text, "index": index, "logprobs": null, "finish_reason": finish})
}

fn read_reply(body: Value) -> Answer {
    OWN.format().read_reply(body).unwrap()
}

fn frame() -> Frame {
    Frame { id: "1".into(), model: "asked".into(), created: 7, include_usage: true, chat: None }
}

/// The answer that a stream of these chunks comes to.
fn read_stream(chunks: &[&str]) -> Result<Answer, StreamFault> {
    let (mut reader, mut deltas, mut assembler) = (OWN.format().stream_reader(), Vec::new(), Assembler::default());
    for data in chunks {
        reader.read(&Event { name: String::new(), data: (*data).to_owned() }, &mut deltas)?;
    }
    reader.finish(&mut deltas)?;
    deltas.into_iter().for_each(|delta| assembler.add(delta));
    Ok(assembler.finish().unwrap())
}

fn played_back(answer: &Answer) -> Vec<String> {
    let (mut writer, mut out) = (OWN.format().stream_writer(&frame()), String::new());
    playback(answer).iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    out.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
}

#[test]
fn a_request_is_read_and_written_again() {
    let request = json!({"model": "m", "prompt": "Once upon", "suffix": "the end", "max_tokens": 5, "n": 2, "echo": true,
        "logprobs": 0, "stop": ["\n"], "stream": true, "stream_options": {"include_usage": true}, "user": "u",
        "metadata": {"a": "b"}});
    let chat = read_request(request.clone());
    assert!(chat.is_continuation());
    assert_eq!((chat.messages[0].text(""), chat.delivery), ("Once upon".to_owned(), Delivery::StreamWithUsage));
    assert_eq!(
        chat.extra.of(OWN).unwrap().keys().collect::<Vec<_>>(),
        ["suffix", "max_tokens", "n", "echo", "logprobs", "stop"]
    );
    assert_eq!(OWN.format().write_request(&chat, "m").unwrap(), request);
}

#[test]
fn what_says_the_same_as_nothing_is_left_out() {
    let plain = read_request(json!({"model": "m", "prompt": "a"}));
    let spelt = json!({"model": "m", "prompt": ["a"], "n": 1.0, "best_of": 1, "echo": false, "top_p": 1, "suffix": null,
        "logit_bias": {}, "stop": [], "stream": false, "cache": {"ttl": 1}});
    assert_eq!(read_request(spelt), plain);
}

#[test]
fn several_prompts_and_tokens_stay_whole() {
    for prompt in [json!(["a", "b"]), json!([1, 2]), json!([[1, 2], [3]]), json!(["", ""])] {
        let chat = read_request(json!({"model": "m", "prompt": prompt}));
        assert_eq!(chat.messages[0].parts[0].content, Content::Foreign(OWN, prompt));
    }
    assert!(read_request(json!({"model": "m"})).uncacheable.is_some());
    for wrong in [json!(5), json!([]), json!({})] {
        assert!(OWN.format().read_request(json!({"model": "m", "prompt": wrong})).is_err(), "{wrong}");
    }
}

#[test]
fn nothing_is_converted() {
    let continuation = read_request(json!({"model": "m", "prompt": "a"}));
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
    let chat = FormatId::OpenAiChat.format().read_request(chat).unwrap();
    assert!(!chat.is_continuation());
    assert!(OWN.format().write_request(&chat, "m").is_err());
    for format in FormatId::ALL {
        let refused = format.format().write_request(&continuation, "m").unwrap_err();
        assert!(refused.to_string().contains("`prompt`"), "{refused}");
    }
}

#[test]
fn a_reply_is_read_and_written_again() {
    let logprobs = json!({"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": null, "text_offset": [0]});
    let scored = json!([{"text": "a", "index": 0, "logprobs": logprobs, "finish_reason": "stop", "stop_reason": 7}]);
    for choices in
        [json!([choice(0, "one", "stop")]), json!([choice(0, "one", "stop"), choice(1, "two", "stop")]), scored]
    {
        let body = reply(choices);
        let answer = read_reply(body.clone());
        assert_eq!(answer.text(), body["choices"][0]["text"]);
        assert_eq!(check_storable(&answer, &Chat::default()), Ok(()));
        let written = OWN.format().write_reply(&answer, &frame());
        assert_eq!(written, body);
        assert_eq!(FormatId::of_reply(&written.to_string()), OWN);
    }
}

#[test]
fn only_whole_answers_are_stored() {
    for (choices, expected) in [
        (json!([choice(0, "one", "length")]), Finish::Length),
        (json!([choice(0, "one", "stop"), choice(1, "two", "length")]), Finish::Length),
        (json!([choice(0, "one", "content_filter")]), Finish::ContentFilter),
        (json!([choice(0, "one", "abort")]), Finish::Other(OWN, "abort".into())),
    ] {
        let answer = read_reply(reply(choices));
        assert_eq!(answer.finish, expected);
        assert!(matches!(check_storable(&answer, &Chat::default()), Err(NotStorable::Incomplete(_))));
    }
    let mut failed = reply(json!([choice(0, "one", "stop")]));
    failed["error"] = json!({"message": "out of memory"});
    let no_reason = reply(json!([{"text": "a", "index": 0}]));
    for body in [failed, no_reason, reply(json!([])), json!({"choices": [choice(0, "a", "stop")]}), json!([])] {
        assert!(OWN.format().read_reply(body.clone()).is_err(), "{body}");
    }
}

#[test]
fn a_stream_comes_to_the_reply_that_it_would_have_been_and_back() {
    let chunk = |choices: Value| {
        json!({"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "m-1", "choices": choices})
            .to_string()
    };
    let piece = |index: u64, text: &str, logprobs: Value, finish: Value| json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish});
    let usage = json!({"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "m-1", "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}});
    let plain = [
        chunk(json!([piece(0, "Once ", Value::Null, Value::Null)])),
        chunk(json!([piece(0, "upon", Value::Null, Value::Null)])),
        chunk(json!([piece(0, "", Value::Null, "stop".into())])),
        usage.to_string(),
        DONE.to_owned(),
    ];
    let scores = |token: &str, at: u64| json!({"tokens": [token], "token_logprobs": [-1], "text_offset": [at]});
    let several = [
        chunk(json!([piece(1, "b", scores("b", 0), Value::Null)])),
        chunk(json!([piece(0, "a", scores("a", 0), Value::Null), piece(1, "c", scores("c", 1), "stop".into())])),
        chunk(json!([piece(0, "", Value::Null, "stop".into())])),
        DONE.to_owned(),
    ];
    let joined = json!({"tokens": ["b", "c"], "token_logprobs": [-1, -1], "text_offset": [0, 1]});
    for (chunks, choices) in [
        (plain.to_vec(), json!([choice(0, "Once upon", "stop")])),
        (
            several.to_vec(),
            json!([piece(0, "a", scores("a", 0), "stop".into()), piece(1, "bc", joined, "stop".into())]),
        ),
    ] {
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let answer = read_stream(&chunks).unwrap();
        assert_eq!(OWN.format().write_reply(&answer, &frame())["choices"], choices);
        let again = played_back(&answer);
        assert_eq!(again.last().map(String::as_str), Some(DONE));
        let again: Vec<&str> = again.iter().map(String::as_str).collect();
        assert_eq!(read_stream(&again).unwrap(), answer);
    }
}

#[test]
fn a_stream_that_breaks_off_or_fails_is_no_answer() {
    let begun = json!({"object": "text_completion", "choices": [choice(0, "a", "stop")]});
    let open =
        json!({"object": "text_completion", "choices": [{"text": "a", "index": 0, "finish_reason": null}]}).to_string();
    assert!(matches!(read_stream(&[&open, DONE]), Err(StreamFault::Truncated)));
    assert!(matches!(read_stream(&[DONE]), Err(StreamFault::Truncated)));
    assert!(matches!(read_stream(&["{"]), Err(StreamFault::Malformed(_))));
    let error = r#"{"error": {"message": "overloaded"}}"#;
    assert!(matches!(read_stream(&[&begun.to_string(), error]), Err(StreamFault::Provider(_))));
    // Without an end mark it can be read, and whoever stores it asks whether that has come.
    let mut reader = OWN.format().stream_reader();
    let mut deltas: Vec<Delta> = Vec::new();
    reader.read(&Event { name: String::new(), data: begun.to_string() }, &mut deltas).unwrap();
    assert!(!reader.is_complete());
}
