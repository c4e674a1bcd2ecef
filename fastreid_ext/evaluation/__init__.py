"""Evaluation on FastReID's evaluator, and what a person wants to see of it."""

from fastreid_ext.evaluation.ranking import rank_metrics

__all__ = ["rank_metrics"]
