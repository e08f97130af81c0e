"""What metrics give: estimates with their uncertainty, and how each is shown."""

from dataclasses import dataclass, replace
from typing import Literal

from samplers.errors import UserError


class MetricError(UserError):
    """Samples or a reference that a metric cannot work with; the message is one line for the user."""


@dataclass(frozen=True)
class Estimate:
    """A measured number with its uncertainty.

    Attributes:
        value: the estimate.
        low, high: 95% interval; None where there is none.
        count: samples it was computed from.
        note: what a reader must know of it (bias, features, reference).
    """

    value: float
    low: float | None = None
    high: float | None = None
    count: int = 0
    note: str = ""


@dataclass(frozen=True)
class Quantity:
    """A value that a metric gives, and how tables, figures and the page show it.

    Attributes:
        key: its name in records.
        label: its name for readers.
        better: which way is better; None for what is to be read beside the same value of held-out examples.
        rate: whether it is a share in [0, 1], shown in percent.
        meaning: one line for the page.
        column: its place among the columns of tables, counted from the left; None for the page alone.
        quality: whether it measures quality as a whole. Of those that a problem has, the leftmost is the one shown.
        unbiased: key of the value that tests use in its place, where it is itself cut off at 0.
        level: the parameter of one value of a family such as `mmr@λ`.
        network: the network that it depends on and is named after, where names must tell networks apart.
        customary: its key where the network is the Inception of FID; the key itself where empty.
    """

    key: str
    label: str
    better: Literal["lower", "higher"] | None = None
    rate: bool = False
    meaning: str = ""
    column: int | None = None
    quality: bool = False
    unbiased: str | None = None
    level: float | None = None
    network: Literal["features", "classifier"] | None = None
    customary: str = ""

    def in_features(self, key: str, label: str, meaning: str, column: int | None = None) -> "Quantity":
        """Declare the same value in any network's features, since only those of FID give it this quantity's name."""
        return replace(
            self,
            key=key,
            label=label,
            meaning=meaning,
            column=column,
            network="features",
            customary=self.key,
        )

    def key_with(self, network: str, fid: bool) -> str:
        """Name the value after its network: `fid` with the features of FID, else `fd[mobilenet_v2]`."""
        return (self.customary or self.key) if fid else f"{self.key}[{network}]"


def declare_share(
    key: str, label: str, meaning: str, better: Literal["lower", "higher"] | None = None, column: int | None = None
) -> Quantity:
    """Declare a share in [0, 1], shown in percent."""
    return Quantity(key=key, label=label, better=better, rate=True, meaning=meaning, column=column)


def declare_distance(key: str, label: str, meaning: str, column: int) -> Quantity:
    """Declare a distance between the samples' law and the reference's: it measures quality as a whole."""
    return Quantity(key=key, label=label, better="lower", meaning=meaning, column=column, quality=True)
