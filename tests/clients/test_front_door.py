"""What comes through the front door: streams, encodings, uploads and bodies as real clients and providers send them."""

import gzip
import http.client
import json
import socket

import pytest
from conftest import accept_request
from front_door import ASKS, CHAT_EVENTS, CHAT_STREAM, DONE, MESSAGE_EVENTS, QUESTION, RESPONSE, RESPONSE_EVENTS, TEXT, USAGE, chat, chat_chunk, message, response, sse, status_of

# Streams that pass.


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
    # Without its mark nobody knows whether its usage was still to come: it is handed on, and not stored.
    raw.reply(kind="text/event-stream", body=stream)
    assert ask().headers["x-cache-status"] == "Miss"


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
        provider, _, _ = accept_request(listener)
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
        assert "capital" in again.text and ("hit" in again.headers["cache-status"] or "collapsed" in again.headers["cache-status"])


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
            connection, _, _ = accept_request(listener)
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
