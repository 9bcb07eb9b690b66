"""What an identification found, in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import mujoco
import numpy as np
from jaxtyping import Float

from softsim.encounters import Bodies, can_meet, encounters
from softsim.sysid.evaluator import Evaluator
from softsim.sysid.flight import start_in_flight
from softsim.sysid.judge import judge, simulate
from softsim.sysid.least_squares import Point
from softsim.sysid.mjcf import pick, to_mujoco, write_mjcf
from softsim.sysid.problem import Problem
from softsim.sysid.recording import Recording
from softsim.sysid.settings import Settings
from softsim.sysid.tracks import Track, Windows, complete
from softsim.sysid.uncertainty import Certainty, certainty

NEAR_BOUND = 0.02  # of the interval between bounds


@dataclass(frozen=True, eq=False)
class Fit:
    """The outcome of `identify`.

    Attributes:
        given: the model as it was given.
        source: the spec it was read from, where MuJoCo still had it.
        problem: how predictions were compared.
        evaluate: the compiled comparison, and which bodies it has contacts between.
        tracks: the recordings, completed.
        windows: what was fitted of them.
        point: where the minimisation is.
        seconds: since it began.
        settings: how the fit was done.
    """

    given: mujoco.MjModel
    source: mujoco.MjSpec | None
    problem: Problem
    evaluate: Evaluator
    tracks: list[Track]
    windows: Windows
    point: Point
    seconds: float
    settings: Settings

    @property
    def values(self) -> dict[str, float]:
        """Fitted values by name; of a parameter of several numbers, each as NAME[i]."""
        return self._named(self.sure.values)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals (low, high) by name."""
        ends = zip(self.sure.low.tolist(), self.sure.high.tolist())
        return dict(zip(self.problem.table.labels, ends))

    @property
    def converged(self) -> bool:
        """Whether the fit ended by itself, not by running out of iterations."""
        return self.point.done

    @property
    def misfit(self) -> float:
        """Weighted root mean square error, in standard deviations of the assumed noise."""
        blocks = self.point.blocks
        return float(np.sqrt(np.sum(blocks.square) / np.sum(blocks.residuals)))

    @cached_property
    def sure(self) -> Certainty:
        """Intervals, correlations, and what the data do not determine."""
        with jax.enable_x64(True):
            return certainty(self.problem, self.point, self.windows.recording)

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The model with the fitted parameters."""
        return self.model_at(self.point.u)

    def model_at(self, u: Float[np.ndarray, " P"]) -> mujoco.MjModel:
        """The model with other coordinates of the parameters."""
        problem = self.problem
        with jax.enable_x64(True):
            leaves = jax.jit(lambda u: pick(problem.table.insert(problem.model, u)))(u)
        return to_mujoco(self.given, leaves)

    def errors(
        self,
        model: mujoco.MjModel | None = None,
        recordings: Sequence[Recording] | None = None,
    ) -> Float[np.ndarray, "n 2"]:
        """Mean distance (m) and turn (degrees) from each recording, predicted from its start.

        Args:
            model: another model than the fitted one, such as `given`.
            recordings: others than the fitted ones, whose starts were estimated with the fit.
        """
        model = model or self.model
        if recordings is not None:
            tracks = complete(recordings, self.given)
            if self.settings.smooth:
                tracks = start_in_flight(tracks, self.given, self.problem.backward)
            return judge(model, tracks, self.problem.backward)
        return judge(model, self._begun(), self.problem.backward)

    def _begun(self) -> list[Track]:
        """The fitted tracks with their first states as estimated."""
        offsets = self.point.z * np.asarray(self.problem.state_noise)
        first = np.unique(self.windows.recording, return_index=True)[1]
        return [self._from(track, offsets[k]) for track, k in zip(self.tracks, first)]

    def _from(self, track: Track, offset: Float[np.ndarray, " K"]) -> Track:
        """A track that begins at its first state with an offset, as it was estimated."""
        if not offset.size:
            return track
        qpos, qvel = track.qpos.copy(), track.qvel.copy()
        mujoco.mj_integratePos(self.given, qpos[0], offset[: self.given.nv], 1.0)
        qvel[0] += offset[self.given.nv :]
        return track._replace(qpos=qpos, qvel=qvel)

    def encounters(self) -> Bodies:
        """The pairs of bodies that touch in what MuJoCo C predicts, where all of them may."""
        offsets = self.point.z * np.asarray(self.problem.state_noise)
        tracks = []
        for k, samples in enumerate(self.windows.mask.sum(axis=1)):
            w = Windows(*(x[k] for x in self.windows))
            qpos = np.concatenate([w.qpos0[None], w.qpos[:samples]])
            track = Track(qpos, w.qvel0[None], w.ctrl, self.tracks[0].dt)
            tracks.append(self._from(track, offsets[k]))
        if can_meet(self.given) <= self.evaluate.bodies:
            return self.evaluate.bodies
        paths = simulate(self.model, tracks, self.problem.backward)
        return encounters(self.model, np.concatenate(paths))

    def to_mjcf(self, path: str | Path, source: str | Path | mujoco.MjSpec | None = None) -> None:
        """Write the fitted model as an MJCF file.

        Args:
            source: the MJCF file or spec that the model was compiled from. MuJoCo keeps only the
                one that was read last; it must be given if others were read before `identify`, and
                if there are meshes, whose files are looked for beside it.

        Raises:
            ValueError: there is no source, or it does not compile to the fitted model.
        """
        path, folder = Path(path), Path.cwd()
        if isinstance(source, str | Path):
            folder, source = Path(source).resolve().parent, mujoco.MjSpec.from_file(str(source))
        spec = source or self.source
        if spec is None:
            raise ValueError(
                "source: got None, but MuJoCo has read another model since; expected the MJCF file "
                "or MjSpec that the model was compiled from"
            )
        write_mjcf(path, spec, self.model, folder)

    def report(self) -> str:
        """What was found, for a person: values with their intervals, errors, and what is open."""
        table, sure, point = self.problem.table, self.sure, self.point
        samples = int(np.sum(self.windows.mask))
        many = lambda n, what: f"{n} {what}{'' if n == 1 else 's'}"
        lines = [
            f"{many(table.size, 'number')} fitted to {many(len(self.tracks), 'recording')}, "
            f"{samples} samples in {many(len(self.windows.mask), 'window')}, by "
            f"{many(point.evaluations, 'evaluation')} in {self.seconds:.0f} s.",
            "",
        ]
        rows = [("parameter", "start", "fitted", "95 % interval", "unit")]
        for row in zip(table.labels, table.start, sure.values, sure.low, sure.high, table.units):
            label, start, value, low, high, unit = row
            rows.append((label, f"{start:.4g}", f"{value:.4g}", f"{low:.4g} to {high:.4g}", unit))
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines += ["  ".join(x.ljust(w) for x, w in zip(row, widths)).rstrip() for row in rows]
        before, after = (
            np.median(self.errors(model), axis=0) for model in (self.given, self.model)
        )
        lines += ["", "Median error of a recording predicted from its start: " + ", ".join(
            f"{name} {scale * old:.3g} {unit} as given, {scale * new:.3g} {unit} fitted"
            for name, scale, unit, old, new in zip(
                ("distance", "turn"), (1e3, 1.0), ("mm", "degrees"), before, after
            ) if old
        ) + "."]  # fmt: skip
        return "\n".join([*lines, "", *self.sentences()])

    def sentences(self) -> list[str]:
        """What came out, in words."""
        sure, table = self.sure, self.problem.table
        said = list(sure.weak) or ["The data determine every parameter."]
        possible = can_meet(self.given)
        if not possible <= self.evaluate.bodies:
            said.append(
                f"Of {len(possible)} pairs of bodies {len(self.evaluate.bodies & possible)} come "
                "near each other in the recordings; only these had contacts, and no others touch "
                "in the fit."
            )
        if "length_scale" in table.labels:
            i = table.labels.index("length_scale")
            apart = "differ" if not sure.low[i] < 1 < sure.high[i] else "do not differ measurably"
            strength = float(np.linalg.norm(self.model.opt.gravity))
            scale = f"{sure.values[i]:.4f} ({sure.low[i]:.4f} to {sure.high[i]:.4f})"
            said.append(
                f"Lengths in the data {apart} from true ones: scale {scale}, so that gravity reads "
                f"{strength:.3f} m/s^2."
            )
        names = [p.name for p in table.parameters for _ in p.labels]
        for name, label, value in zip(names, table.labels, sure.values):
            low, high = self.settings.bounds.get(name, (-np.inf, np.inf))
            part = (value - low) / (high - low) if np.isfinite(high - low) else 0.5
            if not NEAR_BOUND < part < 1 - NEAR_BOUND:
                said.append(f"{label} = {value:.4g} has run into its bounds {low}, {high}.")
        if self.point.stalled:
            said.append("The fit stalled: no step along its derivatives lowers the cost any more.")
        if not self.point.done:
            said.append("The fit has not converged: allow more iterations.")
        return [text[0].upper() + text[1:] for text in said]

    def _named(self, numbers: np.ndarray) -> dict[str, float]:
        return dict(zip(self.problem.table.labels, numbers.tolist()))
