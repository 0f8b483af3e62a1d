"""Which rule, if any, spoils a request.

A rule is {"match": {"kind": [...], "method": ..., "target": regular expression}, "skip": k, "count": n,
"probability": p, "action": {"fault": name, ...}}, all but the action optional. Rules are asked in the order in which
they were added; the first that fires has the request, and those after it do not see it.
"""
import random
import re

from lab import faults

MATCHES = {"kind", "method", "target"}
PARTS = {"match", "skip", "count", "probability", "action"}


class Rule:
    """One rule, with how often it matched (`seen`) and fired (`fired`)."""

    def __init__(self, identifier, seed, text):
        unknown = set(text) - PARTS | set(text.get("match", {})) - MATCHES
        if unknown or "action" not in text:
            raise ValueError("a rule with unknown parts or without an action: %s" % (sorted(unknown) or text))
        match = text.get("match", {})
        kinds = match.get("kind")
        self.kinds = {kinds} if isinstance(kinds, str) else set(kinds or ())
        self.method = match.get("method")
        self.target = re.compile(match["target"]) if "target" in match else None
        self.skip, self.count = text.get("skip", 0), text.get("count")
        self.probability = text.get("probability", 1)
        self.action = faults.Action(text["action"])
        self.identifier = identifier
        # Each rule has numbers of its own, so that adding a second does not change what the first does.
        self.random = random.Random("%s/%s" % (seed, identifier))
        self.seen = self.fired = 0

    def matches(self, request):
        return (
            (not self.kinds or request.kind in self.kinds)
            and (self.method is None or request.method == self.method)
            and (self.target is None or self.target.search(request.target) is not None)
        )

    def fires(self, request):
        """Whether this request is spoiled; to be asked once for each request."""
        if not self.matches(request):
            return False
        self.seen += 1
        # Drawn for every matching request, so that the draws do not depend on skip and count.
        drawn = self.random.random() < self.probability
        if self.seen <= self.skip or not drawn or self.count is not None and self.fired >= self.count:
            return False
        self.fired += 1
        return True


class Rules:
    """The rules in force. Identifiers are never used twice, so that counters stay telling after a clear."""

    def __init__(self, seed):
        self.seed = seed
        self.rules = []
        self.last = 0

    def add(self, text):
        rule = Rule(self.last + 1, self.seed, text)
        self.last += 1
        self.rules.append(rule)
        return rule.identifier

    def clear(self):
        self.rules = []

    def choose(self, request):
        return next((rule for rule in self.rules if rule.fires(request)), None)
