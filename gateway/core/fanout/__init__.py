"""From a publication to the connections that want it, and what waits for those that can't take it."""
