"""Compare our numbers with torch-fidelity's and clean-fid's on the same features, and write the table.

    python -m benchmark.metrics.checks.parity [--count 5000] [--out results/metrics]

5,000 real CIFAR-10 images (the first half of the test split) against blurred ones (the second half), in MobileNetV2
and in a small extractor registered with torch-fidelity, whose own pipeline is also run from images to numbers.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmark.commands import command_line, run_command
from benchmark.data.arrays import open_images
from benchmark.data.reader import from_array
from benchmark.metrics.checks.corrupting import blur
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.extractors import Extractor, make_extractor
from benchmark.metrics.frechet import frechet_distance
from benchmark.metrics.images.reference import extract
from benchmark.metrics.inception_score import inception_score
from benchmark.metrics.kid import KernelSums, kernel_distance, kernel_distance_subsets
from benchmark.metrics.manifold import Balls, precision_recall_density_coverage

QUIET: dict[str, Any] = {"verbose": False, "cuda": False, "save_cpu_ram": False}
BLUR = 1.0
TOLERANCE = 1e-4


def ours(x: Tensor, y: Tensor, logits: Tensor | None) -> dict[str, float]:
    """Our values for samples x [S, D] against reference y [M, D]."""
    shape = precision_recall_density_coverage(Balls.of(x), Balls.of(y))
    values = {
        "Fréchet distance": frechet_distance(Gaussian.fit(x), Gaussian.fit(y)),
        "kernel distance, subsets": kernel_distance_subsets(x, y).value,
        "kernel distance, all pairs": kernel_distance(KernelSums.of(x), KernelSums.of(y)).value,
        "precision": shape["precision"].value,
        "recall": shape["recall"].value,
    }
    return values if logits is None else {**values, "inception score": inception_score(logits).value}


def torch_fidelity_values(x: Tensor, y: Tensor, logits: Tensor | None) -> dict[str, float]:
    """torch-fidelity's functions on the same features."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    x64, y64 = x.double(), y.double()  # torch-fidelity computes in the type it is given
    moments = [fid_features_to_statistics(f) for f in (x64, y64)]
    whole = kid_features_to_metric(x64, y64, **QUIET, kid_subsets=1, kid_subset_size=len(x))
    shape = prc_features_to_metric(x, y, **QUIET)
    values = {
        "Fréchet distance": fid_statistics_to_metric(*moments, verbose=False)["frechet_inception_distance"],
        "kernel distance, subsets": kid_features_to_metric(x64, y64, **QUIET)["kernel_inception_distance_mean"],
        "kernel distance, all pairs": whole["kernel_inception_distance_mean"],
        "precision": shape["precision"],
        "recall": shape["recall"],
    }
    if logits is not None:
        values["inception score"] = isc_features_to_metric(logits)["inception_score_mean"]
    return values


def torch_fidelity_from_images(x: torch.utils.data.Dataset, y: torch.utils.data.Dataset, name: str) -> dict[str, float]:
    """torch-fidelity's whole pipeline on data sets of uint8 [3, H, W] images, with one of its registered extractors."""
    from torch_fidelity import calculate_metrics

    options: dict[str, Any] = {**QUIET, "batch_size": 250, "cache": False, "dataloader_num_workers": 0}
    found = calculate_metrics(
        input1=x, input2=y, feature_extractor=name, fid=True, kid=True, prc=True, isc=True, **options
    )
    return {
        "Fréchet distance": found["frechet_inception_distance"],
        "kernel distance, subsets": found["kernel_inception_distance_mean"],
        "precision": found["precision"],
        "recall": found["recall"],
        "inception score": found["inception_score_mean"],
    }


def clean_fid_values(x: Tensor, y: Tensor) -> dict[str, float]:
    """clean-fid's Fréchet distance of the same features; it stops with SciPy 1.18, which has no sqrtm(disp=)."""
    from cleanfid.fid import frechet_distance as theirs

    moments = [v for f in (x, y) for v in (f.double().mean(0).numpy(), np.cov(f.double().numpy(), rowvar=False))]
    return {"Fréchet distance": float(theirs(*moments))}


class Bytes(torch.utils.data.Dataset):
    """Images [N, H, W, 3] as torch-fidelity takes them."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return torch.from_numpy(self.images[i]).permute(2, 0, 1)


def rows(count: int, extractors: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row per extractor, metric and oracle."""
    test = np.array(open_images("cifar10").images("test")[: 2 * count])
    real, blurred = test[:count], blur(test[count:], BLUR)
    for name in extractors:
        extractor = make_extractor(name)
        (x, logits), (y, _) = (_activations(images, extractor) for images in (blurred, real))
        mine = ours(x, y, logits)
        oracles = {"torch-fidelity, same features": torch_fidelity_values(x, y, logits)}
        if name.startswith("torch-fidelity:"):
            whole = torch_fidelity_from_images(Bytes(blurred), Bytes(real), name.removeprefix("torch-fidelity:"))
            oracles["torch-fidelity, from images"] = whole
        try:
            oracles["clean-fid, same features"] = clean_fid_values(x, y)
        except TypeError as error:
            print(f"clean-fid cannot be compared here: {error}")
        for oracle, theirs in oracles.items():
            for metric, value in theirs.items():
                difference = abs(mine[metric] - value) / max(abs(value), 1e-12)
                yield {
                    "extractor": name, "metric": metric, "oracle": oracle, "ours": mine[metric], "theirs": value,
                    "relative difference": difference, "agrees": difference <= TOLERANCE,
                }  # fmt: skip


def _activations(images: np.ndarray, extractor: Extractor) -> tuple[Tensor, Tensor | None]:
    source = from_array(images, "images")
    features = extract(source, extractor, f"{extractor.name}")
    if extractor.both(next(source.batches(2)))[1] is None:
        return features, None
    logits = [extractor.both(batch)[1] for batch in source.batches(250)]
    return features, torch.cat([part for part in logits if part is not None])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write parity.csv and parity.md; 0 if all agree to 1e-4 relative."""
    parser = command_line("benchmark.metrics.checks.parity", main.__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("results/metrics"))
    parser.add_argument("--extractors", nargs="+", default=["mobilenet_v2", "torch-fidelity:example"])
    return run_command(compare, parser.parse_args(arguments))


def compare(a: argparse.Namespace) -> int:
    """Compare, write the table, and print it."""
    import scipy

    import benchmark.metrics.checks.registered  # noqa: F401  (registers itself with torch-fidelity)

    table = pd.DataFrame(rows(a.count, a.extractors)).assign(scipy=scipy.__version__)
    a.out.mkdir(parents=True, exist_ok=True)
    csv = a.out / "parity.csv"
    if csv.exists():  # rows made with another SciPy stay
        before = pd.read_csv(csv)
        table = pd.concat([before[before["scipy"] != scipy.__version__], table]).sort_values("scipy", kind="stable")
    table.to_csv(csv, index=False)
    lines = [f"{a.count} real CIFAR-10 test images against {a.count} blurred ones."]
    lines += ["Made by `python -m benchmark.metrics.checks.parity`, once with each SciPy.", ""]
    lines += ["|" + "|".join(table.columns) + "|", "|" + "---|" * len(table.columns)]
    for row in table.itertuples(index=False):
        cells = [f"{v:.8g}" if isinstance(v, float) else str(v) for v in row]
        lines.append("|" + "|".join(cells) + "|")
    (a.out / "parity.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if bool(table["agrees"].all()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
