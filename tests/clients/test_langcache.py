"""What LangCache's SDKs ask beyond storing and searching, and what is ours beside it."""

import json
import os
import pathlib
import subprocess

import pytest
from langcache import LangCache, errors

HERE = pathlib.Path(__file__).parent
RESET = "How do I reset my password?"


@pytest.fixture
def cache(server, names):
    with LangCache(server_url=server.url, cache_id=names(), api_key="unused") as client:
        yield client


def post(server, path, status=200, **body):
    reply = server.http.post(f"/v1/caches/{path}".rstrip("/"), json=body)
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


def store(server, cache_id, prompt, response, **more):
    return post(server, f"{cache_id}/entries", 201, prompt=prompt, response=response, **more)["entryId"]


def delete(server, cache_id, **body):
    reply = server.http.request("DELETE", f"/v1/caches/{cache_id}/entries", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.fixture(scope="module")
def configured_only(start_refrain):
    return start_refrain("[server]\ncreate_caches = false\n[caches.known]\n")


@pytest.fixture(scope="module")
def keyed(start_refrain):
    return start_refrain('[tenants.a]\napi_keys = ["key-a"]\n')


def test_both_sdks_know_the_types_of_all_errors(server, configured_only, keyed, names):
    modules = os.environ.get("REFRAIN_NODE_MODULES", str(HERE / "node_modules"))
    node = os.environ.get("REFRAIN_NODE", "node")
    urls = [server.url, names(), configured_only.url, keyed.url, modules]
    run = subprocess.run([node, HERE / "langcache.mjs", *urls], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    [found] = seen["found"]
    assert (found["response"], found["searchStrategy"], seen["deleted"]) == ("Like so.", "semantic", 1)
    assert seen["errors"] == {
        "invalid": ["BadRequestErrorResponseContent", "/errors/invalid-data", 400],
        "entry": ["NotFoundErrorResponseContent", "/errors/cache/entry/not-found", 404],
        "cache": ["NotFoundErrorResponseContent", "/errors/cache/not-found", 404],
        "key": ["AuthenticationErrorResponseContent", "/errors/authentication-failed", 401],
        "size": ["PayloadTooLargeErrorResponseContent", "/errors/payload-too-large", 413],
    }
    open_at = lambda where: LangCache(server_url=where.url, cache_id="unknown", api_key="wrong")
    kinds = [
        (server, lambda c: c.set(prompt="", response="x"), errors.BadRequestErrorResponseContent, "invalid-data"),
        (server, lambda c: c.delete_by_id(entry_id="0" * 32), errors.NotFoundErrorResponseContent, "resource-not-found"),
        (configured_only, lambda c: c.search(prompt="x"), errors.NotFoundErrorResponseContent, "resource-not-found"),
        (keyed, lambda c: c.search(prompt="x"), errors.AuthenticationErrorResponseContent, "authentication-failed"),
        (server, lambda c: c.set(prompt="x" * 5_000_000, response="x"), errors.PayloadTooLargeErrorResponseContent, "payload-too-large"),
    ]
    for where, call, kind, type_ in kinds:
        with open_at(where) as client, pytest.raises(kind) as error:
            call(client)
        assert error.value.data.type.value == f"/errors/{type_}"


def test_a_full_cache_says_so_in_the_types_of_each_list(start_refrain):
    full = start_refrain("[caches.default]\nmax_curated_bytes = 1\n")
    entry = {"prompt": "a", "response": "b", "curated": True}
    assert full.http.post("/v1/caches/c/entries", json=entry).status_code == 201
    for agent, type_ in [
        ("speakeasy-sdk/typescript 0.11.1 2.760.2 @redis-ai/langcache", "/errors/database/out-of-memory"),
        ("speakeasy-sdk/python 0.14.0 2.932.9 langcache", "/errors/database-out-of-memory"),
    ]:
        refused = full.http.post("/v1/caches/c/entries", json={**entry, "prompt": "c"}, headers={"User-Agent": agent})
        assert (refused.status_code, refused.json()["type"]) == (424, type_) and "max_curated_bytes" in refused.text


def test_a_conversation_is_searched_by_its_last_question_with_its_context(cache):
    asked = lambda prompt, *context, **more: cache.conversational_search(prompt=prompt, context=list(context), **more)
    first = asked(RESET, "What is a passkey?")
    assert (first.actual_prompt, first.data) == (RESET, [])
    cache.set(prompt=first.actual_prompt, response="Click on it.")
    assert asked("How can I reset my password?", "What is a passkey?").data[0].response == "Click on it."
    # What leans on the questions before it is another question behind others.
    follow = asked("And on mobile?", "What is a passkey?", RESET)
    assert (follow.actual_prompt, follow.data) == (f"{RESET}\nAnd on mobile?", [])
    cache.set(prompt=follow.actual_prompt, response="Tap on it.")
    assert asked("And on mobile?", RESET).data[0].response == "Tap on it."
    assert asked("And on mobile?", "How do I cancel my subscription?").data == []
    assert asked("And on mobile?").actual_prompt == "And on mobile?"
    assert cache.conversational_search(prompt=RESET).data[0].response == "Click on it."
    with pytest.raises(errors.BadRequestErrorResponseContent):
        asked("", RESET)


def test_a_hundred_prompts_are_looked_up_at_once(server, names):
    cache_id = names()
    store(server, cache_id, RESET, "Like so.", attributes={"lang": "en"})
    prompts = [f"What is the number {n}?" for n in range(98)] + [RESET, "How can I reset my password?"]
    results = post(server, f"{cache_id}/entries/search/batch", prompts=prompts, attributes={"lang": "en"})["results"]
    assert [len(result["data"]) for result in results] == [0] * 98 + [1, 1]
    assert results[-1]["data"][0]["searchStrategy"] == "semantic" and results[-2]["decision"]["outcome"] == "exact_hit"
    for wrong in ({"prompts": []}, {"prompts": ["a"] * 101}, {"prompts": [""]}, {"prompts": ["a"], "prompt": "b"}, {"prompts": ["a"], "maxResults": 11}, {}):
        post(server, f"{cache_id}/entries/search/batch", 400, **wrong)


def test_attributes_may_be_as_long_as_langchains(cache):
    long = "%7B%22lc%22%3A".ljust(16 << 10, "x")
    cache.set(prompt=RESET, response="Like so.", attributes={"llm_string": long})
    assert cache.search(prompt="How can I reset my password?", attributes={"llm_string": long}).data
    assert not cache.search(prompt=RESET, attributes={"llm_string": long[:-1] + "y"}).data
    with pytest.raises(errors.BadRequestErrorResponseContent):
        cache.set(prompt=RESET, response="Like so.", attributes={"llm_string": long + "x"})


def test_langchains_list_of_messages_is_read_as_messages(cache):
    message = lambda name, text, **more: {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": {"content": text, **more}}
    dumped = lambda system, text, n: json.dumps([message("SystemMessage", system, type="system"), message("HumanMessage", text, type="human", id=str(n))])
    cache.set(prompt=dumped("Be kind.", RESET, 1), response="[]")
    assert cache.search(prompt=dumped("Be kind.", RESET, 2)).data[0].search_strategy == "exact"
    assert cache.search(prompt=dumped("Be kind.", "How can I reset my password?", 3)).data[0].search_strategy == "semantic"
    assert cache.search(prompt=dumped("Be rude.", RESET, 4)).data == [] == cache.search(prompt=RESET).data


def test_caches_are_made_changed_and_removed(start_refrain, names):
    server, cache_id = start_refrain(), names()
    path = f"/v1/caches/{cache_id}"
    listed = lambda: cache_id in [cache["cacheId"] for cache in server.http.get("/v1/caches").json()["caches"]]
    assert server.http.get(path).status_code == 404 == server.http.delete(path).status_code
    made = post(server, "", 201, cacheId=cache_id, policy="static", minCosine=0.95)
    assert (made["cacheId"], made["policy"], made["minCosine"]) == (cache_id, "static", 0.95) and listed()
    assert post(server, "", 409, cacheId=cache_id)["type"] == "/errors/already-exists"
    patched = server.http.patch(path, json={"strict": True}).json()
    assert (patched["minCosine"], patched["strict"]) == (0.95, True)
    patched = server.http.patch(path, json={"minCosine": None}).json()
    assert (patched["minCosine"], patched["strict"], len(patched["changes"])) == (None, True, 3)
    replaced = server.http.put(path, json={"minCosine": 0.99}).json()
    assert (replaced["minCosine"], replaced["strict"]) == (0.99, False)
    for wrong in ({"minCosine": 2}, {"colour": 1}):
        assert server.http.patch(path, json=wrong).status_code == 400
    server.restart()
    assert server.http.get(path).json()["minCosine"] == 0.99
    store(server, cache_id, RESET, "Like so.")
    decision = post(server, f"{cache_id}/entries/search", prompt=RESET)["decision"]
    assert server.http.delete(path).status_code == 204
    for _ in range(2):
        assert not listed() and server.http.get(path).status_code == 404
        assert post(server, f"{cache_id}/entries/search", prompt=RESET)["data"] == []
        assert server.http.get(f"{path}/decisions/{decision['id']}").status_code == 404
        server.restart()
    post(server, "", 201, cacheId=cache_id)
    fresh = server.http.get(path).json()
    assert fresh["changes"] == [] and server.http.get(f"{path}/stats").json()["total"]["lookups"] == 0
    post(server, "", 400, cacheId=names("-bad"), minCosine=2)
    post(server, "", 400, cacheId="a b")
    assert server.http.get(f"/v1/caches/{names('-bad')}").status_code == 404


def test_tenants_make_no_caches_where_only_configured_ones_exist(start_refrain):
    keyed = start_refrain('[server]\ncreate_caches = false\n[tenants.a]\napi_keys = ["ka"]\n[caches.known]\n')
    keyed.http.headers["Authorization"] = "Bearer ka"
    assert keyed.http.post("/v1/caches", json={"cacheId": "new"}).status_code == 403
    assert keyed.http.post("/v1/caches", json={"cacheId": "known"}).status_code == 201
    local = start_refrain("[server]\ncreate_caches = false\n")
    post(local, "", 201, cacheId="new")
    local.restart()
    store(local, "new", "a", "b")


def test_entries_go_by_tag_age_and_nearness_and_a_dry_run_says_which(server, names):
    cache_id = names()
    store(server, cache_id, RESET, "Like so.", tags=["docs", "v1"])
    store(server, cache_id, "What is the capital of France?", "Paris", tags=["docs"], scope={"a": 1})
    store(server, cache_id, "Is it open on Sundays?", "No.", attributes={"shop": "1"})
    dry = delete(server, cache_id, tags=["v1", "other"], dryRun=True)
    assert (dry["deletedEntriesCount"], dry["matchingEntriesCount"]) == (0, 1)
    assert dry["entries"][0]["prompt"] == RESET and dry["entries"][0]["tags"] == ["docs", "v1"]
    near = {"prompt": "What's the capital of France?", "minCosine": 0.9}
    [found] = delete(server, cache_id, near=near, dryRun=True)["entries"]
    assert found["response"] == "Paris" and 0.9 < found["cosine"] < 1
    assert delete(server, cache_id, near=near, attributes={"shop": "1"}, dryRun=True)["matchingEntriesCount"] == 0
    assert delete(server, cache_id, olderThanMillis=3_600_000, dryRun=True)["matchingEntriesCount"] == 0
    assert delete(server, cache_id, olderThanMillis=0, dryRun=True)["matchingEntriesCount"] == 3
    assert delete(server, cache_id, near=near)["deletedEntriesCount"] == 1
    assert delete(server, cache_id, tags=["docs"])["deletedEntriesCount"] == 1
    assert delete(server, cache_id, attributes={})["deletedEntriesCount"] == 1
    for wrong in ({}, {"dryRun": True}, {"tags": []}, {"tags": ["a b"]}, {"near": {"prompt": "x"}}, {"near": {"prompt": "x", "minCosine": 2}}, {"olderThanMillis": -1}):
        assert server.http.request("DELETE", f"/v1/caches/{cache_id}/entries", json=wrong).status_code == 400, wrong
