"""Our pixel path against torchvision, in the official code's order and in open_clip's."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from torchvision.transforms import v2  # noqa: E402
from torchvision.transforms.v2 import functional as F  # noqa: E402

from emoclip.model.pixels import PixelSpec, prepare  # noqa: E402

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SPEC = PixelSpec(224, "rgb", MEAN, STD, "bicubic", 0.1)
SIZES = [(224, 224), (48, 48), (100, 61), (61, 100), (333, 500), (640, 480), (225, 224), (719, 1000)]


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def official(crop):
    """Normalise, bicubic resize of the short side without antialias, centre crop: the order of the official code."""
    pixels = F.normalize(torch.from_numpy(crop.copy()).permute(2, 0, 1) / 255, MEAN, STD)
    resized = F.resize(pixels, [224], v2.InterpolationMode.BICUBIC, antialias=False)
    return F.center_crop(resized, [224, 224]).numpy()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bicubic_is_the_official_order(size):
    crop = noise(*size)
    assert np.abs(prepare([crop], SPEC)[0] - official(crop)).max() < 1e-4


def test_bicubic_is_the_official_order_on_real_faces(media):
    import cv2

    video = cv2.VideoCapture(str(media / "single_face.mp4"))
    found, frame = video.read()
    assert found
    for crop in (frame[:, :, ::-1], frame[40:201, 60:300, ::-1]):
        assert np.abs(prepare([np.ascontiguousarray(crop)], SPEC)[0] - official(crop)).max() < 1e-4


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_antialiased_bicubic_is_open_clip_s_transform(size):
    open_clip = pytest.importorskip("open_clip")
    from PIL import Image

    crop = noise(*size)
    expected = open_clip.image_transform(224, is_train=False, mean=MEAN, std=STD)(
        Image.fromarray(crop)
    ).numpy()
    got = prepare([crop], dataclasses.replace(SPEC, resize="bicubic-antialias"))[0]
    assert np.abs(got - expected).max() < 1e-4
