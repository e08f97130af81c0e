"""Find the best of many targets: scores by products or by a kernel, cells, samples of them, shares of ranks."""
