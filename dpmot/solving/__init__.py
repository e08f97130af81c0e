"""Solve for heights: starts, descent, Newton's steps, attempts at a certificate."""
