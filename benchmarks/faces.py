"""How many frames of given media show a followed face, how many tracks that takes, and what each step costs.

    python benchmarks/faces.py clip.mp4 picture.jpg ...

Prints a line per input: frames read, share with a face, track ids, and CPU milliseconds per frame (one thread)
for decoding alone and for following on top.
"""

import argparse
import time

import cv2

from emoclip.config import FaceConfig
from emoclip.faces import FaceFollower
from emoclip.video.inputs import open_video


def cpu_ms(source: str, config: FaceConfig | None) -> tuple[int, list[tuple[float, int]], set[int], float]:
    """Read once; return frames, (time, number of faces) where there are any, track ids, CPU ms per frame."""
    frames, hits, ids = 0, [], set()
    began = time.process_time()
    with open_video(source) as video:
        follower = FaceFollower(config) if config else None
        for frame, faces in follower.follow(video) if follower else ((frame, []) for frame in video):
            frames += 1
            ids.update(face.track_id for face in faces)
            if faces:
                hits.append((frame.time_s, len(faces)))
    return frames, hits, ids, 1000 * (time.process_time() - began) / frames


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--detect-every", type=int, default=FaceConfig.detect_every)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print("frames  share most tracks   first-last s  decode  follow (CPU ms per frame)  input")
    for source in options.inputs:
        decode_ms = min(cpu_ms(source, None)[3] for _ in range(2))
        config = FaceConfig(mode="all", detect_every=options.detect_every)
        frames, hits, ids, both_ms = min((cpu_ms(source, config) for _ in range(2)), key=lambda run: run[3])
        span = f"{hits[0][0]:.2f}-{hits[-1][0]:.2f}" if hits else "-"
        most = max((count for _, count in hits), default=0)
        print(
            f"{frames:6} {len(hits) / frames:6.1%} {most:4} {len(ids):6} {span:>14} "
            f"{decode_ms:7.2f} {both_ms - decode_ms:7.2f}     {source}"
        )


if __name__ == "__main__":
    main()
