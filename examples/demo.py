"""The main job on the bundled model: `make demo`, or `make demo VIDEO=holiday.mp4 LABELS="laughing, bored"`.

Without a video of yours it makes one: NASA's public-domain portrait of the astronaut Eileen Collins, which
scikit-image carries, moved as a hand-held camera would while the corners of her mouth sink.
"""

import argparse
import subprocess
import sys
from pathlib import Path

OUT = Path("demo")


def portrait_clip(path: Path, *, seconds: float = 4.0, fps: int = 24) -> None:
    """Write the animated portrait as an H.264 video of 512x512 pixels."""
    import av
    import numpy as np
    from skimage.data import astronaut

    portrait = astronaut()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = stream.height = 512
        stream.pix_fmt = "yuv420p"
        for index in range(round(seconds * fps)):
            share = index / (seconds * fps - 1)
            sink = np.clip((share - 0.45) / 0.2, 0, 1)  # the smile goes between 45 % and 65 % of the clip
            picture = hand_held(sunk_corners(portrait, 9.0 * sink), share)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def sunk_corners(portrait, pixels: float):
    """Pull the corners of the mouth down by so many pixels and together a little, smoothly around each corner."""
    import cv2
    import numpy as np

    ys, xs = np.mgrid[: portrait.shape[0], : portrait.shape[1]].astype(np.float32)
    shift_x, shift_y = np.zeros_like(xs), np.zeros_like(ys)
    for x, y, inwards in ((197, 163, 1.0), (246, 160, -1.0)):
        near = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * 13.0**2))
        shift_y += pixels * near
        shift_x += 0.5 * pixels * inwards * near
    return cv2.remap(portrait, xs - shift_x, ys - shift_y, cv2.INTER_LINEAR)


def hand_held(picture, share: float):
    """Zoom slowly towards the face and sway by a few pixels."""
    import cv2
    import numpy as np

    zoom = 1.0 + 0.5 * share
    centre_x, centre_y = 222 + 5 * np.sin(7 * share), 130 + 4 * np.cos(9 * share)
    matrix = np.float32([[zoom, 0, 256 - zoom * centre_x], [0, zoom, 200 - zoom * centre_y]])
    return cv2.warpAffine(picture, matrix, (512, 512), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def main() -> int:
    """Predict, print the table, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--labels", default="smiling, sad, surprised, angry, neutral")
    arguments = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    video = arguments.video
    if video is None:
        video = OUT / "portrait.mp4"
        portrait_clip(video)
    picture = OUT / "result.png"
    command = ["predict", str(video), "--labels", arguments.labels, "--picture", str(picture), "--force"]
    print("$ emoclip", " ".join(f'"{word}"' if " " in word else word for word in command), "\n", flush=True)
    status = subprocess.run([sys.executable, "-m", "emoclip", *command], check=False).returncode
    if status == 0:
        print(f"The picture is {picture}")
    return status


if __name__ == "__main__":
    sys.exit(main())
