"""The older completions through openai's client: cached exactly, whole and streamed."""

import json

import pytest
from front_door import DONE, QUESTION, Provider, sse, status_of

MODEL = "gpt-3.5-turbo-instruct"
TEXT = " a time there was a cache."
USAGE = {"prompt_tokens": 2, "completion_tokens": 7, "total_tokens": 9}


def choice(text=TEXT, index=0, finish="stop", logprobs=None):
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}


def completion(*choices, **more):
    return {"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "instruct-0914", "choices": list(choices or [choice()]), "usage": USAGE, **more}


def chunk(*choices, **more):
    return {"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "instruct-0914", "choices": list(choices), **more}


STREAM = sse(chunk(choice(" a time", finish=None)), chunk(choice(" there was a cache.", finish=None)), chunk(choice("", finish="stop")), end=DONE)
WITH_USAGE = STREAM.removesuffix(DONE) + sse(chunk(usage=USAGE), end=DONE)
JSON, EVENTS = "application/json", "text/event-stream"


class CompletionsProvider(Provider):
    def usual(self, path, body):
        asked = json.loads(body)
        if asked.get("stream"):
            return 200, EVENTS, WITH_USAGE if asked.get("stream_options") else STREAM
        return 200, JSON, completion()


@pytest.fixture(scope="module")
def module_provider():
    provider = CompletionsProvider()
    yield provider
    provider.server.shutdown()


@pytest.fixture
def provider(module_provider):
    module_provider.seen.clear()
    module_provider.replies.clear()
    return module_provider


@pytest.fixture(scope="module")
def door(start_refrain, module_provider):
    return start_refrain(f'[router]\nattempts = 1\n[providers.p]\nbase_url = "{module_provider.url}/v1"\napi_key = "k"\n')


@pytest.fixture
def complete(door, names):
    """Asks in a cache of the test's own: (completion or chunks, headers)."""
    client = door.openai(default_headers={"x-refrain-cache": names()})

    def complete(prompt="Once upon", **options):
        raw = client.completions.with_raw_response.create(model=options.pop("model", MODEL), prompt=prompt, **options)
        parsed = raw.parse()
        return (list(parsed) if options.get("stream") else parsed), raw.headers

    return complete


@pytest.fixture
def post(door, names):
    def post(body, **headers):
        headers = {"x-refrain-cache": names(), **{name.replace("_", "-"): value for name, value in headers.items()}}
        return door.http.post("/v1/completions", json={"model": MODEL, "prompt": "Once upon", **body}, headers=headers)

    return post


def text_of(chunks):
    return "".join(choice.text for chunk in chunks for choice in chunk.choices)


def test_a_whole_completion_is_a_miss_and_then_a_hit(provider, complete):
    (first, missed), (second, hit) = complete(), complete(["Once upon"])
    assert (missed["x-cache-status"], hit["x-cache-status"]) == ("Miss", "Hit") and hit["cache-status"].endswith("detail=exact")
    assert first == second and second.choices[0].text == TEXT and second.usage.total_tokens == 9 and len(provider.seen) == 1


def test_a_stream_is_played_back_in_its_own_events(provider, post, complete):
    first, second = post({"stream": True}), post({"stream": True})
    assert [status_of(first), status_of(second)] == ["Miss", "Hit"] and first.content == STREAM
    assert second.headers["content-type"].startswith(EVENTS) and second.content.endswith(DONE)
    chunks, _ = complete(stream=True)
    assert text_of(chunks) == TEXT and chunks[-1].choices[0].finish_reason == "stop" and {chunk.object for chunk in chunks} == {"text_completion"}
    whole, headers = complete()
    assert headers["x-cache-status"] == "Hit" and whole.choices[0].text == TEXT and whole.choices[0].finish_reason == "stop" and len(provider.seen) == 1
    # Whoever asks for the usage counts on it, and that stream had none.
    counted = {"stream": True, "stream_options": {"include_usage": True}}
    assert [complete(**counted)[1]["x-cache-status"] for _ in range(2)] == ["Miss", "Hit"]
    assert complete(**counted)[0][-1].usage.total_tokens == 9


def test_several_choices_and_log_probabilities_are_kept(provider, post, complete):
    scores = lambda token, at=0: {"tokens": [token], "token_logprobs": [-0.5], "top_logprobs": None, "text_offset": [at]}
    asked = {"n": 2, "logprobs": 1}
    provider.replies = [(200, JSON, completion(choice("a", 0, logprobs=scores("a")), choice("b", 1, logprobs=scores("b"))))]
    assert [status_of(post(asked)), status_of(post(asked))] == ["Miss", "Hit"]
    chunks, headers = complete(stream=True, **asked)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert headers["x-cache-status"] == "Hit" and [(choice.index, choice.text) for choice in choices] == [(0, "a"), (1, "b"), (0, ""), (1, "")]
    assert [choice.finish_reason for choice in choices] == [None, None, "stop", "stop"] and choices[1].logprobs.tokens == ["b"]
    events = sse(chunk(choice("b", 1, None, scores("b"))), chunk(choice("a", 0, "stop", scores("a")), choice("c", 1, "stop", scores("c", 1))), end=DONE)
    provider.replies = [(200, EVENTS, events)]
    assert status_of(post({**asked, "stream": True, "seed": 1})) == "Miss"
    whole = post({**asked, "seed": 1})
    assert status_of(whole) == "Hit"
    assert whole.json()["choices"] == [choice("a", 0, "stop", scores("a")), choice("bc", 1, "stop", {"tokens": ["b", "c"], "token_logprobs": [-0.5, -0.5], "top_logprobs": None, "text_offset": [0, 1]})]


@pytest.mark.parametrize("same", [{"n": 1}, {"best_of": 1}, {"echo": False}, {"top_p": 1.0}, {"suffix": None}, {"stream": False}, {"user": "u"}, {"logit_bias": {}}], ids=str)
def test_what_asks_for_the_same_is_a_hit(provider, post, same):
    assert [status_of(post({})), status_of(post(same))] == ["Miss", "Hit"]


@pytest.mark.parametrize("other", [{"n": 2}, {"best_of": 2}, {"echo": True}, {"suffix": "."}, {"logprobs": 0}, {"max_tokens": 5}, {"temperature": 0}, {"stop": "."}, {"seed": 1},
                                   {"model": "other"}, {"prompt": "Once Upon"}, {"prompt": ["Once upon", "a"]}, {"prompt": [1, 2]}, {"guided_regex": "a"}, {"cache": {"namespace": "n"}}], ids=str)
def test_what_asks_for_something_else_is_not(provider, post, other):
    assert [status_of(post(body)) for body in ({}, other, other, {})] == ["Miss", "Miss", "Hit", "Hit"]
    assert all(b"cache" not in request.body for request in provider.seen)


def test_near_texts_chats_and_curated_entries_are_other_questions(provider, post, door, names):
    assert status_of(post({"prompt": QUESTION})) == "Miss"
    assert status_of(post({"prompt": "What's the capital of France?"})) == "Miss"
    chat = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
    provider.replies = [(200, JSON, {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}]})]
    assert status_of(door.http.post("/v1/chat/completions", json=chat, headers={"x-refrain-cache": names()})) == "Miss"
    written = {"prompt": "Two plus two is", "response": "four", "curated": True}
    assert door.http.post(f"/v1/caches/{names()}/entries", json=written).status_code == 201
    assert status_of(post({"prompt": "Two plus two is"})) == "Miss"


@pytest.mark.parametrize("reply", [
    (200, JSON, completion(choice(finish="length"))), (200, JSON, completion(choice(), choice(index=1, finish="length"))), (200, JSON, completion(choice(finish=None))),
    (200, JSON, completion(error={"message": "out of memory"})), (200, JSON, completion(choice(""))), (500, JSON, {"error": {"message": "broken"}}),
    (200, EVENTS, sse(chunk(choice(finish=None)), end=DONE)), (200, EVENTS, sse(chunk(choice()))), (200, EVENTS, sse(chunk(choice(finish=None)), {"error": {"message": "broken"}}, end=DONE)),
], ids=["length", "one-of-two", "no-reason", "error", "empty", "500", "stream-without-reason", "stream-without-end", "stream-with-error"])
def test_only_whole_answers_are_stored(provider, post, reply):
    body = {"stream": reply[1] == EVENTS}
    provider.replies = [reply]
    post(body)
    assert status_of(post(body)) == "Miss" and status_of(post(body)) == "Hit"


def test_controls(provider, post):
    assert status_of(post({}, cache_control="no-store")) == "Miss" and status_of(post({})) == "Miss" and status_of(post({}, cache_control="no-cache")) == "Refresh"
    assert status_of(post({}, cache_control="only-if-cached")) == "Hit"
    assert post({"prompt": "never asked"}, cache_control="only-if-cached").status_code == 504


def test_a_named_provider_gets_it_as_it_is(provider, post):
    replies = [post({}, x_refrain_provider="p") for _ in range(2)]
    assert len(provider.seen) == 2 and all("x-cache-status" not in reply.headers and reply.json() == completion() for reply in replies)


def test_errors_have_the_shape_of_the_api(provider, post, door):
    error = {"error": {"message": "no such model", "type": "invalid_request_error", "param": None, "code": "model_not_found"}}
    provider.replies = [(404, JSON, error)]
    assert post({}).json() == error
    refused = door.http.post("/v1/completions", content=b"nothing", headers={"content-type": "application/json"})
    assert refused.status_code == 400 and refused.json()["error"]["type"] == "invalid_request_error"
