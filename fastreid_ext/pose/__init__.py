"""Pose labels from other people's pose models: reading their files, checking and drawing what was read."""
