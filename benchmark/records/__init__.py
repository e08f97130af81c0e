"""Keep what runs leave: records and arrays, cached results, the environment they were made in."""
