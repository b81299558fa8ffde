"""Changing the embedding model, with a server running and without, interrupted or not."""

import array
import json
import random
import signal
import struct
import time

import httpx
import pytest
from conftest import ROOT
from test_moving import find, refrain, run, store

SHIPPED = ROOT / "models/all-MiniLM-L6-v2"
MANY = 3000
FLOWERS = 40


def link(directory, *files):
    for file in files:
        (directory / file).symlink_to(SHIPPED / file)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The shipped model's namesake, one that pools otherwise, and a small one of another dimension that understands nothing."""
    folder = tmp_path_factory.mktemp("models")
    first, second, small = (folder / name for name in ("first", "second", "small"))
    for directory in (first, second, small):
        directory.mkdir()
    link(first, "model.safetensors", "tokenizer.json", "config.json", "manifest.toml")
    link(second, "model.safetensors", "tokenizer.json", "config.json")
    (second / "manifest.toml").write_text('pooling = "cls"\ndimension = 384\nwindow = 256\nmin_cosine = 0.8\n')
    link(small, "tokenizer.json")
    make_small(small)
    return folder


def make_small(directory, hidden=32):
    config = json.loads((SHIPPED / "config.json").read_text())
    config |= {"hidden_size": hidden, "intermediate_size": hidden, "num_attention_heads": 2, "num_hidden_layers": 1}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "manifest.toml").write_text(f'pooling = "mean"\ndimension = {hidden}\nwindow = 256\nmin_cosine = 0.95\n')
    layer = "encoder.layer.0."
    shapes = {
        "embeddings.word_embeddings.weight": [config["vocab_size"], hidden],
        "embeddings.position_embeddings.weight": [config["max_position_embeddings"], hidden],
        "embeddings.token_type_embeddings.weight": [config["type_vocab_size"], hidden],
        "embeddings.LayerNorm.weight": [hidden], "embeddings.LayerNorm.bias": [hidden],
    }
    for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense"):
        shapes |= {f"{layer}{part}.weight": [hidden, hidden], f"{layer}{part}.bias": [hidden]}
    for part in ("attention.output.LayerNorm", "output.LayerNorm"):
        shapes |= {f"{layer}{part}.weight": [hidden], f"{layer}{part}.bias": [hidden]}
    header, data, chance = {}, b"", random.Random(7)
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0] * count if name.endswith("Norm.weight") else [chance.uniform(-0.3, 0.3) for _ in range(count)]
        packed = array.array("f", values).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def environment(models, model):
    return {"REFRAIN_EMBEDDING__MODELS_DIR": str(models), "REFRAIN_EMBEDDING__MODEL": model}


def ratio(server):
    for line in server.http.get("/metrics").text.splitlines():
        if line.startswith("refrain_reembedded_ratio "):
            return float(line.split()[1])
    return 0.0


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.005)
    return value


def embedded_by(server, model):
    """Whether that model answers /v1/embeddings, and so lookups."""
    return server.http.post("/v1/embeddings", json={"model": model, "input": "hello"}).status_code == 200


def logged(server, message):
    return [json.loads(line)["fields"] for line in list(server.logs) if message in line]


def fill(server, tmp_path, count, more=""):
    file = tmp_path / "many.ndjson"
    lines = ({"prompt": f"question number {n} about the {n % 17}th thing{more}", "response": f"answer {n}"} for n in range(count))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert f"{count} entries stored" in run(server.data / "db", "import", file, "--cache", "c")


def test_a_running_server_goes_over_to_another_model(models, start_refrain):
    server = start_refrain(environment=environment(models, "first"))
    store(server, "How do I reset my password?", "Like so.", attributes={"lang": "en"})
    store(server, "How do I get to the station?", "By bus.")
    for model in ("second", "small", "first"):
        asked = refrain(server.data / "db", "reembed", **environment(models, model))
        assert asked.returncode == 0 and asked.stdout == f"all vectors are made by {model}\n", asked
        assert embedded_by(server, model)
        assert find(server, "How do I reset my password ?", attributes={"lang": "en"}) == ["Like so."]
        assert find(server, "How do I get to the station ?") == ["By bus."]
        store(server, f"Is {model} in use?", "Yes.")
        assert find(server, f"Is {model} in use ?") == ["Yes."]
    # As the settings say it is.
    server.restart()
    assert find(server, "How can I reset my password?", attributes={"lang": "en"}) == ["Like so."]
    assert find(server, "Is small in use ?") == ["Yes."]
    again = refrain(server.data / "db", "reembed", **environment(models, "first"))
    assert again.returncode == 0, again
    assert refrain(server.data / "db", "reembed", **environment(models, "none")).returncode == 1


def test_the_model_before_serves_until_all_is_new_and_a_killed_server_goes_on(models, start_refrain, tmp_path):
    server = start_refrain(environment=environment(models, "first"))
    fill(server, tmp_path, MANY)
    store(server, "How do I reset my password?", "Like so.")
    server.stop()

    server.environment |= environment(models, "second")
    with pytest.raises(RuntimeError, match="--reembed"):
        server.start()
    server.arguments = ["--reembed"]
    server.start()
    until(lambda: ratio(server) > 0.2)
    while ratio(server) < 0.5:
        assert find(server, "How can I reset my password?") == ["Like so."]
    store(server, "What is stored meanwhile?", "It counts as well.")
    assert embedded_by(server, "first"), "it was over too soon"
    server.stop(signal.SIGKILL)

    server.logs.clear()
    server.start()
    made = until(lambda: logged(server, "made vectors"))[0]
    assert made["entries"] == MANY + 2 and made["made"] < MANY * 0.75, made
    until(lambda: embedded_by(server, "second"))
    assert find(server, "How can I reset my password?") == ["Like so."]
    assert find(server, "What's stored meanwhile?") == ["It counts as well."]
    # It is as if it had never been otherwise.
    server.arguments = []
    server.restart()
    assert find(server, "What's stored meanwhile?") == ["It counts as well."]
    assert find(server, "question number 77 about the 9th thing?")


def test_what_is_stored_meanwhile_is_found_by_both_models(models, start_refrain, tmp_path):
    server = start_refrain(environment=environment(models, "first"))
    # Few, so that all are compared with, and long, so that it takes a while.
    fill(server, tmp_path, 900, " and why is that so" * 25)
    asked = until_reembedding(server, models / "second")
    # Each is near itself only: it is found by its vector, whichever model's.
    flower = lambda n: find(server, f"Which colour has flower {n}?", searchStrategies=["semantic"])
    for n in range(FLOWERS):
        store(server, f"Which colour has flower {n}?", f"colour {n}")
        assert flower(n) == [f"colour {n}"]
    assert embedded_by(server, "first"), "it was over too soon"
    asked.close()
    until(lambda: embedded_by(server, "second"))
    for n in range(FLOWERS):
        assert flower(n) == [f"colour {n}"]


def until_reembedding(server, model):
    """A client that asks for it, and doesn't read on."""
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(server.data / "db" / "control.sock")), timeout=20)
    client.stream("POST", "http://refrain/reembed", json={"model": str(model)}).__enter__()
    other = client.post("http://refrain/reembed", json={"model": str(model.parent / "small")})
    assert other.status_code == 409 and "already" in other.text
    until(lambda: ratio(server) > 0.05)
    return client


def test_where_the_model_before_is_gone_exact_texts_are_found_meanwhile(models, start_refrain, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    link(gone, "model.safetensors", "tokenizer.json", "config.json", "manifest.toml")
    (gone / "manifest.toml").unlink()
    (gone / "manifest.toml").write_text('pooling = "mean"\ndimension = 384\nwindow = 128\nmin_cosine = 0.9\n')
    server = start_refrain(environment={"REFRAIN_EMBEDDING__MODEL": str(gone)})
    fill(server, tmp_path, MANY)
    server.stop()
    (gone / "model.safetensors").unlink()
    server.environment = environment(models, "first")
    server.arguments = ["--reembed"]
    server.start()
    assert find(server, "question number 5 about the 5th thing") == ["answer 5"]
    store(server, "What was stored meanwhile?", "This.")
    until(lambda: find(server, "question number 5 about the 5th thing?") and find(server, "What was stored meanwhile ?"))


def test_a_threshold_is_one_of_the_model_that_the_settings_name(models, start_refrain):
    # Any two texts are near enough for this one with the first model; the second has a threshold of its own.
    server = start_refrain("[caches.default]\nmin_cosine = -1.0\n", environment=environment(models, "first"))
    store(server, "How do I reset my password?", "Like so.")
    assert find(server, "Bananas are yellow") == ["Like so."]
    run(server.data / "db", "reembed", **environment(models, "second"))
    assert find(server, "Bananas are yellow") == []
    assert find(server, "How do I reset my password ?") == ["Like so."]


def test_without_a_server_it_is_done_by_the_command(models, start_refrain):
    server = start_refrain(environment=environment(models, "first"))
    store(server, "How do I reset my password?", "Like so.")
    server.stop()
    assert run(server.data / "db", "reembed", **environment(models, "second")) == "all vectors are made by second\n"
    with pytest.raises(RuntimeError, match="Vectors of two models"):
        server.start()
    server.environment |= environment(models, "second")
    server.start()
    assert find(server, "How can I reset my password?") == ["Like so."]
