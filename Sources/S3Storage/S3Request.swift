internal import HTTPTransport
internal import Storage

/// What is asked of S3, before it has an address, a date and a signature.
struct S3Request: Sendable {
    var method: HTTPRequest.Method
    /// nil asks the bucket.
    var key: ObjectKey?
    /// Not encoded.
    var query: [(name: String, value: String)] = []
    var headers: [(name: String, value: String)] = []
    /// SHA-256 of the body, in hexadecimal; nil lets the client compute it.
    var payloadHash: String?
    /// How long it may be repeated.
    var patience: Duration = .zero
    /// For the whole of each attempt; nil: as long as there is progress.
    var totalMilliseconds: Int?

    /// Makes an object or its end, and asks for nothing that could be absent.
    var makesObject: Bool {
        method == .put && query.isEmpty || method == .post && query.contains { $0.name == "uploadId" }
    }

    init(
        _ method: HTTPRequest.Method, _ key: ObjectKey?, query: [(name: String, value: String)] = [],
        headers: [(name: String, value: String)] = [], patience: Duration
    ) {
        self.method = method
        self.key = key
        self.query = query
        self.headers = headers
        self.patience = patience
    }
}
