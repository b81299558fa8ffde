"""Data directories that lack a file: the server refuses them with a sentence, and `refrain check --data` keeps what can be read."""

import signal
import subprocess

import pytest
from conftest import BINARY, Refrain

SETTINGS = """
[caches.default]
policy = "budget"
error_budget = 0.05
audit_rate = 0
"""
ASKED, NEAR, ANSWER = "How do I reset my password?", "How can I reset my password?", "Click on forgot password."


def search(server, prompt):
    reply = server.http.post("/v1/caches/help/entries/search", json={"prompt": prompt})
    assert reply.status_code == 200, reply.text
    return [entry["response"] for entry in reply.json()["data"]]


def store(server, prompt, response):
    reply = server.http.post("/v1/caches/help/entries", json={"prompt": prompt, "response": response})
    assert reply.status_code == 201, reply.text


def check(server, *arguments):
    command = [BINARY, "check", "--data", server.data / "db", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def killed(tmp_path):
    """A server that has stored entries before and after a restart, and was killed."""
    server = Refrain(tmp_path, SETTINGS)
    store(server, ASKED, ANSWER)
    server.restart()
    store(server, "What is the capital of France?", "Paris")
    server.stop(signal.SIGKILL)
    yield server
    server.stop(signal.SIGKILL)


def test_what_is_whole_has_no_problem(killed):
    code, said = check(killed)
    assert code == 0 and "entries      2" in said and "caches       1" in said, said
    killed.start()
    assert search(killed, ASKED) == [ANSWER]


@pytest.mark.parametrize("missing, survives", [("CURRENT", 2), ("MANIFEST-*", 2), ("*.log", 1), ("*.sst", 0)])
def test_a_missing_file_is_a_sentence_and_has_a_way_out(killed, missing, survives):
    for file in (killed.data / "db").glob(missing):
        file.unlink()
    with pytest.raises(RuntimeError) as refusal:
        killed.start()
    said = str(refusal.value)
    assert "is missing" in said and "check --data" in said and "--mend" in said, said
    code, said = check(killed)
    assert code == 1 and "is missing" in said and "--mend" in said, said

    code, said = check(killed, "--mend")
    assert code == 1 and "before-mend-1" in said and "writes were lost" in said, said
    assert (killed.data / "db.before-mend-1").is_dir()
    killed.start()
    found = [search(killed, prompt) for prompt in (ASKED, "What is the capital of France?")]
    assert sum(map(bool, found)) >= survives, found
    if found[0]:
        # It may have been reported wrong, and the report be lost: near texts aren't answered, after restarts neither.
        for _ in range(2):
            assert search(killed, NEAR) == []
            ready = killed.http.get("/readyz")
            assert ready.status_code == 200 and "help" in ready.text and "flush" in ready.text
            killed.restart()
        assert killed.http.post("/v1/caches/help/flush").status_code == 204
        assert killed.http.get("/readyz").text == "ready\n"
        store(killed, ASKED, ANSWER)
        assert search(killed, NEAR) == [ANSWER]


def test_a_table_whose_end_is_damaged_is_left_out(killed):
    table = max((killed.data / "db").glob("*.sst"))
    table.write_bytes(table.read_bytes()[:-60] + b"x" * 60)
    code, said = check(killed)
    assert code == 1 and "--mend" in said, said
    check(killed, "--mend")
    killed.start()
    # The last entry was in the log alone.
    assert search(killed, "What is the capital of France?") == ["Paris"]


def test_who_never_reported_anything_says_so(killed):
    (killed.data / "db/CURRENT").unlink()
    check(killed, "--mend", "--nothing-was-reported")
    killed.start()
    assert search(killed, NEAR) == [ANSWER]
    assert killed.http.get("/readyz").text == "ready\n"


def test_a_directory_that_is_none(tmp_path):
    done = subprocess.run([BINARY, "check", "--data", tmp_path / "no"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "is no directory" in done.stderr
