"""What the packets prove of both ends of a connection: states, transitions, timers. No I/O, no clock."""
