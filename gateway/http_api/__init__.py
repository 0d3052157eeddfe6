"""Publishing over HTTP: REST and signed webhooks."""
