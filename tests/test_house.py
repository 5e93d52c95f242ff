"""The rules of the house: what may import what, how long things get, docs that tell the truth.

They are read off the source text, so that they also hold for code that no other test runs. What
`ruff` and `mypy` check by themselves is not repeated here.
"""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from itertools import groupby
from pathlib import Path

import pytest
from cyclopts import CycloptsError
from importlinter.cli import lint_imports

from node.cli import make_app, split_lab

ROOT = Path(__file__).parent.parent
PACKAGES = ("skep", "gossip", "trainer", "strategies", "node")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
OTHERS = sorted(path for folder in ("tests", "scripts") for path in (ROOT / folder).rglob("*.py"))
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

LONGEST_FILE = 450
LONGEST_FUNCTION = 60

FENCES = {
    "libp2p": ["gossip/mesh/*"],
    "sqlite3": ["gossip/store.py", "gossip/rebuild.py", "node/literature/shelf.py"],
    "sqlite_utils": ["gossip/store.py"],
    "ollama": ["strategies/ollama.py"],
    "openai": ["strategies/endpoint.py"],
    "httpx": ["strategies/ollama.py"],
    "ray": ["trainer/executors/ray.py"],
    "torch": ["trainer/tasks/*"]
    + [f"trainer/{child}.py" for child in ("worker", "candidate", "probe", "scorer")],
    "cyclopts": ["node/*"],
    "rich": ["node/*"],
    "starlette": ["node/web/*"],
    "hypercorn": ["node/web/*"],
}
"""Third-party packages, and the only places that may import them (`*` goes down any depth)."""

PURE = [
    "skep/*",
    "strategies/constants.py",
    "strategies/gp.py",
    "strategies/installed.py",
    "strategies/model_text.py",
    "gossip/incoming.py",
    "gossip/answers.py",
    "gossip/chains.py",
    "gossip/fetches.py",
    "gossip/holes.py",
    "gossip/counting.py",
    "gossip/positions.py",
    "gossip/quota.py",
    "gossip/schema.py",
    "gossip/statements.py",
    "gossip/swarms.py",
    "gossip/limits.py",
    "gossip/params.py",
    "gossip/messages.py",
    "gossip/effects.py",
    "gossip/replica.py",
    "gossip/admission.py",
    "gossip/company.py",
    "gossip/addresses.py",
    "gossip/invite.py",
    "gossip/presence.py",
    "gossip/twin.py",
    "gossip/sync.py",
    "gossip/early.py",
    "gossip/wire.py",
    "node/pairs.py",
    "node/plan.py",
    "node/arms.py",
    "node/shares.py",
    "strategies/policy.py",
    "node/explain.py",
    "node/finds.py",
    "node/gathered.py",
    "node/graph.py",
    "node/health.py",
    "node/history.py",
    "node/knowledge.py",
    "node/literature/bibtex.py",
    "node/literature/documents.py",
    "node/literature/passages.py",
    "node/offers.py",
    "node/adoption.py",
    "node/deciding.py",
    "node/simulation/*",
    "node/provenance.py",
    "node/ranking.py",
    "node/thoughts.py",
    "node/steps.py",
    "node/trials.py",
    "node/grafts.py",
    "strategies/replicate.py",
    "strategies/ablate.py",
    "node/recommended.py",
    "strategies/adopt.py",
    "strategies/checks.py",
    "strategies/llm.py",
    "strategies/plain.py",
    "strategies/fence.py",
    "strategies/prompt.py",
    "strategies/recombine.py",
    "strategies/reply/*",
    "strategies/shown.py",
    "strategies/tokens.py",
]
IMPURE = {"asyncio", "os", "random", "secrets", "socket", "subprocess", "threading", "time", "trio"}
"""What a pure module has no use for: clocks, chance, files, other processes, the network."""

SHELL_BLOCKS = {"", "sh", "bash", "console"}


def relative(path: Path) -> str:
    """A path as people name it; also the id of a parametrized test."""
    return path.relative_to(ROOT).as_posix()


def lies_in(path: Path, places: list[str]) -> bool:
    """Whether a file is one of these; in these patterns `*` also matches slashes."""
    patterns = (re.escape(place).replace(r"\*", ".+") for place in places)
    return any(re.fullmatch(pattern, relative(path)) for pattern in patterns)


@cache
def imports(path: Path) -> set[str]:
    """Top-level names of everything a file imports, in functions and under conditions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def shell_lines(text: str) -> Iterator[str]:
    """Lines of a Markdown text that a reader would type: shell fences and indented blocks."""
    fence: str | None = None
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            fence = line.strip().removeprefix("```") if fence is None else None
        elif fence in SHELL_BLOCKS or (fence is None and line.startswith("    ")):
            yield line.strip().removeprefix("$ ")


def own_commands(text: str) -> Iterator[list[str]]:
    """Every call of `skep` or of one of our scripts in a Markdown text, as words."""
    for line in shell_lines(text):
        try:
            words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
        except ValueError:  # an apostrophe in a program's output
            continue
        for is_operator, group in groupby(words, key=lambda word: not word.strip("();<>|&")):
            command = list(group)
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                del command[0]
            if not is_operator and command and re.match(r"skep$|\./scripts/", command[0]):
                yield command


OWN_COMMANDS = [
    pytest.param(command, id=f"{relative(doc)}: {shlex.join(command)}")
    for doc in DOCS
    for command in own_commands(doc.read_text())
]


def test_packages_import_only_downwards() -> None:
    assert lint_imports(str(ROOT / ".importlinter"), no_cache=True, no_logo=True) == 0


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_owns_our_top_level_names(name: str) -> None:
    assert set(packages_distributions().get(name, [])) <= {"skep"}
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")


@pytest.mark.parametrize("package", FENCES)
def test_a_third_party_package_stays_behind_its_fence(package: str) -> None:
    places = FENCES[package]
    offenders = [p for p in SOURCES if package in imports(p) and not lies_in(p, places)]
    assert [relative(path) for path in offenders] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if lies_in(path, PURE)], ids=relative)
def test_pure_modules_know_no_clock_no_chance_and_no_machine(path: Path) -> None:
    assert not imports(path) & IMPURE


@pytest.mark.parametrize(
    ("module", "kept_out"),
    [
        ("node.cli", ["torch", "libp2p", "numpy", "ollama", "httpx", "rich"]),
        ("node.app", ["torch", "ollama", "httpx"]),
    ],
)
def test_importing_the_node_leaves_heavy_packages_out(module: str, kept_out: list[str]) -> None:
    code = f"import sys, {module}; print([name for name in {kept_out} if name in sys.modules])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "[]\n"


@pytest.mark.parametrize("path", [*SOURCES, *OTHERS], ids=relative)
def test_files_say_what_they_are_and_fit_in_the_head(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or (path in OTHERS and not tree.body)
    assert len(text.splitlines()) <= LONGEST_FILE
    long = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def scripts() -> list[Path]:
    """Everything a person or CI starts by path, and what such a script sources."""
    files = [*(ROOT / "scripts").iterdir(), *(ROOT / ".ci").iterdir()]
    return sorted(path for path in files if path.is_file() and path.suffix != ".py")


@pytest.mark.parametrize("path", scripts(), ids=relative)
def test_shell_scripts_parse_and_can_be_started(path: Path) -> None:
    started = path.read_text().startswith("#!")
    assert started == bool(path.stat().st_mode & 0o111)
    assert started or path.suffix == ".sh"
    checked = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert checked.stderr == ""


@pytest.mark.parametrize("command", OWN_COMMANDS)
def test_commands_in_the_docs_exist(command: list[str]) -> None:
    program, *arguments = command
    if program != "skep":
        assert (ROOT / program).is_file()
        if program != "./scripts/join":
            return
        arguments = ["join", *arguments]
    try:
        make_app().parse_args(split_lab(arguments)[1], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("path", DOCS, ids=relative)
def test_links_between_the_docs_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text())
    inside = [target for target in targets if "://" not in target]
    assert [target for target in inside if not (path.parent / target).exists()] == []
