"""One code path for one device, for eight, and for two processes: the results are those of vmap."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softsim
from tests.softsim.parallel_worker import QVEL, value_and_grad

WORKER = Path(__file__).with_name("parallel_worker.py")
ROUNDING = 1e-12


def launch(devices: int, processes: int, folder: Path) -> list[dict[str, np.ndarray]]:
    """What each of several processes with so many virtual CPU devices found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(WORKER.parents[2]),
        "JAX_PLATFORMS": "cpu",
    }
    files = [folder / f"{rank}.npz" for rank in range(processes)]
    runs = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(processes), str(rank), str(port), str(file)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, file in enumerate(files)
    ]
    ends = [(run.communicate(timeout=300)[1], run.returncode) for run in runs]
    assert not any(code for _, code in ends), "\n".join(errors for errors, _ in ends)
    return [dict(np.load(file)) for file in files]


@pytest.mark.parametrize(
    ("devices", "processes"), [(8, 1), pytest.param(2, 2, marks=pytest.mark.slow)]
)
def test_spread_batches_are_those_of_vmap(devices: int, processes: int, tmp_path: Path) -> None:
    value, slope = value_and_grad(jax.vmap, jnp.asarray(QVEL))
    for found in launch(devices, processes, tmp_path):
        assert found["devices"] == devices * processes
        np.testing.assert_allclose(found["value"], value, rtol=ROUNDING)
        np.testing.assert_allclose(found["slope"], slope, rtol=ROUNDING)


def test_bad_axes_and_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="in_axes: got 1, expected 0 or None"):
        softsim.parallel_vmap(lambda x: x, in_axes=(1,))
    with pytest.raises(ValueError, match=r"batch\['a'\]: got shape \(\), expected a leading axis"):
        softsim.spread({"a": 1.0})
