"""Says which S3 operation a request is."""
import urllib.parse


def kind(method, target):
    """The S3 operation that a request is, by its method and target."""
    path, _, query = target.partition("?")
    has = {pair.partition("=")[0] for pair in query.split("&")}
    bucket, _, key = path.lstrip("/").partition("/")
    if not key:
        return bucket_kind(method, bucket, has)
    if method == "GET":
        return "list-parts" if "uploadId" in has else "get"
    if method == "PUT":
        return "upload-part" if "partNumber" in has else "put"
    if method == "POST":
        return "create-upload" if "uploads" in has else "complete-upload" if "uploadId" in has else "other"
    if method == "DELETE":
        return "abort-upload" if "uploadId" in has else "delete"
    return "head" if method == "HEAD" else "other"


def bucket_kind(method, bucket, has):
    if method == "GET" and bucket:
        inner = {"location", "versioning", "object-lock", "policy", "lifecycle", "acl", "tagging", "versions"}
        return "list-uploads" if "uploads" in has else "other" if has & inner else "list"
    if method == "POST" and "delete" in has:
        return "delete-many"
    names = {"GET": "list-buckets", "HEAD": "head-bucket", "PUT": "create-bucket", "DELETE": "delete-bucket"}
    return names.get(method, "other")


def list_identity(target):
    """A listing's target without what changes from one signing to the next."""
    path, _, query = target.partition("?")
    pairs = [pair for pair in urllib.parse.parse_qsl(query, True) if not pair[0].lower().startswith("x-amz-")]
    return path, tuple(sorted(pairs))
