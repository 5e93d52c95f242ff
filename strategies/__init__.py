"""What to try next: strategies turn a view of the ledger into a proposal. No I/O but the model's."""
