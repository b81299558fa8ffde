"""Which answers are stored, and which errors hand over to the next target."""

import json

import pytest
from front_door import CHAT_EVENTS, COMPLETION, DONE, MESSAGE, RESPONSE, TEXT, USAGE, Provider, chat, chat_chunk, message, response, sse, status_of
from test_router import flaky  # noqa: F401 (a fixture)

# Answers: what is stored, and what never is.


def with_message(finish="stop", choice=None, **members):
    made = {"index": 0, "message": {"role": "assistant", "content": TEXT, **members}, "finish_reason": finish, **(choice or {})}
    return {**COMPLETION, "choices": [made]}


DETAILS = [{"type": "reasoning.text", "text": "Paris, of course.", "format": "anthropic-claude-v1", "index": 0, "signature": "sig"}]
STORED = {
    "litellm": with_message(tool_calls=None, function_call=None, provider_specific_fields={"refusal": None}, choice={"provider_specific_fields": {}}),
    "litellm-empty": with_message(tool_calls=None, function_call=None, images=None, thinking_blocks=None, annotations=[], provider_specific_fields=None),
    "openrouter": {**with_message(refusal=None, reasoning="Paris, of course.", reasoning_details=DETAILS, choice={"native_finish_reason": "stop", "logprobs": None}), "provider": "Anthropic"},
}


@pytest.mark.parametrize("name", STORED)
def test_whole_answers_of_other_gateways_are_stored(post, provider, name):
    provider.replies += [(200, "application/json", STORED[name])] * 2
    miss, hit = [post("/v1/chat/completions", chat()) for _ in range(2)]
    assert [status_of(miss), status_of(hit)] == ["Miss", "Hit"] and hit.json() == miss.json() == STORED[name]


STORED_STREAMS = {
    "litellm": [chat_chunk({"role": "assistant", "content": TEXT, "provider_specific_fields": {"refusal": None}}), chat_chunk({"provider_specific_fields": None}, "stop")],
    "openrouter": [
        chat_chunk({"role": "assistant", "content": "", "reasoning": "Paris", "reasoning_details": [{"type": "reasoning.text", "text": "Paris", "index": 0}]}, provider="Anthropic"),
        chat_chunk({"content": TEXT}, provider="Anthropic"),
        {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop", "native_finish_reason": "stop"}], "usage": USAGE},
    ],
}


@pytest.mark.parametrize("name", STORED_STREAMS)
def test_streamed_answers_of_other_gateways_are_stored(post, provider, name):
    provider.replies += [(200, "text/event-stream", sse(*STORED_STREAMS[name], end=DONE))] * 2
    miss, hit = [post("/v1/chat/completions", chat(stream=True)) for _ in range(2)]
    assert [status_of(miss), status_of(hit)] == ["Miss", "Hit"]
    assert status_of(whole := post("/v1/chat/completions", chat())) == "Hit" and whole.json()["choices"][0]["message"]["content"] == TEXT


WEATHER_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}}
STRICT = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {
    "type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"], "additionalProperties": False}}}


def calling(arguments, name="get_weather"):
    return {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}]}


# What is asked for, what the model says, and whether that may be stored.
DEFECTS = {
    "call": ({"tools": [WEATHER_TOOL]}, calling('{"city": "Paris"}'), True),
    "call-cut": ({"tools": [WEATHER_TOOL]}, calling('{"city": "'), False),
    "call-no-object": ({"tools": [WEATHER_TOOL]}, calling('"Paris"'), False),
    "call-without-a-demanded-argument": ({"tools": [WEATHER_TOOL]}, calling("{}"), False),
    "call-of-wrong-type": ({"tools": [WEATHER_TOOL]}, calling('{"city": 5}'), False),
    "tool-not-offered": ({"tools": [WEATHER_TOOL]}, calling('{"city": "Paris"}', "get_wether"), False),
    "no-tools-offered": ({}, calling('{"city": "Paris"}'), False),
    "json": ({"response_format": STRICT}, {"content": '{"answer": 42}'}, True),
    "prose": ({"response_format": STRICT}, {"content": "The answer is 42."}, False),
    "json-cut": ({"response_format": STRICT}, {"content": '{"answer": 4'}, False),
    "json-of-another-schema": ({"response_format": STRICT}, {"content": '{"result": 42}'}, False),
    "json-in-a-fence": ({"response_format": STRICT}, {"content": '```json\n{"answer": 42}\n```'}, False),
    "prose-for-any-object": ({"response_format": {"type": "json_object"}}, {"content": "42"}, False),
}


@pytest.mark.parametrize("name", DEFECTS)
@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_defective_answers_pass_and_are_never_stored(post, provider, name, delivery):
    options, says, is_good = DEFECTS[name]
    finish = "tool_calls" if "tool_calls" in says else "stop"
    if delivery == "whole":
        sent = json.dumps(with_message(finish, **says)).encode()
        kind = "application/json"
    else:
        calls = [{"index": 0, **call} for call in says.get("tool_calls", [])]
        sent = sse(chat_chunk({"role": "assistant", "content": says["content"], **({"tool_calls": calls} if calls else {})}), chat_chunk({}, finish), end=DONE)
        kind = "text/event-stream"
    provider.replies += [(200, kind, sent)] * 2
    ask = lambda: post("/v1/chat/completions", chat(**options, stream=delivery == "streamed"))
    first, second = ask(), ask()
    assert first.content == sent and status_of(first) == "Miss"
    assert status_of(second) == ("Hit" if is_good else "Miss")


@pytest.mark.parametrize("says, options, is_good", [
    ({"type": "tool_use", "id": "t", "name": "get_weather", "input": {"city": "Paris"}}, {}, True),
    ({"type": "tool_use", "id": "t", "name": "get_weather", "input": {"town": "Paris"}}, {}, False),
    ({"type": "tool_use", "id": "t", "name": "get_wether", "input": {"city": "Paris"}}, {}, False),
], ids=["call", "call-of-another-schema", "tool-not-offered"])
def test_defective_messages_pass_and_are_never_stored(post, provider, says, options, is_good):
    tools = [{"name": "get_weather", "input_schema": WEATHER_TOOL["function"]["parameters"]}]
    sent = {**MESSAGE, "content": [says], "stop_reason": "tool_use"}
    provider.replies += [(200, "application/json", sent)] * 2
    first, second = [post("/v1/messages", message(tools=tools, **options)) for _ in range(2)]
    assert first.json() == sent and status_of(second) == ("Hit" if is_good else "Miss")


@pytest.mark.parametrize("arguments, name, is_good", [('{"city": "Paris"}', "get_weather", True), ('{"city": "', "get_weather", False), ('{"city": "Paris"}', "get_wether", False)], ids=["call", "call-cut", "tool-not-offered"])
def test_defective_responses_pass_and_are_never_stored(post, provider, arguments, name, is_good):
    tools = [{"type": "function", "name": "get_weather", "parameters": WEATHER_TOOL["function"]["parameters"], "strict": True}]
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": arguments, "status": "completed"}
    sent = {**RESPONSE, "output": [call], "tools": tools}
    provider.replies += [(200, "application/json", sent)] * 2
    first, second = [post("/v1/responses", response(tools=tools)) for _ in range(2)]
    assert first.json() == sent and status_of(second) == ("Hit" if is_good else "Miss")


# Errors that hand over to the next target.


BOTH = """
[router]
attempts = 1
default_provider = "a"
[providers.a]
base_url = "{a}/v1"
api_key = "ours"
[providers.b]
base_url = "{b}"
api_key = "ours-too"
[models.both]
targets = [{{ provider = "a", model = "x" }}, {{ provider = "b", model = "y" }}]
"""
ERROR = {"error": {"message": "overloaded", "type": "server_error", "code": 503}}


@pytest.fixture(scope="session")
def two(start_refrain, session_provider):
    second = Provider()
    yield start_refrain(BOTH.format(a=session_provider.url, b=f"{second.url}/v1"))
    second.server.shutdown()


@pytest.mark.parametrize("kind, reply, stream", [
    ("application/json", ERROR, False), ("application/json", ERROR, True), ("text/event-stream", sse(ERROR), True), ("text/event-stream", sse(ERROR, end=DONE), True),
    ("text/event-stream", b": processing\n\n" + sse(ERROR), True), ("text/event-stream", b"event: error\n" + sse({"error": ERROR["error"]}), True),
    ("text/event-stream", b"", True),
], ids=["whole", "whole-for-a-stream", "first-event", "first-event-and-mark", "after-a-comment", "named-event", "nothing"])
def test_an_error_in_a_200_is_an_error(two, provider, names, kind, reply, stream):
    provider.replies.append((200, kind, reply))
    answer = two.http.post("/v1/chat/completions", json=chat(model="both", stream=stream), headers={"x-refrain-cache": names()})
    assert answer.status_code == 200 and answer.headers["x-refrain-provider"] == "b" and len(provider.seen) == 1, answer.text
    assert TEXT in answer.text and "overloaded" not in answer.text


def test_an_error_later_in_a_stream_is_the_callers(two, provider, names):
    """What has been handed on can't be taken back."""
    stream = sse(CHAT_EVENTS[0], CHAT_EVENTS[1], ERROR)
    provider.replies.append((200, "text/event-stream", stream))
    answer = two.http.post("/v1/chat/completions", json=chat(model="both", stream=True), headers={"x-refrain-cache": names()})
    assert answer.headers["x-refrain-provider"] == "a" and answer.content.startswith(stream)


@pytest.mark.parametrize("status", [402, 404, 410])
def test_a_target_that_has_no_credit_or_no_such_model_hands_over(two, provider, status):
    provider.replies.append((status, "application/json", {"error": {"message": f"status {status}"}}))
    answer = two.http.post("/v1/chat/completions", json=chat(model="both"), headers={"cache-control": "no-cache, no-store"})
    assert answer.status_code == 200 and answer.headers["x-refrain-provider"] == "b" and answer.headers["x-refrain-tried"] == f"a={status}"
    # Where nobody else is left, it is told.
    provider.replies.append((status, "application/json", {"error": {"message": f"status {status}"}}))
    answer = two.http.post("/v1/chat/completions", json=chat(model="a/x"), headers={"cache-control": "no-cache, no-store"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, f"status {status}")


@pytest.mark.parametrize("script", [[(429, {"retry-after-ms": "50"})] * 3, [(429, {})] * 2], ids=["told", "untold"])
def test_a_limited_provider_is_waited_for_while_there_is_time(start_refrain, flaky, script):  # noqa: F811
    server = start_refrain(f'[providers.a]\nbase_url = "{flaky.url}"\n')
    flaky.does(*script)
    reply = server.http.post("/v1/chat/completions", json=chat())
    assert reply.status_code == 200 and len(flaky.times) == len(script) + 1, reply.text
