"""When is an improvement real? Noise, e-values and the rule of one machine, all pure.

Keeping whatever is lower on one run mostly keeps noise: the best of 1,000 no-op edits looks 3.3 sd
better. So evidence is always the difference child - parent on one machine and one validation
draw, weighed against that machine's noise floor.
"""

from skep.evidence.claims import Claimed, Evidence, Replication, replication_seed
from skep.evidence.evalue import log_e_value
from skep.evidence.noise import Noise, pooled_noise
from skep.evidence.research import Candidate, Fold, Kept, Research, research
from skep.evidence.standing import Standing
from skep.evidence.verdict import Verdict, Verdicts, Voice, verdict

__all__ = [
    "Candidate",
    "Claimed",
    "Evidence",
    "Fold",
    "Kept",
    "Noise",
    "Replication",
    "Research",
    "Standing",
    "Verdict",
    "Verdicts",
    "Voice",
    "log_e_value",
    "pooled_noise",
    "replication_seed",
    "research",
    "verdict",
]
