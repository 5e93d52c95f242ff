"""Experiments and a model take turns on one GPU: never both, and neither for ever."""

import trio
import trio.testing

from node.gate import Gate


async def test_they_are_never_in_at_once_and_experiments_overlap(
    autojump_clock: trio.testing.MockClock,
) -> None:
    gate, inside, overlaps = Gate(), set[str](), set[int]()

    async def work(name: str) -> None:
        for _ in range(20):
            async with gate.working():
                assert "model" not in inside
                inside.add(name)
                overlaps.add(len(inside))
                await trio.sleep(3)
                inside.remove(name)

    async def ask() -> None:
        for _ in range(5):
            async with gate.asking():
                assert not inside
                inside.add("model")
                await trio.sleep(2)
                inside.remove("model")

    async with trio.open_nursery() as nursery:
        for name in ("a", "b"):
            nursery.start_soon(work, name)
        nursery.start_soon(ask)
    assert overlaps == {1, 2}


async def test_who_asks_is_let_in_although_slots_are_never_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    gate = Gate()

    async def work(delay: float) -> None:
        await trio.sleep(delay)
        while True:
            async with gate.working():
                await trio.sleep(10)

    async with trio.open_nursery() as nursery:
        for delay in (0, 5):
            nursery.start_soon(work, delay)
        await trio.sleep(30)
        with trio.fail_after(11):
            async with gate.asking():
                pass
        nursery.cancel_scope.cancel()


async def test_a_conversation_that_fails_or_is_cancelled_lets_experiments_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    gate = Gate()
    with trio.move_on_after(1):
        async with gate.asking():
            await trio.sleep_forever()
    with trio.fail_after(1):
        async with gate.working():
            pass
