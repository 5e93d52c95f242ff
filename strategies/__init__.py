"""What to try next: strategies turn a view of what is known into a proposal.

Nothing here knows of trainers, peers or clocks; the node decides when a strategy is asked.
"""
