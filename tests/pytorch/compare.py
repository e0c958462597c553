#!/usr/bin/env python3
"""Compares thinwire with PyTorch: same weights, same batch.

For each model: the loss, every gradient tensor, and the course of ten SGD-momentum and ten Adam
steps. Exits with 77 (skipped) where PyTorch or numpy is absent.

The gradient jumps where an activation in front of a ReLU crosses zero (or two of a pooling window
change places). Two float32 programs that round differently land on different sides now and then,
and one such activation changes a deep layer's gradient by a few thousandths; PyTorch's own float32
and float64 gradients differ as much. So gradients are compared at several points: small batches at
the usual random weights, and at weights where no activation is near zero (the batch norms have a
small scale and a large shift, positive in three channels of four and negative in the fourth; some
gradients nearly cancel there, and are noise for that reason). Each tensor has to agree at one of
them; a gradient that is wrong is wrong at all. The loss has to agree everywhere.

    compare.py --trace PROGRAM [MODEL...]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as error:
    print(f"skipped: {error} (install python3-torch and python3-numpy to run this test)")
    sys.exit(77)

import models
import safetensors_file

LOSS_TOLERANCE = 1e-5      # relative
GRADIENT_TOLERANCE = 1e-3  # relative L2, tensor by tensor
COURSE_TOLERANCE = 1e-3    # relative: losses of ten steps, and all parameters after them
STEPS = 10
COURSE_BATCH = 32
GRADIENT_BATCH = 8
MOST_DRAWS = 5


def relative(actual, expected):
    scale = np.linalg.norm(expected)
    return np.linalg.norm(actual - expected) / scale if scale > 0 else np.linalg.norm(actual)


# Small enough that no model learns the one batch by heart: the loss then stays well above 0.
RATES = {"momentum": 1e-4, "adam": 2e-6}


def train(name, state, images, labels, optimizer_name, steps):
    """Losses of the steps, gradients of the first, and the parameters after the last."""
    model = models.build(name)
    model.load_state_dict(state)
    model = model.to(memory_format=torch.channels_last)
    model.train()
    if optimizer_name == "momentum":
        optimizer = torch.optim.SGD(model.parameters(), lr=RATES[optimizer_name], momentum=0.9)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=RATES[optimizer_name])
    images = images.contiguous(memory_format=torch.channels_last)
    losses, gradients = [], None
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        losses.append(loss.item())
        if gradients is None:
            gradients = {n: p.grad.double().numpy().copy() for n, p in model.named_parameters()}
        optimizer.step()
    final = {n: p.detach().double().numpy() for n, p in model.named_parameters()}
    return losses, gradients, final


def trace(program, name, state, images, labels, optimizer_name, steps):
    """The same three of thinwire."""
    with tempfile.TemporaryDirectory() as folder:
        weights, batch, gradients, final = (
            os.path.join(folder, file) for file in ("weights", "batch", "gradients", "final"))
        safetensors_file.write(weights, {n: t.numpy() for n, t in state.items()})
        safetensors_file.write(batch, {
            "images": images.permute(0, 2, 3, 1).contiguous().numpy(),
            "labels": labels.int().numpy()})
        output = subprocess.run(
            [program, name, weights, batch, optimizer_name, repr(RATES[optimizer_name]),
             str(steps), gradients, final], check=True, stdout=subprocess.PIPE, text=True).stdout
        losses = json.loads(output.splitlines()[-1])["losses"]
        return losses, safetensors_file.read(gradients), safetensors_file.read(final)


def gradient_errors(ours, theirs):
    """Relative L2 difference of each tensor's gradient."""
    errors = {}
    for tensor, gradient in theirs.items():
        errors[tensor] = relative(ours[tensor], gradient)
        if tensor.endswith(".bias"):
            # A bias in front of a batch norm has the gradient 0: both programs hold rounding noise
            # there, which is measured against the gradient of the layer's own filter instead.
            filter_scale = np.linalg.norm(theirs[tensor[:-len("bias")] + "weight"])
            if np.linalg.norm(gradient) < 1e-5 * filter_scale:
                errors[tensor] = np.linalg.norm(ours[tensor]) / filter_scale
    return errors


def without_kinks(model):
    """Weights at which every ReLU's input is far from zero, on either side."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.fill_(0.3)
            module.bias.data.fill_(1.5)
            module.bias.data[3::4] = -1.5
    return model


def draw(name, seed, batch):
    """The usual random weights, a copy of them without kinks, and a batch."""
    torch.manual_seed(seed)
    usual = models.initialise(models.build(name))
    smooth = models.build(name)
    smooth.load_state_dict(usual.state_dict())
    without_kinks(smooth)
    return (usual.state_dict(), smooth.state_dict(), torch.randn(batch, 3, 32, 32),
            torch.randint(0, 10, (batch,)))


def compare(program, name):
    def run(weights, images, labels, optimizer_name, steps):
        state = {n: t.clone() for n, t in weights.items()}
        return (trace(program, name, state, images, labels, optimizer_name, steps),
                train(name, state, images, labels, optimizer_name, steps))

    def loss_error(ours, theirs):
        return max(abs(a - b) / abs(b) for a, b in zip(ours[0], theirs[0]))

    errors, worst_loss, points = {}, 0.0, 0
    for seed in range(1, MOST_DRAWS + 1):
        usual, smooth, images, labels = draw(name, seed, GRADIENT_BATCH)
        for weights in (usual, smooth):
            ours, theirs = run(weights, images, labels, "momentum", 1)
            points += 1
            worst_loss = max(worst_loss, loss_error(ours, theirs))
            for tensor, error in gradient_errors(ours[1], theirs[1]).items():
                errors[tensor] = min(error, errors.get(tensor, error))
        worst = max(errors, key=errors.get)
        if errors[worst] <= GRADIENT_TOLERANCE:
            break
    passed = worst_loss <= LOSS_TOLERANCE and errors[worst] <= GRADIENT_TOLERANCE
    print(f"{name:15} {points} points: loss {worst_loss:.1e}, worst gradient {errors[worst]:.1e} "
          f"({worst})  {'ok' if passed else 'FAILED'}", flush=True)

    usual, _, images, labels = draw(name, 1, COURSE_BATCH)
    for optimizer_name in ("momentum", "adam"):
        ours, theirs = run(usual, images, labels, optimizer_name, STEPS)
        losses = loss_error(ours, theirs)
        parameters = relative(np.concatenate([ours[2][t].ravel() for t in theirs[2]]),
                              np.concatenate([theirs[2][t].ravel() for t in theirs[2]]))
        good = losses <= COURSE_TOLERANCE and parameters <= COURSE_TOLERANCE
        passed = passed and good
        print(f"{name:15} {STEPS} {optimizer_name} steps, loss {theirs[0][0]:.3f} -> "
              f"{theirs[0][-1]:.3f}: losses {losses:.1e}, parameters {parameters:.1e}  "
              f"{'ok' if good else 'FAILED'}", flush=True)
    return passed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trace", required=True)
    parser.add_argument("models", nargs="*")
    arguments = parser.parse_args()
    names = arguments.models or ["resnet20", "resnet18_cifar", "vgg16_bn_cifar", "wrn_16_4"]
    print(f"PyTorch {torch.__version__}")
    results = []
    for name in names:
        results.append(compare(arguments.trace, name))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
