"""Signs a request again that the lab has changed, where what was changed is covered by the signature.

Needs the keys of the server under test; without them such a request is forwarded with its old signature, and the
server refuses it. AWS Signature Version 4, single chunk, in the Authorization header.
"""
import hashlib
import hmac
import re


class Signer:
    def __init__(self, access_key=None, secret_key=None):
        self.access_key, self.secret_key = access_key, secret_key

    def signed_again(self, request):
        """The head of the request as bytes, signed anew if the Range field was signed."""
        head = request.head
        pattern = r"AWS4-HMAC-SHA256 Credential=([^,]*), ?SignedHeaders=([^,]*), ?Signature="
        old = re.match(pattern, head.get("authorization") or "")
        if self.secret_key is None or old is None or "range" not in old[2].split(";"):
            return head.encode()
        scope = old[1].split("/", 1)[1]
        names = [name for name in old[2].split(";") if head.get(name) is not None]
        signature = self._signature(request, scope, names)
        head.set("Authorization", "AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=%s, Signature=%s"
                 % (old[1], ";".join(names), signature))  # fmt: skip
        return head.encode()

    def _signature(self, request, scope, names):
        head = request.head
        path, _, query = request.target.partition("?")
        query = "&".join(sorted(pair if "=" in pair else pair + "=" for pair in query.split("&") if pair))
        fields = "".join("%s:%s\n" % (name, " ".join(head.get(name).split())) for name in names)
        payload = head.get("x-amz-content-sha256") or "UNSIGNED-PAYLOAD"
        canonical = "\n".join([request.method, path, query, fields, ";".join(names), payload])
        digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", head.get("x-amz-date"), scope, digest])
        key = ("AWS4" + self.secret_key).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
