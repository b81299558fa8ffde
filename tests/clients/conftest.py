"""The built binary, two providers that nobody here wrote (aimock, llmock), and one that sends whatever bytes a test wants."""

import contextlib
import hashlib
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import httpx
import openai
import pytest
from llmock.testing import LLMockServer

pytest_plugins = ["front_door"]

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
BINARY = pathlib.Path(os.environ.get("REFRAIN_BINARY", ROOT / "target/release/refrain"))
AIMOCK = pathlib.Path(os.environ.get("REFRAIN_NODE_MODULES", HERE / "node_modules")) / "@copilotkit/aimock/dist/cli.js"
NODE = os.environ.get("REFRAIN_NODE", "node")


class Refrain:
    """A running `refrain serve`, on a port of its own choice."""

    def __init__(self, data, settings="", environment=None):
        self.data = pathlib.Path(data)
        self.data.mkdir(parents=True, exist_ok=True)
        self.settings = self.data / "refrain.toml"
        self.settings.write_text(settings)
        self.environment = environment or {}
        self.arguments = []
        self.logs = []
        self.start()

    def start(self):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("REFRAIN_", "OPENAI_"))}
        defaults = {
            "REFRAIN_SERVER__LISTEN": "127.0.0.1:0",
            "REFRAIN_STORAGE__PATH": str(self.data / "db"),
            "REFRAIN_LOG__FORMAT": "json",
        }
        # A rule that audits sends some hits to the provider; tests of learning ask for it.
        if "policy" not in self.settings.read_text():
            defaults["REFRAIN_CACHES__DEFAULT__POLICY"] = "static"
        self.process = subprocess.Popen(
            [BINARY, "serve", "--config", self.settings, *self.arguments],
            cwd=ROOT, env={**clean, **defaults, **self.environment}, stderr=subprocess.PIPE, text=True,
        )
        self.url = None
        for line in self.process.stderr:
            self.logs.append(line)
            if '"listening"' in line:
                self.url = "http://" + json.loads(line)["fields"]["address"]
                break
        if self.url is None:
            raise RuntimeError(f"refrain did not start: {''.join(self.logs)} (exit {self.process.wait()})")
        self.reader = threading.Thread(target=lambda: self.logs.extend(self.process.stderr), daemon=True)
        self.reader.start()
        self.http = httpx.Client(base_url=self.url, timeout=20)

    def openai(self, **options):
        return openai.OpenAI(base_url=f"{self.url}/v1", max_retries=0, **{"api_key": "unused", **options})

    def stop(self, how=signal.SIGTERM):
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        self.reader.join()
        return code

    def restart(self, how=signal.SIGTERM):
        self.stop(how)
        self.start()


RUNNING = []


def end_servers(after=0):
    """Ends the servers that were started after so many others; none may have panicked."""
    while len(RUNNING) > after:
        server = RUNNING.pop()
        server.stop()
        assert "panicked" not in "".join(server.logs), server.logs
        shutil.rmtree(server.data, ignore_errors=True)


@pytest.fixture(scope="session")
def start_refrain(tmp_path_factory):
    """Starts servers that end with the session."""

    def start(settings="", environment=None):
        RUNNING.append(Refrain(tmp_path_factory.mktemp("refrain"), settings, environment))
        return RUNNING[-1]

    yield start
    end_servers()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """What a test itself starts ends with it: a machine has 128 watches of files, and each server takes one."""
    before = len(RUNNING)
    try:
        return (yield)
    finally:
        end_servers(before)


class Aimock:
    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [NODE, AIMOCK, "-p", str(port), "-f", HERE / "fixtures", "--log-level", "warn"], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{self.url}/__aimock/journal")
                return
            time.sleep(0.05)
        raise RuntimeError("aimock did not start")

    def stop(self):
        # It waits for connections that nobody closes, at times.
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def calls(self):
        """How many requests it has had."""
        return int(httpx.get(f"{self.url}/__aimock/journal?limit=1").headers["x-total-count"])

    def last(self):
        """The newest request."""
        return httpx.get(f"{self.url}/__aimock/journal").json()[-1]


@pytest.fixture(scope="session")
def aimock():
    mock = Aimock()
    yield mock
    mock.stop()


class Llmock:
    """Another provider that nobody here wrote. Its answers, ids and tool calls are its own."""

    def __init__(self):
        self.server = LLMockServer().start()
        self.url = self.server.url

    def stop(self):
        self.server.stop()

    def calls(self):
        """How many requests it has had."""
        return len(self.server.state.journal.records(wait=5))


@pytest.fixture(scope="session")
def llmock():
    mock = Llmock()
    yield mock
    mock.stop()


@pytest.fixture(scope="session")
def server(start_refrain, aimock):
    """A server in front of aimock, shared by the tests of a session; each test uses prompts or caches of its own."""
    return start_refrain(f'[providers.mock]\nbase_url = "{aimock.url}/v1"\n')


def accept_request(listener):
    """The next connection, its request read: whoever answers before that is taken for broken, and asked again."""
    connection, _ = listener.accept()
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    head, _, body = request.partition(b"\r\n\r\n")
    length = next((int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return connection, head.decode(), body


class RawProvider:
    """Answers each connection with the bytes that were put for it, and then closes or cuts it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.replies = queue.Queue()
        self.left_open = []
        self.requests = queue.Queue()
        threading.Thread(target=self._serve, daemon=True).start()

    def reply(self, status="200 OK", kind="application/json", body=b"", chunked=False, cut=False, left_open=False, headers=""):
        """One reply. `cut`: the body never ends. The connection does, unless `left_open`."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n{headers}"
        if chunked:
            data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in ([body] if isinstance(body, bytes) else body))
            data = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + data + (b"" if cut else b"0\r\n\r\n")
        else:
            data = f"{head}Content-Length: {len(body) + (100 if cut else 0)}\r\n\r\n".encode() + body
        self.replies.put((data, left_open))

    def _serve(self):
        while True:
            connection, head, body = accept_request(self.listener)
            self.requests.put((head, body))
            data, left_open = self.replies.get()
            connection.sendall(data)
            if left_open:
                self.left_open.append(connection)
            else:
                connection.close()


@pytest.fixture(scope="session")
def raw_provider():
    return RawProvider()


@pytest.fixture
def raw(raw_provider):
    """Without replies that a failed test left behind."""
    raw_provider.replies.queue.clear()
    return raw_provider


@pytest.fixture(scope="session")
def raw_server(start_refrain, raw_provider):
    # Tried once, because each reply is put for one request.
    return start_refrain(f'[router]\nattempts = 1\n[providers.raw]\nbase_url = "{raw_provider.url}/v1"\napi_key = "the-key"\n')


@pytest.fixture
def names(request):
    """Names that no other test uses."""
    own = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return lambda suffix="": re.sub(r"[^\w.]+", "-", f"{own}-{request.node.name}{suffix}").strip("-")[:100]


def ask(client, text, **options):
    """A chat call with its headers: (completion, headers)."""
    messages = options.pop("messages", [{"role": "user", "content": text}])
    raw = client.chat.completions.with_raw_response.create(model=options.pop("model", "gpt-test"), messages=messages, **options)
    return raw.parse(), raw.headers


def ask_stream(client, text, **options):
    """A streamed chat call: (chunks, headers)."""
    chunks, headers = ask(client, text, stream=True, **options)
    return list(chunks), headers


def text_of(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
