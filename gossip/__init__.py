"""From records to peers and back: the node's key, its feed, its durable ledger and the mesh."""
