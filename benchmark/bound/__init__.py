"""The error bound put to the test: every term, their sum and the error itself, on mixtures where all are known."""
