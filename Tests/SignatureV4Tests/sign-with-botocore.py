"""Signs random requests with botocore and prints them, one JSON object a line. usage: sign-with-botocore.py SEED COUNT"""

import json
import random
import sys
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

chance = random.Random(int(sys.argv[1]))
LETTERS = "abcXYZ019-._~ /+%&=?#@:,;!'()*[]ü€𝄞"


def text(least, most):
    return "".join(chance.choice(LETTERS) for _ in range(chance.randint(least, most)))


for _ in range(int(sys.argv[2])):
    secret = text(16, 40)
    token = chance.choice([None, "AQoDYXdzEPT//wEXAMPLE=="])
    region = chance.choice(["us-east-1", "eu-central-2"])
    path = "/bucket/" + text(1, 60)
    query = {text(1, 8): text(0, 12) for _ in range(chance.randint(0, 4))}
    headers = {"Range": "bytes=%d-%d" % (chance.randrange(100), 100 + chance.randrange(10**12))}
    if chance.random() < 0.5:
        headers["x-amz-meta-note"] = "  two   words " + str(chance.random())
    body = bytes(chance.randrange(256) for _ in range(chance.randrange(300)))
    request = AWSRequest(
        method=chance.choice(["GET", "PUT", "HEAD", "DELETE", "POST"]),
        url="http://127.0.0.1:9000" + quote(path, safe="/~"), params=query, headers=headers, data=body)
    S3SigV4Auth(Credentials("AKIDEXAMPLE", secret, token), "s3", region).add_auth(request)
    given = [[name, value] for name, value in request.headers.items() if name.lower() != "authorization"]
    print(json.dumps({
        "secret": secret, "region": region, "method": request.method, "path": path, "query": list(query.items()),
        "headers": given + [["host", "127.0.0.1:9000"]], "authorization": request.headers["Authorization"]}))
