"""hnswlib and usearch on the vectors of `cargo bench --bench index`, on one thread: index_peers.py DIRECTORY DIMENSION"""

import pathlib
import statistics
import sys
import time

import hnswlib
import numpy
from usearch.index import Index

K = 8
directory, dimension = pathlib.Path(sys.argv[1]), int(sys.argv[2])
stored, asked = (numpy.fromfile(directory / name, dtype="<f4").reshape(-1, dimension) for name in ("stored", "asked"))
exact = [float(numpy.max(stored @ query)) for query in asked]


def row(name, search, built):
    times, right = [], 0
    for query, best in zip(asked, exact):
        started = time.perf_counter()
        found = search(query)
        times.append(time.perf_counter() - started)
        # Several may be equally near.
        right += int(stored[int(found)] @ query + 1e-5 > best)
    print(f"{name:22} {right / len(asked):8.4f}   {statistics.median(times) * 1e6:9.1f}   {built:7.0f}", flush=True)


started = time.perf_counter()
index = hnswlib.Index("ip", dimension)
index.init_index(len(stored), M=16, ef_construction=200)
index.set_num_threads(1)
index.add_items(stored, num_threads=1)
built = len(stored) / (time.perf_counter() - started)
for ef in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512):
    index.set_ef(ef)
    row(f"hnswlib, ef {ef}", lambda query: index.knn_query(query, k=K, num_threads=1)[0][0][0], built)
del index

started = time.perf_counter()
index = Index(ndim=dimension, metric="ip", dtype="f32", connectivity=16, expansion_add=200)
index.add(numpy.arange(len(stored)), stored, threads=1)
built = len(stored) / (time.perf_counter() - started)
for ef in (32, 64, 128):
    index.expansion_search = ef
    row(f"usearch, ef {ef}", lambda query: int(index.search(query, K, threads=1).keys[0]), built)
