"""Check the metrics: parity with other libraries, response to known damage, speed."""
