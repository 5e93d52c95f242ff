"""Papers and notes of this machine's owner, searched for passages that fit what is being planned.

They stay on this machine: nothing of them is published. What reads a file is `documents`, what
cuts it up `passages`, where it is kept and searched by words `shelf`, by meaning `meaning`.
"""
