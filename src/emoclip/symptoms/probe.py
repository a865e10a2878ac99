"""The probe: a regression on the mean and deviation of an interview's clip embeddings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoclip.config import Progress
from emoclip.drawing import import_matplotlib
from emoclip.errors import ConfigError
from emoclip.symptoms import regression
from emoclip.symptoms.regression import Regression

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The graph pools all clips in row 0 and, in the rows after it, all but one of them.
_GRAPH = """<ir_version: 8, opset_import: ["": 17]>
probe (float[N, WIDTH] clips) => (float[1, TARGETS] scores, float[N, TARGETS] influence) {
  squares = Mul (clips, clips)
  total = ReduceSum <keepdims = 1> (clips, rows)
  total_squares = ReduceSum <keepdims = 1> (squares, rows)
  shape = Shape <start = 0, end = 1> (clips)
  count = Cast <to = 1> (shape)
  fewer = Sub (count, one)
  rest = Max (fewer, one)
  mean_all = Div (total, count)
  squares_all = Div (total_squares, count)
  other = Sub (total, clips)
  mean_rest = Div (other, rest)
  other_squares = Sub (total_squares, squares)
  squares_rest = Div (other_squares, rest)
  mean = Concat <axis = 0> (mean_all, mean_rest)
  mean_squares = Concat <axis = 0> (squares_all, squares_rest)
  squared_mean = Mul (mean, mean)
  difference = Sub (mean_squares, squared_mean)
  variance = Relu (difference)
  deviation = Sqrt (variance)
  pooled = Concat <axis = 1> (mean, deviation)
  LAYERS
  values = Concat <axis = 1> (OUTPUTS)
  scores = Slice (values, zero, one_int, zero)
  without = Slice (values, one_int, end, zero)
  influence = Sub (scores, without)
}"""


class Probe:
    """Fits, validates and saves one regression per target.  Missing scores are left out target by target.

    permutations: refits of its permutation test.
    """

    name = "probe"
    takes = "clips"

    def __init__(self, *, permutations: int = 199, seed: int = 0) -> None:
        self.permutations = permutations
        self.seed = seed

    def out_of_fold(
        self,
        inputs: Sequence[NDArray[np.float32]],
        scores: Floats,
        subjects: Sequence[str],
        folds: Ints,
        progress: Progress,
    ) -> tuple[Floats, list[Floats]]:
        """Predict every interview by a regression that never saw its subject.

        inputs: n arrays of clip embeddings (N, D).  scores: (n, targets), NaN where missing.  folds: (n,).
        Returns predictions (n, targets), and per interview the influence of its clips (N, targets).
        """
        pooled = np.stack([pool(clips) for clips in inputs])
        predicted = np.full(scores.shape, np.nan)
        influence = [np.full((len(clips), scores.shape[1]), np.nan) for clips in inputs]
        kinds = np.unique(folds)
        for done, fold in enumerate(kinds):
            test = np.flatnonzero(folds == fold)
            for column in range(scores.shape[1]):
                fitted = self._fit(pooled, scores[:, column], subjects, folds != fold)
                predicted[test, column] = fitted(pooled[test])
                for at in test.tolist():
                    without = fitted(pool_without_each(inputs[at]))
                    influence[at][:, column] = predicted[at, column] - without
            progress((done + 1) / len(kinds))
        return predicted, influence

    def refits(self, inputs: Sequence[NDArray[np.float32]]) -> int:
        """How many refits the permutation test makes."""
        return self.permutations

    def permuted(
        self,
        inputs: Sequence[NDArray[np.float32]],
        scores: Floats,
        subjects: Sequence[str],
        folds: Ints,
        orders: Ints,
        progress: Progress,
    ) -> Floats:
        """Out-of-fold predictions (B, n, targets), refitted with the videos exchanged as `orders` (B, n) says.

        NaN where the score is missing.
        """
        blocks = _blocks(np.stack([pool(clips) for clips in inputs]))
        found = []
        for column, target in enumerate(scores.T):

            def share(part: float, column: int = column) -> None:
                progress((column + part) / scores.shape[1])

            found.append(
                regression.permuted(blocks, target, subjects, folds, orders, seed=self.seed, progress=share)
            )
        return np.stack(found, axis=2)

    def save(
        self,
        path: Path,
        inputs: Sequence[NDArray[np.float32]],
        scores: Floats,
        subjects: Sequence[str],
        progress: Progress,
    ) -> list[str]:
        """Fit to all interviews and write the graph.  Returns what was chosen per target."""
        pooled = np.stack([pool(clips) for clips in inputs])
        everybody = np.ones(len(scores), bool)
        fitted = [self._fit(pooled, column, subjects, everybody) for column in scores.T]
        save_graph(path, fitted, inputs[0].shape[1])
        progress(1.0)
        return [item.choice for item in fitted]

    def _fit(
        self, pooled: Floats, scores: Floats, subjects: Sequence[str], train: NDArray[np.bool_]
    ) -> Regression:
        rows = np.flatnonzero(train & ~np.isnan(scores))
        blocks = _blocks(pooled[rows])
        return regression.fit(blocks, scores[rows], [subjects[int(at)] for at in rows], seed=self.seed)


def pool(clips: NDArray[np.float32]) -> Floats:
    """Pool an interview's clip embeddings (N, D): their mean and deviation, (2 D,)."""
    wide = np.asarray(clips, np.float64)
    return np.concatenate([wide.mean(axis=0), wide.std(axis=0)])


def pool_without_each(clips: NDArray[np.float32]) -> Floats:
    """Pool N clips (N, D) N times, each time without one of them: (N, 2 D).  A single clip gives zeros."""
    wide = np.asarray(clips, np.float64)
    rest = max(len(wide) - 1, 1)
    means = (wide.sum(axis=0) - wide) / rest
    squares = ((wide**2).sum(axis=0) - wide**2) / rest
    return np.concatenate([means, np.sqrt(np.maximum(squares - means**2, 0.0))], axis=1)


def save_graph(path: Path, fitted: Sequence[Regression], width: int) -> None:
    """Write regressions on pooled clips as one ONNX graph (see `heads`), for embeddings `width` wide."""
    check_installed()
    import onnx
    from onnx import numpy_helper

    lines, outputs = [], []
    constants: dict[str, NDArray[np.float32] | Ints] = {
        "rows": np.array([0]),
        "zero": np.array([0]),
        "one_int": np.array([1]),
        "end": np.array([np.iinfo(np.int64).max]),
        "one": np.ones(1, np.float32),
    }
    for number, item in enumerate(fitted):
        value = "pooled"
        for depth, (weights, bias) in enumerate(item.layers):
            if depth:
                lines.append(f"bent{number} = Tanh ({value})")
                value = f"bent{number}"
            name = f"layer{number}_{depth}"
            constants |= {f"{name}_w": weights.astype(np.float32), f"{name}_b": bias.astype(np.float32)}
            lines.append(f"{name} = Gemm ({value}, {name}_w, {name}_b)")
            value = name
        outputs.append(value)
    text = _GRAPH.replace("WIDTH", str(width)).replace("TARGETS", str(len(fitted)))
    text = text.replace("LAYERS", "\n  ".join(lines)).replace("OUTPUTS", ", ".join(outputs))
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def check_installed() -> None:
    """Raise ConfigError with the remedy if what fitting needs is absent."""
    try:
        import_matplotlib()
        import onnx.parser  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"fitting severity needs {error.name}: pip install 'emoclip[symptoms]' (scoring does not)"
        ) from None


def _blocks(pooled: Floats) -> list[Floats]:
    return np.split(pooled, 2, axis=1)
