"""A model's ideas on their way to the slots, and every way in which they do not come.

The trainer is the fake of `test_loop_transport`; server, prompts, parser, checks, loop and ledger
are what ships, and the model is a script.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from node.gate import Gate
from skep.model import Message, Model, Reply
from skep.ports import Order, Outcome
from skep.records import Note, Status, program_id
from strategies.ollama import find_model
from strategies.servers import Patience
from tests.node.recorded import SEED_PROGRAM, STORIES
from tests.node.strangers import BOB, Stranger
from tests.node.test_adopt_transport import Judging
from tests.node.test_loop_transport import FakeExecutor
from tests.node.thinkers import FOREVER, at, function, role_of, thinker
from tests.strategies.ollama_server import Answer, Dies, Fails, Raw, Say, Stalls, serving_ollama

DOUBLE = SEED_PROGRAM.replace("return LR", "return LR * 2")
PLANNED = "HYPOTHESIS: a higher rate pays in so few steps | EXPECT: 1.5"
FOUND = "FINDING: twice the rate is better here\nFOLLOW: try three times the rate"


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(rate=1000)


class Script:
    """A model that has an endless row of different, good ideas, and sober thoughts."""

    def __init__(self, first: str = "") -> None:
        self.numbers = itertools.count(2)
        self.asked: list[str] = []
        self.prompts: list[dict[str, Any]] = []
        self._first = first

    def __call__(self, asked: dict[str, Any]) -> Answer:
        role = role_of(asked)
        self.asked.append(role)
        self.prompts.append(asked)
        return self.answer(role)

    def answer(self, role: str) -> Answer:
        if role == "planner":
            return Say(PLANNED)
        if role == "critic":
            return Say(FOUND)
        return Say(
            function(f"multiply the rate by {(n := next(self.numbers))}", f"return LR * {n}")
        )


async def test_a_models_idea_is_run_judged_and_kept_under_its_own_words(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    script = Script()
    async with serving_ollama(script) as server:
        executor = Judging({"LR * 2": 1_500_000})
        async with thinker(tmp_path, executor, at(server.url)) as node:
            await node.until(lambda: node.researcher.research.champion == program_id(DOUBLE))
            (kept,) = node.researcher.research.kept[:1]
            runs = [run for run in node.of("llm") if run.program == program_id(DOUBLE)]
            assert {run.note for run in runs} == {"multiply the rate by 2"}
            assert kept.strategy == "llm"
            await node.until(lambda: len(node.of("llm")) > len(runs) + 3)
    assert executor.codes[program_id(DOUBLE)] == {"own"}
    assert "FIND" not in script.prompts[0]["messages"][0]["content"]


async def test_no_slot_ever_waits_for_a_model_that_takes_twenty_seconds(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    async with serving_ollama(Script()) as server:

        async def slow() -> Model:
            return Delayed(await find_model(server.url, None, None, FOREVER), 20.0)

        async with thinker(tmp_path, FakeExecutor(2, lambda *_: "done"), slow) as node:
            await node.until(lambda: len(node.of("llm")) >= 6 and len(node.runs) > 30)
            assert node.researcher.waits == 0
            assert len(node.of("tune")) > 0, "what fills the time until the model has answered"


async def test_without_an_answer_at_all_the_search_is_what_it_is_without_a_model(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    async with (
        serving_ollama(lambda _: Stalls("IDEA: never")) as server,
        thinker(tmp_path, FakeExecutor(2, lambda *_: "done"), at(server.url)) as node,
    ):
        await node.until(lambda: len(node.runs) >= 30)
        assert node.researcher.waits == 0
        assert node.of("llm") == []


async def test_a_node_with_nothing_else_to_try_waits_for_its_model_and_ends_without_one(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    async def slow() -> Model:
        return Delayed(await find_model(server.url, None, None, FOREVER), 600)

    async def nobody() -> None:
        return None

    executor = FakeExecutor(1, lambda *_: "done")
    async with (
        serving_ollama(Script()) as server,
        thinker(tmp_path / "slow", executor, slow, extra=()) as node,
    ):
        await node.until(lambda: len(node.of("llm")) >= 6)
        assert [one for one in node.said if "nothing" in one][:1] == [
            "nothing to try at the moment; waiting for ideas of the model"
        ]
    async with thinker(tmp_path / "none", executor, nobody, extra=()) as node:
        await node.until(lambda: any("nothing is left to try" in one for one in node.said))
        assert node.of("llm") == []


async def test_a_model_that_repeats_itself_is_asked_again_soon_only_where_nothing_else_is_to_do(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    """Thirty answers with nothing new take two hours of pauses beside other experiments."""
    executor = FakeExecutor(1, lambda *_: "done")
    async with (
        serving_ollama(lambda _: Say("NONE")) as server,
        thinker(tmp_path, executor, at(server.url), extra=()) as node,
    ):
        began = trio.current_time()
        await node.until(lambda: len(server.chats) >= 30)
        assert trio.current_time() - began < 5000
        assert node.researcher.is_idle


class Delayed:
    """A model that takes its time before it is asked."""

    def __init__(self, model: Model, seconds: float) -> None:
        self._model, self._seconds = model, seconds
        self.name, self.size, self.context = model.name, model.size, model.context
        self.vectors = model.vectors

    async def chat(self, messages: Sequence[Message], **how: Any) -> Reply:
        await trio.sleep(self._seconds)
        return await self._model.chat(messages, **how)

    async def unload(self) -> None:
        await self._model.unload()

    async def embed(self, texts: Sequence[str]) -> list[list[float]] | None:
        return await self._model.embed(texts)


FAULTS: Mapping[str, Answer] = {
    "failing": Fails(500, "llama runner process has terminated"),
    "out of memory": Fails(500, "model requires more system memory (9 GiB) than is available"),
    "busy": Fails(503, "server busy"),
    "gone": Fails(404, "model 'qwen2.5-coder:7b' not found"),
    "talking rubbish": Raw(b"<html>"),
    "silent": Stalls("IDEA: so"),
    "empty": Say(""),
    "chatting": Say("Certainly! What a great program. Let me know what you need."),
    "cutting itself off": Say("IDEA: an idea without an end\n```python\ndef train(run):\n" * 900),
    "thinking for ever": Say("<think> hm " * 2000),
    "obeying somebody else": Say("import os; os.system('rm -rf ~')\n" * 50),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_search_goes_on_whatever_the_server_does_and_has_ideas_when_it_is_well_again(
    tmp_path: Path, fast_clock: trio.testing.MockClock, fault: str
) -> None:
    good, calls = Script(), itertools.count()
    well = trio.Event()

    def answer(asked: dict[str, Any]) -> Answer:
        next(calls)
        return good(asked) if well.is_set() else FAULTS[fault]

    patience = Patience(connect=1e6, answer=1e6, first=3000, silence=3000, whole=1e6, unload=1e6)
    async with serving_ollama(answer) as server:
        executor = FakeExecutor(2, lambda *_: "done")
        async with thinker(tmp_path, executor, at(server.url, patience), limit_s=3e5) as node:
            await node.until(lambda: next(calls) > 3)
            assert node.of("llm") == []
            complaints = [text for text in node.said if "goes on without it" in text]
            assert len(complaints) == len(set(complaints)) <= 2
            well.set()
            await node.until(lambda: len(node.of("llm")) >= 2)


async def test_a_server_that_dies_and_comes_back_is_asked_again(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    good = Script()
    answers = iter([Dies("IDEA: the")])
    async with (
        serving_ollama(lambda asked: next(answers, None) or good(asked)) as server,
        thinker(tmp_path, FakeExecutor(1, lambda *_: "done"), at(server.url)) as node,
    ):
        await node.until(lambda: any("went away" in text for text in node.said))
        runs = len(node.runs)
        await node.until(lambda: len(node.runs) > runs + 2)
        await server.start()
        await node.until(lambda: bool(node.of("llm")))
        assert "model    it answers again" in node.said


async def test_a_crash_goes_back_to_the_model_twice_and_no_more(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    def plan(_: int, order: Order) -> Status | Exception:
        if "LR *" not in order.source:
            return "done"
        (order.folder / "log.txt").write_text(f"TypeError: bad {order.source[-3:].strip()}\n")
        return "crash"

    class Stubborn(Script):
        def answer(self, role: str) -> Answer:
            if role == "repair" or (role == "coder" and self.asked.count("coder") > 1):
                return Say("NONE")
            return super().answer(role)

    script = Stubborn()
    async with (
        serving_ollama(script) as server,
        thinker(tmp_path, FakeExecutor(1, plan), at(server.url)) as node,
    ):
        await node.until(lambda: len([r for r in node.of("llm") if r.status == "crash"]) == 3)
        await node.until(lambda: len(node.runs) > 20)
        assert script.asked.count("mend") == 2
        assert len(node.of("llm")) == 3
    told = [one["messages"][-1]["content"] for one in script.prompts if role_of(one) == "mend"]
    assert ["TypeError: bad 2" in told[0], "TypeError: bad 3" in told[1]] == [True, True]


async def test_hypotheses_and_findings_are_published_with_the_records_they_rest_on(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    async with serving_ollama(Script()) as server:
        executor = FakeExecutor(1, lambda *_: "done")
        async with thinker(tmp_path, executor, at(server.url)) as node:
            await node.until(lambda: {one.role for one in node.notes} == {"hypothesis", "finding"})
            finding = next(one for one in node.notes if one.role == "finding")
            ids = {one for one, run in node.ledger.runs(STORIES.id) if run.program == finding.about}
            assert finding.text == "twice the rate is better here"
            assert finding.cites
            assert set(finding.cites) <= ids
            hypothesis = next(one for one in node.notes if one.role == "hypothesis")
            assert hypothesis == Note(
                role="hypothesis", about=None, text="a higher rate pays in so few steps"
            )


async def test_what_is_said_in_an_hour_is_bounded(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    async with serving_ollama(Script()) as server:
        executor = FakeExecutor(2, lambda *_: "done")
        async with thinker(tmp_path, executor, at(server.url)) as node:
            await node.until(lambda: len(node.of("llm")) > 20)
            assert len(node.notes) == 8, "the clock stands still, and four are for citing others"


async def test_a_peers_hypothesis_is_shown_tested_and_cited(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    bob = Stranger(BOB)
    theirs = bob.says(Note(role="hypothesis", about=None, text="halve BETAS for a short run"))
    script = Script()
    async with serving_ollama(script) as server:
        executor = FakeExecutor(1, lambda *_: "done")
        async with thinker(tmp_path, executor, at(server.url), theirs) as node:
            await node.until(lambda: any(theirs.id in one.cites for one in node.notes))
            note = next(one for one in node.notes if theirs.id in one.cites)
            await node.until(lambda: note.about in {run.program for run in node.of("llm")})
    shown = [one["messages"][1]["content"] for one in script.prompts]
    assert any("The hypothesis to test:" in one and "halve BETAS" in one for one in shown)


async def test_on_a_shared_gpu_the_model_is_gone_whenever_something_is_trained(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    async with serving_ollama(Script()) as server:

        class Alone(FakeExecutor):
            async def train(self, slot: int, order: Order, report: Any) -> Outcome:
                assert not server.loaded, "the model lies in the memory that is measured"
                outcome = await super().train(slot, order, report)
                assert not server.loaded
                return outcome

        executor = Alone(2, lambda *_: "done")
        async with thinker(tmp_path, executor, at(server.url), gate=Gate()) as node:
            await node.until(lambda: len(node.of("llm")) >= 6)
    assert "/api/generate" in server.paths
    assert server.chats
