"""One image: cropped, resized, converted to eight bits and to the channels asked for."""

import io

import numpy as np
import pytest
from PIL import Image

from jax_meta.datasets.image_folder import read_image

RANDOM = np.random.default_rng(0)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def save(path, pixels):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def noise(*shape):
    return RANDOM.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(("shape", "size"), [((4, 12), 4), ((12, 4), 4), ((8, 24), (4, 4)), ((12, 12), (4, 12))])
def test_images_are_cropped_at_the_centre(tmp_path, shape, size):
    height, width = (size, size) if isinstance(size, int) else size
    pixels = np.full((*shape, 3), COLOURS["red"])
    crop = min(shape[0] / height, shape[1] / width)
    rows, columns = (int(side * crop) for side in (height, width))
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    pixels[top : top + rows, left : left + columns] = COLOURS["blue"]
    image = read_image(save(tmp_path / "1.png", pixels), size=size, channels=3)
    # The filter reaches past the crop: a pixel off the centre would leave 127 and more.
    np.testing.assert_allclose(image.astype(int), np.full((height, width, 3), COLOURS["blue"]), atol=20)


def test_images_are_resized_by_lanczos(tmp_path):
    pixels = noise(16, 16, 3)
    expected = Image.fromarray(pixels).resize((6, 6), Image.Resampling.LANCZOS)
    image = read_image(save(tmp_path / "1.png", pixels), size=6, channels=3)
    np.testing.assert_array_equal(image, np.asarray(expected))


def test_colours_and_greys_are_converted(tmp_path):
    colour = save(tmp_path / "colour.png", [[COLOURS["red"], COLOURS["green"], (255, 255, 255)]])
    np.testing.assert_array_equal(read_image(colour, size=None, channels=1)[0, :, 0], [76, 150, 255])
    grey = save(tmp_path / "grey.png", [[0, 100, 255]])
    np.testing.assert_array_equal(read_image(grey, size=None, channels=3)[0], [[value] * 3 for value in (0, 100, 255)])
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png", size=None, channels=1)[0, :, 0], [255, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_greys_are_scaled(tmp_path, channels):
    Image.fromarray(np.array([[0, 255, 256, 32768, 65535]], np.uint16)).save(tmp_path / "1.png")
    image = read_image(tmp_path / "1.png", size=None, channels=channels)
    np.testing.assert_array_equal(image[0], [[value] * channels for value in (0, 0, 1, 128, 255)])


def test_pixels_of_unknown_range_are_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "1.tiff")
    with pytest.raises(ValueError, match=r"1\.tiff.*32 bits, of unknown range; save it with 8 or 16 bits"):
        read_image(tmp_path / "1.tiff", size=None, channels=1)


def test_images_are_read_from_open_files(tmp_path):
    pixels = noise(4, 5, 3)
    path = save(tmp_path / "1.png", pixels)
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_image(file, size=None, channels=3), pixels)
    np.testing.assert_array_equal(read_image(io.BytesIO(path.read_bytes()), size=None, channels=3), pixels)
    with pytest.raises(ValueError, match=r"cannot decode the image in memory"):
        read_image(io.BytesIO(path.read_bytes()[:40]), size=None, channels=3)


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        read_image(tmp_path / "absent.png", size=None, channels=3)
