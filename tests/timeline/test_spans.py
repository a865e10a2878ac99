"""Stretches of time against the milliseconds in them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from emoclip.timeline.spans import intersection, minus, union

some = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda at: (at[0], sum(at))), max_size=6
)


def parts(spans):
    return {at for start, end in spans for at in range(start, end)}


@given(some, some)
def test_spans_are_sets_of_moments(one, two):
    for found, expected in (
        (union(one), parts(one)),
        (minus(one, two), parts(one) - parts(two)),
        (intersection(one, two), parts(one) & parts(two)),
    ):
        assert parts(found) == expected
        assert all(before[1] <= after[0] for before, after in pairwise(found))
