"""Mixtures: the closed forms against automatic differentiation, SciPy, and sampling."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal

from benchmark.problems import make_problem, problem_class, problem_names, problem_options
from samplers.errors import UserError

EMBEDDED = ["mixture2d", "mixture", "digits"]
MIXTURES = [
    ("mixture2d", {}),
    ("mixture2d", {"layout": "ring", "modes": 8}),
    ("mixture", {"dim": 5, "weights": "linear"}),
]


@pytest.mark.parametrize("name, options", MIXTURES)
@pytest.mark.parametrize("sigma", [0.01, 0.3, 5.0])
def test_denoiser_is_tweedies_formula_on_scipys_density(name, options, sigma):
    problem = make_problem(name, **options)
    x = problem.examples("test", 20) + sigma * torch.randn(20, *problem.shape, dtype=torch.float64)
    step = 1e-5 * sigma

    def log_density(points):
        covariance = (problem.width**2 + sigma**2) * np.eye(points.shape[1])
        parts = zip(problem.mode_weights.numpy(), problem.means.numpy(), strict=True)
        return np.log(sum(w * multivariate_normal(m, covariance).pdf(points) for w, m in parts))

    score = np.empty(x.shape)
    for axis in range(x.shape[1]):
        shift = step * np.eye(x.shape[1])[axis]
        score[:, axis] = (log_density(x.numpy() + shift) - log_density(x.numpy() - shift)) / (2 * step)
    expected = x.numpy() + sigma**2 * score
    np.testing.assert_allclose(problem.denoiser(x, torch.tensor(sigma)).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name, options", MIXTURES)
def test_denoiser_takes_one_sigma_per_sample(name, options):
    problem = make_problem(name, **options)
    x, sigmas = problem.examples("test", 6), torch.logspace(-2, 1, 6, dtype=torch.float64)
    together = problem.denoiser(x, sigmas)
    for i in range(6):
        torch.testing.assert_close(together[i : i + 1], problem.denoiser(x[i : i + 1], sigmas[i]))


@pytest.mark.parametrize("name, options", MIXTURES)
def test_samples_follow_the_law(name, options):
    problem = make_problem(name, **options)
    x = problem.examples("train", 20_000)
    posterior = problem.posterior(x)
    torch.testing.assert_close(posterior.sum(1), torch.ones(len(x), dtype=torch.float64))
    error = (posterior.mean(0) - problem.mode_weights).abs()
    assert (error < 5 * (problem.mode_weights / len(x)).sqrt()).all()
    residual = (x - problem.means[posterior.argmax(1)])[posterior.amax(1) > 1 - 1e-9] / problem.width
    assert kstest(residual.numpy().ravel(), "norm").pvalue > 1e-4


def test_splits_differ_and_a_shorter_draw_begins_a_longer_one():
    problem = make_problem("mixture2d")
    splits = [problem.examples(split, 100) for split in ("train", "test", "reference")]
    assert len(torch.cat(splits).unique(dim=0)) == 300
    assert torch.equal(splits[0], problem.examples("train", 3000)[:100])


def test_every_problem_says_what_it_is():
    for name in problem_names():
        problem = problem_class(name)
        assert problem.name == name and problem.summary and problem.metrics
        assert problem_options(name) is not None


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_embedded_problem_keeps_the_contract(name):
    problem = make_problem(name)
    x = problem.examples("train", 4)
    assert x.shape == (4, *problem.shape) and x.dtype == problem.dtype
    assert problem.denoiser(x, torch.tensor(0.5)).shape == x.shape
    assert problem.posterior(x).shape == (4, len(problem.mode_weights))
    assert float(problem.mode_weights.sum()) == pytest.approx(1)
    assert all(getattr(problem, key) == value for key, value in problem_options(name).items())


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("mixtur2d", {}, "did you mean 'mixture2d'"),
        ("mixture2d", {"wdth": "1"}, "did you mean 'width'"),
        ("mixture2d", {"width": "wide"}, "takes a number, not 'wide'"),
        ("mixture2d", {"width": "-1"}, "must be positive"),
        ("mixture2d", {"modes": "24"}, "square number"),
        ("mixture2d", {"layout": "star"}, "layout takes grid or ring"),
        ("mixture", {"weights": "odd"}, "weights takes equal or linear"),
    ],
)
def test_bad_options_give_one_line(name, options, message):
    with pytest.raises(UserError, match=message) as error:
        make_problem(name, **options)
    assert "\n" not in str(error.value)
