"""Whatever callers and providers send: a clear error in the caller's format or a forward, in bounded memory, and nothing stored."""

import http.client
import json
import random
import re
import socket
import threading

import pytest
from conftest import accept_request
from front_door import ASKS, CHAT_EVENTS, MESSAGE_EVENTS, QUESTION, RESPONSE_EVENTS, sse

MEBIBYTE = 1 << 20
DEPTH = 10_000
# An event that is larger than any that is looked into.
LONG = 100
STREAMS = {"/v1/chat/completions": CHAT_EVENTS, "/v1/responses": RESPONSE_EVENTS, "/v1/messages": MESSAGE_EVENTS}


def kibibytes(server, name):
    with open(f"/proc/{server.process.pid}/status") as status:
        return int(re.search(rf"{name}:\s+(\d+) kB", status.read())[1])


class Growth:
    """How many mebibytes more than before a server has at most held meanwhile."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        # The peak begins anew.
        with open(f"/proc/{self.server.process.pid}/clear_refs", "w") as references:
            references.write("5")
        self.before = kibibytes(self.server, "VmRSS")
        return self

    def __exit__(self, *_):
        self.mebibytes = (kibibytes(self.server, "VmHWM") - self.before) / 1024


class Streaming:
    """Answers each request with pieces that are made as they are sent."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.pieces = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            connection, _, _ = accept_request(self.listener)
            threading.Thread(target=self._answer, args=(connection, self.pieces), daemon=True).start()

    @staticmethod
    def _answer(connection, pieces):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        try:
            connection.sendall(head)
            for piece in pieces():
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # Refrain has had enough.
        finally:
            connection.close()


@pytest.fixture(scope="module")
def streaming():
    return Streaming()


@pytest.fixture(scope="module")
def endless(start_refrain, streaming):
    """In front of it, as a provider of three APIs: what passes through and what is converted."""
    return start_refrain(f"""
[router]
attempts = 1
default_provider = "openai"
[providers.openai]
base_url = "{streaming.url}/v1"
api_key = "k"
[providers.anthropic]
kind = "anthropic"
base_url = "{streaming.url}/v1"
api_key = "k"
[providers.gemini]
kind = "gemini"
base_url = "{streaming.url}/v1"
api_key = "k"
[models.claude]
targets = [{{ provider = "anthropic", model = "claude-model" }}]
[models.gemini]
targets = [{{ provider = "gemini", model = "gemini-model" }}]
[models.gpt]
targets = [{{ provider = "openai", model = "gpt-model" }}]
""")


def long_event(begin, events, end):
    """Some events, and one of 100 MiB that goes on to be one, in pieces."""

    def pieces():
        yield sse(*events[:2])
        yield begin
        for _ in range(LONG):
            yield b"x" * MEBIBYTE
        yield end
        yield sse(*events[2:], end=b"data: [DONE]\n\n" if events is CHAT_EVENTS else b"")

    return pieces


BEGIN, END = b'data: {"x_padding": "', b'"}\n\n'


def read(server, path, body, headers):
    """The status and what the reply ends with; a reply of a hundred mebibytes isn't kept here either."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
    reply = connection.getresponse()
    length, first, last = 0, b"", b""
    while piece := reply.read(MEBIBYTE):
        length, first, last = length + len(piece), first or piece, (last + piece)[-5000:]
    connection.close()
    return reply, length, first, last


@pytest.mark.parametrize("path", ASKS)
def test_an_event_of_100_mebibytes_passes_through_and_is_not_kept(endless, streaming, names, path):
    body = {**ASKS[path](stream=True), "model": "claude" if path == "/v1/messages" else "gpt"}
    streaming.pieces = long_event(BEGIN, STREAMS[path], END)
    expected = sum(len(piece) for piece in streaming.pieces())
    for _ in range(2):
        with Growth(endless) as growth:
            reply, length, first, _ = read(endless, path, body, {"x-refrain-cache": names()})
        assert reply.status == 200 and length == expected and first.startswith(sse(STREAMS[path][0])[:50])
        assert reply.headers["x-cache-status"] == "Miss"
        assert growth.mebibytes < 40, growth.mebibytes


CONVERTED = {
    ("/v1/messages", "gpt"): CHAT_EVENTS,
    ("/v1/responses", "claude"): MESSAGE_EVENTS,
    ("/v1/chat/completions", "claude"): MESSAGE_EVENTS,
    ("/v1/chat/completions", "gemini"): [{"candidates": [{"content": {"role": "model", "parts": [{"text": "Par"}]}}]}] * 2,
}


@pytest.mark.parametrize("path, model", CONVERTED)
def test_an_event_of_100_mebibytes_is_not_converted(endless, streaming, names, path, model):
    body = {**ASKS[path](stream=True), "model": model}
    streaming.pieces = long_event(BEGIN, CONVERTED[path, model], END)
    with Growth(endless) as growth:
        reply, _, _, last = read(endless, path, body, {"x-refrain-cache": names()})
    assert growth.mebibytes < 40, growth.mebibytes
    # What has begun ends with an error in the caller's format.
    events = [json.loads(line[6:]) for line in last.decode().splitlines() if line.startswith("data: {")]
    assert reply.status == 200 and "longer than" in json.dumps(events[-1]), last
    assert events[-1].get("type") in {"/v1/messages": ["error"], "/v1/responses": ["error", "response.failed"]}.get(path, [None])
    streaming.pieces = lambda: [sse(*CONVERTED[path, model][:1])]
    reply, _, _, _ = read(endless, path, body, {"x-refrain-cache": names()})
    assert reply.headers["x-cache-status"] == "Miss"


def test_a_stream_that_begins_with_such_an_event_is_a_clear_error(endless, streaming, names):
    for path, model in CONVERTED:
        streaming.pieces = long_event(BEGIN, [], END)
        body = {**ASKS[path](stream=True), "model": model}
        with Growth(endless) as growth:
            reply, length, _, last = read(endless, path, body, {"x-refrain-cache": names()})
        assert growth.mebibytes < 40, growth.mebibytes
        assert reply.status == 502 and length < 5000 and json.loads(last)["error"]["message"], last


# Bodies.


def nested(opening, closing, inner=""):
    return opening * DEPTH + inner + closing * DEPTH


DEEP = {
    "lists": nested("[", "]"),
    "objects": nested('{"a":', "}", "1"),
    "unclosed-lists": "[" * DEPTH,
    "unclosed-objects": '{"a":' * DEPTH,
}


def deep_bodies(path):
    """A deep value in the place of each member, and as an unknown one."""
    for how, deep in DEEP.items():
        yield deep
        for member in [*ASKS[path](), "x_unknown", "tools", "metadata", "cache", "response_format", "temperature"]:
            body = json.dumps({**ASKS[path](), member: "@"})
            yield body.replace('"@"', deep)


def is_clear(path, reply):
    """An error in the format of its path, or an answer."""
    if reply.status_code == 200:
        return True
    error = reply.json()["error"]
    in_format = reply.json().get("type") == "error" if path == "/v1/messages" else "code" in error
    return 400 <= reply.status_code < 500 and in_format and isinstance(error["message"], str) and len(error["message"]) < 1000


def entries(door, cache):
    listed = door.http.get(f"/v1/caches/{cache}/entries")
    return listed.json()["data"] if listed.status_code == 200 else []


@pytest.mark.parametrize("path", ASKS)
def test_depth_is_a_clear_error_or_forwarded(door, provider, post, names, path):
    with Growth(door) as growth:
        for body in deep_bodies(path):
            reply = post(path, body.encode())
            assert is_clear(path, reply), (body[:200], reply.status_code, reply.text[:300])
            if reply.status_code == 200:
                # Untouched, but for what is said to us and the model that it becomes.
                assert re.search(rb'[\[{a":]{1000}', provider.seen[-1].body)
                assert reply.headers["x-cache-status"] == "Bypass", reply.headers
    assert growth.mebibytes < 40 and entries(door, names()) == []


@pytest.mark.parametrize("path", ASKS)
def test_replies_as_deep_pass_and_are_not_kept(door, provider, post, names, path):
    for how in ["lists", "objects"]:
        deep = b'{"x": ' + DEEP[how].encode() + b"}"
        for kind, body in [("application/json", deep), ("text/event-stream", b"data: " + deep + b"\n\n")]:
            provider.replies.append((200, kind, body))
            reply = post(path, ASKS[path](stream=kind != "application/json"))
            assert reply.status_code in (200, 502) and (reply.status_code == 502 or reply.content.startswith(body)), reply.text[:300]
    assert entries(door, names()) == []


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("seed", range(5))
def test_any_bytes_are_a_clear_error_or_forwarded(door, provider, post, names, path, seed):
    some = random.Random(f"{path} {seed}")
    good = json.dumps(ASKS[path](temperature=0.5, stop=["a"])).encode()
    for _ in range(100):
        body = bytearray(good)
        for _ in range(some.randrange(1, 5)):
            at = some.randrange(len(body))
            body[at : at + some.randrange(3)] = some.choice([some.randbytes(3), b"", b"\xff", b"\\ud83d", b"{", b'"', b"null", b"1e999", b"\x00"])
        for sent in [bytes(body), some.randbytes(some.randrange(200)), good[: some.randrange(len(good))]]:
            reply = post(path, sent)
            # What may be JSON to somebody else is the provider's to judge.
            assert is_clear(path, reply), (sent, reply.status_code, reply.text)


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("kind", ["", "text/plain", "application/octet-stream", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "\xff/\xfe", "application/x-www-form-urlencoded"])
def test_a_wrong_content_type_is_no_other_request(door, provider, post, names, path, kind):
    asked = ASKS[path](f"What is sent as {names()}?")
    first = post(path, asked, content_type=kind.encode("latin-1"))
    assert is_clear(path, first)
    for body in [b"", b"--x\r\n\r\n--x--", b"a=b", json.dumps(asked).encode("utf-16")]:
        assert is_clear(path, post(path, body, content_type=kind.encode("latin-1"))), body


@pytest.mark.parametrize("path", ASKS)
def test_half_a_character_is_forwarded_as_it_is_and_not_kept(door, provider, post, names, path):
    text = json.dumps(ASKS[path]("@")).encode()
    for half in [b"\\ud83d", b"\\udc00", b"a\\ud83dz\\udc00"]:
        sent = text.replace(b"@", half)
        for _ in range(2):
            reply = post(path, sent)
            assert reply.status_code == 200 and reply.headers["x-cache-status"] == "Bypass"
            assert half in provider.seen[-1].body
    assert entries(door, names()) == []


SCHEMAS = {
    "references": {"$ref": "#/d0", **{f"d{n}": {"$ref": f"#/d{n + 1}"} for n in range(30_000)}, "d30000": {}},
    "doubled": {"$ref": "#/$defs/d0", "$defs": {**{f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}, "d60": {"type": "string"}}},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_that_is_too_expensive_holds_nobody_up(door, provider, post, name):
    message = {"role": "assistant", "content": '{"a": 1}'}
    provider.replies.append((200, "application/json", {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMAS[name]}}
    reply = post("/v1/chat/completions", ASKS["/v1/chat/completions"](response_format=schema))
    assert reply.status_code == 200 and reply.json()["choices"][0]["message"] == message
    assert post("/v1/chat/completions", ASKS["/v1/chat/completions"](QUESTION)).status_code == 200


@pytest.mark.parametrize("path", ASKS)
def test_a_body_of_many_small_values_takes_bounded_memory(endless, streaming, names, path):
    streaming.pieces = lambda: [b""]
    body = json.dumps({**ASKS[path](), "model": "claude" if path == "/v1/messages" else "gpt", "x_unknown": "@"})
    body = body.replace('"@"', "[" + "[]," * (8 * MEBIBYTE) + "[]]").encode()
    with Growth(endless) as growth:
        endless.http.post(path, content=body, headers={"content-type": "application/json", "x-refrain-cache": names()})
    assert growth.mebibytes < 200, growth.mebibytes
