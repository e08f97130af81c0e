"""Draw the figures, and say how they look. A figure is a function under `@figure` in a file of this folder."""
