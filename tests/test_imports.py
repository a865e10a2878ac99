"""Imports: what a room may know, checked by import-linter (`lint-imports`); importing emoclip stays instant."""

import ast
import importlib
import runpy
import subprocess
import sys
from pathlib import Path

import pytest


def test_imports_keep_to_their_floors(monkeypatch):
    pytest.importorskip("importlinter")
    from importlinter import cli

    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    assert cli.lint_imports(no_cache=True) == cli.EXIT_STATUS_SUCCESS


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'numpy', 'cv2', 'av', 'onnxruntime', 'torch', 'rich', 'PIL'}"
    code = f"import sys, emoclip; print(sorted({heavy} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_the_help_loads_no_engine():
    heavy = "{'numpy', 'cv2', 'av', 'onnxruntime', 'torch'}"
    code = (
        "import sys; sys.argv = ['emoclip', '--help']\n"
        "from emoclip.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print('loaded', sorted({heavy} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip().splitlines()[-1] == "loaded []"


def test_the_public_names_are_there():
    import emoclip

    assert all(getattr(emoclip, name) is not None for name in emoclip.__all__)
    with pytest.raises(AttributeError):
        emoclip.nothing  # noqa: B018


HOME = Path(__file__).resolve().parents[1]
SCRIPTS = sorted([*HOME.glob("benchmarks/*.py"), *HOME.glob("examples/*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_what_benchmarks_and_examples_import_of_ours_is_there(script):
    """They import inside functions and run for minutes, so nothing else would say that a name has moved."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "emoclip":
            continue
        if "training" in node.module:
            pytest.importorskip("torch")
        home = importlib.import_module(node.module)
        for name in node.names:
            if not hasattr(home, name.name):
                importlib.import_module(f"{node.module}.{name.name}")


@pytest.mark.parametrize(
    ("script", "needs", "module", "package"),
    [
        ("baseline.py", ("torch", "scipy"), "dlib", "dlib-bin"),
        ("tracks.py", ("pyarrow", "scipy"), "trackeval", "trackeval"),
    ],
)
def test_a_benchmark_names_the_package_that_no_extra_of_ours_brings(
    script, needs, module, package, monkeypatch
):
    for name in needs:
        pytest.importorskip(name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        SystemExit, match=rf"^benchmarks/{script}: \S+ is not installed; pip install .*{package}$"
    ):
        runpy.run_path(str(HOME / "benchmarks" / script))


def test_lines_reach_a_file_as_they_are_printed(tmp_path):
    code = "import sys; from emoclip.cli import main; sys.argv = ['emoclip', '--version']\n"
    code += "try: main()\nexcept SystemExit: print(sys.stdout.line_buffering)"
    with open(tmp_path / "shown", "w") as shown:
        subprocess.run([sys.executable, "-c", code], stdout=shown, check=True)
    assert (tmp_path / "shown").read_text().splitlines()[-1] == "True"
