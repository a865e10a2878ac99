"""The main job on the bundled model: `make demo`, or `make demo VIDEO=holiday.mp4 LABELS="laughing, bored"`.

Without a video of yours it makes one: NASA's public-domain portrait of the astronaut Eileen Collins, which
scikit-image carries, seen by a hand-held camera that comes nearer while the light drifts.
"""

import argparse
import subprocess
import sys
from pathlib import Path

OUT = Path("demo")


def portrait_clip(path: Path, *, seconds: float = 4.0, fps: int = 24) -> None:
    """Write the animated portrait as an H.264 video of 512x512 pixels."""
    import av
    from skimage.data import astronaut

    portrait = astronaut()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = stream.height = 512
        stream.pix_fmt = "yuv420p"
        for index in range(round(seconds * fps)):
            picture = hand_held(portrait, share=index / (seconds * fps - 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def hand_held(picture, share: float):
    """Zoom towards the face, sway by a few pixels, and let the light fall and come back; share: 0 to 1 of the clip."""
    import cv2
    import numpy as np

    zoom = 1.0 + 0.5 * share
    centre_x, centre_y = 222 + 5 * np.sin(7 * share), 130 + 4 * np.cos(9 * share)
    matrix = np.float32([[zoom, 0, 256 - zoom * centre_x], [0, zoom, 200 - zoom * centre_y]])
    moved = cv2.warpAffine(
        picture, matrix, (512, 512), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    light = 0.75 + 0.25 * np.cos(2 * np.pi * share)
    return np.uint8(moved * light)


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
