"""Publishing over HTTP: one message, an array, or lines without end."""
