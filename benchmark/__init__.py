"""Runs samplers on problems, measures, stores, and reports."""
