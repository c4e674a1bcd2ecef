"""Data sets in the manner of FastReID, one module for each layout; importing a module registers its data sets."""
