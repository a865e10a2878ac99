"""The design's floors: imports run downwards, torch stays under training/."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "src" / "emoclip"
FLOORS = {
    0: "errors config results metrics files",
    1: "video containers frames pictures faces preprocess prompts package catalogue datasets "
    "scales segments recording processor execution pipeline textcache sources",
    2: "runtime",
    3: "engine timeline",
    4: "formats report overlay drawing batch sidecar page charts evaluate embeddings sampling scorecard wordings "
    "symptoms study cohort interviews validation regression probe heads symptom_report search bench codings",
    5: "cli server",
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names.split()}
TRAINING_MAY_IMPORT = {name for name, floor in FLOOR_OF.items() if floor <= 2}
TOP = {ROOT / "__init__.py", ROOT / "__main__.py"}
MODULES = sorted(set(ROOT.rglob("*.py")) - TOP)


def imports(path: Path) -> set[str]:
    """Return every module that a file imports anywhere, as full dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path: Path):
    here = part(path)
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("emoclip.")}
    parts &= FLOOR_OF.keys() | {"training"}
    if here == "training":
        assert parts - {"training"} <= TRAINING_MAY_IMPORT
        return
    assert here in FLOOR_OF, f"{here} has no floor: add it to FLOORS"
    upward = {name for name in parts - {"training"} if FLOOR_OF[name] > FLOOR_OF[here]}
    assert not upward, f"{here} imports upwards: {upward}"
    assert "training" not in parts or here == "cli", f"{here} imports training"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_stays_under_training(path: Path):
    heavy = {name.split(".")[0] for name in imports(path)} & {
        "torch",
        "torchvision",
        "open_clip",
        "lightning",
    }
    assert part(path) == "training" or not heavy


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
