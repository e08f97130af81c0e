"""The registry: a new sampler takes one class, a wrong name gets a hint, a broken plugin a reason."""

import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest
import torch

from samplers import plugins
from samplers.base import ReverseSampler, Sampler
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.options import parse
from samplers.registry import SAMPLERS, available, lookup, register, unavailable


@pytest.fixture
def clean_registry(monkeypatch):
    """A registry that forgets what a test adds to it."""
    available()
    for held in ("_entries", "_places", "_missing"):
        monkeypatch.setattr(SAMPLERS, held, dict(getattr(SAMPLERS, held)))


@pytest.fixture
def plug_in(clean_registry, monkeypatch):
    """Let a registry that forgets it see these entry points."""

    def points(*found):
        monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint(*one, group) for one in found])
        monkeypatch.setattr(SAMPLERS, "_loaded", False)

    return points


def test_every_module_of_the_package_is_there():
    assert not unavailable()
    expected = {"ddim", "ddpm", "f-pndm", "s-pndm", "plms", "ipndm", "unipc", "deis", "heun", "langevin", "held-out"}
    expected |= {"dpmot", "dpmot-released", "random-latent", "unsolved-map", "copy-target"}
    expected |= {f"dpm-solver-{kind}" for kind in ("1", "2s", "3s", "fast", "2m", "3m")}
    expected |= {f"dpm-solver++-{kind}" for kind in ("2s", "2m", "3m")}
    assert expected <= set(available())


@pytest.mark.parametrize("name", sorted(available()))
def test_every_sampler_says_what_it_is(name):
    entry = available()[name]
    assert entry.cls.summary and entry.cls.paper and entry.origin.startswith("samplers.")
    assert entry.make() == entry.cls(**entry.options())
    assert entry.make(**entry.cls.preset) == entry.cls(**{**entry.options(), **entry.cls.preset})


def test_the_authors_preset_is_asked_for_by_name_and_gives_way_to_options():
    unipc = lookup("unipc")
    assert unipc.make(preset="authors") == unipc.make(grid="log-snr", variant="bh1")
    assert unipc.make(preset="authors", grid="edm") == unipc.make(variant="bh1")
    assert lookup("dpm-solver++-2m").make(preset="authors").grid == "log-snr"
    assert lookup("ipndm").make(preset="authors").grid == "ddpm-uniform"
    assert lookup("copy-target").make(preset="authors") == lookup("copy-target").make()


def test_titles_and_families_are_those_of_the_report():
    """A sampler without a title of its own would be shown by its name."""
    entries = available()
    assert all("title" in vars(entry.cls) for entry in entries.values())
    assert len({entry.title for entry in entries.values()}) == len(entries)
    assert not [name for name, entry in entries.items() if entry.family == "other"]


def test_what_a_sampler_says_of_itself_does_not_hold_for_one_made_from_it(clean_registry):
    @register("slower-ddim")
    @dataclass(frozen=True)
    class Slower(type(lookup("ddim").make())):
        pass

    assert lookup("slower-ddim").title == "slower-ddim" and lookup("slower-ddim").family == "plain"


def test_a_new_sampler_takes_one_class(clean_registry):
    @register("mine")
    @dataclass(frozen=True)
    class Mine(ReverseSampler):
        eta: float = 0.5

        def cost(self, intervals):
            return intervals

        def integrate(self, denoiser, x, sigmas, noise):
            return x

    assert lookup("mine").options()["eta"] == 0.5
    assert lookup("mine").make(eta="0.25") == Mine(eta=0.25)


def test_the_sampler_in_the_readme_works(clean_registry):
    """It takes the steps of ancestral sampling, as DDPM's with the posterior's variance."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if "@register" in block]
    exec(example, {"__name__": "example"})
    sigmas = torch.tensor([9.0, 3.0, 1.0, 0.1, 0.0], dtype=torch.float64)
    noise = [ShardNoise(0, 0, (100, 3)) for _ in range(2)]
    samplers = (lookup("euler-ancestral").make(), lookup("ddpm").make(variance="small"))
    found = [
        one.integrate(lambda x, sigma: x / (1 + sigma**2), 9 * n.initial(), sigmas, n)
        for one, n in zip(samplers, noise, strict=True)
    ]
    torch.testing.assert_close(*found)


def test_a_plugin_of_another_package_is_found_and_a_broken_one_listed_with_its_reason(plug_in):
    plug_in(("theirs", "samplers.ddim:DDIM"), ("broken", "no_such_package:Sampler"))
    assert issubclass(lookup("theirs").cls, Sampler) and lookup("theirs").package is None
    assert "no_such_package" in unavailable()["broken"]
    with pytest.raises(UserError, match="cannot be used here: ModuleNotFoundError"):
        lookup("broken")


@dataclass(frozen=True)
class NoCost(ReverseSampler):
    """No sampler: it does not say what a step costs."""

    def integrate(self, denoiser, x, sigmas, noise):
        return x


@dataclass(frozen=True, kw_only=True)
class NoDefault(NoCost):
    strength: float

    def cost(self, intervals):
        return intervals


@dataclass(frozen=True)
class NoFamily(NoCost):
    family = "odd"

    def cost(self, intervals):
        return intervals


@pytest.mark.parametrize(
    "value, reason",
    [
        ("samplers.heun:Heun", "two samplers are called 'ddim': samplers.ddim.DDIM and samplers.heun.Heun"),
        (f"{__name__}:NoCost", "NoCost lacks cost"),
        (f"{__name__}:NoDefault", "NoDefault has options without a default: strength"),
        (f"{__name__}:NoFamily", "NoFamily is of family 'odd', not plain, distilled,"),
        ("samplers.registry:lookup", "is neither a Sampler class nor a module"),
    ],
)
def test_a_plugin_that_is_none_leaves_the_others_alone(plug_in, value, reason):
    name = "ddim" if "Heun" in value else "theirs"
    plug_in((name, value))
    assert lookup("ddim").cls.__module__ == "samplers.ddim" and "theirs" not in available()
    assert reason in unavailable()[name]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: lookup("ddimm"), "unknown sampler 'ddimm'; did you mean 'ddim'"),
        (lambda: lookup("ddim").make(etta="1"), "has no option 'etta'; did you mean 'eta'"),
        (lambda: lookup("ddim").make(eta="much"), "sampler 'ddim': eta takes a number, not 'much'"),
        (lambda: lookup("ddim").make(eta="2"), "eta must lie in"),
        (lambda: lookup("ddim").make(grid="cosine"), "grid takes ddpm-uniform, .* or edm, not 'cosine'"),
        (lambda: lookup("ddim").make(end="never"), "end takes denoise, zero or sigma-min, not 'never'"),
        (lambda: lookup("dpmot").make(reverse="copy-target", sigma_m="1").check(5), "has no option|must be a reverse"),
        (lambda: lookup("dpmot").make(targets="all"), "targets takes train, test or model, not 'all'"),
        (lambda: lookup("copy-target").make(targets="model"), "targets takes train or test, not 'model'"),
        (lambda: lookup("unipc").make(order="four"), "order takes 1, 2 or 3, not 'four'"),
        (lambda: lookup("unipc").make(lower_order_final="never"), "lower_order_final takes true or false, not 'never'"),
        (lambda: lookup("dpmot").make(tv="7"), "must lie in"),
        (
            lambda: lookup("unsolved-map").make(heights="tall"),
            "heights takes zero, closed-form or shuffled",
        ),
        (lambda: lookup("unipc").make(preset="mine"), "preset takes authors, not 'mine'"),
        (lambda: lookup("dpm-solver-2s").make(spacing="even"), "spacing takes equal or code, not 'even'"),
        (lambda: lookup("dpm-solver++-2m").make(spacing="code"), "has no option 'spacing'"),
        (lambda: lookup("ddim").make(clamp="2"), "clamp takes true or false, not '2'"),
        (lambda: lookup("langevin").make(afs="yes"), "afs is for solvers that begin with an evaluation at sigma_max"),
        (lambda: lookup("dpmot-released").make(source="laplace"), "source takes uniform or gaussian, not 'laplace'"),
    ],
)
def test_bad_names_and_values_give_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, hint, value",
    [
        ("3", int, 3),
        ("1e-3", float, 1e-3),
        ("none", float | None, None),
        ("2", float | None, 2.0),
        ("yes", bool, True),
        ("2", Literal[1, 2], 2),
        ("none", Literal["a", "b"] | None, None),
        ("b", Literal["a", "b"] | None, "b"),
    ],
)
def test_values_are_read_as_their_type(text, hint, value):
    assert parse(text, hint, "x") == value
