#!/usr/bin/env python3
"""Trains a recipe of recipes/ with PyTorch, for comparison: the counterpart of
`thinwire train --config recipes/cifar10_resnet20.toml`.

    cifar10_pytorch.py --data-dir DIR --train-files a.bin,b.bin --test-files c.bin [--seed 0]

Same model, initialisation by the same rule, Nesterov momentum, weight decay, one-cycle schedule,
batch size and augmentation (random crop of the image padded by 4, flip). Prints a line each epoch.
"""

import argparse
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "pytorch"))

import models  # noqa: E402

MEAN = np.array([0.4914, 0.48216, 0.44653], np.float32)
DEVIATION = np.array([0.24703, 0.24349, 0.26159], np.float32)


def read(folder, files):
    records = np.concatenate([np.fromfile(os.path.join(folder, name), np.uint8).reshape(-1, 3073)
                              for name in files.split(",")])
    return records[:, 1:].reshape(-1, 3, 32, 32), torch.from_numpy(records[:, 0].astype(np.int64))


def to_tensor(images):
    scaled = (images.astype(np.float32) / 255 - MEAN[:, None, None]) / DEVIATION[:, None, None]
    return torch.from_numpy(scaled).contiguous(memory_format=torch.channels_last)


def augment(images, random, padding=4):
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    result = np.empty_like(images)
    for i, (top, left, flip) in enumerate(zip(random.integers(0, 2 * padding + 1, len(images)),
                                              random.integers(0, 2 * padding + 1, len(images)),
                                              random.integers(0, 2, len(images)))):
        crop = padded[i, :, top:top + 32, left:left + 32]
        result[i] = crop[:, :, ::-1] if flip else crop
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--train-files", default="train_1.bin,train_2.bin,train_3.bin")
    parser.add_argument("--test-files", default="test_1.bin,test_2.bin")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--lr", type=float, default=0.4)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    random = np.random.default_rng(arguments.seed)
    images, labels = read(arguments.data_dir, arguments.train_files)
    test_images, test_labels = read(arguments.data_dir, arguments.test_files)
    model = models.initialise(models.build(arguments.model))
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.lr, momentum=0.9, nesterov=True,
                                weight_decay=5e-4)
    steps = len(images) // arguments.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, arguments.lr, total_steps=arguments.epochs * steps, cycle_momentum=False)
    for epoch in range(arguments.epochs):
        start = time.time()
        model.train()
        order = random.permutation(len(images))
        for step in range(steps):
            chosen = order[step * arguments.batch_size:(step + 1) * arguments.batch_size]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(to_tensor(augment(images[chosen], random))),
                                   labels[torch.from_numpy(chosen)])
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.time() - start
        model.eval()
        correct = 0
        with torch.no_grad():
            for first in range(0, len(test_images), 500):
                logits = model(to_tensor(test_images[first:first + 500]))
                correct += (logits.argmax(1) == test_labels[first:first + 500]).sum().item()
        print(f"epoch {epoch + 1}/{arguments.epochs}  last loss {loss.item():.4f}  "
              f"test top-1 {100 * correct / len(test_images):.2f}%  {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
