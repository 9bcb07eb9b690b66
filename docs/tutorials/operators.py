# %% [markdown]
# # Soft operators in JAX and PyTorch
#
# A comparison, a choice and a sort have no useful slope: flat, with jumps. `softjax_ops` replaces
# them by smooth stand-ins with one knob, the softness. It knows nothing of physics.

# %%
from importlib.util import find_spec

import jax
import jax.numpy as jnp

import softjax_ops as so

x = jnp.array([0.3, -0.2, 0.1])

# %% [markdown]
# ## From hard to soft
#
# `mode="hard"` is the JAX function. In the other modes the answer is smooth; as the softness
# falls, it goes to the hard one.

# %%
print("hard  ", so.sort(x, mode="hard"))
for softness in (0.3, 0.1, 0.01):
    print(f"{softness:<6}", so.sort(x, softness=softness))
assert jnp.allclose(so.sort(x, softness=1e-3), jnp.sort(x), atol=1e-3)

# %% [markdown]
# ## A slope where there was none
#
# Which entry is the largest? A hard `argmax` is an integer and has no derivative. A soft one is a
# distribution over positions, which a loss can push.


# %%
def chance_of_the_last(x):
    return so.argmax(x, softness=0.1)[-1]


print("soft index", so.argmax(x, softness=0.1))
print("slope     ", jax.grad(chance_of_the_last)(x))
assert jax.grad(chance_of_the_last)(x)[-1] > 0

# %% [markdown]
# ## Learn an order
#
# Three scores should come in the order 2, 0, 1. Descending the distance between the soft ranks
# and the wanted ones finds such scores.

# %%
wanted = jnp.array([2.0, 3.0, 1.0])  # rank of each, from the lowest, 1


def apart(scores):
    return jnp.sum((so.rank(scores, softness=0.3, descending=False) - wanted) ** 2)


scores = jnp.array([0.1, 0.0, 0.2])
step = jax.jit(lambda s: s - 0.05 * jax.grad(apart)(s))
for _ in range(300):
    scores = step(scores)
print("scores", scores, "order", jnp.argsort(scores))
assert jnp.argsort(scores).tolist() == [2, 0, 1]

# %% [markdown]
# ## Hard value, soft slope
#
# Every name has a form with `_st`, straight-through: it returns the hard value and has the soft
# derivative. Decorate a whole function by `so.st` rather than multiply two such values
# ([why](../operators.md#straight-through)).

# %%
print(so.relu_st(-0.1), jax.grad(so.relu_st)(-0.1))
assert so.relu_st(-0.1) == 0 and jax.grad(so.relu_st)(-0.1) > 0

# %% [markdown]
# ## The same in PyTorch
#
# `softjax_ops.torch` has PyTorch's names and return types, and `backward()` works. It needs the
# extra `torch`.

# %%
if find_spec("torch"):
    import torch

    import softjax_ops.torch as st

    y = torch.tensor([0.3, -0.2, 0.1], requires_grad=True)
    print(st.sort(y, softness=0.1).values)
    st.argmax(y, softness=0.1)[-1].backward()
    print("slope", y.grad)
    assert y.grad[-1] > 0

# %% [markdown]
# ## Next
#
# - All names, modes and their formulas: [soft operators](../operators.md).
# - PyTorch, and the simulator as a torch function: [torch](../torch.md).
# - Which method for a sort of many numbers: [axiswise operators](../operators_axiswise.md).
