"""Test the claims on the results, and put the verdict into words."""
