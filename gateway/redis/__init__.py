"""Redis servers and connections to them, for all rooms that keep or carry something there."""
