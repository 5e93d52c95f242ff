"""A verdict in words: for people who know statistics, and for people who do not. Pure.

The numbers are `skep.evidence`'s; here is only what is said about them.
"""

import math

from skep.evidence import Standing, Verdict, Verdicts, Voice
from skep.evidence.standing import AGREEMENTS_MIN, OUTLIER_Z2
from skep.evidence.verdict import E_FLOOR, E_REFUTED, FALSE_SHARE, VOICES
from skep.ports import TaskFacts

PERCENT = 100
INTERVAL = 1.96
"""Standard deviations of a 95 % interval."""


def headline(known: Verdicts, one: Verdict) -> str:
    """The verdict and its reason in one line."""
    e, needed = e_value(one.log_e), e_value(known.log_threshold)
    count = machines(one.counted)
    if one.state == "confirmed":
        return f"confirmed by {count} that are not its author's: e = {e}, {needed} needed"
    if one.state == "overturned":
        return f"overturned: confirmed with e = {e}, but those who adopted it found nothing"
    if one.state == "refuted" and one.log_e < math.log(E_REFUTED):
        return f"refuted by {count}: e = {math.exp(one.log_e):.2g}, below {E_REFUTED}"
    if one.state == "refuted":
        return f"refuted: {count} re-ran it, and e = {e} stays below {needed}"
    if known.identities <= 1:
        return "open: no other machine's word counts here yet, so nothing can be confirmed"
    if not one.counted:
        return "open: no machine whose word counts has re-run it"
    return f"open: {count} so far, e = {e}, {needed} needed"


def meaning(task: TaskFacts, known: Verdicts, one: Verdict) -> list[str]:
    """What that means, a sentence each, without a formula."""
    said = [_of_state(known, one)]
    if one.effect is not None and one.spread is not None:
        said.append(_of_effect(task, known, one))
    uncounted = len(one.voices) - one.counted
    if uncounted:
        said.append(
            f"{machines(uncounted, capital=True)} re-ran it whose word does not count here: "
            "a key is free, so an identity has to agree with those that count on "
            f"{AGREEMENTS_MIN} claims first."
        )
    return said


def _of_state(known: Verdicts, one: Verdict) -> str:
    share = round(FALSE_SHARE * PERCENT)
    if one.state == "confirmed":
        return (
            "Several machines trained it and its parent with seeds they could not choose, and it "
            f"came out better too often for luck: of all that is confirmed, at most {share} % are "
            "expected to be luck."
        )
    if one.state == "refuted":
        return (
            "Machines that trained it and its parent found no improvement worth speaking of. What "
            "its author saw was most likely luck."
        )
    if one.state == "overturned":
        return (
            "It was confirmed, and then did not hold where it was used: what machines ran of it "
            "afterwards speaks 20 to 1 against that effect."
        )
    if known.identities <= 1:
        return (
            "Only this machine's word counts here so far. What it found for itself is reproduced, "
            "not confirmed: `skep show` has that."
        )
    if one.counted:
        return (
            f"It takes {machines(min(VOICES, max(known.identities - 1, 1)))} or more, for no "
            "single one can speak for a claim louder than an equal part of what is needed."
        )
    return "The author's own runs are no evidence for its claim, however many there are."


def _of_effect(task: TaskFacts, known: Verdicts, one: Verdict) -> str:
    assert one.effect is not None  # noqa: S101
    assert one.spread is not None  # noqa: S101
    sign = -1 if task.direction == "max" else 1
    low, high = sorted(sign * (one.effect + side * INTERVAL * one.spread) for side in (-1, 1))
    return (
        f"By the re-runs alone it changes {task.metric} by {sign * one.effect:+.6f} "
        f"({one.effect / known.sigma:+.1f}σ; probably between {low:+.6f} and {high:+.6f}). That is "
        "drawn towards zero, since what gets claimed was picked for looking good."
    )


def of_voice(known: Verdicts, voice: Voice) -> str:
    """How much of a machine's e-value is heard, and why not more."""
    if not voice.counts:
        return f"does not count: {_reason(known.standings.get(voice.replication.author))}"
    if voice.clipped < voice.log_e:
        return f"counts as {e_value(voice.clipped)}, the most of one machine"
    if voice.clipped > voice.log_e:
        return f"counts as {E_FLOOR}, the least of one machine"
    return "counts"


def _reason(standing: Standing | None) -> str:
    if standing is None:
        return "nothing else is known of it"
    if (standing.deviation or 0.0) > OUTLIER_Z2:
        return "its results are far from those of others"
    if (standing.overclaimed or 0.0) > OUTLIER_Z2:
        return "its own claims were far from what others found"
    return f"agreed on {standing.agreed} of {AGREEMENTS_MIN} claims"


def e_value(log_e: float) -> str:
    """An e-value of which the natural log is known; what a peer reports may be too large a number
    for a float."""
    try:
        return f"{math.exp(log_e):.3g}"
    except OverflowError:
        return f"1e{log_e / math.log(10):+.0f}"


def machines(count: int, *, capital: bool = False) -> str:
    """`one machine`, `2 machines`."""
    if count == 1:
        return "One machine" if capital else "one machine"
    return f"{count or ('No' if capital else 'no')} machines"
