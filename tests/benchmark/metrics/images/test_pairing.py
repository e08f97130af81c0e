"""Pairs of images: the right partners, whatever is missing or unreadable on one side."""

import numpy as np
import pytest

from benchmark.data.reader import Images
from benchmark.metrics.base import MetricError
from benchmark.metrics.images.pairing import pairs


def images(names=None, count=None, left_out=(), size=(4, 4)):
    count = len(names) if names is not None else count
    return Images("set", count, size, lambda a, b: np.zeros((b - a, *size, 3), np.uint8), names, tuple(left_out))


def matched(one, other):
    """The names, or places, of the partners."""
    first, second, said = pairs(one, other)
    names = [(one.names or range(one.count)), (other.names or range(other.count))]
    return [(names[0][i], names[1][j]) for i, j in zip(first, second, strict=True)], said


def test_files_are_paired_by_name_whatever_their_order_or_suffix():
    found, said = matched(images(("a2.png", "a10.png")), images(("a10.jpg", "a2.jpg")))
    assert found == [("a2.png", "a2.jpg"), ("a10.png", "a10.jpg")] and said == "2 pairs by name"


def test_partners_of_unreadable_images_are_dropped_with_them():
    one = images(("0.png", "1.png", "3.png"), left_out=["2.png"])
    other = images(("1.png", "2.png", "3.png"), left_out=["0.png"])
    found, said = matched(one, other)
    assert found == [("1.png", "1.png"), ("3.png", "3.png")]
    assert said == "2 pairs by name, 2 images without a partner dropped"


def test_other_names_are_paired_by_place_with_the_unreadable_counted():
    one = images(("a_1.png", "a_10.png"), left_out=["a_2.png"])
    other = images(("b_2.png", "b_10.png"), left_out=["b_1.png"])
    assert matched(one, other) == ([("a_10.png", "b_10.png")], "1 pairs by place, 2 images without a partner dropped")


def test_an_array_is_paired_with_files_by_place():
    found, said = matched(images(count=3), images(("s_0.png", "s_2.png"), left_out=["s_1.png"]))
    assert found == [(0, "s_0.png"), (2, "s_2.png")] and "1 images without" in said
    assert matched(images(count=2), images(count=2))[0] == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (images(count=3), images(count=4), "equally many images, got 3 and 4"),
        (images(("a.png",), size=(4, 5)), images(("a.png",)), "one size, got 4×5 and 4×4"),
        (images(("a.png", "b.png")), images(("c.png",)), "same names or equally many"),
        (images(("a.png", "b.png", "c.png")), images(("a.png", "x.png", "y.png")), "only 1 names are in both"),
        (images(("a.png", "a.jpg")), images(("a.png", "b.png")), "differ in their suffix alone"),
    ],
)
def test_what_cannot_be_paired_is_refused(one, other, said):
    with pytest.raises(MetricError, match=said):
        pairs(one, other)
