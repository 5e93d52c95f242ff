"""Executors: ways of turning an order into an outcome (`skep.ports.Executor`)."""
