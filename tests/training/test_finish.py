"""The picture of a run's curves: panels for what there is, and no library's warning."""

import warnings
from dataclasses import replace

import pytest

pytest.importorskip("lightning")
figures = pytest.importorskip("matplotlib.figure")

from clips import TINY, make_clips  # noqa: E402

from emoclip.training.finish import draw_curves, table, training_data  # noqa: E402
from emoclip.training.recipe import SelectionRecipe, load_recipe  # noqa: E402
from emoclip.training.samples import choose_samples  # noqa: E402


@pytest.mark.parametrize(
    ("text", "captioned", "said"),
    [
        ("mixed", 0, "class sentences"),
        ("mixed", 5, "sample-level captions (5 of 18) and class sentences"),
        ("mixed", 18, "sample-level captions and class sentences"),
        ("classes", 18, "class sentences"),
        ("captions", 18, "sample-level captions"),
    ],
)
def test_the_card_counts_the_captions_there_are(tmp_path, text, captioned, said):
    recipe = load_recipe("smoke", (*TINY, "data.file=''", "data.measures=''", f"data.text={text}"))
    samples = choose_samples(recipe, make_clips(tmp_path))
    train = tuple(
        replace(s, captions=s.captions if at < captioned else ()) for at, s in enumerate(samples.train)
    )
    assert training_data(recipe, replace(samples, train=train)) == f"manifest: 18 clips with {said}"


@pytest.mark.parametrize("epochs", [1, 2, 30])
@pytest.mark.parametrize(
    ("figures_of_an_epoch", "panels"),
    [
        ({"loss": 2.0}, ["contrastive loss (nats)"]),
        ({"loss": 2.0, "held_out_loss": 2.1}, ["contrastive loss (nats)"]),
        ({"loss": 2.0, "held_out_war": 0.5, "held_out_uar": 0.4}, ["contrastive loss (nats)", "recall"]),
    ],
)
def test_curves_have_the_panels_that_have_curves(tmp_path, monkeypatch, epochs, figures_of_an_epoch, panels):
    drawn = []
    save = figures.Figure.savefig
    monkeypatch.setattr(
        figures.Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))
    )
    history = [{"epoch": epoch, "logit_scale": 14.0, **figures_of_an_epoch} for epoch in range(1, epochs + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves(history, SelectionRecipe(), tmp_path / "curves.png")
    (figure,) = drawn
    assert [axes.get_ylabel() for axes in figure.axes] == panels
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == int(tick) for tick in ticks)


def test_a_figure_of_any_name_is_one_row_of_the_card():
    assert table({"recall_a|b": 0.5, "text": "none"}).splitlines()[2:] == [r"| recall_a\|b | 0.5 |"]
