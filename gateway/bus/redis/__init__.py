"""The bus between nodes over Redis' publish and subscribe."""
