import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pq = pytest.importorskip("pyarrow.parquet")

from emoclip.engine import EmoCLIP  # noqa: E402
from emoclip.training import labelfree  # noqa: E402
from emoclip.training.mini.actions import ACTIONS, PHRASES, READINGS, actions, readings, say, shapes  # noqa: E402
from emoclip.training.mini.faces import CLASSES, read_faces  # noqa: E402
from emoclip.training.mini.images import ImageModel  # noqa: E402
from emoclip.training.mini.vocabulary import contains, lexicon  # noqa: E402
from emoclip.training.nets.compact import ImageTowerConfig  # noqa: E402
from emoclip.training.nets.state import save_weights  # noqa: E402
from emoclip.training.tables import read_as  # noqa: E402


def test_no_description_holds_an_emotion_word():
    """Neither a class's name nor a word or phrase of our lexicon of emotion words, the held-out ones included."""
    emotional = {*CLASSES, *lexicon().held_out, *(w for words in lexicon().words.values() for w in words)}
    said = [phrase for phrases in PHRASES.values() for phrase in phrases]
    assert not {word for word in emotional for phrase in said if contains(phrase, word)}
    known = labelfree.word_tokenizer().get_vocab()
    assert not known.keys() & {"happy", "angry", "smile", "frown", "scowl", "sad", "fearful", "surprised"}


def test_shapes_do_not_change_when_a_face_is_turned_moved_or_enlarged(shared):
    points = read_faces(shared / "faces", "val").points
    points = points[np.isfinite(points).all(axis=(1, 2))][:50]
    cos, sin = np.cos(0.3), np.sin(0.3)
    moved = (points @ np.array([[cos, sin], [-sin, cos]]) * 1.7 + 5).astype(np.float32)
    np.testing.assert_allclose(shapes(moved), shapes(points), atol=2e-4)


def test_actions_are_seen_where_people_say_they_are(shared):
    faces = read_faces(shared / "faces", "train")
    faces = faces.take(np.arange(0, len(faces.labels), 18))
    found = actions(readings(faces.images, faces.points))
    meshless = ~np.isfinite(faces.points).all(axis=(1, 2))
    assert found.shape == (len(faces.labels), len(ACTIONS))
    assert np.isfinite(found).all()
    assert not found[meshless].any()

    def mean(action, label):
        return found[(faces.labels == CLASSES.index(label)) & ~meshless, ACTIONS.index(action)].mean()

    assert mean("corners up", "happiness") > mean("corners up", "neutral") + 1
    assert mean("jaw dropped, lids up", "surprise") > mean("jaw dropped, lids up", "anger") + 1
    assert mean("brows down", "anger") > mean("brows down", "surprise") + 0.5
    assert np.isnan(readings(faces.images[meshless], faces.points[meshless])).all()
    assert len(READINGS) == 34


def test_a_sentence_says_only_what_is_strong():
    strengths = np.full(len(ACTIONS), -1.0, np.float32)
    strengths[ACTIONS.index("brows up")] = 2
    generator = np.random.default_rng(0)
    for _ in range(20):
        sentence = say(strengths, generator)
        assert any(phrase in sentence for phrase in PHRASES["brows up"])


def test_whitening_keeps_products_and_makes_every_direction_vary_alike():
    torch.manual_seed(0)
    images = torch.randn(4000, 6) @ torch.randn(6, 6) + 2
    texts = torch.randn(5, 6)
    centre, for_images, for_texts = labelfree.whitening(images, 1.0)
    mapped = (images - centre) @ for_images
    torch.testing.assert_close(
        mapped @ (texts @ for_texts).T, (images - centre) @ texts.T, atol=2e-3, rtol=1e-3
    )
    spread = torch.cov(mapped.T)
    torch.testing.assert_close(spread / spread[0, 0], torch.eye(6), atol=2e-2, rtol=0)


def test_sentences_are_chosen_that_tell_classes_apart():
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(600) % 3
    corners = torch.eye(4)[:3]
    images = corners[torch.from_numpy(labels)] + 0.3 * torch.randn(600, 4, generator=generator)
    images = torch.nn.functional.normalize(images, dim=-1)
    # The first sentence of every class is about the next class; the second is right.
    texts = {name: torch.stack([corners[(at + 1) % 3], corners[at]]) for at, name in enumerate("abc")}
    chosen = labelfree.choose_sentences(images, texts, labels)
    assert chosen == {"a": [1], "b": [1], "c": [1]}


def test_unknown_words_change_nothing():
    torch.manual_seed(0)
    tokenizer = labelfree.word_tokenizer()
    tower = labelfree.SentenceTower(tokenizer.get_vocab_size()).eval()
    plain, named = tower(labelfree.token_ids(tokenizer, ["raised brows", "a furious raised brows"]))
    torch.testing.assert_close(plain, tower(labelfree.token_ids(tokenizer, ["Furious, raised brows!"]))[0])
    assert not torch.equal(plain, tower(labelfree.token_ids(tokenizer, ["lowered brows"]))[0])
    assert torch.isfinite(named).all()


def test_every_step_makes_a_package_that_reads_faces(shared, tmp_path, capsys):
    root, run = tmp_path / "faces", tmp_path / "run"
    root.mkdir()
    table = pq.read_table(shared / "faces" / "fer2013_trainval.parquet", filters=[("split", "=", "train")])
    table = table.take(np.arange(0, len(table), 250))
    pq.write_table(table, root / "fer2013_trainval.parquet")
    paths = table["path"].to_pylist()
    geometry = pq.read_table(shared / "faces" / "fer2013_geometry.parquet", filters=[("path", "in", paths)])
    pq.write_table(geometry, root / "fer2013_geometry.parquet")
    torch.manual_seed(0)
    save_weights(run / "geometry" / "model.safetensors", ImageModel(ImageTowerConfig(), 82).state_dict())
    trained = labelfree.LabelFreeRun(
        labelfree.LabelFreeRecipe(steps=3, batch=16), root, run, tmp_path / "out"
    )
    for step in labelfree.STEPS:
        getattr(trained, step)()
    card = (tmp_path / "out" / "package" / "README.md").read_text("utf-8")
    printed = re.findall(r"held-out crops, (.+): WAR (\S+) UAR (\S+)", capsys.readouterr().out)
    assert len(printed) == 2
    assert all(f"| {' | '.join(figures)} |" in card for figures in printed)
    assert f"On the {trained.held.sum()} held-out crops" in card
    assert "| Licence | Apache-2.0; the training images" in card
    assert "--prompts prompts.yaml" in card
    assert "not what a person feels" in card
    model = EmoCLIP.load(str(tmp_path / "out" / "package"), threads=1)
    text = model.embed_text(tmp_path / "out" / "prompts.yaml")
    assert text.shape == (7, labelfree.WIDTH)
    crops = [np.repeat(image[:, :, None], 3, axis=2) for image in trained.faces.images[:4]]
    seen = model.embed_frames(crops)
    np.testing.assert_allclose(
        seen / np.linalg.norm(seen, axis=1, keepdims=True), trained._joint()[0][:4], atol=2e-3
    )


def test_the_shipped_recipe_is_the_documented_run_and_missing_crops_are_said_in_one_line(tmp_path, capsys):
    shipped = Path(labelfree.POOL).with_suffix(".toml")
    assert read_as(labelfree.LabelFreeRecipe, shipped) == labelfree.LabelFreeRecipe()
    places = ["--root", str(tmp_path), "--run", str(tmp_path), "--out", str(tmp_path / "out")]
    assert labelfree.main(["actions", *places]) == 1
    assert "fer2013_trainval.parquet" in capsys.readouterr().err
    assert labelfree.main(["actions", *places, "--set", "stepps=3"]) == 2
    assert "unknown key stepps; did you mean steps?" in capsys.readouterr().err
