package import HTTPTransport
package import Storage

/// What went wrong with one request, and whether it makes sense to send it again.
package struct S3Failure: Error {
    package enum Retry: Sendable, Hashable {
        case never
        /// The server answered and asks for patience: busy, an error of its own.
        case later
        /// There was no answer: nobody there, a broken connection, silence.
        case outage
    }

    package let code: StorageError.Code
    let retry: Retry
    /// S3's own word, such as `NoSuchKey`.
    package var word: String?
    package let detail: String
    var hint: String?
    /// Seconds that the server asks to wait.
    var retryAfter: Int?
    /// The answer, where there was one.
    var response: HTTPResponse?
    /// Whether the request may have taken effect all the same.
    var mayHaveHappened = false

    init(_ code: StorageError.Code, word: String? = nil, _ detail: String, hint: String? = nil) {
        self.init(code, .never, word: word, detail, hint: hint)
    }

    init(_ code: StorageError.Code, _ retry: Retry, word: String? = nil, _ detail: String, hint: String? = nil) {
        self.code = code
        self.retry = retry
        self.word = word
        self.detail = detail
        self.hint = hint
    }

    static let networkHint = "is `endpoint` right, and the network up?"

    /// No answer.
    init(_ failure: HTTPFailure, _ settings: S3Settings) {
        let place = "endpoint \"\(settings.endpoint.description)\""
        switch failure.code {
        case .unreachable:
            self.init(
                .unavailable, .outage, "\(place) cannot be reached: \(failure.detail)",
                hint: Self.networkHint)
        case .interrupted:
            self.init(
                .unavailable, .outage, "\(place) broke off: \(failure.detail)",
                hint: settings.endpoint.usesTLS
                    ? Self.networkHint : "\(Self.networkHint) A server with TLS wants https:// there.")
            mayHaveHappened = true
        case .stalled:
            self.init(.timedOut, .outage, "\(place) made no progress: \(failure.detail)", hint: Self.networkHint)
            mayHaveHappened = true
        case .untrusted:
            self.init(
                .denied, .never, "\(place) does not prove who it is: \(failure.detail)",
                hint: "for a certificate of your own set `ca_file` to that of its authority; for a server without TLS "
                    + "say http:// in `endpoint`")
        case .tooLong:
            self.init(.corrupt, .later, "\(place): \(failure.detail)")
            mayHaveHappened = true
        case .invalidRequest: self.init(.invalidKey, .never, "\(place): \(failure.detail)")
        case .cancelled: self.init(.changed, .never, "the request was given up")
        }
    }

    /// An answer that is no success.
    package init(_ response: HTTPResponse, _ settings: S3Settings) { self.init(response, settings, document: nil) }

    /// The same; `document` is its body, where that was parsed before.
    init(_ response: HTTPResponse, _ settings: S3Settings, document: XMLTree?) {
        let document = document ?? XMLTree(response.body)
        let word = document?.name == "Error" ? document?["Code"] : nil
        let message = document?["Message"].map { $0.isEmpty ? "" : ": \($0)" } ?? ""
        let request = response.header("x-amz-request-id").map { ", request id \($0)" } ?? ""
        let detail = ServerText.line("\(word ?? "status \(response.status)")\(message)\(request)")
        let bucket = "bucket \"\(settings.bucket)\""
        switch (word, response.status) {
        case ("NoSuchBucket", _):
            self.init(
                .noSuchStore, word: word, "\(bucket) does not exist: \(detail)",
                hint: "is `bucket` right, and `endpoint` that of its region?")
        case ("NoSuchKey", _): self.init(.absent, word: word, detail)
        case ("NoSuchUpload", _): self.init(.changed, word: word, "the upload is not there any more: \(detail)")
        case ("InvalidAccessKeyId", _), ("InvalidToken", _), ("ExpiredToken", _), ("InvalidSecurity", _):
            self.init(
                .denied, word: word, "the access key is not known: \(detail)",
                hint: "are the credentials those of this endpoint?")
        case ("SignatureDoesNotMatch", _):
            self.init(
                .denied, word: word, "the signature is refused: \(detail)",
                hint: "is the secret key the one of this access key, and `region` right?")
        case ("AuthorizationHeaderMalformed", _), ("IllegalLocationConstraintException", _):
            self.init(
                .denied, word: word, "the region \"\(settings.region)\" is refused: \(detail)",
                hint: "set `region` to the bucket's")
        case ("RequestTimeTooSkewed", _), ("RequestExpired", _):
            self.init(
                .clockSkew, word: word, "this host's clock differs from the server's: \(detail)",
                hint: "set the clock (timedatectl, chrony)")
        case ("InvalidBucketName", _):
            self.init(.noSuchStore, word: word, "\(bucket) has no valid name: \(detail)", hint: "is `bucket` right?")
        case ("SlowDown", _), ("Throttling", _), ("ThrottlingException", _), ("RequestLimitExceeded", _), (_, 429),
            ("TooManyRequests", _), ("ServiceUnavailable", 503), (nil, 503):
            self.init(.throttled, .later, word: word, "the server is busy: \(detail)")
        case ("QuotaExceeded", _), ("EntityTooLarge", _), ("XMinioStorageFull", _), (_, 507):
            self.init(.noSpace, word: word, detail)
        // The server saw other bytes than were sent: the way there damaged them.
        case ("BadDigest", _), ("XAmzContentSHA256Mismatch", _), ("XAmzContentChecksumMismatch", _),
            ("InvalidDigest", _), ("RequestTimeout", _), ("IncompleteBody", _):
            self.init(.corrupt, .later, word: word, "what was sent did not arrive whole: \(detail)")
        case ("KeyTooLongError", _), ("InvalidObjectName", _), ("XMinioInvalidObjectName", _):
            self.init(.invalidKey, word: word, detail)
        case (_, 412), ("PreconditionFailed", _): self.init(.changed, word: word, "the condition failed: \(detail)")
        // Two conditional writes at once; the other may still fail.
        case ("ConditionalRequestConflict", _), (_, 409): self.init(.unavailable, .later, word: word, detail)
        case (_, 416): self.init(.rangeNotSatisfiable, word: word, detail)
        case (_, 401), (_, 403):
            self.init(.denied, word: word, detail, hint: "may this access key use \(bucket)?")
        // Also as the body of a 200.
        case ("InternalError", _), ("ServiceUnavailable", _), ("OperationAborted", _):
            self.init(.unavailable, .later, word: word, "the server failed: \(detail)")
        case (_, 404): self.init(.absent, word: word, detail)
        case (_, 501): self.init(.denied, word: word ?? "NotImplemented", "the server cannot do this: \(detail)")
        case (_, 500...): self.init(.unavailable, .later, word: word, "the server failed: \(detail)")
        default: self.init(.unavailable, word: word, "the server refuses: \(detail)")
        }
        mayHaveHappened = response.status >= 500 && response.status != 501 && code != .throttled
        retryAfter = response.header("retry-after").flatMap { Int($0) }
    }

    package func storageError(_ subject: String) -> StorageError {
        StorageError(code, subject, detail, hint: hint)
    }
}
