"""What runs that go step by step share: a folder goes on with the data that it was begun on."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pq = pytest.importorskip("pyarrow.parquet")

from emoclip.errors import InputError  # noqa: E402
from emoclip.training import labelfree  # noqa: E402
from emoclip.training.mini.images import ImageModel  # noqa: E402
from emoclip.training.mini.steps import MiniRecipe, MiniRun  # noqa: E402
from emoclip.training.nets.compact import ImageTowerConfig  # noqa: E402
from emoclip.training.nets.state import save_weights  # noqa: E402


@pytest.fixture
def crops(shared, tmp_path):
    """A folder with a few real crops and their votes."""
    root = tmp_path / "faces"
    root.mkdir()
    table = pq.read_table(shared / "faces" / "fer2013_trainval.parquet", filters=[("split", "=", "train")])
    table = table.take(np.arange(0, len(table), 400))
    pq.write_table(table, root / "fer2013_trainval.parquet")
    votes = pq.read_table(shared / "faces" / "ferplus_votes.parquet")
    pq.write_table(votes, root / "ferplus_votes.parquet")
    return root


def test_a_run_goes_on_with_its_own_crops_votes_and_geometry_only(crops, tmp_path):
    def label_free():
        return labelfree.LabelFreeRun(
            labelfree.LabelFreeRecipe(), crops, tmp_path / "mini", tmp_path / "free"
        )

    def mini():
        return MiniRun(MiniRecipe(), crops, tmp_path / "mini")

    for again in (False, True):
        torch.manual_seed(int(again))
        save_weights(
            tmp_path / "mini" / "geometry" / "model.safetensors",
            ImageModel(ImageTowerConfig(), 82).state_dict(),
        )
        mini()
        run = label_free()
        if again:
            with pytest.raises(
                InputError, match=r"free: its run was begun on other geometry than are given now"
            ):
                run._geometry()
        else:
            run._geometry()
    (crops / "leaks.csv").write_text("train,found\n")
    mini()
    votes = pq.read_table(crops / "ferplus_votes.parquet")
    pq.write_table(votes.slice(0, 10), crops / "ferplus_votes.parquet")
    with pytest.raises(InputError, match=r"mini: its run was begun on other votes .*, or name another --out"):
        mini()
    pq.write_table(votes, crops / "ferplus_votes.parquet")
    table = pq.read_table(crops / "fer2013_trainval.parquet")
    labels = table["label"].to_pylist()
    shuffled = table.set_column(table.schema.get_field_index("label"), "label", [labels[::-1]])
    pq.write_table(shuffled, crops / "fer2013_trainval.parquet")
    for begun in (mini, label_free):
        with pytest.raises(InputError, match="its run was begun on other crops") as caught:
            begun()
        assert "\n" not in str(caught.value)


def test_distilling_goes_on_with_its_own_teacher_only(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(MiniRun, "_train_images", lambda *args, **settings: None)
    for name in ("mini", "one", "two"):
        torch.manual_seed(len(name) + ord(name[0]))
        weights = ImageModel(ImageTowerConfig(), 82).state_dict()
        save_weights(tmp_path / name / "sturdy" / "model.safetensors", weights)

    def distil(teacher):
        MiniRun(MiniRecipe(), crops, tmp_path / "mini", teacher=teacher).distil()

    distil(tmp_path / "one")
    distil(tmp_path / "one")
    for other in (tmp_path / "two", None):
        with pytest.raises(InputError, match=r"mini: its run was begun on other teacher than are given now"):
            distil(other)
