"""How long do thousands of labels take, and how much memory: 5,000 in under 20 s and under 400 MB more is the aim.

    python benchmarks/labels.py [--labels 5000] [--model mini] [--threads 1]

In a process of its own: the model is loaded and warm, then so many labels of real words are embedded and told apart,
with nothing kept on disk (EMOCLIP_TEXT_CACHE=0).  The words are made of the model's own vocabulary, three a label, each
label another; "more" is the peak of the process over what it held before.  CPU seconds count where other work shares
the cores.
"""

import argparse
import itertools
import os
import time
import warnings

from tokenizers import Tokenizer

from emoclip import EmoCLIP
from emoclip.bench import machine


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=5000)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()

    os.environ["EMOCLIP_TEXT_CACHE"] = "0"
    warnings.simplefilter("ignore")
    model = EmoCLIP.load(asked.model, threads=asked.threads)
    model.embed_text(["calm", "about to cry"])
    vocabulary = Tokenizer.from_file(str(model.package.path / "tokenizer.json")).get_vocab()
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 3)
    labels = [
        " ".join(three)
        for three in itertools.islice(zip(words, words[7:], words[31:], strict=False), asked.labels)
    ]
    if len(labels) < asked.labels:
        parser.error(f"--labels: the model has words for {len(labels)} only")
    before_mb = _memory_mb("VmRSS")
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    rows = model.embed_text(labels)
    spent_s, spent_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    more_mb = _memory_mb("VmHWM") - before_mb
    print(
        f"{len(rows)} labels, {asked.model}: {spent_s:.1f} s, {spent_cpu_s:.1f} CPU s, {more_mb:.0f} MB more than the "
        f"{before_mb:.0f} MB before; {machine()['processor']}, {model.runtime.threads} threads"
    )


def _memory_mb(kind: str) -> float:
    """VmRSS, what this process holds now, or VmHWM, the most that it ever held.  Linux alone tells."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(kind)) / 1000


if __name__ == "__main__":
    main()
