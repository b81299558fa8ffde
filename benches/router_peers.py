"""Times the router against the provider alone, Portkey's gateway and LiteLLM's proxy, with the cache off, in one run.

Needs wrk, the built binary and benchmark (`cargo build --release --benches`), and the peers:
  npm install @portkey-ai/gateway          (in DIR)
  python3 -m venv VENV && VENV/bin/pip install "litellm[proxy]==1.106.2"
Run: python3 benches/router_peers.py [--portkey DIR] [--litellm VENV] [--seconds 5] [--rounds 3]

Rounds go through all of them in turns, so that what else the machine does hits everybody. Then each takes half of the load of
Refrain's own flood at a steady pace from one connection a request in flight, for what it adds at the median and at the 99th percentile.
"""
import argparse
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
SCRIPT = """
wrk.method = "POST"
wrk.body = [[{"model":"%s","messages":[{"role":"user","content":"What is the capital of France?"}]}]]
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer unused"
wrk.headers["cache-control"] = "no-cache, no-store"
%s
"""


def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(url, body, headers):
    deadline = time.monotonic() + 90
    while True:
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", "authorization": "Bearer unused", **headers})
            with urllib.request.urlopen(request, timeout=5) as reply:
                assert "Paris" in reply.read().decode()
                return
        except (OSError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def wrk(script, url, connections, seconds):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in out, out
    def millis(name):
        value, unit = re.search(rf"\s{name}%\s+([\d.]+)(us|ms|s)", out).groups()
        return float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), millis("50"), millis("99")


def resident(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--portkey", type=pathlib.Path)
    parser.add_argument("--litellm", type=pathlib.Path)
    parser.add_argument("--aimock", type=pathlib.Path, help="a folder with @copilotkit/aimock, to be the provider in place of ours")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    running = []

    def start(command, **more):
        running.append(subprocess.Popen(command, stdout=more.pop("stdout", subprocess.DEVNULL), stderr=subprocess.DEVNULL, **more))
        return running[-1]

    try:
        built = [file for file in TARGET.glob("deps/proxy-*") if not file.suffix and os.access(file, os.X_OK)]
        bench = max(built, key=lambda file: file.stat().st_mtime)
        if options.aimock:
            mock = port()
            start(["node", options.aimock / "node_modules/@copilotkit/aimock/dist/cli.js", "-p", str(mock), "-f", ROOT / "tests/clients/fixtures", "--log-level", "warn"])
            upstream = f"127.0.0.1:{mock}"
        else:
            upstream = start([bench, "upstream"], stdout=subprocess.PIPE, text=True).stdout.readline().strip()
        peers = {"provider alone": (f"http://{upstream}/v1/chat/completions", "m", {})}
        refrain = port()
        process = start([TARGET / "refrain", "serve"], cwd=ROOT, env={
            **os.environ, "REFRAIN_SERVER__LISTEN": f"127.0.0.1:{refrain}", "REFRAIN_STORAGE__PATH": str(folder / "db"),
            "REFRAIN_PROVIDERS__FAKE__BASE_URL": f"http://{upstream}/v1", "REFRAIN_PROVIDERS__FAKE__API_KEY": "k", "REFRAIN_LOG__LEVEL": "warn"})
        peers["Refrain"] = (f"http://127.0.0.1:{refrain}/v1/chat/completions", "m", {})
        if options.portkey:
            portkey = port()
            start(["node", options.portkey / "node_modules/@portkey-ai/gateway/build/start-server.js", f"--port={portkey}", "--headless"])
            headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://{upstream}/v1"}
            peers["Portkey"] = (f"http://127.0.0.1:{portkey}/v1/chat/completions", "m", headers)
        if options.litellm:
            litellm = port()
            (folder / "litellm.yaml").write_text(
                f"model_list:\n  - model_name: m\n    litellm_params: {{model: openai/m, api_base: 'http://{upstream}/v1', api_key: k}}\n")
            start([options.litellm / "bin/litellm", "--config", folder / "litellm.yaml", "--port", str(litellm), "--host", "127.0.0.1"],
                  env={**os.environ, "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"})
            peers["LiteLLM"] = (f"http://127.0.0.1:{litellm}/v1/chat/completions", "m", {})
        scripts = {}
        for name, (url, model, headers) in peers.items():
            wait(url, {"model": model, "messages": [{"role": "user", "content": "What is the capital of France?"}]}, headers)
            scripts[name] = folder / f"{name}.lua"
            lines = "\n".join(f'wrk.headers["{header}"] = "{value}"' for header, value in headers.items())
            scripts[name].write_text(SCRIPT % (model, lines))
        rates = {name: [] for name in peers}
        for _ in range(options.rounds):
            for name, (url, *_) in peers.items():
                rates[name].append(wrk(scripts[name], url, 16, options.seconds)[0])
        alone = statistics.median(rates["provider alone"])
        print("16 connections       requests/s   of the provider alone")
        for name, values in rates.items():
            rate = statistics.median(values)
            print(f"{name:<20} {rate:10.0f}   {rate / alone:20.1%}")
        print(f"\nRefrain's memory after that: {resident(process):.0f} MB\n")
        print("1 connection          p50 ms    p99 ms")
        for name, (url, *_) in peers.items():
            _, p50, p99 = wrk(scripts[name], url, 1, options.seconds)
            print(f"{name:<20} {p50:7.3f}   {p99:7.3f}")
    finally:
        for process in running:
            process.terminate()


main()
