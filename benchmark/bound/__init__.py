"""Our error bound, of the paper's form, put to the test: every term, their sum and the error, where all are known."""
