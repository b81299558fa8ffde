"""What goes out is what came in, byte for byte; and what providers do that they shouldn't."""

import json

import pytest

COMPLETION = (
    b'{ "id":"c-1",  "object":"chat.completion", "created":1.0e0, "model":"m", "x_unknown": {"b":1,"a":[1.50]},\n'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Gr\\u00fc\xc3\x9fe"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3} }'
)
EVENTS = [
    b": comment\n\n",
    b'data: {"id":"c-2","choices":[{"index":0,"delta":{"role":"assistant","content":"Gr\xc3',
    b'\xbc\xc3\x9fe"}}]}\r\n\r\n',
    b'data: {"id":"c-2","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DO',
    b"NE]\n\n",
]


@pytest.fixture
def post(raw_server, names):
    def post(text, **options):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **options}
        return raw_server.http.post("/v1/chat/completions", json=body, headers={"x-refrain-cache": names()})

    return post


def test_a_whole_reply_is_not_touched(post, raw):
    raw.reply(body=COMPLETION, headers="X-Request-Id: abc\r\nOpenAI-Version: 1\r\n")
    miss = post("a question of bytes")
    assert miss.content == COMPLETION
    assert miss.headers["x-request-id"] == "abc" and miss.headers["content-type"] == "application/json"
    hit = post("a question of bytes")
    assert hit.headers["x-cache-status"] == "Hit" and hit.content == COMPLETION


def test_a_streamed_reply_is_not_touched(post, raw):
    raw.reply(kind="text/event-stream", body=EVENTS, chunked=True)
    miss = post("a question of events", stream=True)
    assert miss.content == b"".join(EVENTS)
    hit = post("a question of events")
    assert hit.headers["x-cache-status"] == "Hit" and hit.json()["choices"][0]["message"]["content"] == "Grüße"


def test_a_request_is_not_touched_but_for_credentials(raw_server, raw, names):
    raw.reply(body=COMPLETION)
    body = b'{ "model" : "m" , "unknown":{"b":1,  "a":[1.50]}, "messages":[{"role":"user","content":"unt\\u006fuched?"}] }'
    raw_server.http.post("/v1/chat/completions", content=body, headers={"x-refrain-cache": names(), "x-custom": "1", "authorization": "Bearer mine"})
    head, sent = raw.requests.queue[-1]
    assert sent == body and "x-custom: 1" in head and "Bearer the-key" in head
    assert "mine" not in head and "x-refrain" not in head


@pytest.mark.parametrize(
    "reply",
    [
        {"kind": "text/html", "body": b"<html>hello</html>"},
        {"body": b'{"error": {"message": "no"}}'},
        {"body": COMPLETION.replace(b'"stop"', b'"length"')},
        {"body": COMPLETION, "status": "201 Created"},
        {"body": COMPLETION, "status": "500 Oops"},
        {"body": COMPLETION, "headers": "Content-Encoding: x-strange\r\n"},
        {"kind": "text/event-stream", "body": EVENTS[:-1], "chunked": True},
        {"kind": "text/event-stream", "body": [b'data: {"error": {"message": "no"}}\n\ndata: [DONE]\n\n'], "chunked": True},
    ],
)
def test_what_is_no_complete_answer_goes_out_and_is_not_kept(post, raw, reply):
    raw.reply(**reply)
    first = post("what now?")
    body = reply["body"] if isinstance(reply["body"], bytes) else b"".join(reply["body"])
    assert first.content == body and first.status_code == int(reply.get("status", "200")[:3])
    raw.reply(body=COMPLETION)
    assert post("what now?").headers["x-cache-status"] == "Miss"


@pytest.mark.parametrize("body", [b"", b"{", COMPLETION[:-1], COMPLETION + b"}"], ids=["nothing", "begun", "cut", "more"])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_should_be_json_and_is_not_is_an_error_and_is_not_kept(post, raw, body, chunked):
    raw.reply(body=body, chunked=chunked)
    broken = post("what now?")
    assert broken.status_code == 502 and "no usable answer" in broken.json()["error"]["message"]
    raw.reply(body=COMPLETION)
    assert post("what now?").headers["x-cache-status"] == "Miss"


def test_a_whole_reply_that_is_cut_is_an_error_and_is_not_kept(post, raw):
    raw.reply(body=COMPLETION, cut=True)
    cut = post("cut me off")
    assert cut.status_code == 502 and "broke off" in cut.json()["error"]["message"]
    assert cut.headers["x-refrain-tried"] == "raw=broken", cut.headers
    raw.reply(body=COMPLETION)
    assert post("cut me off").headers["x-cache-status"] == "Miss"


@pytest.mark.parametrize("how", ["broken", "early"])
def test_a_stream_that_is_cut_ends_with_an_error_and_is_not_kept(post, raw, how):
    # Before it says why it finished, where it ends as if all were well.
    events = EVENTS[:-1] if how == "broken" else EVENTS[:3]
    raw.reply(body=events, kind="text/event-stream", chunked=True, cut=how == "broken")
    streamed = post("cut me off", stream=True)
    assert streamed.content.startswith(b"".join(events)) and b"[DONE]" not in streamed.content
    error = json.loads(streamed.content.rsplit(b"data: ", 1)[1])["error"]
    assert error["code"] == "stream_cut" and "not complete" in error["message"]
    raw.reply(body=COMPLETION)
    assert post("cut me off").headers["x-cache-status"] == "Miss"


def test_the_next_lookup_sees_an_answer_however_fast_it_comes(post, raw):
    for n in range(40):
        raw.reply(body=COMPLETION)
        assert post(f"How quickly is question number {n} there?", seed=n).headers["x-cache-status"] == "Miss"
        assert post(f"How quickly is question number {n} there?", seed=n).headers["x-cache-status"] == "Hit"
        near = post(f"How quick is question number {n} there?", seed=n, temperature=None)
        assert near.headers["x-cache-status"] == "Hit", near.headers


@pytest.mark.parametrize(
    "body, named",
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'"x"', "object"),
        (b'{"model": "m", "messages": "\xff"}', "JSON"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(raw_server, body, named):
    reply = raw_server.http.post("/v1/chat/completions", content=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error" and named in error["message"], error


def test_a_large_prompt_is_forwarded_and_served_exactly(post, raw):
    text = "All work and no play makes Jack a dull boy. " * 230_000
    raw.reply(body=COMPLETION)
    assert post(text).content == COMPLETION
    assert json.loads(raw.requests.queue[-1][1])["messages"][0]["content"] == text
    assert post(text).headers["x-cache-status"] == "Hit"


def test_a_request_that_is_too_large_is_told_so(start_refrain, raw):
    server = start_refrain(f'[server]\nmax_body = "1MiB"\n[providers.raw]\nbase_url = "{raw.url}"\n')
    reply = server.http.post("/v1/chat/completions", content=b" " * 3_000_000)
    assert reply.status_code == 413 and "1.0 MiB" in reply.json()["error"]["message"]
    assert server.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("body", [b'{"messages": []}', b'{"model": 5}', b'{"model": "m", "model": "n", "messages": [{"role": "user", "content": "a"}]}'])
def test_odd_requests_are_the_providers_to_judge(raw_server, raw, body):
    raw.reply(status="422 Odd", body=b'{"error": {"message": "odd"}}')
    reply = raw_server.http.post("/v1/chat/completions", content=body)
    assert reply.status_code == 422 and reply.headers["x-cache-status"] == "Bypass"
    assert raw.requests.queue[-1][1] == body


def test_queries_are_handed_on_and_separate(raw_server, raw, names):
    body = {"model": "m", "messages": [{"role": "user", "content": "what about queries?"}]}
    for query, status in (("", "Miss"), ("?api-version=1", "Miss"), ("?api-version=2", "Miss"), ("?api-version=1", "Hit")):
        if status == "Miss":
            raw.reply(body=COMPLETION)
        reply = raw_server.http.post(f"/v1/chat/completions{query}", json=body, headers={"x-refrain-cache": names()})
        assert reply.headers["x-cache-status"] == status
    assert raw.requests.queue[-1][0].startswith("POST /v1/chat/completions?api-version=2 ")


def test_a_path_cannot_leave_the_providers_base(raw_server):
    import http.client

    connection = http.client.HTTPConnection(raw_server.url.removeprefix("http://"))
    for path in ("/v1/../admin", "/v1/x/%2e%2e/%2e%2e/admin"):
        connection.request("GET", path)
        reply = connection.getresponse()
        assert (reply.status, b"dots" in reply.read()) == (400, True) or reply.status == 404


def test_a_stream_is_stored_at_its_end_mark_though_the_connection_stays_open(raw_server, raw, names):
    """As the openai client does: it closes the connection at [DONE], before the provider has."""
    import http.client

    raw.reply(kind="text/event-stream", body=EVENTS, chunked=True, cut=True, left_open=True)
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "are you done?"}]})
    connection = http.client.HTTPConnection(raw_server.url.removeprefix("http://"))
    connection.request("POST", "/v1/chat/completions", body, {"x-refrain-cache": names()})
    reply = connection.getresponse()
    seen = b""
    while b"[DONE]\n\n" not in seen:
        seen += reply.read1()
    connection.close()
    again = raw_server.http.post("/v1/chat/completions", content=body, headers={"x-refrain-cache": names()})
    assert again.headers["x-cache-status"] == "Hit"


def test_a_stream_that_is_cut_after_its_end_mark_is_whole(post, raw):
    for n in range(20):
        raw.reply(kind="text/event-stream", body=EVENTS, chunked=True, cut=True)
        assert post(f"is number {n} whole?", stream=True).content == b"".join(EVENTS)
        assert post(f"is number {n} whole?", stream=True).headers["x-cache-status"] == "Hit"


def test_what_came_before_a_cut_arrives(raw_server, raw, names):
    import http.client

    for _ in range(20):
        raw.reply(kind="text/event-stream", body=EVENTS[:-1], chunked=True, cut=True)
        body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "how much of it?"}]})
        connection = http.client.HTTPConnection(raw_server.url.removeprefix("http://"))
        connection.request("POST", "/v1/chat/completions", body, {"x-refrain-cache": names()})
        seen = connection.getresponse().read()
        assert seen.startswith(b"".join(EVENTS[:-1])) and b'"stream_cut"' in seen
