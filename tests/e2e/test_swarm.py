"""A swarm of real processes: everything said reaches everybody, also those who were dead meanwhile.

A small version of `scripts/bench/swarm.py`, which measures how fast it does.
"""

from pathlib import Path

from tests.e2e.swarming import Member, connected, ended, swarm, together, wait_until

LIMIT_S = 60.0


def test_what_is_said_reaches_everybody_through_kills_and_late_joins(tmp_path: Path) -> None:
    with swarm(tmp_path, 3) as members:
        first, speaker, victim = members
        for member in members:
            member.start()
        connected(members, LIMIT_S)
        speaker.say(60, 1.0)
        wait_until(lambda: len(speaker.log("said")) > 10, LIMIT_S, "the burst")
        victim.kill()
        wait_until(lambda: len(speaker.log("said")) == 60, LIMIT_S, "the end of the burst")
        victim.start()
        late = Member(tmp_path / "late", bootstrap=[first.address])
        members.append(late)
        late.start()
        victim.say(5)
        together(members, 66, LIMIT_S)
        assert {bytes.fromhex(one) for one in speaker.log("said")} <= late.ids()
        assert [member.complaints() for member in members] == [""] * 4


def test_two_machines_with_copies_of_one_home_fork_nothing_and_say_so(tmp_path: Path) -> None:
    with swarm(tmp_path, 2, compare_s=1.0) as members:
        first, original = members
        first.start()
        original.start()
        connected(members, LIMIT_S)
        original.say(3)
        together(members, 4, LIMIT_S)
        original.kill()
        copied = original.copied(tmp_path / "copied")
        members.append(copied)
        for member in (original, copied):
            member.start()
        for member in (original, copied):
            member.say(3)
        together(members, 10, LIMIT_S)
        assert first.forks() == 0
        wait_until(
            lambda: any("copied" in member.notices() for member in (original, copied)),
            LIMIT_S,
            "somebody says that the home was copied",
        )


def test_a_home_restored_from_an_old_copy_goes_on_without_a_fork(tmp_path: Path) -> None:
    with swarm(tmp_path, 2, compare_s=1.0) as members, ended([]) as others:
        first, original = members
        first.start()
        original.start()
        connected(members, LIMIT_S)
        original.say(3)
        together(members, 4, LIMIT_S)
        original.kill()
        restored = original.copied(tmp_path / "restored")
        others.append(restored)
        original.start()
        original.say(20)
        together(members, 24, LIMIT_S)
        original.kill()
        restored.start()
        restored.say(2)
        together([first, restored], 26, LIMIT_S)
        assert first.forks() == 0
        assert "peers gave back records" in restored.notices()
