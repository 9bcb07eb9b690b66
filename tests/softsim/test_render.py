"""Moving pictures: what is drawn, and what is said where nothing can be."""

import sys

import mujoco
import numpy as np
import pytest
from PIL import Image, ImageSequence

import softsim

BALL = """<mujoco><worldbody><light pos="0 0 3"/>
<camera name="side" pos="0 -2 .5" xyaxes="1 0 0 0 0 1"/>
<geom type="plane" size="1 1 .1"/><body><joint type="slide" axis="0 0 1"/>
<geom size=".1" rgba="1 0 0 1"/></body></worldbody></mujoco>"""
FALL = np.linspace(0.9, 0.1, 101)[:, None]  # of 1 s at 10 ms


@pytest.fixture(scope="module")
def ball() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(BALL)


def red_row(picture: Image.Image) -> float:
    """The height of the red ball in a picture, in rows from the top."""
    rgb = np.asarray(picture.convert("RGB"), int)
    red = (rgb[..., 0] > 100) & (rgb[..., 1] < 60) & (rgb[..., 2] < 60)
    assert red.any()
    return float(np.nonzero(red)[0].mean())


def test_film_and_strip_show_the_fall(ball, tmp_path):
    """A second at half speed and 10 pictures per second is 21 pictures; the ball sinks in them."""
    settings = {"dt": 0.01, "size": (160, 120), "camera": "side"}
    try:
        film = softsim.render(ball, FALL, tmp_path / "fall.gif", speed=0.5, fps=10, **settings)
        strip = softsim.render(ball, FALL, tmp_path / "fall.png", **settings)
    except softsim.RenderError as error:
        pytest.skip(str(error))
    with Image.open(film) as moving:
        assert moving.size == (160, 120) and moving.n_frames == 21
        rows = [red_row(picture) for picture in ImageSequence.Iterator(moving)]
    assert np.all(np.diff(rows) > 0)
    with Image.open(strip) as views:
        assert views.size == (640, 240)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["fall.gif", "fall.png"]


@pytest.mark.parametrize(
    ("path", "file", "options", "message"),
    [
        (FALL, "fall.avi", {}, r"expected a name ending in \.gif, \.mp4, \.png"),
        (FALL[None], "fall.gif", {}, r"of a batch, take one motion"),
        (FALL.T, "fall.gif", {}, r"expected \(T, 1\)"),
        (np.where(np.arange(101) < 7, 1.0, np.nan)[:, None], "fall.gif", {}, r"path\[:7\]"),
        (FALL, "fall.gif", {"speed": 0}, "speed: got 0"),
        (FALL, "fall.gif", {"camera": "top"}, "side"),
    ],
)
def test_refusals_name_the_remedy(ball, tmp_path, path, file, options, message):
    with pytest.raises(ValueError, match=message):
        softsim.render(ball, path, tmp_path / file, **options)
    assert not list(tmp_path.iterdir())


def test_no_opengl_is_said(ball, tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    with pytest.raises(softsim.RenderError, match=r"disabled: .*MUJOCO_GL"):
        softsim.render(ball, FALL, tmp_path / "fall.gif")
    assert not list(tmp_path.iterdir())


def test_no_encoder_is_said(ball, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(softsim.RenderError, match=r"softsim\[render\]"):
        softsim.render(ball, FALL, tmp_path / "fall.mp4")
