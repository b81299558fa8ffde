"""The error budget through the front door: decisions, labels by what is stored, feedback, quarantine, drift, restarts."""

import asyncio
import contextlib
import json
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

BUDGET = """
[caches.default]
policy = "budget"
error_budget = 0.05
audit_rate = 0
"""


@pytest.fixture(scope="module")
def learning(start_refrain):
    return start_refrain(BUDGET)


def search(server, cache, prompt, **more):
    reply = server.http.post(f"/v1/caches/{cache}/entries/search", json={"prompt": prompt, **more})
    assert reply.status_code == 200, reply.text
    return reply.json()


def store(server, cache, prompt, response):
    reply = server.http.post(f"/v1/caches/{cache}/entries", json={"prompt": prompt, "response": response})
    assert reply.status_code == 201, reply.text
    return reply.json()["entryId"]


def test_the_shipped_prior_serves_a_paraphrase_and_refuses_a_trap_before_any_label(learning):
    store(learning, "cold", "How do I reset my password?", "Click on forgot password.")
    store(learning, "cold", "How do I enable dark mode on my phone?", "Settings, Display, Dark.")
    near = search(learning, "cold", "How can I reset my password?")
    assert near["decision"]["outcome"] == "semantic_hit", near
    assert near["decision"]["pCorrect"] > 0.8 and near["decision"]["budget"] == 0.05
    trap = search(learning, "cold", "How do I disable dark mode on my phone?", explain=True)
    assert trap["data"] == [] and trap["decision"]["outcome"] == "miss"
    assert trap["decision"]["guards"][0]["guard"] == "overBudget", trap
    assert trap["decision"]["candidates"][0]["cosine"] > 0.8


def test_a_decision_can_be_read_back_with_its_features_and_the_label_that_came(learning):
    store(learning, "log", "What is the capital of France?", "Paris")
    missed = search(learning, "log", "What is the capital of Spain?")["decision"]
    read = learning.http.get(f"/v1/caches/log/decisions/{missed['id']}").json()
    assert read["outcome"] == "miss" and read["labels"] == []
    assert read["candidates"][0]["features"]["entities"] == 1.0
    assert read["candidates"][0]["features"]["cosine"] != 0 and 0 <= read["cut"] <= 0.25
    store(learning, "log", "What is the capital of Spain?", "Madrid")
    labels = learning.http.get(f"/v1/caches/log/decisions/{missed['id']}").json()["labels"]
    assert [(label["source"], label["right"]) for label in labels] == [("freshAnswer", False)]
    unknown = learning.http.get("/v1/caches/log/decisions/" + "0" * 32)
    assert unknown.status_code == 404 and unknown.json()["status"] == 404
    assert learning.http.get(f"/v1/caches/other/decisions/{missed['id']}").status_code == 404
    assert learning.http.get("/v1/caches/log/decisions/rubbish").status_code == 400


def feedback(server, cache, **body):
    return server.http.post(f"/v1/caches/{cache}/feedback", json=body)


def test_a_wrong_answer_is_quarantined_and_whoever_got_it_is_named(learning):
    entry = store(learning, "bad", "How do I reset my password?", "Ask the moon.")
    first = search(learning, "bad", "How can I reset my password?")["decision"]
    assert first["outcome"] == "semantic_hit"
    heard = feedback(learning, "bad", decisionId=first["id"], correct=False)
    assert heard.status_code == 200, heard.text
    assert heard.json() == {
        "recorded": True, "entryId": entry, "quarantined": "nearPrompts", "servedTo": [first["id"]],
    }
    again = feedback(learning, "bad", decisionId=first["id"], correct=False).json()
    assert again["recorded"] is False
    refused = search(learning, "bad", "How can I reset my password?")
    assert refused["data"] == [] and {"guard": "quarantined"} in refused["decision"]["guards"]
    # Its own text is answered as before, until the answer itself is reported.
    assert search(learning, "bad", "How do I reset my password?")["decision"]["outcome"] == "exact_hit"
    assert feedback(learning, "bad", entryId=entry, correct=False).json()["quarantined"] == "everybody"
    assert search(learning, "bad", "How do I reset my password?")["data"] == []
    learning.restart()
    assert search(learning, "bad", "How do I reset my password?")["data"] == []
    # A new answer takes its place.
    store(learning, "bad", "How do I reset my password?", "Click on forgot password.")
    assert search(learning, "bad", "How do I reset my password?")["decision"]["outcome"] == "exact_hit"


@pytest.mark.parametrize("body, status", [
    ({"decisionId": "0" * 32, "correct": False}, 404),
    ({"entryId": "0" * 32, "correct": False}, 404),
    ({"decisionId": "nonsense", "correct": True}, 400),
    ({"correct": True}, 400),
    ({"entryId": "0" * 32, "decisionId": "0" * 32, "correct": True}, 400),
    ({"entryId": "0" * 32}, 400),
    ({"entryId": "0" * 32, "correct": "yes"}, 400),
])
def test_feedback_that_is_about_nothing_is_refused(learning, body, status):
    reply = feedback(learning, "nothing", **body)
    assert reply.status_code == status, reply.text
    assert reply.json()["status"] == status and reply.json()["detail"]


def test_feedback_on_a_miss_or_from_another_tenant_changes_nothing(start_refrain):
    server = start_refrain(BUDGET + '[tenants.a]\napi_keys = ["ka"]\n[tenants.b]\napi_keys = ["kb"]\n')
    a, b = ({"Authorization": f"Bearer {key}"} for key in ("ka", "kb"))
    def call(who, path, body):
        return server.http.post(f"/v1/caches/c/{path}", json=body, headers=who)
    entry = call(a, "entries", {"prompt": "How do I reset my password?", "response": "Click."}).json()["entryId"]
    hit = call(a, "entries/search", {"prompt": "How can I reset my password?"}).json()["decision"]
    assert hit["outcome"] == "semantic_hit"
    missed = call(a, "entries/search", {"prompt": "Why is the sky blue?"}).json()["decision"]
    assert call(a, "feedback", {"decisionId": missed["id"], "correct": False}).status_code == 400
    assert call(b, "feedback", {"decisionId": hit["id"], "correct": False}).status_code == 404
    assert call(b, "feedback", {"entryId": entry, "correct": False}).status_code == 404
    assert server.http.get(f"/v1/caches/c/decisions/{hit['id']}", headers=b).status_code == 404
    assert call(a, "entries/search", {"prompt": "How can I reset my password?"}).json()["data"]


def test_audits_ask_the_provider_and_label_what_would_have_been_served(start_refrain):
    server = start_refrain(BUDGET.replace("audit_rate = 0", "audit_rate = 1"))
    store(server, "audited", "How do I reset my password?", "Click.")
    audit = search(server, "audited", "How can I reset my password?")
    assert audit["data"] == [] and audit["decision"]["outcome"] == "audit"
    assert audit["decision"]["guards"] == [{"guard": "audited"}]
    store(server, "audited", "How can I reset my password?", "click")
    learned = server.http.get("/v1/caches/audited/stats").json()["learning"]
    assert (learned["audits"], learned["labels"], learned["auditedWrong"]["some"]) == (1, 1, 0)
    assert server.http.get("/v1/caches/audited/stats").json()["total"]["audits"] == 1


def test_changed_answers_sound_the_alarm_and_only_equal_texts_are_answered(start_refrain):
    server = start_refrain(BUDGET.replace("audit_rate = 0", "audit_rate = 1"))
    topics = [f"the {thing} in {place}" for thing in ("museum", "library", "bakery", "station", "harbour", "stadium")
              for place in ("Lyon", "Porto", "Ghent", "Turin", "Malaga", "Bergen", "Gdansk", "Leeds")]
    for topic in topics:
        store(server, "drift", f"When does {topic} open?", f"at nine: {topic}")
    stats = {}
    for number, topic in enumerate(topics):
        prompt = f"What time does {topic} open?"
        assert search(server, "drift", prompt)["data"] == []
        store(server, "drift", prompt, f"at ten: {topic} {number}")
        stats = server.http.get("/v1/caches/drift/stats").json()["learning"]
        if stats["alarmed"]:
            break
    assert stats["alarmed"] and stats["alarms"] == 1, stats
    assert 'refrain_drift_alarm{tenant="local",cache="drift"} 1' in server.http.get("/metrics").text
    assert search(server, "drift", f"When does {topics[0]} open?")["decision"]["outcome"] == "exact_hit"
    near = search(server, "drift", f"Tell me when {topics[0]} opens")
    assert near["data"] == []


def test_what_was_learned_outlives_a_restart(learning):
    for number in range(40):
        prompt = f"What is the price of item {number} in the shop?"
        search(learning, "kept", prompt)
        store(learning, "kept", prompt, f"{number} euros")
    before = learning.http.get("/v1/caches/kept/stats").json()["learning"]
    assert before["labels"] == 39
    learning.restart()
    after = learning.http.get("/v1/caches/kept/stats").json()["learning"]
    assert {**after, "cut": None} == {**before, "cut": None}


def test_a_simulation_of_what_was_decided_tells_what_other_settings_would_do(start_refrain):
    server = start_refrain(BUDGET.replace("audit_rate = 0", "audit_rate = 1"))
    for number in range(30):
        prompt = f"What is the price of item {number} in the shop?"
        search(server, "what-if", prompt)
        store(server, "what-if", prompt, f"{number} euros")
    reply = server.http.post("/v1/caches/what-if/simulate", json={"budgets": [0, 0.1], "thresholds": [0.5, 1.0]})
    assert reply.status_code == 200, reply.text
    none, some = reply.json()["budgets"]
    loose, tight = reply.json()["thresholds"]
    assert none["hits"] == 0 and none["requests"] == some["requests"] == 30
    assert loose["hits"] == 29 and loose["wrongOfRequests"] > 0.9 and tight["hits"] == 0
    low, high = loose["wrongInterval"]
    assert low < loose["wrongOfRequests"] <= high + 1e-9
    assert server.http.post("/v1/caches/what-if/simulate").status_code == 200
    assert server.http.post("/v1/caches/empty/simulate", json={}).json()["budgets"][0]["requests"] == 0
    for wrong in ({"budgets": [2]}, {"budgets": "all"}, {"thresholds": [None]}, {"badgets": []}):
        assert server.http.post("/v1/caches/what-if/simulate", json=wrong).status_code == 400, wrong


def test_a_change_of_policy_is_applied_recorded_and_undone(start_refrain):
    server = start_refrain(BUDGET)
    store(server, "tuned", "How do I reset my password?", "Click.")
    before = server.http.get("/v1/caches/tuned").json()
    assert (before["policy"], before["errorBudget"], before["changes"]) == ("budget", 0.05, [])
    changed = server.http.put("/v1/caches/tuned", json={"policy": "static", "minCosine": 0.999})
    assert changed.status_code == 200, changed.text
    near = search(server, "tuned", "How can I reset my password?")
    assert near["decision"]["guards"][0]["guard"] == "belowThreshold"
    server.restart()
    after = server.http.get("/v1/caches/tuned").json()
    assert (after["policy"], after["minCosine"]) == ("static", 0.999) or abs(after["minCosine"] - 0.999) < 1e-6
    assert after["changes"][0]["by"] == "local" and after["changes"][0]["before"]["policy"] is None
    undone = server.http.post("/v1/caches/tuned/undo").json()
    assert undone["policy"] == "budget" and len(undone["changes"]) == 2
    assert search(server, "tuned", "How can I reset my password?")["data"]
    assert server.http.post("/v1/caches/never-changed/undo").status_code == 400
    for wrong in ({"policy": "guess"}, {"errorBudget": 3}, {"strict": 1}, {"budget": 0.1}):
        assert server.http.put("/v1/caches/tuned", json=wrong).status_code == 400, wrong


def test_changed_settings_of_caches_count_without_a_restart(start_refrain):
    text = '[caches.default]\npolicy = "static"\nmin_cosine = {}\n{}'
    server = start_refrain(text.format(0.9, ""))
    store(server, "live", "How do I reset my password?", "Click.")
    store(server, "tuned", "How do I reset my password?", "Click.")
    assert server.http.put("/v1/caches/tuned", json={"minCosine": 0.9}).status_code == 200

    def reload(*settings):
        server.settings.write_text(text.format(*settings))
        return server.http.post("/v1/reload")

    def serves(cache):
        return bool(search(server, cache, "How can I reset my password?")["data"])

    assert serves("live") and serves("tuned")
    told = reload(0.9999, 'ttl = "1h"\nmax_bytes = "1MiB"\nignored_fields = ["seed"]\n')
    assert told.status_code == 200 and told.json()["changed"] == ["caches"] and told.json()["afterRestart"] == []
    assert not serves("live") and serves("tuned"), "what was set while it ran stays"
    store(server, "live", "How is the weather?", "Fine.")
    lines = [json.loads(line) for line in server.http.get("/v1/caches/live/export").text.splitlines()]
    assert [line["expires"] - line["created"] for line in lines if "weather" in line["prompt"]] == [3_600_000]
    # A setting that can't be used changes nothing.
    assert reload(3, "").status_code == 422 and not serves("live")
    assert reload(0.9, "").status_code == 200 and serves("live")


def test_a_tenant_may_tighten_but_not_loosen(start_refrain):
    server = start_refrain(BUDGET + '[tenants.a]\napi_keys = ["ka"]\n')
    def put(body):
        return server.http.put("/v1/caches/c", json=body, headers={"Authorization": "Bearer ka"})
    assert put({"errorBudget": 0.01}).json()["changes"][0]["by"] == "a"
    loosened = put({"errorBudget": 0.2})
    assert loosened.status_code == 403 and "errorBudget" in loosened.json()["detail"]
    assert put({"policy": "static", "minCosine": 0.1}).status_code == 403
    assert put({"strict": True}).status_code == 200
    assert server.http.put("/v1/caches/c", json={}).status_code == 401


def test_a_fixed_threshold_keeps_reported_answers_back_too(start_refrain):
    server = start_refrain('[caches.default]\npolicy = "static"\nmin_cosine = 0.9\n')
    entry = store(server, "fixed", "How do I reset my password?", "Ask the moon.")
    first = search(server, "fixed", "How can I reset my password?")["decision"]
    assert first["outcome"] == "semantic_hit"
    assert feedback(server, "fixed", decisionId=first["id"], correct=False).json()["quarantined"] == "everybody"
    refused = search(server, "fixed", "How can I reset my password?")
    assert refused["data"] == [] and {"guard": "quarantined"} in refused["decision"]["guards"]
    assert search(server, "fixed", "How do I reset my password?")["data"] == []
    assert store(server, "fixed", "How do I reset my password?", "Click.") == entry
    assert search(server, "fixed", "How can I reset my password?")["data"]


def test_decisions_outlive_a_restart_and_take_their_labels_then(start_refrain):
    server = start_refrain(BUDGET)
    entry = store(server, "kept", "How do I reset my password?", "Click on forgot password.")
    first = search(server, "kept", "How can I reset my password?")["decision"]
    second = search(server, "kept", "How could I reset my password?")["decision"]
    assert first["outcome"] == second["outcome"] == "semantic_hit"
    before = server.http.get(f"/v1/caches/kept/decisions/{first['id']}").json()
    server.restart()
    after = server.http.get(f"/v1/caches/kept/decisions/{first['id']}").json()
    assert after["pCorrect"] == pytest.approx(before["pCorrect"]) and after["cut"] == pytest.approx(before["cut"])
    assert after["candidates"][0]["features"] == pytest.approx(before["candidates"][0]["features"])
    assert all(after[name] == before[name] for name in ["id", "at", "outcome", "budget", "labels"])
    told = feedback(server, "kept", decisionId=first["id"], correct=False).json()
    assert told["recorded"] and told["entryId"] == entry and set(told["servedTo"]) == {first["id"], second["id"]}
    # Feedback is kept at once: not even kill -9 undoes it.
    server.restart(signal.SIGKILL)
    assert not feedback(server, "kept", decisionId=first["id"], correct=False).json()["recorded"]
    labels = server.http.get(f"/v1/caches/kept/decisions/{first['id']}").json()["labels"]
    assert [(label["source"], label["right"]) for label in labels] == [("feedback", False)]
    assert search(server, "kept", "How might I reset my password?")["data"] == []


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_no_acknowledged_report_is_lost_however_many_come_at_once(start_refrain, end):
    """Each cache's reports come together, and the process ends while more are under way."""
    server = start_refrain(BUDGET)
    caches, each = [f"reported-{n}" for n in range(120)], 6
    entries = {(cache, n): store(server, cache, f"prompt {n} of all", f"answer {n}") for cache in caches for n in range(each)}
    acknowledged = []

    async def report(client, key):
        with contextlib.suppress(httpx.HTTPError):
            reply = await client.post(f"/v1/caches/{key[0]}/feedback", json={"entryId": entries[key], "correct": False})
            if reply.status_code == 200:
                acknowledged.append(key)
                if len(acknowledged) == len(entries) * 3 // 4:
                    server.process.send_signal(end)

    async def report_all():
        async with httpx.AsyncClient(base_url=server.url, timeout=20, limits=httpx.Limits(max_connections=48)) as client:
            for first in range(0, len(caches), 8):
                together = [(cache, n) for n in range(each) for cache in caches[first : first + 8]]
                await asyncio.gather(*(report(client, key) for key in together))

    asyncio.run(report_all())
    server.restart(end)
    served = [(cache, n) for cache, n in acknowledged if search(server, cache, f"prompt {n} of all")["data"]]
    assert served == [] and len(acknowledged) >= len(entries) * 3 // 4


def test_the_same_said_twice_at_once_counts_once(start_refrain):
    server = start_refrain(BUDGET)
    store(server, "twice", "How do I reset my password?", "Click on forgot password.")
    decisions = [search(server, "twice", f"How {word} I reset my password?")["decision"]["id"] for word in ["can", "could", "might"]]
    # They are read from the disk, each by several at once.
    server.restart()
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda id: (id, feedback(server, "twice", decisionId=id, correct=True).json().get("recorded")), decisions * 8))
    for id in decisions:
        labels = server.http.get(f"/v1/caches/twice/decisions/{id}").json()["labels"]
        assert sum(recorded is True for other, recorded in told if other == id) == len(labels) <= 1, (told, labels)
    assert any(recorded for _, recorded in told)


def test_a_label_waits_whatever_else_is_asked_meanwhile(start_refrain):
    """More hits than decisions are kept in memory lie between the question and its answer."""
    server = start_refrain(BUDGET)
    store(server, "busy", "What is the capital of France?", "Paris")
    missed = search(server, "busy", "What is the capital of Spain?")["decision"]
    assert missed["outcome"] == "miss"
    with ThreadPoolExecutor(4) as pool:
        batch = {"prompts": ["What is the capital of France?"] * 100}
        path = "/v1/caches/busy/entries/search/batch"
        replies = list(pool.map(lambda _: server.http.post(path, json=batch).status_code, range(202)))
    assert set(replies) == {200}
    store(server, "busy", "What is the capital of Spain?", "Madrid")
    assert server.http.get("/v1/caches/busy/stats").json()["learning"]["labels"] == 1

