"""A checkpoint to a model package: what `emoclip import` and `emoclip models fetch` do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from emoclip.characters import in_a_line, markdown, percent
from emoclip.errors import ConfigError, PackageError
from emoclip.model import Fields, check_target
from emoclip.model import hub as catalogue
from emoclip.model import package as packages
from emoclip.training.export.calibration import Calibration, check_precision, read_calibration
from emoclip.training.export.checkpoint import import_checkpoint, openai_name
from emoclip.training.export.export import StoredPrecision, Towers, export_package
from emoclip.training.export.origin import OPENAI_DATA
from emoclip.training.nets.tokenizer import VOCABULARY_SIZE, clip_tokenizer

Progress = Callable[[float], None]


def import_package(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    clip: str | Path | None = None,
    config: str | Path | None = None,
    backbone: str | None = None,
    precision: StoredPrecision = "fp32",
    calibration: str | Path | None = None,
    name: str | None = None,
    licence: str | None = None,
    source: str | None = None,
    training_data: str | None = None,
    force: bool = False,
    progress: Progress = lambda share: None,
) -> list[str]:
    """Make a package from a checkpoint; see `import_checkpoint` for its forms.

    calibration: folder or manifest of face crops that int8 is made and judged on.
    clip: "openai", or the weights file of the CLIP that a downstream checkpoint was trained from.
    name, licence, source, training_data: for the card; the folder's name, the form's usual licence, the file's name and
    what is known of OpenAI's files and the official form by default; a run's weights say theirs, and pixels and clips.
    Returns notes in sentences: what was taken from where, and how well runtime and torch agree.
    Raises PackageError, ConfigError, OutputError; nothing is left behind then.
    """
    folder = Path(folder)
    for option, said in {"--name": name, "--licence": licence, "source": source}.items():
        _check_text(option, said)
    check_target(folder, force=force)
    crops = _calibration(precision, calibration)
    if clip == "openai":
        clip = catalogue.fetch_weights(openai_name(checkpoint))
    imported = import_checkpoint(checkpoint, clip=clip, config=config, backbone=backbone)
    progress(0.1)
    text = imported.model.backbone
    vocabulary, length = getattr(text, "vocab_size", None), getattr(text, "context_length", None)
    if vocabulary != VOCABULARY_SIZE or not isinstance(length, int):
        raise ConfigError(
            f"{checkpoint}: its text tower has a vocabulary of {vocabulary}, not CLIP's {VOCABULARY_SIZE}; "
            "only backbones with CLIP's tokenizer become packages"
        )
    description = replace(
        imported.said,
        name=name or in_a_line(percent(folder.resolve().name)),
        licence=licence or imported.said.licence,
        source=source or in_a_line(percent(Path(checkpoint).name)),
        training_data=training_data or imported.said.training_data,
        notes="\n\n".join(map(markdown, imported.notes)),
    )
    figures = export_package(
        folder,
        Towers.of(imported.model),
        clip_tokenizer(length),
        description,
        precision=precision,
        calibration=crops,
        force=force,
        progress=lambda share: progress(0.1 + 0.9 * share),
    )
    agreement = ", ".join(f"{tower} {cosine:.6f}" for tower, cosine in figures.items())
    return [*imported.notes, f"Runtime and torch agree: least cosine {agreement}."]


def make_known(
    name: str,
    *,
    precision: StoredPrecision = "fp32",
    calibration: str | Path | None = None,
    progress: Progress = lambda share: None,
) -> Path:
    """Make a model of the catalogue in the cache from its weights, fetched if need be.  Returns its folder.

    Raises PackageError that says which file to put where if they cannot be fetched.
    """
    model, folder = catalogue.KNOWN[name], packages.cache_folder() / name
    if not model.weights_file:
        raise PackageError(f"{name}: comes with emoclip and needs no fetching")
    weights = catalogue.fetch_weights(name)
    import_package(
        weights,
        folder,
        clip=None if model.backbone else "openai",
        backbone=model.backbone or None,
        precision=precision,
        calibration=calibration,
        name=name,
        licence=model.licence,
        source=model.source,
        training_data=OPENAI_DATA if model.backbone else None,
        progress=progress,
    )
    return folder


def _check_text(option: str, text: str | None) -> None:
    """Raise ConfigError now for what config.json could not hold after the work is done."""
    try:
        if text is not None:
            Fields({option: text}).text(option)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _calibration(precision: StoredPrecision, source: str | Path | None) -> Calibration | None:
    check_precision(precision, source)
    return None if source is None else read_calibration(Path(source))
