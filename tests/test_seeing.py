"""What is kept while a video is seen: pixels only where they are still asked for."""

import numpy as np
import pytest

from emoclip.config import FaceConfig
from emoclip.faces import Face, FaceFollower
from emoclip.recording import SeenFace
from emoclip.seeing import Person, see
from emoclip.video import open_video


def test_frames_let_go_of_their_pixels_once_they_are_cropped_or_not_to_be_embedded(media):
    frames, most = [], 0

    def kept():
        return sum(frame._decoded is not None or frame._image is not None for frame in frames)

    def crop(frame, face):
        nonlocal most
        most = max(most, kept())
        return frame.image

    config = FaceConfig("all", detect_every=10)
    with open_video(media / "single_face.mp4") as video:
        video._frames = (frames.append(frame) or frame for frame in video._frames)
        seen = see(
            video,
            FaceFollower(config),
            3.0,
            crop=crop,
            embed=lambda crops: np.zeros((len(crops), 4), np.float32),
            batch=4,
            ahead=False,
        )
        assert sum(bool(frame.faces) for frame in seen) == len(frames) == 72
    assert 0 < most <= 11  # of 72: the ten that wait at a time, and the next
    assert kept() <= 2


@pytest.mark.parametrize(("fps", "each"), [(25, 1), (60, 3)])
def test_a_face_that_comes_and_goes_is_sought_in_frames_that_are_not_to_be_embedded(media, fps, each):
    with open_video(media / "single_face.mp4") as video:
        pictures = [frame.image for frame in video for _ in range(each)]
    hidden = range(11 * each, 35 * each)
    for at in hidden[::each]:
        face = pictures[at][60:320, 180:420]
        face[:] = face.mean(axis=(0, 1)).astype(np.uint8)
    with open_video(pictures, fps=fps) as video:
        seen = see(
            video,
            FaceFollower(FaceConfig("all")),
            16.0,
            crop=lambda frame, face: frame.image,
            embed=lambda crops: np.zeros((len(crops), 4), np.float32),
            batch=4,
            ahead=False,
        )
        without = [at for at, frame in enumerate(seen) if not frame.faces]
    assert without
    assert set(without) <= set(hidden)


def test_the_typical_moment_is_the_one_most_like_all_and_not_the_largest():
    person = Person(0)
    for at, (angle, side) in enumerate([(0.0, 10.0), (0.2, 10.0), (0.3, 10.0), (1.4, 50.0)]):
        embedding = np.float32([np.cos(angle), np.sin(angle)])
        person.add(float(at), SeenFace(Face(0, (0.0, 0.0, side, side), 1.0), embedding))
    assert person.typical() == (2.0, (0.0, 0.0, 10.0, 10.0))  # their mean lies at 0.46
