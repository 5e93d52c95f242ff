"""Simulated research with a known truth, judged by the shipped code. Nothing here trains."""
