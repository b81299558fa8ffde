"""Paths by all their names, pages of other origins, and counted tokens."""

import json

import openai
import pytest
from front_door import ASKS, QUESTION, TEXT, chat, message, status_of

# Paths.


@pytest.mark.parametrize("path", [
    "/v1/chat/completions/", "/v1//chat/completions", "//v1/chat/completions", "/v1/chat//completions/", "/chat/completions",
    "/openai/v1/chat/completions", "/openai/v1/chat/completions/", "/openai/deployments/m/chat/completions?api-version=2024-10-21",
])
def test_a_chat_is_a_chat_under_every_name_of_its_path(post, provider, path):
    body = chat()
    if "deployments" in path:
        del body["model"]
    miss, hit = post(path, body), post(path, body)
    assert [status_of(miss), status_of(hit)] == ["Miss", "Hit"] and hit.json() == miss.json()
    [seen] = provider.seen
    assert seen.path.split("?")[0] == "/v1/chat/completions" and json.loads(seen.body)["model"] == "m"
    if "?" not in path:
        assert status_of(post("/v1/chat/completions", body)) == "Hit", "one cache, whatever the path's name"


@pytest.mark.parametrize("path", ["/v1/responses/", "/responses", "/openai/v1/responses", "/v1//messages", "/v1/messages/"])
def test_other_chats_have_as_many_names(post, provider, path):
    plain = f"/v1/{path.strip('/').rsplit('/', 1)[-1]}"
    assert [status_of(post(path, ASKS[plain]())) for _ in range(2)] == ["Miss", "Hit"]
    assert [seen.path for seen in provider.seen] == [plain]


@pytest.mark.parametrize("path", ["/v1/embeddings/", "/embeddings", "/openai/v1/embeddings", "/openai/deployments/all-MiniLM-L6-v2/embeddings?api-version=2024-10-21"])
def test_embeddings_are_made_here_under_every_name_of_their_path(post, provider, path):
    body = {"input": "a", **({} if "deployments" in path else {"model": "all-MiniLM-L6-v2"})}
    reply = post(path, body)
    assert reply.status_code == 200 and len(reply.json()["data"][0]["embedding"]) == 384 and not provider.seen


def test_azures_own_client_is_answered(door, provider, names):
    client = openai.AzureOpenAI(azure_endpoint=door.url, api_version="2024-10-21", api_key="unused", max_retries=0, default_headers={"x-refrain-cache": names()})
    ask = lambda: client.chat.completions.with_raw_response.create(model="m", messages=chat()["messages"])
    miss, hit = ask(), ask()
    assert [miss.headers["x-cache-status"], hit.headers["x-cache-status"]] == ["Miss", "Hit"]
    assert hit.parse().choices[0].message.content == TEXT and len(provider.seen) == 1
    assert "unused" not in str(provider.seen[0].headers)


@pytest.mark.parametrize("path", ["/v1/files?limit=2", "/openai/v1/files?limit=2", "/v1//files/?limit=2"])
def test_other_paths_have_as_many_names(door, provider, path):
    assert door.http.get(path).status_code == 200
    [seen] = provider.seen
    assert (seen.method, seen.path) == ("GET", "/v1/files?limit=2")


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", ""])
def test_each_model_that_is_listed_can_be_asked_for(door, provider, prefix):
    provider.replies.append((200, "application/json", {"object": "list", "data": [{"id": "theirs", "object": "model", "created": 1, "owned_by": "them"}]}))
    listed = {model["id"] for model in door.http.get(f"{prefix}/models").json()["data"]}
    assert {"claude", "team/alias", "all-MiniLM-L6-v2"} <= listed
    provider.seen.clear()
    for name in ("claude", "all-MiniLM-L6-v2", "team/alias", "team%2Falias"):
        reply = door.http.get(f"{prefix}/models/{name}")
        assert reply.status_code == 200 and reply.json()["id"] == name.replace("%2F", "/") and reply.json()["object"] == "model", (name, reply.text)
    assert not provider.seen
    # What is theirs is theirs to describe.
    assert door.http.get(f"{prefix}/models/theirs").json()["path"] == "/v1/models/theirs"


def test_stored_chats_are_the_providers_to_list(door, provider):
    reply = door.http.get("/v1/chat/completions?limit=3")
    assert reply.status_code == 200 and [(seen.method, seen.path) for seen in provider.seen] == [("GET", "/v1/chat/completions?limit=3")]


# Pages of other origins.


PAGE = "https://app.example"


def preflight(server, origin, path="/v1/chat/completions", method="POST", headers="authorization, content-type, x-refrain-cache"):
    return server.http.options(path, headers={"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers})


def check_preflight(reply, origin, method, headers):
    assert reply.status_code in (200, 204), reply.text
    assert reply.headers["access-control-allow-origin"] == origin
    allowed = lambda name: [part.strip().lower() for part in reply.headers[name].split(",")]
    assert method.lower() in allowed("access-control-allow-methods") or "*" in allowed("access-control-allow-methods")
    for header in headers.split(", "):
        # A star doesn't stand for `authorization`.
        assert header in allowed("access-control-allow-headers"), reply.headers
    assert "origin" in reply.headers.get("vary", "").lower()


@pytest.fixture(scope="session")
def pages(start_refrain, session_provider):
    """With keys, so that who asks isn't known by being here."""
    return start_refrain(f"""
[server]
allowed_origins = ["{PAGE}"]
[tenants.a]
api_keys = ["key-a"]
[providers.a]
base_url = "{session_provider.url}/v1"
""")


@pytest.mark.parametrize("path, method", [("/v1/chat/completions", "POST"), ("/v1/responses", "POST"), ("/v1/messages", "POST"), ("/v1/models", "GET"), ("/v1/caches/c/entries/search", "POST"), ("/v1/caches/c/entries/e", "DELETE"), ("/v1/files", "POST")])
def test_a_page_of_an_allowed_origin_may_ask(pages, provider, path, method):
    headers = "authorization, content-type, x-refrain-cache, cache-control, x-stainless-lang"
    check_preflight(preflight(pages, PAGE, path, method, headers), PAGE, method, headers)
    assert not provider.seen


def test_a_page_of_an_allowed_origin_reads_the_reply_and_its_headers(pages, provider):
    for key, status in (("key-a", 200), ("key-a", 200), ("wrong", 401)):
        reply = pages.http.post("/v1/chat/completions", json=chat(), headers={"Origin": PAGE, "authorization": f"Bearer {key}"})
        assert reply.status_code == status and reply.headers["access-control-allow-origin"] == PAGE
        exposed = reply.headers["access-control-expose-headers"].lower()
        assert "x-cache-status" in exposed and "x-refrain-decision" in exposed or exposed == "*"
        assert "origin" in reply.headers["vary"].lower()


def test_a_page_of_another_origin_may_not(pages, provider):
    reply = preflight(pages, "https://evil.example")
    assert "access-control-allow-origin" not in reply.headers and reply.status_code != 405
    reply = pages.http.post("/v1/chat/completions", json=chat(), headers={"Origin": "https://evil.example", "authorization": "Bearer key-a"})
    assert "access-control-allow-origin" not in reply.headers


def test_pages_of_this_machine_may_ask_where_there_are_no_keys(door, provider):
    origin = "http://localhost:3000"
    check_preflight(preflight(door, origin), origin, "POST", "authorization, content-type, x-refrain-cache")
    reply = door.http.post("/v1/chat/completions", json=chat(), headers={"Origin": origin})
    assert reply.status_code == 200 and reply.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-origin" not in preflight(door, "https://evil.example").headers


# Counting tokens.


@pytest.mark.parametrize("kind", ["openai", "gemini", "bedrock"])
def test_tokens_are_counted_for_targets_that_have_no_such_path(start_refrain, provider, kind):
    more = {"openai": "", "gemini": "", "bedrock": 'region = "r"\n'}[kind]
    server = start_refrain(f'[router]\nattempts = 1\n[providers.a]\nkind = "{kind}"\nbase_url = "{provider.url}/v1"\napi_key = "k"\n{more}[models.m]\ntargets = [{{ provider = "a", model = "x" }}]\n')
    count = lambda text: server.http.post("/v1/messages/count_tokens", json={"model": "m", "messages": [{"role": "user", "content": text}]})
    replies = [count(QUESTION), count(QUESTION * 20)]
    assert [reply.status_code for reply in replies] == [200, 200], replies[0].text
    few, many = [reply.json()["input_tokens"] for reply in replies]
    assert 0 < few < many
    assert not [seen.path for seen in provider.seen if "messages" in seen.path]


def test_tokens_are_counted_by_claude_itself(post, provider):
    provider.replies.append((200, "application/json", {"input_tokens": 14}))
    body = {key: value for key, value in message().items() if key != "max_tokens"}
    reply = post("/v1/messages/count_tokens", body)
    assert reply.status_code == 200 and reply.json() == {"input_tokens": 14}
    assert provider.seen[0].path == "/v1/messages/count_tokens" and json.loads(provider.seen[0].body)["model"] == "claude-model"
