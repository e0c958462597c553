#!/usr/bin/env python3
"""Times PyTorch's training steps on a device, as `thinwire bench step` times ours.

The networks are those that tests/pytorch compares with ours; NHWC, momentum SGD, one random batch.
On a GPU float32 is without TF32, as ours. Medians of steps, each up to its end on the device.

    gpu_pytorch.py [--device cuda] [--seconds 3] [--batch-size 128] [MODEL...]
"""

import argparse
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "pytorch"))

import models  # noqa: E402


def time_model(name, device, batch, seconds):
    """Milliseconds of the median step, and the number of steps."""
    torch.manual_seed(0)
    model = models.build(name).to(device=device, memory_format=torch.channels_last)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(batch, 3, 32, 32, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,), device=device)
    times = []
    warm_up = 5
    begin = time.perf_counter()
    while len(times) < warm_up + 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    times = times[warm_up:]
    return 1e3 * statistics.median(times), len(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("models", nargs="*",
                        default=["resnet20", "resnet18_cifar", "vgg16_bn_cifar", "wrn_16_4"])
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    device = torch.device(arguments.device)
    print(f"PyTorch {torch.__version__}, batches of {arguments.batch_size}")
    for name in arguments.models:
        milliseconds, steps = time_model(name, device, arguments.batch_size, arguments.seconds)
        rate = 1e3 * arguments.batch_size / milliseconds
        print(f"{name:<16} {milliseconds:9.3f} ms/step  {rate:10.0f} images/s  ({steps} steps)")


if __name__ == "__main__":
    main()
