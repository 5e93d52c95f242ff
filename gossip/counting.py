"""Questions that the database answers from its indices, as text. Nothing is run here.

They count a swarm of hundreds of thousands of records in a fraction of a second, because no record
is read. Of a record that was pruned its place is left: a kind and a size of nothing.
"""

CHAIN = """
    SELECT seq, signature, body FROM records
    WHERE author = ? AND session = ? AND seq >= ? AND seq < ? AND size > 0 ORDER BY seq, id
"""
"""Records of a chain. The index goes past those that were pruned, however many there are."""

IS_FOLLOWED = """
    EXISTS (
        SELECT 1 FROM records AS later WHERE later.author = records.author
        AND later.session = records.session AND later.seq > records.seq
    ) AND NOT EXISTS (
        SELECT 1 FROM records AS twin WHERE twin.author = records.author
        AND twin.session = records.session AND twin.seq = records.seq AND twin.id <> records.id
    )
"""
"""Whether a record is neither the last of its chain nor half of a fork's proof."""

STOCK = """
    SELECT author, session, sum(size > 0), sum(size = 0), sum(size),
        count(*) > count(DISTINCT seq), max(time)
    FROM records WHERE swarm = ? GROUP BY author, session
"""
"""What there is of each chain of a swarm, in the order of `gossip.positions.Stock`."""

KINDS = """
    SELECT task, kind, sum(found) FROM (
        SELECT task, kind, count(*) AS found FROM records GROUP BY task, kind
        UNION ALL
        SELECT task, kind, -count(*) FROM records
        WHERE arrival IN (SELECT arrival FROM records WHERE swarm <> ?) GROUP BY +task, +kind
    ) WHERE kind <> '' GROUP BY task, kind HAVING sum(found) > 0
"""
"""Records of a swarm by task and kind.

The index does not know swarms: records of others are looked at, and taken off.
"""

LAST_RUN = """
    SELECT id, body, signature FROM records WHERE arrival IN (
        SELECT arrival FROM records WHERE author = ? AND session = ?
        ORDER BY seq DESC, id DESC LIMIT 32
    ) AND +kind = 'run' ORDER BY seq DESC, id DESC LIMIT 1
"""
"""The latest run among the last records of a chain."""

LAST_SWARM = "SELECT swarm FROM records WHERE swarm <> ? ORDER BY arrival DESC LIMIT 1"
"""The swarm of the record that arrived last, one swarm left out."""
