"""The use cases: publish, subscribe, deliver."""
