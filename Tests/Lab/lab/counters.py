"""What the proxy has seen, for tests that count."""
import collections
import time


class Counters:
    def __init__(self):
        self.log = collections.deque(maxlen=200)
        self.connections_open = 0
        self.requests_open = 0
        self.reset()

    def reset(self):
        """Starts to count anew; what is open stays so."""
        self.requests = collections.Counter()
        self.answers = collections.Counter()
        self.faults = collections.Counter()
        self.request_body_bytes = self.answer_body_bytes = 0
        # From the first byte of a body to the last.
        self.request_body_seconds = self.answer_body_seconds = 0.0
        self.first_request_byte = self.first_answer_byte = None
        self.connections_accepted = 0
        self.connections_peak = self.connections_open
        self.requests_peak = self.requests_open

    def opened(self):
        self.connections_accepted += 1
        self.connections_open += 1
        self.connections_peak = max(self.connections_peak, self.connections_open)

    def closed(self):
        self.connections_open -= 1

    def sent(self, byte_count):
        """A piece of a request's body."""
        now = time.monotonic()
        self.first_request_byte = self.first_request_byte or now
        self.request_body_seconds = now - self.first_request_byte
        self.request_body_bytes += byte_count

    def answered(self, byte_count):
        """A piece of an answer's body."""
        now = time.monotonic()
        self.first_answer_byte = self.first_answer_byte or now
        self.answer_body_seconds = now - self.first_answer_byte
        self.answer_body_bytes += byte_count

    def begin(self, request, rule):
        self.requests[request.kind] += 1
        self.requests_open += 1
        self.requests_peak = max(self.requests_peak, self.requests_open)
        spoiled = " !%s(%d)" % (rule.action.name, rule.identifier) if rule else ""
        self.log.append("%s %s [%s]%s" % (request.method, request.target, request.kind, spoiled))
        if rule:
            self.faults[str(rule.identifier)] += 1

    def end(self, _):
        self.requests_open -= 1

    def answer(self, status):
        self.answers[str(status)] += 1

    def values(self):
        names = ("requests", "answers", "faults", "request_body_bytes", "answer_body_bytes", "request_body_seconds",
                 "answer_body_seconds", "connections_accepted",
                 "connections_open", "connections_peak", "requests_open", "requests_peak")  # fmt: skip
        return {name: getattr(self, name) for name in names}
