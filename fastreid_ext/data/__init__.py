"""Data sets, their batches and loaders."""
