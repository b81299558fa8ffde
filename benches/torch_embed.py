"""Times PyTorch on the embedding model: what `refrain bench embed` is compared with on a GPU.

Set up once:  python3 -m venv V && V/bin/pip install torch transformers
Run:          V/bin/python benches/torch_embed.py [--device cuda] [--tokens 16,128] [--batches 1,4,16,64,256,1024]

Prints, per row, the median milliseconds per text and texts per second; 16-bit floats on a GPU, 32-bit ones on a CPU. Token ids
start in the host's memory and vectors end there, as they do in Refrain. `--compile` lets torch.compile fuse what it can.
"""
import argparse
import pathlib
import statistics
import time

import torch
from transformers import AutoModel

MODEL = pathlib.Path(__file__).parent.parent / "models/all-MiniLM-L6-v2"


def counts(text):
    return [int(number) for number in text.split(",")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--tokens", type=counts, default=[16, 128])
    parser.add_argument("--batches", type=counts, default=[1, 4, 16, 64, 256, 1024])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    dtype = torch.float16 if torch.device(options.device).type == "cuda" else torch.float32
    model = AutoModel.from_pretrained(options.model, dtype=dtype, attn_implementation="sdpa")
    model = model.to(options.device).eval()
    if options.compile:
        model = torch.compile(model, dynamic=False)
    print(f"PyTorch {torch.__version__} on {options.device}, {dtype}{', compiled' if options.compile else ''}")
    print("tokens  batch   ms/text   texts/s")
    for tokens in options.tokens:
        for batch in options.batches:
            ids = torch.randint(2000, 3000, (batch, tokens))

            def run():
                hidden = model(input_ids=ids.to(options.device)).last_hidden_state
                return torch.nn.functional.normalize(hidden.float().mean(1)).cpu()

            with torch.inference_mode():
                for _ in range(3):
                    run()
                times, started = [], time.perf_counter()
                while not times or time.perf_counter() - started < options.seconds:
                    once = time.perf_counter()
                    run()
                    times.append(time.perf_counter() - once)
            seconds = statistics.median(times)
            print(f"{tokens:6}  {batch:5}  {seconds * 1e3 / batch:8.3f}  {batch / seconds:8.0f}", flush=True)


main()
