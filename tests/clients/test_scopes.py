"""What asks for the same, and what doesn't."""

import json

import pytest
from front_door import ASKS, QUESTION, message, response, status_of


def test_what_a_header_asks_of_claude_is_part_of_the_question(post, provider):
    plain = {"anthropic_version": "2023-06-01"}
    for headers, status in [
        (plain, "Miss"), (plain, "Hit"), ({**plain, "anthropic_beta": "context-1m-2025-08-07"}, "Miss"), ({**plain, "anthropic_beta": "context-1m-2025-08-07"}, "Hit"),
        ({**plain, "anthropic_beta": "interleaved-thinking-2025-05-14"}, "Miss"), ({"anthropic_version": "2024-01-01"}, "Miss"), (plain, "Hit"),
    ]:
        assert status_of(post("/v1/messages", message(), **headers)) == status, headers


SAME_CHATS = {
    "metadata": {"metadata": {"trace": "1"}}, "service_tier": {"service_tier": "auto"}, "store": {"store": False}, "n": {"n": 1}, "logprobs": {"logprobs": False},
    "tools": {"tools": []}, "response_format": {"response_format": {"type": "text"}}, "top_p": {"top_p": 1}, "top_p-spelt": {"top_p": 1.0},
    "frequency_penalty": {"frequency_penalty": 0}, "presence_penalty": {"presence_penalty": 0.0}, "stream": {"stream": False}, "nulls": {"temperature": None, "stop": None, "seed": None, "tools": None},
    "logit_bias": {"logit_bias": {}}, "user": {"user": "somebody"}, "modalities": {"modalities": ["text"]},
    "content": {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]},
    "all": {"n": 1, "top_p": 1, "tools": [], "metadata": {}, "store": False, "logprobs": False, "frequency_penalty": 0},
}
SAME_RESPONSES = {
    "metadata": {"metadata": {"trace": "1"}}, "service_tier": {"service_tier": "auto"}, "tools": {"tools": []}, "text": {"text": {"format": {"type": "text"}}},
    "top_p": {"top_p": 1}, "truncation": {"truncation": "disabled"}, "nulls": {"instructions": None, "temperature": None, "previous_response_id": None}, "user": {"user": "somebody"},
    "items": {"input": [{"role": "user", "content": QUESTION}]}, "parts": {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]},
    "stream": {"stream": False}, "background": {"background": False},
}
SAME_MESSAGES = {
    "metadata": {"metadata": {"user_id": "1"}}, "service_tier": {"service_tier": "auto"}, "tools": {"tools": []}, "stop_sequences": {"stop_sequences": []}, "stream": {"stream": False},
    "content": {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]}, "top_p": {"top_p": 1},
}
SAME = {"/v1/chat/completions": SAME_CHATS, "/v1/responses": SAME_RESPONSES, "/v1/messages": SAME_MESSAGES}


@pytest.mark.parametrize("path, name", [(path, name) for path, pairs in SAME.items() for name in pairs])
def test_what_asks_for_the_same_is_a_hit(post, provider, path, name):
    plain, more = ASKS[path](), {**ASKS[path](), **SAME[path][name]}
    assert [status_of(post(path, plain)), status_of(post(path, more))] == ["Miss", "Hit"]
    assert len(provider.seen) == 1


def of_document(**more):
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "It is Paris."}, **more}
    return {"messages": [{"role": "user", "content": [document, {"type": "text", "text": QUESTION}]}]}


def of_image(media_type):
    image = {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": "iVBORw0KGgo="}}
    return {"messages": [{"role": "user", "content": [image, {"type": "text", "text": QUESTION}]}]}


def of_turns(*blocks):
    return {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [*blocks, {"type": "text", "text": "Hello"}]}, {"role": "user", "content": QUESTION}]}


def of_result(**more):
    use = {"type": "tool_use", "id": "t", "name": "get_weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "sunny", **more}
    return {**of_tool(), "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result, {"type": "text", "text": QUESTION}]}]}


def of_tool(**more):
    return {"tools": [{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}, **more}]}


THINKING = {"type": "thinking", "thinking": "Well.", "signature": "s1"}
OTHER_MESSAGES = {
    "document-context": (of_document(), of_document(context="Of 1940.")),
    "document-context-changed": (of_document(context="Of 1940."), of_document(context="Of 2020.")),
    "document-title": (of_document(title="A"), of_document(title="B")),
    "document-citations": (of_document(), of_document(citations={"enabled": True})),
    "image-media-type": (of_image("image/png"), of_image("image/jpeg")),
    "thinking-block": (of_turns(), of_turns(THINKING)),
    "thinking-text": (of_turns(THINKING), of_turns({**THINKING, "thinking": "Hm."})),
    "thinking-signature": (of_turns(THINKING), of_turns({**THINKING, "signature": "s2"})),
    "redacted-thinking": (of_turns({"type": "redacted_thinking", "data": "a"}), of_turns({"type": "redacted_thinking", "data": "b"})),
    "tool-strict": (of_tool(), of_tool(strict=True)),
    "tool-defer-loading": (of_tool(), of_tool(defer_loading=True)),
    "tool-input-examples": (of_tool(input_examples=[{"city": "Rome"}]), of_tool(input_examples=[{"city": "Oslo"}])),
    "tool-unknown-member": (of_tool(x_new=1), of_tool(x_new=2)),
    "tool-allowed-callers": (of_tool(), of_tool(allowed_callers=["code_execution_20250825"])),
    "tool-type": (of_tool(), {"tools": [{"type": "web_search_20250305", "name": "get_weather"}]}),
    "tool-choice-without-tools": ({}, {"tool_choice": {"type": "any"}}),
    "tool-choice-parallel": ({**of_tool(), "tool_choice": {"type": "auto"}}, {**of_tool(), "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    "tool-result-error": (of_result(), of_result(is_error=True)),
    "unknown-member": ({"x_new": 1}, {"x_new": 2}),
    "unknown-member-added": ({}, {"x_new": {"a": []}}),
    "unknown-member-of-a-turn": ({}, {"messages": [{"role": "user", "content": QUESTION, "x_new": 1}]}),
    "unknown-member-of-a-block": (of_turns({"type": "text", "text": "So."}), of_turns({"type": "text", "text": "So.", "x_new": 1})),
    "unknown-block": (of_turns({"type": "x_new", "data": 1}), of_turns({"type": "x_new", "data": 2})),
    "thinking-budget": ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    "output-config": ({"output_config": {"effort": "low"}}, {"output_config": {"effort": "high"}}),
    "top-k": ({"top_k": 1}, {"top_k": 2}),
    "stop-sequences": ({"stop_sequences": ["a"]}, {"stop_sequences": ["b"]}),
    "system": ({"system": "Be brief."}, {"system": "Be verbose."}),
    "system-blocks": ({"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"system": [{"type": "text", "text": "ab"}]}),
    "context-management": ({"context_management": {"edits": []}}, {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
    "container": ({"container": "a"}, {"container": "b"}),
    "mcp-servers": ({"mcp_servers": [{"type": "url", "name": "a", "url": "https://a.example"}]}, {"mcp_servers": [{"type": "url", "name": "a", "url": "https://b.example"}]}),
}


@pytest.mark.parametrize("name", OTHER_MESSAGES)
@pytest.mark.parametrize("order", ["first", "second"])
def test_messages_that_differ_share_no_answer(post, provider, name, order):
    pair = [{**message(), **change} for change in OTHER_MESSAGES[name]]
    one, another = pair if order == "first" else reversed(pair)
    assert status_of(post("/v1/messages", one)) != "Hit" and status_of(post("/v1/messages", another)) != "Hit"
    assert len(provider.seen) == 2


@pytest.mark.parametrize("plain, repeated", [
    (b'"input_schema": {"type": "object"}', b'"input_schema": {"type": "string", "type": "object"}'),
    (b'"input_schema": {"type": "object"}', b'"input_schema": {"type": "object", "type": "string"}'),
    (b'"name": "get_weather"', b'"name": "drop_tables", "name": "get_weather"'),
], ids=["last", "first", "name"])
@pytest.mark.parametrize("path", ASKS)
def test_a_member_that_is_repeated_anywhere_means_nothing_certain(post, provider, path, plain, repeated):
    tool = {"name": "get_weather", "input_schema": {"type": "object"}}
    if path != "/v1/messages":
        plain, repeated = plain.replace(b"input_schema", b"parameters"), repeated.replace(b"input_schema", b"parameters")
        tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
    tool = {"type": "function", "function": tool} if path == "/v1/chat/completions" else tool
    body = json.dumps(ASKS[path](tools=[tool])).encode()
    assert plain in body
    bodies = [body, body.replace(plain, repeated)]
    assert "Hit" not in [status_of(post(path, body)) for body in bodies]
    assert plain in provider.seen[0].body and repeated in provider.seen[1].body


FLAT_TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": True}
OTHER_RESPONSES = {
    "instructions": ({}, {"instructions": "Be brief."}), "reasoning": ({"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "high"}}),
    "previous": ({}, {"previous_response_id": "resp_0"}), "conversation": ({}, {"conversation": "conv_0"}), "prompt": ({"prompt": {"id": "pmpt_1"}}, {"prompt": {"id": "pmpt_2"}}),
    "tools": ({}, {"tools": [FLAT_TOOL]}), "tool-strict": ({"tools": [FLAT_TOOL]}, {"tools": [{**FLAT_TOOL, "strict": False}]}), "built-in-tool": ({}, {"tools": [{"type": "web_search"}]}),
    "max_output_tokens": ({"max_output_tokens": 50}, {"max_output_tokens": 60}), "text": ({}, {"text": {"format": {"type": "json_object"}}}), "verbosity": ({}, {"text": {"verbosity": "low"}}),
    "include": ({}, {"include": ["reasoning.encrypted_content"]}), "truncation": ({}, {"truncation": "auto"}), "unknown": ({"x_new": 1}, {"x_new": 2}),
    "item-reference": ({"input": [{"type": "item_reference", "id": "msg_a"}, {"role": "user", "content": QUESTION}]}, {"input": [{"type": "item_reference", "id": "msg_b"}, {"role": "user", "content": QUESTION}]}),
    "encrypted-reasoning": tuple({"input": [{"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": text}, {"role": "user", "content": QUESTION}]} for text in "ab"),
    "image-detail": tuple({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": detail}, {"type": "input_text", "text": QUESTION}]}]} for detail in ("low", "high")),
    "call-output": tuple({"input": [{"role": "user", "content": QUESTION}, {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"}, {"type": "function_call_output", "call_id": "c", "output": text}]} for text in "ab"),
    "developer": ({}, {"input": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": QUESTION}]}),
}


@pytest.mark.parametrize("name", OTHER_RESPONSES)
def test_responses_that_differ_share_no_answer(post, provider, name):
    one, another = [{**response(), **change} for change in OTHER_RESPONSES[name]]
    assert status_of(post("/v1/responses", one)) != "Hit" and status_of(post("/v1/responses", another)) != "Hit"
    assert len(provider.seen) == 2
