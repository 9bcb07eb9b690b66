"""The training loop: it learns, it survives being stopped, it says where a number went bad."""

import copy
import shutil
from collections.abc import Generator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from softsim import learning
from softsim.learning import checkpoint as files
from softsim.learning.diagnosis import diagnose
from softsim.learning.train import _Run, better
from tests.softsim.learning.cart import Cart, State

# a linear policy compiles quickly
APG = learning.Apg(iterations=4, num_envs=4, horizon=3, hidden=())
SHAC = learning.Shac(iterations=4, num_envs=4, horizon=3, hidden=(), critic_epochs=2)
SMALL = {"evaluate_every": 2, "episodes": 2}


def test_a_cart_learns_to_stand_at_the_origin(caplog: pytest.LogCaptureFixture) -> None:
    """One seed: scalars and arrays without an axis of seeds; the update compiles once."""
    algorithm = learning.Apg(iterations=40, num_envs=16, horizon=30, hidden=(16,), actor_rate=0.05)
    reports = learning.train(Cart(), algorithm, seed=3, evaluate_every=15, episodes=8)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        reports = list(reports)
    named = [r.getMessage().split(" with global shapes")[0] for r in caplog.records]
    assert named.count("Compiling jit(<lambda>)") == 2  # with the evaluation
    first, last = reports[0], reports[-1]
    assert [r.iteration for r in reports] == list(range(41))
    assert [r.iteration for r in reports if r.evaluated] == [0, 15, 30, 40]
    assert [r.steps for r in reports[:3]] == [0, 480, 960]
    assert first.returns.shape == first.lengths.shape == (8,) and first.best_return.shape == ()
    np.testing.assert_allclose(first.reward, first.returns.sum() / first.lengths.sum())
    assert first.returns.mean() < 0 and last.returns.mean() > 27  # of 30, less the way there
    assert last.reward > reports[1].reward and last.best_return == last.returns.mean()
    assert last.cpu_seconds > 0 and reports[1].seconds <= last.seconds
    assert last.policy(np.array([0.5, 0.0]))[0] < -0.2  # back to the origin
    for a, b in zip(jax.tree.leaves(last.best), jax.tree.leaves(last.policy), strict=True):
        np.testing.assert_array_equal(a, b)


class Killed(BaseException):
    """Nothing in the loop answers to it, as nothing answers to `kill -9`."""


@pytest.mark.parametrize(
    ("algorithm", "reasons"),
    [(APG, (KeyboardInterrupt, Killed, None)), pytest.param(SHAC, (None,), marks=pytest.mark.slow)],
    ids=["apg", "shac"],
)
def test_stopped_and_resumed_is_bitwise_the_same(
    algorithm: learning.Algorithm, reasons: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C and leaving the loop lose nothing, a kill what followed the last checkpoint."""
    base = _Run(Cart(), algorithm, (0, 5), False, 2, 2, tmp_path / "whole")

    def run(name: str, resume: bool = False) -> Generator[learning.Report, None, None]:
        """As `train`, with programs that are compiled once."""
        one = copy.copy(base)
        one.path = tmp_path / name
        return one.reports(one.resume() if resume else None)

    def stopped(self, state):
        if self.iteration == 3:
            raise reason
        return advance(self, state)

    expected = list(run("whole"))
    advance = _Run._advance
    for reason in reasons:
        with monkeypatch.context() as patch:
            if reason:
                patch.setattr(_Run, "_advance", stopped)
                with pytest.raises(reason):
                    list(run(str(reason)))
            else:
                reports = run(str(reason))
                assert [next(reports).iteration for _ in range(4)] == [0, 1, 2, 3]
                reports.close()
        parts = list(run(str(reason), resume=True))
        back = 2 if reason is Killed else 3
        assert [r.iteration for r in parts] == list(range(back, 5))
        for a, b in zip(expected[back:], parts, strict=True):
            assert a.metrics == b.metrics and a.evaluated == b.evaluated
            for name in ("returns", "lengths", "best_return"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        paths = tmp_path / "whole", tmp_path / str(reason)
        whole, resumed = (path.read_bytes().split(b"\n", 1)[1] for path in paths)
        assert whole == resumed
    assert len(expected[0].policy) == len(expected[0].best) == 2  # of two seeds, which differ
    assert expected[0].returns.shape == (2, 2)
    weights = [policy.actor.net.layers[0].weight for policy in expected[0].policy]
    assert weights[0].shape == (1, 2) and not np.allclose(*weights)


class Favourite:
    """It likes the second seed's policies more from evaluation to evaluation, the first's less."""

    def __init__(self, name: str = "first") -> None:
        self.name, self.times = name, 0

    def __call__(self, policies, keys):
        self.times += 1
        assert policies.actor.log_std.shape == (2, 1) and keys.shape == (2,)
        scores = self.times * np.array([[-1.0, -1.0], [1.0, 3.0]])
        return learning.Score(scores, np.array([[5, 5], [7, 7]]))


def test_a_judge_decides_what_is_reported_and_which_policy_is_best(tmp_path: Path) -> None:
    """And a checkpoint is one judge's."""
    path = tmp_path / "checkpoint"
    train = lambda **more: learning.train(Cart(), APG, (0, 5), checkpoint=path, **SMALL, **more)
    reports = list(train(judge=Favourite()))
    due = [r for r in reports if r.evaluated]
    assert [r.returns.tolist() for r in due] == [[[-n, -n], [n, 3 * n]] for n in (1, 2, 3)]
    assert due[-1].lengths.tolist() == [[5, 5], [7, 7]]
    np.testing.assert_array_equal(due[-1].best_return, [-1.0, 6.0])
    weight = lambda policy: policy.actor.net.layers[0].weight
    (worst, best), (first, last) = due[-1].best, (due[0].policy[0], due[-1].policy[1])
    np.testing.assert_array_equal(weight(worst), weight(first))
    np.testing.assert_array_equal(weight(best), weight(last))
    assert next(train(judge=Favourite(), resume=True)).iteration == 4
    for other, message in (
        (Favourite("second"), r"judge.name first \(now second\)"),
        (None, "judge"),
    ):
        with pytest.raises(ValueError, match=f"made with another {message}"):
            train(judge=other, resume=True)


class Bad(Cart):
    """Positions count the steps; the reward is not a number from the third on."""

    def reset(self, key):
        return State(jnp.zeros(2), 0.0, False)

    def step(self, state, action):
        obs = state.obs + jnp.array([1.0, 0.0])
        return State(obs, jnp.where(obs[0] > 2.5, jnp.nan, action[0]), False)


class Steep(Bad):
    """The value is finite and the slope is not."""

    def step(self, state, action):
        return State(state.obs, jnp.sqrt(0.0 * action[0]), False)

    def diagnose(self, state):
        return f"The root of {state.obs[1]}.\nAll of it."


def test_a_number_that_is_not_finite_stops_and_keeps_the_state_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with pytest.raises(learning.DivergedError) as raised:
        list(learning.train(Bad(), APG, checkpoint=path, **SMALL))
    place = "seed 0, environment 0, step 2: the step itself is not finite."
    message = f"iteration 1: return, reward not finite. {place}"
    assert str(raised.value) == f"{message} The last good state is in {path}."
    assert raised.value.diagnosis == place
    resumed = learning.train(Bad(), APG, checkpoint=path, resume=True, **SMALL)
    assert next(resumed).iteration == 0


def test_a_slope_that_is_not_finite_is_found_and_the_environment_asked() -> None:
    keys = jax.random.PRNGKey(0)[None]
    state = jax.jit(jax.vmap(lambda key: APG.init(Steep(), key)))(keys)
    found = diagnose(APG, Steep(), state).splitlines()
    assert found[0].endswith("step 0: the derivative of the step is not finite. The root of 0.0.")
    assert found[1] == "All of it."


def test_a_first_evaluation_without_a_score_does_not_count_as_best() -> None:
    first, later = ({"w": jnp.full((2, 3), x)} for x in (0.0, 1.0))
    best = better((first, np.array([np.nan, 3.0])), (None, None))
    policy, score = better((later, np.array([-5.0, 2.0])), best)
    np.testing.assert_array_equal(score, [-5.0, 3.0])
    np.testing.assert_array_equal(policy["w"][:, 0], [1.0, 0.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed: got -1, expected whole numbers from 0"),
        ({"seed": 2**31}, "seed: got 2147483648"),
        ({"seed": ()}, "seed: got None"),
        ({"seed": (1, 0.5)}, "seed: got 0.5"),
        ({"evaluate_every": 0}, "evaluate_every: got 0, expected a whole number of at least 1"),
        ({"episodes": 0}, "episodes: got 0"),
        ({"resume": True}, "resume: .*name its file in checkpoint"),
        ({"resume": True, "checkpoint": "none"}, "resume: there is no checkpoint none"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_computed(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        learning.train(Cart(), APG, **arguments)


def test_an_algorithm_is_settings_and_not_their_class() -> None:
    with pytest.raises(ValueError, match=r"algorithm: got <class .*expected one like Shac"):
        learning.train(Cart(), learning.Shac)


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.touch()
    with pytest.raises(ValueError, match=r"checkpoint .*: exists; continue it by resume=True"):
        learning.train(Cart(), APG, checkpoint=path)


def test_a_full_disk_is_noticed_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(ValueError, match=r"0.0 MB free, checkpoints need \d"):
        learning.train(Cart(), APG, checkpoint=tmp_path / "checkpoint")


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    class Long(Cart):
        pass

    def about(env=None, **changes):
        env = env or Cart()
        env.mass = changes.pop("mass", jnp.ones(3))
        env.length = changes.pop("length", 2.0)
        return files.describe(env, {"algorithm": "Shac", "horizon": 3} | changes)

    path, tree = tmp_path / "checkpoint", {"w": jnp.arange(3.0)}
    files.save(path, about(), {"iteration": 7}, tree)
    progress, again = files.load(path, about(), tree)
    assert progress == {"iteration": 7} and (again["w"] == tree["w"]).all()
    for changes, message in (
        ({"horizon": 5}, r"horizon 3 \(now 5\)"),
        ({"algorithm": "Apg", "horizon": 5}, r"algorithm Shac \(now Apg\), horizon 3 \(now 5\)"),
        ({"env": Long()}, r"environment Cart \(now Long\)"),
        ({"mass": jnp.zeros(3)}, r"env.mass \w+ \(now \w+\)"),
        ({"length": 3.0}, r"env.length 2.0 \(now 3.0\)"),
        ({"fading": 0.1}, r"fading None \(now 0.1\)"),
    ):
        with pytest.raises(ValueError, match=f"made with another {message}"):
            files.load(path, about(**changes), tree)
    header, body = path.read_bytes().split(b"\n", 1)
    for content, message in (
        (header.replace(b'"softsim": "', b'"softsim": "9') + b"\n" + body, "softsim 9"),
        (header + b"\n" + body[: len(body) // 2], "damaged"),
        (b"\x80 not a header", "not a checkpoint"),
        (b"{}\n", "not a checkpoint"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            files.load(path, about(), tree)


@pytest.mark.slow
def test_a_training_through_the_physics_resumes_bitwise(tmp_path: Path) -> None:
    env = envs.make("pendulum", episode_length=5)
    run = lambda name, **more: learning.train(
        env, SHAC, checkpoint=tmp_path / name, **SMALL, **more
    )
    expected = list(run("whole"))[-1]
    reports = run("parts")
    for report in reports:
        if report.iteration == 3:
            break
    reports.close()
    last = list(run("parts", resume=True))[-1]
    assert last.metrics == expected.metrics
    np.testing.assert_array_equal(last.returns, expected.returns)
