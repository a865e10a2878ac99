"""A long timeline: speed, where the time goes, memory, and whether the end is as quick as the beginning.

    python benchmarks/timeline.py                          a quarter of an hour, bundled model
    python benchmarks/timeline.py --minutes 120            the two hours of the documentation
    python benchmarks/timeline.py --video talk.mp4 --model clip-vit-b-32
    python benchmarks/timeline.py --minutes 60 --slower 3 --model FOLDER    an hour of 8 frames a second

`--video` is looped, without decoding or encoding it again, up to the length asked for.  Times are given twice: by the
wall, and in CPU seconds, which other work on the machine does not stretch as much.  Where the time goes is measured
apart, on the video itself, with one stage after the other.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

LABELS = "crying or sad, worried or afraid, smiling or laughing"


def loop(source: Path, target: Path, seconds: float, slower: int = 1) -> float:
    """Write `source`'s video packets again and again until `seconds` are full; return how long it became.

    slower: every timestamp is stretched so many times.
    """
    with av.open(str(target), "w") as output:
        with av.open(str(source)) as first:
            template = first.streams.video[0]
            stream = output.add_stream_from_template(template)
            step = slower * round(1 / (template.average_rate * template.time_base))
        shift = 0
        while shift * float(stream.time_base or template.time_base) < seconds:
            end = 0
            with av.open(str(source)) as again:
                video = again.streams.video[0]
                for packet in again.demux(video):
                    if packet.dts is None:
                        continue
                    end = max(end, packet.pts * slower + step)
                    packet.pts, packet.dts = packet.pts * slower + shift, packet.dts * slower + shift
                    packet.duration = step
                    packet.stream = stream
                    output.mux(packet)
                base = float(video.time_base)
            shift += end
            if shift * base >= seconds:
                return shift * base
    raise AssertionError


def memory_mb() -> float:
    """Return the resident memory now, in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cached_windows(model: Any, count: int = 1000) -> float:
    """Return the seconds that `count` windows over frame embeddings at hand take."""
    rng = np.random.default_rng(0)
    length = model.package.frames_per_clip
    frames = rng.normal(size=(count + length, model.package.width)).astype(np.float32)
    text = model.embed_text(LABELS)
    model.embed_clips([frames[:length]])
    began_s = time.perf_counter()
    model.probabilities(model.embed_clips([frames[at : at + length] for at in range(count)]), text)
    return time.perf_counter() - began_s


def stages(model: Any, video: Path, labels: str) -> dict[str, float]:
    """Return the share of CPU time of each stage of a timeline, run one after the other."""
    from emoclip import bench
    from emoclip.timeline import stream as timeline

    staged = bench.StagedEmoCLIP(model)
    look = timeline.look
    timeline.look = staged.clock.around("sharpness and pictures", look)
    began_s = time.process_time()
    try:
        staged.timeline(video, labels, keep_pictures=True).read()
    finally:
        timeline.look = look
    spent_s = time.process_time() - began_s
    return {name: round(cpu_s / spent_s, 3) for name, cpu_s in staged.clock.cpu_s.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    media = Path(__file__).resolve().parents[2] / "shared" / "media"
    parser.add_argument("--video", type=Path, default=media / "WolfgangLanger_Pexels.mp4")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--slower", type=int, default=1, help="stretch the clock so many times")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--labels", default=LABELS)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()

    from emoclip import EmoCLIP
    from emoclip.bench import peak_mb

    model = EmoCLIP.load(options.model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        length_s = loop(options.video, path, options.minutes * 60, options.slower)
        marks: list[tuple[float, float, float, float]] = []  # video seconds, wall, CPU, memory
        due_s = 0.0
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        rows = 0
        stream = model.timeline(path, options.labels, keep_pictures=True)
        for window in stream:
            rows += 1
            if window.end_s >= due_s:
                wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
                marks.append((window.end_s, wall_s, cpu_s, memory_mb()))
                print(
                    f"{window.end_s / 60:7.1f} min  {wall_s:8.1f} s  {memory_mb():6.0f} MB", file=sys.stderr
                )
                due_s += length_s / 12
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        marks.append((window.end_s, wall_s, cpu_s, memory_mb()))

    peak = peak_mb()
    thousand_s = cached_windows(model)
    shares = stages(model, options.video, options.labels)

    def speed(first: int, last: int, clock: int) -> float:
        return (marks[last][0] - marks[first][0]) / (marks[last][clock] - marks[first][clock])

    cores = len(os.sched_getaffinity(0))
    figures = {
        "model": model.package.name,
        "video_s": round(length_s, 1),
        "rows": rows,
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "times_real_time": round(length_s / wall_s, 1),
        "times_real_time_if_cores_were_free": round(length_s * cores / cpu_s, 1),
        "video_s_per_cpu_s": round(length_s / cpu_s, 1),
        "first_twelfth_video_s_per_cpu_s": round(speed(0, 1, 2), 1),
        "last_twelfth_video_s_per_cpu_s": round(speed(-3, -1, 2), 1),
        "peak_mb": peak,
        "mb_after_a_twelfth": round(marks[1][3]),
        "mb_at_the_end": round(marks[-1][3]),
        "thousand_cached_windows_s": round(thousand_s, 2),
        "share_of_cpu": shares,
        "engine": model.runtime.execution.engine,
        "precision": model.runtime.execution.precision,
        "cores": cores,
    }
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
