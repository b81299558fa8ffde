"""Starting, watching, stopping, crashing."""

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import httpx
import pytest
from conftest import BINARY, ROOT, Refrain, ask

SEARCH = "/v1/caches/c/entries/search"
ENTRIES = "/v1/caches/c/entries"


def store(server, prompt, response, **more):
    reply = server.http.post(ENTRIES, json={"prompt": prompt, "response": response, **more})
    assert reply.status_code == 201, reply.text
    return reply.json()["entryId"]


def find(server, prompt, **more):
    reply = server.http.post(SEARCH, json={"prompt": prompt, **more}).json()
    return [entry["response"] for entry in reply["data"]]


def refrain(*arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("REFRAIN_", "OPENAI_"))}
    return subprocess.run([BINARY, *arguments], cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, timeout=60)


def test_health_readiness_and_metrics(server, names):
    assert server.http.get("/healthz").status_code == server.http.get("/readyz").status_code == 200
    client = server.openai(default_headers={"x-refrain-cache": names()})
    text = "What is the capital of France?"
    ask(client, text), ask(client, text), ask(client, "What's the capital of France?")
    metrics = server.http.get("/metrics").text
    # Whoever asks for a cache makes no series; whoever stores into it does.
    assert 'refrain_lookups_total{tenant="(nothing stored)",cache="(nothing stored)",outcome="miss"}' in metrics
    for outcome in ("exact_hit", "semantic_hit"):
        assert f'refrain_lookups_total{{tenant="local",cache="{names()}",outcome="{outcome}"}} 1' in metrics
    for step in ("exact", "embed", "search", "decide", "store", "upstream"):
        assert re.search(rf'refrain_step_seconds_count{{step="{step}"}} [1-9]', metrics), step
    assert 'refrain_upstream_responses_total{provider="mock",status="2xx"}' in metrics
    assert "capital" not in metrics


def test_prompts_are_not_logged(start_refrain):
    server = start_refrain("[log]\nlevel = \"trace,hyper=info,h2=info,tokenizers=info\"\n")
    store(server, "a secret prompt", "a secret answer")
    find(server, "the secret prompt")
    server.stop()
    assert len(server.logs) > 3 and not [line for line in server.logs if "secret" in line]


def test_everything_survives_a_restart(start_refrain):
    server = start_refrain()
    entry = store(server, "How do I reset my password?", "Like so.", attributes={"lang": "en"})
    store(server, "How do I delete my account?", "Gone.")
    server.http.delete(f"{ENTRIES}/{store(server, 'something to be deleted', 'x')}").raise_for_status()
    find(server, "How do I reset my password?"), find(server, "How can I reset my password?"), find(server, "nothing like it")
    before = server.http.get("/v1/caches/c/stats").json()["total"]
    assert (before["exactHits"], before["semanticHits"], before["misses"]) == (1, 1, 1)
    assert server.stop() == 0
    server.start()
    assert server.http.get("/v1/caches/c/stats").json()["total"] == before
    assert find(server, "How do I reset my password?") == find(server, "How can I reset my password?", attributes={"lang": "en"}) == ["Like so."]
    assert find(server, "something to be deleted") == []
    assert server.http.get(f"{ENTRIES}/{entry}").json()["prompt"] == "How do I reset my password?"


def test_near_misses_and_the_histogram_of_cosines(start_refrain):
    server = start_refrain('[caches.default]\nmin_cosine = 0.995\n')
    store(server, "How do I reset my password?", "x")
    assert find(server, "How can I reset my password?") == []
    total = server.http.get("/v1/caches/c/stats").json()["total"]
    assert total["nearMisses"] == total["misses"] == 1 and sum(count for _, count in total["bestCosine"]) == 1


def test_acknowledged_entries_survive_kill_9(start_refrain):
    """Stores and deletions from several threads, killed at some moment, several times over."""
    server = start_refrain()
    live, gone = {}, set()
    for round in range(4):
        lock, stop = threading.Lock(), threading.Event()
        url = server.url

        def work(worker):
            with httpx.Client(base_url=url, timeout=10) as http:
                for n in range(10_000):
                    prompt = f"round {round} worker {worker} number {n}"
                    try:
                        entry = http.post(ENTRIES, json={"prompt": prompt, "response": prompt.upper()}).json()["entryId"]
                        with lock:
                            live[prompt] = entry
                            if len(live) > 40 * (round + 1):
                                stop.set()
                        if n % 5 == 4:
                            with lock:
                                del live[prompt]  # until it is acknowledged, either may be
                            if http.delete(f"{ENTRIES}/{entry}").status_code == 204:
                                with lock:
                                    gone.add(prompt)
                    except httpx.TransportError:
                        return

        with concurrent.futures.ThreadPoolExecutor() as pool:
            workers = [pool.submit(work, worker) for worker in range(4)]
            assert stop.wait(60)
            server.stop(signal.SIGKILL)
            [worker.result() for worker in workers]
        server.start()
        assert len(live) > 30 * (round + 1)
        for prompt in live:
            assert find(server, prompt, searchStrategies=["exact"]) == [prompt.upper()]
        for prompt in gone:
            assert find(server, prompt, searchStrategies=["exact"]) == []
    for prompt in list(live)[::20]:
        assert prompt.upper() in find(server, prompt, searchStrategies=["semantic"], maxResults=20)


def test_a_shutdown_finishes_what_is_in_flight(start_refrain, aimock):
    server = start_refrain(f'[providers.mock]\nbase_url = "{aimock.url}/v1"\n')
    stream, _ = ask(server.openai(), "Give me a slow answer.", stream=True)
    chunks = iter(stream)
    first = next(chunks)
    server.process.send_signal(signal.SIGTERM)
    while True:  # until it refuses new connections
        try:
            httpx.get(f"{server.url}/readyz", timeout=5)
        except httpx.ConnectError:
            break
    text = "".join(chunk.choices[0].delta.content or "" for chunk in [first, *chunks] if chunk.choices)
    assert text == "This answer takes its time to arrive, piece by piece."
    assert server.process.wait(timeout=30) == 0
    server.start()
    assert ask(server.openai(), "Give me a slow answer.")[1]["x-cache-status"] == "Hit", "stored although it was shutting down"


def test_a_second_process_on_the_same_data_is_refused(start_refrain):
    server = start_refrain()
    second = refrain("serve", REFRAIN_SERVER__LISTEN="127.0.0.1:0", REFRAIN_STORAGE__PATH=str(server.data / "db"))
    assert second.returncode == 1 and "in use by another process" in second.stderr
    taken = refrain("serve", REFRAIN_SERVER__LISTEN=server.url.removeprefix("http://"), REFRAIN_STORAGE__PATH=str(server.data / "other"))
    assert taken.returncode == 1 and "can't listen" in taken.stderr and "server.listen" in taken.stderr


def test_another_embedding_model_is_refused(start_refrain, tmp_path):
    server = start_refrain()
    store(server, "a", "b")
    server.stop()
    other = tmp_path / "other-model"
    other.mkdir()
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        (other / file).symlink_to(ROOT / "models/all-MiniLM-L6-v2" / file)
    (other / "manifest.toml").write_text('pooling = "cls"\ndimension = 384\nwindow = 256\nmin_cosine = 0.9\n')
    refused = refrain("serve", REFRAIN_SERVER__LISTEN="127.0.0.1:0", REFRAIN_STORAGE__PATH=str(server.data / "db"), REFRAIN_EMBEDDING__MODEL=str(other))
    assert refused.returncode == 1 and "Vectors of two models can't be compared" in refused.stderr and "storage.path" in refused.stderr
    server.start()
    assert find(server, "a") == ["b"]


def test_check_says_what_is_wrong_and_where(tmp_path):
    file = tmp_path / "refrain.toml"
    file.write_text('[server]\nlisten = "127.0.0.1:1"\n\n[caches.default]\nmin_cosin = 0.9\n')
    checked = refrain("check", "--config", str(file))
    assert checked.returncode == 1 and "line 5" in checked.stderr and "min_cosin" in checked.stderr
    file.write_text('[server]\nlisten = "0.0.0.0:8080"\n')
    checked = refrain("check", "--config", str(file))
    assert checked.returncode == 1 and "api_keys" in checked.stderr
    checked = refrain("check", "--config", str(tmp_path / "nothing.toml"))
    assert checked.returncode == 1 and "nothing.toml" in checked.stderr
    checked = refrain("check", REFRAIN_NO_SUCH__KEY="1")
    assert checked.returncode == 1 and "REFRAIN_NO_SUCH__KEY" in checked.stderr
    checked = refrain("check")
    assert checked.returncode == 0 and "127.0.0.1:8080" in checked.stdout
    example = refrain("check", "--config", "refrain.example.toml", OPENAI_API_KEY="k", TEAM_A_KEY="a")
    assert example.returncode == 0, example.stderr


def test_models_are_listed_and_fetched_once():
    assert "all-MiniLM-L6-v2" in refrain("model", "list").stdout
    assert "complete already" in refrain("model", "fetch").stdout
    missing = refrain("model", "fetch", "no-such-model")
    assert missing.returncode == 1 and "no-such-model" in missing.stderr


def test_a_model_is_fetched_from_a_hub_by_its_hashes(tmp_path):
    """From a hub of our own; a file with other bytes than the manifest says is refused and leaves nothing behind."""
    import functools
    import http.server

    class Quiet(http.server.SimpleHTTPRequestHandler):
        log_message = lambda *_: None

    shipped = ROOT / "models/all-MiniLM-L6-v2"
    folder = tmp_path / "hub/owner/name/resolve/main"
    folder.mkdir(parents=True)
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        (folder / file).symlink_to(shipped / file)
    hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "hub"))
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        manifest = (shipped / "manifest.toml").read_text().split("[[sources]]")[0]
        source = '[[sources]]\nkind = "hugging-face"\nrepository = "owner/name"\nrevision = "main"\n'
        good, bad = tmp_path / "models/good", tmp_path / "models/bad"
        for model in (good, bad):
            model.mkdir(parents=True)
        (good / "manifest.toml").write_text(manifest + source)
        (bad / "manifest.toml").write_text(manifest.replace("be50c3628f2b", "000000000000") + source)
        fetch = lambda name: refrain("model", "fetch", name, "--models-dir", str(tmp_path / "models"), HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}")
        assert fetch("good").returncode == 0
        assert (good / "model.safetensors").read_bytes() == (shipped / "model.safetensors").read_bytes()
        refused = fetch("bad")
        assert refused.returncode == 1 and "sha256" in refused.stderr and not (bad / "tokenizer.json").exists()
        assert not list(bad.glob(".tmp*"))
    finally:
        hub.shutdown()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_fails_stores_and_not_lookups(start_refrain, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine doesn't allow mounting")
    try:
        server = start_refrain(environment={"REFRAIN_STORAGE__PATH": str(disk / "db")})
        store(server, "How do I reset my password?", "Like so.")
        failed = None
        for n in range(40):
            reply = server.http.post(ENTRIES, json={"prompt": f"filler {n}", "response": os.urandom(500_000).hex()})
            if reply.status_code != 201:
                failed = reply
                break
        assert failed is not None and failed.status_code == 424 and "disk is full" in failed.json()["detail"], failed
        assert find(server, "How do I reset my password?") == find(server, "How can I reset my password?") == ["Like so."]
        assert server.http.get("/healthz").status_code == 200
        server.stop()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_data_that_can_only_be_read_is_looked_up(start_refrain, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine doesn't allow mounting")
    try:
        server = start_refrain(environment={"REFRAIN_STORAGE__PATH": str(disk / "db")})
        store(server, "How do I reset my password?", "Like so.")
        server.stop()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        server.start()
        assert find(server, "How do I reset my password?") == find(server, "How can I reset my password?") == ["Like so."]
        reply = server.http.post(ENTRIES, json={"prompt": "another", "response": "one"})
        assert reply.status_code == 424 and "can only be read" in reply.json()["detail"]
        assert server.stop() == 0
        for command in ("export", "backup"):
            made = refrain(command, str(tmp_path / command), REFRAIN_STORAGE__PATH=str(disk / "db"))
            assert made.returncode == 0, made.stderr
        assert "Like so." in (tmp_path / "export").read_text()
        server.environment["REFRAIN_STORAGE__PATH"] = str(tmp_path / "backup")
        server.start()
        assert find(server, "How can I reset my password?") == ["Like so."]
        store(server, "another", "one")
        server.stop()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_damaged_table_costs_only_what_it_held(start_refrain):
    server = start_refrain()
    prompts = {f"What is the capital of country number {n}?": f"City {n} {'x' * 500}" for n in range(300)}
    for prompt, response in prompts.items():
        store(server, prompt, response)
    server.stop()
    # The largest holds the vectors.
    table = max((server.data / "db").glob("*.sst"), key=lambda file: file.stat().st_size)
    damaged = bytearray(table.read_bytes())
    for n in range(len(damaged) // 2, len(damaged) // 2 + 500):
        damaged[n] ^= 0xFF
    table.write_bytes(damaged)
    server.start()
    found = sum(find(server, prompt) == [response] for prompt, response in prompts.items())
    assert found == len(prompts)
    paraphrased = sum(find(server, prompt.replace("What is", "What's")) != [] for prompt in prompts)
    assert paraphrased > len(prompts) * 0.9
    assert any("unreadable" in line for line in server.logs)


def test_a_slow_client_is_cut_off_and_others_go_on(start_refrain):
    server = start_refrain('[server]\nread_timeout = "1s"\n')
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow_head, socket.create_connection((host, int(port))) as slow_body:
        slow_head.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        slow_body.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        assert server.http.get("/healthz").status_code == 200
        slow_body.settimeout(10), slow_head.settimeout(10)
        assert b"408" in slow_body.recv(4096)
        slow_head.recv(4096)  # answered or closed, but not kept waiting


def test_a_silent_provider_runs_into_the_time_limit(start_refrain):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = start_refrain(f'[providers.silent]\nbase_url = "http://127.0.0.1:{silent.getsockname()[1]}/v1"\nread_timeout = "500ms"\n')
        reply = server.http.post("/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": "anybody?"}]})
        assert reply.status_code == 504 and "did not answer in time" in reply.json()["error"]["message"]


def embeddings(server, source):
    found = re.search(rf'refrain_embeddings_total{{source="{source}"}} (\d+)', server.http.get("/metrics").text)
    return int(found.group(1)) if found else 0


def test_equal_texts_are_embedded_once_and_remembered(server):
    def ask(texts):
        reply = server.http.post("/v1/embeddings", json={"model": "all-MiniLM-L6-v2", "input": texts})
        assert reply.status_code == 200, reply.text
        return [item["embedding"] for item in reply.json()["data"]]

    text = f"the same words again and again {time.monotonic_ns()}"
    computed = embeddings(server, "computed")
    first = ask([text] * 20)
    assert embeddings(server, "computed") == computed + 1
    remembered = embeddings(server, "memo")
    assert ask([text]) == [first[0]] and all(vector == first[0] for vector in first)
    assert embeddings(server, "memo") == remembered + 1
    metrics = server.http.get("/metrics").text
    assert re.search(r"refrain_embed_queue_texts 0", metrics)
    assert re.search(r"refrain_embed_batch_tokens_count [1-9]", metrics)


def test_long_texts_do_not_hold_up_short_ones(server):
    """A short text is answered while a list of long ones, seconds of work, is still being embedded."""
    words = "".join(f"word{n} " for n in range(600))
    long = [f"{time.monotonic_ns()} {n} {words}" for n in range(40)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(server.http.post, "/v1/embeddings", json={"model": "all-MiniLM-L6-v2", "input": long})
        while "refrain_embed_queue_texts 0" in server.http.get("/metrics").text:
            assert not slow.done()
        reply = server.http.post("/v1/embeddings", json={"model": "all-MiniLM-L6-v2", "input": f"short {words[:9]}"})
        assert reply.status_code == 200 and not slow.done()
        assert slow.result().status_code == 200


@pytest.mark.parametrize("engine", ["candle", "plain"])
def test_the_engine_is_a_setting(tmp_path, engine):
    server = Refrain(tmp_path, f'[embedding]\nengine = "{engine}"\n')
    try:
        assert any(engine in line and "loaded the embedding model" in line for line in server.logs)
        reply = server.http.post("/v1/embeddings", json={"model": "all-MiniLM-L6-v2", "input": "hello"})
        assert len(reply.json()["data"][0]["embedding"]) == 384
    finally:
        server.stop()
