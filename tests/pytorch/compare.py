#!/usr/bin/env python3
"""Compares thinwire with PyTorch: same weights, same batch.

For each model: the loss, every gradient tensor, and the course of ten SGD-momentum and ten Adam
steps. Exits with 77 (skipped) where PyTorch or numpy is absent.

    compare.py --trace PROGRAM [--batch 16] [MODEL...]
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


def relative(actual, expected):
    scale = np.linalg.norm(expected)
    return np.linalg.norm(actual - expected) / scale if scale > 0 else np.linalg.norm(actual)


def make_optimizer(name, parameters):
    if name == "momentum":
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9), 0.01
    return torch.optim.Adam(parameters, lr=1e-4), 1e-4


def train(name, state, images, labels, optimizer_name, dtype):
    """Losses of STEPS steps, gradients of the first, and the parameters after the last."""
    model = models.build(name)
    model.load_state_dict(state)
    model = model.to(dtype).to(memory_format=torch.channels_last)
    model.train()
    optimizer, _ = make_optimizer(optimizer_name, model.parameters())
    images = images.to(dtype).contiguous(memory_format=torch.channels_last)
    losses, gradients = [], None
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        losses.append(loss.item())
        if gradients is None:
            gradients = {n: p.grad.double().numpy().copy() for n, p in model.named_parameters()}
        optimizer.step()
    final = {n: p.detach().double().numpy() for n, p in model.named_parameters()}
    return losses, gradients, final


def compare(trace, name, batch, folder):
    torch.manual_seed(1)
    model = models.build(name)
    state = {n: t.clone() for n, t in model.state_dict().items()}
    images = torch.randn(batch, 3, 32, 32)
    labels = torch.randint(0, 10, (batch,))
    weights_file = os.path.join(folder, "weights.safetensors")
    batch_file = os.path.join(folder, "batch.safetensors")
    safetensors_file.write(weights_file, {n: t.numpy() for n, t in state.items()})
    safetensors_file.write(batch_file, {
        "images": images.permute(0, 2, 3, 1).contiguous().numpy(),
        "labels": labels.int().numpy()})

    passed = True
    for optimizer_name in ("momentum", "adam"):
        _, rate = make_optimizer(optimizer_name, [torch.nn.Parameter(torch.zeros(1))])
        gradients_file = os.path.join(folder, "gradients.safetensors")
        final_file = os.path.join(folder, "final.safetensors")
        output = subprocess.run(
            [trace, name, weights_file, batch_file, optimizer_name, repr(rate), str(STEPS),
             gradients_file, final_file], check=True, stdout=subprocess.PIPE, text=True).stdout
        our_losses = json.loads(output.splitlines()[-1])["losses"]
        our_gradients = safetensors_file.read(gradients_file)
        our_final = safetensors_file.read(final_file)
        losses, gradients, final = train(name, state, images, labels, optimizer_name, torch.float32)
        exact = train(name, state, images, labels, optimizer_name, torch.float64)[1]

        # A bias in front of a batch norm has the gradient 0: both programs hold rounding noise
        # there, which is measured against the gradient of the layer's own filter instead.
        total = np.sqrt(sum(np.sum(g ** 2) for g in exact.values()))
        worst_tensor, worst = "", 0.0
        for tensor, gradient in gradients.items():
            if np.linalg.norm(exact[tensor]) < 1e-9 * total:
                error = np.linalg.norm(our_gradients[tensor]) / np.linalg.norm(
                    exact[tensor.replace("bias", "weight")])
            else:
                error = relative(our_gradients[tensor], gradient)
            if error >= worst:
                worst_tensor, worst = tensor, error
        loss_error = abs(our_losses[0] - losses[0]) / abs(losses[0])
        course = max(abs(a - b) / abs(b) for a, b in zip(our_losses, losses))
        parameters = relative(np.concatenate([our_final[t].ravel() for t in final]),
                              np.concatenate([final[t].ravel() for t in final]))
        good = (loss_error <= LOSS_TOLERANCE and worst <= GRADIENT_TOLERANCE and
                course <= COURSE_TOLERANCE and parameters <= COURSE_TOLERANCE)
        passed = passed and good
        print(f"{name:15} {optimizer_name:9} loss {loss_error:.1e}  worst gradient {worst:.1e} "
              f"({worst_tensor})  losses of {STEPS} steps {course:.1e}  "
              f"parameters after them {parameters:.1e}  {'ok' if good else 'FAILED'}", flush=True)
    return passed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trace", required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("models", nargs="*")
    arguments = parser.parse_args()
    names = arguments.models or ["resnet20", "resnet18_cifar", "vgg16_bn_cifar", "wrn_16_4"]
    print(f"PyTorch {torch.__version__}")
    results = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            results.append(compare(arguments.trace, name, arguments.batch, folder))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
