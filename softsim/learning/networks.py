"""What learns: a Gaussian policy squashed by tanh, a value function, and running statistics."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Network(eqx.Module):
    """Linear layers with layer normalisation and ELU between them."""

    layers: tuple[eqx.nn.Linear, ...]
    norms: tuple[eqx.nn.LayerNorm, ...]

    def __init__(self, sizes: tuple[int, ...], key: PRNGKeyArray) -> None:
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            eqx.nn.Linear(a, b, key=k) for a, b, k in zip(sizes[:-1], sizes[1:], keys)
        )
        self.norms = tuple(eqx.nn.LayerNorm(size) for size in sizes[1:-1])

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        for layer, norm in zip(self.layers, self.norms):
            x = jax.nn.elu(norm(layer(x)))
        return self.layers[-1](x)


class Actor(eqx.Module):
    """action = tanh(u), u normal with a mean from the observation and a deviation of its own."""

    net: Network
    log_std: Float[Array, " nu"]

    def __init__(
        self, obs: int, actions: int, hidden: tuple[int, ...], std: float, key: PRNGKeyArray
    ) -> None:
        net = Network((obs, *hidden, actions), key)
        # small first actions
        self.net = eqx.tree_at(lambda n: n.layers[-1].weight, net, replace_fn=lambda w: 0.1 * w)
        self.log_std = jnp.log(std * jnp.ones(actions))

    def __call__(self, obs: Float[Array, " obs"]) -> Float[Array, " nu"]:
        """The most likely action."""
        return jnp.tanh(self.net(obs))

    def sample(self, obs: Float[Array, " obs"], noise: Float[Array, " nu"]) -> Float[Array, " nu"]:
        """u for standard normal `noise`: differentiable with respect to the actor and `obs`."""
        return self.net(obs) + jnp.exp(self.log_std) * noise

    def log_prob(self, obs: Float[Array, " obs"], u: Float[Array, " nu"]) -> Float[Array, ""]:
        """log density of u, up to a constant."""
        z = (u - self.net(obs)) * jnp.exp(-self.log_std)
        return -jnp.sum(z**2 / 2 + self.log_std)


class Critic(eqx.Module):
    """The value of an observation."""

    net: Network

    def __init__(self, obs: int, hidden: tuple[int, ...], key: PRNGKeyArray) -> None:
        self.net = Network((obs, *hidden, 1), key)

    def __call__(self, obs: Float[Array, " obs"]) -> Float[Array, ""]:
        return self.net(obs)[0]


class Normalizer(eqx.Module):
    """Running mean and variance of observations, merged batch by batch (Chan et al., 1979)."""

    count: Float[Array, ""]
    mean: Float[Array, " obs"]
    spread: Float[Array, " obs"]  # sum of squared deviations

    def __init__(self, obs: int) -> None:
        self.count = jnp.zeros(())
        self.mean = jnp.zeros(obs)
        self.spread = jnp.zeros(obs)

    def __call__(self, obs: Float[Array, "*b obs"]) -> Float[Array, "*b obs"]:
        """Centred and scaled; as given before the first update, and where nothing varies."""
        variance = self.spread / jnp.maximum(self.count, 1.0)
        scale = jnp.where(variance > 1e-6, variance, 1.0)
        return (obs - self.mean) / jnp.sqrt(scale)

    def update(self, obs: Float[Array, "*b obs"]) -> "Normalizer":
        """With a batch of observations more."""
        batch = obs.reshape(-1, obs.shape[-1])
        n, mean = batch.shape[0], batch.mean(axis=0)
        total = self.count + n
        delta = mean - self.mean
        spread = self.spread + jnp.sum((batch - mean) ** 2, axis=0)
        spread += delta**2 * self.count * n / total
        fields = lambda x: (x.count, x.mean, x.spread)
        return eqx.tree_at(fields, self, (total, self.mean + delta * n / total, spread))
