"""What to try next: strategies turn a view of what is known into a proposal.

Nothing here knows of trainers, peers or clocks; the node decides when a strategy is asked.
"""

import os

# numpy's BLAS reads these once, when it is loaded, which in a node happens below. The cores belong
# to the experiments, and matrices of a few hundred rows gain nothing from a second one.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["VECLIB_MAXIMUM_THREADS"] = "1"
