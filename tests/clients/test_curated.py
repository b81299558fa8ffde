"""Answers that somebody wrote for many chats, and answers of chats that are deleted by their tags."""

import json

import pytest
from conftest import ask, ask_stream, text_of
from test_moving import run

RESET = "How do I reset my password?"
NEAR = "How can I reset my password?"
LINK = "Click on “forgot password”."
FROM_MODEL = "I have nothing special to say about that."
SYSTEM = {"role": "system", "content": "You are the shop's helpdesk."}
USER = {"role": "user", "content": RESET}


@pytest.fixture
def faq(server, names):
    """A cache, a client that asks chats of it, and a function that stores in it."""

    class Faq:
        cache = names()
        entries = f"/v1/caches/{cache}/entries"
        client = server.openai(default_headers={"x-refrain-cache": cache})

        def store(self, prompt=RESET, response=LINK, curated=True, **more):
            reply = server.http.post(self.entries, json={"prompt": prompt, "response": response, "curated": curated, **more})
            assert reply.status_code == 201, reply.text
            return reply.json()["entryId"]

        def search(self, **body):
            return server.http.post(f"{self.entries}/search", json=body).json()

        def answer(self, text=RESET, **options):
            completion, headers = ask(self.client, text, **options)
            return completion.choices[0].message.content, headers.get("x-refrain-curated")

    return Faq()


def test_one_curated_entry_answers_every_model_and_system_prompt(faq):
    entry = faq.store()
    for model in ("gpt-test", "another-model"):
        for before in ([], [SYSTEM], [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}]):
            for text in (RESET, NEAR):
                messages = [*before, {"role": "user", "content": text}]
                assert faq.answer(model=model, messages=messages, temperature=0.3) == (LINK, entry)
    completion, headers = ask(faq.client, NEAR, model="any")
    assert completion.model == "any" and completion.choices[0].finish_reason == "stop"
    assert headers["x-cache-status"] == "Hit" and headers["cache-status"] == "refrain; hit; detail=curated-semantic"
    chunks, headers = ask_stream(faq.client, RESET, stream_options={"include_usage": True})
    assert text_of(chunks) == LINK and headers["cache-status"] == "refrain; hit; detail=curated-exact"
    assert chunks[-1].usage.total_tokens == 0


def test_it_answers_searches_too_and_is_marked(faq, server):
    entry = faq.store()
    reply = faq.search(prompt=NEAR, explain=True)
    assert reply["data"][0]["curated"] is True and reply["data"][0]["id"] == entry
    assert reply["decision"]["curated"] is True and reply["decision"]["candidates"][0]["curated"] is True
    logged = server.http.get(f"/v1/caches/{faq.cache}/decisions/{reply['decision']['id']}").json()
    assert logged["curated"] is True and logged["servedEntryId"] == entry
    assert faq.search(prompt=RESET, scope={"user": 1})["data"][0]["id"] == entry
    assert faq.search(model="m", messages=[SYSTEM, USER])["data"][0]["id"] == entry
    plain = server.http.post(faq.entries, json={"prompt": "Is it open?", "response": "Yes."}).json()["entryId"]
    assert "curated" not in server.http.get(f"{faq.entries}/{plain}").json()
    stats = server.http.get(f"/v1/caches/{faq.cache}/stats").json()
    assert (stats["entries"], stats["curated"]) == (2, 1) and 0 < stats["curatedBytes"] < stats["bytes"]
    metric = f'refrain_curated_hits_total{{tenant="local",cache="{faq.cache}"}} 3'
    assert metric in server.http.get("/metrics").text


def test_it_may_name_models_a_system_prompt_and_a_namespace(faq, server):
    for_model = faq.store(response="model", curated={"models": ["a", "b"]})
    for_system = faq.store(response="system", curated={"system": SYSTEM["content"]})
    for_namespace = faq.store(response="namespace", curated={"namespace": "n"})
    assert len({for_model, for_system, for_namespace}) == 3
    for text in (RESET, NEAR):
        user = {"role": "user", "content": text}
        assert faq.answer(model="b", messages=[user]) == ("model", for_model)
        assert faq.answer(model="c", messages=[SYSTEM, user]) == ("system", for_system)
        assert faq.answer(model="c", messages=[user], extra_body={"cache": {"namespace": "n"}}) == ("namespace", for_namespace)
        assert faq.answer(model="c", messages=[user]) == (FROM_MODEL, None)
        assert faq.search(prompt=text, searchStrategies=["exact"])["data"] == []
    shown = server.http.get(f"{faq.entries}/{for_model}").json()
    assert shown["curation"]["models"] == ["a", "b"]
    said = faq.store(prompt=None, response="said by messages", messages=[SYSTEM, {"role": "user", "content": "Is it open?"}], model="a")
    assert faq.answer(model="a", messages=[SYSTEM, {"role": "user", "content": "Is it open?"}]) == ("said by messages", said)
    assert faq.answer(model="a", text="Is it open?")[1] is None


def test_other_chats_are_left_to_the_model(faq):
    faq.store()
    tool = {"type": "function", "function": {"name": "reset", "parameters": {"type": "object", "properties": {}}}}
    assert faq.answer(tools=[tool])[0] == LINK
    others = [
        {"messages": [USER, {"role": "assistant", "content": "Which one?"}, USER]},
        {"messages": [{"role": "user", "content": "Hello"}, USER]},
        {"tools": [tool], "tool_choice": "required"},
        {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "reset"}}},
        {"response_format": {"type": "json_object"}},
        {"extra_body": {"guided_regex": "[0-9]+"}},
    ]
    for options in others:
        assert faq.answer(**options) == (FROM_MODEL, None), options


def test_it_comes_before_what_a_model_once_answered_and_others_stay_away(faq, server, aimock):
    assert faq.answer() == (FROM_MODEL, None)
    assert faq.answer(text=NEAR)[1] is None
    entry = faq.store()
    calls = aimock.calls()
    assert faq.answer() == (LINK, entry)
    assert ask(faq.client, RESET, extra_headers={"Cache-Control": "no-cache"})[1]["x-cache-status"] == "Refresh"
    assert aimock.calls() == calls + 1
    assert ask(server.openai(), RESET)[1].get("x-refrain-curated") is None


def test_feedback_and_the_callers_bounds_count_for_it(faq, server):
    entry = faq.store()
    near = faq.search(prompt=NEAR)
    assert near["data"] and not faq.search(prompt=NEAR, similarityThreshold=0.9999)["data"]
    assert not faq.search(prompt=NEAR, maxErrorRate=0.01)["data"]
    reply = server.http.post(f"/v1/caches/{faq.cache}/feedback", json={"entryId": entry, "correct": False})
    assert reply.status_code == 200 and faq.answer() == (FROM_MODEL, None)
    faq.store(response="Better.")
    assert faq.answer()[0] == "Better."


def test_wrong_curations_are_refused(faq, server):
    for wrong in [
        {"prompt": "a", "response": "b", "curated": "yes"},
        {"prompt": "a", "response": "b", "curated": {"models": []}},
        {"prompt": "a", "response": "b", "curated": {"models": [1]}},
        {"prompt": "a", "response": "b", "curated": {"model": "a"}},
        {"prompt": "a", "response": "b", "curated": {"system": 1}},
        {"prompt": "a", "response": "b", "curated": True, "scope": {"a": 1}},
        {"messages": [USER], "response": "b", "curated": {"models": ["a"]}},
        {"messages": [USER, {"role": "assistant", "content": "x"}, USER], "response": "b", "curated": True},
    ]:
        assert server.http.post(faq.entries, json=wrong).status_code == 400, wrong


def test_a_rule_that_learns_decides_about_it_too(start_refrain, aimock):
    server = start_refrain(f'[caches.default]\npolicy = "budget"\n[providers.mock]\nbase_url = "{aimock.url}/v1"\n')
    entry = server.http.post("/v1/caches/default/entries", json={"prompt": RESET, "response": LINK, "curated": True}).json()["entryId"]
    _, headers = ask(server.openai(), RESET)
    assert headers["x-refrain-curated"] == entry
    _, headers = ask(server.openai(), "How would I go about resetting a password?")
    decision = server.http.get(f"/v1/caches/default/decisions/{headers['x-refrain-decision']}").json()
    [candidate] = decision["candidates"]
    assert candidate["entryId"] == entry and candidate["curated"] is True
    assert candidate["pCorrect"] is not None and decision["budget"] == 0.02


def test_an_faq_is_imported_once_for_all_chats(start_refrain, aimock, tmp_path):
    server = start_refrain(f'[caches.default]\nttl = "1s"\n[providers.mock]\nbase_url = "{aimock.url}/v1"\n')
    chat = {"model": "gpt-test", "temperature": 0, "messages": [SYSTEM, {"role": "user", "content": "Is it open on Sundays?"}]}
    lines = [
        {"prompt": RESET, "response": LINK},
        {"prompt": "Where is my order?", "response": "On its way.", "curated": {"models": ["a"]}, "tags": ["orders"]},
        {**chat, "response": "No.", "curated": False},
        {"messages": [{"role": "user", "content": "Do you ship to France?"}], "response": "Yes."},
        {"prompt": "a", "messages": chat["messages"], "response": "b"},
        {"prompt": "a", "response": "b", "colour": 1},
        {"prompt": "a", "response": "b", "completion": "{}"},
        {"messages": [{"role": "user", "content": "a"}], "response": "b", "curated": False},
        {**chat, "n": 2, "response": "b", "curated": False},
    ]
    body = "\N{BYTE ORDER MARK}" + "".join(json.dumps(line) + "\n" for line in lines)
    reply = server.http.post("/v1/caches/default/import?curated=true", content=body.encode()).json()
    assert (reply["stored"], [number for number, _ in reply["why"]]) == (4, [5, 6, 7, 8, 9]), reply
    client = server.openai()
    text = lambda **options: ask(client, options.pop("text", RESET), **options)[0].choices[0].message.content
    for _ in range(2):
        assert text(model="any") == LINK == text(text=NEAR, messages=[SYSTEM, {"role": "user", "content": NEAR}])
        assert text(text="Where is my order?", model="a") == "On its way."
        assert text(text="Where is my order?") == FROM_MODEL
        assert text(text="Do you ship to France?", model="x") == "Yes."
        # What is exported is imported again as it was.
        exported = server.http.get("/v1/caches/default/export").text
        server.http.post("/v1/caches/default/flush")
        kept = [line for line in map(json.loads, exported.splitlines()) if line.get("curated")]
        assert sorted(str(line["curated"]) for line in kept) == sorted(["True", "True", str({"models": ["a"], "system": None, "namespace": None})])
        assert server.http.post("/v1/caches/default/import", content="\n".join(map(json.dumps, kept))).json()["stored"] == 3
    _, headers = ask(client, "Is it open on Sundays?", messages=chat["messages"], temperature=0)
    assert headers.get("x-refrain-curated") is None


def test_the_command_imports_an_faq(start_refrain, tmp_path):
    server = start_refrain()
    file = tmp_path / "faq.jsonl"
    file.write_text(json.dumps({"prompt": RESET, "response": LINK}) + "\n", encoding="utf-8-sig")
    assert run(server.data / "db", "import", "--curated", file, "--cache", "c").startswith("1 entries stored, 0 expired, 0 lines")
    chat = {"model": "any", "messages": [SYSTEM, USER]}
    [entry] = server.http.post("/v1/caches/c/entries/search", json=chat).json()["data"]
    assert entry["response"] == LINK and entry["curated"] is True
    file.write_text(json.dumps({"prompt": "Is it open?", "response": "Yes."}) + "\n", encoding="utf-8-sig")
    assert run(server.data / "db", "import", file, "--cache", "c").startswith("1 entries stored")
    assert not server.http.post("/v1/caches/c/entries/search", json={"prompt": "Is it open?"}).json()["data"][0].get("curated")


def test_a_messages_line_answers_that_very_chat(start_refrain, aimock):
    server = start_refrain(f'[providers.mock]\nbase_url = "{aimock.url}/v1"\n')
    chat = {"model": "m", "temperature": 0, "messages": [SYSTEM, {"role": "user", "content": "Is it open on Sundays?"}]}
    reply = server.http.post("/v1/caches/default/import", content=json.dumps({**chat, "response": "No."})).json()
    assert reply["stored"] == 1, reply
    completion, headers = ask(server.openai(), "", **chat)
    assert completion.choices[0].message.content == "No." and headers["cache-status"].endswith("detail=exact")
    assert ask(server.openai(), "", **{**chat, "temperature": 1})[1]["x-cache-status"] == "Miss"


def test_answers_of_chats_are_deleted_by_their_tags(faq, server):
    ask(faq.client, "What is tagged?", extra_headers={"x-refrain-tags": "docs, v1"})
    ask(faq.client, "What else is there?", extra_body={"cache": {"tags": ["docs"]}})
    ask(faq.client, "This has no tag.")
    hit = lambda text: ask(faq.client, text)[1]["x-cache-status"] == "Hit"
    assert hit("What is tagged?") and hit("What else is there?")
    remove = lambda **body: server.http.request("DELETE", faq.entries, json=body).json()
    assert remove(tags=["v1"], dryRun=True)["entries"][0]["tags"] == ["docs", "v1"]
    assert remove(tags=["v1"])["deletedEntriesCount"] == 1
    assert hit("What else is there?") and not hit("What is tagged?")
    assert remove(tags=["docs"])["deletedEntriesCount"] == 1 and hit("This has no tag.")
    reply = server.http.post("/v1/chat/completions", json={"model": "m", "messages": [USER]}, headers={"x-refrain-tags": "a b"})
    assert reply.status_code == 400 and "tag" in reply.json()["error"]["message"]
