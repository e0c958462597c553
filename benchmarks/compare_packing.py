#!/usr/bin/env python3
"""Times sign packing and Top-K of numpy and PyTorch against thinwire's, in one run.

All compress a vector of ResNet-18's size with the same number of threads, and take turns: in each
round thinwire's benchmark program runs for a moment, then each library. Packing is the sign's bits
and the mean magnitude; unpacking adds the decoded message to a vector; Top-K keeps 1.6 %. The best
time of each counts. Skips (77) where numpy is missing; PyTorch is left out where it is.

    compare_packing.py [--program build/release/benchmarks/compression] [--rounds 5] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIZE = 11_173_962
TOP_K = int(0.016 * SIZE)
OURS = {"pack": "sign/pack", "unpack and add": "sign/add", "Top-K": "top_k"}


def numpy_tasks(numpy):
    generator = numpy.random.default_rng(0)
    vector = generator.standard_normal(SIZE, dtype=numpy.float32)
    state = numpy.zeros(SIZE, numpy.float32)
    bits = numpy.packbits(vector >= 0)

    def pack():
        return numpy.packbits(vector >= 0), numpy.abs(vector).mean(dtype=numpy.float64)

    def unpack():
        signs = numpy.unpackbits(bits, count=SIZE).astype(numpy.float32)
        state[:] += 0.1 * (2 * signs - 1)

    def top_k():
        chosen = numpy.argpartition(numpy.abs(vector), SIZE - TOP_K)[SIZE - TOP_K:]
        chosen.sort()
        return chosen, vector[chosen]

    return {"pack": pack, "unpack and add": unpack, "Top-K": top_k}


def torch_tasks(torch):
    torch.manual_seed(0)
    padded = (SIZE + 7) // 8 * 8
    vector = torch.randn(padded)
    state = torch.zeros(padded)
    places = 2 ** torch.arange(8, dtype=torch.uint8)
    bits = ((vector >= 0).view(-1, 8) * places).sum(1, dtype=torch.uint8)

    def pack():
        packed = ((vector >= 0).view(-1, 8) * places).sum(1, dtype=torch.uint8)
        return packed, vector.abs().mean()

    def unpack():
        signs = (bits.unsqueeze(1) & places).ne(0).view(-1).float()
        state.add_(2 * signs - 1, alpha=0.1)

    def top_k():
        chosen = torch.topk(vector[:SIZE].abs(), TOP_K, sorted=False).indices.sort().values
        return chosen, vector[chosen]

    return {"pack": pack, "unpack and add": unpack, "Top-K": top_k}


def run_ours(program, threads):
    """The best milliseconds of each task in one run of the benchmark program."""
    pattern = "^(" + "|".join(OURS.values()) + ")/"
    output = subprocess.run(
        [program, f"--benchmark_filter={pattern}manual_time$", "--benchmark_format=json",
         "--benchmark_min_time=0.1"],
        env=dict(os.environ, OMP_NUM_THREADS=str(threads)), check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True).stdout
    best = {run["name"].removesuffix("/manual_time"): run["best_ms"]
            for run in json.loads(output)["benchmarks"]}
    return {task: best[name] for task, name in OURS.items()}


def milliseconds(work):
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program",
                        default=os.path.join(ROOT, "build/release/benchmarks/compression"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="also write the results to this file")
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    try:
        import numpy
    except ImportError:
        print("numpy is not installed: nothing to compare with")
        sys.exit(77)
    libraries = {f"numpy {numpy.__version__}": numpy_tasks(numpy)}
    try:
        import torch
        torch.set_num_threads(arguments.threads)
        libraries[f"PyTorch {torch.__version__}"] = torch_tasks(torch)
    except ImportError:
        print("PyTorch is not installed: left out")

    best = {}

    def keep(who, task, time_taken):
        best[who, task] = min(time_taken, best.get((who, task), float("inf")))

    for _ in range(arguments.rounds):
        for task, time_taken in run_ours(arguments.program, arguments.threads).items():
            keep("thinwire", task, time_taken)
        for library, tasks in libraries.items():
            for task, work in tasks.items():
                keep(library, task, milliseconds(work))

    print(f"{'':16}{'thinwire':>12}" + "".join(f"{name:>22}" for name in libraries))
    results = []
    for task in OURS:
        ours = best["thinwire", task]
        line = f"{task:16}{ours:9.2f} ms"
        for library in libraries:
            theirs = best[library, task]
            line += f"{theirs:10.1f} ms ={theirs / ours:6.1f} x"
            results.append({"task": task, "library": library, "thinwire_ms": ours,
                            "library_ms": theirs, "ratio": theirs / ours})
        print(line)
    print(f"best of {arguments.rounds} rounds in turn, {SIZE} float32, {arguments.threads} threads")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
