"""Trained models at work: images of any kind in, features out, by the pixels of the evaluation."""
