"""A provider that is asked in three APIs, a server in front of it, and what is said in each."""

import gzip
import http.server
import itertools
import json
import threading
import types

import pytest

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


USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
DONE = b"data: [DONE]\n\n"
CHAT_EVENTS = [chat_chunk({"role": "assistant", "content": ""}), chat_chunk({"content": TEXT}), chat_chunk({}, "stop")]
CHAT_STREAM = sse(*CHAT_EVENTS, end=DONE)


def with_numbers(*events):
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


ITEM = RESPONSE["output"][0]
MESSAGE_EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]
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


ASKS = {"/v1/chat/completions": chat, "/v1/responses": response, "/v1/messages": message}


def status_of(reply):
    assert reply.status_code == 200, reply.text
    return reply.headers["x-cache-status"]
