"""What is copied."""
