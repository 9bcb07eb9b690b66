"""One readable file per thing that a user runs."""
