"""The loop: the official code's losses, exact resume, several processes as one, and what stops a run."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
from clips import TINY, make_clips  # noqa: E402
from lightning.fabric import Fabric  # noqa: E402

from emoclip.errors import ConfigError, InputError, OutputError  # noqa: E402
from emoclip.training import loop, resume  # noqa: E402
from emoclip.training.export.checkpoint import import_checkpoint  # noqa: E402
from emoclip.training.finish import card_notes  # noqa: E402
from emoclip.training.nets.model import VideoTextModel  # noqa: E402
from emoclip.training.nets.state import load_weights, load_with_metadata  # noqa: E402
from emoclip.training.recipe import LossRecipe, OptimiserRecipe, Recipe, load_recipe  # noqa: E402
from emoclip.training.run import train  # noqa: E402

torch.set_num_threads(1)  # the tiny models here are slower on more
FROZEN = ("model.train_image=false", "model.train_text=false")
# Where other processes find this file and the helpers beside the tests.
PLACES = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
TWO = (*FROZEN, "loop.accumulate=2", "loop.batch=4")


def tiny(*settings):
    return load_recipe("smoke", (*TINY, "data.file=''", "data.measures=''", *settings))


def weights(outcome):
    return {name: tensor.clone() for name, tensor in resume.learned(outcome.assembly.model).items()}


def assert_identical(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0, msg=name)


def losses(outcome):
    return [row["loss"] for row in outcome.progress.history]


# ---- against the official code


def test_three_steps_are_the_official_codes(shared):
    from safetensors.torch import load_file

    parity = shared / "parity"
    model = import_checkpoint(parity / "official_vclip_ddp.pth", config=parity / "config.json").model
    given, after = (
        load_file(parity / "expected.safetensors"),
        load_file(parity / "after_3_sgd_steps.safetensors"),
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fabric = Fabric(accelerator="cpu", devices=1)
    pairs, optimizer = fabric.setup(model, loop.make_optimizer(model, Recipe().optimiser))
    pairs.train()
    for expected in after["losses"]:
        clips, texts, scale = pairs(given["frames"], given["tokens"][:3])
        loss, _, _ = loop.batch_loss(fabric, clips, texts, scale, torch.arange(3), LossRecipe())
        assert loss.item() == pytest.approx(float(expected), abs=1e-6)
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    state = model.state_dict()
    compared = [name for name in after if name in state]
    assert len(compared) == 4
    for name in compared:
        torch.testing.assert_close(state[name], after[name], rtol=0, atol=1e-5)
    for name in before:
        if name.startswith("backbone."):
            torch.testing.assert_close(state[name], before[name], rtol=0, atol=0)


# ---- the loss and its options, by hand


def test_clips_of_one_text_are_no_negatives_of_each_other():
    fabric = Fabric(accelerator="cpu", devices=1)
    units = torch.eye(3)
    texts = units[[0, 0, 1]]  # the first two clips say the same
    ids = torch.tensor([7, 7, 8])
    args = (fabric, units[[0, 0, 1]], texts, torch.tensor(100.0), ids)
    assert (
        float(loop.batch_loss(*args, LossRecipe())[0]) > 0.4
    )  # diagonal: two thirds of the rows are a coin toss
    # shared: half of the mass on each of two equal texts costs ln 2 a row, which no model can undercut
    shared_rows = loop.batch_loss(*args, LossRecipe(positives="same-text"))[0]
    assert float(shared_rows) == pytest.approx(2 / 3 * 0.693147, abs=1e-4)


def test_the_logit_scale_is_clamped_only_if_asked():
    fabric = Fabric(accelerator="cpu", devices=1)
    generator = torch.Generator().manual_seed(0)
    clips = torch.nn.functional.normalize(torch.randn(4, 8, generator=generator), dim=-1)
    texts = torch.nn.functional.normalize(torch.randn(4, 8, generator=generator), dim=-1)
    args = (fabric, clips, texts)

    def loss(scale, clamp):
        return float(loop.batch_loss(*args, torch.tensor(scale), torch.arange(4), LossRecipe(clamp=clamp))[0])

    assert loss(1000.0, True) == loss(100.0, False)
    assert loss(1000.0, False) != loss(100.0, False)


def test_learning_rates_follow_the_papers_steps():
    steps = OptimiserRecipe()
    assert [loop.lr_factor(steps, at, 60) for at in (0, 14.9, 15, 35, 50)] == pytest.approx(
        [1, 1, 0.1, 0.01, 0.001]
    )
    cosine = OptimiserRecipe(schedule="cosine", warmup_epochs=1)
    assert loop.lr_factor(cosine, 0.5, 10) == pytest.approx(0.5, abs=0.01)
    assert loop.lr_factor(cosine, 1, 10) == pytest.approx(1)
    assert loop.lr_factor(cosine, 10, 10) == pytest.approx(0)


def test_unfrozen_towers_learn_at_their_own_rate_and_frozen_ones_not_at_all():
    from emoclip.training.assembly import assemble

    assembly = assemble(tiny().model, ["a face"], 0)
    optimizer = loop.make_optimizer(assembly.model, OptimiserRecipe(lr=0.5, tower_lr=0.01))
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.005]
    frozen = assemble(tiny(*FROZEN).model, ["a face"], 0)
    groups = loop.make_optimizer(frozen.model, OptimiserRecipe(lr=0.5)).param_groups
    assert [group["lr"] for group in groups] == [0.5]
    learning = {name for name, p in frozen.model.named_parameters() if p.requires_grad}
    assert all(name.startswith("temporal.") or name == "logit_scale" for name in learning)


@pytest.mark.parametrize("batch", [2, 20])  # both orders of multiplication: few class tokens, and many
def test_training_wide_heads_multiplies_in_another_order_only(batch):
    from emoclip.training.nets.temporal import TemporalConfig, TemporalTransformer

    torch.manual_seed(0)
    temporal = TemporalTransformer(TemporalConfig(width=16, depth=2, heads=2, head_width=64, mlp_width=16))
    frames, out_gradient = torch.randn(batch, 5, 16), torch.randn(batch, 16)
    found = {}
    for training in (False, True):
        temporal.train(training).zero_grad()
        clips = temporal(frames)
        clips.backward(out_gradient)
        found[training] = [clips.detach(), *(p.grad.clone() for p in temporal.parameters())]
    for plain, folded in zip(found[False], found[True], strict=True):
        torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)


# ---- one code path, cached or end to end


@pytest.mark.parametrize("temporal", ["lean", "mean", "paper"])
def test_cached_and_end_to_end_runs_have_the_same_losses(tmp_path, temporal):
    manifest = make_clips(tmp_path / "data")
    recipe = tiny(
        *FROZEN, "clips.flip=false", "clips.rotation_deg=0", "clips.jitter=0", f"model.temporal={temporal}"
    )
    cached = train(recipe, manifest, tmp_path / "cached")
    whole = train(recipe, manifest, tmp_path / "whole", use_cache=False)
    assert losses(cached) == pytest.approx(losses(whole), abs=1e-5)
    assert cached.progress.history[-1]["held_out_uar"] == whole.progress.history[-1]["held_out_uar"]
    assert losses(cached)[0] != losses(cached)[-1]


def test_augmented_views_from_the_cache_differ_from_the_plain_ones(tmp_path):
    manifest = make_clips(tmp_path / "data")
    plain = train(tiny(*FROZEN, "clips.views=0", "clips.jitter=0"), manifest, tmp_path / "plain")
    views = train(tiny(*FROZEN, "clips.views=3", "clips.jitter=0"), manifest, tmp_path / "views")
    assert losses(plain) != losses(views)


# ---- killed and resumed


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize(
    "settings",
    [
        (),  # everything learns, batch norm and dropout too
        (*FROZEN, "loop.accumulate=2", "loop.batch=4"),
        ("optimiser.kind=sgd", "optimiser.momentum=0.9", "loop.precision=bf16-mixed"),
    ],
    ids=["whole", "frozen-accumulating", "bf16"],
)
@pytest.mark.parametrize("at", [1, 4])
def test_a_killed_run_resumed_ends_with_the_same_weights(tmp_path, monkeypatch, settings, at):
    manifest = make_clips(tmp_path / "data")
    recipe = tiny("loop.checkpoint_steps=1", *settings)
    straight = train(recipe, manifest, tmp_path / "straight")
    kept, step = weights(straight), loop._step

    def dies(run, wrapped, optimizer, group, order, progress):
        if progress.step == at:
            raise Killed
        return step(run, wrapped, optimizer, group, order, progress)

    monkeypatch.setattr(loop, "_step", dies)
    with pytest.raises(Killed):
        train(recipe, manifest, tmp_path / "killed")
    monkeypatch.setattr(loop, "_step", step)
    resumed = train(recipe, manifest, tmp_path / "killed", going_on=True)
    assert_identical(weights(resumed), kept)
    assert resumed.progress == straight.progress


def test_a_process_killed_at_any_moment_resumes_to_the_same_weights(tmp_path):
    manifest = make_clips(tmp_path / "data")
    settings = ("loop.checkpoint_steps=1", "loop.epochs=4")
    script = (
        f"import sys; sys.path[:0] = {PLACES!r}\n"
        "from test_loop import tiny, train\n"
        f"train(tiny(*{settings!r}), sys.argv[1], sys.argv[2])\n"
    )
    args = [sys.executable, "-c", script, str(manifest), str(tmp_path / "killed")]
    running = subprocess.Popen(args, env=os.environ | {"OMP_NUM_THREADS": "1"})
    straight = train(tiny(*settings), manifest, tmp_path / "straight")  # meanwhile the other one starts
    while not (tmp_path / "killed" / resume.LAST).exists():
        assert running.poll() is None
        time.sleep(0.002)
    running.kill()
    running.wait()
    resumed = train(tiny(*settings), manifest, tmp_path / "killed", going_on=True)
    assert_identical(weights(resumed), weights(straight))


def test_resuming_with_another_recipe_is_refused_by_key(tmp_path):
    manifest = make_clips(tmp_path / "data")
    train(tiny(*FROZEN), manifest, tmp_path / "run")
    with pytest.raises(InputError, match=r"optimiser\.lr=0\.05, this one 0\.1"):
        train(tiny(*FROZEN, "optimiser.lr=0.1"), manifest, tmp_path / "run", going_on=True)
    with pytest.raises(OutputError, match=r"--resume to go on with it, or --force"):
        train(tiny(*FROZEN), manifest, tmp_path / "run")


def rewritten(manifest, change):
    """Rewrite the rows of a manifest and return it."""
    first, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([first, *change(rows)]) + "\n")
    return manifest


OTHER_DATA = {
    "labels": lambda rows: [row.replace("surprise", "happiness") for row in rows],  # two classes are left
    "captions": lambda rows: [row.replace("pulled down", "drawn in") for row in rows],
    "order": lambda rows: rows[::-1],
    "split": lambda rows: [rows[0].replace("train", "test"), *rows[1:]],
    "fewer": lambda rows: rows[3:],
}


@pytest.mark.parametrize("change", OTHER_DATA.values(), ids=OTHER_DATA)
def test_resuming_on_other_data_is_refused_and_leaves_the_run(tmp_path, change):
    manifest = make_clips(tmp_path / "data", test=3)
    train(tiny(*FROZEN), manifest, tmp_path / "run")
    before = (tmp_path / "run" / resume.LAST).read_bytes()
    with pytest.raises(
        InputError, match=r"run: its run was begun on other clips, labels or captions"
    ) as caught:
        train(tiny(*FROZEN), rewritten(manifest, change), tmp_path / "run", going_on=True)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / resume.LAST).read_bytes() == before


def test_a_run_that_its_cache_refuses_leaves_no_folder(tmp_path):
    manifest = make_clips(tmp_path / "data", count=18)
    train(tiny(*FROZEN), manifest, tmp_path / "run", cache=tmp_path / "kept")
    with pytest.raises(
        InputError, match=r"image tower=.* other weights \(random ones differ with loop\.seed"
    ):
        train(tiny(*FROZEN, "loop.seed=7"), manifest, tmp_path / "new/run", cache=tmp_path / "kept")
    assert not (tmp_path / "new").exists()


def test_data_that_moved_and_other_test_clips_resume(tmp_path):
    manifest = make_clips(tmp_path / "data", test=3)
    first = train(tiny(*FROZEN), manifest, tmp_path / "run")
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = rewritten(tmp_path / "moved" / manifest.name, lambda rows: rows[:-1])
    again = train(tiny(*FROZEN), moved, tmp_path / "run", going_on=True)
    assert len(again.samples.test) == 2
    assert again.progress == first.progress
    leaky = tiny(*FROZEN, "selection.select=test-war")
    train(leaky, moved, tmp_path / "leaky")
    with pytest.raises(InputError, match="other clips, labels or captions"):
        train(leaky, rewritten(moved, lambda rows: rows[:-1]), tmp_path / "leaky", going_on=True)


def test_pictures_inside_a_manifest_are_part_of_the_data():
    from emoclip.datasets import Clip, Dataset
    from emoclip.training.samples import Sample, Samples, data_hash

    def hashed(image):
        clip = Clip("a", Path("/somewhere/a"), image=image)
        data = Dataset("manifest", Path("m"), "", ("x",), (clip,))
        return data_hash(Samples(data, (Sample(clip, 0),), (), (), ("x",), (("x",),)), on_test=False)

    assert hashed(b"1") == hashed(b"1") != hashed(b"2")


def test_a_checkpoint_of_an_earlier_version_has_no_mark_of_its_data_and_resumes(tmp_path):
    from emoclip.training.nets.state import save_weights

    manifest = make_clips(tmp_path / "data")
    first = train(tiny(*FROZEN), manifest, tmp_path / "run")
    last = tmp_path / "run" / resume.LAST
    tensors, metadata = load_with_metadata(last)
    facts = json.loads(metadata["run"])
    del facts["data"]
    save_weights(last, tensors, {"run": json.dumps(facts)})
    assert train(tiny(*FROZEN), manifest, tmp_path / "run", going_on=True).progress == first.progress


def test_resuming_what_never_got_to_a_checkpoint_begins_at_the_beginning(tmp_path):
    manifest, notes = make_clips(tmp_path / "data"), []
    outcome = train(tiny(*FROZEN), manifest, tmp_path / "new", going_on=True, note=notes.append)
    assert outcome.progress.epoch == 3
    assert "no checkpoint yet" in notes[0]


def test_more_batches_to_accumulate_than_there_are_is_told(tmp_path):
    with pytest.raises(InputError, match=r"loop\.accumulate=5 batches make no step: an epoch has 2"):
        train(tiny(*FROZEN, "loop.accumulate=5"), make_clips(tmp_path / "data"), tmp_path / "run")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    manifest = make_clips(tmp_path / "data")
    train(tiny(*FROZEN), manifest, tmp_path / "run")

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"format": 1, "model": Evil()}, tmp_path / "run" / resume.LAST)
    with pytest.raises(InputError, match="is no checkpoint of a run, or damaged"):
        train(tiny(*FROZEN), manifest, tmp_path / "run", going_on=True)
    assert not (tmp_path / "ran").exists()


def test_a_frozen_model_is_not_in_its_checkpoints(tmp_path):
    outcome = train(tiny(*FROZEN), make_clips(tmp_path / "data"), tmp_path / "run")
    saved = load_weights(tmp_path / "run" / resume.BEST)
    assert all(name.startswith("temporal.") or name == "logit_scale" for name in saved)
    assert outcome.progress.best_epoch is not None


# ---- several processes


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """One batch, and a whole run, in two gloo processes: where their results lie, and the data set."""
    folder = tmp_path_factory.mktemp("two")
    manifest = make_clips(folder / "data")
    script = folder / "ranks.py"
    script.write_text(
        "import sys\n"
        f"sys.path[:0] = {PLACES!r}\n"
        "from test_loop import TWO, one_step, resume, tiny, torch, train\n"
        "one_step(sys.argv[2] + '/step.pt')\n"
        "outcome = train(tiny(*TWO), sys.argv[1], sys.argv[2] + '/run')\n"
        "if outcome.is_main: torch.save(resume.learned(outcome.assembly.model), sys.argv[2] + '/run.pt')\n"
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(script),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = [*command, str(manifest), str(folder)]
    ended = subprocess.run(run, check=True, env=environment, capture_output=True, text=True)
    assert "all_gather is deprecated" not in ended.stderr
    return folder, manifest


def test_two_processes_with_gathered_negatives_are_one_with_the_whole_batch(two_processes, tmp_path):
    one_step(tmp_path / "one.pt")
    one, two = (
        torch.load(path, weights_only=True) for path in (tmp_path / "one.pt", two_processes[0] / "step.pt")
    )
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
    assert one["gradients"].keys() == two["gradients"].keys()
    assert len(one["gradients"]) > 5
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(two["gradients"][name], gradient, rtol=0, atol=1e-5, msg=name)
    assert float(one["gradients"]["backbone.text.weight"].abs().max()) > 1e-3


def test_a_whole_run_in_two_processes_ends_like_one(two_processes, tmp_path):
    folder, manifest = two_processes
    one = weights(train(tiny(*TWO), manifest, tmp_path / "one"))
    two = torch.load(folder / "run.pt", weights_only=True)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5, msg=name)


def one_step(path):
    """Save loss and gradients of one batch of 8 clips, in as many processes as there are."""

    from emoclip.training.nets.temporal import TemporalConfig
    from emoclip.training.run import make_fabric

    class Towers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 16))
            self.text = torch.nn.Embedding(9, 16)
            self.logit_scale = torch.nn.Parameter(torch.tensor(2.0))

        def encode_image(self, pixels):
            return self.visual(pixels)

        def encode_text(self, tokens):
            return self.text(tokens).mean(dim=1)

    torch.manual_seed(0)
    model = VideoTextModel(Towers(), TemporalConfig.lean(16, 1))
    model.train_towers(image=True, text=True)
    video, tokens = torch.randn(8, 5, 3, 4, 4), torch.randint(0, 9, (8, 6))
    positives = torch.tensor([0, 1, 2, 0, 3, 4, 1, 5])
    fabric = make_fabric(Recipe(), Path(path).parent)
    pairs, _ = fabric.setup(model, loop.make_optimizer(model, OptimiserRecipe()))
    share = slice(
        fabric.global_rank * 8 // fabric.world_size, (fabric.global_rank + 1) * 8 // fabric.world_size
    )
    clips, texts, scale = pairs(video[share], tokens[share])
    loss, _, _ = loop.batch_loss(
        fabric, clips, texts, scale, positives[share], LossRecipe(positives="same-text")
    )
    fabric.backward(loss)
    if fabric.is_global_zero:
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        torch.save({"loss": float(loss.detach()), "gradients": gradients}, path)


# ---- what ends a run


def test_a_loss_that_is_no_number_stops_keeps_the_checkpoint_and_names_the_clips(tmp_path, monkeypatch):
    manifest = make_clips(tmp_path / "data")
    recipe = tiny("loop.checkpoint_steps=1")
    encode = VideoTextModel.forward

    def broken(self, video, text):
        clips, texts, scale = encode(self, video, text)
        broken.calls += 1
        if broken.calls == 4:
            clips = clips * torch.where(torch.arange(len(clips)) == 2, torch.nan, 1.0)[:, None]
        return clips, texts, scale

    broken.calls = 0
    monkeypatch.setattr(VideoTextModel, "forward", broken)
    with pytest.raises(InputError) as caught:
        train(recipe, manifest, tmp_path / "run")
    order = loop.EpochBatches([s.label for s in _samples(recipe, manifest).train], recipe, 1)
    named = order.names(1, _samples(recipe, manifest).train)[2]
    assert f"step 4 (epoch 2): the embeddings of {named} are not finite" in str(caught.value)
    assert f"the last good checkpoint is {tmp_path / 'run' / resume.LAST}" in str(caught.value)
    saved, told = load_with_metadata(tmp_path / "run" / resume.LAST)
    assert json.loads(told["run"])["progress"]["step"] == 3
    assert all(torch.isfinite(tensor).all() for tensor in saved.values() if tensor.is_floating_point())


def _samples(recipe, manifest):
    from emoclip.training.samples import choose_samples

    return choose_samples(recipe, manifest)


def test_a_run_that_diverges_names_its_batch_and_the_remedy(tmp_path):
    recipe = tiny("optimiser.kind=sgd", "optimiser.lr=100", "optimiser.tower_lr=100", "optimiser.clip_norm=0",
                  "optimiser.warmup_epochs=0", "loss.clamp=false", "loop.epochs=60")  # fmt: skip
    with pytest.raises(InputError, match=r"not a finite number at step \d+.*lower optimiser\.lr"):
        train(recipe, make_clips(tmp_path / "data"), tmp_path / "run")


def test_a_full_disk_at_checkpoint_time_keeps_the_one_before(tmp_path):
    manifest = make_clips(tmp_path / "data")
    recipe = tiny("loop.checkpoint_steps=1")
    short = tiny("loop.checkpoint_steps=1", "loop.epochs=1")
    train(short, manifest, tmp_path / "run")
    before = (tmp_path / "run" / resume.LAST).read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoint = resume.Checkpoint(tmp_path / "run" / resume.LAST, recipe.as_table())
    model, optimizer = torch.nn.Linear(300, 300), None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(OutputError) as caught:
            checkpoint.save(resume.Trained(model, [optimizer]), resume.Progress())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "the checkpoint before it is kept; make room and run again with --resume" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / resume.LAST).read_bytes() == before
    assert not [path for path in (tmp_path / "run").iterdir() if ".part" in path.name]


# ---- selection, stopping, logs


def test_selection_never_looks_at_the_test_part_unless_told(tmp_path, monkeypatch):
    manifest = make_clips(tmp_path / "data", count=24, test=6)
    scored = []
    score = loop.Scorer.score
    monkeypatch.setattr(
        loop.Scorer, "score", lambda self, samples: scored.append(samples) or score(self, samples)
    )
    held = train(tiny(*FROZEN), manifest, tmp_path / "held")
    assert all(samples is held.samples.held for samples in scored)
    scored.clear()
    notes = []
    leaky = train(tiny(*FROZEN, "selection.select=test-war"), manifest, tmp_path / "leaky", note=notes.append)
    assert all(samples is leaky.samples.test for samples in scored)
    assert not leaky.samples.held
    assert any("leak" in line for line in notes)
    best = max(row["test_war"] for row in leaky.progress.history)
    assert leaky.progress.best == best


def test_the_chosen_epochs_weights_are_the_ones_left(tmp_path):
    outcome = train(tiny("loop.epochs=5"), make_clips(tmp_path / "data"), tmp_path / "run")
    history = outcome.progress.history
    assert outcome.progress.best == max(row["held_out_uar"] for row in history)
    score = outcome.scorer.score(outcome.samples.held)
    assert score.uar == history[outcome.progress.best_epoch - 1]["held_out_uar"]


@pytest.mark.parametrize(
    ("value", "record", "better"),
    [
        (0.5, {"held_out_loss": 1.9}, True),
        (0.5, {"held_out_loss": 2.0}, False),
        (0.5, {"test_loss": 0.1}, False),
        (0.6, {"held_out_loss": 9.0}, True),
        (0.4, {"held_out_loss": 0.1}, False),
    ],
)
def test_of_epochs_with_equal_recall_the_lower_held_out_loss_is_better(value, record, better):
    progress = resume.Progress(best=0.5, best_epoch=2, history=[{}, {"held_out_loss": 2.0}, {}])
    assert loop._better(progress, value, record) is better
    first = resume.Progress(best=0.5, best_epoch=1, history=[{}])
    assert not loop._better(first, 0.5, {})


def test_without_labels_the_held_out_loss_selects(tmp_path):
    manifest = make_clips(tmp_path / "data")
    lines = [line.split(",") for line in manifest.read_text().splitlines()]
    manifest.write_text(
        "\n".join(",".join([line[0], "" if n else "label", *line[2:]]) for n, line in enumerate(lines))
    )
    outcome = train(tiny(*FROZEN, "loop.epochs=4"), manifest, tmp_path / "run")
    found = [row["held_out_loss"] for row in outcome.progress.history]
    assert outcome.progress.best == -min(found)


@pytest.mark.parametrize("settings", [["data.text=classes"], ["data.text=mixed"]])
def test_the_loss_of_clips_without_captions_cannot_select(tmp_path, settings):
    manifest = make_clips(tmp_path / "data", captions=False)
    with pytest.raises(InputError, match=r"held-out-loss: needs captions .*; 0 of \d+ have one") as caught:
        train(tiny(*FROZEN, *settings, "selection.select=held-out-loss"), manifest, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_some_captions_give_a_loss_that_selects(tmp_path):
    manifest = make_clips(tmp_path / "data")
    lines = [line.split(",") for line in manifest.read_text().splitlines()]
    # Every other clip keeps its caption, which is the one column with commas.
    manifest.write_text(
        "\n".join(",".join(line if n % 2 == 0 else [*line[:2], "", line[-1]]) for n, line in enumerate(lines))
    )
    settings = ("data.text=mixed", "selection.select=held-out-loss", "selection.held_out=0.5")
    outcome = train(tiny(*FROZEN, *settings), manifest, tmp_path / "run")
    found = [row["held_out_loss"] for row in outcome.progress.history]
    assert np.isfinite(found).all()
    assert outcome.progress.best == -min(found)


def test_what_cannot_be_scored_is_in_no_record_and_the_last_epoch_has_no_value(tmp_path):
    manifest = make_clips(tmp_path / "data", captions=False)
    settings = ("data.text=classes", "selection.select=held-out-uar")
    outcome = train(tiny(*FROZEN, *settings), manifest, tmp_path / "run")
    assert "held_out_loss" not in outcome.progress.history[0]
    last = train(tiny(*FROZEN, "data.text=classes", "selection.select=last"), manifest, tmp_path / "last")
    assert (last.progress.best, last.progress.best_epoch) == (None, last.progress.epoch)
    with pytest.raises(InputError, match="test-war: the test part has no labelled clip"):
        train(tiny(*FROZEN, "data.text=classes", "selection.select=test-war"), manifest, tmp_path / "test")


def test_people_in_both_parts_are_told(tmp_path):
    manifest = make_clips(tmp_path / "data", test=6)
    lines = manifest.read_text().splitlines()
    manifest.write_text(
        "\n".join([f"{lines[0]},subject", *(f"{line},s{n % 20}" for n, line in enumerate(lines[1:]))])
    )
    notes = []
    outcome = train(tiny(*FROZEN, "loop.epochs=1"), manifest, tmp_path / "run", note=notes.append)
    said = [line for line in notes if line.startswith("6 subjects in both the training and the test part (s")]
    assert said
    assert said[0] in card_notes(outcome, "emoclip train")


def test_frozen_towers_with_random_weights_are_told_with_the_way_out(tmp_path):
    manifest, notes = make_clips(tmp_path / "data"), []
    train(tiny(*FROZEN, "loop.epochs=1"), manifest, tmp_path / "run", note=notes.append)
    way_out = ["--set", "model.train_image=true", "--set", "model.train_text=true"]
    told = "towers with random weights are frozen, so they learn nothing; pass "
    assert told + " ".join(way_out) in notes
    notes.clear()
    train(tiny(*FROZEN, *way_out[1::2], "loop.epochs=1"), manifest, tmp_path / "learns", note=notes.append)
    assert not any(line.startswith(told) for line in notes)


def test_a_cache_that_would_not_be_used_is_refused(tmp_path):
    manifest, kept = make_clips(tmp_path / "data"), tmp_path / "kept"
    learns = ("model.train_image=true", "model.train_text=true")
    with pytest.raises(ConfigError, match="--cache: both towers learn"):
        train(tiny(*learns), manifest, tmp_path / "run", cache=kept)
    with pytest.raises(ConfigError, match="--cache: has no effect with --no-cache"):
        train(tiny(*FROZEN), manifest, tmp_path / "run", cache=kept, use_cache=False)
    assert not (tmp_path / "run").exists()
    train(tiny(*learns[:1], FROZEN[1], "loop.epochs=1"), manifest, tmp_path / "run", cache=kept)
    assert [path.name for path in kept.iterdir()] == ["sentences"]


def test_patience_ends_a_run_that_gets_no_better(tmp_path):
    recipe = tiny(*FROZEN, "optimiser.lr=0", "selection.patience=2", "loop.epochs=50")
    outcome = train(recipe, make_clips(tmp_path / "data"), tmp_path / "run")
    assert outcome.progress.epoch == 3


def test_training_learns_and_is_logged(tmp_path):
    manifest = make_clips(tmp_path / "data", count=36)
    outcome = train(
        tiny("data.text=classes", "loop.epochs=12", "optimiser.lr=0.01"), manifest, tmp_path / "run"
    )
    assert losses(outcome)[-1] < 0.7 * losses(outcome)[0]
    assert outcome.progress.best > 0.6  # chance is a third
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_half_precision_and_accumulation_run(tmp_path):
    recipe = tiny("loop.precision=bf16-mixed", "loop.accumulate=2", "loop.batch=4", "optimiser.clip_norm=1")
    outcome = train(recipe, make_clips(tmp_path / "data"), tmp_path / "run")
    assert outcome.progress.step == 3 * 2
    assert all(parameter.dtype == torch.float32 for parameter in outcome.assembly.model.parameters())


def test_weights_and_biases_is_asked_for_by_name_only(tmp_path):
    with pytest.raises(ConfigError, match="pip install wandb"):
        train(tiny(*FROZEN, "loop.wandb=true"), make_clips(tmp_path / "data"), tmp_path / "run")
