"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn once by 20 people.

The data are of Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 350 (2015); the splits are of Vinyals et al., arXiv:1606.04080, and Finn et al., arXiv:1703.03400.
"""

import io
import os
import re
import zipfile
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from jax_meta.checks import check_choice
from jax_meta.datasets.archives import read_member
from jax_meta.datasets.cache import cached
from jax_meta.datasets.download import download as fetch
from jax_meta.datasets.images import ClassImages, Splits, published_split, select, select_names

Split = Literal["maml", "vinyals", "alphabets"]
Resample = Literal["lanczos", "nearest"]
Drawings = dict[str, list[str]]


class Archive(NamedTuple):
    """One of the two official zips: its number of characters, and its checksum as published."""

    characters: int
    checksum: str


ARCHIVES = {
    "images_background": Archive(964, "md5:68d2efa1b9178cc56df9314c21c6e718"),
    "images_evaluation": Archive(659, "md5:6b91aef0f799c5bb55b94e3f2daec811"),
}
URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
EXAMPLES = 20
SIDE = 105
MAML_TRAIN, MAML_VAL = 1100, 100
ALPHABETS_TRAIN, ALPHABETS_TEST, CHARACTERS = 25, 10, 20
LARGEST = 1 << 17
"""The bytes that a drawing's file may have; the official ones have hundreds."""


def load_omniglot(
    folder: str | os.PathLike,
    *,
    split: Split = "maml",
    seed: int = 0,
    size: int = 28,
    resample: Resample = "lanczos",
    download: bool = False,
    cache_folder: str | os.PathLike | None = None,
) -> Splits:
    """Reads images_background.zip and images_evaluation.zip, without unpacking them, and splits the characters.

    A trap in comparing results: the published code of MAML and Reptile asks Pillow for Lanczos resizing, but the
    drawings are 1-bit, and those Pillow resizes to the nearest pixel whatever it is asked. Their images are thus those
    of `resample="nearest"`; "lanczos" gives what they asked for, smooth grey strokes.

    Args:
        folder: where the two zips are. Zips packed anew, stored or deflated, are welcome: no checksum of a file that is
            there is taken.
        split: "maml" shuffles all 1,623 characters into 1,100 to train on, 100 to validate on and 423 to test on, the
            sizes of Finn et al. (who drew other characters). "vinyals" is the fixed split of Vinyals et al., 1,028,
            172 and 423. "alphabets" shuffles the 46 alphabets with 20 characters or more into 25 to train on, 11 to
            validate on and 10 to test on, and takes 20 random characters of each: whole alphabets are tasks, see
            `jax_meta.tasks.grouped`, Flennerhag et al., arXiv:1812.01054. Default: "maml".
        seed: which shuffle; "vinyals" does not use it. Default: 0.
        size: the side of the images in pixels; they are drawn at 105. Default: 28.
        resample: how images are resized, "lanczos" or "nearest". Default: "lanczos".
        download: fetch a zip that is not there, 10 and 6 MB. Default: False.
        cache_folder: where the decoded images are kept. Default: `folder`, or `~/.cache/jax_meta` if that is
            read-only.

    Returns:
        The characters, in ascending order of their names "<Alphabet>/character<NN>" in each part, of "alphabets" 20
        random ones of each alphabet after the other: images uint8 `[characters, 20, size, size, 1]`, ink 0 and paper
        255.

    Raises:
        FileNotFoundError: if a zip is not there, and `download` is False.
        OSError: if a download fails.
        ValueError: if a zip is damaged or not Omniglot's, or an option is none of the above.

    Example:
        >>> import tempfile
        >>> from jax_meta.datasets import load_omniglot
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     try:
        ...         splits = load_omniglot(folder, split="vinyals")
        ...     except FileNotFoundError as error:
        ...         assert "images_background.zip" in str(error) and "download=True" in str(error)
    """
    check_options(split=split, seed=seed, size=size, resample=resample)
    paths = find_archives(Path(folder), download=download)
    data = cached(
        "omniglot",
        paths,
        lambda: decode_archives(paths, size=size, resample=resample),
        options={"size": size, "resample": resample},
        cache_folder=cache_folder,
    )
    return split_classes(data, split=split, seed=seed)


def split_classes(data: ClassImages, *, split: Split, seed: int = 0) -> Splits:
    """Splits all of Omniglot's characters as `load_omniglot` documents; raises ValueError if some are not there."""
    check_choice("split", split, get_args(Split))
    characters = sum(archive.characters for archive in ARCHIVES.values())
    if len(data.names) != characters:
        raise ValueError(f"the split {split!r} is of all {characters} characters, got {len(data.names)}.")
    if split == "vinyals":
        return published_split(data, "omniglot_vinyals")
    if split == "alphabets":
        return split_alphabets(data, np.random.default_rng(seed))
    shuffled = np.random.default_rng(seed).permutation(characters)
    parts = np.split(shuffled, [MAML_TRAIN, MAML_TRAIN + MAML_VAL])
    return Splits(*(select(data, np.sort(part)) for part in parts))


def split_alphabets(data: ClassImages, generator: np.random.Generator) -> Splits:
    """Whole alphabets in each part, with as many characters of each, one alphabet after the other."""
    alphabets: Drawings = {}
    for name in data.names:
        alphabets.setdefault(name.split("/")[0], []).append(name)
    chosen = [generator.permutation(names)[:CHARACTERS] for names in alphabets.values() if len(names) >= CHARACTERS]
    order = generator.permutation(len(chosen))
    parts = np.split(order, [ALPHABETS_TRAIN, len(chosen) - ALPHABETS_TEST])
    return Splits(*(select_names(data, [str(name) for row in part for name in chosen[row]]) for part in parts))


def find_archives(folder: Path, *, download: bool) -> list[Path]:
    """The paths of the zips, downloaded if that is asked for; raises FileNotFoundError if one is not there."""
    paths = [folder / f"{name}.zip" for name in ARCHIVES]
    for path in paths:
        if download and not path.exists():
            fetch(URL + path.name, path, checksum=ARCHIVES[path.stem].checksum)
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no file {path}. Give the folder that has Omniglot's {' and '.join(p.name for p in paths)}, "
                f"or download=True to fetch them from {URL}."
            )
    return paths


def decode_archives(paths: list[Path], *, size: int, resample: Resample) -> ClassImages:
    """Decodes the zips, characters in the order of their names; raises ValueError, early if it can, for a bad one."""
    drawings = {path: list_drawings(path) for path in paths}
    names = sorted(name for characters in drawings.values() for name in characters)
    row = {name: position for position, name in enumerate(names)}
    images = np.zeros((len(names), EXAMPLES, size, size, 1), np.uint8)
    console = Console(stderr=True)
    for path, characters in drawings.items():
        with zipfile.ZipFile(path) as archive:
            label = f"Decoding {path.name}"
            for name in track(characters, description=label, console=console, transient=True):
                for example, member in enumerate(characters[name]):
                    images[row[name], example, ..., 0] = decode_drawing(archive, member, size=size, resample=resample)
    return ClassImages(images, np.full(len(names), EXAMPLES, np.int32), tuple(names))


def list_drawings(path: Path) -> Drawings:
    """The members of a zip that are drawings, in order, by character; raises ValueError unless all are there."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(archive.namelist())
    except Exception as error:  # of zipfile, and of what reads numbers and text for it
        raise damaged(path, str(error)) from error
    pattern = re.compile(rf"{path.stem}/([^/]+/character\d+)/\d+_\d+\.png")
    drawings: Drawings = {}
    for member in members:
        if match := pattern.fullmatch(member):
            drawings.setdefault(match[1], []).append(member)
    expected = ARCHIVES[path.stem].characters
    if len(drawings) != expected:
        raise damaged(path, f"{len(drawings)} characters in {path.stem}/<Alphabet>/character<NN>/, not {expected}")
    for name, members in drawings.items():
        if len(members) != EXAMPLES:
            raise damaged(path, f"{name} has {len(members)} drawings, not {EXAMPLES}")
        if len(set(members)) != EXAMPLES:
            raise damaged(path, f"{name} has two drawings of one name")
    return drawings


def decode_drawing(archive: zipfile.ZipFile, member: str, *, size: int, resample: Resample) -> np.ndarray:
    """One drawing, uint8 `[size, size]`; raises ValueError if it cannot be decoded or is not 105 x 105."""
    try:
        with Image.open(io.BytesIO(read_member(archive, member, most=LARGEST)), formats=["PNG"]) as image:
            if image.size != (SIDE, SIDE):
                raise ValueError(f"it is {image.height} x {image.width} pixels, not {SIDE} x {SIDE}")
            # Pillow interpolates grey levels, but not 1-bit images.
            grey = image.convert("L")
    except Exception as error:  # of zipfile, zlib and Pillow
        raise damaged(Path(str(archive.filename)), f"{member}: {error}") from error
    return np.asarray(grey.resize((size, size), Image.Resampling[resample.upper()]))


def damaged(path: Path, reason: str) -> ValueError:
    """The error for a zip that is not what it should be."""
    return ValueError(
        f"{path} is damaged, or is not Omniglot's {path.name} ({reason:.300}). Delete it and download it again, with "
        f"download=True or from {URL}{path.name}."
    )


def check_options(*, split: str, seed: int, size: int, resample: str) -> None:
    """Raises ValueError if an option is none of those that `load_omniglot` documents."""
    check_choice("split", split, get_args(Split))
    check_choice("resample", resample, get_args(Resample))
    for option, value, least in (("size", size, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{option} must be an int of {least} or more, got {value!r}.")
