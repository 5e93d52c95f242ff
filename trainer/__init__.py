"""From a proposal to a measurement: tasks, sandboxes, the processes that train and score.

Nothing here knows of peers or of strategies. torch is imported by task packs and by the children
that run them, never by the process that imports this package.
"""
