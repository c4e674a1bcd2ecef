"""Pose labels from other pose models: reads their files, checks and draws the joints."""
