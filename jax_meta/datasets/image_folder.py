"""Your own images: a folder with one sub-folder a class."""

import io
import os
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

from jax_meta.datasets.cache import cached
from jax_meta.datasets.images import ClassImages

Size = int | tuple[int, int] | None
"""The side of a square, (height, width), or None for the size the images have."""

Channels = Literal[1, 3]
"""1 for grey, 3 for red, green and blue."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""How the name of an image ends, in small or capital letters; other files are ignored."""

MODES = {1: "L", 3: "RGB"}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""What Pillow may take an image for, whatever its name: it would run Ghostscript, another program, for an EPS file."""


def load_image_folder(
    folder: str | os.PathLike,
    *,
    size: Size = None,
    channels: Channels = 3,
    cache_folder: str | os.PathLike | None = None,
) -> ClassImages:
    """Reads `folder/<class>/<image>`: every sub-folder is a class, in the order of the names, as are its images.

    Hidden files and folders, files whose names do not end as an image's do (`SUFFIXES`), and folders inside a class's
    folder are ignored. Of an animation the first frame is read. The decoded images are kept in a cache file, which is
    made anew when an image is added, removed or changed.

    Args:
        folder: the folder of the classes' folders. Classes may differ in their number of images.
        size: the side of a square, or `(height, width)`, in pixels: images are cropped at the centre to that aspect
            ratio and resized (Lanczos). Default: None, the size of the images, which must then all have the same.
        channels: 1 for grey or 3 for RGB, into which all images are converted. Default: 3.
        cache_folder: where to keep the cache. Default: beside `folder`, or in `~/.cache/jax_meta` if that is read-only.

    Returns:
        The images, uint8 `[classes, most images of a class, height, width, channels]`, with their counts and names.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has no sub-folders, a class has no image, an image cannot be decoded, the images differ in
            size and `size` is None, or `size` or `channels` is none of the above.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from jax_meta.datasets import load_image_folder
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = pathlib.Path(place) / "animals"
        ...     for name in ("cat", "dog"):
        ...         (folder / name).mkdir(parents=True)
        ...         Image.new("RGB", (12, 10)).save(folder / name / "1.png")
        ...     data = load_image_folder(folder, size=8)
        >>> assert data.names == ("cat", "dog") and data.images.shape == (2, 1, 8, 8, 3)
    """
    shape = check_size(size)
    check_channels(channels)
    # Resolved, because the parent of Path(".") is itself: a cache inside the folder would make itself stale.
    folder = Path(folder).resolve()
    classes = list_images(folder)
    # As sources rather than options, so that a changed image replaces the cache file instead of adding another.
    sources = [folder, *(path for name, paths in classes.items() for path in (folder / name, *paths))]
    return cached(
        folder.name,
        sources,
        lambda: decode(classes, size=shape, channels=channels),
        options={"loader": "image_folder", "size": shape, "channels": channels},
        cache_folder=cache_folder,
    )


def read_image(source: str | os.PathLike | BinaryIO, *, size: Size, channels: Channels) -> np.ndarray:
    """Decodes one image.

    Args:
        source: a path, or a file open for reading in binary.
        size: the side of a square, or `(height, width)`: the image is cropped at its centre to that aspect ratio and
            resized (Lanczos). None: as it is.
        channels: 1 for grey, 3 for RGB. 16-bit grey levels are scaled to 8 bits, transparency is dropped, and an
            orientation in EXIF is not applied.

    Returns:
        The image, uint8 `[height, width, channels]`.

    Raises:
        FileNotFoundError: if there is no file at the path.
        ValueError: if it cannot be decoded, is in none of `FORMATS`, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`, as has an image made to fill the memory; the message names the file.
    """
    shape = check_size(size)
    check_channels(channels)
    try:
        # From memory, for a file on disk is asked for as many bytes as its content claims, and makes room for them.
        content = source if hasattr(source, "read") else io.BytesIO(Path(source).read_bytes())
        with Image.open(content, formats=FORMATS) as file:
            if Image.MAX_IMAGE_PIXELS and file.width * file.height > Image.MAX_IMAGE_PIXELS:
                raise ValueError(f"it has {file.height} x {file.width} pixels, of PIL.Image.MAX_IMAGE_PIXELS at most")
            image = eight_bits(file).convert(MODES[channels])
        if shape is not None:
            image = ImageOps.fit(image, (shape[1], shape[0]), Image.Resampling.LANCZOS)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # of any kind, as Pillow's readers have it for damaged files
        name = getattr(source, "name", "in memory") if hasattr(source, "read") else os.fspath(source)
        reason = str(error) or type(error).__name__
        raise ValueError(f"cannot decode the image {name}: {reason:.300}. Replace the file or remove it.") from error
    return np.array(image, np.uint8).reshape(image.height, image.width, channels)


def eight_bits(image: Image.Image) -> Image.Image:
    """Scales 16-bit grey levels to 8 bits, where Pillow would turn all above 255 white; raises ValueError for more."""
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def decode(classes: dict[str, list[Path]], *, size: tuple[int, int] | None, channels: Channels) -> ClassImages:
    """Decodes each class's images into one array; raises ValueError for the first image of another size."""
    counts = np.array([len(paths) for paths in classes.values()], np.int32)
    places = [(row, place, path) for row, paths in enumerate(classes.values()) for place, path in enumerate(paths)]
    first = places[0][2]
    shape = read_image(first, size=size, channels=channels).shape
    images = np.zeros((len(classes), counts.max(), *shape), np.uint8)
    console = Console(stderr=True)
    for row, place, path in track(places, description="Decoding images", console=console, transient=True):
        image = read_image(path, size=size, channels=channels)
        if image.shape != shape:
            raise ValueError(
                f"{path} is {image.shape[0]} x {image.shape[1]} pixels (height x width), but {first} is "
                f"{shape[0]} x {shape[1]}: give size=... to crop and resize all images to one size."
            )
        images[row, place] = image
    return ClassImages(images, counts, tuple(classes))


def list_images(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, both in the order of the names; raises an error where there are none."""
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}. Give a folder that has one sub-folder a class.")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file. Give a folder that has one sub-folder a class; unpack an archive first.")
    subfolders = sorted(path for path in visible(folder) if path.is_dir())
    if not subfolders:
        raise ValueError(f"{folder} has no sub-folders. Put the images of each class into a sub-folder of its own.")
    classes = {path.name: sorted(filter(is_image, visible(path))) for path in subfolders}
    for name, paths in classes.items():
        if not paths:
            raise ValueError(
                f"{folder / name} has no images (files ending in {', '.join(SUFFIXES)}). "
                "Each sub-folder is a class: add images to it, or move it elsewhere."
            )
    return classes


def visible(folder: Path) -> list[Path]:
    """What a folder holds, without what is hidden."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def is_image(path: Path) -> bool:
    """Whether a file's name ends as an image's does."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def check_size(size: Size) -> tuple[int, int] | None:
    """`size` as (height, width); raises ValueError unless its sides are positive integers."""
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and side > 0 for side in sides):
        raise ValueError(f"size must be a positive int, (height, width) or None, got {size!r}.")
    return (int(sides[0]), int(sides[1]))


def check_channels(channels: int) -> None:
    """Raises ValueError unless `channels` is 1 or 3."""
    if channels not in get_args(Channels):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {channels!r}.")
