"""Evaluation on top of FastReID's evaluator: metrics, reports and pictures."""

from fastreid_ext.evaluation.ranking import rank_metrics

__all__ = ["rank_metrics"]
