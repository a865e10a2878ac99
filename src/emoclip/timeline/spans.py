"""Stretches of time: put together, cut out of each other."""

from collections.abc import Iterable, Sequence

Span = tuple[float, float]  # begin and end, in seconds


def union(spans: Iterable[Span]) -> list[Span]:
    """Return spans of time without overlap, in order."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def intersection(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Return what spans and others have in common."""
    return minus(spans, minus(spans, others))


def minus(spans: Iterable[Span], holes: Sequence[Span]) -> list[Span]:
    """Return what is left of spans outside of `holes`."""
    left = union(spans)
    for low, high in union(holes):
        left = [
            part
            for start, end in left
            for part in ((start, min(end, low)), (max(start, high), end))
            if part[1] > part[0]
        ]
    return left
