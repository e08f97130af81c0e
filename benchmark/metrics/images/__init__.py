"""Judge anyone's images: samples, reference and its moments, one pass over the samples, metrics by name."""
