"""Make the tables: CSV, Markdown, LaTeX. Metrics and samplers say themselves what stands in them."""
