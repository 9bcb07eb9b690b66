"""The training loop: progress, logs, evaluation, checkpoints, resuming, and a guard against NaN."""

import csv
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from envs import Env
from experiments import _checkpoint, _run
from experiments._diagnosis import diagnose
from experiments._networks import Actor, Normalizer, Policy
from experiments._rollouts import evaluate

CHECKPOINT, POLICY = "checkpoint.eqx", "policy.eqx"
PROGRESS, RETURNS = "progress.csv", "returns.csv"


class DivergedError(ValueError):
    """Training met a number that is not finite and stopped; the last good state is kept."""


@dataclass
class Log:
    """Tables that grow row by row."""

    progress: list[dict[str, Any]] = field(default_factory=list)
    returns: list[dict[str, Any]] = field(default_factory=list)

    def write(self, out: Path) -> None:
        """Both as CSV files."""
        for name, rows in ((PROGRESS, self.progress), (RETURNS, self.returns)):
            if rows:
                _run.write_csv(out / name, {key: [row[key] for row in rows] for key in rows[0]})

    @classmethod
    def read(cls, out: Path, iteration: int) -> "Log":
        """What had been written up to `iteration`."""
        tables = []
        for name in (PROGRESS, RETURNS):
            path = out / name
            rows: list[dict[str, Any]] = []
            if path.exists():
                with path.open(newline="") as stream:
                    rows = [row for row in csv.DictReader(stream)]
            tables.append([row for row in rows if int(row["iteration"]) <= iteration])
        return cls(*tables)


@dataclass
class Run:
    """One training in one folder: `module` is `experiments.shac` or `experiments.apg`.

    All seeds train at once; every leaf of the state has a leading axis of seeds.
    """

    env: Env
    module: ModuleType
    config: Any
    about: dict[str, Any]
    out: Path
    seeds: tuple[int, ...]
    eval_every: int
    eval_envs: int
    log: Log = field(default_factory=Log)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best: tuple[Policy, np.ndarray] | None = None
    """of every seed, the policy that scored best so far, and its score"""

    def __post_init__(self) -> None:
        self.env = place(self.env)
        self._update = eqx.filter_jit(
            eqx.filter_vmap(lambda env, state: self.module.update(self.config, env, state),
                            in_axes=(None, eqx.if_array(0)))
        )  # fmt: skip
        self._evaluate = eqx.filter_jit(
            eqx.filter_vmap(evaluate, in_axes=(None, eqx.if_array(0), None))
        )

    def start(self) -> Any:
        """The state of a new training."""
        # raw keys, whose leaves can be saved
        keys = jax.numpy.stack([jax.random.PRNGKey(seed) for seed in self.seeds])
        init = eqx.filter_vmap(lambda key: self.module.init(self.config, self.env, key))
        return eqx.filter_jit(init)(keys)

    def check_space(self) -> None:
        """Refuse to start where two checkpoints, the old one and the new one, do not fit.

        Raises:
            ValueError: says how much is free and how much is needed.
        """
        leaves = jax.tree.leaves(eqx.filter_eval_shape(self.start))
        needed = 2 * sum(x.size * x.dtype.itemsize for x in leaves)
        free = shutil.disk_usage(self.out).free
        if free < needed:
            raise ValueError(
                f"--out {self.out}: {free / 1e6:.1f} MB free, "
                f"checkpoints need {needed / 1e6:.1f} MB"
            )

    def resume(self) -> Any:
        """The state of the last checkpoint, and its logs."""
        like = eqx.filter_eval_shape(self.start)
        progress, state = _checkpoint.load(self.out / CHECKPOINT, self.about, like)
        self.log = Log.read(self.out, progress["iteration"])
        self.seconds, self.cpu_seconds = progress["seconds"], progress["cpu_seconds"]
        _, policy = _checkpoint.load(self.out / POLICY, self.about, like.policy)
        self.best = policy, np.array(progress["best"])
        return state

    def train(self, state: Any) -> Any:
        """Update until the last iteration.

        Raises:
            DivergedError: a loss or gradient is not finite.
        """
        total = self.config.iterations
        state = shard(state)
        iteration = int(state.iteration[0])
        with _run.progress() as bar:
            task = bar.add_task("training", total=total, completed=iteration, status="compiling")
            try:
                self._evaluate_if_due(state, iteration)
                while iteration < total:
                    begin, cpu = time.perf_counter(), time.process_time()
                    following, metrics = self._update(self.env, state)
                    row = {name: float(np.mean(value)) for name, value in metrics.items()}
                    if not np.isfinite(list(row.values())).all():
                        self._stop(state, iteration, row)
                    elapsed = time.perf_counter() - begin
                    self.seconds += elapsed
                    self.cpu_seconds += time.process_time() - cpu
                    self._record(iteration + 1, row, elapsed)
                    state, iteration = following, iteration + 1
                    self._evaluate_if_due(state, iteration)
                    bar.update(task, completed=iteration, status=self._status())
            except KeyboardInterrupt:
                self._save(state, iteration)
                raise
        return state

    def _evaluate_if_due(self, state: Any, iteration: int) -> None:
        """Score and save at every interval's end, once, also if it was stopped just there."""
        due = iteration % self.eval_every == 0 or iteration == self.config.iterations
        if due and not any(int(row["iteration"]) == iteration for row in self.log.returns):
            self._score(state, iteration)
            self._save(state, iteration)

    def _record(self, iteration: int, row: dict[str, float], elapsed: float) -> None:
        steps = len(self.seeds) * self.config.steps_per_update
        when = self._when(iteration) | {"steps_per_s": round(steps / elapsed, 1)}
        self.log.progress.append(when | row)

    def _when(self, iteration: int) -> dict[str, float]:
        """Steps and time so far, the first update's compilation included, evaluations not."""
        return {
            "iteration": iteration,
            "env_steps": iteration * self.config.steps_per_update,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
        }

    def _score(self, state: Any, iteration: int) -> None:
        """Returns of the present policies, one row per seed."""
        keys = eval_keys(self.eval_envs)
        score = self._evaluate(self.env, state.policy, keys)
        self._keep_best(state.policy, np.mean(score.returns, axis=1))
        self.log.returns += [
            {
                **self._when(iteration),
                "seed": seed,
                "return": float(np.mean(score.returns[i])),
                "return_std": float(np.std(score.returns[i])),
                "length": float(np.mean(score.length[i])),
            }
            for i, seed in enumerate(self.seeds)
        ]

    def _keep_best(self, policy: Policy, returns: np.ndarray) -> None:
        returns = np.where(np.isfinite(returns), returns, -np.inf)
        if self.best is None:
            self.best = policy, returns
            return
        kept, record = self.best
        better = returns > record
        choose = lambda new, old: jax.numpy.where(
            better.reshape(-1, *[1] * (new.ndim - 1)), new, old
        )
        self.best = jax.tree.map(choose, policy, kept), np.maximum(returns, record)

    def _save(self, state: Any, iteration: int) -> None:
        """Logs first: what is in them beyond the checkpoint is dropped when it is resumed."""
        self.log.write(self.out)
        policy, record = self.best or (state.policy, np.full(len(self.seeds), -np.inf))
        progress = {
            "iteration": iteration,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "best": record.tolist(),
        }
        _checkpoint.save(self.out / POLICY, self.about, progress, policy)
        _checkpoint.save(self.out / CHECKPOINT, self.about, progress, state)

    def _status(self) -> str:
        last = self.log.progress[-1]
        latest = [float(row["return"]) for row in self.log.returns[-len(self.seeds) :]]
        return f"return {np.mean(latest):.4g}, {float(last['steps_per_s']):,.0f} steps/s"

    def _stop(self, state: Any, iteration: int, row: dict[str, float]) -> None:
        bad = ", ".join(name for name, value in row.items() if not np.isfinite(value))
        learned = eqx.filter((state.actor, getattr(state, "critic", None)), eqx.is_inexact_array)
        if all(np.isfinite(x).all() for x in jax.tree.leaves(learned)):
            self._save(state, iteration)
        print(f"\niteration {iteration + 1}: {bad} not finite; looking for the place", flush=True)
        found = diagnose(self.module, self.config, self.env, state)
        (self.out / "diagnosis.txt").write_text(found + "\n")
        raise DivergedError(
            f"iteration {iteration + 1}: {bad} not finite. {found.splitlines()[0]} "
            f"The last good state is in {self.out / CHECKPOINT}, the doctor's report in "
            f"{self.out / 'diagnosis.txt'}"
        )


def eval_keys(count: int) -> PRNGKeyArray:
    """The starts of every evaluation, the same throughout."""
    return jax.random.split(jax.random.key(2**31 - 1), count)


def check_keys(count: int) -> PRNGKeyArray:
    """Other starts than those by which the best policy was chosen."""
    return jax.random.split(jax.random.key(2**31 - 2), count)


def load_policy(path: Path, about: dict[str, Any], env: Env, config: Any, seed: int) -> Policy:
    """The policy of one seed (its position among the seeds) from a policy file.

    Raises:
        ValueError: as `experiments._checkpoint.load`.
    """
    header = _checkpoint.read_header(path)
    count = int(header["settings"]["seeds"])
    like = eqx.filter_eval_shape(lambda key: _policies(env, config, count, key), jax.random.key(0))
    _, policies = _checkpoint.load(path, about, like)
    return jax.tree.map(lambda x: x[seed], policies)


def _policies(env: Env, config: Any, count: int, key: PRNGKeyArray) -> Policy:
    def one(key: PRNGKeyArray) -> Policy:
        size = env.observation_size
        actor = Actor(size, env.action_size, config.hidden, config.init_std, key)
        return Policy(actor, Normalizer(size))

    return eqx.filter_vmap(one)(jax.random.split(key, count))


def shard(state: Any) -> Any:
    """Spread the environments over all devices; everything else is on every device.

    Raises:
        ValueError: the number of environments is no multiple of that of the devices.
    """
    count, devices = state.env_state.obs.shape[1], len(jax.devices())
    if count % devices:
        raise ValueError(f"--num-envs {count}: expected a multiple of {devices} devices")
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
