"""Labels to the rows that faces are compared with, and what is doubtful about them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emoclip.errors import ConfigError
from emoclip.model import textcache
from emoclip.model.package import Package
from emoclip.model.rules import denying_rows, label_vectors, unit
from emoclip.prompts import NONE, OVERLOOKED, Doubts, PromptSet, affirmed, doubts


def read_labels(
    package: Package, read: Callable[[Sequence[str]], NDArray[np.float32]], prompts: PromptSet
) -> tuple[NDArray[np.float32], Doubts]:
    """Embed K labels, and say which of them are doubtful, without a warning.

    read: `Runtime.read`.  Returns rows as `EmoCLIP.embed_text` does; raises ConfigError as it does.
    """
    if prompts.taught:
        return prompts.taught.for_model(package.digest, package.name, package.width), Doubts()
    if not all(prompt.parts for prompt in prompts.prompts) and package.rejection is None:
        raise ConfigError(f"model {package.name} has no threshold for {NONE!r}; leave that label out")
    width, scale = package.width, package.logit_scale
    slope, offset = package.intensity or (0.0, 0.0)
    denied = np.array([slope > 0 and bool(prompt.denied) for prompt in prompts.prompts])
    parts = [
        (prompt.denied,) if deny else prompt.parts
        for prompt, deny in zip(prompts.prompts, denied, strict=True)
    ]
    # What labels would be without a negation that is not worked out: does it make a difference?
    bare = [{} if deny else affirmed(prompt) for prompt, deny in zip(prompts.prompts, denied, strict=True)]
    sentences = list(
        dict.fromkeys(
            [
                *(s for label in parts for part in label for s in part),
                *(s for label in bare for s in label.values()),
            ]
        )
    )
    embedded = textcache.embedded(package, sentences, read, width + 2)
    place = {sentence: at for at, sentence in enumerate(sentences)}
    rows = dict(zip(sentences, unit(embedded[:, :width]), strict=True))
    text = label_vectors(parts, rows, width)
    text[denied] *= -1
    unknown, cut = (
        [any(embedded[place[s], column] for part in label for s in part) for label in parts]
        for column in (width, width + 1)
    )
    heard = [
        [said for said, without in label.items() if float(rows[said] @ rows[without]) > OVERLOOKED]
        for label in bare
    ]
    overlooked = [
        any(said in label for said in sentences)
        for label, sentences in zip(prompts.labels, heard, strict=True)
    ]
    denying = dict.fromkeys(
        said
        for label, sentences in zip(prompts.labels, heard, strict=True)
        for said in sentences
        if said not in label
    )
    found = replace(
        doubts(prompts.labels, text, scale, unknown, cut, overlooked),
        denying=tuple(denying),
        worded=tuple(
            prompt.label for prompt in prompts.prompts if prompt.parts and prompt.label.casefold() == NONE
        ),
        file=prompts.file,
    )
    if denied.any():
        text = denying_rows(text, denied, -offset / slope, scale, package.rejection)
    return text, found
