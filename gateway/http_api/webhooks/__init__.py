"""Third parties' webhooks: signatures, topics, repeats."""
