"""The training loop: reports, evaluations, checkpoints, resuming, and a guard against NaN."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from softsim.learning import checkpoint as files
from softsim.learning.algorithm import Algorithm
from softsim.learning.checks import check, whole
from softsim.learning.diagnosis import diagnose, entry
from softsim.learning.environment import Environment, check_environment
from softsim.learning.policy import Policy
from softsim.learning.rollouts import Score, evaluate

# scores policies, of which every array has a leading axis: returns are (policies, episodes)
Judge = Callable[[Policy, PRNGKeyArray], Score]
STARTS = 2**31 - 1  # the random key of evaluations, beyond the seeds that one would choose


class DivergedError(ValueError):
    """Training met a number that is not finite and stopped.

    Attributes:
        diagnosis: where it was, and what the environment reports on that step.
    """

    def __init__(self, message: str, diagnosis: str) -> None:
        super().__init__(message)
        self.diagnosis = diagnosis


@dataclass(frozen=True, eq=False)
class Report:
    """Where a training stands.

    For a training of one seed there is one policy and arrays lack the axis of seeds; for several,
    `policy` and `best` are tuples.

    Attributes:
        iteration: updates so far; 0 before the first.
        steps: environment steps so far, per seed.
        seconds: of the wall, of updates alone, of all seeds together, with compilation.
        cpu_seconds: the same of the processor.
        metrics: means over seeds of what the update measured: "reward" per step, "grad_norm",
            "std" and more.
        returns: undiscounted returns of the episodes of the latest evaluation, without softening.
        lengths: actions in them.
        evaluated: whether that evaluation is of this iteration.
        best_return: mean return of the best evaluation so far.
    """

    iteration: int
    steps: int
    seconds: float
    cpu_seconds: float
    metrics: dict[str, float]
    returns: Float[np.ndarray, "*seeds episodes"]
    lengths: Int[np.ndarray, "*seeds episodes"]
    evaluated: bool
    best_return: Float[np.ndarray, "*seeds"]
    policies: Policy = field(repr=False)
    """of all seeds: every leaf has a leading axis of them"""
    best_policies: Policy = field(repr=False)
    """the same, of the best evaluations"""

    @property
    def reward(self) -> float:
        """Mean reward per step: of the update; before the first, of the evaluation."""
        return self.metrics["reward"]

    @property
    def policy(self) -> Any:
        """The policy at this iteration; a tuple of several seeds'."""
        return self._each(self.policies)

    @property
    def best(self) -> Any:
        """The policy of the best evaluation so far; a tuple of several seeds'."""
        return self._each(self.best_policies)

    def _each(self, policies: Policy) -> Any:
        if self.returns.ndim == 1:
            return entry(policies, 0)
        return tuple(entry(policies, i) for i in range(len(self.returns)))


def train(
    env: Environment,
    algorithm: Algorithm,
    seed: int | Sequence[int] = 0,
    *,
    evaluate_every: int = 20,
    episodes: int = 16,
    judge: Judge | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> Generator[Report, None, None]:
    """Train a policy, and report after every update.

    Everything is checked before anything is computed. The first report is of the untrained policy,
    so that there are iterations + 1 of them.

    >>> from typing import NamedTuple
    >>> from softsim import learning
    >>> class State(NamedTuple):
    ...     obs: jax.Array
    ...     reward: jax.Array
    ...     done: jax.Array
    >>> class Point:  # it is to go to the origin
    ...     observation_size, action_size, episode_length = 1, 1, 10
    ...
    ...     def reset(self, key):
    ...         return State(jax.random.uniform(key, (1,)), 0.0, False)
    ...
    ...     def step(self, state, action):
    ...         x = state.obs + 0.2 * action
    ...         return State(x, -(x[0] ** 2), False)
    >>> algorithm = learning.Apg(iterations=30, horizon=10, actor_rate=0.02)
    >>> reports = list(learning.train(Point(), algorithm, seed=0))
    >>> reports[-1].steps, reports[-1].returns.shape, reports[-1].policy([0.5]).shape
    (19200, (16,), (1,))
    >>> bool(reports[-1].returns.mean() > reports[0].returns.mean() / 2)  # they are negative
    True

    Args:
        env: the task: `envs.make("hopper")`, or any class with `reset`, `step`, `observation_size`
            and `action_size` (see `Environment`).
        algorithm: `Shac(...)` or `Apg(...)`.
        seed: the random seed, or several: these train together, as one batch.
        evaluate_every: the policy is evaluated after this many updates.
        episodes: an evaluation runs this many episodes per seed, from the same starts always.
        judge: who evaluates: a function of the policies (one `Policy`, whose arrays have a leading
            axis of seeds) and a key per episode, that returns a `Score` of (seeds, episodes). The
            returns reported and the best policy are by it. Default: `evaluate` on `env`. Where
            `env` is a quick stand-in for what counts, name that here, as in
            `envs.mujoco_c.Judge(published)`.
        checkpoint: a file for all that is needed to continue. It is written after every evaluation,
            when the next report is asked for, and when training is interrupted or the loop over the
            reports is left.
        resume: continue from that file, bitwise as if it had never been stopped; the report of
            where it stopped comes first, again.

    Yields:
        Reports.

    Raises:
        ValueError: an environment or setting that cannot be used (named, with the remedy), a
            checkpoint of something else (what differs is named), or too little disk space.
        DivergedError: a loss or gradient is not finite; the checkpoint holds the last good state.
    """
    if not isinstance(algorithm, Algorithm):
        raise ValueError(f"algorithm: got {algorithm!r}, expected one like Shac(...) or Apg(...)")
    check_environment(env)
    algorithm.practice(env, 0)  # refuses what the environment cannot do
    seeds = (seed,) if isinstance(seed, int | np.integer) else tuple(seed)
    path = None if checkpoint is None else Path(checkpoint)
    run = _Run(env, algorithm, seeds, not np.ndim(seed), evaluate_every, episodes, path, judge)
    if path is None and resume:
        raise ValueError("resume: there is no checkpoint to continue; name its file in checkpoint")
    if path is not None and path.exists() and not resume:
        raise ValueError(
            f"checkpoint {path}: exists; continue it by resume=True, or choose another file"
        )
    state = run.resume() if resume else None
    return run.reports(state)


@dataclass
class _Run:
    """One training. Seeds train as one batch: each leaf of the state has a leading axis of them."""

    env: Any
    algorithm: Algorithm
    seeds: tuple[int, ...]
    single: bool
    evaluate_every: int
    episodes: int
    path: Path | None
    judge: Judge | None = None
    iteration: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    returns: Any = None
    lengths: Any = None
    evaluated: int = -1
    """iteration of the latest evaluation"""
    best: Any = None
    best_return: Any = None

    def __post_init__(self) -> None:
        check("", vars(self), {"evaluate_every": whole(1), "episodes": whole(1)})
        for seed in self.seeds or (None,):
            if not isinstance(seed, int | np.integer) or not 0 <= seed < STARTS:
                raise ValueError(f"seed: got {seed!r}, expected whole numbers from 0 to 2^31 - 2")
        if self.algorithm.num_envs % len(jax.devices()):
            raise ValueError(
                f"num_envs: got {self.algorithm.num_envs}, expected a multiple of the "
                f"{len(jax.devices())} devices that environments are spread over"
            )
        self.arrays, rest = eqx.partition(place(self.env), eqx.is_array)
        update = lambda arrays, state: self.algorithm.update(eqx.combine(arrays, rest), state)
        score = lambda arrays, *x: evaluate(eqx.combine(arrays, rest), *x)
        each = eqx.if_array(0)
        self._update = eqx.filter_jit(eqx.filter_vmap(update, in_axes=(None, each)))
        scored = eqx.filter_jit(eqx.filter_vmap(score, in_axes=(None, each, None)))
        self._evaluate = self.judge or partial(scored, self.arrays)
        self.about = files.describe(
            self.env,
            {"algorithm": type(self.algorithm).__name__, "seed": self.seeds}
            | {name: getattr(self, name) for name in ("evaluate_every", "episodes")}
            | files.attributes("judge", self.judge)
            | vars(self.algorithm),
        )
        self._first = eqx.filter_jit(self._start)
        if self.path is not None:
            files.check_space(self.path, eqx.filter_eval_shape(self._saved))

    def _start(self) -> Any:
        # raw keys, whose leaves can be saved
        keys = jax.numpy.stack([jax.random.PRNGKey(int(seed)) for seed in self.seeds])
        return eqx.filter_vmap(lambda key: self.algorithm.init(self.env, key))(keys)

    def _saved(self) -> tuple[Any, Policy]:
        state = self._start()
        return state, state.policy

    def resume(self) -> Any:
        """The state of the last checkpoint."""
        assert self.path is not None
        like = eqx.filter_eval_shape(self._saved)
        progress, (state, self.best) = files.load(self.path, self.about, like)
        for name, value in progress.items():
            setattr(self, name, np.array(value) if isinstance(value, list) else value)
        return state

    def reports(self, state: Any) -> Generator[Report, None, None]:
        """Update until the last iteration; `state` None begins anew."""
        state = shard(self._first() if state is None else state)
        try:
            self._evaluate_if_due(state)
            yield self._report(state)
            self._save_if_due(state)
            while self.iteration < self.algorithm.iterations:
                state = self._advance(state)
                self._evaluate_if_due(state)
                yield self._report(state)
                self._save_if_due(state)
        except (KeyboardInterrupt, GeneratorExit):
            self._save(state)
            raise

    def _advance(self, state: Any) -> Any:
        """One update of every seed.

        Raises:
            DivergedError: a loss or gradient is not finite.
        """
        begin, cpu = time.perf_counter(), time.process_time()
        following, metrics = self._update(self.arrays, state)
        means = {name: float(np.mean(value)) for name, value in metrics.items()}
        if not np.isfinite(list(means.values())).all():
            self._stop(state, means)
        self.seconds += time.perf_counter() - begin
        self.cpu_seconds += time.process_time() - cpu
        self.metrics, self.iteration = means, self.iteration + 1
        return following

    def _due(self) -> bool:
        last = self.iteration == self.algorithm.iterations
        return last or self.iteration % self.evaluate_every == 0

    def _evaluate_if_due(self, state: Any) -> None:
        """Score at every interval's end, once, also if training was stopped just there."""
        if not self._due() or self.evaluated == self.iteration:
            return
        keys = jax.random.split(jax.random.key(STARTS), self.episodes)
        score = self._evaluate(state.policy, keys)
        self.returns, self.lengths = np.asarray(score.returns), np.asarray(score.length)
        self.best, self.best_return = better(
            (state.policy, self.returns.mean(axis=1)), (self.best, self.best_return)
        )
        self.evaluated = self.iteration
        if not self.metrics:
            self.metrics = {"reward": float(self.returns.sum() / self.lengths.sum())}

    def _report(self, state: Any) -> Report:
        each = lambda x: x[0] if self.single else x
        return Report(
            self.iteration,
            self.iteration * self.algorithm.steps_per_update,
            self.seconds,
            self.cpu_seconds,
            self.metrics,
            each(self.returns),
            each(self.lengths),
            self.evaluated == self.iteration,
            each(self.best_return),
            state.policy,
            self.best,
        )

    def _save_if_due(self, state: Any) -> None:
        if self._due():
            self._save(state)

    def _save(self, state: Any) -> None:
        if self.path is None or self.best is None:
            return
        names = ("iteration", "seconds", "cpu_seconds", "metrics", "returns", "lengths")
        progress = {name: getattr(self, name) for name in (*names, "evaluated", "best_return")}
        plain = {k: x.tolist() if isinstance(x, np.ndarray) else x for k, x in progress.items()}
        files.save(self.path, self.about, plain, (state, self.best))

    def _stop(self, state: Any, means: dict[str, float]) -> None:
        bad = ", ".join(name for name, value in means.items() if not np.isfinite(value))
        learned = eqx.filter((state.actor, getattr(state, "critic", None)), eqx.is_inexact_array)
        kept = ""
        if self.path and all(np.isfinite(x).all() for x in jax.tree.leaves(learned)):
            self._save(state)
            kept = f" The last good state is in {self.path}."
        found = diagnose(self.algorithm, self.env, state)
        where = f"iteration {self.iteration + 1}: {bad} not finite. {found.splitlines()[0]}"
        raise DivergedError(f"{where}{kept}", found)


def better(
    new: tuple[Policy, Float[np.ndarray, " seeds"]], old: tuple[Policy | None, Any]
) -> tuple[Policy, Float[np.ndarray, " seeds"]]:
    """Of every seed the policy with the higher score; a score that is not finite is none."""
    policy, score = new[0], np.where(np.isfinite(new[1]), new[1], -np.inf)
    if old[0] is None:
        return policy, score
    wins = score > old[1]
    if wins.all() or not wins.any():
        return policy if wins.all() else old[0], np.maximum(score, old[1])
    choose = lambda a, b: jax.numpy.where(wins.reshape(-1, *[1] * (a.ndim - 1)), a, b)
    return jax.tree.map(choose, policy, old[0]), np.maximum(score, old[1])


def shard(state: Any) -> Any:
    """Spread the environments over all devices; everything else is on every device."""
    batch = place(state.env_state, None, "batch")
    return eqx.tree_at(lambda s: s.env_state, place(state), batch)


def place(tree: Any, *axes: str | None) -> Any:
    """Commit arrays to all devices, whole, or split along the axes that say "batch".

    What an update returns is committed: what it is first given must be too, else it compiles twice.
    """
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(jax.device_put(arrays, sharding), rest)
