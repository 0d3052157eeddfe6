"""One node among others: heartbeats, questions, and administration of all."""
