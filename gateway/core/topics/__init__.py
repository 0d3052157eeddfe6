"""Topics and filters: their grammar, their relations, and which of many filters match."""
