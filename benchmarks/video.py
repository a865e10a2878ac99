"""End to end on one video: frames a second with one thread and with all, CPU time of each stage, start-up times.

    python benchmarks/video.py [VIDEO] [--model mini] [--csv FILE] [--plot FILE]

What `emoclip bench` measures, once per number of threads, as rows of a table and bars of a plot.
"""

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STARTS = 5


def help_s() -> float:
    """Return the seconds `emoclip --help` takes, interpreter included; the quickest of five."""
    times = []
    for _ in range(STARTS):
        began_s = time.perf_counter()
        subprocess.run([sys.executable, "-m", "emoclip", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began_s)
    return round(min(times), 3)


def row(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one `bench.measure` as a row."""
    video, machine = figures["video"], figures["machine"]
    each = {
        f"{name.replace(' ', '_')}_ms": round(1000 * stage["cpu_s"] / figures["frames"], 3)
        for name, stage in figures["stages"].items()
    }
    return {
        "machine": f"{machine['system']}, {machine['cores']} cores, {machine['processor']}",
        "video": f"{video['width']}x{video['height']}, {figures['frames']} frames",
        "model": figures["model"],
        "engine": figures["engine"],
        "precision": figures["precision"],
        "threads": figures["threads"],
        "fps": figures["fps"],
        "cpu_s": figures["cpu_s"],
        **each,
        "peak_mb": figures["peak_mb"],
        "import_s": figures["import_s"],
        "load_s": figures["load_s"],
        "first_run_s": figures["first_run_s"],
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw CPU milliseconds per frame by stage, a bar per row."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.6 * len(rows)), layout="constrained")
    names = [
        f"{r['model']}, {r['threads']} thread{'s' * (r['threads'] > 1)}: {r['fps']:.0f} fps" for r in rows
    ]
    left = [0.0] * len(rows)
    for stage in [key for key in rows[0] if key.endswith("_ms")]:
        widths = [each[stage] for each in rows]
        axes.barh(names, widths, left=left, label=stage.removesuffix("_ms").replace("_", " "))
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("CPU milliseconds per frame of video")
    axes.set_title(f"{rows[0]['video']}; {rows[0]['machine']}", fontsize=9)
    axes.legend(fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.12), frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    media = Path(__file__).resolve().parents[2] / "shared" / "media"
    parser.add_argument("video", nargs="?", type=Path, default=media / "WolfgangLanger_Pexels.mp4")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()

    from emoclip.bench import measure
    from emoclip.model.cpu import cores

    rows = []
    for threads in dict.fromkeys((1, cores())):
        figures = measure(
            str(options.video), "seven", model=options.model, threads=threads, repeat=options.repeat
        )
        rows.append(row(figures) | {"help_s": help_s()})
        print(rows[-1], flush=True)
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
