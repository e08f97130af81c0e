"""Test the claims on the results, and put the verdict into words. A claim is a file in `claims/`."""
