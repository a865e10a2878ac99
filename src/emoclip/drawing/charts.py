"""Pictures of an evaluation: confusion matrix, recall per class, map of the embeddings.  Colour-blind-safe."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.drawing.fonts import REMEDY, installed
from emoclip.errors import ConfigError, InputWarning, few, warn_caller

# Okabe & Ito's palette without its yellow, which is too pale on white; markers tell apart what repeats.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vPX*"
MAP_POINTS = 3000
LEGEND_ROWS = 22


def check_installed() -> None:
    """Raise ConfigError with the remedy if matplotlib is absent."""
    try:
        import_matplotlib()
    except ImportError:
        raise ConfigError(
            "pictures need matplotlib: pip install 'emoclip[eval]', or pass --no-pictures"
        ) from None


def import_matplotlib() -> Any:
    """Import matplotlib, also where MPLBACKEND, as a notebook sets it, names one that is not installed here."""
    if "matplotlib" in sys.modules:
        import matplotlib  # waits where another thread is importing it just now

        return matplotlib
    # What it warns of is a user's settings, which we leave aside.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend  # for the notebook's own charts
    return matplotlib


@contextmanager
def own_style() -> Iterator[None]:
    """Draw, within this, by matplotlib's defaults: a user's matplotlibrc may ask for TeX, or for fonts of its own.

    Letters that its own font lacks are from the system's.
    """
    matplotlib = import_matplotlib()
    from matplotlib.font_manager import fontManager, get_font

    paths = [str(font.path) for font in installed()]
    for path in {*paths}.difference(known.fname for known in fontManager.ttflist):
        fontManager.addfont(path)
    families = dict.fromkeys(("DejaVu Sans", *(get_font(path).family_name for path in paths)))
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["font.family"] = [*families]
        yield


@own_style()
def confusion_chart(counts: NDArray[np.int64], classes: Sequence[str], seeds: int = 1) -> bytes:
    """Draw counts (K, K), rows true, columns predicted: shade and upper number are shares of the row.  Returns PNG.

    seeds: how often each clip is among the counts.
    """
    side = max(4.5, 0.62 * len(classes) + 1.8)
    figure, axes = new_figure(side + 0.8, side)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        range(len(classes)), [f"{name} ({total})" for name, total in zip(classes, totals[:, 0], strict=True)]
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (clips)" if seeds == 1 else f"true (clips x {seeds} seeds)")
    if len(classes) <= 20:
        for row, column in np.ndindex(counts.shape):
            if counts[row, column]:
                colour = "white" if shares[row, column] > 0.55 else "black"
                text = f"{shares[row, column]:.0%}\n{counts[row, column]}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(shown, ax=axes, fraction=0.046, label="share of the true class")
    return png(figure)


@own_style()
def recall_chart(recalls: Sequence[float | None], classes: Sequence[str], war: float, uar: float) -> bytes:
    """Draw recall per class as bars, with WAR and UAR as lines.  None: a class without a clip.  Returns PNG."""
    figure, axes = new_figure(6.4, max(2.4, 0.34 * len(classes) + 1.2))
    places = np.arange(len(classes))[::-1]
    axes.barh(places, [recall or 0.0 for recall in recalls], color=PALETTE[0], height=0.7)
    for place, recall in zip(places, recalls, strict=True):
        axes.text(
            (recall or 0) + 0.01,
            place,
            "no clip" if recall is None else f"{recall:.2f}",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            zorder=3,
        )
    axes.axvline(uar, color=PALETTE[3], linestyle="-", label=f"UAR {uar:.3f}")
    axes.axvline(war, color="black", linestyle="--", label=f"WAR {war:.3f}")
    axes.set_yticks(places, classes)
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("recall")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return png(figure)


@own_style()
def map_chart(
    clips: NDArray[np.float32], truth: NDArray[np.int64], text: NDArray[np.float32], classes: Sequence[str]
) -> bytes:
    """Draw clips (N, D) and class prompts (K, D) on the first two principal axes of the clips.  Returns PNG.

    Clips and prompts lie in two cones apart (the modality gap), so each kind is centred on its own mean first, and
    the prompts are scaled to the clips' spread: their directions tell, their distances do not.
    """
    columns = -(-len(classes) // LEGEND_ROWS)
    figure, axes = new_figure(5.6 + 1.4 * columns, 5.6)
    centred = (clips - clips.mean(axis=0)).astype(np.float64)
    basis = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1].T
    # The sign of a principal axis is arbitrary; fixed here, so that runs agree.
    basis = basis * np.sign(basis[[0, 1], np.abs(basis).argmax(axis=1)])[:, None]
    points = centred @ basis.T
    prompts = (text - text.mean(axis=0)) @ basis.T
    prompts *= np.quantile(np.linalg.norm(points, axis=1), 0.9) / max(
        np.linalg.norm(prompts, axis=1).max(), 1e-9
    )
    step = max(1, -(-len(points) // MAP_POINTS))
    for k, name in enumerate(classes):
        colour, marker = PALETTE[k % len(PALETTE)], MARKERS[k // len(PALETTE) % len(MARKERS)]
        members = points[truth == k][::step]
        axes.scatter(*members.T, s=9, color=colour, marker=marker, alpha=0.45, linewidths=0)
        axes.scatter(
            *prompts[k],
            s=130,
            color=colour,
            marker=marker,
            edgecolors="black",
            linewidths=1.2,
            label=name,
            zorder=3,
        )
    axes.set_xlabel("first principal axis of the clips")
    axes.set_ylabel("second")
    axes.legend(
        fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), title="large: prompt", ncols=columns
    )
    return png(figure)


def new_figure(width: float, height: float, *, dpi: int = 120) -> tuple[Any, Any]:
    """Return a figure of width x height inches at `dpi` pixels an inch, and its axes without a frame."""
    # Not pyplot: no global state, no window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def png(figure: Any) -> bytes:
    """Return a figure as PNG, the same bytes for the same picture.  Call it in `own_style`.

    Warns, once a process, of letters that no font has.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")  # a line for each letter
        # Without the version of the library in it, so that equal results are equal bytes.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    if lacking := _lacking(figure):
        _tell(lacking)
    return buffer.getvalue()


def _lacking(figure: Any) -> str:
    """Return the letters of a figure that none of the fonts has in which it is drawn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.text import Text

    letters = {letter for text in figure.findobj(Text) for letter in text.get_text()}
    letters = {letter for letter in letters if letter.isprintable() and not letter.isascii()}
    for family in import_matplotlib().rcParams["font.family"]:
        if letters:
            letters -= {*map(chr, get_font(findfont(FontProperties(family=[family]))).get_charmap())}
    return "".join(sorted(letters))


@cache
def _tell(lacking: str) -> None:
    warn_caller(
        f"charts: no font here has {few(lacking, 8)}; boxes stand in their place, install {REMEDY}",
        InputWarning,
    )
