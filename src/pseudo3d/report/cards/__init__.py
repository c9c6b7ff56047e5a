"""What a result was made with, kept beside it."""
