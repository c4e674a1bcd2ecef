"""Worlds of SynthReID ``wide``: solid people in textured clothes, in styles that share nothing but the body."""
