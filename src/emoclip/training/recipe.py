"""Recipes: everything a training run does, as one TOML file on frozen dataclasses.  Defaults are the paper's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from emoclip.characters import in_a_line, percent
from emoclip.errors import ConfigError, nearest
from emoclip.files import at_home
from emoclip.prompts import one_class_twice
from emoclip.training.tables import Channels, Decay, Epochs, Rate, Seed, Share, Within, fill, read_toml

FORMAT = 1
SHIPPED = Path(__file__).parent / "recipes"

Milestone = Annotated[int, Within(0, 100_000)]
Text = Literal["captions", "classes", "mixed"]
Select = Literal["held-out-war", "held-out-uar", "held-out-loss", "last", "test-war"]


@dataclass(frozen=True)
class DataRecipe:
    """Which clips are kept, and where a clip's text comes from: the only difference between the modes.

    text: `captions` sample-level descriptions (the paper's), `classes` its class's sentence, `mixed` either.
    balance: clips of a class are drawn frequency ** -balance as often, with replacement; 0: every clip once an epoch.
    """

    dataset: Literal["mafw", "dfew", "ferv39k", "afew", "manifest"] = "mafw"
    file: str = ""  # a manifest under --root; "" if --root is the manifest itself
    measures: str = ""  # face-mesh measures under --root, to make captions from
    text: Text = "captions"
    caption_share: Share = 0.5  # of the draws in `mixed` that show the caption
    fold: Annotated[int, Within(1, 100)] = 1  # of a five-fold set
    split: Literal["train", "all"] = "train"  # all: the test part too, for zero-shot use on other sets
    leave_out: str = ""  # a class that is not trained on
    labels: tuple[str, ...] = ()  # classes to score and to take sentences of; () is the data set's own
    faces: Literal["auto", "full", "largest"] = "auto"  # full: frames are crops; auto: as the set says
    limit: Annotated[int, Within(0, 10**9)] = 0  # train on so many clips, drawn by seed; 0: all
    balance: Share = 0.0

    def __post_init__(self) -> None:
        if len(self.labels) == 1:
            raise ConfigError(
                f"data.labels={list(self.labels)} is one class, which leaves nothing to tell apart; "
                "name two or more, or none for the data set's own"
            )
        if alike := one_class_twice(self.labels):
            raise ConfigError(f"data.labels: {alike}; remove one")


@dataclass(frozen=True)
class ModelRecipe:
    """What is trained.  backbone: an open_clip architecture, or `compact`, the small grey-face towers.

    weights: `openai` (fetched by open_clip), a CLIP checkpoint file, or "" for random ones.
    start: a checkpoint of the authors or a run's model.safetensors to go on from, temporal part and all; sizes: a JSON
    file of what its weights do not tell (`emoclip import --config`).
    """

    backbone: str = "ViT-B-32-quickgelu"
    weights: str = "openai"
    start: str = ""
    sizes: str = ""
    temporal: Literal["paper", "lean", "mean"] = "paper"
    depth: Annotated[int, Within(1, 48)] = 2  # layers of the temporal part
    train_image: bool = False
    train_text: bool = False
    channels: tuple[Channels, ...] = (16, 32, 64, 128)  # compact: per stage of the image tower
    width: Annotated[int, Within(8, 4096)] = 128  # compact: of the embeddings

    @property
    def frozen(self) -> bool:
        """Whether a tower does not learn, so that what it makes can be kept."""
        return not (self.train_image and self.train_text)


@dataclass(frozen=True)
class ClipRecipe:
    """How a clip becomes frames; augmentation is the same for all frames of a clip."""

    frames: Annotated[int, Within(1, 1023)] = 32
    stride: Annotated[int, Within(1, 1000)] = 4  # every stride-th frame is kept (official: 4, for MAFW 2)
    rotation_deg: Annotated[float, Within(0, 180)] = 6.0  # at most, to either side
    flip: bool = True
    views: Annotated[int, Within(0, 64)] = 4  # in the cache of a frozen image tower; 0: the plain one only
    sample_fps: Annotated[float, Within(0, 1000)] = 0.0  # that the package samples; 0: 30 / stride
    jitter: Annotated[float, Within(0, 0.5)] = 0.0  # how far a still picture drifts, of its side

    @property
    def augmented(self) -> bool:
        """Whether training sees anything but the plain frames."""
        return self.rotation_deg > 0 or self.flip or self.jitter > 0

    @property
    def cached_views(self) -> int:
        """How many augmented views of a clip the cache holds beside the plain one."""
        return self.views if self.augmented else 0


@dataclass(frozen=True)
class LossRecipe:
    """positives: `diagonal` is the paper's; in the others clips of one text or class are no negatives."""

    positives: Literal["diagonal", "same-text", "same-class"] = "diagonal"
    clamp: bool = False  # logit scale at most 100 (CLIP sec. 2.5); the official code does not


@dataclass(frozen=True)
class OptimiserRecipe:
    """Step sizes.  tower_lr: factor on lr for towers that learn (the official fine-tuning)."""

    kind: Literal["sgd", "adamw"] = "sgd"
    lr: Rate = 1e-3
    momentum: Share = 0.9
    weight_decay: Decay = 5e-4
    tower_lr: Rate = 1e-3
    schedule: Literal["steps", "cosine"] = "steps"
    milestones: tuple[Milestone, ...] = (15, 35, 50)  # epochs after which lr is multiplied by decay
    decay: Share = 0.1
    warmup_epochs: Epochs = 0.0
    clip_norm: Annotated[float, Within(0, 1e9)] = 0.0  # of the gradient; 0: not clipped


@dataclass(frozen=True)
class LoopRecipe:
    """batch: clips that are negatives of each other, over all processes.  accumulate: batches per step."""

    epochs: Annotated[int, Within(1, 100_000)] = 30
    batch: Annotated[int, Within(2, 1_000_000)] = 128
    accumulate: Annotated[int, Within(1, 10_000)] = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    seed: Seed = 0
    workers: Annotated[int, Within(0, 256)] = 2  # processes that read clips; 0: this one
    wandb: bool = False  # log to Weights & Biases, which sends the numbers to its servers
    checkpoint_steps: Annotated[int, Within(0, 10**9)] = 0  # save every so many steps too; 0: no


@dataclass(frozen=True)
class SelectionRecipe:
    """Which epoch is kept.  `test-war` is the official rule: it looks at the test part, so its scores are flattered.

    held_out: share of the training part that is not trained on; whole groups (a subject, near-duplicates) stay whole.
    """

    select: Select = "held-out-uar"
    held_out: Annotated[float, Within(0, 0.9)] = 0.1
    patience: Annotated[int, Within(0, 100_000)] = 0  # epochs without a better score; 0: never stops

    def __post_init__(self) -> None:
        if self.select.startswith("held-out") and self.held_out == 0:
            raise ConfigError(f"selection.select={self.select!r} needs selection.held_out above 0, e.g. 0.1")

    @property
    def leaky(self) -> bool:
        """Whether the test part chose the epoch that is reported on it."""
        return self.select == "test-war"


@dataclass(frozen=True)
class LocoRecipe:
    """Leave one class out: one run per text and class.  texts: () is no such run.  classes: () is every class."""

    texts: tuple[Text, ...] = ()
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if alike := one_class_twice(self.classes):
            raise ConfigError(f"loco.classes: {alike}; remove one")


@dataclass(frozen=True)
class Recipe:
    """A whole run.  name: of the shipped recipe or the file, without its ending."""

    name: str = "recipe"
    data: DataRecipe = field(default_factory=DataRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    clips: ClipRecipe = field(default_factory=ClipRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    loop: LoopRecipe = field(default_factory=LoopRecipe)
    selection: SelectionRecipe = field(default_factory=SelectionRecipe)
    loco: LocoRecipe = field(default_factory=LocoRecipe)

    def as_table(self) -> dict[str, Any]:
        """Return the recipe as plain nested dictionaries, as its TOML file would be read."""
        table = dataclasses.asdict(self)
        del table["name"]
        return {"format": FORMAT, **table}


def shipped_names() -> list[str]:
    """Return the names of the recipes that come with emoclip."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_recipe(name: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by shipped name or path and apply `key=value` settings, e.g. `loop.epochs=3`.

    Raises ConfigError for an unknown recipe or key (naming the nearest), a wrong value, or another format version.
    """
    path = find_recipe(name)
    table = read_toml(path)
    _check_format(path, table.pop("format", None))
    return recipe_from(table, in_a_line(percent(path.stem)), str(path), settings)


def find_recipe(name: str | Path) -> Path:
    """Return the file of a recipe.  Raises ConfigError that names the nearest shipped one."""
    path, known = at_home(name), ", ".join(shipped_names())
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise ConfigError(f"{path}: no such recipe file; shipped recipes are {known}")
    if (shipped := SHIPPED / f"{name}.toml").is_file():
        return shipped
    near = nearest(str(name), shipped_names())
    hint = f"did you mean {near[0]}?" if near else f"there are {known}, or give a .toml file"
    raise ConfigError(f"{name}: no recipe of this name; {hint}")


def recipe_from(
    table: Mapping[str, Any], name: str, place: str = "recipe", settings: Sequence[str] = ()
) -> Recipe:
    """Make a recipe of nested tables and `key=value` settings.  Raises ConfigError, starting with `place`."""
    return fill(Recipe, table, place, settings, name=name)


# What a key does nothing under: another key, and its values.
_IDLE: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("data.file", "data.dataset", lambda name: name != "manifest"),
    ("data.caption_share", "data.text", lambda text: text != "mixed"),
    ("model.depth", "model.temporal", lambda temporal: temporal == "mean"),
    ("model.channels", "model.backbone", lambda backbone: backbone != "compact"),
    ("model.width", "model.backbone", lambda backbone: backbone != "compact"),
    ("model.sizes", "model.start", lambda start: not start),
    ("clips.views", "model.train_image", lambda learns: learns),
    ("optimiser.momentum", "optimiser.kind", lambda kind: kind != "sgd"),
    ("optimiser.milestones", "optimiser.schedule", lambda schedule: schedule != "steps"),
    ("optimiser.decay", "optimiser.schedule", lambda schedule: schedule != "steps"),
    ("selection.patience", "selection.select", lambda select: select == "last"),
    ("selection.held_out", "selection.select", lambda select: not select.startswith("held-out")),
    ("data.text", "loco.texts", lambda texts: texts),
    ("data.leave_out", "loco.texts", lambda texts: texts),
    ("loco.classes", "loco.texts", lambda texts: not texts),
)


def idle_settings(recipe: Recipe, settings: Sequence[str]) -> list[str]:
    """Say which `key=value` settings do nothing as the recipe stands, a line each."""
    given = {setting.partition("=")[0].strip() for setting in settings}
    table = recipe.as_table()
    if recipe.loco.texts:  # in turn; one that needs a key is enough
        table["data"]["text"] = "mixed" if "mixed" in recipe.loco.texts else recipe.loco.texts[0]

    lines = []
    for key, other, idle in _IDLE:
        section, _, name = other.partition(".")
        value = table[section][name]
        if key in given and idle(value):
            told = value if isinstance(value, str) else json.dumps(value)
            lines.append(f"--set {key}: has no effect with {other}={told}")
    return lines


def _check_format(path: Path, version: Any) -> None:
    if version == FORMAT:
        return
    if not isinstance(version, int) or isinstance(version, bool):
        raise ConfigError(f"{path}: says no recipe format; put `format = {FORMAT}` on its first line")
    if version > FORMAT:
        raise ConfigError(f"{path}: has recipe format {version}, this version reads {FORMAT}; update emoclip")
    raise ConfigError(
        f"{path}: has the older recipe format {version}, this version reads {FORMAT}; "
        f"compare it with a shipped recipe, put `format = {FORMAT}` on its first line and mend what is named then"
    )
