"""Who may run where: the table of docs/security.md, line by line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from skep.errors import SandboxError
from skep.ports import Code, Order
from tests.trainer.small import PROGRAM, Bench, make_task, processes_of
from trainer import sandbox
from trainer.policy import Consent, Policy
from trainer.sandbox import Strength
from trainer.sandbox.none import NoSandbox

NOBODY_ASKED, OWN, ALL = Consent(), Consent(own=True), Consent(own=True, strangers=True)


@pytest.mark.parametrize("code", ["knob", "own", "stranger"])
@pytest.mark.parametrize("strength", ["strong", "reduced"])
def test_everything_runs_in_a_sandbox(strength: Strength, code: Code) -> None:
    assert Policy(strength).refusal(code) is None


@pytest.mark.parametrize(
    ("consent", "allowed"),
    [
        (NOBODY_ASKED, {"knob"}),
        (OWN, {"knob", "own"}),
        (ALL, {"knob", "own", "stranger"}),
    ],
)
def test_without_a_sandbox_the_user_has_to_answer(consent: Consent, allowed: set[Code]) -> None:
    policy = Policy("none", consent)
    codes: list[Code] = ["knob", "own", "stranger"]
    assert {code for code in codes if policy.refusal(code) is None} == allowed


def test_a_refusal_says_what_to_do() -> None:
    own, stranger = Policy("none").refusal("own"), Policy("none").refusal("stranger")
    assert own is not None
    assert own.advice.endswith("If you answer for the program yourself: --unsandboxed-own-code.")
    assert stranger is not None
    assert "bubblewrap" in stranger.advice
    assert "--run-strangers" not in stranger.advice  # nobody is talked into that


def test_a_warning_stands_at_every_start_without_a_sandbox() -> None:
    assert Policy("strong", ALL).warning == ""
    assert Policy("none").warning == ""
    assert Policy("none", OWN).warning.startswith("no sandbox")
    assert Policy("none", ALL).warning.startswith("NO SANDBOX")


def test_the_executor_runs_knob_programs_and_refuses_the_rest(tmp_path: Path) -> None:
    with Bench(make_task(tmp_path), tmp_path, NoSandbox(), Policy("none")) as bench:

        def run(order: Order) -> str:
            return bench.call(lambda: bench.executor.train(0, order, lambda _: None)).status

        assert run(bench.order(code="knob", steps=2)) == "done"
        for code in ("own", "stranger"):
            with pytest.raises(SandboxError, match="this machine has no sandbox"):
                run(bench.order(code=code, steps=2))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    backend, _ = sandbox.choose()
    with Bench(make_task(folder), folder, backend) as running:
        yield running


def workers() -> set[int]:
    """The warm workers below this process."""
    return {process.pid for process in processes_of("worker.py")}


def test_strangers_share_no_process_with_anybody(bench: Bench) -> None:
    def used(code: Code, source: str) -> set[int]:
        order = bench.order(source, code=code, steps=2)
        outcome = bench.call(lambda: bench.executor.train(0, order, lambda _: None))
        assert outcome.status == "done", outcome.reason
        return workers()

    own = used("own", PROGRAM)
    assert used("knob", PROGRAM) == own
    first = used("stranger", PROGRAM) - own
    assert first
    assert used("stranger", PROGRAM) - own == first
    second = used("stranger", PROGRAM + "# another\n") - own
    assert second
    assert not first & second
    assert used("own", PROGRAM) == own
    assert not used("stranger", PROGRAM) & (first | second)
