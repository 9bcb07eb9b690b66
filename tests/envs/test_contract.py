"""A task of one's own: what it returns is checked once, by name; and it is found by module."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import pytest

import envs

XML = """<mujoco><worldbody><body><joint name="hinge" axis="0 1 0"/>
<geom type="capsule" fromto="0 0 0 0 0 -.5" size=".03"/></body></worldbody>
<actuator>{}</actuator></mujoco>"""
MOTOR = '<motor name="torque" joint="hinge" ctrlrange="-1 1"/>'


class Right(envs.Env):
    """The least that a task says."""

    weight: float = 1.0

    @staticmethod
    def load():
        return mujoco.MjModel.from_xml_string(XML.format(MOTOR))

    def start(self, key):
        return self.blank.replace(qpos=jax.random.uniform(key, (1,)))

    def observe(self, data, info):
        return jnp.concatenate([data.qpos, data.qvel])

    def reward(self, before, action, after, info):
        return {"low": -self.weight * after.qpos[0] ** 2, "effort": -(action[0] ** 2), "alive": 1}


def variant(**functions) -> type[envs.Env]:
    return type("Mine", (Right,), functions)


def loads(actuator: str):
    return staticmethod(lambda: mujoco.MjModel.from_xml_string(XML.format(actuator)))


def test_a_right_task_is_accepted() -> None:
    env = Right.create(weight=2.0)
    assert (env.observation_size, env.action_size) == (2, 1)
    limited = lambda self, data: data.qpos[0] < 2
    own = lambda self, data, action, info: data.replace(ctrl=3 * action + info["bias"])
    drawn = lambda self, key: {"bias": jax.random.normal(key, (1,))}
    motor = loads('<motor joint="hinge"/>')
    task = variant(terminated=limited, act=own, task=drawn, load=motor)
    assert task.create().action_size == 1


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"observe": lambda s, d, i: d.qpos[:, None]},
         r"Mine.observe: returned float64 of shape \(1, 1\), expected a 1-d array.*jnp.ravel"),
        ({"observe": lambda s, d, i: d.qpos[0]}, r"observe: .*shape \(\).*jnp.atleast_1d"),
        ({"observe": lambda s, d, i: [d.qpos[0], d.qvel[0]]},
         "observe: returned list, expected a 1-d array of floats; join the parts"),
        ({"observe": lambda s, d, i: {"q": d.qpos}}, "observe: returned dict"),
        ({"observe": lambda s, d, i: None}, "observe: returned None"),
        ({"observe": lambda s, d, i: jnp.arange(3)}, "observe: returned int64 of shape"),
        ({"observe": lambda s, d, i: d.qpos[:0]}, "observe: returned no numbers"),
        ({"reward": lambda s, b, a, d, i: d.qpos[0]},
         r"reward: returned float64 of shape \(\), expected a dict.*\{\"reward\": value\}"),
        ({"reward": lambda s, b, a, d, i: {}}, "reward: returned an empty dict"),
        ({"reward": lambda s, b, a, d, i: {"low": d.qpos}},
         r"reward: term 'low' is float64 of shape \(1,\), expected a scalar; use jnp.sum"),
        ({"reward": lambda s, b, a, d, i: {"low": None}}, "term 'low' is None"),
        ({"reward": lambda s, b, a, d, i: {0: d.qpos[0]}}, "a term is called 0"),
        ({"start": lambda s, k: jnp.zeros(1)}, "start: returned .*expected an mjx.Data.*blank"),
        ({"start": lambda s, k: s.blank.replace(qpos=jnp.zeros(2))},
         r"start: qpos is float64 of shape \(2,\), expected float64 of shape \(1,\) as in"),
        ({"start": lambda s, k: s.blank.replace(qvel=jnp.zeros(1, int))}, "start: qvel is int64"),
        ({"act": lambda s, d, a, i: a}, r"act: returned .*return data.replace"),
        ({"act": lambda s, d, a, i: d.replace(ctrl=a[0])}, r"act: ctrl is float64 of shape \(\)"),
        ({"finish": lambda s, d: None}, "finish: returned None"),
        ({"task": lambda s, k: jnp.zeros(3)}, "task: returned .*expected a dict of arrays"),
        ({"task": lambda s, k: {"goal": "left"}}, "task: 'goal' holds str"),
        ({"margin": lambda s, d: d.qpos}, r"margin: returned float64 of shape \(1,\)"),
        ({"terminated": lambda s, d: d.qpos[0]}, "terminated: .*expected a scalar bool; compare"),
        ({"terminated": lambda s, d: d.qpos > 0}, r"terminated: returned bool of shape \(1,\)"),
        ({"load": staticmethod(lambda: XML)}, "load: returned str, expected a mujoco.MjModel"),
        ({"load": loads('<motor name="a" joint="hinge"/><motor joint="hinge"/>')},
         "act: .* actuators 'a', 'number 1' without one would never move; give ctrlrange="),
        ({"action_size": 1.0}, "action_size: is 1.0, expected a whole number"),
    ],
)  # fmt: skip
def test_a_wrong_task_is_refused_by_name(functions: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        variant(**functions).create()


@pytest.mark.parametrize("name", ["load", "start", "observe", "reward"])
def test_what_is_missing_is_named(name: str) -> None:
    kept = {k: v for k, v in vars(Right).items() if k in {"load", "start", "observe", "reward"}}
    kept.pop(name)
    with pytest.raises(ValueError, match=f"Mine has no `{name}`; define {name}"):
        type("Mine", (envs.Env,), kept).create()


@pytest.mark.parametrize(
    "draw", [lambda k, x: x[0], lambda k, x: jnp.ones(3), lambda k, x: x.astype(int)]
)
def test_a_draw_that_does_not_fit_is_refused(draw) -> None:
    with pytest.raises(ValueError, match=r"values drawn for 'body_mass' are .*, expected float64"):
        Right.create(randomize={"body_mass": draw})


def test_a_task_of_ones_own_is_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    (tmp_path / "own_tasks.py").write_text(
        f"from {__name__} import Right\nclass Mine(Right):\n    frame_skip: int = 3\nother = 1\n"
    )
    (tmp_path / "broken_tasks.py").write_text("import not_there_at_all\n")
    mine = envs.make("own_tasks:Mine")
    assert mine.frame_skip == 3
    assert not [x for x in jax.tree.leaves(mine) if isinstance(x, int)]  # nothing of it is traced
    for name, message in (
        ("own_tasks:Other", "'Other' is no class in own_tasks .*there is Right, Mine"),
        ("own_tasks:other", "'other' is no class"),
        ("no_such_tasks:Mine", "no module 'no_such_tasks' in .* or among the installed ones"),
        ("no_such.tasks:Mine", "no module 'no_such.tasks'"),
    ):
        with pytest.raises(ValueError, match=message):
            envs.make(name)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        envs.make("broken_tasks:Mine")
