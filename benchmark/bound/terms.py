r"""Our error bound, of the paper's form, for DPM-OT on Gaussian mixtures: five terms with computed constants.

Data p_0 = Σ_k w_k N(m_k, s²I), noised p_σ = p_0 ∗ N(0, σ²I), v_σ = s² + σ². The N latents y_i have level σ_M; a map
picks y_i with probability q_i; a solver S of K steps goes from σ_M to σ_e with a learned denoiser D_θ, and an end map E
(to denoise) on to σ = 0. Let Φ be the exact flow dx/dσ = (x − D)/σ and Φ^θ that of D_θ. Then

    W₂(E∘S#ν_q, p_0) ≤ G·W₂(ν_q, ν_N)  +  G·W₂(ν_N, p_{σ_M})                       mass, finite targets
                     + ‖Φ^θ_{e→0}∘S − Φ^θ_{M→0}‖_{L²(ν_q)}                           discretisation
                     + ∫_0^{σ_M} G(0, σ) σ ‖s_θ − s‖_{L²(Φ^θ_{M→σ}#ν_q)} dσ          score
                     + ‖E∘S − Φ^θ_{e→0}∘S‖_{L²(ν_q)}                                 end level

with G = G(0, σ_M), the Lipschitz constant of Φ (`MixtureFlow.growth`), s the score (D − x)/σ², ν_q = Σ q_i δ(y_i) and
ν_N = Σ δ(y_i)/N.

Proof. Put Φ^θ_{e→0}∘S#ν_q, Φ^θ_{M→0}#ν_q, Φ#ν_q and Φ#ν_N between the two laws; Φ#p_{σ_M} = p_0 (continuity equation,
Song et al. 2021, app. D.1). Each function below bounds one link. In full, with what is loose: results/bound/BOUND.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.bound.spread import ConstantSpread, Spread, lattice_axes, lattice_spread

Array = NDArray[np.float64]
ScoreError = Callable[[Tensor, float], Tensor]
"""error(x [B, d], sigma) -> s_θ − s at x, [B, d]."""

Z = 1.959963984540054  # 97.5% quantile of the normal law


@dataclass(frozen=True, eq=False)
class MixtureFlow:
    """The exact probability flow of Σ_k w_k N(m_k, s²I), with its Lipschitz constants.

    means: [C, d] float64. weights: [C], sum to one. width: s > 0.
    """

    means: Tensor
    weights: Tensor
    width: float

    def variance(self, sigma: float) -> float:
        """v_σ = s² + σ²."""
        return self.width**2 + sigma**2

    @cached_property
    def spread(self) -> Spread:
        """Upper bound on Λ(κ) = sup_x λ_max Cov_{r(x)}(m), r(x) the posterior of the modes at v = 1/κ.

        The denoiser's Jacobian is ∇D(x; σ) = (s²/v) I + (σ²/v²) Cov_{r(x)}(m), symmetric. On a product lattice with
        equal weights the covariance is diagonal and Λ is found axis by axis (`LatticeSpread`); else diam(m)²/4
        (Popoviciu in the worst direction), which is attained in the limit where the means are affinely independent.
        """
        axes = lattice_axes(self.means, self.weights)
        return lattice_spread(axes) if axes is not None else ConstantSpread(diameter(self.means) ** 2 / 4)

    def denoiser_lipschitz(self, sigma: float) -> float:
        """L_σ >= sup_x λ_max ∇D(x; σ), the Lipschitz constant of the exact denoiser at σ."""
        v = self.variance(sigma)
        return self.width**2 / v + sigma**2 / v**2 * self.spread.at(1 / v)

    def growth(self, sigma_to: float, sigma_from: float) -> float:
        """G(τ, σ): |Φ_{σ→τ}(x) − Φ_{σ→τ}(y)| <= G(τ, σ)·|x − y| for all x, y and τ <= σ.

        G = √(v_τ/v_σ)·exp(½∫_{1/v_σ}^{1/v_τ} Λ(κ) dκ); for Λ = R² the exponent is ½R²(1/v_τ − 1/v_σ).

        Proof. Along two solutions, r = |x − y|: d(r²/2)/dσ = ⟨x − y, b(x) − b(y)⟩ with b = (x − D)/σ, at least
        (1 − L_σ) r²/σ as ∇D is symmetric with eigenvalues up to L_σ. So d(log r)/dσ >= (1 − L_σ)/σ = σ/v − σΛ/v²; from
        τ to σ, where dκ = −2σ dσ/v², that integrates to ½ log(v_σ/v_τ) − ½∫Λ dκ. Equality for one Gaussian, and for two
        equal modes at their midpoint.
        """
        v_to, v_from = self.variance(sigma_to), self.variance(sigma_from)
        exponent = 0.5 * (math.log(v_to / v_from) + self.spread.integral(1 / v_from, 1 / v_to))
        return math.exp(exponent) if exponent < 700 else math.inf

    def posterior_mean(self, x: Tensor, variance: float) -> Tensor:
        """m̄(x) = Σ_k r_k(x) m_k at the variance v of a noised mode; [B, d]. D = (σ² m̄ + s² x)/v."""
        square = torch.cdist(x, self.means, compute_mode="donot_use_mm_for_euclid_dist").square()
        return (self.weights.log() - square / (2 * variance)).softmax(1) @ self.means

    def solve(
        self, x: Tensor, sigma_from: float, sigma_to: float, error: ScoreError | None = None, rtol: float = 1e-9
    ) -> Tensor:
        """Φ^θ from σ to τ (0 allowed) for the score s + error; [B, d] float64.

        Integrates dx/dt = x − m̄(x) − v·error in t = ½ log v, which is smooth down to σ = 0 (σ dσ = v dt turns
        dx/dσ = −σ(s + error) into it, as x − D = σ²(x − m̄)/v), by DOP853 (Hairer, Nørsett, Wanner 1993).
        """
        from scipy.integrate import solve_ivp

        shape = x.shape

        def slope(t: float, state: Array) -> Array:
            point, v = torch.from_numpy(state).reshape(shape), math.exp(2 * t)
            change = point - self.posterior_mean(point, v)
            if error is not None:
                change = change - v * error(point, math.sqrt(max(v - self.width**2, 0.0)))
            return change.flatten().numpy()

        times = [0.5 * math.log(self.variance(sigma)) for sigma in (sigma_from, sigma_to)]
        start = x.double().flatten().numpy()
        found = solve_ivp(slope, times, start, method="DOP853", rtol=rtol, atol=rtol * self.width, t_eval=times[1:])
        if not found.success:
            raise RuntimeError(f"the reference flow could not be integrated: {found.message}")
        return torch.from_numpy(found.y[:, -1].copy()).reshape(shape)


@dataclass(frozen=True)
class Bound:
    """The five terms; infinite where a constant is beyond floating point."""

    mass: float
    finite_targets: float
    discretisation: float
    score: float
    end_level: float

    @property
    def total(self) -> float:
        """Their sum: the bound on W₂."""
        return sum(self.terms().values())

    def terms(self) -> dict[str, float]:
        """The terms by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def mass_term(flow: MixtureFlow, sigma_m: float, targets: Tensor, masses: Tensor) -> float:
    """G(0, σ_M)·W₂(ν_q, ν_N) for any masses q [N] of the targets [N, d]; W₂ by network simplex.

    Bounds W₂(Φ#ν_q, Φ#ν_N): push an optimal plan through Φ. Zero when q_i = 1/N.
    """
    squared, _ = mass_plan(targets, masses)
    return flow.growth(0.0, sigma_m) * math.sqrt(squared) if squared > 0 else 0.0


def mass_term_from_tv(flow: MixtureFlow, sigma_m: float, targets: Tensor, tv: float) -> float:
    """G(0, σ_M)·diam(Y)·√TV(q, 1/N), not below `mass_term`: what a certificate (`dpmot.certify`) gives, at any N.

    Proof. Leave the common part min(q_i, 1/N) in place; the rest, of mass TV, moves by diam(Y) at most.
    """
    return flow.growth(0.0, sigma_m) * diameter(targets) * math.sqrt(tv)


def mass_plan(targets: Tensor, masses: Tensor) -> tuple[float, Array]:
    """W₂²(ν_q, ν_N) and an optimal plan [N, N], by POT's network simplex."""
    import ot

    cost = squared_distances(targets, targets)
    uniform = np.full(len(cost), 1 / len(cost))
    plan = ot.emd(masses.double().numpy(), uniform, cost, numItermax=2_000_000)
    return float((plan * cost).sum()), plan


def finite_target_term(flow: MixtureFlow, sigma_m: float, distance: float) -> float:
    """G(0, σ_M)·W₂(ν_N, p_{σ_M}), the distance from `distance_to_law` on held-out latents (its upper limit).

    Bounds W₂(Φ#ν_N, p_0), as Φ#p_{σ_M} = p_0. Over draws of the targets its mean falls at best like N^(−1/d) (Zador),
    and that is the rate of Gaussians for d >= 3 (Ledoux and Zhu 2021; d = 2: N^(−1/2) up to logarithms, Ledoux 2019);
    in general it is no worse than N^(−1/max(d, 4)), up to a logarithm at d = 4 (Fournier and Guillin 2015).
    """
    return flow.growth(0.0, sigma_m) * distance


def synchronous_term(here: Tensor, there: Tensor, masses: Tensor) -> float:
    """(Σ q_i |here_i − there_i|²)^½ for two images [N, d] of the same targets, of masses q [N].

    Discretisation: Φ^θ_{e→0}(S(y_i)) and Φ^θ_{M→0}(y_i). End level: E(S(y_i)) and Φ^θ_{e→0}(S(y_i)). It bounds the W₂
    of the two laws, since (here_i, there_i) with probability q_i is a coupling. Exact: no sampling, no constant. For
    a solver of order p the discretisation falls like K^(−p); to denoise at σ_e is Euler's step to 0, of error
    O(σ_e²).
    """
    return math.sqrt(float((masses.double() * (here - there).double().square().sum(1)).sum()))


def score_term(flow: MixtureFlow, sigma_m: float, error: Callable[[float], float]) -> float:
    """∫_0^{σ_M} G(0, σ)·σ·error(σ) dσ with error(σ) >= (Σ q_i |s_θ − s|²(Φ^θ_{M→σ}(y_i), σ))^½.

    Bounds W₂(Φ^θ#ν_q, Φ#ν_q): the learned path x solves dx/dσ = b(x) − σ(s_θ − s)(x). By Alekseev and Gröbner's
    formula its distance from the exact path at 0 is at most ∫ G(0, σ) σ |s_θ − s|(x(σ), σ) dσ; then Minkowski in
    L²(ν_q). Only the exact flow's constant enters, and the error where the sampler goes. Kwon, Fan, Lee (2022) have
    the twin for reverse diffusions: the learned drift's constant, and the error under p_σ. Proportional to the error.
    """
    from scipy.integrate import quad

    if flow.growth(0.0, sigma_m) == math.inf:
        return math.inf if error(sigma_m) > 0 else 0.0
    value, slack = quad(
        lambda sigma: flow.growth(0.0, sigma) * sigma * error(sigma), 0.0, sigma_m, epsrel=1e-6, limit=200
    )
    return value + slack


@dataclass(frozen=True)
class Distance:
    """A squared distance W₂² with a 95% interval that covers sampling error and bias."""

    squared: float
    low_squared: float
    high_squared: float

    @property
    def value(self) -> float:
        return math.sqrt(max(self.squared, 0.0))

    @property
    def low(self) -> float:
        return math.sqrt(max(self.low_squared, 0.0))

    @property
    def high(self) -> float:
        return math.sqrt(max(self.high_squared, 0.0))


def distance_to_law(atoms: Tensor, masses: Tensor, first: Tensor, second: Tensor) -> tuple[Distance, list[Array]]:
    """W₂ between Σ q_i δ(x_i) and a law P, from two independent samples of P [m, d]; and both optimal plans [N, m].

    On either sample P_m the optimum W₂²(q, P_m), by network simplex, is too large on average: W₂² is convex in P, so
    E W₂²(q, P_m) >= W₂²(q, E P_m). Its potentials u, tried on the other sample, give the semi-discrete dual value
    Σ q_i u_i + mean_j min_i(|x_i − z_j|² − u_i), too small on average, as u is not optimal there. The truth is between
    the two expectations: the interval runs from the dual less 1.96 standard errors to the optimum plus as many. The
    value in the middle is debiased: what a fit gains on its own sample it loses on a fresh one, to first order.
    """
    import ot

    keep = masses > 0
    atoms, q = atoms[keep], masses[keep].double().numpy()
    costs = [squared_distances(atoms, sample) for sample in (first, second)]
    optima, potentials, errors, plans = [], [], [], []
    for cost in costs:
        plan, log = ot.emd(q, np.full(cost.shape[1], 1 / cost.shape[1]), cost, numItermax=5_000_000, log=True)
        if log["warning"]:
            raise RuntimeError(f"network simplex: {log['warning']}")
        optima.append(float(log["cost"]))
        potentials.append(log["u"])
        errors.append(float(np.std(log["v"], ddof=1)) / math.sqrt(cost.shape[1]))
        whole = np.zeros((len(keep), cost.shape[1]))
        whole[keep.numpy()] = plan
        plans.append(whole)
    duals, dual_errors = [], []
    for cost, u in zip(costs, reversed(potentials), strict=True):
        transformed = (cost - u[:, None]).min(0)
        duals.append(float(q @ u + transformed.mean()))
        dual_errors.append(float(np.std(transformed, ddof=1)) / math.sqrt(cost.shape[1]))
    low, high = float(np.mean(duals)), float(np.mean(optima))
    # The duals share both samples: their errors are taken to be fully dependent. The optima are independent.
    interval = (low - Z * float(np.mean(dual_errors)), high + Z * math.hypot(*errors) / 2)
    return Distance((low + high) / 2, *interval), plans


def diameter(points: Tensor) -> float:
    """Largest distance between two points [n, d]."""
    return float(torch.pdist(points.double()).max()) if len(points) > 1 else 0.0


def squared_distances(x: Tensor, y: Tensor) -> Array:
    """|x_i − y_j|² [n, m] of the points x [n, d] and y [m, d], without cancellation."""
    from scipy.spatial.distance import cdist

    return cdist(x.double().numpy(), y.double().numpy(), "sqeuclidean")
