/// A fault that the lab works on one request; see Tests/Lab/README.md for what each does.
package struct Fault: Sendable, CustomStringConvertible {
    let parameters: [String: any Sendable]

    package var description: String {
        let rest = parameters.filter { $0.key != "fault" }.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        return ([parameters["fault"] as? String ?? "?"] + rest).joined(separator: ", ")
    }

    private init(_ name: String, _ parameters: [String: (any Sendable)?] = [:]) {
        self.parameters = parameters.compactMapValues { $0 }.merging(["fault": name]) { $1 }
    }

    /// An S3 error instead of the answer. `forward`: the server has carried the request out all the same.
    package static func status(
        _ status: Int, code: String? = nil, retryAfter: Int? = nil, region: String? = nil,
        dateOffsetHours: Double? = nil, headers: [String: String]? = nil, forward: Bool = false
    ) -> Fault {
        Fault(
            "status",
            [
                "status": status, "code": code, "retry_after": retryAfter, "region": region,
                "date_offset_hours": dateOffsetHours, "headers": headers, "forward": forward,
            ])
    }

    package static var slowDown: Fault { status(503, code: "SlowDown") }
    package static var internalError: Fault { status(500, code: "InternalError") }
    /// The upload that the request names is unknown to the server.
    package static var lostUpload: Fault { status(404, code: "NoSuchUpload") }
    /// The server's clock is `hours` ahead of ours.
    package static func clockSkew(hours: Double) -> Fault {
        status(403, code: "RequestTimeTooSkewed", dateOffsetHours: hours)
    }
    /// The bucket is in another region.
    package static func otherRegion(_ region: String) -> Fault {
        status(301, code: "PermanentRedirect", region: region)
    }
    /// 200 with an error as the body; `spaces` are sent first, ten a second, to keep the connection alive.
    package static func errorIn200(code: String = "InternalError", spaces: Int = 0, forward: Bool = false) -> Fault {
        Fault("error-in-200", ["code": code, "spaces": spaces, "forward": forward])
    }
    /// The listing as it was when it was last asked for.
    package static var staleList: Fault { Fault("stale-list") }

    package static var resetBefore: Fault { Fault("reset-before") }
    /// The server has carried the request out, and the answer is lost.
    package static var resetAfter: Fault { Fault("reset-after") }
    package static func resetBody(after bytes: Int) -> Fault { Fault("reset-body", ["after": bytes]) }
    package static func stallRequest(seconds: Double = 3600) -> Fault { Fault("stall-request", ["seconds": seconds]) }
    package static func stallBody(after bytes: Int, seconds: Double = 3600) -> Fault {
        Fault("stall-body", ["after": bytes, "seconds": seconds])
    }
    /// An answer that ends early; `lie`: its Content-Length says that this was all.
    package static func shortBody(after bytes: Int, lie: Bool = false) -> Fault {
        Fault("short-body", ["after": bytes, "lie": lie])
    }
    package static func slow(bytesPerSecond: Double) -> Fault { Fault("slow", ["bytes_per_second": bytesPerSecond]) }

    /// A bit of the answer's body, at `offset` modulo its length.
    package static func flipBit(at offset: Int) -> Fault { Fault("flip-bit", ["at": offset]) }
    /// A bit of the request's body, at `offset` modulo its length.
    package static func flipRequestBit(at offset: Int) -> Fault { Fault("flip-request-bit", ["at": offset]) }
    /// What of a ranged answer is wrong.
    package enum RangePart: String, Sendable {
        /// Content-Range alone.
        case claim = "answer"
        /// The bytes alone.
        case bytes = "both"
        /// The bytes, and Content-Range says so.
        case bytesAndClaim = "request"
    }
    package static func wrongRange(_ part: RangePart, by bytes: Int = 1) -> Fault {
        Fault("wrong-range", ["where": part.rawValue, "by": bytes])
    }
    /// 200 and the whole object for a ranged request.
    package static var ignoreRange: Fault { Fault("ignore-range") }
    /// Fields of the answer twice: those named, or all that do not frame the message.
    package static func duplicateHeaders(_ names: [String]? = nil) -> Fault {
        Fault("duplicate-headers", ["headers": names])
    }
    package static var reorderHeaders: Fault { Fault("reorder-headers") }
    package static var wrongETag: Fault { Fault("wrong-etag") }
}

/// Which requests the lab works a fault on. Of several rules the first that fires has the request.
package struct FaultRule: Sendable {
    /// An S3 operation, as the lab tells it from method and target.
    package enum Operation: String, Sendable, CaseIterable {
        case get, head, put, list, delete
        case createUpload = "create-upload"
        case uploadPart = "upload-part"
        case completeUpload = "complete-upload"
        case abortUpload = "abort-upload"
        case listParts = "list-parts"
        case listUploads = "list-uploads"
        case deleteMany = "delete-many"
        case headBucket = "head-bucket"
        case createBucket = "create-bucket"
        case deleteBucket = "delete-bucket"
        case listBuckets = "list-buckets"
        case other
    }

    let parameters: [String: any Sendable]

    /// - Parameters:
    ///   - operations: those to spoil; none means any.
    ///   - target: a regular expression (Python's) that path and query have to contain.
    ///   - skip: how many matching requests pass first.
    ///   - count: how many are spoiled then; nil for all.
    ///   - probability: of each of them, drawn from the seed.
    package init(
        _ fault: Fault, on operations: Operation..., method: String? = nil, target: String? = nil, skip: Int = 0,
        count: Int? = nil, probability: Double = 1
    ) {
        var match: [String: any Sendable] = [:]
        if !operations.isEmpty { match["kind"] = operations.map(\.rawValue) }
        match["method"] = method
        match["target"] = target
        var parameters: [String: any Sendable] = [
            "action": fault.parameters, "match": match, "skip": skip, "probability": probability,
        ]
        parameters["count"] = count
        self.parameters = parameters
    }
}
