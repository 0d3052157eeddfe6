"""The load: subscribers that count without parsing, publishers with a bound on what is in flight."""
