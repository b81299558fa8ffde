"""The cache API through the official langcache SDK, and by hand where the SDK can't."""

import time

import pytest
from langcache import LangCache, errors
from langcache.models import SearchStrategy


@pytest.fixture
def cache(server, names):
    with LangCache(server_url=server.url, cache_id=names(), api_key="unused") as client:
        yield client


def search(server, cache_id, **body):
    reply = server.http.post(f"/v1/caches/{cache_id}/entries/search", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def store(server, cache_id, **body):
    reply = server.http.post(f"/v1/caches/{cache_id}/entries", json=body)
    assert reply.status_code == 201, reply.text
    return reply.json()["entryId"]


def test_a_stored_answer_is_found_by_meaning_at_once(cache):
    assert cache.search(prompt="How do I reset my password?").data == []
    entry_id = cache.set(prompt="How do I reset my password?", response="Click on it.").entry_id
    assert len(entry_id) == 32
    [entry] = cache.search(prompt="How can I reset my password?").data
    assert (entry.id, entry.prompt, entry.response) == (entry_id, "How do I reset my password?", "Click on it.")
    assert entry.search_strategy == SearchStrategy.SEMANTIC and 0.95 < entry.similarity < 1
    assert entry.attributes == {}


def test_the_same_text_is_found_exactly_and_storing_it_again_replaces_it(cache):
    first = cache.set(prompt="What is Rust?", response="A fungus.").entry_id
    assert cache.set(prompt="What is Rust?", response="A language.").entry_id == first
    [entry] = cache.search(prompt="What is Rust?", max_results=5).data
    assert entry.response == "A language." and entry.search_strategy == SearchStrategy.EXACT and entry.similarity == 1


def test_strategies_are_tried_in_the_order_asked(cache):
    cache.set(prompt="What is Rust?", response="exact")
    cache.set(prompt="What is the Rust language?", response="near")
    strategy = lambda *order: cache.search(prompt="What is Rust?", search_strategies=list(order)).data[0].search_strategy
    assert strategy(SearchStrategy.EXACT) == SearchStrategy.EXACT
    assert strategy(SearchStrategy.SEMANTIC) == SearchStrategy.SEMANTIC
    assert strategy(SearchStrategy.SEMANTIC, SearchStrategy.EXACT) == SearchStrategy.SEMANTIC
    assert strategy(SearchStrategy.EXACT, SearchStrategy.SEMANTIC) == SearchStrategy.EXACT
    assert cache.search(prompt="What's Rust?", search_strategies=[SearchStrategy.EXACT]).data == []


def test_a_search_sees_only_entries_that_carry_all_attributes(cache):
    cache.set(prompt="Where is my order?", response="DE", attributes={"lang": "de", "shop": "1"})
    cache.set(prompt="Where is my order?", response="EN", attributes={"lang": "en", "shop": "1"})
    answers = lambda prompt, **wanted: {e.response for e in cache.search(prompt=prompt, attributes=wanted, max_results=9).data}
    for prompt in ("Where is my order?", "Where is my order"):
        assert answers(prompt, lang="de") == {"DE"}
        assert answers(prompt, lang="en", shop="1") == {"EN"}
        assert answers(prompt, lang="fr") == set() == answers(prompt, lang="de", shop="2")
    assert answers("Where is my order", shop="1") == {"DE", "EN"}


def test_a_threshold_in_a_request_only_tightens(cache):
    cache.set(prompt="How do I cancel my subscription?", response="Like this.")
    found = lambda prompt, threshold: bool(cache.search(prompt=prompt, similarity_threshold=threshold).data)
    near, far = "How can I cancel my subscription?", "What is the price of a subscription?"
    assert found(near, 0.5) and found(near, 0.9)
    assert not found(near, 0.9999)
    assert not found(far, 0.0)
    assert found("How do I cancel my subscription?", 1.0)


def test_entries_expire(cache, server, names):
    cache.set(prompt="What time is it?", response="Now.", ttl_millis=300)
    assert cache.search(prompt="What time is it?").data and cache.search(prompt="What time is it").data
    time.sleep(0.35)
    assert cache.search(prompt="What time is it?").data == [] == cache.search(prompt="What time is it").data


def test_deletion_by_id_by_attributes_and_all_at_once(cache):
    one = cache.set(prompt="first question here", response="1").entry_id
    cache.set(prompt="a second, different thing", response="2", attributes={"a": "x", "b": "y"})
    cache.set(prompt="the third of them all", response="3", attributes={"a": "x"})
    cache.set(prompt="something fourth", response="4")
    there = lambda prompt: bool(cache.search(prompt=prompt).data)

    assert cache.delete_by_id(entry_id=one) is None
    assert not there("first question here")
    with pytest.raises(errors.NotFoundErrorResponseContent):
        cache.delete_by_id(entry_id=one)

    assert cache.delete_query(attributes={"a": "x", "b": "y"}).deleted_entries_count == 1
    assert there("the third of them all") and not there("a second, different thing")
    assert cache.delete_query(attributes={"a": "x"}).deleted_entries_count == 1
    assert cache.delete_query(attributes={"a": "x"}).deleted_entries_count == 0
    cache.set(prompt="a fifth one", response="5")
    assert cache.delete_query(attributes={}).deleted_entries_count == 2
    assert not there("a fifth one")
    cache.set(prompt="something fourth", response="4")

    cache.flush()
    assert not there("something fourth")
    cache.set(prompt="something fourth", response="again")
    assert there("something fourth")


def test_caches_do_not_share_and_spring_into_being(server, names):
    a, b = names("a"), names("b")
    store(server, a, prompt="What is love?", response="baby")
    assert search(server, b, prompt="What is love?")["data"] == []
    listed = [cache["cacheId"] for cache in server.http.get("/v1/caches").json()["caches"]]
    assert a in listed and b not in listed
    assert server.http.post(f"/v1/caches/{b}/flush").status_code == 204


def test_an_unknown_cache_is_an_error_where_caches_must_be_configured(start_refrain):
    server = start_refrain("[server]\ncreate_caches = false\n[caches.known]\n")
    with LangCache(server_url=server.url, cache_id="unknown", api_key="x") as cache:
        for call in (lambda: cache.search(prompt="a"), lambda: cache.set(prompt="a", response="b"), cache.flush):
            with pytest.raises(errors.NotFoundErrorResponseContent) as error:
                call()
        assert "create_caches" in error.value.data.detail
    store(server, "known", prompt="a", response="b")


def test_typed_errors(server, start_refrain, names):
    with LangCache(server_url=server.url, cache_id=names(), api_key="x") as cache:
        with pytest.raises(errors.BadRequestErrorResponseContent) as error:
            cache.set(prompt="", response="x")
        [field] = error.value.data.fields
        assert field.field == "prompt" and "empty" in field.message
        with pytest.raises(errors.BadRequestErrorResponseContent):
            cache.search(prompt="x", similarity_threshold=1.5)
        with pytest.raises(errors.BadRequestErrorResponseContent):
            cache.delete_by_id(entry_id="not-an-id")
        with pytest.raises(errors.PayloadTooLargeErrorResponseContent):
            cache.set(prompt="x" * 10_000_000, response="y")
        assert cache.set(prompt="after that", response="all is well").entry_id

    keyed = start_refrain('[tenants.a]\napi_keys = ["key-a"]\n')
    with LangCache(server_url=keyed.url, cache_id="c", api_key="wrong") as cache:
        with pytest.raises(errors.AuthenticationErrorResponseContent):
            cache.search(prompt="x")


def test_tenants_do_not_share(start_refrain):
    server = start_refrain('[tenants.a]\napi_keys = ["key-a", "key-a2"]\n[tenants.b]\napi_keys = ["key-b"]\n')
    open_as = lambda key: LangCache(server_url=server.url, cache_id="c", api_key=key)
    with open_as("key-a") as a, open_as("key-a2") as a2, open_as("key-b") as b:
        entry = a.set(prompt="What is our secret?", response="It is 42.").entry_id
        for prompt in ("What is our secret?", "What is our secret"):
            assert a2.search(prompt=prompt).data[0].response == "It is 42."
            assert b.search(prompt=prompt).data == []
        with pytest.raises(errors.NotFoundErrorResponseContent):
            b.delete_by_id(entry_id=entry)
        b.flush()
        assert a.search(prompt="What is our secret?").data
    assert server.http.get("/v1/caches").status_code == 401


def test_scopes_are_walls(server, names):
    cache = names()
    store(server, cache, prompt="What is the plan?", response="A", scope={"user": 1, "role": "x"})
    find = lambda prompt, **scope: [e["response"] for e in search(server, cache, prompt=prompt, **scope)["data"]]
    for prompt in ("What is the plan?", "What's the plan?"):
        assert find(prompt, scope={"role": "x", "user": 1.0}) == ["A"]
        for other in ({"scope": {"user": 2, "role": "x"}}, {"scope": {"user": 1}}, {"scope": "x"}, {}):
            assert find(prompt, **other) == []


def test_a_conversation_instead_of_a_prompt(server, names):
    cache = names()
    chat = {"model": "m", "temperature": 0, "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "How do I reset my password?"}]}
    store(server, cache, response="A friend.", **chat)
    near = {**chat, "messages": [chat["messages"][0], {"role": "user", "content": "How can I reset my password?"}]}
    assert search(server, cache, **near)["data"][0]["response"] == "A friend."
    for other in ({**chat, "model": "n"}, {**chat, "temperature": 1}, {**chat, "messages": chat["messages"][1:]}):
        assert search(server, cache, **other)["data"] == []
    apart = {**chat, "cache": {"namespace": "n"}}
    assert search(server, cache, **apart)["data"] == []
    store(server, cache, response="Another.", **apart)
    assert search(server, cache, **apart)["data"][0]["response"] == "Another."
    assert search(server, cache, **chat)["data"][0]["response"] == "A friend."
    unsure = server.http.post(f"/v1/caches/{cache}/entries", json={**chat, "n": 2, "response": "x"})
    assert unsure.status_code == 400 and "several answers" in unsure.json()["detail"]
    bypassed = search(server, cache, **{**chat, "n": 2})
    assert bypassed["data"] == [] and bypassed["decision"]["outcome"] == "bypass"


def test_decisions_are_explained(server, names):
    cache = names()
    entry = store(server, cache, prompt="How tall is the Eiffel tower?", response="330 m")
    decision = search(server, cache, prompt="How tall is the Eiffel Tower in Paris?", explain=True)["decision"]
    assert decision["outcome"] == "semantic_hit" and decision["ageMs"] >= 0 and len(decision["id"]) == 32
    assert decision["candidates"][0]["entryId"] == entry and 0.9 < decision["candidates"][0]["cosine"] < 1
    decision = search(server, cache, prompt="How tall is the Statue of Liberty?", explain=True)["decision"]
    assert decision["outcome"] == "miss" and decision["guards"][0]["guard"] == "belowThreshold"
    assert "candidates" not in search(server, cache, prompt="How tall is it?")["decision"]
    # A static threshold can't promise an error rate, so it serves only what can't be wrong by its meaning.
    bounded = search(server, cache, prompt="How tall is the Eiffel Tower in Paris?", maxErrorRate=0.01)
    assert bounded["data"] == [] and bounded["decision"]["guards"] == [{"guard": "noErrorEstimate"}]
    assert search(server, cache, prompt="How tall is the Eiffel tower?", maxErrorRate=0.01)["data"]


@pytest.mark.parametrize(
    "body, named",
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[1]", "object"),
        (b'{"prompt": "\xff\xfe"}', "JSON"),
        (b'{"prompt": 5}', "prompt"),
        (b'{"prompt": "a", "prompt": "b"}', "repeated"),
        (b'{"prompt": "a", "attributes": {"k": 1}}', "attributes.k"),
        (b'{"prompt": "a", "attributes": []}', "attributes"),
        (b'{"prompt": "a", "maxResults": 0}', "maxResults"),
        (b'{"prompt": "a", "maxResults": 1.5}', "maxResults"),
        (b'{"prompt": "a", "searchStrategies": ["guess"]}', "searchStrategies"),
        (b'{"prompt": "a", "searchStrategies": []}', "searchStrategies"),
        (b'{"prompt": "a", "similarity_threshold": 0.9}', "similarity_threshold"),
        (b'{"prompt": "a", "messages": [{"role": "user", "content": "a"}], "model": "m"}', "prompt"),
        (b'{"messages": [{"role": "user", "content": "a"}]}', "model"),
        (b'{"messages": [], "model": "m"}', "messages"),
        (b'{"prompt": ' + b"[" * 100_000, "JSON"),
    ],
)
def test_bad_searches_are_told_what_is_wrong(server, body, named):
    reply = server.http.post("/v1/caches/bad/entries/search", content=body)
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/json"
    problem = reply.json()
    assert problem["type"] == "/errors/invalid-data" and named in problem["detail"], problem


def test_other_paths_and_methods_have_the_same_error_shape(server):
    assert server.http.get("/v1/caches/x/nothing").json()["type"] == "/errors/resource-not-found"
    assert server.http.put("/v1/caches/x/flush").status_code == 405
    assert server.http.post("/v1/caches/a%20b/flush").json()["type"] == "/errors/invalid-data"


def test_long_prompts_that_differ_at_one_end_do_not_collide(server, names):
    cache = names()
    text = " ".join(f"Paragraph {n} describes how the harbour of the old town was rebuilt after the flood." for n in range(60))
    store(server, cache, prompt=f"{text}\nQuestion: who paid for the harbour?", response="The guild.")
    hits = lambda prompt: [e["response"] for e in search(server, cache, prompt=prompt)["data"]]
    assert hits(f"{text}\nQuestion: who paid for the harbour?") == ["The guild."]
    assert hits(f"{text}\nQuestion:  Who paid for the harbour") == ["The guild."]
    assert hits(f"{text}\nTranslate all of this into French.") == []
    assert hits(f"{text}\nQuestion: when did the flood come?") == []
    assert hits(f"{text}\nQuestion: who paid for the harbour?".replace("Paragraph 30", "Paragraph 31")) == []
    assert hits(f"Summarise this in one word.\n{text}\nQuestion: who paid for the harbour?") == []


def test_prompts_beyond_the_window_of_embedding_serve_exactly(server, names):
    cache = names()
    text = "All work and no play makes Jack a dull boy. " * 20_000
    store(server, cache, prompt="Who is Jack?", response="A dull boy.")
    store(server, cache, prompt=text, response="Here's Johnny!")
    reply = search(server, cache, prompt=text)
    assert reply["data"][0]["response"] == "Here's Johnny!"
    reply = search(server, cache, prompt=text + "!")
    assert reply["data"] == [] and "2048 tokens" in reply["decision"].get("reason", ""), reply["decision"]


def test_texts_that_the_model_cannot_tell_apart_serve_the_same_words_only(server, names):
    cache = names()
    hits = lambda prompt: [e["response"] for e in search(server, cache, prompt=prompt)["data"]]
    store(server, cache, prompt="猫吃什么?", response="鱼")
    store(server, cache, prompt="What does 🍆 mean in a chat?", response="eggplant")
    assert hits("猫吃什么?") == hits(" 猫吃什么 ?") == ["鱼"]
    assert hits("狗吃什么?") == []
    assert hits("what does 🍆 mean, in a chat") == ["eggplant"]
    assert hits("What does 🦖 mean in a chat?") == []


def test_a_ttl_can_shorten_but_not_lengthen(start_refrain):
    server = start_refrain('[caches.default]\nttl = "300ms"\n')
    store(server, "c", prompt="a", response="b", ttlMillis=2**64 - 1)
    assert search(server, "c", prompt="a")["data"]
    time.sleep(0.35)
    assert not search(server, "c", prompt="a")["data"]


def test_web_pages_from_elsewhere_are_refused(server):
    ask = lambda **headers: server.http.get("/v1/caches", headers=headers)
    assert ask(Origin="http://localhost:3000").status_code == 200
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        refused = ask(**headers)
        assert refused.status_code == 403 and refused.json()["type"] == "/errors/insufficient-permissions"
    assert server.http.post("/v1/chat/completions", json={}, headers={"Origin": "https://evil.example"}).json()["error"]["code"] == "not_local"


def test_a_strict_cache_refuses_what_says_something_else(start_refrain):
    server = start_refrain("[caches.default]\nmin_cosine = 0.7\n[caches.strict]\nstrict = true\n")
    prompt = "How do I enable notifications for 5 users?"
    others = {
        "How do I disable notifications for 5 users?": "opposites", "How do I enable notifications for 50 users?": "numbers",
        "How do I not enable notifications for 5 users?": "negation", "How do I enable only notifications for 5 users?": "scopeWords",
    }
    for cache, strict in (("lax", False), ("strict", True)):
        server.http.post(f"/v1/caches/{cache}/entries", json={"prompt": prompt, "response": "Like so."})
        search = lambda text: server.http.post(f"/v1/caches/{cache}/entries/search", json={"prompt": text, "explain": True}).json()
        assert search("How can I enable notifications for five users?")["data"], cache
        for other, what in others.items():
            found = search(other)
            assert bool(found["data"]) != strict, (cache, other)
            guards = [guard.get("what") for guard in found["decision"]["guards"]]
            assert (what in guards) == strict, (other, guards)
