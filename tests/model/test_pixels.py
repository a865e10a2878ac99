"""The one pixel path, against Pillow, hand-computed values and invariants."""

import numpy as np
import pytest
from PIL import Image

from emoclip.model.pixels import PixelSpec, prepare

GREY = {
    "size": 48,
    "colour": "grey",
    "mean": [0.5],
    "std": [0.25],
    "resize": "bilinear-antialias",
    "margin": 0.1,
}
CLIP = {
    "size": 224,
    "colour": "rgb",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "resize": "bicubic-antialias",
}


def crop(height: int, width: int, seed: int = 0):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def test_shapes_and_types():
    pixels = prepare([crop(30, 30), crop(200, 120)], PixelSpec.from_config(GREY))
    assert pixels.shape == (2, 1, 48, 48)
    assert pixels.dtype == np.float32
    assert prepare([], PixelSpec.from_config(CLIP)).shape == (0, 3, 224, 224)


def test_a_crop_of_the_right_size_is_only_normalised():
    picture = crop(48, 48)
    luma = picture @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    expected = (np.round(luma) / 255 - 0.5) / 0.25
    pixels = prepare([picture], PixelSpec.from_config(GREY))[0, 0]
    np.testing.assert_allclose(pixels, expected, atol=1 / 255 / 0.25 + 1e-6)


@pytest.mark.parametrize("resize", ["bilinear-antialias", "bicubic-antialias", "bicubic"])
def test_a_flat_picture_stays_flat(resize):
    spec = PixelSpec.from_config(CLIP | {"resize": resize})
    pixels = prepare([np.full((77, 131, 3), (255, 128, 0), np.uint8)], spec)[0]
    expected = (np.array([1, 128 / 255, 0]) - np.array(CLIP["mean"])) / np.array(CLIP["std"])
    np.testing.assert_allclose(pixels, np.broadcast_to(expected[:, None, None], (3, 224, 224)), atol=1e-5)


def test_antialiased_resize_is_pillows_then_centre_crop():
    picture = crop(300, 400)
    resized = np.asarray(Image.fromarray(picture).resize((298, 224), Image.Resampling.BICUBIC), np.float64)
    expected = (resized[:, 37:261] / 255 - np.array(CLIP["mean"])) / np.array(CLIP["std"])
    pixels = prepare([picture], PixelSpec.from_config(CLIP))[0]
    np.testing.assert_allclose(pixels.transpose(1, 2, 0), expected, atol=1e-5)


def test_every_crop_is_prepared_alone():
    spec = PixelSpec.from_config(GREY)
    pictures = [crop(50 + 10 * i, 60 + 7 * i, i) for i in range(4)]
    together = prepare(pictures, spec)
    alone = np.concatenate([prepare([picture], spec) for picture in pictures])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "sepia"},
        {"mean": [0.5, 0.5]},
        {"std": [0.0]},
        {"resize": "nearest"},
        {"size": 0},
        {"margin": -1},
    ],
)
def test_an_impossible_spec_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        PixelSpec.from_config(GREY | change)
