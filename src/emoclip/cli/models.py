"""`emoclip models`: what models there are, what one is, and getting one."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emoclip.cli.console import emit, fail, needs_stdout, print_table, progress_bars, say, shown, table
from emoclip.cli.options import Calibration, StoredPrecision
from emoclip.errors import counted

if TYPE_CHECKING:
    from emoclip.model import Package

ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

app = typer.Typer(help="List, show and fetch models.", no_args_is_help=True, pretty_exceptions_enable=False)

JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Write it as JSON instead; - for stdout.", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing JSON file.")]


@app.command("list")
def list_(json_file: JsonFile = None, force: Force = False) -> None:
    """List the models that are here, and those that can be fetched or made."""
    rows = _rows()
    needs_stdout(json_file)
    if json_file:
        return _write_json(rows, json_file, force=force)
    listed = table("name", "state", "MB", "licence", "source")
    for row in rows:
        listed.add_row(row["name"], row["state"], f"{row['size_mb']:.0f}", row["licence"], row["source"])
    print_table(listed)
    return None


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A model's name, or a package's folder.", show_default=False)],
    json_file: JsonFile = None,
    force: Force = False,
) -> None:
    """Show what a model is, verified, or how to get one that is not here."""
    from emoclip.model import hub as catalogue

    needs_stdout(json_file)
    found = next((row for row in _rows() if row["name"] == name), None)
    if found and found["state"] == "not here":
        facts = {**found, "about": catalogue.KNOWN[name].about, "get it": f"emoclip models fetch {name}"}
        facts["needs"] = "torch, to make the package: the extra `train`; running it then needs none"
    else:
        facts = _facts(catalogue.load(name))
    if json_file:
        return _write_json(facts, json_file, force=force)
    listed = table("", "")
    listed.show_header = False
    for fact, value in facts.items():
        if value is not None:
            listed.add_row(fact, shown(value))
    print_table(listed)
    return None


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(help="A name from the list, or a hub name: ORGANISATION/NAME.", show_default=False),
    ],
    precision: StoredPrecision = "fp32",
    calibration: Calibration = None,
) -> None:
    """Fetch a model into the cache, or make it there from its published weights.

    The weights are downloaded once, go on where an interrupted download stopped, and are verified.
    """
    from emoclip.model import hub as catalogue
    from emoclip.model import package

    if name in catalogue.KNOWN:
        home = next((row["path"] for row in _rows() if row["name"] == name and row["path"]), None)
        if home:
            folder = Path(home)
            _refuse_to_remake(package.read(folder), precision, calibration)
        else:
            from emoclip.cli.importing import check_training, training_module

            check_training()  # before the download, which is of no use without
            training_module("export.calibration").check_precision(precision, calibration)
            if catalogue.KNOWN[name].weights_file:
                catalogue.fetch_weights(name)  # with its own progress, and before torch is loaded
            importing = training_module("export.importing")
            with progress_bars() as bars:
                task = bars.add_task(f"make {name}", total=1.0)
                folder = importing.make_known(
                    name,
                    precision=precision,
                    calibration=calibration,
                    progress=lambda share: bars.update(task, completed=share),
                )
    elif name.count("/") == 1:
        if precision != "fp32" or calibration:
            fail(
                f"{name}: a package of the hub is taken as it is; leave out --precision and --calibration",
                code=2,
            )
        folder = catalogue.fetch(name.removeprefix(catalogue.HUB))
    else:
        fail(f"{name}: is no known model ({', '.join(catalogue.KNOWN)}) and no ORGANISATION/NAME on the hub")
    say(f"{name}: ready in {folder}")


def _refuse_to_remake(there: "Package", precision: str, calibration: Path | None) -> None:
    """Stop where a package that is there is asked for otherwise than it was made."""
    made = "int8" if "quantisation" in there.config else there.precision
    if calibration or precision not in ("fp32", made):
        fail(
            f"{there.path}: is here already, made with --precision {made}; leave out --precision and --calibration, "
            "or import its weights to another folder",
            code=2,
        )


def _rows() -> list[dict[str, Any]]:
    """Every bundled and cached package, and the known models that are not here, in that order."""
    from emoclip.model import hub as catalogue
    from emoclip.model import package

    rows: list[dict[str, Any]] = []
    names: set[str] = set()
    for state, home in (("bundled", package.bundled_folder()), ("cached", package.cache_folder())):
        for config in sorted([*home.glob("*/config.json"), *home.glob("*/*/config.json")]):
            folder = config.parent
            if folder.parent != home and folder.parent.samefile(home):
                continue  # a link back to the cache
            name = folder.relative_to(home).as_posix()
            if not any(part.startswith(".") for part in folder.relative_to(home).parts):
                # One that a bundled package hides is reached by its folder alone.
                rows.append(_row(name, "hidden" if name in names else state, folder))
                names.add(name)
    for model in catalogue.KNOWN.values():
        row = {"name": model.name, "state": "not here", "size_mb": model.size_mb, "licence": model.licence}
        if model.name not in names:
            rows.append(row | {"source": model.source, "path": None})
    return rows


def _row(name: str, state: str, folder: Path) -> dict[str, Any]:
    from emoclip.errors import PackageError
    from emoclip.model.package import CARD, read_config

    try:
        config = read_config(folder)
        needed = [file for file in config.values["files"] if file != CARD]
        lacks = [file for file in needed if not os.path.isfile(folder / file)]  # noqa: PTH113 (takes any)
        state = "damaged" if lacks else state  # `show` says of what
        licence, source = config.text("licence"), config.text("source")
    except (PackageError, ValueError):
        state, licence, source = "damaged", "?", "?"
    return {
        "name": name,
        "state": state,
        "size_mb": _size_mb(folder),
        "licence": licence,
        "source": source,
        "path": str(folder),
    }


def _size_mb(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6, 1)


def _facts(package: "Package") -> dict[str, Any]:
    from emoclip.faces import detector_facts
    from emoclip.model import cpu as processor
    from emoclip.model import execution

    pixels = package.pixels
    runs = execution.choose(package)
    machine = processor.processor()
    native = [name for name in ("int8", "bf16") if getattr(machine, name)]
    facts = {
        "name": package.name,
        "path": str(package.path),
        "sha256": package.digest,
        "size_mb": _size_mb(package.path),
        "licence": package.config.get("licence", "?"),
        "source": package.config.get("source", "?"),
        "training_data": package.config.get("training_data", "?"),
        "input": f"{pixels.size} x {pixels.size} pixels, {pixels.colour}, {pixels.resize}",
        "clips": f"{counted(package.frames_per_clip, 'frame')} at {package.sample_fps:g} per second, "
        f"{package.temporal}",
        "width": package.width,
        "logit_scale": round(package.logit_scale, 4),
        "weights": f"stored as {package.precision}",
        "precisions": ", ".join(package.precisions),
        "runs as": f"{runs.precision} on {ENGINES[runs.engine]}, {counted(runs.threads, 'thread')}: {runs.why}",
        "kernels": runs.kernels,
        "processor": f"{machine.name}, native {' and '.join(native) or 'fp32 only'}, "
        f"{counted(processor.cores(), 'core')}",
        "openvino": execution.openvino_lack() or "installed, used for the image tower of large models",
        "faces": detector_facts(),
        "verified": "every file by SHA-256",
    }
    for engine, figures in package.config.get("quantisation", {}).get("engines", {}).items():
        facts[f"int8 {engine}"] = (
            f"centred cosine to fp32 {figures['centred_cosine']:.4f}, same top label {figures['label_agreement']:.1%}"
        )
    facts |= {f"note {at}": warning for at, warning in enumerate(runs.warnings, 1)}
    return facts


def _write_json(value: Any, path: Path, *, force: bool) -> None:
    from emoclip.files import json_text, write_text

    text = json_text(value)
    if str(path) == "-":
        emit(text)
    else:
        write_text(path, text, force=force)
