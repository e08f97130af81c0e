"""The bound against closed forms and independent methods."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import norm

from benchmark.bound import terms
from benchmark.bound.spread import ConstantSpread, LatticeSpread, largest_variance

S = 0.4


def flow_of(means: list[list[float]], width: float = S, weights: list[float] | None = None) -> terms.MixtureFlow:
    points = torch.tensor(means, dtype=torch.float64)
    shares = torch.full((len(points),), 1 / len(points)) if weights is None else torch.tensor(weights)
    return terms.MixtureFlow(points, shares.double(), width)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_flow_of_one_gaussian_is_linear() -> None:
    flow = flow_of([[1.0, -2.0, 0.5]])
    x = 3 * normal(20, 3)
    scale = math.sqrt((S**2 + 0.3**2) / (S**2 + 1.1**2))
    torch.testing.assert_close(flow.solve(x, 1.1, 0.3), flow.means + scale * (x - flow.means), rtol=1e-7, atol=1e-7)
    assert flow.growth(0.3, 1.1) == pytest.approx(scale, rel=1e-12)


def test_flow_has_the_denoisers_velocity() -> None:
    """dx/dσ = (x − D)/σ, with D by brute force over the modes, against a difference quotient of the flow."""
    flow = flow_of([[0.0, 0.0], [1.0, 0.3], [-0.4, 0.9]], weights=[0.5, 0.2, 0.3])
    x, sigma, step = normal(10, 2), 0.7, 1e-4
    v = S**2 + sigma**2
    r = torch.stack(
        [w * torch.exp(-((x - m) ** 2).sum(1) / (2 * v)) for w, m in zip(flow.weights, flow.means, strict=True)], 1
    )
    r /= r.sum(1, keepdim=True)
    each = [m + S**2 / v * (x - m) for m in flow.means]
    denoised = sum(r[:, k, None] * each[k] for k in range(3))
    ahead, behind = flow.solve(x, sigma, sigma + step), flow.solve(x, sigma, sigma - step)
    torch.testing.assert_close((ahead - behind) / (2 * step), (x - denoised) / sigma, rtol=1e-5, atol=1e-5)


def test_flow_carries_noised_law_to_data() -> None:
    """Means and covariances of Φ#p_σ against those of p_0, within five standard errors."""
    flow = flow_of([[0.0, 0.0], [1.0, 0.3]], weights=[0.3, 0.7])
    mode = torch.multinomial(flow.weights, 20_000, replacement=True, generator=torch.Generator().manual_seed(1))
    x = flow.means[mode] + math.hypot(S, 0.8) * normal(20_000, 2)
    ends = flow.solve(x, 0.8, 0.0, rtol=1e-6)
    mean = flow.weights @ flow.means
    spread = (flow.means - mean).T @ torch.diag(flow.weights) @ (flow.means - mean) + S**2 * torch.eye(2)
    assert float((ends.mean(0) - mean).abs().max()) < 5 * math.sqrt(float(spread.max()) / 20_000)
    assert float((ends.T.cov() - spread).abs().max()) < 5 * 2 * float(spread.max()) / math.sqrt(20_000)


def jacobian_norm(flow: terms.MixtureFlow, x: torch.Tensor, sigma: float) -> float:
    """λ_max of the denoiser's Jacobian by automatic differentiation of m̄."""

    def denoiser(point: torch.Tensor) -> torch.Tensor:
        v = flow.variance(sigma)
        return (sigma**2 * flow.posterior_mean(point[None], v)[0] + flow.width**2 * point) / v

    return float(torch.linalg.eigvalsh(torch.autograd.functional.jacobian(denoiser, x))[-1])


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_denoiser_lipschitz_is_attained_for_affinely_independent_means(sigma: float) -> None:
    """R² by maximising the Jacobian over x numerically: never above, and within 1% of it."""
    flow = flow_of([[0.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.2, 0.5, 0.3]], weights=[0.2, 0.5, 0.3])
    limit = flow.denoiser_lipschitz(sigma)
    found = 0.0
    for seed in range(3):
        start = (flow.means.mean(0) + 2 * normal(3, seed=seed)).numpy()
        best = minimize(
            lambda x: -jacobian_norm(flow, torch.tensor(x), sigma),
            start,
            method="Nelder-Mead",
            options={"maxiter": 150},
        )
        found = max(found, -float(best.fun))
    assert found <= limit * (1 + 1e-9)
    floor = flow.width**2 / flow.variance(sigma)
    assert found - floor > 0.99 * (limit - floor)


@pytest.mark.parametrize("kappa", [0.1, 1.0, 10.0, 300.0])
@pytest.mark.parametrize("points", [(-1.0, 0.0, 1.0), (-1.0, -0.5, 0.0, 0.5, 1.0), (0.0, 0.1, 1.7)])
def test_largest_variance_is_certified_and_sharp(points: tuple[float, ...], kappa: float) -> None:
    """Against scipy's maximiser from many starts."""
    t = np.array(points)

    def variance(theta: float) -> float:
        logits = theta * t - kappa * t**2 / 2
        r = np.exp(logits - logits.max())
        r /= r.sum()
        return float(r @ t**2 - (r @ t) ** 2)

    centres = kappa * np.linspace(t.min(), t.max(), 41)
    found = max(-minimize_scalar(lambda a: -variance(a), bracket=(c - 0.3, c + 0.3)).fun for c in centres)
    limit = largest_variance(points, kappa)
    assert found <= limit * (1 + 1e-12) and limit <= found * 1.002


def test_lattice_spread_does_not_increase_and_bounds_the_integral() -> None:
    lattice = LatticeSpread(((-1.0, -0.5, 0.0, 0.5, 1.0), (0.0, 0.5)))
    kappas = np.geomspace(0.5, 60, 30)
    values = [max(largest_variance(axis, k) for axis in lattice.axes) for k in kappas]
    assert all(b <= a * 1.0011 for a, b in pairwise(values))
    exact = quad(lambda k: max(largest_variance(axis, k) for axis in lattice.axes), 0.5, 60, limit=60, epsrel=1e-3)[0]
    assert exact * 0.998 <= lattice.integral(0.5, 60) <= exact * 1.05
    assert all(lattice.at(k) >= value * 0.999 for k, value in zip(kappas, values, strict=True))


def test_spread_of_lattice_is_used_and_below_the_radius() -> None:
    axis = torch.arange(5, dtype=torch.float64) * 0.5
    means = torch.cartesian_prod(axis, axis)
    flow = terms.MixtureFlow(means, torch.full((25,), 1 / 25, dtype=torch.float64), 0.25)
    assert isinstance(flow.spread, LatticeSpread)
    assert flow.growth(0.0, 0.25) < 1.1 < ConstantSpread(terms.diameter(means) ** 2 / 4).integral(8, 16)
    assert isinstance(
        terms.MixtureFlow(means[1:], torch.full((24,), 1 / 24, dtype=torch.float64), 0.25).spread, ConstantSpread
    )


def test_growth_is_attained_between_two_equal_modes() -> None:
    flow = flow_of([[-0.4, -0.3], [0.4, 0.3]], width=0.25)
    x = 1e-5 * flow.means
    ends = flow.solve(x, 0.6, 0.1, rtol=1e-11)
    assert float((ends[0] - ends[1]).norm() / (x[0] - x[1]).norm()) == pytest.approx(flow.growth(0.1, 0.6), rel=1e-5)


@pytest.mark.parametrize("lattice", [False, True])
def test_growth_bounds_the_flow(lattice: bool) -> None:
    means = torch.cartesian_prod(*[torch.arange(3, dtype=torch.float64) * 0.6] * 2) if lattice else 0.5 * normal(4, 2)
    flow = terms.MixtureFlow(means, torch.full((len(means),), 1 / len(means), dtype=torch.float64), 0.3)
    x = means.mean(0) + normal(200, 2)
    y = x + 0.02 * normal(200, 2, seed=3)
    ratio = (flow.solve(x, 0.9, 0.0) - flow.solve(y, 0.9, 0.0)).norm(dim=1) / (x - y).norm(dim=1)
    assert float(ratio.max()) <= flow.growth(0.0, 0.9)


def test_distance_between_gaussians_lies_in_its_interval() -> None:
    """Atoms that are a fine sample of one Gaussian, against another: Bures distance, less what the atoms miss."""
    atoms = normal(500, 1)
    first, second = 2.0 + 3.0 * normal(500, 1, seed=1), 2.0 + 3.0 * normal(500, 1, seed=2)
    distance, plans = terms.distance_to_law(atoms, torch.full((500,), 1 / 500), first, second)
    assert distance.low < math.sqrt(2.0**2 + (3.0 - 1.0) ** 2) < distance.high
    assert distance.low <= distance.value <= distance.high < 1.2 * distance.low
    np.testing.assert_allclose(plans[0].sum(1), 1 / 500)


def test_distance_of_two_atoms_to_a_line() -> None:
    """±a with masses ½ against N(0, 1): E(|x| − a)² = 1 − 2a√(2/π) + a²; an atom of mass 0 changes nothing."""
    atoms, masses = torch.tensor([[-1.0], [1.0], [9.0]]), torch.tensor([0.5, 0.5, 0.0])
    distance, plans = terms.distance_to_law(atoms, masses, normal(4000, 1, seed=1), normal(4000, 1, seed=2))
    exact = math.sqrt(2 - 2 * math.sqrt(2 / math.pi))
    assert distance.low < exact < distance.high and distance.high - distance.low < 0.06
    assert plans[0][2].sum() == 0


def test_interval_of_the_distance_covers() -> None:
    """Seven atoms of uneven masses against N(0, 1): quantile coupling by quadrature, in at least 95% of 80 repeats."""
    atoms, masses = np.linspace(-2, 3, 7), np.arange(1.0, 8.0) / 28
    edges = np.concatenate([[0.0], masses.cumsum()]).clip(0, 1)
    pieces = [
        quad(lambda u, a=a: (norm.ppf(u) - a) ** 2, *ends)[0] for a, ends in zip(atoms, pairwise(edges), strict=True)
    ]
    exact, hits = math.sqrt(sum(pieces)), 0
    for seed in range(80):
        samples = (normal(150, 1, seed=2 * seed + half) for half in (0, 1))
        distance, _ = terms.distance_to_law(torch.tensor(atoms)[:, None], torch.tensor(masses), *samples)
        hits += distance.low <= exact <= distance.high
    assert hits >= 0.95 * 80


def test_mass_terms() -> None:
    """Mass t moved from one target to another costs t·|y − y'|² when nothing lies between; the TV form is not below."""
    flow, targets = flow_of([[0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 9.0], [-9.0, 0.0]])
    equal = torch.full((4,), 0.25, dtype=torch.float64)
    moved = equal + 0.1 * torch.tensor([1, -1, 0, 0])
    assert terms.mass_plan(targets, moved)[0] == pytest.approx(0.1 * 25)
    growth = flow.growth(0.0, 1.0)
    assert terms.mass_term(flow, 1.0, targets, moved) == pytest.approx(growth * math.sqrt(2.5))
    assert terms.mass_term(flow, 1.0, targets, equal) == 0
    assert terms.mass_term_from_tv(flow, 1.0, targets, 0.1) == pytest.approx(
        growth * terms.diameter(targets) * math.sqrt(0.1)
    )
    assert terms.mass_term_from_tv(flow, 1.0, targets, 0.1) >= terms.mass_term(flow, 1.0, targets, moved)


def test_mass_cost_is_linear_up_to_one_targets_mass() -> None:
    """W₂²(q_t, 1/N) = t·const while TV <= 1/N (the slope ½ that the study looks for), and above the line beyond."""
    targets, n = normal(30, 2), 30
    equal = torch.full((n,), 1 / n, dtype=torch.float64)
    skewed = torch.softmax(4 * targets[:, 0], 0)
    tv = 0.5 * float((skewed - equal).abs().sum())
    cost = {
        share: terms.mass_plan(targets, equal + share / tv * (skewed - equal))[0]
        for share in (1e-3, 0.5 / n, 1 / n, tv)
    }
    assert cost[0.5 / n] == pytest.approx(cost[1e-3] / 1e-3 * 0.5 / n, rel=1e-9)
    assert cost[1 / n] == pytest.approx(cost[1e-3] / 1e-3 / n, rel=1e-9)
    assert cost[tv] > cost[1e-3] / 1e-3 * tv


def test_score_term_of_one_gaussian() -> None:
    """Constant error ε u: both flows are linear and part by exactly ε ∫ G σ dσ, which is ε s (√(s² + σ²) − s)."""
    flow, sigma, size = flow_of([[0.0, 0.0]]), 0.9, 0.3
    exact = size * S * (math.hypot(S, sigma) - S)
    assert terms.score_term(flow, sigma, lambda _: size) == pytest.approx(exact, rel=1e-5)
    x = normal(5, 2)
    learned = flow.solve(x, sigma, 0.0, lambda y, _: torch.tensor([size, 0.0], dtype=torch.float64).expand_as(y))
    assert terms.synchronous_term(learned, flow.solve(x, sigma, 0.0), torch.full((5,), 0.2)) == pytest.approx(
        exact, rel=1e-6
    )


def test_terms_beyond_floating_point_are_infinite() -> None:
    flow = flow_of([[0.0, 0.0], [100.0, 0.0]], width=0.1)
    assert flow.growth(0.0, 1.0) == math.inf
    assert terms.finite_target_term(flow, 1.0, 0.5) == math.inf
    assert terms.score_term(flow, 1.0, lambda _: 0.1) == math.inf and terms.score_term(flow, 1.0, lambda _: 0.0) == 0
    assert terms.mass_term(flow, 1.0, normal(3, 2), torch.full((3,), 1 / 3, dtype=torch.float64)) == 0


def test_synchronous_term_weighs_by_mass() -> None:
    here, there = torch.zeros(2, 3), torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    assert terms.synchronous_term(here, there, torch.tensor([0.75, 0.25])) == pytest.approx(math.sqrt(0.75 + 0.25 * 4))
