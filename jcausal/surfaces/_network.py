"""A small network with two outputs, and its training with early stopping."""

from itertools import pairwise
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree, UInt32

from jcausal.data import step_key

BLOCK = 16_384  # rows that are evaluated at a time
EPOCH = 10  # least gradient steps between two looks at the held-out rows


class Network(NamedTuple):
    """Layers of z -> (f0, f1), each with a leading axis for the members of an ensemble.

    - `weights` (k, in, out) of each layer.
    - `biases` (k, out) of each layer.
    """

    weights: tuple[Float[Array, "*k i o"], ...]
    biases: tuple[Float[Array, "*k o"], ...]


class NetworkRows(NamedTuple):
    """What is trained on.

    - `z` (n, f): features, or before they are encoded the covariates (n, p).
    - `y` (n,), `t` (n,), `weight` (n,): outcome, treatment and sampling weight, 0 in padding.
    - `row` (n, 2): tells rows apart whatever their order.
    """

    z: Float[Array, "n f"]
    y: Float[Array, " n"]
    t: Bool[Array, " n"]
    weight: Float[Array, " n"]
    row: UInt32[Array, "n 2"]


class TrainingSettings(eqx.Module):
    """How to train; `jc.MLP` documents the options.

    - `learning_rate`, `weight_decay`, `epochs`, `patience`: a number each, which may be traced.
    - `sizes`: of all layers, the features first and the two outputs last.
    - `batch`: rows of each arm in a gradient step.
    """

    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    epochs: Int[Array, ""]
    patience: Int[Array, ""]
    sizes: tuple[int, ...] = eqx.field(static=True)
    batch: int = eqx.field(static=True)


class RowsByArm(NamedTuple):
    """Training rows in the order of arm and row.

    - `order` (n,): the rows, controls first, padding last.
    - `first` (2,): where each arm begins.
    - `size` (2,): its number of rows.
    """

    order: Int[Array, " n"]
    first: Int[Array, " 2"]
    size: Int[Array, " 2"]


class TrainingState(NamedTuple):
    """A network in training, and the best one so far.

    - `net`, `moments`: the network and the optimiser's state.
    - `kept`, `best` (): the network of the least held-out loss so far, and that loss.
    - `since` (): looks without a lower loss.
    - `epoch` (): looks done.
    """

    net: Network
    moments: PyTree
    kept: Network
    best: Float[Array, ""]
    since: Int[Array, ""]
    epoch: Int[Array, ""]


def start(
    key: PRNGKeyArray, ordered: Bool[Array, " f"], sizes: tuple[int, ...], dtype: jnp.dtype
) -> Network:
    """Hidden layers of variance 1 / inputs; outputs at 0, so at the mean of their arm.

    Features that are levels of a category begin without weight: their order has no say.
    """
    shapes = [(i + 1, o) for i, o in pairwise(sizes[:-1])]
    ends = np.cumsum([i * o for i, o in shapes])
    drawn = jnp.split(jax.random.uniform(key, (ends[-1],), dtype, -1, 1), ends[:-1])
    layers = [part.reshape(s) * (3 / (s[0] - 1)) ** 0.5 for part, s in zip(drawn, shapes)]
    layers.append(jnp.zeros((sizes[-2] + 1, sizes[-1]), dtype))
    weights = [layer[:-1] for layer in layers]
    weights[0] = jnp.where(ordered[:, None], weights[0], 0)
    return Network(tuple(weights), tuple(layer[-1] for layer in layers))


def evaluate(net: Network, z: Float[Array, "m f"]) -> Float[Array, "m 2"]:
    """Both outputs, in blocks of rows."""

    def one(row: Float[Array, " f"]) -> Float[Array, " 2"]:
        for k, (weight, bias) in enumerate(zip(*net)):
            row = row if k == 0 else jax.nn.silu(row)
            row = jnp.matmul(row, weight, precision=lax.Precision.HIGHEST) + bias
        return row

    return jax.vmap(one)(z) if z.shape[0] <= BLOCK else lax.map(one, z, batch_size=BLOCK)


def arm_weights(t: Bool[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, "n 2"]:
    """Each row's weight in the column of its own arm, 0 in the other."""
    return jnp.where(t[:, None] == jnp.array([False, True]), weight[:, None], 0)


def arm_losses(net: Network, rows: NetworkRows) -> Float[Array, " 2"]:
    """Weighted mean squared error of each arm; 0 for an arm without weight."""
    weight = arm_weights(rows.t, rows.weight)
    square = jnp.square(evaluate(net, rows.z) - rows.y[:, None])
    total = weight.sum(0)
    return (weight * square).sum(0) / jnp.where(total > 0, total, 1)


def _by_arm(rows: NetworkRows) -> RowsByArm:
    arm = jnp.where(rows.weight > 0, rows.t.astype(jnp.int32), 2)
    order = jnp.lexsort((rows.row[:, 1], rows.row[:, 0], arm))
    bounds = jnp.searchsorted(arm[order], jnp.arange(3))
    return RowsByArm(order.astype(jnp.int32), bounds[:2].astype(jnp.int32), jnp.diff(bounds))


def _batch(rows: NetworkRows, by_arm: RowsByArm, key: PRNGKeyArray, size: int) -> NetworkRows:
    """Up to `size` rows of each arm: all of a smaller arm, else draws with replacement."""
    picks, use = [], []
    for arm in range(2):
        count = by_arm.size[arm]
        every, place = count <= size, jnp.arange(size)
        drawn = jax.random.randint(key, (size,), 0, jnp.maximum(count, 1))
        place = jnp.where(every, jnp.minimum(place, jnp.maximum(count - 1, 0)), drawn)
        picks.append(by_arm.order[by_arm.first[arm] + place])
        use.append(~every | (jnp.arange(size) < count))
    index = jnp.concatenate(picks)
    chosen = NetworkRows(*(a[index] for a in rows))
    return chosen._replace(weight=jnp.where(jnp.concatenate(use), chosen.weight, 0))


def _train(
    rows: NetworkRows,
    held: Bool[Array, " n"],
    key: PRNGKeyArray,
    settings: TrainingSettings,
    ordered: Bool[Array, " f"],
) -> tuple[Network, Float[Array, ""], Float[Array, " 2"]]:
    """One member: its best network, that network's held-out loss, and the same by arm."""
    import optax

    batch = settings.batch
    seen = rows._replace(weight=jnp.where(held, 0, rows.weight))
    apart = rows._replace(weight=jnp.where(held, rows.weight, 0))
    whole = rows.z.shape[0] <= batch
    by_arm = None if whole else _by_arm(seen)
    steps = EPOCH if by_arm is None else jnp.maximum(EPOCH, -(-by_arm.size.max() // batch))
    optimiser = optax.adamw(settings.learning_rate, weight_decay=settings.weight_decay)
    gradient = jax.grad(lambda net, part: arm_losses(net, part).sum())

    def epoch(state: TrainingState) -> TrainingState:
        mine = jax.random.fold_in(step_key(key, "batch"), state.epoch)

        def step(i: Array, pair: tuple[Network, PyTree]) -> tuple[Network, PyTree]:
            net, moments = pair
            part = (
                seen if by_arm is None else _batch(seen, by_arm, jax.random.fold_in(mine, i), batch)
            )
            change, moments = optimiser.update(gradient(net, part), moments, net)
            return jax.tree.map(jnp.add, net, change), moments

        net, moments = lax.fori_loop(0, steps, step, (state.net, state.moments))
        loss = arm_losses(net, apart).sum()
        better = loss < state.best
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), net, state.kept)
        since = jnp.where(better, 0, state.since + 1)
        best = jnp.where(better, loss, state.best)
        return TrainingState(net, moments, kept, best, since, state.epoch + 1)

    net = start(step_key(key, "start"), ordered, settings.sizes, rows.z.dtype)
    none, never = jnp.zeros((), jnp.int32), jnp.array(jnp.inf, rows.z.dtype)
    state = lax.while_loop(
        lambda s: (s.epoch < settings.epochs) & (s.since < settings.patience),
        epoch,
        TrainingState(net, optimiser.init(net), net, never, none, none),
    )
    return state.kept, state.best, arm_losses(state.kept, apart)


def train(
    rows: NetworkRows,
    held: Bool[Array, "k n"],
    keys: Key[Array, " k"],
    settings: TrainingSettings,
    ordered: Bool[Array, " f"],
) -> tuple[Network, Float[Array, " k"], Float[Array, "k 2"]]:
    """All members side by side: best networks, their held-out losses, and these by arm."""

    def one(part: Array, key: PRNGKeyArray) -> tuple[Network, Array, Array]:
        return _train(rows, part, key, settings, ordered)

    return jax.vmap(one)(held, keys)
