"""Data directories of builds before: everything in them goes on, and is written anew."""

import json
import shutil

import httpx
import pytest
from conftest import ROOT, Refrain

SETTINGS = """
[caches.default]
policy = "budget"
error_budget = 0.05
audit_rate = 0
ttl = "36500d"
keep_decisions = "36500d"
[tenants.shop]
api_keys = ["key-of-shop"]
"""


@pytest.fixture(scope="module", params=["before-versions", "before-answers"])
def upgraded(tmp_path_factory, request):
    data = tmp_path_factory.mktemp("before")
    shutil.copytree(ROOT / "tests/data" / request.param, data / "db")
    server = Refrain(data, SETTINGS)
    server.before = request.param
    yield server
    server.stop()


@pytest.fixture(scope="module")
def expected(upgraded):
    """What the server of before told."""
    return json.loads((ROOT / f"tests/data/{upgraded.before}.json").read_text())


@pytest.fixture(params=["as it was written before", "written anew"])
def shop(upgraded, request):
    if request.param == "written anew":
        upgraded.restart()
    with httpx.Client(base_url=upgraded.url, headers={"authorization": "Bearer key-of-shop"}, timeout=20) as client:
        yield client


def search(shop, cache, prompt):
    reply = shop.post(f"/v1/caches/{cache}/entries/search", json={"prompt": prompt})
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_entries_and_vectors(shop):
    exact = search(shop, "learned", "What is the capital of France?")
    assert (exact["decision"]["outcome"], exact["data"][0]["response"]) == ("exact_hit", "Paris")
    assert exact["data"][0]["tags"] == ["t"]
    near = search(shop, "learned", "How can I reset my password?")
    assert (near["decision"]["outcome"], near["data"][0]["response"]) == ("semantic_hit", "Click on forgot password.")


def test_long_answers(shop, upgraded):
    if upgraded.before == "before-versions":
        pytest.skip("none was stored")
    for prompt, outcome in [("What does the manual say?", "exact_hit"), ("What does this manual say?", "semantic_hit")]:
        found = search(shop, "long", prompt)
        assert (found["decision"]["outcome"], found["data"][0]["response"]) == (outcome, "It says a lot. " * 100)


def test_what_was_learned(shop, expected):
    learning = shop.get("/v1/caches/learned/stats").json()["learning"]
    assert learning["labels"] == expected["stats"]["labels"] > 0


def test_quarantines(shop):
    assert search(shop, "bad", "How do I enable dark mode?")["data"] == []
    assert search(shop, "bad", "How do I cancel my order?")["data"][0]["response"] == "Never."
    near = search(shop, "bad", "How can I cancel my order?")
    assert near["data"] == [] and {"guard": "quarantined"} in near["decision"]["guards"]
    assert shop.get("/v1/caches/bad/stats").json()["learning"]["quarantined"] == 2


def test_policies(shop):
    assert shop.get("/v1/caches/tuned").json()["errorBudget"] == 0.001
    assert shop.get("/v1/caches/bad").json()["errorBudget"] == 0.05


def test_accounts(shop, expected):
    total = shop.get("/v1/usage", params={"from": "2026-11-01", "to": "2026-12-31"}).json()["total"]
    assert total == expected["usage"]


def test_decisions(shop, expected):
    read = shop.get(f"/v1/caches/bad/decisions/{expected['decision']}").json()
    assert read["servedEntryId"] == expected["nearPrompts"]
    assert [(label["source"], label["right"]) for label in read["labels"]] == [("feedback", False)]


def test_nothing_is_in_doubt(shop):
    assert shop.get("/readyz").text == "ready\n"
