"""Make the tables: CSV, Markdown, LaTeX."""
