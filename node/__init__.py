"""The machine: when to run what, the loop around it, and everything people see of it."""
