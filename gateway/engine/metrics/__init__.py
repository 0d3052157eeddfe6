"""What the parts' statistics are called as metrics."""
