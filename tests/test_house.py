"""The house rules that a machine can check."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import statistics
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import pytest

import jcausal as jc
import jcausal_kernels

ROOTS = [Path(jc.__file__).parent, Path(jcausal_kernels.__file__).parent]
FILES = sorted(f for root in ROOTS for f in root.rglob("*.py"))
STAGES = ["data", "solvers", "surfaces", "matching", "effects", "panels", "inference"]
STAGES += ["diagnostics", "allocation", "datasets", "simulate", "plot", "cli"]
PUBLIC = [
    (name, value)
    for name, value in vars(jc).items()
    if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
] + [
    (f"{space}.{name}", value)
    for space in ("datasets", "plot", "kernels", "simulate")
    for name, value in vars(getattr(jc, space)).items()
    if inspect.isfunction(value)
]
TREES = {f: ast.parse(f.read_text()) for f in FILES}
FUNCTIONS = [
    node
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]


def test_files_and_functions_are_short():
    lengths = [len(f.read_text().splitlines()) for f in FILES]
    assert statistics.median(lengths) <= 180 and max(lengths) <= 500
    sizes = [f.end_lineno - f.lineno + 1 for f in FUNCTIONS]
    assert statistics.median(sizes) <= 12
    assert sum(size < 60 for size in sizes) >= 0.95 * len(sizes)


def modules():
    for root in (jc, jcausal_kernels):
        yield root.__name__
        for module in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
            yield module.name


def test_modules_are_abstract_or_final():
    seen = set()
    for name in modules():
        for value in vars(sys.modules.get(name) or importlib.import_module(name)).values():
            if inspect.isclass(value) and issubclass(value, eqx.Module):
                seen.add(value)
    ours = {c for c in seen if c.__module__.startswith("jcausal")}
    assert len(ours) > 10
    for cls in ours:
        for base in cls.__mro__[1:]:
            if base in ours:
                assert inspect.isabstract(base) or getattr(base, "__abstractvars__", ()), (
                    cls,
                    base,
                )
                overridden = {
                    name
                    for name, value in vars(base).items()
                    if name in vars(cls)
                    and inspect.isfunction(getattr(value, "fget", value))
                    and not getattr(value, "__isabstractmethod__", False)
                    and not name.startswith("__")
                }
                assert not overridden, f"{cls.__name__} overrides {overridden}"


def test_public_names_stand_in_an_init_and_other_modules_start_with_an_underscore():
    allowed = {"__init__.py", "__main__.py", "kernels.py"}
    for f in FILES:
        if f.parent.name != "jcausal_kernels":
            assert f.name in allowed or f.name.startswith("_"), f
    for f in (f for f in FILES if f.name == "__init__.py"):
        for node in ast.walk(TREES[f]):
            if isinstance(node, ast.ImportFrom):
                assert all(a.asname == a.name for a in node.names), f


def test_the_way_of_the_data_is_one_way():
    for f, tree in TREES.items():
        if f.parent.name == "jcausal_kernels":
            names = {
                (node.module or "").split(".")[0]
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
            } | {
                a.name.split(".")[0]
                for n in ast.walk(tree)
                if isinstance(n, ast.Import)
                for a in n.names
            }
            standard = set(sys.stdlib_module_names)
            assert names - standard <= {"jax", "jaxtyping", "jcausal_kernels"}, f
            continue
        parts = f.relative_to(ROOTS[0]).parts
        stage = parts[0].removesuffix(".py")
        if stage not in STAGES:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jcausal."):
                theirs = node.module.split(".")[1]
                if theirs in STAGES:
                    assert STAGES.index(theirs) <= STAGES.index(stage), (f, node.module)


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_public_docstrings(name, value):
    text = inspect.getdoc(value) or ""
    assert len(text.splitlines()[0]) <= 100 and text.splitlines()[0].endswith("."), name
    if inspect.isfunction(value):
        assert "Returns" in text or "**Returns:**" in text or "Raises" in text, name


@pytest.mark.extended
@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_examples_run(name, value):
    finder = doctest.DocTestFinder(recurse=True)
    runner = doctest.DocTestRunner(verbose=False)
    tests = [t for t in finder.find(value, name, globs={"jc": jc}) if t.examples]
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize(
    "name", ["fit", "match", "estimate", "interval", "balance", "split", "complete", "allocate"]
)
def test_verbs_take_keywords_only_after_the_nouns(name):
    parameters = list(inspect.signature(getattr(jc, name)).parameters.values())
    nouns = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(nouns) <= 2
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[len(nouns) :])


def test_arrays_in_public_signatures_have_shapes():
    for name, value in PUBLIC:
        target = value.__init__ if inspect.isclass(value) else value
        for parameter in inspect.signature(target).parameters.values():
            written = str(parameter.annotation)
            assert "ndarray'>" not in written or "np.ndarray |" in written, (name, parameter)


def test_importing_changes_no_flag_and_loads_no_plotting():
    program = (
        "import jax, os; before = (dict(jax.config.values), dict(os.environ));"
        "import jcausal, sys;"
        "assert before == (dict(jax.config.values), dict(os.environ));"
        "heavy = {'matplotlib', 'bartz', 'sklearn', 'highspy', 'optax', 'polars'};"
        "heavy &= set(sys.modules);"
        "assert not heavy, heavy"
    )
    path = [str(root.parent) for root in ROOTS]
    code = f"import sys; sys.path[:0] = {path!r}; {program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.extended
def test_nothing_is_silent_or_unfinished():
    for f in FILES:
        for word in ("TODO", "FIXME", "XXX", "NotImplementedError"):
            assert word not in f.read_text(), (f, word)
        for node in ast.walk(TREES[f]):
            if isinstance(node, ast.ExceptHandler):
                assert not all(isinstance(line, ast.Pass) for line in node.body), f
