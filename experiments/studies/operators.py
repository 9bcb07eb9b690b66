"""Study: soft operators. Values, derivatives and speed of each in every mode.

One sheet per family shows values above and derivatives below; a table gives the time of value and
derivative in a batch.

An operator of several numbers is drawn as a function of one of them: comparisons against 0, logic
against a truth value of 0.7, and the axiswise operators as functions of t in x = (t, -0.6, 0, 0.7).
"""

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from PIL import Image

import softjax_ops as so
from experiments import cli
from experiments.figures import COLORS, figure
from softjax_ops._types import Mode

MODES: tuple[Mode, ...] = get_args(Mode)
LINES = dict(zip(MODES, (("black", 2.2), *((c, 1.1) for c in COLORS)), strict=False))
OTHERS = (-0.6, 0.0, 0.7)

Operator = Callable[..., jax.Array]


@dataclass
class Args:
    out: Path = Path("runs/studies/operators")
    """Folder for the pictures and their settings."""
    softness: float = 0.1
    """Softness of every operator."""
    points: int = 401
    """Number of points of a curve."""
    batch: int = 100_000
    """Points in a timed batch."""
    repeats: int = 5
    """Timed runs; the fastest counts."""
    quick: bool = False
    """Few points, small batches."""


class Family(NamedTuple):
    """Operators f(x, softness=, mode=) of one number, and the interval they are drawn on."""

    operators: dict[str, Operator]
    low: float
    high: float
    label: str


def row(t: jax.Array) -> jax.Array:
    """The vector whose first entry is varied."""
    return jnp.concatenate([t[None], jnp.array(OTHERS, t.dtype)])


def of_row(operator: Operator, *arguments: float, entry: int | None = None) -> Operator:
    """An axiswise operator as a function of the first entry of a row."""

    def drawn(t: jax.Array, softness: float, mode: Mode) -> jax.Array:
        found = operator(row(t), *arguments, softness=softness, mode=mode)
        return found if entry is None else jnp.asarray(found)[entry]

    return drawn


def second_best(t: jax.Array, softness: float, mode: Mode) -> jax.Array:
    return so.top_k(row(t), 2, softness=softness, mode=mode)[0][1]


FAMILIES = {
    "elementwise": Family(
        {
            "heaviside": so.heaviside,
            "sign": so.sign,
            "abs": so.abs,
            "relu": so.relu,
            "relu, gated": functools.partial(so.relu, gated=True),
            "clip to ±0.7": lambda x, **o: so.clip(x, -0.7, 0.7, **o),
            "round": so.round,
        },
        low=-1.6,
        high=1.6,
        label="x",
    ),
    "comparison": Family(
        {
            "greater": lambda x, **o: so.greater(x, 0.0, **o),
            "less": lambda x, **o: so.less(x, 0.0, **o),
            "equal": lambda x, **o: so.equal(x, 0.0, **o),
            "not_equal": lambda x, **o: so.not_equal(x, 0.0, **o),
            "isclose, atol 0.7": lambda x, **o: so.isclose(x, 0.0, atol=0.7, **o),
        },
        low=-1.6,
        high=1.6,
        label="x",
    ),
    "axiswise": Family(
        {
            "argmax: t": of_row(so.argmax, entry=0),
            "max": of_row(so.max),
            "min": of_row(so.min),
            "sort: third": of_row(so.sort, entry=2),
            "rank of t": of_row(so.rank, entry=0),
            "median": of_row(so.median),
            "quantile 0.3": of_row(so.quantile, 0.3),
            "top_k: second": second_best,
        },
        low=-1.6,
        high=1.6,
        label="t",
    ),
}


def curves(operator: Operator, x: jax.Array, softness: float, mode: Mode) -> tuple[jax.Array, ...]:
    """Value and derivative at the points x (n,)."""

    def drawn(t: jax.Array) -> jax.Array:
        return operator(t, softness=softness, mode=mode)

    return jax.jit(jax.vmap(jax.value_and_grad(drawn)))(x)


def draw(family: Family, args: Args, path: Path, advance: Callable[[], None]) -> None:
    """One sheet: a column per operator, values in the first row, derivatives in the second."""
    x = jnp.linspace(family.low, family.high, args.points)
    columns = len(family.operators)
    layout = {"nrows": 2, "ncols": columns, "figsize": (1.6 * columns, 3.4), "sharex": True}
    with figure(path, **layout) as (sheet, axes):
        for (name, operator), (above, below) in zip(family.operators.items(), axes.T, strict=True):
            for mode, (color, width) in LINES.items():
                value, slope = curves(operator, x, args.softness, mode)
                above.plot(x, value, color=color, lw=width, label=mode)
                below.plot(x, slope, color=color, lw=width)
                if mode != "hard":
                    below.margins(y=0.1)
            above.set_title(name, fontsize=9)
            below.set_xlabel(family.label)
            advance()
        axes[0, 0].set_ylabel("value")
        axes[1, 0].set_ylabel("derivative")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        sheet.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def seconds(operator: Operator, x: jax.Array, args: Args, mode: Mode) -> float:
    """Time of value and derivative at the points x (n,), compiled before."""

    def drawn(t: jax.Array) -> jax.Array:
        return operator(t, softness=args.softness, mode=mode)

    program = jax.jit(jax.vmap(jax.value_and_grad(drawn)))
    jax.block_until_ready(program(x))
    runs = []
    for _ in range(args.repeats):
        begin = time.perf_counter()
        jax.block_until_ready(program(x))
        runs.append(time.perf_counter() - begin)
    return min(runs)


def speed(args: Args, advance: Callable[[], None]) -> dict[str, dict[Mode, float]]:
    """Nanoseconds per point, operator by operator and mode by mode."""
    took = {}
    for family in FAMILIES.values():
        x = jnp.linspace(family.low, family.high, args.batch)
        for name, operator in family.operators.items():
            took[name] = {m: 1e9 * seconds(operator, x, args, m) / args.batch for m in MODES}
            advance()
    return took


def table(took: dict[str, dict[Mode, float]]) -> list[dict[str, str]]:
    """Nanoseconds, one row per operator."""
    shown = lambda ns: f"{ns:.1f} ns" if ns < 99.95 else f"{ns:.0f} ns"
    return [{"operator": name} | {m: shown(t[m]) for m in MODES} for name, t in took.items()]


def findings(took: dict[str, dict[Mode, float]]) -> list[str]:
    """What the table says, mode by mode."""
    middle = {m: statistics.median(t[m] for t in took.values()) for m in MODES}
    ratio = {m: statistics.median(t[m] / t["hard"] for t in took.values()) for m in MODES}
    soft = [m for m in MODES if m != "hard"]
    dear = {m: max(took, key=lambda name: took[name][m]) for m in MODES}
    worst, mode = max(
        ((name, m) for name in took for m in soft),
        key=lambda of: took[of[0]][of[1]] / took[of[0]]["hard"],
    )
    said = ", ".join(f"{m} {middle[m]:.1f} ns ({ratio[m]:.1f} times the hard one)" for m in soft)
    most = ", ".join(f"{m} {took[dear[m]][m]:.0f} ns ({dear[m]})" for m in MODES)
    return [
        f"Value and derivative of a soft operator take, in the median over {len(took)} operators: "
        f"{said}; hard {middle['hard']:.1f} ns.",
        f"The dearest: {most}.",
        f"The largest ratio: {worst} in mode {mode} takes {took[worst][mode]:.0f} ns, the hard one "
        f"{took[worst]['hard']:.1f} ns.",
    ]


def shrink(path: Path) -> None:
    """Store a picture with a palette of 64 colours: a third of the size."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(64)
    small.save(path, optimize=True)


def main(args: Args) -> None:
    """Draw the sheets of all families into `args.out`."""
    if args.points < 2 or args.batch < 1 or args.repeats < 1:
        raise ValueError("--points, --batch, --repeats: at least 2, 1 and 1 are needed")
    if args.quick:
        args = Args(args.out, args.softness, points=41, batch=1000, repeats=1)
    cli.open_folder(args.out)
    with cli.progress() as bar:
        for name, family in FAMILIES.items():
            task = bar.add_task(name, total=len(family.operators), status="")
            advance = functools.partial(bar.advance, task)
            draw(family, args, args.out / f"{name}.png", advance)
            shrink(args.out / f"{name}.png")
        task = bar.add_task(
            "speed", total=sum(len(f.operators) for f in FAMILIES.values()), status=""
        )
        took = speed(args, functools.partial(bar.advance, task))
    rows, said = table(took), findings(took)
    columns: dict[str, list] = {"operator": list(took)}
    columns |= {f"{m}_ns": [t[m] for t in took.values()] for m in MODES}
    cli.write_csv(args.out / "speed.csv", columns)
    metrics = {**cli.provenance(args), "table": rows, "findings": said}
    cli.write_json(args.out / "metrics.json", metrics)
    sizes = {f"{n}.png": (args.out / f"{n}.png").stat().st_size for n in FAMILIES}
    cli.print_table(
        "pictures", [{"file": n, "kB": f"{size / 1e3:.0f}"} for n, size in sizes.items()]
    )
    cli.print_table("Time of value and derivative", rows)
    print("\n".join(said))


if __name__ == "__main__":
    cli.launch(Args, main, __doc__ or "")
