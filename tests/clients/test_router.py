"""Providers of every dialect, failures, shared calls, limits, accounts and changed settings, through real clients."""

import concurrent.futures
import datetime
import json
import socket
import threading
import time

import anthropic
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import httpx
import openai
import pytest
from conftest import ask, ask_stream, text_of

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city.",
          "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
KINDS = ["openai", "azure", "anthropic", "gemini", "vertex", "bedrock"]
AWS = {"region": "eu-central-1", "access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI", "session_token": "for-a-while"}


@pytest.fixture(scope="session")
def account(tmp_path_factory):
    """A service account whose token server is here: it hands out one token for each assertion."""
    import http.server
    import subprocess

    asked = []

    class Issuer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            form = self.rfile.read(int(self.headers["content-length"])).decode()
            asked.append(form)
            body = json.dumps({"access_token": f"token-{len(asked)}", "expires_in": 3600, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    issuer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    threading.Thread(target=issuer.serve_forever, daemon=True).start()
    key = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], capture_output=True, check=True)
    file = tmp_path_factory.mktemp("account") / "key.json"
    file.write_text(json.dumps({
        "type": "service_account", "client_email": "refrain@example.iam", "private_key": key.stdout.decode(),
        "token_uri": f"http://127.0.0.1:{issuer.server_port}/token",
    }))
    yield file, asked
    issuer.shutdown()


@pytest.fixture(scope="session")
def dialects(start_refrain, aimock, account):
    return start_refrain(f"""
[router]
attempts = 1
default_provider = "openai"
[providers.openai]
base_url = "{aimock.url}/v1"
api_key = "k"
[providers.azure]
kind = "azure"
base_url = "{aimock.url}/openai"
api_key = "azure-key"
[providers.anthropic]
kind = "anthropic"
base_url = "{aimock.url}/v1"
api_key = "anthropic-key"
[providers.gemini]
kind = "gemini"
base_url = "{aimock.url}/v1beta"
api_key = "gemini-key"
[providers.vertex]
kind = "vertex"
base_url = "{aimock.url}/v1/projects/p/locations/l/publishers/google"
service_account = "{account[0]}"
[providers.bedrock]
kind = "bedrock"
base_url = "{aimock.url}"
region = "eu-central-1"
api_key = "bedrock-key"
""" + "".join(f'[models.{kind}]\ntargets = [{{ provider = "{kind}", model = "{kind}-model" }}]\n' for kind in KINDS))


@pytest.fixture
def client(dialects, names):
    return dialects.openai(default_headers={"x-refrain-cache": names()})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_provider_answers_whole_and_streamed(client, aimock, kind):
    reply, headers = ask(client, QUESTION, model=kind, extra_headers={"Cache-Control": "no-store"})
    assert reply.choices[0].message.content == ANSWER and reply.choices[0].finish_reason == "stop"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (14, 7)
    assert headers["x-refrain-provider"] == kind
    chunks, _ = ask_stream(client, QUESTION, model=kind, stream_options={"include_usage": True})
    assert text_of(chunks) == ANSWER and chunks[-1].usage.completion_tokens == 7
    before = aimock.calls()
    hit, headers = ask(client, QUESTION, model=kind)
    assert headers["x-cache-status"] == "Hit" and hit.choices[0].message.content == ANSWER
    assert aimock.calls() == before


@pytest.mark.parametrize("kind", KINDS)
def test_tools_are_called_and_their_results_are_understood(client, kind):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the weather in Paris?"}]
    reply = client.chat.completions.create(model=kind, messages=messages, tools=TOOLS)
    choice = reply.choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    with client.chat.completions.create(model=kind, messages=messages, tools=TOOLS, stream=True, extra_headers={"Cache-Control": "no-cache"}) as stream:
        pieces = [call for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert pieces[0].function.name == "get_weather"
    assert json.loads("".join(piece.function.arguments or "" for piece in pieces)) == {"city": "Paris"}
    messages += [choice.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    reply = client.chat.completions.create(model=kind, messages=messages, tools=TOOLS)
    assert reply.choices[0].message.content == "It is sunny in Paris."


def test_requests_reach_each_provider_in_its_own_shape(client, aimock, account):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = [{"type": "text", "text": "What is the capital of France?"}, image]
    for kind in KINDS:
        client.chat.completions.create(model=kind, messages=[{"role": "user", "content": content}], max_tokens=50, extra_headers={"Cache-Control": "no-cache, no-store"})
        last = aimock.last()
        sent = {name.lower(): value for name, value in last["headers"].items()}
        path = last["path"]
        if kind == "azure":
            assert path.startswith("/openai/deployments/azure-model/chat/completions") and "api-version=" in path, path
        elif kind == "anthropic":
            assert path == "/v1/messages" and sent["anthropic-version"]
        elif kind == "gemini":
            assert path.startswith("/v1beta/models/gemini-model:generateContent"), path
        elif kind == "vertex":
            assert "publishers/google/models/vertex-model:generateContent" in path, path
        elif kind == "bedrock":
            assert path == "/model/bedrock-model/converse" and sent["authorization"], path
    assert len(account[1]) == 1, "one token serves all requests until it expires"
    assert "assertion=" in account[1][0]


def test_models_of_every_kind_are_listed_and_other_paths_pass_through(dialects, aimock):
    ids = {model.id for model in dialects.openai().models.list()}
    assert set(KINDS) <= ids and "all-MiniLM-L6-v2" in ids
    body = {"model": "openai", "input": "What is the capital of France?"}
    reply = dialects.http.post("/v1/responses", json=body)
    assert reply.status_code == 200 and "Paris" in reply.text and aimock.last()["body"]["model"] == "openai-model"


def test_paths_without_a_model_reach_azure_with_its_version(start_refrain, flaky):
    server = start_refrain(f'[providers.azure]\nkind = "azure"\nbase_url = "{flaky.url}"\napi_key = "k"\napi_version = "2025-01-01"\n')
    server.http.post("/v1/batches?limit=2", json={}, headers={"x-refrain-provider": "azure"})
    server.http.post("/v1/batches", json={})
    assert flaky.paths == ["/v1/batches?limit=2&api-version=2025-01-01", "/v1/batches?api-version=2025-01-01"]
    assert flaky.seen[0]["api-key"] == "k"


def test_googles_own_openai_compatible_api_gets_what_only_it_understands(start_refrain, aimock, names):
    server = start_refrain(f"""
[providers.google]
base_url = "{aimock.url}/openai/v1beta/openai"
api_key = "k"
[models.flash]
targets = [{{ provider = "google", model = "gemini-3-flash" }}]
""")
    google = {"google": {"thinking_config": {"thinking_level": "low", "include_thoughts": True}}}
    options = {"model": "flash", "reasoning_effort": "low", "extra_body": {"extra_body": google}, "extra_headers": {"x-refrain-cache": names()}}
    client = server.openai()
    reply, headers = ask(client, QUESTION, **options)
    assert reply.choices[0].message.content == ANSWER and headers["x-cache-status"] == "Miss"
    sent = aimock.last()
    assert sent["body"]["extra_body"] == google and sent["body"]["model"] == "gemini-3-flash" and sent["path"].endswith("/chat/completions")
    chunks, _ = ask_stream(client, QUESTION, **options)
    assert text_of(chunks) == ANSWER
    # Another way to think is another question.
    options["extra_body"] = {"extra_body": {"google": {"thinking_config": {"thinking_level": "high"}}}}
    _, headers = ask(client, QUESTION, **options)
    assert headers["x-cache-status"] == "Miss"


def test_requests_are_signed_as_amazons_own_library_signs_them(start_refrain, flaky):
    settings = "".join(f'{name} = "{value}"\n' for name, value in AWS.items())
    server = start_refrain(f'[providers.aws]\nkind = "bedrock"\nbase_url = "{flaky.url}"\n{settings}')
    model = "arn:aws:bedrock:eu-central-1:1:inference-profile/eu.anthropic.claude-3-5-haiku-20241022-v1:0"
    post(server, "Hi", model)
    sent = {name.lower(): value for name, value in flaky.seen[0].items()}
    credentials = botocore.credentials.Credentials(AWS["access_key_id"], AWS["secret_access_key"], AWS["session_token"])
    signer = botocore.auth.SigV4Auth(credentials, "bedrock", AWS["region"])
    request = botocore.awsrequest.AWSRequest("POST", flaky.url.removesuffix("/v1") + flaky.paths[0], {"content-type": sent["content-type"], "host": sent["host"]}, flaky.raw[0])
    request.context["timestamp"] = sent["x-amz-date"]
    request.headers["x-amz-date"], request.headers["x-amz-security-token"] = sent["x-amz-date"], AWS["session_token"]
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert f"Signature={signature}" in sent["authorization"] and sent["x-amz-security-token"] == "for-a-while"
    # What isn't a chat can't be signed, and isn't sent.
    before = len(flaky.seen)
    reply = server.http.post("/v1/files", content=b"x", headers={"content-type": "text/plain"})
    assert reply.status_code == 502 and "chats only" in reply.json()["error"]["message"] and len(flaky.seen) == before


def test_errors_come_in_openais_shape_from_everybody(client):
    for kind in KINDS:
        with pytest.raises(openai.APIStatusError) as error:
            ask(client, "Cause a server error.", model=kind)
        assert error.value.status_code == 503 and "overloaded" in error.value.message, (kind, error.value.message)
        assert error.value.response.json()["error"]["type"]


def test_what_a_provider_cannot_be_asked_is_said(client):
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, QUESTION, model="anthropic", n=2)
    assert "`n`" in error.value.message


@pytest.fixture
def claude(dialects, names):
    options = {"base_url": dialects.url, "api_key": "unused", "max_retries": 0}
    return anthropic.Anthropic(**options, default_headers={"x-refrain-cache": names()})


def message(client, text, **options):
    reply = client.messages.with_raw_response.create(**{"model": "anthropic", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **options})
    return reply.parse(), reply.headers


@pytest.mark.parametrize("kind", KINDS)
def test_the_anthropic_client_is_answered_by_any_provider_and_from_the_cache(claude, aimock, kind):
    first, headers = message(claude, QUESTION, model=kind)
    assert headers["x-cache-status"] == "Miss" and headers["x-refrain-provider"] == kind
    assert first.content[0].text == ANSWER and first.stop_reason == "end_turn" and first.usage.output_tokens == 7
    before = aimock.calls()
    again, headers = message(claude, "What's the capital of France?", model=kind)
    assert headers["x-cache-status"] == "Hit" and again.content[0].text == ANSWER and again.usage.input_tokens == 14
    with claude.messages.stream(model=kind, max_tokens=100, messages=[{"role": "user", "content": QUESTION}]) as stream:
        assert "".join(stream.text_stream) == ANSWER
        assert stream.get_final_message().usage.output_tokens == 7
    assert aimock.calls() == before
    with claude.messages.stream(model=kind, max_tokens=101, messages=[{"role": "user", "content": QUESTION}]) as stream:
        assert "".join(stream.text_stream) == ANSWER
    assert aimock.calls() == before + 1
    _, headers = message(claude, QUESTION, model=kind, max_tokens=101)
    assert headers["x-cache-status"] == "Hit"


def test_an_answer_of_one_api_serves_the_other(dialects, aimock, names):
    headers = {"x-refrain-cache": names()}
    openai_client = dialects.openai(default_headers=headers)
    claude = anthropic.Anthropic(base_url=dialects.url, api_key="unused", max_retries=0, default_headers=headers)
    ask(openai_client, QUESTION, model="openai", max_tokens=100)
    before = aimock.calls()
    told, seen = message(claude, QUESTION, model="openai")
    assert seen["x-cache-status"] == "Hit" and told.content[0].text == ANSWER
    message(claude, "think about primes", model="anthropic")
    told, seen = ask(openai_client, "think about primes", model="anthropic", max_tokens=100)
    assert seen["x-cache-status"] == "Hit" and told.choices[0].message.content == "Two is prime."
    assert aimock.calls() == before + 1


def test_anthropic_tools_and_errors(claude):
    tools = [{"name": "get_weather", "description": "Weather.", "input_schema": TOOLS[0]["function"]["parameters"]}]
    for kind in ["openai", "anthropic", "gemini"]:
        reply, _ = message(claude, "What is the weather in Paris?", model=kind, tools=tools)
        assert reply.stop_reason == "tool_use" and reply.content[-1].input == {"city": "Paris"}
        with pytest.raises(anthropic.APIStatusError) as error:
            message(claude, "Cause a server error.", model=kind)
        assert error.value.status_code == 503 and error.value.response.json()["type"] == "error"
    with pytest.raises(anthropic.BadRequestError) as error:
        claude.messages.with_raw_response.create(model="openai", max_tokens=5, messages=[{"role": "user", "content": QUESTION}], extra_body={"mcp_servers": [{"url": "http://x"}]})
    assert "mcp_servers" in error.value.response.json()["error"]["message"]


class Flaky:
    """A provider that does, for each request in turn, what it was told: a status with headers, a stall, a cut, or an answer."""

    def __init__(self):
        import http.server

        flaky = self
        self.script, self.times, self.bodies, self.raw, self.seen, self.paths = [], [], [], [], [], []
        self.gate = threading.Event()
        self.lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.read()
                with flaky.lock:
                    flaky.times.append(time.monotonic())
                    flaky.bodies.append(json.loads(body))
                    flaky.raw.append(body)
                    flaky.seen.append(dict(self.headers))
                    flaky.paths.append(self.path)
                    what = flaky.script.pop(0) if flaky.script else "ok"
                if what == "stall":
                    flaky.gate.wait(30)
                    what = "ok"
                if isinstance(what, tuple):
                    status, headers = what
                    return self.send(status, {"error": {"message": f"status {status}"}}, headers)
                if what == "cut":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if isinstance(what, threading.Barrier):
                    what.wait(20)
                    what = "ok"
                if what == "malformed":
                    return self.send(200, b'{"choices": [', {}, chunked=True)
                if what == "slow stream":
                    return self.stream()
                if isinstance(what, dict):
                    return self.send(200, completion(what["says"]), {})
                self.send(200, completion("Fine."), {})

            def read(self):
                if "content-length" in self.headers:
                    return self.rfile.read(int(self.headers["content-length"]))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def send(self, status, value, headers, chunked=False):
                body = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                if chunked:
                    self.send_header("transfer-encoding", "chunked")
                    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
                else:
                    self.send_header("content-length", str(len(body)))
                for name, text in headers.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(body)

            def stream(self):
                """The first piece at once; the others when the gate opens."""
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                def event(delta, finish=None):
                    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                    self.wfile.flush()
                event({"role": "assistant", "content": "One "})
                flaky.gate.wait(30)
                event({"content": "two."})
                event({}, "stop")
                self.wfile.write(b"data: [DONE]\n\n")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def does(self, *script):
        self.gate.clear()
        with self.lock:
            self.script[:], self.times[:], self.bodies[:], self.seen[:] = script, [], [], []


def completion(text):
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


@pytest.fixture
def flaky():
    return Flaky()


@pytest.fixture
def other():
    return Flaky()


def post(server, text, model="m", cache=None, **options):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **options.pop("body", {})}
    headers = {"Cache-Control": "no-cache, no-store", **options.pop("headers", {})} if cache is None else {"x-refrain-cache": cache, **options.pop("headers", {})}
    return server.http.post("/v1/chat/completions", json=body, headers=headers)


def test_what_fails_is_tried_again_and_then_elsewhere(start_refrain, flaky, other):
    server = start_refrain(f"""
[router]
default_provider = "a"
[providers.a]
base_url = "{flaky.url}"
[providers.b]
base_url = "{other.url}"
[models.both]
targets = [{{ provider = "a", model = "x" }}, {{ provider = "b", model = "y" }}]
""")
    for failure in [(500, {}), (408, {}), (409, {}), "cut", "malformed"]:
        for stream in [False, True]:
            flaky.does(failure)
            reply = post(server, "Hi", body={"stream": stream})
            assert (reply.status_code, len(flaky.times), reply.headers["x-refrain-attempts"]) == (200, 2, "2"), failure
    flaky.does((503, {}), (503, {}))
    other.does()
    reply = post(server, "Hi", "both")
    assert reply.status_code == 200 and reply.headers["x-refrain-provider"] == "b" and reply.headers["x-refrain-attempts"] == "3"
    assert reply.headers["x-refrain-tried"] == "a=503, a=503" and other.bodies[0]["model"] == "y"
    # What the caller did wrong is nobody else's business.
    flaky.does((400, {}))
    other.does()
    reply = post(server, "Hi", "both")
    assert (reply.status_code, len(flaky.times), len(other.times)) == (400, 1, 0)
    # The last one's error stands, and it is said who was tried.
    flaky.does((500, {}), (500, {}))
    other.does((502, {}), (502, {}))
    reply = post(server, "Hi", "both")
    assert (reply.status_code, reply.json()["error"]["message"]) == (502, "status 502")
    assert reply.headers["x-refrain-tried"] == "a=500, a=500, b=502"


BOTH = """
[router]
attempts = 1
default_provider = "a"
[providers.a]
base_url = "{a}"
api_key = "ours"
[providers.b]
base_url = "{b}"
api_key = "ours-too"
[models.both]
targets = [{{ provider = "a", model = "x" }}, {{ provider = "b", model = "y" }}]
"""


def test_what_may_have_been_done_is_not_done_again_elsewhere(start_refrain, flaky, other):
    server = start_refrain(BOTH.format(a=flaky.url, b=other.url))
    draw = lambda: server.http.post("/v1/images/generations", json={"model": "both", "prompt": "a cat"})
    for failure, status in [((500, {}), 500), ("cut", 502)]:
        flaky.does(failure)
        other.does()
        assert draw().status_code == status and not other.times
    # What was refused wasn't done.
    flaky.does((429, {}))
    assert draw().headers["x-refrain-provider"] == "b"


def test_a_refused_key_of_ours_is_not_the_callers_fault(start_refrain, flaky, other):
    server = start_refrain(BOTH.format(a=flaky.url, b=other.url))
    for status in (401, 403):
        flaky.does((status, {}))
        reply = post(server, "Hi", "both")
        assert reply.status_code == 200 and reply.headers["x-refrain-tried"] == f"a={status}"
    flaky.does((401, {}))
    reply = post(server, "Hi", "a/x")
    assert (reply.status_code, reply.json()["error"]["message"]) == (401, "status 401")


def test_a_failure_is_told_rather_than_who_could_not_be_asked(start_refrain, flaky, other):
    settings = BOTH.format(a=flaky.url, b=other.url).replace(f'base_url = "{other.url}"', 'kind = "bedrock"\nregion = "r"')
    server = start_refrain(settings)
    flaky.does((503, {}))
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/cat.png"}}
    reply = post(server, "Hi", "both", body={"messages": [{"role": "user", "content": [image]}]})
    assert (reply.status_code, reply.json()["error"]["message"]) == (503, "status 503")
    assert reply.headers["x-refrain-tried"] == "b=unsuited" and reply.headers["x-refrain-provider"] == "a"


def test_headers_that_choose_a_model_choose_the_answer_too(start_refrain, flaky, other, names):
    pro = '{ provider = "a", model = "x", when = { headers = { x-tier = "pro" } } }'
    settings = BOTH.format(a=flaky.url, b=other.url).replace('{ provider = "a", model = "x" }', pro)
    server = start_refrain(settings)
    flaky.does({"says": "A long answer."})
    other.does({"says": "A short one."})
    for tier, says in [("pro", "A long answer."), ("free", "A short one.")]:
        for status in ("Miss", "Hit"):
            reply = post(server, "What is it?", "both", cache=names(), headers={"x-tier": tier})
            assert (reply.headers["x-cache-status"], reply.json()["choices"][0]["message"]["content"]) == (status, says)


def test_a_limit_is_kept_for_as_long_as_the_provider_says(start_refrain, flaky, other):
    server = start_refrain(f"""
[providers.a]
base_url = "{flaky.url}"
[providers.b]
base_url = "{other.url}"
[models.both]
targets = [{{ provider = "a", model = "x" }}, {{ provider = "b", model = "y" }}]
[models.one]
targets = [{{ provider = "a", model = "x" }}]
[models.soon]
targets = [{{ provider = "a", model = "z" }}]
""")
    flaky.does((429, {"retry-after-ms": "300"}))
    reply = post(server, "Hi", "soon")
    assert reply.status_code == 200 and flaky.times[1] - flaky.times[0] >= 0.3
    flaky.does((429, {"retry-after": "60"}))
    for _ in range(3):
        assert post(server, "Hi", "both").headers["x-refrain-provider"] == "b"
    assert len(flaky.times) == 1
    # Where there is nobody else, the caller is told at once.
    reply = post(server, "Hi", "one")
    assert reply.status_code == 429 and 50 < int(reply.headers["retry-after"]) <= 60 and len(flaky.times) == 1
    assert "try again in" in reply.json()["error"]["message"]


def test_another_key_is_taken_while_one_is_limited(start_refrain, flaky):
    server = start_refrain(f'[providers.a]\nbase_url = "{flaky.url}"\napi_keys = ["one", "two"]\n')
    flaky.does((429, {"retry-after": "60"}))
    assert post(server, "Hi").status_code == 200
    first, second = (seen["authorization"] for seen in flaky.seen)
    assert {first, second} == {"Bearer one", "Bearer two"}
    for _ in range(5):
        post(server, "Hi")
    assert {seen["authorization"] for seen in flaky.seen[1:]} == {second}


def test_a_broken_target_is_left_alone_and_tried_again(start_refrain, flaky, other):
    server = start_refrain(f"""
[router]
attempts = 1
failures = 3
recovery = "1s"
[providers.a]
base_url = "{flaky.url}"
[providers.b]
base_url = "{other.url}"
[models.both]
targets = [{{ provider = "a", model = "x" }}, {{ provider = "b", model = "y" }}]
""")
    flaky.does(*[(500, {})] * 3)
    for _ in range(6):
        assert post(server, "Hi", "both").headers["x-refrain-provider"] == "b"
    assert len(flaky.times) == 3
    deadline = time.monotonic() + 10
    while post(server, "Hi", "both").headers["x-refrain-provider"] == "b":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert flaky.times[3] - flaky.times[2] >= 1 and len(flaky.times) == 4


def test_a_slow_first_byte_hands_over(start_refrain, flaky, other):
    server = start_refrain(f"""
[router]
attempts = 1
[providers.a]
base_url = "{flaky.url}"
first_byte_timeout = "300ms"
[providers.b]
base_url = "{other.url}"
[models.both]
targets = [{{ provider = "a", model = "x" }}, {{ provider = "b", model = "y" }}]
""")
    flaky.does("stall")
    reply = post(server, "Hi", "both")
    assert reply.headers["x-refrain-provider"] == "b" and reply.headers["x-refrain-tried"] == "a=timeout"
    flaky.gate.set()


def test_a_silent_stream_ends_with_an_error(start_refrain, flaky):
    server = start_refrain(f'[providers.a]\nbase_url = "{flaky.url}"\nread_timeout = "300ms"\n')
    flaky.does("slow stream")
    reply = post(server, "Hi", body={"stream": True})
    assert "One " in reply.text and "went silent" in reply.text and "[DONE]" not in reply.text
    flaky.gate.set()


@pytest.fixture
def shared(start_refrain, flaky):
    return start_refrain(f'[router]\nattempts = 1\n[providers.a]\nbase_url = "{flaky.url}"\n[prices.m]\ninput = 1.0\noutput = 2.0\n')


def test_equal_requests_share_one_call(shared, flaky, names):
    flaky.does("stall")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = [pool.submit(post, shared, "What is shared?", cache=names()) for _ in range(12)]
        deadline = time.monotonic() + 10
        while not flaky.times:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.3)
        flaky.gate.set()
        replies = [reply.result() for reply in replies]
    assert len(flaky.times) == 1 and {reply.json()["choices"][0]["message"]["content"] for reply in replies} == {"Fine."}
    statuses = [reply.headers["cache-status"] for reply in replies]
    assert sum("collapsed" in status for status in statuses) + sum("hit" in status for status in statuses) == 11, statuses


def test_a_late_joiner_gets_what_has_passed_and_a_gone_leader_holds_nobody_up(shared, flaky, names):
    flaky.does("slow stream")
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "What streams?"}]}
    headers = {"x-refrain-cache": names()}
    with httpx.Client(base_url=shared.url, timeout=20) as leader, httpx.Client(base_url=shared.url, timeout=20) as follower:
        with follower.stream("POST", "/v1/chat/completions", json={**body, "messages": [{"role": "user", "content": "warm up"}]}, headers={"Cache-Control": "no-store"}) as warm:
            flaky.gate.set()
            warm.read()
        flaky.does("slow stream")
        with leader.stream("POST", "/v1/chat/completions", json=body, headers=headers) as first:
            lines = first.iter_lines()
            assert "One " in next(lines)
            with follower.stream("POST", "/v1/chat/completions", json=body, headers=headers) as second:
                late = second.iter_lines()
                assert "One " in next(late) and "collapsed" in second.headers["cache-status"]
                first.close()
                flaky.gate.set()
                rest = "\n".join(late)
    assert "two." in rest and "[DONE]" in rest and len(flaky.times) == 1
    again = shared.http.post("/v1/chat/completions", json=body, headers=headers)
    assert again.headers["x-cache-status"] == "Hit" and "two." in again.text


def test_a_failed_call_is_nobody_elses_failure(shared, flaky, names):
    flaky.does((400, {}), "ok", "ok")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        replies = [pool.submit(post, shared, "Who fails?", cache=names()) for _ in range(2)]
        statuses = sorted(reply.result().status_code for reply in replies)
    assert statuses == [200, 400]


def test_after_a_failed_call_all_who_waited_ask_at_once(shared, flaky, names):
    together = threading.Barrier(4)
    leads = threading.Barrier(2)
    flaky.does(leads, *[together] * 4)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        first = pool.submit(post, shared, "Who leads?", cache=names(), body={"seed": 1, "stream": False})
        deadline = time.monotonic() + 10
        while not flaky.times:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        others = [pool.submit(post, shared, "Who leads?", cache=names(), body={"seed": 1, "stream": False}) for _ in range(4)]
        # A lookup comes before it is known that a call is under way.
        while shared.http.get(f"/v1/caches/{names()}/stats").json()["total"]["lookups"] < 5:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        leads.abort()
        assert first.result().status_code == 502
        assert [other.result().status_code for other in others] == [200] * 4


def test_usage_cost_and_savings_are_told(shared, flaky, names):
    flaky.does()
    price = (1000 * 1.0 + 500 * 2.0) / 1e6
    first = post(shared, "What does it cost?", cache=names())
    assert float(first.headers["x-refrain-cost"]) == pytest.approx(price)
    hit = post(shared, "What does it cost?", cache=names())
    assert hit.headers["x-cache-status"] == "Hit" and float(hit.headers["x-refrain-saved"]) == pytest.approx(price)
    shared.restart()
    usage = shared.http.get("/v1/usage").json()
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    rows = {(row["model"], row["provider"]): row for row in usage["data"]}
    assert rows["m", "a"]["requests"] >= 1 and rows["m", "a"]["cost"] == pytest.approx(price * rows["m", "a"]["requests"])
    assert rows["m", "cache"]["hits"] >= 1 and rows["m", "cache"]["saved"] == pytest.approx(price * rows["m", "cache"]["hits"])
    by_day = shared.http.get("/v1/usage", params={"group_by": "day", "from": "2020-01-01"}).json()
    assert by_day["data"][-1]["day"] == today and by_day["total"] == usage["total"]
    for wrong in [{"group_by": "colour"}, {"from": "yesterday"}, {"form": "2020-01-01"}]:
        assert shared.http.get("/v1/usage", params=wrong).status_code == 400


def test_a_stream_that_tells_nothing_is_counted_by_what_is_seen(shared, flaky, names):
    flaky.does("slow stream")
    flaky.gate.set()
    assert "two." in post(shared, "Count to two", "untold", body={"stream": True}).text
    (row,) = [row for row in shared.http.get("/v1/usage").json()["data"] if row["model"] == "untold"]
    assert row["unmetered"] == 1 and row["output_tokens"] >= 3 and row["input_tokens"] > 5


def test_limits_of_keys_models_and_money(start_refrain, flaky):
    server = start_refrain(f"""
[providers.a]
base_url = "{flaky.url}"
[models.small]
targets = [{{ provider = "a", model = "m" }}]
requests_per_minute = 2
[models.big]
targets = [{{ provider = "a", model = "m" }}]
[prices.m]
input = 1.0
output = 2.0
[tenants.few]
api_keys = ["few-key"]
requests_per_minute = 3
[tenants.tokens]
api_keys = ["tokens-key"]
tokens_per_minute = 2000
[tenants.poor]
api_keys = ["poor-key"]
dollars_per_month = 0.003
[tenants.split]
api_keys = ["split-1", "split-2"]
key_dollars_per_month = 0.003
[tenants.rich]
api_keys = ["rich-key"]
""")

    def as_(key, model="big", **options):
        return post(server, "Hi", model, headers={"authorization": f"Bearer {key}"}, **options)

    assert [as_("few-key").status_code for _ in range(4)] == [200, 200, 200, 429]
    over = as_("few-key")
    assert "3 requests a minute" in over.json()["error"]["message"] and 0 < int(over.headers["retry-after"]) <= 21
    assert [as_("tokens-key").status_code for _ in range(3)] == [200, 200, 429]
    assert [as_("rich-key", "small").status_code for _ in range(3)] == [200, 200, 429]
    assert as_("rich-key").status_code == 200
    assert [as_("poor-key").status_code for _ in range(3)] == [200, 200, 429]
    assert "dollars" in as_("poor-key").json()["error"]["message"]
    for key in ("split-1", "split-2"):
        assert [as_(key).status_code for _ in range(3)] == [200, 200, 429]
    assert "this API key's budget of 0.003 dollars" in as_("split-2").json()["error"]["message"]
    # The same holds on every way to a provider.
    for path in ("/v1/responses", "/v1/embeddings", "/v1/chat/completions/"):
        for key, status in [("few-key", 429), ("poor-key", 429), ("rich-key", 200)]:
            reply = server.http.post(path, json={"model": "big", "input": "Hi"}, headers={"authorization": f"Bearer {key}"})
            assert reply.status_code == status, (path, key, reply.text)
    rows = server.http.get("/v1/usage", headers={"authorization": "Bearer rich-key"}).json()
    assert rows["total"]["requests"] >= 6 and rows["total"]["cost"] >= 6 * 0.002


def test_so_many_at_once_and_so_many_waiting(start_refrain, flaky):
    server = start_refrain(f'[providers.a]\nbase_url = "{flaky.url}"\nmax_concurrent = 1\nqueue = 1\n')
    flaky.does("stall")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(post, server, "one")
        deadline = time.monotonic() + 10
        while not flaky.times:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        others = [pool.submit(post, server, f"number {n}") for n in range(4)]
        done, waiting = concurrent.futures.wait(others, timeout=10, return_when=concurrent.futures.FIRST_COMPLETED)
        while len(done) < 3:
            more, waiting = concurrent.futures.wait(waiting, timeout=10, return_when=concurrent.futures.FIRST_COMPLETED)
            done |= more
        assert [reply.result().status_code for reply in done] == [429] * 3
        assert all("retry-after" in reply.result().headers for reply in done)
        flaky.gate.set()
        assert first.result().status_code == 200 and [reply.result().status_code for reply in waiting] == [200]


def test_parameters_are_given_bounded_and_forced_and_conditions_choose(start_refrain, flaky, other):
    server = start_refrain(f"""
[providers.a]
base_url = "{flaky.url}"
headers = {{ x-team = "blue" }}
defaults = {{ seed = 7 }}
[providers.b]
base_url = "{other.url}"
auth_header = "x-secret"
api_key = "b-key"
[models.tiered]
targets = [
  {{ provider = "b", model = "dear", when = {{ headers = {{ x-tier = "pro" }} }} }},
  {{ provider = "a", model = "cheap", defaults = {{ temperature = 0.5 }}, overrides = {{ user = "all" }}, clamp = {{ max_tokens = {{ max = 64 }} }} }},
]
""")
    post(server, "Hi", "tiered", body={"max_tokens": 4000, "user": "me"})
    assert {name: flaky.bodies[0][name] for name in ["model", "seed", "temperature", "user", "max_tokens"]} == {
        "model": "cheap", "seed": 7, "temperature": 0.5, "user": "all", "max_tokens": 64}
    assert flaky.seen[0]["x-team"] == "blue"
    post(server, "Hi", "tiered", headers={"x-tier": "pro"})
    assert other.bodies[0]["model"] == "dear" and other.seen[0]["x-secret"] == "b-key"
    assert "authorization" not in other.seen[0]


def test_changed_settings_count_at_once_and_wrong_ones_never(start_refrain, flaky, other):
    text = '[providers.{name}]\nbase_url = "{url}"\n'
    server = start_refrain(text.format(name="a", url=flaky.url))
    assert post(server, "Hi").headers["x-refrain-provider"] == "a"
    stop, failed, asked = threading.Event(), [], []

    def load():
        with httpx.Client(base_url=server.url, timeout=20) as http:
            while not stop.is_set():
                reply = http.post("/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": "Hi"}]}, headers={"Cache-Control": "no-cache, no-store"})
                asked.append(reply.headers.get("x-refrain-provider"))
                if reply.status_code != 200:
                    failed.append(reply.text)

    loads = [threading.Thread(target=load) for _ in range(4)]
    [thread.start() for thread in loads]
    try:
        server.settings.write_text(text.format(name="b", url=other.url))
        deadline = time.monotonic() + 10
        while asked[-4:].count("b") < 4:
            assert time.monotonic() < deadline, "the file is watched"
            time.sleep(0.02)
        server.settings.write_text("[providers.b]\nbase_url = 5\n")
        reply = server.http.post("/v1/reload")
        assert reply.status_code == 422 and "base_url" in reply.json()["error"]
        assert post(server, "Hi").headers["x-refrain-provider"] == "b"
        server.settings.write_text(text.format(name="c", url=flaky.url) + '[storage]\nmax_bytes = "1GiB"\n')
        told = server.http.post("/v1/reload").json()
        assert told == {"reloaded": True, "changed": told["changed"], "afterRestart": ["storage"]}
        assert post(server, "Hi").headers["x-refrain-provider"] == "c"
    finally:
        stop.set()
        [thread.join() for thread in loads]
    assert not failed and len(asked) > 20
    metrics = server.http.get("/metrics").text
    assert 'refrain_reloads_total{result="refused"}' in metrics and 'refrain_reloads_total{result="ok"}' in metrics


def test_a_line_for_each_request(start_refrain, flaky, tmp_path, names):
    log = tmp_path / "access.log"
    server = start_refrain(f'[access_log]\nto = "{log}"\n[router]\nattempts = 1\n[providers.a]\nbase_url = "{flaky.url}"\n')
    flaky.does("ok", (500, {}))
    post(server, "Hi", cache=names())
    post(server, "Hi", cache=names())
    post(server, "Hello there, who are you?")
    deadline = time.monotonic() + 10
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    miss, hit, failed = map(json.loads, log.read_text().splitlines())
    assert (miss["refrain.outcome"], hit["refrain.outcome"], failed["http.response.status_code"]) == ("miss", "exact_hit", 500)
    assert miss["gen_ai.provider.name"] == "a" and miss["gen_ai.usage.output_tokens"] == 500 and miss["gen_ai.request.model"] == "m"
    assert failed["error.type"] == "500" and "Hello" not in log.read_text()


def test_a_judge_is_asked_where_answers_are_neither_alike_nor_unlike(start_refrain, flaky, other, names):
    server = start_refrain(f"""
[caches.default]
policy = "budget"
[judge]
model = "wise/judge"
requests_per_day = 1
[providers.a]
base_url = "{flaky.url}"
[providers.wise]
base_url = "{other.url}"
[router]
default_provider = "a"
""")
    answers = [
        "You can change the delivery address of an order in the app until the parcel has been handed to the courier, under Orders.",
        "Only our support team changes the delivery address of an order: please call them before five in the afternoon, with the order number at hand.",
        "Addresses are changed by our support team only, so please call them before five in the afternoon and have your order number at hand.",
    ]
    flaky.does(*({"says": answer} for answer in answers))
    other.does({"says": "DIFFERENT"}, {"says": "SAME"})
    asked = ["How do I change the delivery address of my order?", "How can I change my order's delivery address?", "How could I change the delivery address of an order?"]
    cache, decisions = names(), []
    for text in asked:
        # Nothing is sure enough, so each goes to the provider, and its answer says whether what was near would have been right.
        reply = post(server, text, cache=cache, headers={"x-refrain-max-error-rate": "0"})
        assert reply.headers["x-cache-status"] == "Miss"
        decisions.append(reply.headers["x-refrain-decision"])
    deadline = time.monotonic() + 20
    while 'judgement="not_asked"' not in server.http.get("/metrics").text:
        assert time.monotonic() < deadline, server.http.get("/metrics").text
        time.sleep(0.05)
    assert len(other.bodies) == 1, "as often as it may be"
    shown = json.loads(other.bodies[0]["messages"][1]["content"])
    assert shown == {"question": asked[1], "answer 1": answers[1], "answer 2": answers[0]} and other.bodies[0]["model"] == "judge"
    told = server.http.get(f"/v1/caches/{cache}/decisions/{decisions[1]}").json()
    assert [(label["source"], label["right"]) for label in told["labels"]] == [("judge", False)]


def test_spans_of_requests_and_calls_reach_a_collector(start_refrain, flaky, names):
    import http.server

    documents = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            documents.append((self.path, self.headers.get("x-key"), json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    server = start_refrain(f"""
[providers.a]
base_url = "{flaky.url}"
[traces]
endpoint = "http://127.0.0.1:{collector.server_port}"
headers = {{ x-key = "k" }}
""")
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace}-{caller}-01"}
    flaky.does((500, {}), "ok")
    post(server, "Hi", cache=names(), headers=headers)
    post(server, "Hi", cache=names(), headers=headers)
    post(server, "Hello?")
    spans, deadline = [], time.monotonic() + 10
    while len(spans) < 5:
        assert time.monotonic() < deadline, spans
        time.sleep(0.05)
        spans = [span for _, _, document in list(documents) for span in document["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    assert {(path, key) for path, key, _ in documents} == {("/v1/traces", "k")}
    of = lambda span: {item["key"]: next(iter(item["value"].values())) for item in span["attributes"]}
    ours = [span for span in spans if span["traceId"] == trace]
    (call,) = [span for span in ours if span["kind"] == 3]
    miss, hit = sorted((span for span in ours if span["kind"] == 2), key=lambda span: span["startTimeUnixNano"])
    assert miss["parentSpanId"] == hit["parentSpanId"] == caller and call["parentSpanId"] == miss["spanId"]
    assert (of(miss)["refrain.outcome"], of(hit)["refrain.outcome"]) == ("miss", "exact_hit")
    assert of(call)["refrain.attempts"] == "2" and of(call)["gen_ai.usage.output_tokens"] == "500"
    assert flaky.seen[-2]["traceparent"] == f"00-{trace}-{call['spanId']}-01"
    other = [span for span in spans if span["traceId"] != trace]
    assert {span["kind"] for span in other} == {2, 3} and len({span["traceId"] for span in other}) == 1
    collector.shutdown()


def test_langchain_asks_like_anybody(dialects, names):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gemini", base_url=f"{dialects.url}/v1", api_key="unused", max_retries=0, default_headers={"x-refrain-cache": names()})
    assert model.invoke(QUESTION).content == ANSWER
    assert "".join(chunk.content for chunk in model.stream(QUESTION)) == ANSWER
    bound = model.bind_tools([TOOLS[0]])
    assert bound.invoke("What is the weather in Paris?").tool_calls[0]["args"] == {"city": "Paris"}


def test_clients_of_node_ask_like_anybody(dialects, names):
    import os
    import pathlib
    import subprocess

    script = pathlib.Path(__file__).parent / "node_clients.mjs"
    modules = os.environ.get("REFRAIN_NODE_MODULES", str(script.parent / "node_modules"))
    run = subprocess.run([os.environ.get("REFRAIN_NODE", "node"), script, dialects.url, names(), modules], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert set(told.values()) == {ANSWER} and len(told) == 6, told
