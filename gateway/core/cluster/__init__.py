"""What nodes tell each other, who is there, and who is kept out."""
