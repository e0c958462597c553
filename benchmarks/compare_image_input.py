#!/usr/bin/env python3
"""Times JPEG files to training inputs in thinwire and by other means, taking turns, on one core.

Everyone decodes the same files from memory, takes a random part (RandomResizedCrop), resizes it to
224x224, flips it at random and normalises it to float32. Rates are images a second of CPU time, the
best of all rounds, those of the pipeline of wall time. What is not installed is left out: Pillow and
numpy, torchvision (with torch), simplejpeg, PyTurboJPEG.

    compare_image_input.py --program build/release/benchmarks/image_input FOLDER [--rounds 3]

FOLDER has a folder of JPEG files for each class, as THINWIRE_TEST_DATA/imagenet-sample/imagenet-sample.
"""

import argparse
import io
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import time

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 224


def random_crop(width, height, draw):
    for _ in range(10):
        area = width * height * draw.uniform(0.08, 1)
        ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return draw.randint(0, width - w), draw.randint(0, height - h), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def with_pillow(decode):
    """Pillow crops, resizes and flips; numpy normalises."""
    import numpy as np
    from PIL import Image
    mean, deviation = np.float32(MEAN) * 255, np.float32(DEVIATION) * 255
    draw = random.Random(0)

    def transform(data):
        image = decode(data)
        left, top, width, height = random_crop(*image.size, draw)
        image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR,
                             box=(left, top, left + width, top + height))
        if draw.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return (np.asarray(image, np.float32) - mean) / deviation

    return transform


def pillow():
    from PIL import Image
    return with_pillow(lambda data: Image.open(io.BytesIO(data)).convert("RGB"))


def torchvision():
    import torch
    from PIL import Image
    from torchvision import transforms
    torch.set_num_threads(1)
    transform = transforms.Compose([
        transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(),
        transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)])
    return lambda data: transform(Image.open(io.BytesIO(data)).convert("RGB"))


def simplejpeg():
    import simplejpeg as library
    from PIL import Image
    return with_pillow(lambda data: Image.fromarray(library.decode_jpeg(data)))


def turbojpeg():
    from PIL import Image
    from turbojpeg import TJPF_RGB, TurboJPEG
    library = TurboJPEG()
    return with_pillow(lambda data: Image.fromarray(library.decode(data, pixel_format=TJPF_RGB)))


OTHERS = {"Pillow + torchvision": torchvision, "Pillow + numpy": pillow,
          "simplejpeg + Pillow + numpy": simplejpeg, "PyTurboJPEG + Pillow + numpy": turbojpeg}


def run_program(program, folder, name):
    """Runs one benchmark: its images a second, and the process's peak memory in MiB."""
    output = subprocess.run(
        [program, f"--benchmark_filter=^{name}$", "--benchmark_format=json",
         "--benchmark_min_time=1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=dict(os.environ, THINWIRE_IMAGES=str(folder)), text=True, check=True).stdout
    result, = json.loads(output)["benchmarks"]
    return result["images/s"], result.get("peak MiB", 0)


def time_others(transforms, files, rates):
    for name, transform in transforms.items():
        start = time.process_time()
        for data in files:
            transform(data)
        rates[name] = max(rates.get(name, 0), len(files) / (time.process_time() - start))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--program", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    files = [path.read_bytes() for path in sorted(arguments.folder.glob("*/*.JPEG"))]
    if not files:
        sys.exit(f"{arguments.folder} has no class folders with JPEG files")
    transforms = {}
    for name, make in OTHERS.items():
        try:
            transforms[name] = make()
            transforms[name](files[0])
        except (ImportError, OSError, RuntimeError) as error:
            print(f"left out: {name}: {error}")

    ours = {"thinwire": "transform", "thinwire, no scaled decoding": "transform without scaled decoding",
            "libjpeg-turbo, whole, then resized": "whole image decoded and resized",
            "thinwire, 1 data thread": "pipeline/threads:1/real_time",
            "thinwire, 2 data threads": "pipeline/threads:2/real_time"}
    rates, memory = {}, {}
    for _ in range(arguments.rounds):
        for name, benchmark in ours.items():
            rate, peak = run_program(arguments.program, arguments.folder, benchmark)
            rates[name] = max(rates.get(name, 0), rate)
            memory[name] = max(memory.get(name, 0), peak)
        time_others(transforms, files, rates)

    print(f"{len(files)} files, best of {arguments.rounds} rounds\n"
          f"{'':36}images/s  thinwire is")
    for name, rate in rates.items():
        times = f"{rates['thinwire'] / rate:10.2f} x" if name not in ours or "libjpeg" in name else ""
        peak = f"   peak memory {memory[name]:.0f} MiB" if "thread" in name else ""
        print(f"{name:36}{rate:8.0f}{times}{peak}")
    one, two = rates["thinwire, 1 data thread"], rates["thinwire, 2 data threads"]
    print(f"{'from 1 to 2 threads':36}{two / one:8.2f} x")


if __name__ == "__main__":
    main()
