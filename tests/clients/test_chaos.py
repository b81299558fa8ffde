"""Under aimock's chaos, which nobody here wrote: every request ends well or says why it didn't, and nothing broken is kept."""

import concurrent.futures
import json

import httpx
import pytest
from conftest import Aimock

KINDS = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "bedrock": ""}
EXTRA = {"bedrock": 'region = "us-east-1"\n'}
CHAOS = [
    {"dropRate": 0.3},
    {"disconnectRate": 0.3},
    {"rateLimitRate": 0.3},
    {"malformedRate": 0.3},
    {"dropRate": 0.15, "malformedRate": 0.15, "rateLimitRate": 0.15, "disconnectRate": 0.15},
]
ANSWER = "The capital of France is Paris."


@pytest.fixture(scope="module")
def chaotic():
    mock = Aimock()
    yield mock
    mock.stop()


@pytest.fixture(scope="module")
def server(start_refrain, chaotic, aimock):
    """Each model is first asked of a provider that fails at random, and then of one that doesn't."""
    providers = "".join(
        f'[providers.{kind}]\nkind = "{kind}"\nbase_url = "{chaotic.url}{path}"\napi_key = "k"\n{EXTRA.get(kind, "")}'
        f'[models.{kind}]\ntargets = [{{ provider = "{kind}", model = "{kind}-model" }}, {{ provider = "good", model = "g" }}]\n'
        for kind, path in KINDS.items()
    )
    return start_refrain(f'[router]\ndefault_provider = "good"\n[providers.good]\nbase_url = "{aimock.url}/v1"\n{providers}')


@pytest.mark.parametrize("chaos", CHAOS, ids=lambda chaos: "-".join(chaos))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_every_request_ends_well_or_says_why(server, chaotic, names, chaos, stream):
    httpx.post(f"{chaotic.url}/__aimock/chaos", json=chaos).raise_for_status()

    def ask(n):
        kind = list(KINDS)[n % len(KINDS)]
        body = {"model": kind, "stream": stream, "seed": n, "messages": [{"role": "user", "content": "What is the capital of France?"}]}
        return body, server.http.post("/v1/chat/completions", json=body, headers={"x-refrain-cache": names()})

    try:
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            replies = list(pool.map(ask, range(60)))
    finally:
        httpx.delete(f"{chaotic.url}/__aimock/chaos")
    whole = 0
    for body, reply in replies:
        if not stream:
            told = text_of(reply)
            assert told == ANSWER or reply.status_code >= 500, (reply.status_code, reply.text)
        else:
            ended = reply.text.rstrip().endswith("data: [DONE]")
            assert reply.status_code == 200 and (ended or '"error"' in reply.text or "event: error" in reply.text), reply.text
            told = streamed(reply.text) if ended else None
        whole += told == ANSWER
        # What is answered from the cache now was answered well then.
        again = server.http.post("/v1/chat/completions", json={**body, "stream": False}, headers={"x-refrain-cache": names(), "cache-control": "only-if-cached"})
        assert again.status_code == 504 or text_of(again) == ANSWER, again.text
        assert (again.status_code == 200) <= (told == ANSWER), (again.text, reply.text)
    # A third fails at each try, and three tries are made, the last one with somebody who never fails.
    assert whole >= 45, whole


def text_of(reply):
    try:
        return reply.json()["choices"][0]["message"]["content"]
    except (json.JSONDecodeError, KeyError, IndexError, TypeError):
        return None


def streamed(text):
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", []))
