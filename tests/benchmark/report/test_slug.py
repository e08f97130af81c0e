"""File names made from problems: no two problems write the same file."""

from hypothesis import given
from hypothesis import strategies as st

from benchmark.report.results import slug

NAMES = ["cifar10 (checkpoint=run_a.pth)", "cifar10 (checkpoint=run-a.pth)", "cifar10 (checkpoint=run.a.pth)"]
NAMES += ["mixture2d (spacing=1)", "mixture2d (spacing=-1)", "a_b", "a-b", "a.b", "A_b", "a__b", "_a_b", "é", "e"]


def test_names_that_differ_in_any_character_have_files_of_their_own():
    assert len({slug(name) for name in NAMES}) == len(NAMES)


def test_registered_names_keep_the_files_that_they_had():
    assert [slug(name) for name in ("cifar10", "mixture2d", "lsun_bedroom64")] == [
        "cifar10",
        "mixture2d",
        "lsun-bedroom64",
    ]


@given(st.lists(st.text(max_size=300), min_size=2, max_size=20, unique=True))
def test_no_two_texts_share_a_file(texts):
    slugs = [slug(text) for text in texts]
    assert len(set(slugs)) == len(texts)
    assert all(set(s) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and len(s) < 100 for s in slugs)
