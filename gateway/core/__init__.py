"""All decisions: topics, publications, hub, outbox, session. No I/O, no clock, no await."""
