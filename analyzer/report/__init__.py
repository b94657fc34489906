"""What an analysis is turned into: documents for programs, text for people. A reporter a file; none computes verdicts."""
