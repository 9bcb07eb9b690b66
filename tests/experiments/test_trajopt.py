"""The throw: it runs, it starts fair, and it leaves what it found when it is stopped."""

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from experiments.trajopt import __main__ as trajopt
from experiments.trajopt.search import Step
from experiments.trajopt.settings import BODIES, SIDE, Args, Method
from experiments.trajopt.solids import surface
from experiments.trajopt.throw import MODEL, make_model, make_throw
from tests.experiments.tables import read_csv

SMALL = {"starts": 2, "iterations": 4, "population": 4, "horizon": 0.1}  # nothing lands so soon
FILES = {"metrics.json", "losses.csv", "throws.csv", "losses.png"}


@pytest.mark.parametrize(
    "methods", [("hard",), pytest.param(("straight_through", "cem"), marks=pytest.mark.slow)]
)
def test_small_run(
    methods: tuple[Method, ...], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    trajopt.main(Args(tmp_path, methods=methods, **SMALL))
    assert {file.name for file in tmp_path.iterdir()} == FILES | {"throws.png", "throws.gif"}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["methods"]) == set(methods)
    for method in metrics["methods"].values():
        assert method["throws_per_start"] == 16
        assert np.isfinite(method["loss_median"])
    assert metrics["versions"]["mujoco"] == mujoco.__version__
    rows = read_csv(tmp_path / "losses.csv")
    assert len(rows) == len(methods) * 4 * 2
    assert methods[0] in capsys.readouterr().out


@pytest.mark.slow
def test_every_method_from_the_same_starts(tmp_path: Path) -> None:
    trajopt.main(Args(tmp_path, methods=("hard", "straight_through", "cem"), **SMALL))
    rows = read_csv(tmp_path / "losses.csv")
    first = {
        method: [float(r["loss"]) for r in rows if r["method"] == method and r["step"] == "0"]
        for method in ("hard", "straight_through")
    }
    assert "cem" in {r["method"] for r in rows}
    np.testing.assert_allclose(first["straight_through"], first["hard"], rtol=1e-9)


def test_stopped_by_ctrl_c_keeps_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*_: object) -> Iterator[Step]:
        for loss in (4.0, 1.0):
            yield Step(jnp.zeros((3, 6)), jnp.full(3, loss), jnp.full(3, 0.1), 4)
        raise KeyboardInterrupt

    monkeypatch.setattr(trajopt, "search", search)
    with pytest.raises(KeyboardInterrupt):
        trajopt.main(Args(tmp_path, starts=3))
    assert {file.name for file in tmp_path.iterdir()} == FILES
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["methods"]["hard"]["steps"] == 2
    assert metrics["methods"]["hard"]["loss_median"] == 1.0


def test_the_model_has_the_published_parameters() -> None:
    cube = mujoco.MjModel.from_xml_path(str(MODEL))
    body, geom = cube.body("cube"), cube.geom("cube")
    np.testing.assert_allclose(2 * geom.size, SIDE)
    np.testing.assert_allclose(body.mass, 0.37)
    np.testing.assert_allclose(body.inertia, 0.00081)
    np.testing.assert_allclose(geom.friction[0], 0.18)


def test_the_throw_is_the_one_mujoco_makes() -> None:
    """Flight until just after the first touch: before rounding can send it elsewhere."""
    throw = make_throw(Args(horizon=0.3))
    x = jax.random.normal(jax.random.key(3), (6,))
    end = throw.fly(x, softsim.Softening.hard()).qpos[-1]
    mj_model = mujoco.MjModel.from_xml_path(str(MODEL))
    mj_data = mujoco.MjData(mj_model)
    mj_data.qpos, mj_data.qvel = throw.data.qpos, throw.release(x)
    for _ in range(throw.steps):
        mujoco.mj_step(mj_model, mj_data)
    # the model's solver stops at a tolerance of 1e-5
    np.testing.assert_allclose(end, mj_data.qpos, atol=1e-5)


@pytest.mark.parametrize("body", BODIES)
def test_bodies_are_drawn_as_mujoco_has_them(body: str) -> None:
    """Every face looks outwards, and the faces enclose the volume that gives the body its mass."""
    geom = make_model(body).geom("cube")
    np.testing.assert_allclose(geom.size[: len(BODIES[body])], BODIES[body])
    faces = surface(body, BODIES[body])
    a, b, c, d = np.moveaxis(faces, 1, 0)
    volume = np.sum(a * (np.cross(b, c) + np.cross(c, d)), axis=1) / 6
    assert np.all(volume >= -1e-12)
    size = BODIES[body]
    exact = {
        "cylinder": np.pi * size[0] ** 2 * 2 * size[1],
        "capsule": np.pi * size[0] ** 2 * (2 * size[1] + 4 / 3 * size[0]),
        "ellipsoid": 4 / 3 * np.pi * np.prod(size),
    }.get(body, 8 * np.prod(size))
    np.testing.assert_allclose(volume.sum(), exact, rtol=0.06)  # flat faces cut the round ones


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"starts": 0}, "--starts: got 0, expected more than 0"),
        ({"horizon": float("nan")}, "--horizon: got nan"),
        ({"population": 2}, "--population: got 2"),
        ({"height": 0.05}, "--height: got 0.05"),
        ({"target": (0.5, float("nan"))}, "--target"),
        ({"methods": ()}, "--methods"),
    ],
)
def test_bad_settings_name_themselves(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Args(**settings)
