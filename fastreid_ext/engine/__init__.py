"""Trainer, command line and checkpoints of every project, on FastReID's engine."""
