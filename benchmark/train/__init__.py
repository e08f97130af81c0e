"""Training denoisers and classifiers."""
