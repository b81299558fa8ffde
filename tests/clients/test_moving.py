"""Backups, exports and imports, with a server running and without."""

import json
import os
import subprocess
import time

import pytest
from conftest import BINARY, ROOT

ENTRIES = "/v1/caches/c/entries"


def refrain(data, *arguments, **more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("REFRAIN_", "OPENAI_"))}
    environment = {**clean, "REFRAIN_STORAGE__PATH": str(data), "REFRAIN_LOG__LEVEL": "warn", **more}
    return subprocess.run([BINARY, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def run(data, *arguments, **more):
    ended = refrain(data, *arguments, **more)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def store(server, prompt, response, cache="c", **more):
    reply = server.http.post(f"/v1/caches/{cache}/entries", json={"prompt": prompt, "response": response, **more})
    assert reply.status_code == 201, reply.text


def find(server, prompt, cache="c", **more):
    reply = server.http.post(f"/v1/caches/{cache}/entries/search", json={"prompt": prompt, **more}).json()
    return [entry["response"] for entry in reply["data"]]


@pytest.fixture
def filled(start_refrain):
    server = start_refrain()
    store(server, "How do I reset my password?", "Like so.", attributes={"lang": "en"})
    store(server, "What is the capital of France?", "Paris", scope={"tier": "gold"})
    store(server, "Is it open on Sundays?", "No.", cache="d")
    return server


def assert_filled(server):
    assert find(server, "How can I reset my password?", attributes={"lang": "en"}) == ["Like so."]
    assert find(server, "What's the capital of France?", scope={"tier": "gold"}) == ["Paris"]
    assert find(server, "What is the capital of France?") == []
    assert find(server, "Is it open on Sundays?", cache="d") == ["No."]


def test_a_backup_of_a_running_server_is_of_one_moment_and_comes_back(filled, start_refrain, tmp_path):
    backup = tmp_path / "backup"
    assert "holds" in run(filled.data / "db", "backup", backup)
    store(filled, "Came later", "and isn't there")
    other = start_refrain()
    other.stop()
    target = other.data / "restored"
    assert "restored" in run(target, "restore", backup)
    other.environment["REFRAIN_STORAGE__PATH"] = str(target)
    other.start()
    assert_filled(other)
    assert find(other, "Came later") == []
    assert find(filled, "Came later") == ["and isn't there"]


def test_commands_reach_a_server_whose_directory_has_a_long_name(start_refrain, tmp_path):
    data = tmp_path / ("long" * 25) / ("longer" * 20)
    data.parent.mkdir()
    server = start_refrain(environment={"REFRAIN_STORAGE__PATH": str(data)})
    store(server, "How do I reset my password?", "Like so.")
    assert "holds" in run(data, "backup", tmp_path / "backup")
    assert (data / "control.sock").is_socket()


def test_nothing_is_overwritten_by_a_backup_or_a_restore(filled, tmp_path):
    database = filled.data / "db"
    run(database, "backup", tmp_path / "backup")
    again = refrain(database, "backup", tmp_path / "backup")
    assert again.returncode != 0 and "doesn't exist yet" in again.stderr
    onto = refrain(database, "restore", tmp_path / "backup")
    assert onto.returncode != 0 and "not empty" in onto.stderr
    none = refrain(tmp_path / "new", "restore", tmp_path)
    assert none.returncode != 0 and "is no backup" in none.stderr
    assert_filled(filled)


def test_an_export_is_imported_elsewhere_with_and_without_vectors(filled, start_refrain, tmp_path):
    file = tmp_path / "entries.ndjson"
    assert run(filled.data / "db", "export", file) == f"3 entries are in {file}\n"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(line["vector"]["components"] for line in lines)

    running = start_refrain()
    assert "3 entries stored" in run(running.data / "db", "import", file)
    assert_filled(running)

    # Without vectors, they are made again.
    for line in lines:
        del line["vector"]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    stopped = start_refrain()
    stopped.stop()
    assert "3 entries stored" in run(stopped.data / "db", "import", file)
    one = tmp_path / "one.ndjson"
    assert run(stopped.data / "db", "export", one, "--cache", "d").startswith("1 entries")
    stopped.start()
    assert_filled(stopped)


def test_lines_of_no_use_are_named_and_the_others_stored(start_refrain, tmp_path):
    server = start_refrain()
    good = {"prompt": "What is the capital of France?", "response": "Paris"}
    wrong = {**good, "vector": {"model": "other", "blurred": False, "components": "?"}}
    digest = "0" * 64
    lines = [
        json.dumps(good), "", "{", json.dumps({"prompt": "no response"}), json.dumps({**good, "colour": 1}),
        json.dumps({**good, "prompt": "long gone", "expires": 1}), json.dumps({**good, "prompt": "x", "fingerprint": "zz"}),
        json.dumps({**good, "prompt": "Vectors of other models are made anew", "response": "Yes"} | {"vector": wrong["vector"] | {"model": digest}}),
    ]
    file = tmp_path / "lines.ndjson"
    file.write_text("\n".join(lines))
    ended = refrain(server.data / "db", "import", file, "--cache", "c")
    assert ended.returncode == 0 and ended.stdout == "2 entries stored, 1 expired, 4 lines refused\n", ended
    for number in (3, 4, 5, 7):
        assert f"line {number}: " in ended.stderr
    assert find(server, "What's the capital of France?") == ["Paris"]
    assert find(server, "Vectors of other models are made anew") == ["Yes"]
    file.write_text("nothing\n")
    assert refrain(server.data / "db", "import", file).returncode == 1


def test_more_entries_than_there_is_room_for(start_refrain, tmp_path):
    server = start_refrain('[storage]\nmax_bytes = "600KiB"\n[caches.small]\nmax_bytes = "50KiB"\n')
    for n in range(5):
        store(server, f"How do I reset password number {n}?", f"Like so, {n}.", cache="small")
        assert find(server, f"How do I reset password number {n}?", cache="small") == [f"Like so, {n}."]
    file = tmp_path / "flood.ndjson"
    lines = ({"prompt": f"one of many, and its number is {n}", "response": "x" * 1000} for n in range(1000))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(server.data / "db", "import", file, "--cache", "small")
    run(server.data / "db", "import", file, "--cache", "c")

    def stats(cache):
        return server.http.get(f"/v1/caches/{cache}/stats").json()

    while stats("small")["bytes"] > 50 << 10 or stats("small")["bytes"] + stats("c")["bytes"] > 600 << 10:
        pass
    assert stats("small")["entries"] > 5 and stats("c")["entries"] > 50
    for n in range(5):
        assert find(server, f"How do I reset password number {n}?", cache="small") == [f"Like so, {n}."]
    metrics = server.http.get("/metrics").text
    assert int(next(line for line in metrics.splitlines() if line.startswith("refrain_evictions_total")).split()[1]) > 1000
    server.restart()
    assert 5 < stats("small")["entries"] and stats("small")["bytes"] <= 50 << 10


def test_callers_move_entries_between_their_own_caches_only(start_refrain):
    server = start_refrain('[tenants.a]\napi_keys = ["ka"]\n[tenants.b]\napi_keys = ["kb"]\n[caches.short]\nttl = "1h"\n')
    for tenant, answer in (("a", "Paris"), ("b", "secret")):
        server.http.headers["Authorization"] = f"Bearer k{tenant}"
        store(server, "What is the capital of France?", answer, scope={"tier": 1}, attributes={"lang": "en"})
    server.http.headers["Authorization"] = "Bearer ka"
    exported = server.http.get("/v1/caches/c/export")
    assert exported.headers["content-type"] == "application/x-ndjson"
    line = json.loads(exported.text)
    assert line["response"] == "Paris"

    # Whatever the line says, it is the caller's, in the cache that is named, and lives no longer than that allows.
    lines = [
        {**line, "tenant": "b", "cache": "c", "uses": 10**9, "expires": 2**50},
        {**line, "attributes": {"a b": "c"}}, {**line, "attributes": {f"a{n}": "" for n in range(17)}},
        {**line, "completion": "{"}, {**line, "prompt": ""},
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    reply = server.http.post("/v1/caches/short/import", content=body)
    assert reply.status_code == 200 and (reply.json()["stored"], reply.json()["refused"]) == (1, 4), reply.text
    assert [number for number, _ in reply.json()["why"]] == [2, 3, 4, 5]
    assert find(server, "What's the capital of France?", "short", scope={"tier": 1}, attributes={"lang": "en"}) == ["Paris"]
    moved = json.loads(server.http.get("/v1/caches/short/export").text)
    assert moved["expires"] - time.time() * 1000 < 3_600_001 and moved["uses"] == 1
    server.http.headers["Authorization"] = "Bearer kb"
    assert find(server, "What is the capital of France?", "c", scope={"tier": 1}) == ["secret"]
    assert server.http.get("/v1/caches/short/export").text == ""
    long = server.http.post("/v1/caches/short/import", content=b"x" * (40 << 20) + b"\n" + json.dumps(line).encode()).json()
    assert (long["stored"], long["refused"], long["why"]) == (1, 1, [[1, "it is too long"]])
