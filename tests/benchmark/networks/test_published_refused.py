"""Published files that can't be used: one line each, and nothing that a file carries is run."""

import os
import pickle

import numpy as np
import pytest
import torch

from benchmark.networks.checkpoint import CheckpointError
from benchmark.networks.published import check_source, denoiser_hash, open_denoiser
from benchmark.networks.published.pickles import Inert, read_pickle
from benchmark.networks.published.weights import read_torch_file, read_weights
from tests.benchmark.networks.edm_pickles import Persistent


class Runs:
    """Unpickled by calling a function: what a hostile file does."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Storage:
    """Pickles as the bytes of a tensor's storage do; the bytes are another file's."""

    def __init__(self, content):
        self.content = content

    def __reduce__(self):
        return (torch.storage._load_from_bytes, (self.content,))


def refused(source, says):
    with pytest.raises(CheckpointError) as caught:
        open_denoiser(source)
    assert says in str(caught.value) and str(source) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "function, arguments",
    [(os.system, ("touch {}",)), (eval, ("open('{}', 'w')",)), (exec, ("open('{}', 'w')",)), (os.mkdir, ("{}",))],
    ids=["os.system", "eval", "exec", "os.mkdir"],
)
@pytest.mark.parametrize("form", ["pickle", "in a pickle's tensor", "in a pickle's network", "zip", "legacy"])
def test_code_in_a_file_is_refused_and_not_run(form, function, arguments, tmp_path, edm_library):
    trace, file = tmp_path / "trace", tmp_path / "hostile.pkl"
    hostile = Runs(function, *(text.format(trace) for text in arguments))
    if form == "pickle":
        file.write_bytes(pickle.dumps({"ema": hostile}))
    elif form == "in a pickle's tensor":
        torch.save(hostile, tmp_path / "inner", _use_new_zipfile_serialization=False)
        file.write_bytes(pickle.dumps({"ema": Storage((tmp_path / "inner").read_bytes())}))
    elif form == "in a pickle's network":
        file.write_bytes(pickle.dumps({"ema": Persistent("EDMPrecond", _modules={"model": hostile})}))
    else:
        torch.save([{"a": hostile}], file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError) as caught:
        open_denoiser(file)
    assert not trace.exists() and "\n" not in str(caught.value)
    assert "refused" in str(caught.value) or form == "in a pickle's tensor"


@pytest.mark.parametrize(
    "module, name",
    [
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch.nn.modules.container", "ModuleDict"),
        ("dnnlib.util", "EasyDict"),
        ("numpy", "dtype"),
    ],
)
def test_a_pickle_leaves_nothing_behind(module, name, tmp_path):
    """What a file may name it can also set attributes of; they must be gone with it."""
    setting = b"((d(S'evil'\nI1\ndtb."  # BUILD with slots: setattr(named, 'evil', 1)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04c" + f"{module}\n{name}\n".encode() + setting)
    assert read_pickle(tmp_path / "a.pkl").evil == 1
    (tmp_path / "b.pkl").write_bytes(b"\x80\x04c" + f"{module}\n{name}\n.".encode())
    for untouched in (read_pickle(tmp_path / "b.pkl"), torch._utils._rebuild_tensor_v2, Inert, dict, np.dtype):
        assert not hasattr(untouched, "evil")


def test_pickled_tensors_and_numbers_come_back_as_they_were(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "view": base.T[1:4],
        "half": base.half(),
        "whole": torch.tensor(3),
        "parameter": torch.nn.Parameter(base),
    }
    numbers = {"number": np.float64(0.7), "integer": np.int64(-5), "yes": np.bool_(True), "list": [1, (2, "3"), {4}]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({**content, **numbers}))
    found = read_pickle(tmp_path / "a.pkl")
    for name, tensor in content.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
    assert {name: found[name] for name in numbers} == {name: numbers[name] for name in numbers}
    assert type(found["number"]) is float and type(found["integer"]) is int


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_truncated_files(form, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    tensors = {"begin_conv.weight": torch.randn(64, 3, 3, 3), "end": torch.randn(1000)}
    if form == "pickle":
        whole.write_bytes(pickle.dumps({"ema": tensors}))
    else:
        torch.save(tensors, whole, _use_new_zipfile_serialization=form == "zip")
    content = whole.read_bytes()
    for kept in (20, len(content) // 2, len(content) - 10):
        cut.write_bytes(content[:kept])
        refused(cut, "damaged or truncated")


def test_foreign_files(tmp_path, edm_library):
    cases = {
        "tensors of another network": ({"classifier.weight": torch.ones(2, 2)}, "of no network that is known"),
        "no tensors": ({"a": 1}, "no training state"),
        "an empty list": ([], "no training state"),
        "a tensor": (torch.ones(3), "no training state"),
        "half of a DDPM": ({"temb.dense.0.weight": torch.ones(8, 2)}, "not a whole DDPM"),
        "half of an NCSNv2": ({"begin_conv.weight": torch.ones(8, 3, 3, 3), "sigmas": torch.ones(3)}, "lacks tensor"),
        "NCSNv2 without levels": ({"begin_conv.weight": torch.ones(8, 3, 3, 3)}, "lacks tensor 'sigmas'"),
        "half of an NCSN++": ({"all_modules.0.W": torch.ones(8)}, "no network 'ncsnpp'"),
    }
    for name, (content, says) in cases.items():
        torch.save(content, tmp_path / name)
        refused(tmp_path / name, says)
    pickles = {
        "something else": ([1, 2], "no network 'ema'"),
        "a class": (
            {"ema": Persistent("EDMPrecond", label_dim=10, _modules={"model": Persistent("SongUNet")})},
            "10 classes",
        ),
        "a network": ({"ema": Persistent("EDMPrecond", _modules={"model": Persistent("UViT")})}, "'UViT' is not known"),
        "no options": ({"ema": Persistent("EDMPrecond", _modules={"model": Persistent("SongUNet")})}, "bad options"),
    }
    for name, (content, says) in pickles.items():
        (tmp_path / name).write_bytes(pickle.dumps(content))
        refused(tmp_path / name, says)
    (tmp_path / "text.pth").write_text("<!DOCTYPE html>")
    refused(tmp_path / "text.pth", "damaged or not safetensors")


def test_averages_are_laid_over_the_parameters_in_order(tmp_path):
    names = ["module.sigmas", "module.all_modules.0.W", "module.all_modules.1.weight", "module.all_modules.1.bias"]
    raw = dict(zip(names, (torch.ones(5), torch.ones(4), torch.zeros(2, 8), torch.zeros(2)), strict=True))
    averages = [torch.full((2, 8), 3.0), torch.full((2,), 4.0)]  # neither levels nor frozen frequencies have one
    file = tmp_path / "checkpoint.pth"
    torch.save({"model": raw, "ema": {"decay": 0.9, "shadow_params": averages}, "step": 1}, file)
    found = read_weights(file)
    assert found["all_modules.1.weight"].unique().tolist() == [3] and found["all_modules.1.bias"].unique().tolist() == [
        4
    ]
    assert found["all_modules.0.W"].unique().tolist() == [1] and len(found) == 4
    for wrong in (averages[::-1], averages[:1], [*averages, torch.ones(4)]):
        torch.save({"model": raw, "ema": {"shadow_params": wrong}}, file)
        refused(file, "averaged weights are not the 2 parameters")
    torch.save([raw, {}, 0, 0, {"another": torch.ones(1)}], file)
    refused(file, "not those of its model")


def test_optimisers_with_numbers_of_numpy_are_read(tmp_path):
    """ScoreSDE's warm-up leaves numpy.float64 in the optimiser's state, under the module names of numpy 1."""
    torch.save({"lr": np.float64(0.25)}, tmp_path / "new")
    content = (tmp_path / "new").read_bytes()
    assert read_torch_file(tmp_path / "new") == {"lr": 0.25}
    torch.save({"lr": np.float64(0.25)}, tmp_path / "old", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old").read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "old").write_bytes(content)
    assert read_torch_file(tmp_path / "old") == {"lr": 0.25}


def test_processes_are_stated_only_where_they_mean_something(tmp_path):
    file = tmp_path / "a.pth"
    torch.save({"begin_conv.weight": torch.ones(8, 3, 3, 3)}, file)
    for source, says in ((f"{file}#vp", "is for networks of ScoreSDE"), (f"{file}#cosine", "expected FILE or FILE#")):
        with pytest.raises(CheckpointError, match=says):
            open_denoiser(source)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        check_source(tmp_path / "none#here.pth")
    odd = tmp_path / "b#vp"
    odd.write_bytes(file.read_bytes())
    assert denoiser_hash(odd) == denoiser_hash(file)  # a file of that very name
