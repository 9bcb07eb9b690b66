"""A trajectory as a moving picture, or as a strip of views, by MuJoCo's renderer."""

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mujoco
import numpy as np
from jaxtyping import ArrayLike, Float

from softsim.names import Element, name_to_id
from softsim.rollout import Trajectory

ROWS, COLUMNS = 2, 4  # views in a strip
GAP = 3  # pixels: white between views
HOLD = 1.0  # s: a moving picture stands still this long before it begins anew
KINDS = (".gif", ".mp4", ".png")


class RenderError(RuntimeError):
    """MuJoCo cannot render here, or no encoder is installed; says why and what to do."""


def render(
    mj_model: mujoco.MjModel,
    path: Trajectory | Float[ArrayLike, "T nq"],
    file: str | os.PathLike,
    *,
    dt: float | None = None,
    speed: float = 1.0,
    fps: int = 25,
    size: tuple[int, int] = (480, 360),
    camera: Element | None = None,
) -> Path:
    """Write a trajectory as a moving picture (`.gif`, `.mp4`) or as eight views of it (`.png`).

    Pictures are drawn off screen by another process, so a missing OpenGL is an error and no crash:
    with EGL, or else OSMesa, on Linux; MUJOCO_GL in the environment chooses.

    Args:
        mj_model: the model that moved, as MuJoCo compiled it.
        path: of one motion: what `rollout` returns, or positions (T, nq).
        file: its ending decides the format. MP4 needs `pip install 'softsim[render]'`.
        dt: s between positions; by default a trajectory's own times, or the model's time step.
        speed: simulated per real time; 0.5 is slow motion.
        fps: pictures per second.
        size: width and height, in pixels; of one view in a strip.
        camera: name or index; by default the model's first, or else a free one that sees all.

    Returns:
        The file.

    Raises:
        RenderError: there is no OpenGL or no encoder; nothing is written.
        ValueError: the trajectory is a batch, is not of this model or is not finite, or the ending
            of `file` is unknown.
    """
    file = Path(file)
    if file.suffix not in KINDS:
        raise ValueError(f"file: got {str(file)!r}, expected a name ending in {', '.join(KINDS)}")
    for name, value in (("speed", speed), ("fps", fps), ("dt", 1.0 if dt is None else dt)):
        if not value > 0:
            raise ValueError(f"{name}: got {value}, expected more than 0")
    qpos, time = _motion(mj_model, path, dt)
    if file.suffix == ".png":
        shown = np.linspace(0, len(qpos) - 1, ROWS * COLUMNS).astype(int)
    else:
        moments = np.arange(time[0], time[-1] + 1e-9, speed / fps)
        shown = np.clip(np.searchsorted(time, moments), 0, len(qpos) - 1)
    if file.suffix == ".mp4":
        _encoder()  # missing, it is missed before minutes of drawing
    pictures = _draw(mj_model, qpos[shown], size, _camera(mj_model, camera))
    partial = file.with_name(f".{file.stem}.partial{file.suffix}")
    {".gif": _gif, ".mp4": _mp4, ".png": _strip}[file.suffix](partial, pictures, fps)
    partial.replace(file)
    return file


def _motion(
    mj_model: mujoco.MjModel, path: Trajectory | Float[ArrayLike, "T nq"], dt: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, nq) and their times (T,), checked."""
    qpos = np.asarray(path.qpos if isinstance(path, Trajectory) else path, float)
    if qpos.ndim != 2 or qpos.shape[1] != mj_model.nq or not len(qpos):
        remedy = "; of a batch, take one motion" if qpos.ndim > 2 else ""
        raise ValueError(f"path: got shape {qpos.shape}, expected (T, {mj_model.nq}){remedy}")
    if not np.isfinite(qpos).all():
        row = int(np.argmin(np.isfinite(qpos).all(axis=1)))
        raise ValueError(f"path: row {row} is not finite; show the rows before it, path[:{row}]")
    if dt is None and isinstance(path, Trajectory):
        return qpos, np.asarray(path.time, float)
    return qpos, np.arange(len(qpos)) * (dt or mj_model.opt.timestep)


def _camera(mj_model: mujoco.MjModel, camera: Element | None) -> int:
    if camera is None:
        return 0 if mj_model.ncam else -1
    return name_to_id(mj_model, "camera", camera)


def _draw(
    mj_model: mujoco.MjModel, qpos: np.ndarray, size: tuple[int, int], camera: int
) -> np.ndarray:
    """Pictures (n, height, width, 3) of positions (n, nq), by the first OpenGL that works."""
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        model, request, out = (Path(folder) / n for n in ("model.mjb", "request.npz", "out.npy"))
        mujoco.mj_saveModel(mj_model, str(model), None)
        np.savez(request, qpos=qpos, size=size[::-1], camera=camera)
        program = Path(__file__).with_name("offscreen.py")
        command = [sys.executable, "-P", str(program), str(model), str(request), str(out)]
        for library in _libraries():
            chosen = {"MUJOCO_GL": library} if library else {}
            run = subprocess.run(
                command, env=os.environ | chosen, capture_output=True, text=True, check=False
            )
            if not run.returncode:
                return np.load(out)
            last = (run.stderr.strip().splitlines() or [f"ended with status {run.returncode}"])[-1]
            reasons.append(f"{library or 'the default OpenGL'}: {last}")
    raise RenderError(
        f"MuJoCo cannot render here ({'; '.join(reasons)}). Install EGL or OSMesa (on Debian and"
        " Ubuntu: apt-get install libegl1 libosmesa6), or name one that works in MUJOCO_GL"
    )


def _libraries() -> tuple[str, ...]:
    """What MUJOCO_GL may be, best first; "" leaves the choice to MuJoCo."""
    if "MUJOCO_GL" in os.environ:
        return (os.environ["MUJOCO_GL"],)
    return ("egl", "osmesa") if sys.platform == "linux" else ("",)


def _strip(file: Path, pictures: np.ndarray, _: int) -> None:
    from matplotlib.image import imsave

    pictures[:, -GAP:] = pictures[:, :, -GAP:] = 255

    rows = [
        np.concatenate(list(pictures[row * COLUMNS : (row + 1) * COLUMNS]), axis=1)
        for row in range(ROWS)
    ]
    imsave(file, np.concatenate(rows))


def _gif(file: Path, pictures: np.ndarray, fps: int) -> None:
    from PIL import Image

    # by colours, not by how many pixels have them: small things move before a wide sky
    covering = Image.Quantize.MAXCOVERAGE
    frames = [Image.fromarray(picture).quantize(64, covering) for picture in pictures]
    duration = [1000 / fps] * len(frames)
    duration[-1] += 1000 * HOLD
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=duration, loop=0)


def _mp4(file: Path, pictures: np.ndarray, fps: int) -> None:
    height, width = pictures.shape[1:3]
    film = _encoder().write_frames(str(file), (width, height), fps=fps, macro_block_size=2)
    film.send(None)
    for picture in pictures:
        film.send(np.ascontiguousarray(picture))
    film.close()


def _encoder():
    try:
        return importlib.import_module("imageio_ffmpeg")
    except ImportError:
        raise RenderError(
            "an MP4 needs an encoder: pip install 'softsim[render]'; a GIF needs none"
        ) from None
