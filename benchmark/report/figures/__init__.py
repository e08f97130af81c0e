"""Draw the figures, and say how they look."""
