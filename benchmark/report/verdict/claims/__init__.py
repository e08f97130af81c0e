"""The claims of the DPM-OT abstract, one file each.

A claim is added by adding a file with `CLAIM`, a `benchmark.report.verdict.claim.Claim`: statement, rule, and the test
that decides.
"""
