"""Export at full size: does the runtime give torch's embeddings, and what does loading the package cost?

    python benchmarks/export.py [--backbone ViT-B-32-quickgelu] [--csv FILE]

Random weights of the paper's model (outliers in norms, as trained CLIP has them), both storages; a minute each.
Prints per storage: least cosine to torch per tower, size, seconds to verify and open all graphs, peak memory over size.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOAD = """
import json, sys, time
import numpy, onnxruntime, tokenizers
from emoclip.model import hub
from emoclip.model import package
from emoclip.model.runtime import Runtime
start = time.perf_counter()
runtime = Runtime(hub.load(sys.argv[1]))
runtime._image, runtime._temporal, runtime._text, runtime._tokenizer
seconds = time.perf_counter() - start
# Not ru_maxrss, which a child process inherits from its parent.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
costs = {"load_s": round(seconds, 2), "load_cpu_s": round(time.process_time(), 2), "peak_mb": round(peak / 1e6)}
print(json.dumps(costs))
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--backbone", default="ViT-B-32-quickgelu")
    arguments.add_argument("--csv", type=Path)
    options = arguments.parse_args()

    import torch

    from emoclip.model import Description
    from emoclip.training.export.export import Towers, export_package
    from emoclip.training.nets.model import VideoTextModel, build_backbone, image_settings
    from emoclip.training.nets.temporal import TemporalConfig
    from emoclip.training.nets.tokenizer import clip_tokenizer

    torch.manual_seed(0)
    backbone = build_backbone(options.backbone)
    model = VideoTextModel(backbone, TemporalConfig.paper(backbone.text_projection.shape[1])).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("ln_1.weight", "ln_2.weight")):
            parameter.data *= torch.where(torch.rand_like(parameter) < 0.01, 10.0, 1.0)
        elif parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    about = Description("benchmark", "none", "random weights", "none", image_settings(backbone))
    rows = []
    for precision in ("fp32", "fp16"):
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / precision
            start = time.perf_counter()
            cosines = export_package(folder, Towers.of(model), clip_tokenizer(), about, precision=precision)
            row = {
                "backbone": options.backbone,
                "precision": precision,
                "export_s": round(time.perf_counter() - start, 1),
            }
            row |= {f"cosine_{tower}": cosine for tower, cosine in cosines.items()}
            size = sum(path.stat().st_size for path in folder.iterdir())
            loads = []
            for _ in range(3):
                done = subprocess.run(
                    [sys.executable, "-c", LOAD, folder], capture_output=True, text=True, check=True
                )
                loads.append(json.loads(done.stdout))
            best = min(loads, key=lambda load: load["load_s"])
            row |= {
                "size_mb": round(size / 1e6),
                **best,
                "peak_over_size": round(best["peak_mb"] * 1e6 / size, 2),
            }
        rows.append(row)
        print(row)
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
