"""Tables, figures, the verdict and the web page, made from the records of a results folder alone."""
