"""The APIs as machines read them: OpenAPI and AsyncAPI, two YAML files that are served as JSON."""
