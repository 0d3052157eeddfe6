"""What keeps groups of consumers, beside the logs that they work off."""
