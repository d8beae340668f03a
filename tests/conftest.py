"""Shape checks at run time, a compilation cache, one fitted BART, small data sets."""

import os
from pathlib import Path

import jaxtyping

with jaxtyping.install_import_hook(["jcausal", "jcausal_kernels"], "runtime_types.check"):
    import jcausal as jc

import bartz
import equinox
import hypothesis
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
hypothesis.settings.register_profile("jcausal", derandomize=True, deadline=None, max_examples=8)
hypothesis.settings.load_profile("jcausal")

_versions = f"jax{jax.__version__}-eqx{equinox.__version__}-bartz{bartz.__version__}"
_cache = Path(os.environ.get("JCAUSAL_TEST_CACHE", ".jax_cache")) / _versions
for _name, _value in (
    ("jax_compilation_cache_dir", str(_cache.resolve())),
    ("jax_persistent_cache_min_compile_time_secs", 0.0),
    ("jax_persistent_cache_min_entry_size_bytes", 0),
):
    jax.config.update(_name, _value)
    os.environ[_name.upper()] = str(_value)  # for the processes that tests start

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared(name):
    """The path of a real data set, which stands beside the repository; without it, a skip."""
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not in {DATA}")
    return DATA / name


MAPS = Path("/proc/self/maps")
MOST_MAPS = 20_000  # Linux allows a process 65,530, and each compiled function takes some


@pytest.fixture(autouse=True, scope="module")
def few_maps():
    """Let compiled code go before there is too much of it; it comes back from the cache."""
    yield
    if MAPS.exists() and len(MAPS.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture
def unchecked():
    """Shape and type checks off, to see the library's own words for a wrong option."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def experiment():
    """LaLonde's experiment: 185 treated, 260 controls."""
    return jc.datasets.lalonde("experiment")


@pytest.fixture(scope="session")
def halves(experiment):
    return jc.split(experiment, train_size=0.5, key=0)


@pytest.fixture(scope="session")
def bart(halves):
    """One BART, shared by all tests: both arms on half of the experiment."""
    model = jc.BART(trees=50, chains=2, burn=60, draws=20, thin=2)
    return jc.fit(halves[0], model, key=3)


def draw_sample(seed, n=40, p=3, *, integers=False, category=0, y=True, **options):
    """Random units: p ordered covariates, a category of `category` levels if asked for."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (n, p)).astype(float) if integers else rng.normal(size=(n, p))
    t = np.arange(n) % 3 == 0
    rng.shuffle(t)
    kinds = ["number"] * p
    if category:
        x = np.concatenate([x, rng.integers(0, category, (n, 1))], axis=1)
        x[:category, -1] = np.arange(category)
        kinds.append("category")
    outcome = x[:, 0] + 2 * t + rng.normal(size=n) if y else None
    return jc.Sample(x, t, outcome, kinds=kinds, **options)


def close(a, b, **tolerance):
    """Equal to a tolerance and NaN in the same places, but not everywhere."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    assert np.isfinite(b).any(), "nothing to compare: no expected value is finite"
    np.testing.assert_allclose(a, b, **tolerance)


def wavy(x):
    """A surface in which the first two columns matter, smooth and without ties."""
    first, second = x[:, 0], x[:, min(1, x.shape[1] - 1)]
    f0 = jnp.sin(2 * first) + 0.3 * second
    return jnp.stack([f0, f0 + 0.5 * first**2], axis=1)


@pytest.fixture(scope="session")
def surface():
    return jc.Function(wavy)


@pytest.fixture
def repository_on_path(monkeypatch):
    """Let a child process import what this process imports."""
    roots = {str(Path(module.__file__).parents[1]) for module in (jc, jc.kernels)}
    import jcausal_kernels

    roots.add(str(Path(jcausal_kernels.__file__).parents[1]))
    kept = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*roots, *([kept] if kept else [])]))
