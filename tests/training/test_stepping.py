"""The step loop: its steps are torch's, an interrupted run ends like another, and what it keeps is safetensors."""

from itertools import count

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # noqa: E402

from emoclip.errors import InputError  # noqa: E402
from emoclip.training.resume import Checkpoint, Progress, Trained  # noqa: E402
from emoclip.training.stepping import Plan, averaged, cosine, falling, take_steps  # noqa: E402


class StopError(Exception):
    """Ends a run at some step."""


def begin(decay=0.9):
    """A model with dropout and norm statistics, two optimisers, and an average."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
    )
    sgd = torch.optim.SGD(model[:2].parameters(), lr=0.1, momentum=0.9, nesterov=True)
    return Trained(model, [sgd, torch.optim.AdamW(model[3].parameters(), lr=0.01)], averaged(model, decay))


def drawn(trained, *, stop=-1, by_step=False):
    """Losses of drawn batches: random within an epoch, or by the step alone."""

    def losses(progress):
        for step in count(progress.step):
            if step == stop:
                raise StopError
            if by_step:
                torch.manual_seed(step)
            yield trained.model(torch.randn(6, 3)).square().mean()

    return losses


def seeded(**changes):
    settings = {"steps": 20, "per_epoch": 8, "rate": falling(20, 4, 0.1), "clip": 0.5}
    return Plan(**settings, **{"seed": lambda epoch: 100 + epoch} | changes)


def quiet(line):
    return None


def everything(trained):
    return {**trained.model.state_dict(), **trained.average.state_dict()}


def assert_identical(one, two):
    assert everything(one).keys() == everything(two).keys()
    for name, tensor in everything(one).items():
        assert torch.equal(tensor, everything(two)[name]), name


@pytest.mark.parametrize("stop", [3, 8, 13, 19])
@pytest.mark.parametrize("every", [0, 1, 5])
def test_a_run_that_was_cut_off_goes_on_as_if_never_stopped(tmp_path, stop, every):
    by_step = every > 0  # within an epoch only what depends on the step alone comes back
    plan = seeded(checkpoint_steps=every, seed=None if by_step else lambda epoch: 100 + epoch)
    whole = begin()
    done = take_steps(plan, whole, drawn(whole, by_step=by_step), note=quiet)
    assert (done.step, done.epoch) == (20, 3)
    checkpoint = Checkpoint(tmp_path / "last.safetensors", {"a": {"seed": 1}})
    cut = begin()
    with pytest.raises(StopError):
        take_steps(plan, cut, drawn(cut, stop=stop, by_step=by_step), checkpoint=checkpoint, note=quiet)
    torch.manual_seed(99)
    resumed = begin()
    again = take_steps(plan, resumed, drawn(resumed, by_step=by_step), checkpoint=checkpoint, note=quiet)
    assert_identical(whole, resumed)
    assert again == done
    # A finished run is not trained on.
    assert take_steps(plan, resumed, drawn(resumed, stop=20), checkpoint=checkpoint, note=quiet) == done
    assert_identical(whole, resumed)


def test_steps_are_those_that_torch_makes_by_hand():
    ours, theirs = begin(), begin()
    theirs_average = AveragedModel(theirs.model, use_buffers=True)
    ours = Trained(ours.model, ours.optimizers, averaged(ours.model, 0.5))
    theirs_average.update_parameters(theirs.model)
    plan = Plan(steps=12, per_epoch=12, rate=lambda step: cosine(step / 12), clip=0.5)
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 12) for o in theirs.optimizers]
    torch.manual_seed(1)
    take_steps(plan, ours, drawn(ours), note=quiet)
    torch.manual_seed(1)
    for step, loss in zip(range(12), drawn(theirs)(Progress()), strict=False):
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.model.parameters(), 0.5)
        for optimizer, schedule in zip(theirs.optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        # The decay warms up to 0.5: 2/11, 3/12 ... 8/17.
        theirs_average.multi_avg_fn = get_ema_multi_avg_fn(min(0.5, (2 + step) / (11 + step)))
        theirs_average.update_parameters(theirs.model)
    for name, tensor in theirs.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], tensor, atol=1e-6, rtol=1e-5)
    for name, tensor in theirs_average.module.state_dict().items():
        torch.testing.assert_close(ours.average.module.state_dict()[name], tensor, atol=1e-6, rtol=1e-5)


def test_rates_warm_up_and_fall_in_a_line():
    rate = falling(100, 10, 0.05)
    assert [rate(0), rate(5), rate(50), rate(100)] == pytest.approx([0.05, 0.55 * 0.95, 0.5, 0])
    assert [cosine(0), cosine(0.5), cosine(1), cosine(2)] == pytest.approx([1, 0.5, 0, 0])


def test_every_epoch_is_told_with_the_time_left():
    trained, lines, reported = begin(), [], []
    take_steps(
        seeded(),
        trained,
        drawn(trained),
        note=lines.append,
        report=lambda now, loss: reported.append(now.step),
    )
    assert len(lines) == 3
    assert all(line.startswith("loss ") and line.endswith(" left") for line in lines)
    assert reported == list(range(1, 21))


def test_a_loss_that_is_no_number_stops_before_it_is_learned_and_keeps_the_checkpoint(tmp_path):
    trained = begin()
    checkpoint = Checkpoint(tmp_path / "last.safetensors", {})

    def losses(progress):
        for step, loss in zip(count(progress.step), drawn(trained)(progress), strict=False):
            yield loss * torch.nan if step == 9 else loss

    with pytest.raises(InputError, match="not a finite number at step 10"):
        take_steps(seeded(), trained, losses, checkpoint=checkpoint, note=quiet)
    assert all(torch.isfinite(p).all() for p in trained.model.parameters())
    assert checkpoint.load(begin()).step == 8


def test_another_recipe_and_a_damaged_file_are_told_in_one_line(tmp_path):
    path, trained = tmp_path / "last.safetensors", begin()
    Checkpoint(path, {"images": {"tower": {"width": 8}, "rates": (1, 2)}}).save(trained, Progress(step=4))
    same = Checkpoint(path, {"images": {"tower": {"width": 8}, "rates": [1, 2]}})
    assert same.load(begin()).step == 4
    with pytest.raises(InputError, match=r"its run has images\.tower\.width=8, this one 9"):
        Checkpoint(path, {"images": {"tower": {"width": 9}, "rates": [1, 2]}}).load(begin())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="is no checkpoint of a run, or damaged") as caught:
        same.load(begin())
    assert "\n" not in str(caught.value)
