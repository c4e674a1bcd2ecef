"""Evaluation on FastReID's evaluator, and what a person wants to see of it."""
