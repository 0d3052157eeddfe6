"""A credential becomes a principal and its grants."""
