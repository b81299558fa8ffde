"""What comes through the front door: paths, bodies, encodings and headers as real clients and providers send them."""

import gzip
import http.client
import http.server
import itertools
import json
import socket
import threading
import types

import openai
import pytest
from test_router import flaky  # noqa: F401 (a fixture)

QUESTION = "What is the capital of France?"
TEXT = "The capital of France is Paris."
COMPLETION = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21},
}
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 14, "output_tokens": 7},
}
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "error": None,
    "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}]}],
    "usage": {"input_tokens": 14, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 7,
              "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 21},
}


def chat_chunk(delta, finish=None, **more):
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def sse(*events, end=b""):
    """Events that are objects, with their `type` as the event's name where they have one."""
    name = lambda event: f"event: {event['type']}\n" if "type" in event else ""
    return b"".join(f"{name(event)}data: {json.dumps(event)}\n\n".encode() for event in events) + end


DONE = b"data: [DONE]\n\n"
CHAT_EVENTS = [chat_chunk({"role": "assistant", "content": ""}), chat_chunk({"content": TEXT}), chat_chunk({}, "stop")]
CHAT_STREAM = sse(*CHAT_EVENTS, end=DONE)


class Provider:
    """Answers every request as its path asks for, unless `replies` says something else, and remembers what it was sent."""

    def __init__(self):
        provider = self
        self.seen, self.replies, self.compresses = [], [], False
        self.count = itertools.count()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.body()
                provider.seen.append(types.SimpleNamespace(method=self.command, path=self.path, headers=self.headers, body=body))
                status, kind, reply = provider.replies.pop(0) if provider.replies else provider.usual(self.path, body)
                reply = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                compressed = provider.compresses and "gzip" in self.headers.get("accept-encoding", "")
                reply = gzip.compress(reply) if compressed else reply
                self.send_response(status)
                for name, value in [("content-type", kind), ("content-encoding", "gzip" if compressed else None), ("content-length", str(len(reply)))]:
                    if value is not None:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST = do_DELETE = answer

            def body(self):
                if "chunked" not in self.headers.get("transfer-encoding", ""):
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                body = b""
                while size := int(self.rfile.readline() or b"0", 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a request that breaks off
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def usual(self, path, body):
        """An answer that no other request gets: to a chat in its API's shape, else what path it came by."""
        number = f"{next(self.count)}"
        if "/chat/completions" in path and b'"stream": true' in body:
            return 200, "text/event-stream", CHAT_STREAM
        for part, reply in [("/chat/completions", COMPLETION), ("/messages", MESSAGE), ("/responses", RESPONSE)]:
            if part in path and body:
                return 200, "application/json", {**reply, "id": reply["id"] + number}
        return 200, "application/json", {"path": path, "number": number}


@pytest.fixture(scope="session")
def session_provider():
    provider = Provider()
    yield provider
    provider.server.shutdown()


@pytest.fixture
def provider(session_provider):
    session_provider.seen.clear()
    session_provider.replies.clear()
    session_provider.compresses = False
    return session_provider


@pytest.fixture(scope="session")
def door(start_refrain, session_provider):
    """In front of one provider that speaks both OpenAI's and, as `claude`, Anthropic's API. Nothing is tried twice."""
    return start_refrain(f"""
[server]
max_body = "1MiB"
[router]
attempts = 1
default_provider = "openai"
[providers.openai]
base_url = "{session_provider.url}/v1"
api_key = "the-key"
[providers.anthropic]
kind = "anthropic"
base_url = "{session_provider.url}/v1"
api_key = "the-key"
[models.claude]
targets = [{{ provider = "anthropic", model = "claude-model" }}]
[models."team/alias"]
targets = [{{ provider = "openai", model = "m" }}]
""")


@pytest.fixture
def post(door, names):
    """Posts JSON, or bytes as they are, to a cache of the test's own."""

    def post(path, body, **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", "x-refrain-cache": names(), **{name.replace("_", "-"): value for name, value in headers.items()}}
        return door.http.post(f"{door.url}{path}", content=content, headers=headers)

    return post


def chat(text=QUESTION, **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def message(text=QUESTION, **more):
    return {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def response(text=QUESTION, **more):
    return {"model": "m", "input": text, **more}


def status_of(reply):
    assert reply.status_code == 200, reply.text
    return reply.headers["x-cache-status"]


# Streams that pass.


def with_numbers(*events):
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


ITEM = RESPONSE["output"][0]
RESPONSE_EVENTS = with_numbers(
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None}},
    {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "status": "in_progress", "content": []}},
    {"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {**ITEM["content"][0], "text": ""}},
    {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": TEXT, "logprobs": []},
    {"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": TEXT, "logprobs": []},
    {"type": "response.content_part.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": ITEM["content"][0]},
    {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
    {"type": "response.completed", "response": RESPONSE},
)
FAILED = {"type": "response.failed", "sequence_number": 7, "response": {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "no"}}}
INCOMPLETE = {"type": "response.incomplete", "sequence_number": 7, "response": {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}}
IMAGES = [{"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "iVBO" * 3000}, {"type": "image_generation.completed", "b64_json": "iVBO" * 3000}]
SPEECH = [{"type": "speech.audio.delta", "audio": "UklG" * 2000}, {"type": "speech.audio.done", "usage": {"total_tokens": 9}}]
TRANSCRIPT = [{"type": "transcript.text.delta", "delta": "Hello"}, {"type": "transcript.text.done", "text": "Hello"}]
STREAMS = {
    "responses": ("/v1/responses", sse(*RESPONSE_EVENTS)),
    "responses-and-mark": ("/v1/responses", sse(*RESPONSE_EVENTS, end=DONE)),
    "responses-failed": ("/v1/responses", sse(*RESPONSE_EVENTS[:7], FAILED)),
    "responses-incomplete": ("/v1/responses", sse(*RESPONSE_EVENTS[:7], INCOMPLETE)),
    "responses-error": ("/v1/responses", sse(RESPONSE_EVENTS[0], {"type": "error", "code": "server_error", "message": "no", "param": None, "sequence_number": 1})),
    "responses-of-another-kind": ("/v1/responses", sse(*RESPONSE_EVENTS[:7], {"type": "response.something_new", "sequence_number": 7})),
    "responses-unfinished-line": ("/v1/responses", sse(*RESPONSE_EVENTS)[:-1]),
    "responses-and-more": ("/v1/responses", sse(*RESPONSE_EVENTS, end=b": bye\n\n")),
    "images": ("/v1/images/generations", sse(*IMAGES)),
    "images-unended": ("/v1/images/generations", sse(*IMAGES[:1])),
    "speech": ("/v1/audio/speech", sse(*SPEECH)),
    "speech-unended": ("/v1/audio/speech", sse(*SPEECH[:1])),
    "transcript": ("/v1/audio/transcriptions", sse(*TRANSCRIPT)),
    "comments": ("/v1/threads/t/runs", b": hello\n\n: still here\n\n"),
    "nothing": ("/v1/threads/t/runs", b""),
    "carriage-returns": ("/v1/threads/t/runs", sse(*TRANSCRIPT).replace(b"\n", b"\r\n")),
    "something-with-error": ("/v1/threads/t/runs", sse({"type": "thread.run.step.failed", "error": {"message": "no"}}, {"type": "thread.done"})),
}
ASKED = {"model": "m", "input": QUESTION, "prompt": "a cat", "voice": "alloy", "stream": True}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_stream_that_is_no_chat_is_what_the_provider_sent(raw_server, raw, names, name, framing):
    path, stream = STREAMS[name]
    # In pieces that end anywhere.
    pieces = [stream[n : n + 700] for n in range(0, len(stream), 700)]
    raw.reply(kind="text/event-stream; charset=utf-8", body=pieces if framing == "chunked" else stream, chunked=framing == "chunked")
    reply = raw_server.http.post(path, json=ASKED, headers={"x-refrain-cache": names()})
    assert reply.status_code == 200 and reply.content == stream


@pytest.mark.parametrize("name", ["images", "speech", "comments"])
def test_a_stream_that_is_no_chat_and_breaks_off_does_so_for_the_client(raw_server, raw, name):
    path, stream = STREAMS[name]
    for _ in range(5):
        raw.reply(kind="text/event-stream", body=stream, chunked=True, cut=True)
        connection = http.client.HTTPConnection(raw_server.url.removeprefix("http://"), timeout=20)
        connection.request("POST", path, json.dumps(ASKED), {"content-type": "application/json"})
        with pytest.raises(http.client.IncompleteRead) as broken:
            connection.getresponse().read()
        assert broken.value.partial == stream


LONG = "All work and no play makes Jack a dull boy. " * 250
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
LONG_ENDS = {
    "text-with-its-end": [chat_chunk({"role": "assistant", "content": "So: "}), chat_chunk({"content": LONG}, "stop")],
    "end-and-members": [chat_chunk({"role": "assistant", "content": "So."}), chat_chunk({}, "stop", x_trace="t" * 5000)],
    "usage": [*CHAT_EVENTS, {**chat_chunk({}), "choices": [], "usage": {**USAGE, "x_details": {"text": "u" * 8200}}}],
    "end-and-usage": [chat_chunk({"content": "So."}), chat_chunk({}, "stop", x="t" * 5000), {**chat_chunk({}), "choices": [], "usage": {**USAGE, "x": "u" * 70_000}}],
}


@pytest.mark.parametrize("name", LONG_ENDS)
def test_a_chat_stream_without_a_mark_is_whole_however_long_its_end(raw_server, raw, names, name):
    stream = sse(*LONG_ENDS[name])
    ask = lambda: raw_server.http.post("/v1/chat/completions", json=chat(stream=True), headers={"x-refrain-cache": names()})
    raw.reply(kind="text/event-stream", body=[stream[n : n + 900] for n in range(0, len(stream), 900)], chunked=True)
    miss = ask()
    assert miss.headers["x-cache-status"] == "Miss" and miss.content == stream
    raw.reply(kind="text/event-stream", body=stream)
    assert ask().headers["x-cache-status"] == "Hit"


MESSAGE_EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]


@pytest.fixture(scope="session")
def raw_claude(start_refrain, raw_provider):
    """As `raw_server`, with a model `claude` of Anthropic's kind."""
    providers = "".join(f'[providers.{kind}]\nkind = "{kind}"\nbase_url = "{raw_provider.url}/v1"\napi_key = "k"\n' for kind in ("openai", "anthropic"))
    return start_refrain(f'[router]\nattempts = 1\ndefault_provider = "openai"\n{providers}[models.claude]\ntargets = [{{ provider = "anthropic", model = "x" }}]\n')


@pytest.mark.parametrize("path, model, stream, mark", [
    ("/v1/chat/completions", "m", CHAT_STREAM, DONE), ("/v1/chat/completions", "claude", sse(*MESSAGE_EVENTS), DONE),
    ("/v1/messages", "claude", sse(*MESSAGE_EVENTS), b"message_stop"), ("/v1/messages", "m", CHAT_STREAM, b"message_stop"),
    ("/v1/responses", "m", sse(*RESPONSE_EVENTS), b"response.completed"),
], ids=["chat", "chat-of-claude", "messages", "messages-of-openai", "responses"])
def test_a_stream_is_stored_at_its_end_though_its_reader_leaves_there(raw_claude, raw, names, path, model, stream, mark):
    """It closes its connection at the last event, before the provider has closed its own."""
    body = {**ASKS[path](model=model), "stream": True}
    for n in range(20):
        raw.reply(kind="text/event-stream", body=stream, chunked=True, cut=True, left_open=True)
        connection = http.client.HTTPConnection(raw_claude.url.removeprefix("http://"), timeout=20)
        connection.request("POST", path, json.dumps(body), {"x-refrain-cache": names(str(n)), "content-type": "application/json"})
        reply, seen = connection.getresponse(), b""
        while not (mark in seen and seen.endswith(b"\n\n")):
            seen += reply.read1()
        connection.close()
        raw.reply(kind="text/event-stream", body=stream)  # for who asks all the same
        again = raw_claude.http.post(path, json=body, headers={"x-refrain-cache": names(str(n))})
        raw.replies.queue.clear()
        assert again.headers.get("x-cache-status") == "Hit"


@pytest.mark.parametrize("path, model, events, mark", [
    ("/v1/chat/completions", "m", [*CHAT_EVENTS, None], b'"stop"'), ("/v1/messages", "claude", MESSAGE_EVENTS, b'"end_turn"'),
], ids=["chat", "messages"])
def test_an_answer_is_stored_though_its_reader_leaves_once_it_knows_why_it_ended(start_refrain, names, path, model, events, mark):
    """As litellm does with Claude: it goes at `message_delta`, and the `message_stop` is still on its way."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        providers = "".join(f'[providers.{kind}]\nkind = "{kind}"\nbase_url = "{url}"\napi_key = "k"\n' for kind in ("openai", "anthropic"))
        server = start_refrain(f'[router]\nattempts = 1\ndefault_provider = "openai"\n{providers}[models.claude]\ntargets = [{{ provider = "anthropic", model = "x" }}]\n')
        listener.settimeout(10)
        body = json.dumps({**ASKS[path](model=model), "stream": True})
        headers = {"x-refrain-cache": names(), "content-type": "application/json"}
        reader = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
        reader.request("POST", path, body, headers)
        provider, _ = listener.accept()
        stream = [sse(event) if event else DONE for event in events]
        provider.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + b"".join(stream[:-1]))
        reply, seen = reader.getresponse(), b""
        while mark not in seen:
            seen += reply.read1()
        reply.close(), reader.close()
        # A call that is given up is closed at once.
        provider.settimeout(1)
        with pytest.raises(TimeoutError):
            while provider.recv(65536):
                pass
            pytest.fail("the call was given up")
        provider.sendall(stream[-1])
        provider.close()
        again = server.http.post(path, content=body, headers=headers)
        assert TEXT in again.text and ("hit" in again.headers["cache-status"] or "collapsed" in again.headers["cache-status"])


# Encodings and types that a provider chooses.


@pytest.mark.parametrize("path, plain", [
    ("/v1/chat/completions", CHAT_STREAM), ("/v1/chat/completions", sse(*CHAT_EVENTS[:2])), STREAMS["responses"], STREAMS["images-unended"],
], ids=["chat", "chat-unended", "responses", "images"])
def test_what_a_provider_compresses_unasked_arrives_whole(raw_server, raw, names, path, plain):
    """As it is, or decoded; nothing is ever written behind a compressed end."""
    raw.reply(kind="text/event-stream", body=gzip.compress(plain), chunked=True, headers="Content-Encoding: gzip\r\n")
    headers = {"x-refrain-cache": names(), "accept-encoding": "identity"}
    with raw_server.http.stream("POST", path, json={**ASKED, **chat(stream=True)}, headers=headers) as reply:
        sent = b"".join(reply.iter_raw())
    decoded = gzip.decompress(sent) if reply.headers.get("content-encoding") == "gzip" else sent
    # Decoded, a chat may be told that it broke off, as every other one.
    assert decoded == plain or (path.endswith("completions") and b"[DONE]" not in plain and decoded.startswith(plain) and sent == decoded)


@pytest.mark.parametrize("path, body, whole", [("/v1/chat/completions", chat(), "choices"), ("/v1/messages", message(model="m"), "content"), ("/v1/messages", message(), "content")], ids=["chat", "converted", "claude"])
def test_a_provider_that_compresses_when_asked_is_cached_all_the_same(post, provider, path, body, whole):
    provider.compresses = True
    replies = [post(path, body, accept_encoding="gzip, br") for _ in range(2)]
    assert [status_of(reply) for reply in replies] == ["Miss", "Hit"]
    assert all(TEXT in reply.text and whole in reply.json() for reply in replies) and len(provider.seen) == 1


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8", "application/octet-stream", None, "application/x-ndjson"])
def test_a_stream_is_a_stream_whatever_its_label(post, provider, kind):
    provider.replies += [(200, kind, CHAT_STREAM)] * 2
    miss = post("/v1/chat/completions", chat(stream=True))
    assert miss.content == CHAT_STREAM and status_of(miss) == "Miss" and len(provider.seen) == 1
    assert status_of(post("/v1/chat/completions", chat(stream=True))) == "Hit"


def test_a_mislabelled_stream_arrives_piece_by_piece(start_refrain):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = start_refrain(f'[providers.a]\nbase_url = "http://127.0.0.1:{listener.getsockname()[1]}/v1"\n')
        body = json.dumps(chat(stream=True)).encode()
        with socket.create_connection(server.url.removeprefix("http://").split(":")) as client:
            client.settimeout(10), listener.settimeout(10)
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            connection, _ = listener.accept()
            head, *rest = [sse(event) for event in CHAT_EVENTS]
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n" + head)
            seen = b""
            while head not in seen:
                seen += client.recv(65536)
            connection.sendall(b"".join(rest) + DONE)
            connection.close()
            while DONE not in seen:
                seen += client.recv(65536)


# Uploads.


def test_an_upload_keeps_its_length_and_its_bytes(door, provider):
    data = bytes(range(256)) * 2000
    reply = door.http.post("/v1/files", files={"file": ("a.bin", data)}, data={"purpose": "batch"})
    assert reply.status_code == 200, reply.text
    [seen] = provider.seen
    assert int(seen.headers["content-length"]) == len(seen.body) and "transfer-encoding" not in seen.headers
    assert data in seen.body and seen.headers["content-type"].startswith("multipart/form-data; boundary=")


def test_an_upload_of_unknown_length_arrives_too(door, provider):
    pieces = [b"x" * 1000] * 100
    reply = door.http.post("/v1/files", content=iter(pieces), headers={"content-type": "application/octet-stream"})
    assert reply.status_code == 200 and provider.seen[0].body == b"".join(pieces)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_that_is_too_large_is_told_so(door, provider, framing):
    data = b"x" * 3_000_000
    content = data if framing == "length" else iter([data[:1_000_000]] * 3)
    reply = door.http.post("/v1/files", content=content, headers={"content-type": "application/octet-stream"})
    assert reply.status_code == 413 and "1.0 MiB" in reply.json()["error"]["message"]
    assert all(len(seen.body) < len(data) for seen in provider.seen)


def test_an_upload_that_stalls_is_cut_off(start_refrain, provider):
    server = start_refrain(f'[server]\nread_timeout = "1s"\n[providers.a]\nbase_url = "{provider.url}/v1"\n')
    with socket.create_connection(server.url.removeprefix("http://").split(":")) as client:
        client.settimeout(15)
        client.sendall(b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\nx")
        assert b"408" in client.recv(4096)


@pytest.mark.parametrize("path, kind", [("/v1/chat/completions", "application/json"), ("/v1/files", "text/plain")])
def test_expect_is_answered_here_and_goes_no_further(door, provider, path, kind):
    body = json.dumps(chat()).encode()
    with socket.create_connection(door.url.removeprefix("http://").split(":")) as client:
        client.settimeout(15)
        client.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\ncache-control: no-cache\r\n\r\n".encode())
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += client.recv(4096)
        assert seen.startswith(b"HTTP/1.1 100 "), seen
        client.sendall(body)
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += client.recv(4096)
        assert seen.startswith(b"HTTP/1.1 200 "), seen
    [sent] = provider.seen
    assert sent.body == body and "expect" not in sent.headers


# Answers: what is stored, and what never is.


def with_message(finish="stop", choice=None, **members):
    made = {"index": 0, "message": {"role": "assistant", "content": TEXT, **members}, "finish_reason": finish, **(choice or {})}
    return {**COMPLETION, "choices": [made]}


DETAILS = [{"type": "reasoning.text", "text": "Paris, of course.", "format": "anthropic-claude-v1", "index": 0, "signature": "sig"}]
STORED = {
    "litellm": with_message(tool_calls=None, function_call=None, provider_specific_fields={"refusal": None}, choice={"provider_specific_fields": {}}),
    "litellm-empty": with_message(tool_calls=None, function_call=None, images=None, thinking_blocks=None, annotations=[], provider_specific_fields=None),
    "openrouter": {**with_message(refusal=None, reasoning="Paris, of course.", reasoning_details=DETAILS, choice={"native_finish_reason": "stop", "logprobs": None}), "provider": "Anthropic"},
}


@pytest.mark.parametrize("name", STORED)
def test_whole_answers_of_other_gateways_are_stored(post, provider, name):
    provider.replies += [(200, "application/json", STORED[name])] * 2
    miss, hit = [post("/v1/chat/completions", chat()) for _ in range(2)]
    assert [status_of(miss), status_of(hit)] == ["Miss", "Hit"] and hit.json() == miss.json() == STORED[name]


STORED_STREAMS = {
    "litellm": [chat_chunk({"role": "assistant", "content": TEXT, "provider_specific_fields": {"refusal": None}}), chat_chunk({"provider_specific_fields": None}, "stop")],
    "openrouter": [
        chat_chunk({"role": "assistant", "content": "", "reasoning": "Paris", "reasoning_details": [{"type": "reasoning.text", "text": "Paris", "index": 0}]}, provider="Anthropic"),
        chat_chunk({"content": TEXT}, provider="Anthropic"),
        {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop", "native_finish_reason": "stop"}], "usage": USAGE},
    ],
}


@pytest.mark.parametrize("name", STORED_STREAMS)
def test_streamed_answers_of_other_gateways_are_stored(post, provider, name):
    provider.replies += [(200, "text/event-stream", sse(*STORED_STREAMS[name], end=DONE))] * 2
    miss, hit = [post("/v1/chat/completions", chat(stream=True)) for _ in range(2)]
    assert [status_of(miss), status_of(hit)] == ["Miss", "Hit"]
    assert status_of(whole := post("/v1/chat/completions", chat())) == "Hit" and whole.json()["choices"][0]["message"]["content"] == TEXT


WEATHER_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}}
STRICT = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {
    "type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"], "additionalProperties": False}}}


def calling(arguments, name="get_weather"):
    return {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}]}


# What is asked for, what the model says, and whether that may be stored.
DEFECTS = {
    "call": ({"tools": [WEATHER_TOOL]}, calling('{"city": "Paris"}'), True),
    "call-cut": ({"tools": [WEATHER_TOOL]}, calling('{"city": "'), False),
    "call-no-object": ({"tools": [WEATHER_TOOL]}, calling('"Paris"'), False),
    "call-without-a-demanded-argument": ({"tools": [WEATHER_TOOL]}, calling("{}"), False),
    "call-of-wrong-type": ({"tools": [WEATHER_TOOL]}, calling('{"city": 5}'), False),
    "tool-not-offered": ({"tools": [WEATHER_TOOL]}, calling('{"city": "Paris"}', "get_wether"), False),
    "no-tools-offered": ({}, calling('{"city": "Paris"}'), False),
    "json": ({"response_format": STRICT}, {"content": '{"answer": 42}'}, True),
    "prose": ({"response_format": STRICT}, {"content": "The answer is 42."}, False),
    "json-cut": ({"response_format": STRICT}, {"content": '{"answer": 4'}, False),
    "json-of-another-schema": ({"response_format": STRICT}, {"content": '{"result": 42}'}, False),
    "json-in-a-fence": ({"response_format": STRICT}, {"content": '```json\n{"answer": 42}\n```'}, False),
    "prose-for-any-object": ({"response_format": {"type": "json_object"}}, {"content": "42"}, False),
}


@pytest.mark.parametrize("name", DEFECTS)
@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_defective_answers_pass_and_are_never_stored(post, provider, name, delivery):
    options, says, is_good = DEFECTS[name]
    finish = "tool_calls" if "tool_calls" in says else "stop"
    if delivery == "whole":
        sent = json.dumps(with_message(finish, **says)).encode()
        kind = "application/json"
    else:
        calls = [{"index": 0, **call} for call in says.get("tool_calls", [])]
        sent = sse(chat_chunk({"role": "assistant", "content": says["content"], **({"tool_calls": calls} if calls else {})}), chat_chunk({}, finish), end=DONE)
        kind = "text/event-stream"
    provider.replies += [(200, kind, sent)] * 2
    ask = lambda: post("/v1/chat/completions", chat(**options, stream=delivery == "streamed"))
    first, second = ask(), ask()
    assert first.content == sent and status_of(first) == "Miss"
    assert status_of(second) == ("Hit" if is_good else "Miss")


@pytest.mark.parametrize("says, options, is_good", [
    ({"type": "tool_use", "id": "t", "name": "get_weather", "input": {"city": "Paris"}}, {}, True),
    ({"type": "tool_use", "id": "t", "name": "get_weather", "input": {"town": "Paris"}}, {}, False),
    ({"type": "tool_use", "id": "t", "name": "get_wether", "input": {"city": "Paris"}}, {}, False),
], ids=["call", "call-of-another-schema", "tool-not-offered"])
def test_defective_messages_pass_and_are_never_stored(post, provider, says, options, is_good):
    tools = [{"name": "get_weather", "input_schema": WEATHER_TOOL["function"]["parameters"]}]
    sent = {**MESSAGE, "content": [says], "stop_reason": "tool_use"}
    provider.replies += [(200, "application/json", sent)] * 2
    first, second = [post("/v1/messages", message(tools=tools, **options)) for _ in range(2)]
    assert first.json() == sent and status_of(second) == ("Hit" if is_good else "Miss")


@pytest.mark.parametrize("arguments, name, is_good", [('{"city": "Paris"}', "get_weather", True), ('{"city": "', "get_weather", False), ('{"city": "Paris"}', "get_wether", False)], ids=["call", "call-cut", "tool-not-offered"])
def test_defective_responses_pass_and_are_never_stored(post, provider, arguments, name, is_good):
    tools = [{"type": "function", "name": "get_weather", "parameters": WEATHER_TOOL["function"]["parameters"], "strict": True}]
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": arguments, "status": "completed"}
    sent = {**RESPONSE, "output": [call], "tools": tools}
    provider.replies += [(200, "application/json", sent)] * 2
    first, second = [post("/v1/responses", response(tools=tools)) for _ in range(2)]
    assert first.json() == sent and status_of(second) == ("Hit" if is_good else "Miss")


# Requests that can't be read.


CONTENT = json.dumps(chat()).encode()
UNREADABLE = {
    "lone-surrogate": CONTENT.replace(b"France", b"\\ud83d"),
    "nan": CONTENT.replace(b'"model"', b'"temperature": NaN, "model"'),
    "infinity": CONTENT.replace(b'"model"', b'"top_p": -Infinity, "model"'),
    "byte-order-mark": b"\xef\xbb\xbf" + CONTENT,
    "deep": CONTENT.replace(b'"model"', b'"x": ' + b"[" * 5000 + b"]" * 5000 + b', "model"'),
    "deep-schema": CONTENT.replace(b'"model"', b'"tools": ' + b'[{"a":' * 200 + b"1" + b"}]" * 200 + b', "model"'),
    "large-number": CONTENT.replace(b'"model"', b'"seed": 1' + b"0" * 400 + b', "model"'),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_what_cannot_be_read_is_the_providers_to_judge(post, provider, name, path):
    reply = post(path, UNREADABLE[name])
    assert reply.status_code == 200, reply.text
    assert [seen.body for seen in provider.seen] == [UNREADABLE[name]]


def test_what_cannot_be_read_is_never_answered_from_the_cache(post, provider):
    """U+FFFD, or a neighbour, is not what was asked."""
    for body in (UNREADABLE["lone-surrogate"], UNREADABLE["lone-surrogate"].replace(b"ud83d", b"ud83e"), CONTENT.replace(b"France", "\ufffd".encode())):
        assert status_of(post("/v1/chat/completions", body)) != "Hit"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
def test_a_compressed_request_is_understood_or_passed_on(post, provider, path):
    body = json.dumps({**chat(), **response()}).encode()
    reply = post(path, gzip.compress(body), content_encoding="gzip")
    assert reply.status_code == 200, reply.text
    [seen] = provider.seen
    assert (gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body) == body


def test_a_lone_surrogate_of_a_provider_does_not_end_a_converted_stream(post, provider):
    lone = json.dumps(chat_chunk({"content": "?"})).replace("?", "\\ud83d")
    stream = sse(chat_chunk({"role": "assistant", "content": "before "})) + f"data: {lone}\n\n".encode() + sse(chat_chunk({"content": " after"}), chat_chunk({}, "stop"), end=DONE)
    provider.replies.append((200, "text/event-stream", stream))
    reply = post("/v1/messages", message(model="m", stream=True))
    events = [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line.startswith("data: ")]
    text = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    assert text.startswith("before ") and text.endswith(" after") and events[-1]["type"] == "message_stop"
    assert status_of(post("/v1/messages", message(model="m", stream=True))) == "Miss", "what was lost isn't stored"


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


# Errors that hand over to the next target.


BOTH = """
[router]
attempts = 1
default_provider = "a"
[providers.a]
base_url = "{a}/v1"
api_key = "ours"
[providers.b]
base_url = "{b}"
api_key = "ours-too"
[models.both]
targets = [{{ provider = "a", model = "x" }}, {{ provider = "b", model = "y" }}]
"""
ERROR = {"error": {"message": "overloaded", "type": "server_error", "code": 503}}


@pytest.fixture(scope="session")
def two(start_refrain, session_provider):
    second = Provider()
    yield start_refrain(BOTH.format(a=session_provider.url, b=f"{second.url}/v1"))
    second.server.shutdown()


@pytest.mark.parametrize("kind, reply, stream", [
    ("application/json", ERROR, False), ("application/json", ERROR, True), ("text/event-stream", sse(ERROR), True), ("text/event-stream", sse(ERROR, end=DONE), True),
    ("text/event-stream", b": processing\n\n" + sse(ERROR), True), ("text/event-stream", b"event: error\n" + sse({"error": ERROR["error"]}), True),
    ("text/event-stream", b"", True),
], ids=["whole", "whole-for-a-stream", "first-event", "first-event-and-mark", "after-a-comment", "named-event", "nothing"])
def test_an_error_in_a_200_is_an_error(two, provider, names, kind, reply, stream):
    provider.replies.append((200, kind, reply))
    answer = two.http.post("/v1/chat/completions", json=chat(model="both", stream=stream), headers={"x-refrain-cache": names()})
    assert answer.status_code == 200 and answer.headers["x-refrain-provider"] == "b" and len(provider.seen) == 1, answer.text
    assert TEXT in answer.text and "overloaded" not in answer.text


def test_an_error_later_in_a_stream_is_the_callers(two, provider, names):
    """What has been handed on can't be taken back."""
    stream = sse(CHAT_EVENTS[0], CHAT_EVENTS[1], ERROR)
    provider.replies.append((200, "text/event-stream", stream))
    answer = two.http.post("/v1/chat/completions", json=chat(model="both", stream=True), headers={"x-refrain-cache": names()})
    assert answer.headers["x-refrain-provider"] == "a" and answer.content.startswith(stream)


@pytest.mark.parametrize("status", [402, 404, 410])
def test_a_target_that_has_no_credit_or_no_such_model_hands_over(two, provider, status):
    provider.replies.append((status, "application/json", {"error": {"message": f"status {status}"}}))
    answer = two.http.post("/v1/chat/completions", json=chat(model="both"), headers={"cache-control": "no-cache, no-store"})
    assert answer.status_code == 200 and answer.headers["x-refrain-provider"] == "b" and answer.headers["x-refrain-tried"] == f"a={status}"
    # Where nobody else is left, it is told.
    provider.replies.append((status, "application/json", {"error": {"message": f"status {status}"}}))
    answer = two.http.post("/v1/chat/completions", json=chat(model="a/x"), headers={"cache-control": "no-cache, no-store"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, f"status {status}")


@pytest.mark.parametrize("script", [[(429, {"retry-after-ms": "50"})] * 3, [(429, {})] * 2], ids=["told", "untold"])
def test_a_limited_provider_is_waited_for_while_there_is_time(start_refrain, flaky, script):  # noqa: F811
    server = start_refrain(f'[providers.a]\nbase_url = "{flaky.url}"\n')
    flaky.does(*script)
    reply = server.http.post("/v1/chat/completions", json=chat())
    assert reply.status_code == 200 and len(flaky.times) == len(script) + 1, reply.text


# Scopes: what asks for the same, and what doesn't.


def test_what_a_header_asks_of_claude_is_part_of_the_question(post, provider):
    plain = {"anthropic_version": "2023-06-01"}
    for headers, status in [
        (plain, "Miss"), (plain, "Hit"), ({**plain, "anthropic_beta": "context-1m-2025-08-07"}, "Miss"), ({**plain, "anthropic_beta": "context-1m-2025-08-07"}, "Hit"),
        ({**plain, "anthropic_beta": "interleaved-thinking-2025-05-14"}, "Miss"), ({"anthropic_version": "2024-01-01"}, "Miss"), (plain, "Hit"),
    ]:
        assert status_of(post("/v1/messages", message(), **headers)) == status, headers


SAME_CHATS = {
    "metadata": {"metadata": {"trace": "1"}}, "service_tier": {"service_tier": "auto"}, "store": {"store": False}, "n": {"n": 1}, "logprobs": {"logprobs": False},
    "tools": {"tools": []}, "response_format": {"response_format": {"type": "text"}}, "top_p": {"top_p": 1}, "top_p-spelt": {"top_p": 1.0},
    "frequency_penalty": {"frequency_penalty": 0}, "presence_penalty": {"presence_penalty": 0.0}, "stream": {"stream": False}, "nulls": {"temperature": None, "stop": None, "seed": None, "tools": None},
    "logit_bias": {"logit_bias": {}}, "user": {"user": "somebody"}, "modalities": {"modalities": ["text"]},
    "content": {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]},
    "all": {"n": 1, "top_p": 1, "tools": [], "metadata": {}, "store": False, "logprobs": False, "frequency_penalty": 0},
}
SAME_RESPONSES = {
    "metadata": {"metadata": {"trace": "1"}}, "service_tier": {"service_tier": "auto"}, "tools": {"tools": []}, "text": {"text": {"format": {"type": "text"}}},
    "top_p": {"top_p": 1}, "truncation": {"truncation": "disabled"}, "nulls": {"instructions": None, "temperature": None, "previous_response_id": None}, "user": {"user": "somebody"},
    "items": {"input": [{"role": "user", "content": QUESTION}]}, "parts": {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]},
    "stream": {"stream": False}, "background": {"background": False},
}
SAME_MESSAGES = {
    "metadata": {"metadata": {"user_id": "1"}}, "service_tier": {"service_tier": "auto"}, "tools": {"tools": []}, "stop_sequences": {"stop_sequences": []}, "stream": {"stream": False},
    "content": {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]}, "top_p": {"top_p": 1},
}
ASKS = {"/v1/chat/completions": chat, "/v1/responses": response, "/v1/messages": message}
SAME = {"/v1/chat/completions": SAME_CHATS, "/v1/responses": SAME_RESPONSES, "/v1/messages": SAME_MESSAGES}


@pytest.mark.parametrize("path, name", [(path, name) for path, pairs in SAME.items() for name in pairs])
def test_what_asks_for_the_same_is_a_hit(post, provider, path, name):
    plain, more = ASKS[path](), {**ASKS[path](), **SAME[path][name]}
    assert [status_of(post(path, plain)), status_of(post(path, more))] == ["Miss", "Hit"]
    assert len(provider.seen) == 1


def of_document(**more):
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "It is Paris."}, **more}
    return {"messages": [{"role": "user", "content": [document, {"type": "text", "text": QUESTION}]}]}


def of_image(media_type):
    image = {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": "iVBORw0KGgo="}}
    return {"messages": [{"role": "user", "content": [image, {"type": "text", "text": QUESTION}]}]}


def of_turns(*blocks):
    return {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [*blocks, {"type": "text", "text": "Hello"}]}, {"role": "user", "content": QUESTION}]}


def of_result(**more):
    use = {"type": "tool_use", "id": "t", "name": "get_weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "sunny", **more}
    return {**of_tool(), "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result, {"type": "text", "text": QUESTION}]}]}


def of_tool(**more):
    return {"tools": [{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}, **more}]}


THINKING = {"type": "thinking", "thinking": "Well.", "signature": "s1"}
OTHER_MESSAGES = {
    "document-context": (of_document(), of_document(context="Of 1940.")),
    "document-context-changed": (of_document(context="Of 1940."), of_document(context="Of 2020.")),
    "document-title": (of_document(title="A"), of_document(title="B")),
    "document-citations": (of_document(), of_document(citations={"enabled": True})),
    "image-media-type": (of_image("image/png"), of_image("image/jpeg")),
    "thinking-block": (of_turns(), of_turns(THINKING)),
    "thinking-text": (of_turns(THINKING), of_turns({**THINKING, "thinking": "Hm."})),
    "thinking-signature": (of_turns(THINKING), of_turns({**THINKING, "signature": "s2"})),
    "redacted-thinking": (of_turns({"type": "redacted_thinking", "data": "a"}), of_turns({"type": "redacted_thinking", "data": "b"})),
    "tool-strict": (of_tool(), of_tool(strict=True)),
    "tool-defer-loading": (of_tool(), of_tool(defer_loading=True)),
    "tool-input-examples": (of_tool(input_examples=[{"city": "Rome"}]), of_tool(input_examples=[{"city": "Oslo"}])),
    "tool-unknown-member": (of_tool(x_new=1), of_tool(x_new=2)),
    "tool-allowed-callers": (of_tool(), of_tool(allowed_callers=["code_execution_20250825"])),
    "tool-type": (of_tool(), {"tools": [{"type": "web_search_20250305", "name": "get_weather"}]}),
    "tool-choice-without-tools": ({}, {"tool_choice": {"type": "any"}}),
    "tool-choice-parallel": ({**of_tool(), "tool_choice": {"type": "auto"}}, {**of_tool(), "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    "tool-result-error": (of_result(), of_result(is_error=True)),
    "unknown-member": ({"x_new": 1}, {"x_new": 2}),
    "unknown-member-added": ({}, {"x_new": {"a": []}}),
    "unknown-member-of-a-turn": ({}, {"messages": [{"role": "user", "content": QUESTION, "x_new": 1}]}),
    "unknown-member-of-a-block": (of_turns({"type": "text", "text": "So."}), of_turns({"type": "text", "text": "So.", "x_new": 1})),
    "unknown-block": (of_turns({"type": "x_new", "data": 1}), of_turns({"type": "x_new", "data": 2})),
    "thinking-budget": ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    "output-config": ({"output_config": {"effort": "low"}}, {"output_config": {"effort": "high"}}),
    "top-k": ({"top_k": 1}, {"top_k": 2}),
    "stop-sequences": ({"stop_sequences": ["a"]}, {"stop_sequences": ["b"]}),
    "system": ({"system": "Be brief."}, {"system": "Be verbose."}),
    "system-blocks": ({"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"system": [{"type": "text", "text": "ab"}]}),
    "context-management": ({"context_management": {"edits": []}}, {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
    "container": ({"container": "a"}, {"container": "b"}),
    "mcp-servers": ({"mcp_servers": [{"type": "url", "name": "a", "url": "https://a.example"}]}, {"mcp_servers": [{"type": "url", "name": "a", "url": "https://b.example"}]}),
}


@pytest.mark.parametrize("name", OTHER_MESSAGES)
@pytest.mark.parametrize("order", ["first", "second"])
def test_messages_that_differ_share_no_answer(post, provider, name, order):
    pair = [{**message(), **change} for change in OTHER_MESSAGES[name]]
    one, another = pair if order == "first" else reversed(pair)
    assert status_of(post("/v1/messages", one)) != "Hit" and status_of(post("/v1/messages", another)) != "Hit"
    assert len(provider.seen) == 2


@pytest.mark.parametrize("plain, repeated", [
    (b'"input_schema": {"type": "object"}', b'"input_schema": {"type": "string", "type": "object"}'),
    (b'"input_schema": {"type": "object"}', b'"input_schema": {"type": "object", "type": "string"}'),
    (b'"name": "get_weather"', b'"name": "drop_tables", "name": "get_weather"'),
], ids=["last", "first", "name"])
@pytest.mark.parametrize("path", ASKS)
def test_a_member_that_is_repeated_anywhere_means_nothing_certain(post, provider, path, plain, repeated):
    tool = {"name": "get_weather", "input_schema": {"type": "object"}}
    if path != "/v1/messages":
        plain, repeated = plain.replace(b"input_schema", b"parameters"), repeated.replace(b"input_schema", b"parameters")
        tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
    tool = {"type": "function", "function": tool} if path == "/v1/chat/completions" else tool
    body = json.dumps(ASKS[path](tools=[tool])).encode()
    assert plain in body
    bodies = [body, body.replace(plain, repeated)]
    assert "Hit" not in [status_of(post(path, body)) for body in bodies]
    assert plain in provider.seen[0].body and repeated in provider.seen[1].body


FLAT_TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": True}
OTHER_RESPONSES = {
    "instructions": ({}, {"instructions": "Be brief."}), "reasoning": ({"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "high"}}),
    "previous": ({}, {"previous_response_id": "resp_0"}), "conversation": ({}, {"conversation": "conv_0"}), "prompt": ({"prompt": {"id": "pmpt_1"}}, {"prompt": {"id": "pmpt_2"}}),
    "tools": ({}, {"tools": [FLAT_TOOL]}), "tool-strict": ({"tools": [FLAT_TOOL]}, {"tools": [{**FLAT_TOOL, "strict": False}]}), "built-in-tool": ({}, {"tools": [{"type": "web_search"}]}),
    "max_output_tokens": ({"max_output_tokens": 50}, {"max_output_tokens": 60}), "text": ({}, {"text": {"format": {"type": "json_object"}}}), "verbosity": ({}, {"text": {"verbosity": "low"}}),
    "include": ({}, {"include": ["reasoning.encrypted_content"]}), "truncation": ({}, {"truncation": "auto"}), "unknown": ({"x_new": 1}, {"x_new": 2}),
    "item-reference": ({"input": [{"type": "item_reference", "id": "msg_a"}, {"role": "user", "content": QUESTION}]}, {"input": [{"type": "item_reference", "id": "msg_b"}, {"role": "user", "content": QUESTION}]}),
    "encrypted-reasoning": tuple({"input": [{"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": text}, {"role": "user", "content": QUESTION}]} for text in "ab"),
    "image-detail": tuple({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": detail}, {"type": "input_text", "text": QUESTION}]}]} for detail in ("low", "high")),
    "call-output": tuple({"input": [{"role": "user", "content": QUESTION}, {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"}, {"type": "function_call_output", "call_id": "c", "output": text}]} for text in "ab"),
    "developer": ({}, {"input": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": QUESTION}]}),
}


@pytest.mark.parametrize("name", OTHER_RESPONSES)
def test_responses_that_differ_share_no_answer(post, provider, name):
    one, another = [{**response(), **change} for change in OTHER_RESPONSES[name]]
    assert status_of(post("/v1/responses", one)) != "Hit" and status_of(post("/v1/responses", another)) != "Hit"
    assert len(provider.seen) == 2


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
