"""Tracking a stream of rotated captures, run by run: `run` is one, `state` what goes from one to the next."""
