"""Which images of two sets were made from the same noise: those of one name, else those in the same place."""

from pathlib import PurePosixPath

from benchmark.data.reader import Images
from benchmark.data.sources import natural
from benchmark.metrics.base import MetricError


def pairs(one: Images, other: Images) -> tuple[list[int], list[int], str]:
    """Indices into either set, pair by pair, and how they were found.

    Files are matched by name without suffix, in their folders. Where no name is in both sets, or one is an array, the
    place counts, that of unreadable files too: with an image its partner is dropped.

    Raises:
        MetricError: sizes differ, or neither names nor numbers agree.
    """
    if one.size != other.size:
        sizes = ["×".join(map(str, images.size)) for images in (one, other)]
        raise MetricError(f"a paired comparison needs images of one size, got {sizes[0]} and {sizes[1]}")
    (first, all_first), (second, all_second) = (_stems(images) for images in (one, other))
    arrays = one.names is None and other.names is None
    if not arrays and (common := set(all_first) & set(all_second)):
        if 2 * len(common) < max(len(all_first), len(all_second)):
            few = f"only {len(common)} names are in both ({len(all_first)} and {len(all_second)} images)"
            raise MetricError(f"a paired comparison needs images of the same names: {few}")
        how = "by name"
    elif len(all_first) == len(all_second):
        first, second = (_places(some, every) for some, every in ((first, all_first), (second, all_second)))
        how = "by place"
    else:
        counts = f"{len(all_first)} and {len(all_second)}"
        raise MetricError(f"a paired comparison needs the same names or equally many images, got {counts}")
    found = sorted(set(first) & set(second), key=first.__getitem__)
    dropped = max(len(all_first), len(all_second)) - len(found)
    said = f"{len(found)} pairs {how}" + (f", {dropped} images without a partner dropped" if dropped else "")
    return [first[key] for key in found], [second[key] for key in found], said


def _stems(images: Images) -> tuple[dict[str, int], list[str]]:
    """Index of each readable image by its name without suffix; and all names, those of unreadable ones too, in order.

    Images of an array are named by their place, in a way that no file is.
    """
    if images.names is None:
        names = [f"\0{place}" for place in range(images.count)]
        return {name: place for place, name in enumerate(names)}, names
    stems = {_stem(name): index for index, name in enumerate(images.names)}
    if len(stems) < len(images.names):
        raise MetricError(f"{images.name}: files that differ in their suffix alone cannot be paired")
    return stems, [_stem(name) for name in sorted((*images.names, *images.left_out), key=natural)]


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _places(some: dict[str, int], every: list[str]) -> dict[str, int]:
    """Indices by place among all images in place of by name."""
    return {str(place): some[name] for place, name in enumerate(every) if name in some}
