#!/usr/bin/env python3
"""Compares thinwire's crops and resizes with Pillow's, and its evaluation with torchvision's.

200 random crops and all evaluation crops of real JPEG files have to be within one grey level of
Pillow's antialiased bilinear resize, and so have the operations of RandAugment and colour jitter. With
torchvision, too, the logits of a ResNet-18 with random weights have to agree within 1e-2. Exits with 77
(skipped) where Pillow, numpy or the images are absent.

    compare_images.py --squares PROGRAM
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys

try:
    import numpy as np
    from PIL import Image, ImageEnhance, ImageOps
except ImportError as error:
    print(f"skipped: {error} (install python3-pil and python3-numpy to run this test)")
    sys.exit(77)

SIZE = 224
RESIZE = 256
CROPS = 200
LOGIT_IMAGES = 32
LOGIT_TOLERANCE = 1e-2


def squares(program, requests):
    lines = "".join(" ".join(map(str, numbers)) + f" {path}\n" for numbers, path in requests)
    output = subprocess.run([program], input=lines.encode(), stdout=subprocess.PIPE,
                            check=True).stdout
    result, at = [], 0
    for numbers, _ in requests:
        count = numbers[0] ** 2 * 3
        result.append(np.frombuffer(output, np.uint8, count, at).reshape(numbers[0], numbers[0], 3))
        at += count
    assert at == len(output)
    return result


def random_request(path, image, draw):
    size = draw.choice([32, 64, 160, 224])
    width, height = draw.randint(1, image.width), draw.randint(1, image.height)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    flip = draw.randint(0, 1)
    expected = image.crop((left, top, left + width, top + height))
    expected = expected.resize((size, size), Image.Resampling.BILINEAR)
    if flip:
        expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return ((size, left, top, width, height, size, size, 0, 0, flip, 0, 0), path), np.asarray(expected)


def centre(image):
    """torchvision's Resize(256) and CenterCrop(224)."""
    short, long = sorted(image.size)
    longer = int(RESIZE * long / short)
    width, height = (RESIZE, longer) if image.width <= image.height else (longer, RESIZE)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = int(round((width - SIZE) / 2.0)), int(round((height - SIZE) / 2.0))
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))


def worst(name, actual, expected):
    differences = [int(np.abs(a.astype(int) - e.astype(int)).max()) for a, e in
                   zip(actual, expected)]
    equal = sum(d == 0 for d in differences)
    print(f"{name}: {len(differences)} images, {equal} equal, largest difference "
          f"{max(differences)} grey levels")
    return max(differences)


def moved(matrix):
    return lambda image, m: image.transform(image.size, Image.Transform.AFFINE, matrix(m))


def enhanced(enhancer):
    return lambda image, m: enhancer(image).enhance(m)


# By thinwire's numbers, with magnitudes.
OPERATIONS = {
    "shear x": (1, moved(lambda m: (1, -m, 0, 0, 1, 0)), (-0.3, 0.21)),
    "shear y": (2, moved(lambda m: (1, 0, 0, -m, 1, 0)), (-0.3, 0.21)),
    "translate x": (3, moved(lambda m: (1, 0, -m, 0, 1, 0)), (-31, 101)),
    "translate y": (4, moved(lambda m: (1, 0, 0, 0, 1, -m)), (-31, 101)),
    "rotate": (5, lambda image, m: image.rotate(m), (-30, 17, 90)),
    "brightness": (6, enhanced(ImageEnhance.Brightness), (0.1, 0.73, 1, 1.9)),
    "saturation": (7, enhanced(ImageEnhance.Color), (0.1, 0.73, 1, 1.9)),
    "contrast": (8, enhanced(ImageEnhance.Contrast), (0.1, 0.73, 1, 1.9)),
    "sharpness": (9, enhanced(ImageEnhance.Sharpness), (0.1, 0.73, 1, 1.9)),
    "posterize": (10, lambda image, m: ImageOps.posterize(image, m), (4, 6, 8)),
    "solarize": (11, lambda image, m: ImageOps.solarize(image, m), (0, 77, 255)),
    "autocontrast": (12, lambda image, m: ImageOps.autocontrast(image), (0,)),
    "equalize": (13, lambda image, m: ImageOps.equalize(image), (0,)),
}


def compare_operations(program, paths, plain):
    good = True
    for name, (number, pillow, magnitudes) in OPERATIONS.items():
        requests, expected = [], []
        for magnitude in magnitudes:
            for path, pixels in zip(paths, plain):
                requests.append(((SIZE,) + 9 * (0,) + (number, magnitude), path))
                expected.append(np.asarray(pillow(Image.fromarray(pixels), magnitude)))
        good &= worst(name, squares(program, requests), expected) <= 1
    return good


def compare_logits(paths, actual):
    try:
        import torch
        import torchvision
    except ImportError as error:
        print(f"logits not compared: {error}")
        return True
    transforms = torchvision.transforms
    transform = transforms.Compose([transforms.Resize(RESIZE), transforms.CenterCrop(SIZE),
                                    transforms.ToTensor()])
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()

    def logits(images):
        with torch.no_grad():
            return model(torch.stack([(image - mean) / deviation for image in images]))

    theirs = logits([transform(Image.open(path).convert("RGB")) for path in paths])
    ours = logits([torch.tensor(image).permute(2, 0, 1) / 255 for image in actual])
    difference = float((theirs - ours).abs().max())
    print(f"logits of {len(paths)} images: largest difference {difference:.2e}")
    return difference <= LOGIT_TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--squares", required=True)
    arguments = parser.parse_args()
    folder = pathlib.Path(os.environ.get("THINWIRE_TEST_DATA", ".")) / "imagenet-sample"
    paths = sorted((folder / "imagenet-sample").glob("*/*.JPEG"))
    if not paths:
        print("skipped: THINWIRE_TEST_DATA names no folder with imagenet-sample")
        return 77
    draw = random.Random(1)
    requests, expected = [], []
    for path in draw.choices(paths, k=CROPS):
        request, pixels = random_request(path, Image.open(path).convert("RGB"), draw)
        requests.append(request)
        expected.append(pixels)
    good = worst("random crops", squares(arguments.squares, requests), expected) <= 1

    expected = [centre(Image.open(path).convert("RGB")) for path in paths]
    actual = squares(arguments.squares, [((SIZE,) + 11 * (0,), path) for path in paths])
    good &= worst("evaluation", actual, expected) <= 1
    good &= compare_operations(arguments.squares, paths[:8], actual[:8])
    good &= compare_logits(paths[:LOGIT_IMAGES], actual[:LOGIT_IMAGES])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
