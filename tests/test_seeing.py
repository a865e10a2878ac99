"""What is kept while a video is seen: pixels only where they are still asked for."""

import numpy as np

from emoclip.config import FaceConfig
from emoclip.faces import FaceFollower
from emoclip.seeing import see
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
    assert 0 < most <= 4  # of the ten that wait at a time
    assert kept() <= 2
