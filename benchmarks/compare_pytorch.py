#!/usr/bin/env python3
"""Times a training step of thinwire and of PyTorch side by side, in one run.

Both programs take turns, step by step, with the same number of threads, so that a machine whose
speed drifts treats them alike. For each model: the median and the best step of both, the ratio of
the medians, thinwire's step against the sum of its convolutions' own best times, and peak memory.

    compare_pytorch.py [--program build/release/benchmarks/training_step] [--rounds 15] [--json FILE]
                       [MODEL...]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "pytorch"))


def pytorch_loop(name, batch, threads):
    """The child process that runs PyTorch: a step for each line of stdin."""
    import resource

    import torch
    import torch.nn.functional as F

    import models
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = models.build(name).to(memory_format=torch.channels_last)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        command = line.strip()
        answer = {}
        if command == "step":
            start = time.perf_counter()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            answer["seconds"] = time.perf_counter() - start
        elif command == "memory":
            answer["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(answer), flush=True)


class Child:
    def __init__(self, command, threads):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment)
        self.facts = json.loads(self.process.stdout.readline())

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(name, arguments):
    ours = Child([arguments.program, name, str(arguments.batch)], arguments.threads)
    theirs = Child([sys.executable, os.path.abspath(__file__), "--child", name,
                    "--batch", str(arguments.batch), "--threads", str(arguments.threads)],
                   arguments.threads)
    our_times, their_times, convolutions = [], [], None
    for round_index in range(arguments.rounds + 2):
        our_time = ours.ask("step")["seconds"]
        their_time = theirs.ask("step")["seconds"]
        convolution = ours.ask("convolutions")["best_seconds"]
        if round_index >= 2:  # warm-up
            our_times.append(our_time)
            their_times.append(their_time)
            convolutions = convolution  # the sum of the best times so far
    result = {
        "model": name,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "pytorch": theirs.facts["version"],
        "thinwire_median_s": statistics.median(our_times),
        "thinwire_best_s": min(our_times),
        "pytorch_median_s": statistics.median(their_times),
        "pytorch_best_s": min(their_times),
        "speedup_median": statistics.median(b / a for a, b in zip(our_times, their_times)),
        "speedup_best": min(their_times) / min(our_times),
        "convolutions_best_s": convolutions,
        "step_over_convolutions": min(our_times) / convolutions,
        "thinwire_peak_bytes": ours.ask("memory")["peak_bytes"],
        "pytorch_peak_bytes": theirs.ask("memory")["peak_bytes"],
    }
    ours.close()
    theirs.close()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program",
                        default=os.path.join(ROOT, "build/release/benchmarks/training_step"))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", help="also write the results to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("models", nargs="*")
    arguments = parser.parse_args()
    if arguments.child:
        pytorch_loop(arguments.child, arguments.batch, arguments.threads)
        return
    results = []
    print(f"{'model':16}{'thinwire':>11}{'PyTorch':>11}{'speed-up':>10}{'step / convolutions':>21}"
          f"{'memory':>11}{'PyTorch':>11}")
    names = arguments.models or ["resnet20", "resnet18_cifar", "vgg16_bn_cifar", "wrn_16_4"]
    for name in names:
        r = compare(name, arguments)
        results.append(r)
        print(f"{name:16}{r['thinwire_median_s'] * 1e3:8.1f} ms{r['pytorch_median_s'] * 1e3:8.1f} ms"
              f"{r['speedup_median']:10.2f}{r['step_over_convolutions']:21.2f}"
              f"{r['thinwire_peak_bytes'] / 2**20:7.0f} MiB{r['pytorch_peak_bytes'] / 2**20:7.0f} MiB",
              flush=True)
    print(f"medians of {arguments.rounds} interleaved steps, batch {arguments.batch}, "
          f"{arguments.threads} threads, PyTorch {results[0]['pytorch']} (channels_last)")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
