"""The stories: an endless synthetic text whose bytes are the same on every Python and platform.

The *world* is fixed: its people, places and things, and facts about them that hold over the whole
corpus, so that a model can learn them by heart. A *story* picks a few of its people and keeps
state that a reader must follow: who is where, who carries what, how many coins are left, what was
said before. Sentences practise what small language models find hard in real text: names that come
back, agreement over a distance, copying, counting, arithmetic, lists said backwards.

This is not natural language and does not try to be read for pleasure; it is there because ranking
training programs on it agrees with ranking them on real text, and because nobody can download,
memorise or leak it: every 64-bit seed is another text.

Integers only. No float, no `random`, no hash of a str and no set order, since each of them may
differ between platforms or releases.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

WORLD_SEED = 1
MASK = (1 << 64) - 1

ONSETS = [*"bdghklmnprstvwy", "bl", "dr", "gl", "gr", "pr", "qu", "sl", "sp", "st", "th", "tr"]
VOWELS = [*"aeiouaeio", "ai", "ea", "ee", "oa", "ou"]
CODAS = ["", "", *"lmnrs", "ll", "nd", "mp", "rk", "rn", "sk"]
ENDINGS = ["y", "ish", "ful", "en", "some", "ic", "less"]
COLOURS = ["red", "blue", "green", "white", "black", "grey", "brown", "yellow"]
RELATIONS = ["in", "near", "behind", "under", "above", "beside"]
APPEALS = ["Bring me", "Never trust", "Look for", "I once lost", "We must hide", "Do not sell"]
SYMBOLS = "abcdefghjkmnpqrstuvwxyz23456789"

ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
STEMS = ["thir", "four", "fif", "six", "seven", "eigh", "nine"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NUMBERS = [
    *ONES,
    *["ten", "eleven", "twelve"],
    *[f"{stem}teen" for stem in STEMS],
    *[f"{ten}-{one}" if one != "zero" else ten for ten in TENS for one in ONES],
]
"""The number words, zero to ninety-nine."""


class Stream:
    """splitmix64 (Steele, Lea, Flood 2014): 64 bits a call from a counter, in plain integers."""

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK

    def below(self, bound: int) -> int:
        """A number in [0, bound)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        bits = self._state
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
        return ((bits ^ (bits >> 31)) * bound) >> 64

    def chance(self, percent: int) -> bool:
        """True in `percent` of a hundred cases."""
        return self.below(100) < percent

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different positions of `items`, in random order."""
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(min(count, len(rest)))]


class Ranked(Generic[T]):
    """Items that are picked with probability proportional to 1 / rank, as words are in a text."""

    def __init__(self, items: Sequence[T]) -> None:
        self._items = items
        self._sums = list(accumulate(1_000_000 // rank for rank in range(1, len(items) + 1)))

    def pick(self, stream: Stream) -> T:
        """One item; the first is the most frequent."""
        return self._items[bisect_right(self._sums, stream.below(self._sums[-1]))]


class Thing(NamedTuple):
    """Something that can be carried, with what is always true of it."""

    name: str
    plural: str
    colour: str
    price: int
    looks: tuple[str, ...]


class Place(NamedTuple):
    """A village: its river and its elder never change."""

    name: str
    river: str
    elder: str


class Person(NamedTuple):
    """Somebody with a home and a craft for life."""

    name: str
    she: str
    her: str
    home: Place
    craft: Thing


class Deed(NamedTuple):
    """A verb in the past tense and the few things it is done to."""

    past: str
    objects: tuple[Thing, ...]


class World(NamedTuple):
    """Everything that is the same in all stories."""

    people: list[Person]
    busy: list[Place]
    things: Ranked[Thing]
    deeds: Ranked[Deed]
    adverbs: Ranked[str]
    verdicts: list[str]
    topics: list[list[Thing]]


def coin_word(stream: Stream, syllables: int) -> str:
    """A pronounceable word that means nothing."""
    return "".join(
        stream.pick(ONSETS) + stream.pick(VOWELS) + stream.pick(CODAS) for _ in range(syllables)
    )


def distinct(count: int, make: Callable[[], str]) -> list[str]:
    """`count` different words, in the order they were first made."""
    words: dict[str, None] = {}
    while len(words) < count:
        words[make()] = None
    return list(words)


def plural(noun: str) -> str:
    """English plural of a regular noun."""
    return noun + ("es" if noun.endswith(("s", "sh", "x", "z")) else "s")


def article(phrase: str) -> str:
    """The phrase with `a` or `an` before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


@cache
def world() -> World:
    """The one world of this corpus (a few milliseconds the first time)."""
    stream = Stream(WORLD_SEED)
    adjectives = distinct(240, lambda: coin_word(stream, 1) + stream.pick(ENDINGS))
    suiting = Ranked(adjectives)
    nouns = distinct(640, lambda: coin_word(stream, 1 + stream.chance(45)))
    things = [
        Thing(
            name=noun,
            plural=plural(noun),
            colour=stream.pick(COLOURS),
            price=2 + stream.below(30),
            looks=tuple(suiting.pick(stream) for _ in range(5)),
        )
        for noun in nouns
    ]
    ranked = Ranked(things)
    names = distinct(400, lambda: coin_word(stream, 1 + stream.below(2)).title())
    rivers = distinct(40, lambda: coin_word(stream, 1).title())
    places = [
        Place(name, stream.pick(rivers), stream.pick(names))
        for name in distinct(200, lambda: coin_word(stream, 2).title())
    ]
    verbs = distinct(200, lambda: coin_word(stream, 1))
    return World(
        people=[
            Person(name, *stream.pick([("she", "her"), ("he", "his")]), stream.pick(places), craft)
            for name, craft in ((name, ranked.pick(stream)) for name in names)
        ],
        busy=places[:60],
        things=ranked,
        deeds=Ranked(
            [
                Deed(
                    past=verb + ("d" if verb.endswith("e") else "ed"),
                    objects=tuple(ranked.pick(stream) for _ in range(6)),
                )
                for verb in verbs
            ]
        ),
        adverbs=Ranked([f"{adjective}ly" for adjective in adjectives[:80]]),
        verdicts=adjectives[:60],
        topics=[[stream.pick(things) for _ in range(12)] for _ in range(40)],
    )


class Story:
    """One story: a cast, its state, and sentences that read and change that state."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.world = world()
        self.topic = stream.pick(self.world.topics)
        well_known = self.world.people[:40]
        crowd = well_known if stream.chance(50) else self.world.people
        self.cast = stream.sample(crowd, 2 + stream.below(3))
        self.at = {person.name: person.home for person in self.cast}
        self.bag = {person.name: [stream.pick(self.topic)] for person in self.cast}
        self.coins = {person.name: 3 + stream.below(30) for person in self.cast}
        self.sayings: list[tuple[str, str]] = []
        self.focus: Person | None = None
        self.password = "".join(stream.pick(SYMBOLS) for _ in range(4 + stream.below(4)))
        self.spell = coin_word(stream, 3)

    def text(self) -> str:
        """The whole story; it ends with a line break."""
        stream = self.stream
        title = f"# {stream.pick(self.cast).name} and the {stream.pick(self.topic).name}"
        opening = " ".join(f"{who.name} came from {who.home.name}." for who in self.cast)
        parts = [title, opening]
        for _ in range(2 + stream.below(5)):
            sentences = [stream.pick(REPERTOIRE)(self) for _ in range(2 + stream.below(6))]
            parts.append(" ".join(sentences))
            self.focus = None
        if stream.chance(40):
            parts.append("\n".join(self.ledger_line(who.name) for who in self.cast))
        return "\n\n".join(parts) + "\n"

    def ledger_line(self, name: str) -> str:
        """Where somebody ended, with what."""
        bag = ", ".join(thing.name for thing in self.bag[name]) or "nothing"
        return f"- {name} in {self.at[name].name}: {bag}; {self.coins[name]} coins"

    # Parts of sentences

    def subject(self) -> tuple[Person, str]:
        """Who acts, and how the sentence begins: a pronoun where it is clear who is meant."""
        person = self.stream.pick(self.cast)
        if person is self.focus and self.stream.chance(70):
            return person, person.she.capitalize()
        self.focus = person
        return person, person.name

    def other(self, person: Person) -> str:
        """The name of somebody else of the cast."""
        return self.stream.pick([who.name for who in self.cast if who is not person])

    def thing(self) -> Thing:
        """Mostly what this story is about."""
        if self.stream.chance(60):
            return self.stream.pick(self.topic)
        return self.world.things.pick(self.stream)

    def phrase(self) -> str:
        """A noun phrase; adjective, colour and number go with the noun."""
        stream, thing, form = self.stream, self.thing(), self.stream.below(100)
        if form < 35:
            return f"the {thing.name}"
        if form < 60:
            return f"the {stream.pick(thing.looks)} {thing.name}"
        if form < 75:
            return article(f"{stream.pick(thing.looks)} {thing.name}")
        if form < 87:
            return f"the {thing.colour} {thing.name}"
        return f"{NUMBERS[2 + stream.below(8)]} {thing.plural}"

    # Sentences

    def act(self) -> str:
        """A deed, done to one of the things it is usually done to."""
        stream = self.stream
        _, subject = self.subject()
        deed = self.world.deeds.pick(stream)
        thing = stream.pick(deed.objects)
        adverb = f" {self.world.adverbs.pick(stream)}" if stream.chance(40) else ""
        where = f" {stream.pick(RELATIONS)} {self.phrase()}" if stream.chance(50) else ""
        return f"{subject} {deed.past} the {stream.pick(thing.looks)} {thing.name}{adverb}{where}."

    def travel(self) -> str:
        """From where one is to elsewhere; river and elder of a place are facts of the world."""
        person, subject = self.subject()
        old = self.at[person.name]
        new = self.stream.pick([place for place in self.world.busy if place is not old])
        self.at[person.name] = new
        return (
            f"{subject} left {old.name} for {new.name} on the {new.river}, "
            f"where {new.elder} was the elder."
        )

    def stay(self) -> str:
        """Where somebody is by now, and where home is."""
        person, subject = self.subject()
        here = self.at[person.name]
        if here is person.home:
            return f"{subject} was at home in {here.name}."
        return f"{subject} was still in {here.name}, far from {person.her} home {person.home.name}."

    def give(self) -> str:
        """A thing changes hands and the new bag is told in full; finds one if there is none."""
        person, subject = self.subject()
        bag = self.bag[person.name]
        if not bag or (len(bag) < 3 and self.stream.chance(30)):
            bag.append(self.thing())
            return f"{subject} found {article(bag[-1].name)} and kept it."
        name = self.other(person)
        gift = bag.pop(self.stream.below(len(bag)))
        self.bag[name].append(gift)
        has = " and ".join(f"the {thing.name}" for thing in self.bag[name])
        return f"{subject} gave the {gift.name} to {name}. Now {name} had {has}."

    def earn(self) -> str:
        """Addition in words; who would reach one hundred loses instead."""
        person, subject = self.subject()
        before, more = self.coins[person.name], 1 + self.stream.below(9)
        after = before + more
        if after >= len(NUMBERS):
            self.coins[person.name] = before - more
            return f"{subject} lost {NUMBERS[more]} coins and had {NUMBERS[before - more]} left."
        self.coins[person.name] = after
        return (
            f"{subject} had {NUMBERS[before]} coins and earned {NUMBERS[more]} more: "
            f"{NUMBERS[after]} coins in all."
        )

    def buy(self) -> str:
        """Subtraction; what a thing costs is the same in every story."""
        person, subject = self.subject()
        thing = self.thing()
        left = self.coins[person.name] - thing.price
        price = NUMBERS[thing.price]
        if left < 0:
            return f"{subject} could not pay {price} coins for {article(thing.name)}."
        self.coins[person.name] = left
        self.bag[person.name].append(thing)
        return (
            f"{subject} paid {price} coins for {article(thing.name)} and had {NUMBERS[left]} left."
        )

    def say(self) -> str:
        """Something new, or word for word what was said before."""
        stream = self.stream
        person, subject = self.subject()
        if self.sayings and stream.chance(45):
            speaker, saying = stream.pick(self.sayings)
            return f'{subject} remembered that {speaker} had said: "{saying}"'
        saying = f"{stream.pick(APPEALS)} {self.phrase()} {stream.pick(RELATIONS)} {self.phrase()}."
        self.sayings.append((person.name, saying))
        return f'{subject} said: "{saying}"'

    def reveal(self) -> str:
        """Letters that nobody can guess the first time and everybody can copy afterwards."""
        owner = self.cast[0].name
        return f"The password of {owner} was {self.password}, and the spell was {self.spell}."

    def hearsay(self) -> str:
        """A fact of the world about one of the cast."""
        person = self.stream.pick(self.cast)
        return (
            f"Everybody knew that {person.name} of {person.home.name} "
            f"made {person.craft.colour} {person.craft.plural}."
        )

    def count(self) -> str:
        """An arithmetic progression in words."""
        _, subject = self.subject()
        first, step = 1 + self.stream.below(20), 1 + self.stream.below(6)
        terms = [NUMBERS[first + i * step] for i in range(4 + self.stream.below(3))]
        return f"{subject} counted: {', '.join(terms)}."

    def reverse(self) -> str:
        """A list, forwards and backwards."""
        names = [thing.name for thing in self.stream.sample(self.topic, 3 + self.stream.below(3))]
        self.focus = None
        return f"The list said {', '.join(names)}. Backwards it said {', '.join(names[::-1])}."

    def calculate(self) -> str:
        """Addition and subtraction in digits."""
        _, subject = self.subject()
        a, b = 2 + self.stream.below(97), 2 + self.stream.below(97)
        if self.stream.chance(50):
            return f"{subject} wrote {a} + {b} = {a + b} on the door."
        return f"{subject} wrote {a + b} - {b} = {a} on the door."

    def wonder(self) -> str:
        """A clause within a clause."""
        stream = self.stream
        _, subject = self.subject()
        deed = self.world.deeds.pick(stream)
        verb = "was" if stream.chance(50) else "had been"
        return (
            f"{subject} wondered whether {self.phrase()} that {deed.past} {self.phrase()} "
            f"{verb} {stream.pick(self.world.verdicts)}."
        )

    def agree(self) -> str:
        """Number agreement over a relative clause, twice, then a fact about the noun."""
        stream, thing = self.stream, self.thing()
        name, past = stream.pick(self.cast).name, self.world.deeds.pick(stream).past
        colour, look = thing.colour, stream.pick(thing.looks)
        if stream.chance(50):
            return f"The {thing.plural} that {name} {past} were {colour}, and they were {look}."
        return f"The {thing.name} that {name} {past} was {colour}, and it was {look}."


REPERTOIRE: list[Callable[[Story], str]] = [
    *[Story.act] * 22,
    *[Story.travel] * 10,
    *[Story.stay] * 8,
    *[Story.give] * 10,
    *[Story.earn] * 5,
    *[Story.buy] * 5,
    *[Story.say] * 10,
    *[Story.reveal] * 5,
    *[Story.hearsay] * 5,
    *[Story.count] * 4,
    *[Story.reverse] * 4,
    *[Story.calculate] * 3,
    *[Story.wonder] * 4,
    *[Story.agree] * 5,
]
"""Sentences by frequency, in percent."""


def stories(seed: int) -> Iterator[str]:
    """The endless text of one 64-bit seed, story by story (plain ASCII)."""
    stream = Stream(seed)
    while True:
        yield Story(stream).text()
