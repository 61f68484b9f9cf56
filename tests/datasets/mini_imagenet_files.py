"""mini-ImageNet in small, in each form in which people have it."""

import csv
import pickle

import numpy as np
from PIL import Image

SIZE = 6
COUNTS = {"train": {"n03": 3, "n01": 3, "n02": 3}, "val": {"n05": 2, "n04": 3}, "test": {"n06": 1}}
"""The images of each class, in the order in which they are made: not that of the names."""


def make_part(part):
    """A part's labels and images, record by record; of "val", whose classes differ in size, in mixed order."""
    labels = [label for label, count in COUNTS[part].items() for _ in range(count)]
    if part == "val":
        labels = labels[::-2] + labels[-2::-2]
    seed = list(COUNTS).index(part)
    return labels, np.random.default_rng(seed).integers(0, 256, (len(labels), SIZE, SIZE, 3), np.uint8)


def write_csv(folder):
    """Lossless PNGs under names that end in .jpg."""
    (folder / "images").mkdir()
    for part in COUNTS:
        labels, images = make_part(part)
        names = [f"{label}{position:08d}.jpg" for position, label in enumerate(labels)]
        for name, image in zip(names, images, strict=True):
            Image.fromarray(image).save(folder / "images" / name, format="png")
        with (folder / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("filename", "label"), *zip(names, labels, strict=True)])


def write_pickles(folder, *, protocol=2, in_bytes=False):
    for part in COUNTS:
        labels, images = make_part(part)
        places = {name: [i for i, label in enumerate(labels) if label == name] for name in COUNTS[part]}
        content = {"image_data": images, "class_dict": places}
        if in_bytes:
            in_arrays = {key.encode(): np.array(value) for key, value in places.items()}
            content = {b"image_data": images, b"class_dict": in_arrays}
        (folder / f"mini-imagenet-cache-{part}.pkl").write_bytes(pickle.dumps(content, protocol))


def write_npz(folder, *, prefix="mini-imagenet-", dtype=str):
    for part in COUNTS:
        labels, images = make_part(part)
        np.savez(folder / f"{prefix}{part}.npz", images=images, labels=np.array(labels).astype(dtype))


FORMS = {
    "csv": write_csv,
    "pickle": write_pickles,
    "pickle of bytes": lambda folder: write_pickles(folder, in_bytes=True),
    "pickle 5": lambda folder: write_pickles(folder, protocol=5),
    "npz": write_npz,
    "plain npz": lambda folder: write_npz(folder, prefix=""),
    "npz of bytes": lambda folder: write_npz(folder, dtype="S"),
}
