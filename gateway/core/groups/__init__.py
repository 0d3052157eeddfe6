"""Groups of consumers: who gets which publication of a stream, until when, and what became of it."""
