"""docs/architecture.md says what the tree is."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "emoclip"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_room_is_on_the_page_with_its_own_sentence():
    rooms = {
        str(front.parent.relative_to(SOURCE)).replace("\\", "/"): (
            ast.get_docstring(ast.parse(front.read_text(encoding="utf-8"))) or ""
        )
        .split("\n\n")[0]
        .replace("\n", " ")
        for front in SOURCE.rglob("__init__.py")
        if front.parent != SOURCE
    }
    told = dict(re.findall(r"^\| `([\w/]+)` \| (.+) \|$", PAGE, re.M))
    assert told == rooms


def test_the_floors_on_the_page_are_those_that_are_checked():
    with open(ROOT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert "```\n" + "\n".join(layers) + "\n```" in PAGE


def test_every_file_and_room_has_a_floor():
    with open(ROOT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = {name for layer in layers for name in re.split(r" [|:] ", layer)}
    there = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    there |= {path.parent.name for path in SOURCE.glob("*/__init__.py")} - {"training"}
    assert there == named


def test_no_name_means_two_things():
    homes: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(path.relative_to(SOURCE).as_posix())
    twice = {name: sorted(files) for name, files in homes.items() if len(files) > 1}
    assert twice == {}


def test_the_source_distribution_holds_what_the_pages_name():
    with open(ROOT / "pyproject.toml", "rb") as file:
        held = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    named = set()
    for page in pages:
        text = page.read_text(encoding="utf-8")
        links = (page.parent / way for way in re.findall(r"\]\(([^)#:]+)[)#]", text))
        named |= {Path(link).resolve().relative_to(ROOT).parts[0] for link in links}
        named |= set(re.findall(r"python (\w+)/\w+\.py", text))
    assert {"docs", "benchmarks", "CITATION.cff"} <= named
    assert named <= {*held, "pyproject.toml"}
    assert all((ROOT / name).exists() for name in held)
