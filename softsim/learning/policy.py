"""A policy, and its file: one `.npz` that stands alone, without pickle.

The file holds the weights by name and a line of JSON with the sizes: no environment, algorithm or
run folder is needed to read it.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from softsim.learning.files import write
from softsim.learning.networks import Actor, Normalizer

FORMAT = "softsim policy 1"


class Policy(eqx.Module):
    """An actor and the statistics of what it has seen: observations in, actions out.

    Compared by identity, so that `jax.jit(policy)` may hash it.
    """

    actor: Actor
    normalizer: Normalizer

    def __call__(self, obs: ArrayLike) -> Float[Array, "*b nu"]:
        """The most likely action, every entry in (-1, 1).

        Args:
            obs: (..., observation_size), of NumPy or JAX, in the units of the environment.

        Raises:
            ValueError: the observation has another size.
        """
        obs = jnp.asarray(obs)
        if obs.ndim == 0 or obs.shape[-1] != self.observation_size:
            raise ValueError(
                f"obs: got shape {obs.shape}, expected (..., {self.observation_size}): this policy "
                f"has observation_size {self.observation_size}"
            )
        return jax.vmap(self)(obs) if obs.ndim > 1 else self.actor(self.normalizer(obs))

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def observation_size(self) -> int:
        """The numbers in an observation."""
        return self.normalizer.mean.shape[-1]

    @property
    def action_size(self) -> int:
        """The numbers in an action."""
        return self.actor.log_std.shape[-1]

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the layers between."""
        return tuple(layer.out_features for layer in self.actor.net.layers[:-1])

    def save(self, path: str | Path) -> Path:
        """Write the policy to one file, which `load_policy` reads; the suffix is yours.

        Raises:
            ValueError: these are the policies of several seeds at once.
        """
        if self.actor.log_std.ndim > 1:
            raise ValueError("policy: these are several, of several seeds; save them one by one")
        sizes = {
            name: getattr(self, name) for name in ("observation_size", "action_size", "hidden")
        }
        arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named(self).items()}
        arrays["header"] = np.array(json.dumps({"format": FORMAT, **sizes}))
        return write(Path(path), lambda stream: np.savez(stream, **arrays))


def load_policy(path: str | Path) -> Policy:
    """Read a policy that `Policy.save` wrote.

    The policy takes observations of NumPy or JAX, alone or in batches, and runs under `jax.jit`:

    >>> import tempfile, jax, numpy as np
    >>> from softsim import learning
    >>> new = learning.new_policy(observation_size=3, action_size=1, key=jax.random.key(0))
    >>> path = new.save(tempfile.mkdtemp() + "/policy.npz")
    >>> policy = learning.load_policy(path)
    >>> policy.observation_size, policy(np.zeros(3)).shape, jax.jit(policy)(np.zeros((5, 3))).shape
    (3, (1,), (5, 1))

    Raises:
        ValueError: the file is no policy, or damaged.
        OSError: there is no such file.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise ValueError("it is no archive of arrays")
            stream.seek(0)
            file = np.load(stream, allow_pickle=False)
            header = json.loads(str(file["header"]))
            if header["format"] != FORMAT:
                raise ValueError(f"its format is {header['format']!r}, expected {FORMAT!r}")
            sizes = header["observation_size"], header["action_size"], tuple(header["hidden"])
            like = eqx.filter_eval_shape(lambda: new_policy(*sizes, key=jax.random.key(0)))
            leaves = [_leaf(file, name, leaf.shape) for name, leaf in _named(like).items()]
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a whole policy file ({error}); expected one that Policy.save wrote"
        ) from error
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def new_policy(
    observation_size: int,
    action_size: int,
    hidden: tuple[int, ...] = (64, 64),
    init_std: float = 0.37,
    *,
    key: Array,
) -> Policy:
    """A policy that knows nothing: small actions, whatever it sees.

    Args:
        observation_size: the numbers in an observation.
        action_size: the numbers in an action.
        hidden: widths of the layers between.
        init_std: deviation of sampled actions, before tanh.
        key: of the weights.
    """
    actor = Actor(observation_size, action_size, hidden, init_std, key)
    return Policy(actor, Normalizer(observation_size))


def _leaf(file: Any, name: str, shape: tuple[int, ...]) -> Array:
    if file[name].shape != shape:
        raise ValueError(f"{name} has shape {file[name].shape}, expected {shape}")
    return jnp.asarray(file[name])


def _named(policy: Policy) -> dict[str, Any]:
    """Every leaf by its path, such as "actor.net.layers[0].weight"."""
    leaves = jax.tree_util.tree_leaves_with_path(policy)
    return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}
