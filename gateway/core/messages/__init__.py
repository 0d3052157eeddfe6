"""What clients ask for and are told: commands, publications, events."""
