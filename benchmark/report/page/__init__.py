"""Write the web page, one self-contained file."""
