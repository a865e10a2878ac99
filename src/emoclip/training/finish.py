"""What a run leaves: the package with a card filled from the run, whole weights to go on from, and its curves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emoclip import __version__
from emoclip.characters import markdown
from emoclip.drawing import own_style
from emoclip.errors import counted
from emoclip.files import atomic_path, json_text, write_text
from emoclip.model import Description
from emoclip.training.export.export import Towers, export_package
from emoclip.training.export.origin import metadata
from emoclip.training.folder import PACKAGE, WHOLE
from emoclip.training.nets.state import save_weights
from emoclip.training.recipe import Recipe, SelectionRecipe
from emoclip.training.run import Outcome
from emoclip.training.samples import Samples, class_counts
from emoclip.training.selection import usable_rule

NATIVE_FPS = 30.0  # of the clips that stride counts in
LEAK = (
    "The test part chose the epoch (`select = test-war`, the official rule), so scores on it are flattered."
)
_TERMS = "trained on {}, whose terms apply to what is made of it"


def finish(
    outcome: Outcome, out: Path, command: str, progress: Callable[[float], None] = lambda share: None
) -> Path:
    """Write `package`, `model.safetensors`, `history.json` and `curves.png` into a run's folder.

    command: what the user typed, for the card.  progress: called with the share done, 0 to 1.
    Returns the package's folder.  Raises OutputError, PackageError.
    """
    recipe, assembly = outcome.recipe, outcome.assembly
    history = outcome.progress.history
    write_text(out / "history.json", json_text(history), force=True)
    draw_curves(history, recipe.selection, out / "curves.png")
    terms = _TERMS.format(recipe.data.dataset if recipe.data.dataset != "manifest" else "its user's data")
    data = training_data(recipe, outcome.samples)
    description = Description(
        name=recipe.name,
        licence=f"{terms}; of its first weights: {assembly.licence}" if assembly.licence else terms,
        source=f"emoclip {__version__}, recipe {recipe.name}",
        training_data=f"{assembly.training_data}; then {data}" if assembly.training_data else data,
        pixels=assembly.pixels,
        frames_per_clip=recipe.clips.frames,
        sample_fps=recipe.clips.sample_fps or NATIVE_FPS / recipe.clips.stride,
        notes=card_notes(outcome, command),
    )
    save_weights(out / WHOLE, assembly.model.state_dict(), metadata(assembly.model, description))
    package = out / PACKAGE
    export_package(
        package, Towers.of(assembly.model), assembly.tokenizer, description, force=True, progress=progress
    )
    return package


def training_data(recipe: Recipe, samples: Samples) -> str:
    """Say in words what was trained on."""
    clips = len(samples.train)
    counts = {
        "captions": sum(bool(sample.captions) for sample in samples.train),
        "classes": sum(sample.label is not None for sample in samples.train),
    }
    kinds = {"captions": "sample-level captions", "classes": "class sentences"}
    told = {kind: counts[kind] for kind in kinds if recipe.data.text in (kind, "mixed") and counts[kind]}
    text = " and ".join(
        kinds[kind] + ("" if count == clips else f" ({count} of {clips})") for kind, count in told.items()
    )
    if recipe.data.measures and "captions" in told:
        text += " (captions made from face-mesh measures)"
    left_out = f", without the class {recipe.data.leave_out}" if recipe.data.leave_out else ""
    fold = f", fold {recipe.data.fold}" if samples.dataset.folds else ""
    return f"{samples.dataset.name}{fold}{left_out}: {counted(clips, 'clip')} with {text}"


def card_notes(outcome: Outcome, command: str) -> str:
    """Return the part of the model card that tells of the run, in Markdown."""
    recipe, samples, progress = outcome.recipe, outcome.samples, outcome.progress
    chosen = next((row for row in progress.history if row["epoch"] == progress.best_epoch), {})
    figures = {key: value for key, value in chosen.items() if key != "epoch"}
    counts = class_counts(samples.train, samples.classes)
    parts = {
        "trained on": len(samples.train),
        "held out of the training part": len(samples.held),
        "with a label in the test part": len(samples.test),
    }
    clips = "Clips: " + ", ".join(f"{count} {part}" for part, count in parts.items() if count) + "."
    if any(counts.values()):
        clips += (
            " Trained on per class: " + ", ".join(f"{markdown(name)} {n}" for name, n in counts.items()) + "."
        )
    table_of_recipe = recipe.as_table()
    for key in ("weights", "start", "sizes"):  # a card is made to be shared: no folder of this machine
        table_of_recipe["model"][key] = Path(table_of_recipe["model"][key]).name
    lines = [
        "## Training",
        "",
        f"`{command}`",
        "",
        f"Epoch {progress.best_epoch} of {progress.epoch}, chosen by `{usable_rule(recipe, samples)}`; "
        f"seed {recipe.loop.seed}; commit {commit() or 'unknown'}; first weights: {outcome.assembly.origin}.",
        "",
        *([f"**{LEAK}**", ""] if recipe.selection.leaky else []),
        clips,
        "",
        *([*(f"- {markdown(note)}" for note in samples.notes), ""] if samples.notes else []),
        table(figures),
        "",
        "## Recipe",
        "",
        "```json",
        json.dumps(table_of_recipe, indent=1),
        "```",
    ]
    return "\n".join(lines)


def table(figures: Mapping[str, Any]) -> str:
    """Return figures as a Markdown table of two columns."""
    rows = (
        f"| {markdown(name)} | {value:.4g} |"
        for name, value in figures.items()
        if isinstance(value, int | float)
    )
    return "\n".join(["| of the chosen epoch | |", "|---|---|", *rows])


@own_style()
def draw_curves(history: Sequence[Mapping[str, Any]], selection: SelectionRecipe, path: Path) -> None:
    """Write a picture of loss and recalls over the epochs.  Raises OutputError."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    keys = history[0] if history else {}
    parts = {
        "contrastive loss (nats)": [key for key in keys if key.endswith("loss")],
        "recall": [key for key in keys if key.endswith(("war", "uar"))],
    }
    drawn = {what: curves for what, curves in parts.items() if curves}  # without labels there is no recall
    figure = Figure(figsize=(4.5 * max(1, len(drawn)), 3.6), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for number, (what, curves) in enumerate(drawn.items(), start=1):
        axes = figure.add_subplot(1, len(drawn), number)
        for key in curves:
            axes.plot(
                epochs, [row[key] for row in history], marker="o", markersize=3, label=key.replace("_", " ")
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        if what == "recall":
            axes.set_ylim(0, 1)
    if selection.leaky:
        figure.suptitle("leaky selection: the test part chose the epoch", color="#D55E00")
    with atomic_path(path, force=True) as temporary:
        figure.savefig(temporary, dpi=120)


def commit() -> str | None:
    """Return the git commit of the emoclip that runs, if it runs from a checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
