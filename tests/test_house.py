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
STAGES = ["data", "storage", "solvers", "surfaces", "matching", "effects", "panels", "inference"]
STAGES += ["diagnostics", "allocation", "simulate", "datasets", "plot", "reports", "cli"]
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
                    and not getattr(getattr(value, "fget", value), "is_default", False)
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


def module_of(f):
    """A file's dotted name; a package's is that of its __init__.py."""
    root = next(root for root in ROOTS if f.is_relative_to(root))
    parts = [root.name, *f.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILE_OF = {module_of(f): f for f in FILES}
FACES = {  # what a package's __init__.py hands on: (package, name) -> (module, name)
    (module_of(f), alias.asname or alias.name): (node.module, alias.name)
    for f in FILES
    if f.name == "__init__.py"
    for node in ast.walk(TREES[f])
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}


def imported(tree):
    """(module, name) of all that a file imports of ours, types and imports in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jcausal"):
            yield from ((node.module, alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.startswith("jcausal"))


def defined_in(module, name):
    """The module of the file that defines a name, through the packages that hand it on."""
    while (module, name) in FACES:
        module, name = FACES[module, name]
    return f"{module}.{name}" if f"{module}.{name}" in FILE_OF else module


def test_no_circles():
    known = {
        name: {defined_in(*each) for each in imported(TREES[f])} - {name}
        for name, f in FILE_OF.items()
        if f.name != "__init__.py"
    }
    while free := {name for name, needs in known.items() if not needs & known.keys()}:
        known = {name: needs for name, needs in known.items() if name not in free}
    assert not known, f"files that import each other in a circle, or rest on one: {sorted(known)}"


def test_the_way_of_the_data_is_one_way():
    for f, tree in TREES.items():
        if f.parent.name == "jcausal_kernels":
            roots = {
                alias.name.split(".")[0]
                for node in ast.walk(tree)
                if isinstance(node, ast.Import)
                for alias in node.names
            } | {
                (node.module or "").split(".")[0]
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
            }
            standard = set(sys.stdlib_module_names)
            assert roots - standard <= {"jax", "jaxtyping", "jcausal_kernels"}, f
            continue
        stage = f.relative_to(ROOTS[0]).parts[0].removesuffix(".py")
        for module, _ in imported(tree):
            theirs = [*module.split("."), ""][1]
            if stage in STAGES and theirs in STAGES:
                assert STAGES.index(theirs) <= STAGES.index(stage), (f, module)


def test_private_modules_are_imported_by_their_own_package_only():
    for f, tree in TREES.items():
        mine = module_of(f).split(".")[:2]
        for module, _ in imported(tree):
            parts = module.split(".")
            if any(part.startswith("_") for part in parts):
                assert parts[:2] == mine or parts[0] == mine[0] == "jcausal_kernels", (f, module)


def test_each_class_name_once():
    names = {}
    for f, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names.setdefault(node.name, []).append(module_of(f))
    assert not {name: where for name, where in names.items() if len(where) > 1}


def test_nobody_outside_matching_asks_which_matching_it_is():
    ours = {
        name
        for name, value in vars(jc.matching).items()
        if inspect.isclass(value)
        and issubclass(value, jc.matching.Matching)
        and value is not jc.matching.Matching
    }
    assert {"Boxes", "Leaves", "Pairs"} <= ours
    for f, tree in TREES.items():
        if "matching" not in f.parts:
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            names |= {name for _, name in imported(tree)}
            assert not names & ours, (f, names & ours)


def documented(f, owner, node):
    """Whether a function is a user's: a name of a public namespace, a class's method, a kernel."""
    spaces = [jc, *(getattr(jc, name, None) for name in STAGES), jc.kernels]
    public = owner or node.name
    return not public.startswith("_") and any(hasattr(space, public) for space in spaces if space)


def test_functions_take_six_parameters_at_most():
    """Public ones apart, whose options are documented, and the making of Modules."""
    for f, tree in TREES.items():
        for owner in [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))]:
            for node in owner.body:
                if not isinstance(node, ast.FunctionDef):
                    continue
                args = [a.arg for a in node.args.posonlyargs + node.args.args]
                args += [a.arg for a in node.args.kwonlyargs]
                taken = [a for a in args if a not in ("self", "cls", "lib")]
                if len(taken) > 6 and node.name != "__init__":
                    assert documented(f, getattr(owner, "name", ""), node), (f, node.name, taken)


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
