"""Live captures: the engine on an interface, asked while it runs."""
