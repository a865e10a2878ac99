"""Recipes: TOML onto dataclasses, typos named, other versions refused."""

import dataclasses
import importlib
import os
import tomllib
import typing

import pytest

from emoclip.errors import ConfigError
from emoclip.training.recipe import SHIPPED, Recipe, idle_settings, load_recipe, recipe_from, shipped_names


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_recipe_reads_and_says_how_to_run_it(name):
    assert load_recipe(name).name == name
    head = (SHIPPED / f"{name}.toml").read_text().split("format = 1")[0]
    assert f"emoclip train {name} --root" in head
    assert "Time:" in head
    assert "Score" in head


def test_the_recipes_of_the_paper_are_there():
    wanted = {"mafw-captions", "mafw-classes", "mafw-supervised", "dfew-classes", "dfew-supervised"}
    wanted |= {"ferv39k-classes", "ferv39k-supervised", "loco", "finetune", "smoke"}
    assert wanted <= set(shipped_names())


def test_defaults_are_the_papers():
    # shared/paper.md: "Recipes in the official code"
    recipe = load_recipe("mafw-captions")
    optimiser = recipe.optimiser
    assert (optimiser.kind, optimiser.lr, optimiser.momentum, optimiser.weight_decay) == (
        "sgd",
        1e-3,
        0.9,
        5e-4,
    )
    assert (optimiser.milestones, optimiser.decay) == ((15, 35, 50), 0.1)
    clips = recipe.clips
    assert (clips.frames, clips.stride, clips.rotation_deg, clips.flip) == (32, 2, 6.0, True)
    assert Recipe().clips.stride == 4
    assert (recipe.loop.epochs, recipe.loop.batch, recipe.data.text) == (30, 128, "captions")
    assert (recipe.model.backbone, recipe.model.temporal) == ("ViT-B-32-quickgelu", "paper")
    assert not recipe.model.train_image
    assert not recipe.model.train_text
    assert (recipe.loss.positives, recipe.loss.clamp) == ("diagonal", False)
    assert not recipe.selection.leaky
    assert load_recipe("ferv39k-supervised").loop.epochs == 50
    assert load_recipe("mafw-supervised").optimiser.milestones == (25, 50)
    tuned = load_recipe("finetune")
    assert tuned.model.train_image
    assert tuned.optimiser.tower_lr == 1e-3


def test_settings_change_a_recipe():
    settings = ["loop.epochs=2", "data.text=captions", "clips.flip=false", "optimiser.milestones=[1]"]
    changed = load_recipe("smoke", settings)
    assert (changed.loop.epochs, changed.data.text, changed.clips.flip) == (2, "captions", False)
    assert changed.optimiser.milestones == (1,)


def test_a_recipe_survives_its_own_table(tmp_path):
    recipe = load_recipe("smoke", ["loop.epochs=2"])
    table = recipe.as_table()
    assert table.pop("format") == 1
    assert recipe_from(table, "smoke") == recipe


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("format = 1\n[loop]\nepoch = 3", "loop.epoch; did you mean loop.epochs?"),
        ("format = 1\n[optimizer]\nlr = 3", "did you mean optimiser?"),
        ("format = 1\n[loop]\nlr = 3", "did you mean optimiser.lr?"),
        ("format = 1\n[loop]\nepochs = 'many'", "loop.epochs='many' must be a whole number"),
        ("format = 1\n[loop]\nepochs = true", "must be a whole number"),
        ("format = 1\n[data]\ntext = 'caption'", "did you mean captions?"),
        ("format = 1\n[clips]\nframes = 0", "clips.frames=0 must be in [1, 1023]"),
        ("format = 1\nloop = 3", "loop must be a table"),
        ("[loop]\nepochs = 3", "put `format = 1` on its first line"),
        ("format = 0", "older recipe format 0"),
        ("format = 2", "update emoclip"),
        ("format =", "cannot be read as TOML"),
    ],
)
def test_a_faulty_recipe_is_told_in_one_line_with_its_file(tmp_path, text, named):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["epochs=3", "loop.epoch=3", "loop.epochs"])
def test_a_faulty_setting_names_the_key(setting):
    with pytest.raises(ConfigError, match=r"loop\.epochs"):
        load_recipe("smoke", [setting])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("loop.seed=-1", "loop.seed=-1 must be in [0, 4194303]"),
        ("loop.seed=99999999999", "loop.seed=99999999999 must be in [0, 4194303]"),
        ("model.channels=[0, 0, 0, 0]", "model.channels=0 must be in [1, 8192]"),
        ("optimiser.warmup_epochs=inf", "optimiser.warmup_epochs=inf must be in [0, 100000]"),
        ("optimiser.warmup_epochs=nan", "optimiser.warmup_epochs=nan must be in [0, 100000]"),
        ("optimiser.warmup_epochs=-3", "optimiser.warmup_epochs=-3.0 must be in [0, 100000]"),
        ("optimiser.decay=-5", "optimiser.decay=-5.0 must be in [0, 1]"),
        ("optimiser.decay=nan", "optimiser.decay=nan must be in [0, 1]"),
        ("optimiser.milestones=[-1]", "optimiser.milestones=-1 must be in [0, 100000]"),
        ("data.labels=['happy']", "data.labels=['happy'] is one class, which leaves nothing to tell apart"),
        ("data.labels=['happy', 'joy']", "data.labels: 'happy' and 'joy' are names of one class; remove one"),
        ("data.labels=['bored', 'bored']", "data.labels: 'bored' is given twice; remove one"),
        ("loco.classes=['sad', 'sadness']", "loco.classes: 'sad' and 'sadness' are names of one class"),
    ],
)
def test_what_is_out_of_range_is_refused(setting, told):
    with pytest.raises(ConfigError) as caught:
        load_recipe("smoke", [setting])
    assert str(caught.value).startswith(f"--set {setting}: {told}")


def numbers_of(kind, prefix=""):
    """Each number of a recipe, as (key, whether it has a range)."""
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from numbers_of(hint, f"{prefix}{name}.")
            continue
        while typing.get_origin(hint) is tuple:
            hint = typing.get_args(hint)[0]
        yield prefix + name, hint not in (int, float)


@pytest.mark.parametrize(
    ("module", "kind"), [("recipe", "Recipe"), ("labelfree", "LabelFreeRecipe"), ("mini.steps", "MiniRecipe")]
)
def test_every_number_of_a_recipe_has_a_range(module, kind):
    pytest.importorskip("torch")
    found = dict(numbers_of(getattr(importlib.import_module(f"emoclip.training.{module}"), kind)))
    assert [key for key, ranged in found.items() if not ranged] == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["optimiser.schedule=cosine", "optimiser.decay=0.5"], ["optimiser.decay: has no effect with "
                                                                "optimiser.schedule=cosine"]),
        (["optimiser.milestones=[1]"], ["optimiser.milestones: has no effect with optimiser.schedule=cosine"]),
        (["optimiser.momentum=0.5"], ["optimiser.momentum: has no effect with optimiser.kind=adamw"]),
        (["model.depth=3"], ["model.depth: has no effect with model.temporal=mean"]),
        (["data.text=captions", "data.caption_share=0.5"], ["data.caption_share: has no effect with "
                                                            "data.text=captions"]),
        (["selection.select=last", "selection.patience=3"], ["selection.patience: has no effect with "
                                                             "selection.select=last"]),
        (["clips.views=3"], ["clips.views: has no effect with model.train_image=true"]),
        (["loco.classes=['happy']"], ["loco.classes: has no effect with loco.texts=[]"]),
        (["data.caption_share=0.5", "selection.patience=3", "model.channels=[4, 8]", "loop.epochs=3"], []),
        (["optimiser.schedule=steps", "optimiser.decay=0.5", "loco.texts=['mixed']", "data.caption_share=1"], []),
    ],
)  # fmt: skip
def test_settings_without_effect_are_told(settings, told):
    assert idle_settings(load_recipe("smoke", settings), settings) == [f"--set {line}" for line in told]


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean mafw-captions"):
        load_recipe("mafw-caption")
    with pytest.raises(ConfigError, match="no such recipe file"):
        load_recipe("nowhere/mine.toml")
    with pytest.raises(ConfigError, match=r"^~nobody-of-this-name/mine\.toml: no such recipe file"):
        load_recipe("~nobody-of-this-name/mine.toml")


def test_selection_on_test_is_leaky_and_held_out_needs_a_part():
    assert load_recipe("smoke", ["selection.select=test-war"]).selection.leaky
    with pytest.raises(ConfigError, match=r"selection\.held_out above 0"):
        load_recipe("smoke", ["selection.held_out=0"])


def test_shipped_recipes_are_plain_toml():
    for name in shipped_names():
        assert tomllib.loads((SHIPPED / f"{name}.toml").read_text())["format"] == 1


def test_a_recipe_is_named_by_its_file_in_plain_text(tmp_path):
    path = tmp_path / os.fsdecode(b"my\nown\xe9.toml")
    path.write_bytes((SHIPPED / "own.toml").read_bytes())
    assert load_recipe(path).name == r"my\nown%E9"
