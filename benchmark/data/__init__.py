"""Image data: reading it, preparing it, and the small digits that need no download."""
