"""Providers' embeddings through openai's client: each text's vector is kept, and a batch asks for what isn't known."""

import array
import base64
import concurrent.futures
import hashlib
import json
import threading

import openai
import pytest
from front_door import Provider

MODEL = "text-embedding-3-small"
INPUTS = "x-refrain-embeddings"


def vector_of(text, dimensions=None):
    """Numbers that only this input has, as 32-bit floats."""
    digest = hashlib.sha512(json.dumps(text).encode()).digest()
    return array.array("f", [byte / 97 - 1.3 for byte in digest[: dimensions or 24]]).tolist()


def encoded(vector):
    return base64.b64encode(array.array("f", vector).tobytes()).decode()


def tokens_of(text):
    return len(text) if isinstance(text, list) else len(text.split())


def as_list(given):
    is_one = isinstance(given, str) or (given and isinstance(given[0], int))
    return [given] if is_one else given


class EmbeddingsProvider(Provider):
    """Makes vectors of whatever it is asked for, the last one first."""

    def __init__(self):
        super().__init__()
        self.model, self.shortened, self.gate = "te3-small-2024", 0, None

    def usual(self, path, body):
        asked = json.loads(body)
        if self.gate:
            self.gate.wait(30)
        inputs = as_list(asked["input"])
        dimensions = (asked.get("dimensions") or 24) - self.shortened
        told = encoded if asked.get("encoding_format") == "base64" else list
        data = [{"object": "embedding", "index": place, "embedding": told(vector_of(text, dimensions))} for place, text in enumerate(inputs)]
        tokens = sum(map(tokens_of, inputs))
        reply = {"object": "list", "data": data[::-1], "model": self.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
        return 200, "application/json", reply

    def inputs(self):
        """What each request asked for."""
        return [json.loads(request.body)["input"] for request in self.seen]


@pytest.fixture(scope="module")
def module_provider():
    provider = EmbeddingsProvider()
    yield provider
    provider.server.shutdown()


@pytest.fixture
def provider(module_provider):
    module_provider.seen.clear()
    module_provider.replies.clear()
    module_provider.model, module_provider.shortened, module_provider.gate = "te3-small-2024", 0, None
    return module_provider


def settings(provider):
    return f'[router]\nattempts = 1\n[providers.p]\nbase_url = "{provider.url}/v1"\napi_key = "k"\n'


@pytest.fixture(scope="module")
def door(start_refrain, module_provider):
    return start_refrain(settings(module_provider))


@pytest.fixture
def embed(door, names):
    """Asks in a cache of the test's own: (reply, headers)."""
    client = door.openai(default_headers={"x-refrain-cache": names()})

    def embed(given, **options):
        raw = client.embeddings.with_raw_response.create(model=options.pop("model", MODEL), input=given, **options)
        return raw.parse(), raw.headers

    return embed


@pytest.fixture
def post(door, names):
    def post(body, **headers):
        headers = {"x-refrain-cache": names(), **{name.replace("_", "-"): value for name, value in headers.items()}}
        return door.http.post("/v1/embeddings", json={"model": MODEL, **body}, headers=headers)

    return post


def vectors(reply):
    """In the order of the inputs, which is that of a reply's list wherever the provider's own isn't handed on."""
    return [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]


def what(headers):
    return headers["x-cache-status"], headers[INPUTS]


def test_a_batch_asks_only_for_what_is_not_known(provider, embed):
    texts = [f"text number {n}" for n in range(100)]
    known = [text for n, text in enumerate(texts) if n % 10]
    assert what(embed(known)[1]) == ("Miss", "0/90")
    reply, headers = embed(texts)
    assert what(headers) == ("Partial", "90/100") and headers["cache-status"] == "refrain; fwd=partial"
    assert provider.inputs() == [known, texts[::10]]
    assert vectors(reply) == [item.embedding for item in reply.data] == [vector_of(text) for text in texts]
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens, reply.model) == (300, 300, provider.model)
    shuffled = texts[::-1]
    reply, headers = embed(shuffled)
    assert what(headers) == ("Hit", "100/100") and headers["cache-status"].startswith("refrain; hit; ttl=") and "age" in headers
    assert vectors(reply) == [item.embedding for item in reply.data] == [vector_of(text) for text in shuffled] and reply.usage.prompt_tokens == 300
    assert len(provider.seen) == 2


def test_what_nothing_is_known_of_passes_through_byte_for_byte(provider, post):
    body = {"input": ["one", "two"], "encoding_format": "float", "user": "somebody"}
    reply = post(body)
    assert reply.content == json.dumps(provider.usual("", json.dumps(body))[2]).encode()
    assert json.loads(provider.seen[0].body) == {"model": MODEL, **body}


@pytest.mark.parametrize("first, second", [("float", "base64"), ("base64", "float")])
def test_how_numbers_are_spelled_is_no_part_of_the_question(provider, post, first, second):
    ask = lambda encoding: post({"input": "spelled", "encoding_format": encoding})
    told = {"float": vector_of("spelled"), "base64": encoded(vector_of("spelled"))}
    assert ask(first).headers["x-cache-status"] == "Miss"
    for encoding in (second, first):
        reply = ask(encoding)
        assert what(reply.headers) == ("Hit", "1/1")
        [item] = reply.json()["data"]
        assert array.array("f", item["embedding"]) == array.array("f", told["float"]) if encoding == "float" else item["embedding"] == told["base64"]
    assert len(provider.seen) == 1


def test_equal_inputs_are_asked_for_once(provider, embed):
    reply, headers = embed(["a", "b", "a", "a"])
    assert what(headers) == ("Miss", "0/4") and provider.inputs() == [["a", "b"]]
    assert vectors(reply) == [vector_of(text) for text in "abaa"] and reply.usage.prompt_tokens == 4
    reply, headers = embed(["c", "a", "c"])
    assert what(headers) == ("Partial", "1/3") and provider.inputs()[1:] == [["c"]]
    assert vectors(reply) == [vector_of(text) for text in "cac"]


def test_tokens_are_no_texts(provider, embed):
    assert what(embed([[1, 2], [3]])[1]) == ("Miss", "0/2")
    reply, headers = embed([3])
    assert what(headers) == ("Hit", "1/1") and vectors(reply) == [vector_of([3])]
    reply, headers = embed([[4], [1, 2]])
    assert what(headers) == ("Partial", "1/2") and provider.inputs()[-1] == [[4]] and vectors(reply) == [vector_of([4]), vector_of([1, 2])]
    assert what(embed("[3]")[1]) == ("Miss", "0/1")


def test_what_changes_a_vector_separates_it(provider, embed):
    assert what(embed("same")[1]) == ("Miss", "0/1")
    assert what(embed(["same"], user="somebody", extra_headers={"x-request": "1"})[1]) == ("Hit", "1/1")
    for other in [{"dimensions": 8}, {"model": "text-embedding-3-large"}, {"extra_body": {"input_type": "query"}}, {"extra_body": {"input_type": "passage"}},
                  {"extra_body": {"cache": {"namespace": "n"}}}]:
        assert [what(embed("same", **other)[1])[0] for _ in range(2)] == ["Miss", "Hit"], other
    reply, _ = embed("same", dimensions=8)
    assert len(reply.data[0].embedding) == 8
    assert all("cache" not in json.loads(request.body) for request in provider.seen)


def test_caches_and_tenants_do_not_share_and_a_restart_keeps(start_refrain, provider):
    server = start_refrain(settings(provider) + '[tenants.a]\napi_keys = ["key-a"]\n[tenants.b]\napi_keys = ["key-b"]\n')

    def ask(key, text, **headers):
        raw = server.openai(api_key=key).embeddings.with_raw_response.create(model=MODEL, input=text, extra_headers=headers)
        return raw.headers["x-cache-status"], vectors(raw.parse())

    assert [ask(key, "shared")[0] for key in ("key-a", "key-b", "key-a", "key-b")] == ["Miss", "Miss", "Hit", "Hit"]
    assert ask("key-a", "shared", **{"x-refrain-cache": "other"})[0] == "Miss"
    server.restart()
    assert ask("key-a", ["shared"]) == ("Hit", [vector_of("shared")])
    assert len(provider.seen) == 3


def test_controls(provider, embed, post, door, names):
    ask = lambda text, **options: what(embed(text, **options)[1])
    said = lambda header: {"extra_headers": {"cache-control": header}}
    assert ask("kept", **said("no-store")) == ("Miss", "0/1") and ask("kept") == ("Miss", "0/1")
    assert ask("kept", **said("no-store")) == ("Hit", "1/1")
    assert ask("kept", **said("no-cache")) == ("Refresh", "0/1") and len(provider.seen) == 3
    assert ask(["kept", "new"], **said("no-store")) == ("Partial", "1/2") and ask("new") == ("Miss", "0/1")
    assert ask("kept", **said("max-age=100")) == ("Hit", "1/1") and ask("kept", **said("only-if-cached")) == ("Hit", "1/1")
    refused = post({"input": ["kept", "unheard of"]}, cache_control="only-if-cached")
    assert refused.status_code == 504 and refused.json()["error"]["code"] == "not_cached" and what(refused.headers) == ("Partial", "1/2")
    assert post({"input": "x", "cache": {"ttl": "soon"}}).status_code == 400
    # An age is told in whole seconds, and a time to live of none is over at once.
    assert ask("brief", extra_body={"cache": {"ttl": 0}}) == ("Miss", "0/1") and ask("brief") == ("Miss", "0/1")
    assert ask(["tagged", "too"], extra_headers={"x-refrain-tags": "docs, v1"}) == ("Miss", "0/2") and ask(["tagged", "too"]) == ("Hit", "2/2")
    deleted = door.http.request("DELETE", f"/v1/caches/{names()}/entries", json={"tags": ["docs"]})
    assert deleted.json() == {"deletedEntriesCount": 2}
    assert ask(["tagged", "kept"]) == ("Partial", "1/2")
    assert door.http.post(f"/v1/caches/{names()}/flush").status_code == 204
    assert ask("kept") == ("Miss", "0/1")


def test_what_fails_is_handed_on_and_not_stored(provider, embed, post):
    error = {"error": {"message": "too long", "type": "invalid_request_error", "param": "input", "code": "context_length_exceeded"}}
    embed("known")
    for given in ("unknown", ["known", "unknown"]):
        provider.replies = [(400, "application/json", error)]
        reply = post({"input": given})
        assert reply.status_code == 400 and reply.json() == error
    assert len(provider.seen) == 3 and what(embed("unknown")[1]) == ("Miss", "0/1")


def one(place, vector):
    return {"object": "embedding", "index": place, "embedding": vector}


@pytest.mark.parametrize("data", [
    [one(0, [0.5])], [one(0, [0.5]), one(1, [0.5, 1])], [one(0, [0.5]), one(0, [0.5])], [one(0, []), one(1, [])], [one(0, "!"), one(1, "!")],
    [{**one(0, [0.5]), "sparse": {"1": 0.5}}, one(1, [0.5])],
], ids=["count", "lengths", "places", "empty", "base64", "more"])
def test_a_reply_that_is_not_a_vector_for_each_input_is_handed_on_and_not_stored(provider, post, data):
    odd = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    provider.replies = [(200, "application/json", odd)]
    reply = post({"input": ["a", "b"]})
    assert reply.json() == odd and what(reply.headers) == ("Miss", "0/2")
    assert what(post({"input": ["a", "b"]}).headers) == ("Miss", "0/2")
    # Where it can't be put together with what is known, all is asked for.
    provider.replies = [(200, "application/json", odd)] if len(data) != 1 else [(200, "application/json", {**odd, "data": []})]
    reply = post({"input": ["a", "c", "d"]})
    assert [item["embedding"] for item in sorted(reply.json()["data"], key=lambda item: item["index"])] == [vector_of(text) for text in "acd"]
    assert provider.inputs()[-2:] == [["c", "d"], ["a", "c", "d"]] and what(reply.headers) == ("Miss", "0/3")
    assert what(post({"input": ["a", "c", "d"]}).headers) == ("Hit", "3/3")


@pytest.mark.parametrize("change", ["model", "length"])
def test_vectors_of_another_model_are_never_mixed_with_those_that_are_known(provider, embed, change):
    embed(["a", "b"])
    if change == "model":
        provider.model = "te3-small-2025"
    else:
        provider.shortened = 4
    reply, headers = embed(["a", "b", "c"])
    assert what(headers) == ("Miss", "0/3") and len(provider.seen) == 3 and provider.inputs()[-1] == ["a", "b", "c"]
    assert len({len(vector) for vector in vectors(reply)}) == 1 and reply.model == provider.model
    assert what(embed(["c", "b", "a"])[1]) == ("Hit", "3/3")


def test_what_is_not_understood_is_forwarded_as_it_is(provider, post, door):
    reply = {"anything": 1}
    for body in [{"input": [{"text": "a"}]}, {"input": ["a", [1]]}, {"input": []}, {"input": "a", "encoding_format": "int8"}]:
        provider.replies = [(200, "application/json", reply)] * 2
        for _ in range(2):
            answered = post(body)
            assert answered.json() == reply and answered.headers["x-cache-status"] == "Bypass" and INPUTS not in answered.headers
        assert json.loads(provider.seen[-1].body) == {"model": MODEL, **body}
    provider.replies = [(200, "application/json", reply)]
    repeated = door.http.post("/v1/embeddings", content=b'{"model": "%s", "input": "a", "input": "b"}' % MODEL.encode(), headers={"content-type": "application/json"})
    assert repeated.json() == reply and provider.seen[-1].body.count(b'"input"') == 2


def test_vectors_of_bytes_stay_whole_numbers(provider, post):
    body = {"input": "a", "output_dtype": "int8"}
    provider.replies = [(200, "application/json", {"object": "list", "data": [one(0, [5, -128, 127])], "model": "m"})]
    assert post(body).json()["data"][0]["embedding"] == [5, -128, 127]
    reply = post(body)
    assert reply.headers["x-cache-status"] == "Hit" and b"[5,-128,127]" in reply.content


def test_entries_are_exported_and_imported(provider, embed, door, names):
    # A lookup waits for what is being stored; an export doesn't.
    assert [what(embed(["a", "b"])[1])[0] for _ in range(2)] == ["Miss", "Hit"]
    lines = door.http.get(f"/v1/caches/{names()}/export").content
    assert {json.loads(line)["embedding"]["model"] for line in lines.splitlines()} == {provider.model}
    imported = door.http.post(f"/v1/caches/{names('-copy')}/import", content=lines)
    assert imported.json()["stored"] == 2, imported.text
    reply, headers = embed(["b", "a"], extra_headers={"x-refrain-cache": names("-copy")})
    assert what(headers) == ("Hit", "2/2") and vectors(reply) == [vector_of(text) for text in "ba"]


def test_equal_requests_under_way_share_a_call(provider, embed, door, names):
    provider.gate = threading.Event()
    lookups = f'refrain_lookups_total{{tenant="local",cache="{names()}",outcome="miss"}} 2'
    door.http.post("/v1/caches", json={"cacheId": names()}).raise_for_status()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(embed, ["a", "b"]) for _ in range(2)]
        while lookups not in door.http.get("/metrics").text:
            pass
        provider.gate.set()
        replies = [each.result() for each in asked]
    assert [vectors(reply) for reply, _ in replies] == [[vector_of("a"), vector_of("b")]] * 2
    assert sorted(headers["cache-status"] for _, headers in replies) == ["refrain; fwd=miss", "refrain; fwd=miss; collapsed"] and len(provider.seen) == 1


@pytest.mark.parametrize("answers_by", ["alias", "target", "alias_without_fallbacks"])
def test_vectors_of_two_targets_are_never_mixed(start_refrain, provider, answers_by):
    other = EmbeddingsProvider()
    other.model = "another-model"
    targets = '[{ provider = "p", model = "first" }, { provider = "q", model = "second" }]'
    server = start_refrain(settings(provider) + f'[providers.q]\nbase_url = "{other.url}/v1"\napi_key = "k"\n[models.v]\nanswers_by = "{answers_by}"\ntargets = {targets}\n')

    def ask(*texts):
        raw = server.openai().embeddings.with_raw_response.create(model="v", input=list(texts))
        return raw.parse(), raw.headers

    assert what(ask("a", "b")[1]) == ("Miss", "0/2")
    # The first target fails for what isn't known, and the other one's vector is no neighbour of the first one's.
    provider.replies = [(500, "application/json", {"error": {"message": "broken"}})]
    reply, headers = ask("a", "b", "c")
    assert [json.loads(request.body)["input"] for request in other.seen] == [["c"]] and what(headers) == ("Miss", "0/3")
    assert (reply.model, headers["x-refrain-provider"]) == (provider.model, "p") and provider.inputs()[-1] == ["a", "b", "c"]
    assert what(ask("c", "b", "a")[1]) == ("Hit", "3/3")
    other.server.shutdown()


def test_what_is_charged_and_what_is_saved_is_told_apart(start_refrain, provider):
    server = start_refrain(settings(provider) + f'[prices."{MODEL}"]\ninput = 1000.0\noutput = 0.0\n')
    ask = lambda *texts: server.openai().embeddings.with_raw_response.create(model=MODEL, input=list(texts)).headers
    of = lambda headers: (headers.get("x-refrain-cost"), headers.get("x-refrain-saved"))
    assert of(ask("one two three")) == ("0.00300000", None)
    assert of(ask("one two three", "four")) == ("0.00100000", "0.00300000")
    assert of(ask("four", "one two three")) == (None, "0.00400000")
    rows = {row["provider"]: row for row in server.http.get("/v1/usage").json()["data"]}
    assert {name: (row["requests"], row["hits"], row["input_tokens"], row["saved_tokens"]) for name, row in rows.items()} == {"p": (2, 0, 4, 0), "cache": (1, 1, 0, 7)}


def test_a_large_batch_is_answered_from_the_cache(provider, embed):
    texts = [f"of many: {n}" for n in range(2048)]
    embed(texts, dimensions=64)
    reply, headers = embed(texts, dimensions=64)
    assert what(headers) == ("Hit", "2048/2048") and vectors(reply) == [vector_of(text, 64) for text in texts]


def test_an_unknown_provider_is_told(start_refrain):
    server = start_refrain()
    with pytest.raises(openai.NotFoundError) as error:
        server.openai().embeddings.create(model=MODEL, input="a")
    assert "all-MiniLM-L6-v2" in error.value.message
