"""What keeps a node running: tasks, deadlines, upkeep, garbage collection."""
