"""Thinking while experiments run: ask the language model for ideas before a slot needs them.

One task beside the slots keeps the queue of ideas filled. It asks the coder for edits, now and
then the planner for hypotheses, the critic what a finished experiment has shown, and tells of a
crash. No slot ever waits for it, nothing that goes wrong here ends anything, and what the model
writes is parsed and searched for secrets, never obeyed.
"""

import re
from collections import deque
from collections.abc import Callable

import trio
from msgspec import Struct

from node.arms import is_stuck
from node.asking import Asker
from node.briefing import Briefing, Told, added_lines
from node.literature.reader import QUERY_S, Reader
from node.notebook import Notebook
from node.speaking import Speaker
from node.thoughts import Hypothesis, Thoughts
from skep.errors import ConfigError, HomeError, ModelError, PatchError, PromptError
from skep.events import Event, Finished, Judged
from skep.model import Message
from skep.records import Run
from strategies.coder import MENDS_MAX, Ask, Purpose, Rules, Written, mend, write
from strategies.llm import LLM, Ideas, Ready
from strategies.prompt import PASSAGES_MAX, Passage, Prompt, Role, coder, critic, planner
from strategies.reply import Format
from strategies.reply.lines import finding, hypotheses

IDEAS_AT_ONCE = 4
IDEAS_OF_WISH = 2
HYPOTHESES_AT_ONCE = 4
PLAN_EVERY = 3
"""Answers of the coder between two of the planner."""

WISHES_MAX = 8
FOLLOWED_MAX = 2
"""Wishes beside which nothing follows from an experiment: else one idea would lead to the next for
ever, and nobody would plan."""

PENDING_MAX = 4
"""Finished experiments, and crashes, that wait to be talked about; of more the oldest go."""

ROUNDS_MAX = 6
"""Questions in one turn on a shared GPU."""

PAUSE_MIN_S, PAUSE_MAX_S = 5.0, 300.0
"""After something went wrong or brought nothing: the first pause; each further one is twice it."""

PAUSE_IDLE_S = 15.0
"""The longest after answers with nothing new, where no slot has anything else to do."""

ABSENT_S = 60.0
"""How often somebody looks whether there is a model by now, where the user named none."""

CODER_T, PLANNER_T, CRITIC_T = 0.7, 0.9, 0.2
"""How freely each draws."""

STUCK_T = 1.1
"""How freely coder and planner draw where nothing has helped for long."""

SAME = 0.7
"""Part of the words of both that two hypotheses share where one is the other."""

SHOWN_S = 2.0
"""How long somebody who wants to see a prompt waits for what its query means."""

READ_PAUSE_S, READ_IDLE_S = 1.0, 30.0
"""Between passages of the library that get vectors, and between looks whether some have none."""

GPU_READ_S = 10.0
"""What the library may take of a turn on a shared GPU."""

At = Callable[[float], Ask]
"""Asks at a temperature."""


class Wish(Struct, frozen=True):
    """A hypothesis that the coder shall test, the gain that it promises, and whose notes it is."""

    text: str
    gain: float = 0.0
    cites: tuple[bytes, ...] = ()

    @property
    def ideas(self) -> int:
        """How many edits to ask for; without a hypothesis, that many different ones."""
        return IDEAS_OF_WISH if self.text else IDEAS_AT_ONCE


class Thinking:
    """Keeps the queue filled.

    Args:
        ideas: the queue.
        asker: reaches the model.
        briefing: puts together what it is told.
        reader: finds passages in the library.
        notebook: what the node knows.
        thoughts: hypotheses of peers.
        speaker: publishes, and says what may leave.
        slots: experiments at once; one idea more than that is kept ready.
        tag: makes 16 hex digits that nobody could know before.
        wake: called when there is something new to try.
        is_idle: whether no slot has anything to do.
    """

    def __init__(
        self,
        *,
        ideas: Ideas,
        asker: Asker,
        briefing: Briefing,
        reader: Reader,
        notebook: Notebook,
        thoughts: Thoughts,
        speaker: Speaker,
        slots: int,
        tag: Callable[[], str],
        wake: Callable[[], None],
        is_idle: Callable[[], bool],
    ) -> None:
        self._ideas = ideas
        self._asker = asker
        self._briefing = briefing
        self._reader = reader
        self._notebook = notebook
        self._thoughts = thoughts
        self._speaker = speaker
        self._enough = slots + 1
        self._tag = tag
        self._wake = wake
        self._is_idle = is_idle
        self._wishes: deque[Wish] = deque(maxlen=WISHES_MAX)
        self._crashed: deque[tuple[Ready, str]] = deque(maxlen=PENDING_MAX)
        self._finished: deque[bytes] = deque(maxlen=PENDING_MAX)
        self._testing: deque[tuple[bytes, Ready]] = deque(maxlen=PENDING_MAX)
        self._coded = self._barren = 0
        self._news = trio.Event()
        ideas.taken = self._taken

    def take(self, event: Event) -> None:
        """Take note of what happened in the node; returns at once."""
        match event:
            case Finished(run=run) if run.strategy == LLM:
                self._note_crash(run)
            case Judged(verdict="keep" | "discard", program=program):
                known = self._notebook.research.candidates.get(program)
                if known is not None and known.strategy == LLM:
                    self._finished.append(program)
            case Finished() | Judged():
                pass
            case _:
                return
        self._news.set()

    def _note_crash(self, run: Run) -> None:
        idea = self._ideas.given(run.program)
        failed = run.status not in ("done", "void")
        if failed and idea is not None and idea.talk.mends < MENDS_MAX:
            self._crashed.append((idea, self._briefing.log(run)))

    def _taken(self, program: bytes, idea: Ready) -> None:
        if idea.cites:
            self._testing.append((program, idea))
        self._news.set()

    async def run(self) -> None:
        """Think until cancelled; whatever goes wrong is said, and tried again later."""
        failures = 0
        while True:
            if not self._is_due():
                await self._news.wait()
                self._news = trio.Event()
                continue
            try:
                await self._say_tests()
                if not self._is_due():
                    continue
                if not await self._asker.look():
                    self._wake()
                    await trio.sleep(ABSENT_S)
                    continue
                await self._talk()
            except (ModelError, ConfigError, HomeError, PatchError, PromptError) as error:
                self._asker.failed(str(error))
                failures += 1
            else:
                failures = 0
                self._asker.answered()
            if pauses := failures + self._barren:
                longest = PAUSE_MAX_S if failures or not self._is_idle() else PAUSE_IDLE_S
                await trio.sleep(min(PAUSE_MIN_S * 2 ** (pauses - 1), longest))

    def _is_due(self) -> bool:
        """Whether there is a reason to ask now. A GPU that is shared is left alone for less."""
        if not self._briefing.can_tell:
            return False
        if self._testing or self._needs_ideas():
            return True
        return self._asker.gate is None and bool(self._crashed or self._finished)

    async def _told(self, about: str, wait_s: float = QUERY_S) -> Told:
        """What to tell about something; so long a model is waited for that says what it means."""
        query = self._briefing.query(about)
        found = await self._reader.passages(query, PASSAGES_MAX, self._asker.model, wait_s)
        passages = [Passage(one.heading, one.text) for one in found]
        return self._briefing.brief(query, passages)

    def _needs_ideas(self) -> bool:
        return len(self._ideas.fitting(self._notebook.view((), 0))) < self._enough

    async def _talk(self) -> None:
        """One turn with the model: one question, or on a shared GPU all that there are."""
        async with self._asker.conversation() as at:
            for _ in range(ROUNDS_MAX if self._asker.gate else 1):
                if self._crashed:
                    await self._mend(at(CODER_T))
                elif self._needs_ideas():
                    await self._think(at)
                elif self._finished:
                    await self._criticise(at(CRITIC_T))
                else:
                    break
            if self._asker.gate:
                with trio.move_on_after(GPU_READ_S):
                    while await self._read():
                        pass

    async def read(self) -> None:
        """Give the library's passages vectors until cancelled, in half of the time at most.

        On a shared GPU that is done in the model's turns alone.
        """
        while self._asker.gate is None:
            started = trio.current_time()
            try:
                made = await self._read()
            except HomeError:
                made = 0  # Whoever asks for passages says so.
            took = trio.current_time() - started
            await trio.sleep(max(took, READ_PAUSE_S) if made else READ_IDLE_S)

    async def _read(self) -> int:
        model = self._asker.model
        return await self._reader.embed_some(model) if model else 0

    async def _think(self, at: At) -> None:
        stuck = is_stuck(self._notebook.research)
        if self._coded >= PLAN_EVERY and len(self._wishes) <= FOLLOWED_MAX:
            self._coded = 0
            await self._plan(at(STUCK_T if stuck else PLANNER_T))
        else:
            self._coded += 1
            await self._code(at(STUCK_T if stuck else CODER_T))

    async def _code(self, ask: Ask) -> None:
        wish = self._wishes[0] if self._wishes else Wish("")
        told, tag, form = await self._told(wish.text), self._tag(), self._asker.form
        shown = told.brief.program
        purpose = Purpose(
            ideas=wish.ideas,
            foreign=self._briefing.foreign(shown.source),
            gain=wish.gain,
            cites=wish.cites,
        )
        prompt = self._coder(told, tag, wish)
        written = await write(ask, prompt, tag, shown, form, self._rules(told), purpose)
        if wish in self._wishes:
            self._wishes.remove(wish)
        self._take_in(written, form)

    def _coder(self, told: Told, tag: str, wish: Wish) -> Prompt:
        form, limit = self._asker.form, self._asker.limit
        return coder(told.brief, form, ideas=wish.ideas, tag=tag, wish=wish.text, limit=limit)

    def _rules(self, told: Told) -> Rules:
        brief = told.brief
        known = self._notebook.fingerprints(())
        return Rules(known=known, deny=brief.deny, constants=brief.constants)

    async def _mend(self, ask: Ask) -> None:
        idea, log = self._crashed.popleft()
        told = await self._told(idea.hypothesis)
        try:
            written = await mend(ask, idea, log, self._rules(told))
        except ValueError:
            return  # A log that would forge the marks of its conversation is not shown.
        self._take_in(written, idea.talk.form)

    def _take_in(self, written: Written, form: Format) -> None:
        """Queue what may be run and may leave this machine, and count."""
        queued = 0
        for idea in written.ideas:
            texts = [idea.hypothesis, *added_lines(idea.base, idea.source)]
            queued += self._speaker.may_leave(texts) and self._ideas.add(idea)
        self._asker.tally.ideas += queued
        self._asker.tally.judge(form, written.applied, written.tried)
        self._barren = 0 if queued else self._barren + 1
        if queued:
            self._wake()
        if written.fault is not None:
            raise written.fault

    async def _plan(self, ask: Ask) -> None:
        told, tag = await self._told(""), self._tag()
        prompt = planner(told.brief, ideas=HYPOTHESES_AT_ONCE, tag=tag, limit=self._asker.limit)
        for one in hypotheses(await _answer(ask, prompt)):
            if self._speaker.may_leave([one.text]):
                cites = tuple(other.id for other in told.hypotheses if _alike(one.text, other))
                await self._speaker.say("hypothesis", one.text, None, cites)
                self._wishes.append(Wish(one.text, one.gain or 0.0, cites))
        self._take_up(told)

    def _take_up(self, told: Told) -> None:
        """Let the most relevant hypothesis of a peer be tested, if that can be told."""
        taken = {cited for wish in self._wishes for cited in wish.cites}
        for one in told.hypotheses:
            if one.id not in taken and self._speaker.has_room(0):
                self._wishes.append(Wish(one.text, 0.0, (one.id,)))
                return

    async def _criticise(self, ask: Ask) -> None:
        program = self._finished.popleft()
        done = self._briefing.experiment(program)
        if done is None:
            return
        told, tag = await self._told(done.hypothesis), self._tag()
        prompt = critic(told.brief, done, tag=tag, limit=self._asker.limit)
        found = finding(await _answer(ask, prompt))
        await self._speaker.say("finding", found.text, program, self._briefing.records_of(program))
        room = len(self._wishes) < FOLLOWED_MAX
        if found.next and room and self._speaker.may_leave([found.wish]):
            lead = "leave out: " if found.next == "ablate" else ""
            self._wishes.append(Wish(lead + found.wish))

    async def _say_tests(self) -> None:
        """Tell whose hypotheses are being tested, and by which program."""
        while self._testing:
            program, idea = self._testing.popleft()
            for cited in idea.cites:
                if (known := self._thoughts.named(cited)) is not None:
                    self._thoughts.tested(known, program)
            await self._speaker.say("hypothesis", idea.hypothesis, program, idea.cites, spare=0)

    # What people are shown

    @property
    def waiting(self) -> int:
        """How many ideas wait for a slot."""
        return len(self._ideas)

    async def prompt(self, role: Role) -> Prompt:
        """What the model would be sent now.

        Raises:
            ConfigError: there is nothing to be asked about yet.
            PatchError, PromptError, HomeError: it cannot be put together.
        """
        if not self._briefing.can_tell:
            raise ConfigError("the champion has no score yet", "Ask again after its first run.")
        tag, limit = self._tag(), self._asker.limit
        wait_s = 0.0 if self._asker.gate else SHOWN_S
        if role == "critic":
            settled = (self._briefing.experiment(one) for one in self._latest())
            done = next((one for one in settled if one is not None), None)
            if done is None:
                raise ConfigError("no experiment has its verdict yet", "Ask again later.")
            told = await self._told(done.hypothesis, wait_s)
            return critic(told.brief, done, tag=tag, limit=limit)
        if role == "planner":
            told = await self._told("", wait_s)
            return planner(told.brief, ideas=HYPOTHESES_AT_ONCE, tag=tag, limit=limit)
        wish = self._wishes[0] if self._wishes else Wish("")
        return self._coder(await self._told(wish.text, wait_s), tag, wish)

    def _latest(self) -> list[bytes]:
        """Programs that were tried, those that wait for the critic first, then the latest."""
        return [*self._finished, *reversed(list(self._notebook.research.candidates))]


async def _answer(ask: Ask, prompt: Prompt) -> str:
    messages = (Message("system", prompt.system), Message("user", prompt.user))
    return (await ask(messages, None)).text


def _alike(text: str, other: Hypothesis) -> bool:
    """Whether two hypotheses are one, by their words."""
    one, two = (set(re.findall(r"\w+", words.casefold())) for words in (text, other.text))
    return 2 * len(one & two) >= SAME * (len(one) + len(two)) > 0
