"""What is run from a source tree."""
