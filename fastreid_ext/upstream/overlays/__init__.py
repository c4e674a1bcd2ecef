"""Definitions that take the place of those of the same name, in the module of the same name, in a checkout."""
