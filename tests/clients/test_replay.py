"""`refrain replay`: what a trace would have got."""

import json
import re

from test_moving import refrain, run

TRACE = [
    ("How do I reset my password?", "password"), ("What is the capital of France?", "paris"), ("How can I reset my password?", "password"),
    ("How do I reset my password?", "password"), ("What's the capital of France?", "paris"), ("How do I reset your password?", "other"),
]


def write(path, lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps({"prompt": line[0], "group": line[1]})) + "\n" for line in lines))
    return path


def rows(text):
    """Of each policy: requests, exact hits, semantic hits."""
    return {line[:11].strip(): [int(cell) for cell in line.split()[2:5]] for line in text.splitlines() if re.match(r"static \d", line)}


def test_policies_are_compared_and_nothing_is_kept(tmp_path):
    data = tmp_path / "data"
    out = run(data, "replay", write(tmp_path / "trace.jsonl", TRACE), "--min-cosine", "0.85", "--min-cosine", "1")
    # At 0.85 all but the first two are answered, and the last one with the wrong answer.
    assert rows(out) == {"static 0.85": [6, 1, 3], "static 1.00": [6, 1, 0]}, out
    wrong = next(line for line in out.splitlines() if line.startswith("static 0.85"))
    assert "16.67 [3.01–56.35]" in wrong and "25.0 [4.6–69.9]" in wrong, wrong
    assert not data.exists()


def test_broken_lines_are_named_and_passed_over(tmp_path):
    trace = write(tmp_path / "trace.jsonl", [TRACE[0], "{", '{"prompt": "no group"}', "", TRACE[2]])
    ended = refrain(tmp_path / "data", "replay", trace, "--min-cosine", "0.85")
    assert ended.returncode == 0 and rows(ended.stdout) == {"static 0.85": [2, 0, 1]}, ended
    assert "line 2 is passed over" in ended.stderr and "line 3 is passed over" in ended.stderr and "2 lines" in ended.stderr


def test_what_can_not_be_replayed_is_said(tmp_path):
    for trace, arguments, why in (
        (write(tmp_path / "empty.jsonl", []), [], "no request"),
        (tmp_path / "none.jsonl", [], "none.jsonl"),
        (write(tmp_path / "trace.jsonl", TRACE), ["--min-cosine", "7"], "no cosine"),
    ):
        ended = refrain(tmp_path / "data", "replay", trace, *arguments)
        assert ended.returncode == 1 and why in ended.stderr and "panicked" not in ended.stderr, ended


def test_budgets_are_compared_on_a_page_and_twice_alike(tmp_path):
    places = ("Lyon", "Porto", "Ghent", "Turin", "Malaga", "Bergen", "Gdansk", "Leeds", "Graz", "Basel")
    lines = [(f"{how} the weather in {place} {when}?", f"{place} {when}") for when in ("today", "next week")
             for how in ("What is", "How is", "Tell me") for place in places]
    trace = write(tmp_path / "trace.jsonl", lines)
    page = tmp_path / "page.html"
    arguments = ("--budget", "0.05", "--shuffle", "3", "--report", page)
    out = run(tmp_path / "data", "replay", trace, *arguments)
    assert out == run(tmp_path / "data", "replay", trace, *arguments)
    budget, per_entry = (line.split() for line in out.splitlines()[1:3])
    assert budget[:3] == ["budget", "0.05", "60"] and per_entry[:3] == ["per-entry", "0.05", "60"]
    assert int(budget[4]) > int(per_entry[4]), out
    assert "budget held" in out
    html = page.read_text()
    assert "budget 0.05" in html and "<svg" in html and "http://" not in html.replace("http://www.w3.org", "")


def test_what_was_exported_can_be_replayed(tmp_path):
    trace = tmp_path / "export.jsonl"
    trace.write_text("".join(json.dumps({"prompt": text, "response": group}) + "\n" for text, group in TRACE))
    out = run(tmp_path / "data", "replay", trace, "--min-cosine", "0.85")
    assert rows(out) == {"static 0.85": [6, 1, 3]}, out


def test_a_trace_may_bring_its_own_vectors(tmp_path):
    # Nothing like what the shipped model says, and of another dimension.
    vectors = [[1, 0, 0], [0, 1, 0], [0.99, 0.1, 0], [1, 0, 0], [0, 0, 1], [0, 0.99, 0.1]]
    lines = [json.dumps({"prompt": text, "group": group, "embedding": vector}) for (text, group), vector in zip(TRACE, vectors)]
    lines += [json.dumps({"prompt": "no vector", "group": "x"}), json.dumps({"prompt": "too short", "group": "x", "embedding": [1, 0]})]
    ended = refrain(tmp_path / "data", "replay", write(tmp_path / "trace.jsonl", lines), "--min-cosine", "0.85", "--embeddings", "embedding")
    assert ended.returncode == 0 and "its embedding has 2 dimensions" in ended.stderr, ended
    # The third is near the first, the last near the second, whatever they say.
    assert rows(ended.stdout) == {"static 0.85": [7, 1, 2]}, ended.stdout
    ended = refrain(tmp_path / "data", "replay", write(tmp_path / "none.jsonl", TRACE), "--embeddings", "embedding")
    assert ended.returncode != 0 and "no request of the trace has a vector" in ended.stderr


def test_odd_traces_are_replayed_like_others(tmp_path):
    one_group = [(f"{prompt} {n}", "same") for n in range(20) for prompt, _ in TRACE]
    no_hits = [(f"{n} is a number that is unlike any other in {n * n} ways", f"group {n}") for n in range(60)]
    # The same prompt with answers that contradict each other.
    contradictory = [("What is the rate today?", f"group {n % 3}") for n in range(60)]
    for name, trace in [("one group", one_group), ("no hits", no_hits), ("contradictory", contradictory)]:
        ended = refrain(tmp_path / "data", "replay", write(tmp_path / "trace.jsonl", trace), "--budget", "0.02", "--policy", "budget", "--policy", "per-entry")
        assert ended.returncode == 0 and "panicked" not in ended.stderr, (name, ended)
        assert len([line for line in ended.stdout.splitlines() if line.startswith(("budget 0.02", "per-entry 0.02"))]) >= 2, (name, ended.stdout)
