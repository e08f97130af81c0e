"""Averaged weights: taken under whatever name, never replaced by raw ones, never mixed with them."""

import pytest
import torch

from benchmark.networks.checkpoint import CheckpointError
from benchmark.networks.published.denoisers import EDM, VarianceExploding
from benchmark.networks.published.weights import read_weights

RAW = {"begin_conv.weight": torch.zeros(8, 3, 3, 3), "begin_conv.bias": torch.zeros(8), "sigmas": torch.ones(4)}
AVERAGE = {name: torch.full_like(tensor, 2.0) for name, tensor in RAW.items() if name != "sigmas"}


def read(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    return read_weights(tmp_path / "a.pth")


def is_average(state):
    return all((state[name] == 2).all() for name in AVERAGE) and (state["sigmas"] == 1).all()


@pytest.mark.parametrize(
    "content",
    [
        {"model": RAW, "model_ema": AVERAGE, "step": 1},
        {"model": RAW, "ema_model": AVERAGE, "opt": {}},
        {"model": RAW, "ema_state_dict": AVERAGE},
        {"state_dict": RAW, "state_dict_ema": AVERAGE},
        {"net": RAW, "ema": AVERAGE},
        {"model": RAW, "ema_0.9999": AVERAGE},
        {"model": RAW, "averaged": {f"module.{name}": tensor for name, tensor in AVERAGE.items()}},
        {"model": RAW, "EMA": list(AVERAGE.values())},
        {"model": RAW, "ema": {"shadow_params": list(AVERAGE.values()), "decay": 0.9}},
        {"model": RAW, "ema": {"initted": torch.tensor(True), "step": torch.tensor(3)}
         | {f"online_model.{n}": t for n, t in RAW.items()} | {f"ema_model.{n}": t for n, t in AVERAGE.items()}},
        {"ema_state_dict": {**RAW, **AVERAGE}, "step": 1},
        [RAW, {}, 0, 0, AVERAGE],
    ],
)  # fmt: skip
def test_averages_are_taken_under_whatever_name(tmp_path, content):
    assert is_average(read(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": RAW, "model_ema": {"begin_conv.weight": AVERAGE["begin_conv.weight"]}}, "'begin_conv.bias' and oth"),
        ({"model": RAW, "model_ema": {"decay": 0.9, "weights": AVERAGE}}, "not those of its model"),
        ({"model": RAW, "model_ema": {"other": torch.ones(3)}}, "not those of its model"),
        ({"model": RAW, "ema_0.9": AVERAGE, "ema_0.99": AVERAGE}, r"several averages \(ema_0.9, ema_0.99\)"),
        ([RAW, {}, 0, 0, {"begin_conv.bias": torch.ones(8)}], "averages of 1 tensors alone"),
    ],
)
def test_averages_that_are_not_of_the_whole_model_are_refused(tmp_path, content, said):
    with pytest.raises(CheckpointError, match=said):
        read(tmp_path, content)


def test_without_averages_the_weights_are_taken_as_they_are(tmp_path):
    for content in (RAW, {"model": RAW, "ema": None, "ema_decay": 0.9}, {"model": RAW, "ema": {}}, [RAW, {}, 1, 2]):
        assert all((read(tmp_path, content)[name] == 0).all() for name in AVERAGE)


@pytest.mark.parametrize("levels", [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (0.1, float("inf")), (float("nan"), 1.0)])
def test_levels_that_are_none_are_refused(levels):
    with pytest.raises(CheckpointError, match="noise levels"):
        VarianceExploding(torch.nn.Identity(), *levels)


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, float("nan"), float("inf")])
def test_deviations_of_data_that_are_none_are_refused(sigma_data):
    with pytest.raises(CheckpointError, match="sigma_data"):
        EDM(torch.nn.Identity(), sigma_data)
