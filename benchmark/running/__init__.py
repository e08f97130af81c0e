"""Plan runs and carry them out: cases and suites, one run after another or several at a time."""
