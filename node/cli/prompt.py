"""`skep prompt`: what the language model would be told now, word for word."""

from node.cli.output import AsJson, emit, say
from node.config import home_folder
from strategies.prompt import Role


async def prompt(*, role: Role = "coder", json: AsJson = False) -> None:
    """The exact prompt that the running node would send to its model now.

    Args:
        role: coder (edits), planner (hypotheses) or critic (what an experiment has shown).
        json: print a JSON object.
    """
    from node.control import ask

    answer = await ask(home_folder(), f"prompt-{role}")
    if json:
        emit(answer)
        return
    say(answer["system"])
    say()
    say(answer["user"])
