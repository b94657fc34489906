"""What an analysis is turned into: documents for programs and text for people, a reporter a file."""
