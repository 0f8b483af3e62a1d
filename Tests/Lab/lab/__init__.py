"""The parts of lab-proxy, from the wire up: link, http1, rules, exchange, faults, connection, proxy, control."""
