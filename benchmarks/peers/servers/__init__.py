"""The servers of peers that are libraries, each a few lines."""
