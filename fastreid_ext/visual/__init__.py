"""Seeing what a model looks at: masks and Grad-CAM over the images of a folder."""
