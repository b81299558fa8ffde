"""Chat completions through the official openai client, in front of aimock."""

import json
import time

import httpx
import openai
import pytest
from conftest import ask, ask_stream, text_of


@pytest.fixture
def client(server, names):
    """A client whose requests share no scope with any other test's."""
    return server.openai(default_headers={"x-refrain-cache": names()})


QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
USAGE = (14, 7, 21)


def usage_of(reply):
    return (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens)


def test_a_miss_is_forwarded_and_the_next_request_is_a_hit(client, aimock):
    before = aimock.calls()
    fresh, headers = ask(client, QUESTION)
    assert headers["x-cache-status"] == "Miss" and headers["cache-status"] == "refrain; fwd=miss"
    assert headers["x-refrain-provider"] == "mock" and headers["x-refrain-attempts"] == "1"
    assert fresh.choices[0].message.content == ANSWER and "age" not in headers

    exact, headers = ask(client, QUESTION)
    assert headers["x-cache-status"] == "Hit" and headers["cache-status"].startswith("refrain; hit; ttl=")
    assert headers["cache-status"].endswith("detail=exact") and int(headers["age"]) < 60
    assert exact == fresh and usage_of(exact) == USAGE

    near, headers = ask(client, "What's the capital of France?")
    assert headers["x-cache-status"] == "Hit" and headers["cache-status"].endswith("detail=semantic")
    assert 0.9 < float(headers["x-refrain-cosine"]) < 1 and len(headers["x-refrain-decision"]) == 32
    assert near == fresh
    assert aimock.calls() == before + 1

    _, headers = ask(client, "What is the population of France, and what is the capital of France?")
    assert headers["x-cache-status"] == "Miss" and float(headers["x-refrain-cosine"]) < 0.9


@pytest.mark.parametrize("first", ["whole", "stream"])
def test_whole_and_streamed_answers_serve_each_other(client, aimock, first):
    before = aimock.calls()
    with_usage = {"stream_options": {"include_usage": True}}
    if first == "whole":
        ask(client, QUESTION)
    else:
        chunks, headers = ask_stream(client, QUESTION, **with_usage)
        assert headers["x-cache-status"] == "Miss" and text_of(chunks) == ANSWER

    whole, headers = ask(client, QUESTION)
    assert headers["x-cache-status"] == "Hit"
    assert whole.object == "chat.completion" and whole.choices[0].message.content == ANSWER
    assert whole.choices[0].finish_reason == "stop" and usage_of(whole) == USAGE

    chunks, headers = ask_stream(client, QUESTION)
    assert headers["x-cache-status"] == "Hit" and headers["content-type"].startswith("text/event-stream")
    assert chunks[0].choices[0].delta.role == "assistant" and len(chunks) > 3
    assert text_of(chunks) == ANSWER and chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None and chunk.object == "chat.completion.chunk" for chunk in chunks)

    chunks, headers = ask_stream(client, QUESTION, **with_usage)
    assert headers["x-cache-status"] == "Hit"
    assert text_of(chunks) == ANSWER and chunks[-1].choices == [] and usage_of(chunks[-1]) == USAGE
    assert aimock.calls() == before + 1


def test_a_replayed_stream_ends_with_its_mark(server, client, names):
    ask(client, QUESTION)
    body = {"model": "gpt-test", "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
    reply = server.http.post("/v1/chat/completions", json=body, headers={"x-refrain-cache": names()})
    assert reply.headers["x-cache-status"] == "Hit"
    events = reply.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""] and all(event.startswith("data: ") for event in events[:-1])


def test_an_answer_stored_without_usage_is_not_served_to_who_asks_for_usage(server, names):
    """Stored through the cache API, so that nobody ever counted its tokens."""
    cache = names()
    client = server.openai(default_headers={"x-refrain-cache": cache})
    body = {"model": "gpt-test", "messages": [{"role": "user", "content": QUESTION}], "response": "Paris, by hand."}
    server.http.post(f"/v1/caches/{cache}/entries", json=body).raise_for_status()
    whole, headers = ask(client, QUESTION)
    assert headers["x-cache-status"] == "Hit" and whole.choices[0].message.content == "Paris, by hand." and whole.usage is None
    chunks, headers = ask_stream(client, QUESTION)
    assert headers["x-cache-status"] == "Hit" and text_of(chunks) == "Paris, by hand."
    chunks, headers = ask_stream(client, QUESTION, stream_options={"include_usage": True})
    assert headers["x-cache-status"] == "Miss" and usage_of(chunks[-1]) == USAGE


def test_an_answer_from_a_chat_is_found_by_the_cache_api(server, names, client):
    ask(client, QUESTION)
    body = {"model": "gpt-test", "messages": [{"role": "user", "content": "What's the capital of France?"}]}
    [entry] = server.http.post(f"/v1/caches/{names()}/entries/search", json=body).json()["data"]
    assert entry["response"] == ANSWER and entry["searchStrategy"] == "semantic"


WEATHER = {
    "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
}


def test_tool_calls_are_replayed_for_the_same_request_only(client, aimock):
    before = aimock.calls()
    text = "What is the weather in Paris?"
    fresh, _ = ask(client, text, **WEATHER)
    [call] = fresh.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    again, headers = ask(client, text, **WEATHER)
    assert headers["x-cache-status"] == "Hit" and again == fresh

    chunks, headers = ask_stream(client, text, **WEATHER)
    assert headers["x-cache-status"] == "Hit" and chunks[-1].choices[0].finish_reason == "tool_calls"
    pieces = [c.choices[0].delta.tool_calls[0] for c in chunks if c.choices[0].delta.tool_calls]
    assert pieces[0].function.name == "get_weather" and pieces[0].id == call.id
    assert "".join(piece.function.arguments for piece in pieces) == call.function.arguments
    assert aimock.calls() == before + 1

    # Near texts may call with other arguments, and without the tools there is nothing to call.
    for options in (WEATHER, {}):
        _, headers = ask(client, "What is the weather in Paris today?", **options)
        assert headers["x-cache-status"] == "Miss"

    conversation = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    for status in ("Miss", "Hit"):
        answer, headers = ask(client, None, messages=conversation, **WEATHER)
        assert headers["x-cache-status"] == status and answer.choices[0].message.content == "It is sunny in Paris."
    conversation[2]["content"] = "raining"
    assert ask(client, None, messages=conversation, **WEATHER)[1]["x-cache-status"] == "Miss"


def test_a_streamed_tool_call_serves_whole_requests(client):
    text = "Tell me the weather in Paris."
    ask_stream(client, text, **WEATHER)
    whole, headers = ask(client, text, **WEATHER)
    assert headers["x-cache-status"] == "Hit"
    [call] = whole.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Paris"}
    assert whole.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("first", ["whole", "stream"])
def test_reasoning_is_replayed(client, first):
    text, model = "Please think about primes.", "o3-mini"
    reasoning = lambda part: (part.model_extra or {}).get("reasoning_content")
    ask_first = ask if first == "whole" else ask_stream
    ask_first(client, text, model=model)
    whole, headers = ask(client, text, model=model)
    assert headers["x-cache-status"] == "Hit"
    assert reasoning(whole.choices[0].message) == "Two has no divisor but one and itself."
    chunks, headers = ask_stream(client, text, model=model)
    assert headers["x-cache-status"] == "Hit"
    assert "".join(reasoning(c.choices[0].delta) or "" for c in chunks) == "Two has no divisor but one and itself."
    assert text_of(chunks) == "Two is prime."


def test_everything_but_the_last_user_text_separates(client):
    system = {"role": "system", "content": "You are terse."}
    user = {"role": "user", "content": QUESTION}
    base = {"messages": [system, user], "temperature": 0.5, "seed": 1, "response_format": {"type": "text"}}
    assert ask(client, None, **base)[1]["x-cache-status"] == "Miss"
    assert ask(client, None, **base)[1]["x-cache-status"] == "Hit"
    for change in (
        {"model": "gpt-other"},
        {"messages": [{**system, "content": "You are wordy."}, user]},
        {"messages": [system, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, user]},
        {"temperature": 0.6},
        {"seed": 2},
        {"max_tokens": 50},
        {"tools": WEATHER["tools"]},
        {"response_format": {"type": "json_object"}},
    ):
        assert ask(client, None, **{**base, **change})[1]["x-cache-status"] == "Miss", change
    assert ask(client, None, **base, user="somebody")[1]["x-cache-status"] == "Hit"


def test_json_answers_are_cached_under_their_format(client):
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    for status in ("Miss", "Hit"):
        reply, headers = ask(client, "Give me the answer as JSON", response_format=schema)
        assert headers["x-cache-status"] == status and json.loads(reply.choices[0].message.content) == {"answer": 42}
    assert ask(client, "Give me the answer as JSON")[1]["x-cache-status"] == "Miss"


@pytest.mark.parametrize(
    "options",
    [
        {"n": 2},
        {"logprobs": True},
        {"extra_body": {"web_search_options": {}}},
        {"store": True},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "https://example.com/i.png"}}]}]},
    ],
)
def test_what_cannot_be_cached_right_passes_through(client, aimock, options):
    before = aimock.calls()
    for _ in range(2):
        _, headers = ask(client, "bypass me please", **options)
        assert headers["x-cache-status"] == "Bypass" and "fwd=bypass; detail=" in headers["cache-status"]
    assert aimock.calls() == before + 2


def test_inline_images_are_part_of_the_scope(client):
    look = lambda data, text: [{"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]}]
    status = lambda data, text: ask(client, None, messages=look(data, text))[1]["x-cache-status"]
    assert status("AAAA", "What is in this picture?") == "Miss"
    assert status("AAAA", "What is in this picture?") == "Hit"
    assert status("BBBB", "What is in this picture?") == "Miss"


def test_incomplete_answers_are_not_kept(client):
    for text in ("Give me a cut answer please.",):
        for _ in range(2):
            reply, headers = ask(client, text)
            assert headers["x-cache-status"] == "Miss" and reply.choices[0].finish_reason == "length"
    for _ in range(2):
        with pytest.raises((httpx.RemoteProtocolError, openai.APIError)):
            ask_stream(client, "Send me a broken stream.")
    # The next one, whole, is a miss too: nothing of the broken ones was kept.
    assert ask(client, "Send me a broken stream.")[1]["x-cache-status"] == "Miss"


def test_a_stream_that_its_reader_gives_up_is_not_kept(client):
    text = "Give me a slow answer."
    stream, _ = ask(client, text, stream=True)
    next(iter(stream))
    stream.close()
    chunks, headers = ask_stream(client, text)
    assert headers["x-cache-status"] == "Miss"
    assert ask_stream(client, text)[1]["x-cache-status"] == "Hit"


def test_provider_errors_come_through_and_are_not_kept(client):
    for n in range(2):
        # Models of their own: those that say for how long they want to be left alone are left alone.
        with pytest.raises(openai.InternalServerError) as error:
            ask(client, "Cause a server error.", model=f"gpt-overloaded-{n}")
        assert "overloaded" in error.value.message and error.value.response.headers["x-cache-status"] == "Miss"
        with pytest.raises(openai.RateLimitError) as error:
            ask(client, "I want to be rate limited.", model=f"gpt-limited-{n}")
        assert "slow down" in error.value.message


def test_request_controls(client, aimock):
    control = lambda **options: ask(client, QUESTION, **options)[1]["x-cache-status"]
    header = lambda value: {"extra_headers": {"Cache-Control": value}}
    body = lambda **value: {"extra_body": {"cache": value}}

    with pytest.raises(openai.APIStatusError) as error:
        control(**header("only-if-cached"))
    assert error.value.status_code == 504 and error.value.code == "not_cached"

    assert control(**header("no-store")) == "Miss" == control(**body(**{"no-store": True}))
    assert control() == "Miss"
    assert control() == "Hit" == control(**header("only-if-cached"))

    before = aimock.calls()
    assert control(**header("no-cache")) == "Refresh" == control(**body(**{"no-cache": True}))
    assert control(**header("no-cache, no-store")) == "Refresh"
    assert aimock.calls() == before + 3
    assert "cache" not in aimock.last()["body"], "the cache object is for us, not for the provider"

    assert control(**header("max-age=600")) == "Hit" == control(**body(**{"s-maxage": 600}))
    time.sleep(1.1)
    assert control(**header("max-age=0")) == "Miss"
    assert control(**body(namespace="n")) == "Miss"
    assert control(**body(namespace="n")) == "Hit"

    for wrong in (header("max-age=soon"), body(ttl="long"), body(tll=3)):
        with pytest.raises(openai.BadRequestError):
            control(**wrong)


def test_ttl_of_a_request(client):
    ttl = {"extra_body": {"cache": {"ttl": 1}}}
    assert ask(client, "this one lives shortly", **ttl)[1]["x-cache-status"] == "Miss"
    reply, headers = ask(client, "this one lives shortly")
    assert headers["x-cache-status"] == "Hit" and headers["cache-status"].startswith(("refrain; hit; ttl=0", "refrain; hit; ttl=1;"))
    time.sleep(1.1)
    assert ask(client, "this one lives shortly")[1]["x-cache-status"] == "Miss"


def test_a_bound_on_the_error_rate_leaves_exact_hits(client):
    ask(client, QUESTION)
    bounded = {"extra_headers": {"x-refrain-max-error-rate": "0.01"}}
    assert ask(client, QUESTION, **bounded)[1]["x-cache-status"] == "Hit"
    assert ask(client, "What's the capital of France?", **bounded)[1]["x-cache-status"] == "Miss"
    with pytest.raises(openai.BadRequestError):
        ask(client, QUESTION, extra_headers={"x-refrain-max-error-rate": "2"})


def test_local_embeddings(server):
    client = server.openai()
    vectors = lambda reply: [item.embedding for item in reply.data]
    texts = ["How do I reset my password?", "How can I reset my password?", "Bananas are yellow."]
    reply = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts)
    a, b, c = vectors(reply)
    dot = lambda x, y: sum(i * j for i, j in zip(x, y))
    assert len(a) == 384 and abs(dot(a, a) - 1) < 1e-5 and dot(a, b) > 0.95 and dot(a, c) < 0.3
    assert reply.usage.prompt_tokens == 7 + 7 + 4
    [as_floats] = vectors(client.embeddings.create(model="all-MiniLM-L6-v2", input=texts[0], encoding_format="float"))
    assert max(abs(x - y) for x, y in zip(a, as_floats)) < 1e-6
    many = vectors(client.embeddings.create(model="all-MiniLM-L6-v2", input=[f"text {n}" for n in range(400)]))
    assert len(many) == 400
    for wrong in ([], [""], "", [1, 2], "long " * 5000):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="all-MiniLM-L6-v2", input=wrong)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="all-MiniLM-L6-v2", input="a", dimensions=100)


def test_other_embedding_models_and_paths_pass_through(server, aimock):
    client = server.openai()
    assert len(client.embeddings.create(model="text-embedding-3-small", input="a").data[0].embedding) > 0
    assert aimock.last()["path"] == "/v1/embeddings"
    assert client.moderations.create(input="hello").results
    assert aimock.last()["path"] == "/v1/moderations"
    reply = client.responses.create(model="gpt-test", input="the capital of France")
    assert ANSWER in reply.output_text


def test_models_of_all_sources_are_listed(start_refrain, aimock):
    server = start_refrain(
        f'[providers.mock]\nbase_url = "{aimock.url}/v1"\n[providers.gone]\nbase_url = "http://127.0.0.1:1/v1"\n'
        '[router]\ndefault_provider = "mock"\n[models.fast]\ntargets = [{provider = "mock", model = "gpt-test"}]\n'
    )
    ids = [model.id for model in server.openai().models.list()]
    assert "fast" in ids and "all-MiniLM-L6-v2" in ids and len(ids) > 2


def test_aliases_fall_over_to_the_next_target(start_refrain, aimock):
    server = start_refrain(
        f'[providers.mock]\nbase_url = "{aimock.url}/v1"\n[providers.gone]\nbase_url = "http://127.0.0.1:1/v1"\n'
        '[models.fast]\ntargets = [{provider = "gone", model = "x"}, {provider = "mock", model = "gpt-target"}]\n'
        '[models.dead]\ntargets = [{provider = "gone", model = "x"}]\n'
    )
    client = server.openai()
    reply, headers = ask(client, QUESTION, model="fast")
    assert headers["x-refrain-attempts"] == "3" and headers["x-refrain-provider"] == "mock"
    assert aimock.last()["body"]["model"] == "gpt-target"
    reply, headers = ask(client, QUESTION, model="mock/gpt-direct")
    assert headers["x-cache-status"] == "Miss" and aimock.last()["body"]["model"] == "gpt-direct"
    with pytest.raises(openai.InternalServerError) as error:
        ask(client, QUESTION, model="dead")
    assert error.value.status_code == 502 and error.value.code == "provider_unreachable" and "gone" in error.value.message
    with pytest.raises(openai.NotFoundError) as error:
        ask(client, QUESTION, model="unheard-of")
    assert error.value.code == "model_not_found"


def test_without_a_provider_the_error_says_what_to_do(start_refrain):
    server = start_refrain()
    client = server.openai()
    with pytest.raises(openai.InternalServerError) as error:
        ask(client, QUESTION)
    assert error.value.status_code == 503 and "OPENAI_API_KEY" in error.value.message
    assert client.embeddings.create(model="all-MiniLM-L6-v2", input="a").data


def test_tenants_keys_stay_here_and_tenants_do_not_share(start_refrain, aimock):
    server = start_refrain(
        f'[providers.mock]\nbase_url = "{aimock.url}/v1"\napi_key = "provider-key"\n'
        '[tenants.a]\napi_keys = ["key-a"]\n[tenants.b]\napi_keys = ["env:B_KEY"]\n', {"B_KEY": "key-b"}
    )
    a, b = server.openai(api_key="key-a"), server.openai(api_key="key-b")
    assert ask(a, QUESTION)[1]["x-cache-status"] == "Miss"
    assert "key-a" not in json.dumps(aimock.last())
    assert ask(a, QUESTION)[1]["x-cache-status"] == "Hit"
    assert ask(b, QUESTION)[1]["x-cache-status"] == "Miss"
    with pytest.raises(openai.AuthenticationError):
        ask(server.openai(api_key="wrong"), QUESTION)
