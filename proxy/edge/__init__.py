"""HTTP in and out: sockets, protocols, framing, and nothing that knows what a rule means."""
