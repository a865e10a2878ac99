"""`emoclip describe`: sample-level descriptions of faces, made from face-mesh measures."""

from pathlib import Path
from typing import Annotated

import typer

from emoclip.cli.importing import training_module
from emoclip.errors import counted


def describe(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="A table of measures (.parquet, .csv), or pictures, where a face-mesh model is installed.",
            show_default=False,
        ),
    ],
    count: Annotated[int, typer.Option("--count", min=1, help="Sentences per face.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Chooses among phrasings.")] = 0,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write path,caption rows, a manifest to train on.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> int:
    """Describe what is seen in faces, from how each differs from others: captions where nobody wrote any."""
    import csv
    import io

    from emoclip.cli.console import say, warn
    from emoclip.datasets.manifest import listed_path, path_in
    from emoclip.errors import InputError
    from emoclip.files import check_writable, write_text

    def tell_bare(found: list[tuple[str, str, list[str]]], why: str) -> None:
        if bare := sum(not texts for *_, texts in found):
            warn(f"{bare} of {counted(len(found), 'face')} without a description: {why}")

    mesh = training_module("mesh")
    if csv_file:
        check_writable(csv_file, force=force, inputs=inputs)
    inputs = list({path.resolve(): path for path in inputs}.values())
    tables = [path for path in inputs if path.suffix.lower() in {".parquet", ".csv"}]
    pictures = [path for path in inputs if path not in tables]
    names = {path: path_in(csv_file, path) if csv_file else str(path) for path in pictures}
    rows: list[tuple[str, str, list[str]]] = []
    for table in tables:
        for place, name, texts in mesh.describe_table(table, count, seed):
            if csv_file:
                away = Path(name).is_absolute()
                name = path_in(csv_file, Path(name)) if away else listed_path(place, name)
            rows.append((place, name, texts))
    tell_bare(rows, "a measure is missing or not finite")
    if pictures:
        seen = mesh.describe_pictures(pictures, count, seed).items()
        rows += (found := [(str(path), names[path], texts) for path, texts in seen])
        tell_bare(found, "no face mesh was found")
    first: dict[Path, str] = {}
    for place, name, _ in rows:
        if first.setdefault(Path(name), place) != place:
            raise InputError(
                f"{place}: {name} is there twice, first in {first[Path(name)]}; remove one of them"
            )
    if csv_file:
        captions = [(name, text) for _, name, texts in rows for text in dict.fromkeys(texts)]
        table_text = io.StringIO()
        csv.writer(table_text).writerows([("path", "caption"), *captions])
        write_text(csv_file, table_text.getvalue(), force=force)
    else:
        for _, name, texts in rows:
            for text in texts:
                say(name, text)
    return 0
