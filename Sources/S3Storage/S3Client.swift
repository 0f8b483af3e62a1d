internal import CryptoPrimitives
internal import Glibc
internal import HTTPTransport
internal import SignatureV4
internal import Storage
internal import Synchronization
internal import Workers

/// Signs requests, sends them, and repeats those that may succeed another time.
///
/// A request is repeated within its patience: after an error of the server's own, with full jitter (a random part of a limit
/// that doubles from 100 ms to 5 s) or what `Retry-After` says; after no answer at all on a new connection. What it learns once
/// for all requests: the server's clock, and the region and host that the bucket is really in.
final class S3Client: Sendable {
    private static let firstPause = 100.0
    private static let longestPause = 5000.0
    /// A `Retry-After` beyond this is taken as this.
    private static let longestRetryAfter = 30
    /// How often one request may be led elsewhere or given another date.
    private static let correctionLimit = 3
    private static let probeMilliseconds = 3000
    /// What S3 tolerates between the clocks: 15 minutes.
    private static let toleratedSkewSeconds: Int64 = 900

    /// What was learned from answers.
    private struct Learned {
        var endpoint: S3Endpoint
        var region: String
        /// What the server's clock is ahead of ours, in seconds.
        var clockOffset: Int64 = 0
        /// Kept connections from before are not to be trusted.
        var freshFrom: ContinuousClock.Instant?
    }

    let settings: S3Settings
    let availability = Availability()
    private let credentials: S3Credentials
    private let transport: HTTPTransport
    private let learned: Mutex<Learned>
    private let isProbing = Mutex(false)

    init(settings: S3Settings, credentials: S3Credentials) {
        self.settings = settings
        self.credentials = credentials
        var transport = HTTPTransport.Settings()
        transport.connectMilliseconds = settings.connectMilliseconds
        transport.stallSeconds = settings.stallSeconds
        transport.connectionLimit = settings.connectionLimit
        transport.certificateAuthorityPath = settings.certificateAuthorityPath
        self.transport = HTTPTransport(transport)
        learned = Mutex(Learned(endpoint: settings.endpoint, region: settings.region))
    }

    /// Ends everything under way.
    func close() {
        availability.close()
        transport.close()
    }

    /// Sends a request until it succeeds (2xx), cannot, or its patience is over.
    ///
    /// `accepts` looks at each success; what it returns is a failure all the same (an error in the body of a 200, a range that
    /// was not asked for). `failed` is told of each attempt that failed.
    func send(
        _ request: S3Request, body: UnsafeRawBufferPointer? = nil, into buffer: UnsafeMutableRawBufferPointer? = nil,
        limit: Int = 1 << 20, cancellation: HTTPCancellation? = nil,
        accepts: (HTTPResponse) -> S3Failure? = { _ in nil }, failed: (S3Failure) -> Void = { _ in }
    ) throws(S3Failure) -> HTTPResponse {
        let start = ContinuousClock.now
        let payloadHash =
            request.payloadHash
            ?? SHA256Hasher.digest(of: body ?? UnsafeRawBufferPointer(start: nil, count: 0)).hexadecimal
        var attempt = 0
        var corrections = 0
        var mayHaveHappened = false
        var lastFailure: S3Failure?
        while true {
            guard availability.waitUntilThere(start: start, patience: request.patience, cancellation: cancellation)
            else {
                if cancellation?.isCancelled == true || availability.isClosed { throw Self.givenUp }
                throw lastFailure ?? awayFailure()
            }
            var failure: S3Failure
            let before = learned.withLock { $0 }
            do throws(S3Failure) {
                let response = try sendOnce(
                    request, payloadHash: payloadHash, body, into: buffer, limit, cancellation, isFirst: attempt == 0)
                guard let refusal = accepts(response) else { return response }
                failure = refusal
            } catch {
                failure = error
                if let response = error.response, corrections < Self.correctionLimit,
                    learn(from: response, knowing: before)
                {
                    corrections += 1
                    continue
                }
            }
            failed(failure)
            mayHaveHappened = mayHaveHappened || failure.mayHaveHappened
            failure.mayHaveHappened = mayHaveHappened
            lastFailure = failure
            if failure.retry != .never || failure.code == .denied { availability.note(problem: failure.detail) }
            let pause = pause(after: failure, attempt: attempt)
            guard failure.retry != .never, ContinuousClock.now + pause - start < request.patience else { throw failure }
            attempt += 1
            guard availability.pause(pause, cancellation: cancellation) else { throw Self.givenUp }
        }
    }

    /// The same for a small body.
    func send(
        _ request: S3Request, bytes: [UInt8], accepts: (HTTPResponse) -> S3Failure? = { _ in nil }
    ) throws(S3Failure) -> HTTPResponse {
        let result = bytes.withUnsafeBytes { body in
            Result { () throws(S3Failure) in try send(request, body: body, accepts: accepts) }
        }
        return try result.get()
    }

    /// For callers that repeat by themselves.
    func pauseBriefly() { _ = availability.pause(.milliseconds(Int.random(in: 100...500))) }

    private static var givenUp: S3Failure { S3Failure(.changed, "the request was given up") }

    private func awayFailure() -> S3Failure {
        let report = availability.report
        let since = report.awayForSeconds.map { " for \($0) s" } ?? ""
        return S3Failure(
            .unavailable, .outage,
            "the store has not answered\(since)"
                + (report.lastProblem.map { ": \($0)" } ?? ""), hint: S3Failure.networkHint)
    }

    // MARK: One attempt

    private func sendOnce(
        _ request: S3Request, payloadHash: String, _ body: UnsafeRawBufferPointer?,
        into buffer: UnsafeMutableRawBufferPointer?, _ limit: Int, _ cancellation: HTTPCancellation?, isFirst: Bool
    ) throws(S3Failure) -> HTTPResponse {
        availability.noteRequest()
        var message = signed(request, payloadHash: payloadHash)
        message.totalMilliseconds = request.totalMilliseconds
        message.isSentOnce =
            request.method == .post || request.headers.contains { $0.name.lowercased() == "if-none-match" }
        message.maximumIdleSeconds = isFirst ? maximumIdleSeconds : 0
        let response: HTTPResponse
        do throws(HTTPFailure) {
            response = try transport.perform(
                message, body: body, into: buffer, limit: limit, cancellation: cancellation)
        } catch {
            let failure = S3Failure(error, settings)
            if failure.retry == .outage, availability.noteSilence() { startProbing() }
            throw failure
        }
        availability.noteAnswer()
        guard !response.isSuccess else { return response }
        var failure = S3Failure(response, settings)
        if failure.code == .absent, request.makesObject {
            // JuiceFS: the folder of its name was emptied by somebody else, and removed, at this moment.
            failure = S3Failure(.unavailable, .later, word: failure.word, failure.detail)
        }
        failure.response = response
        if failure.code == .throttled { availability.noteThrottled() }
        throw failure
    }

    private func signed(_ request: S3Request, payloadHash: String) -> HTTPRequest {
        let learned = learned.withLock { $0 }
        let timestamp = Self.timestamp(Int64(time(nil)) + learned.clockOffset)
        let endpoint = learned.endpoint
        let authority = endpoint.authority(bucket: settings.bucket, settings.addressing)
        let path = endpoint.path(bucket: settings.bucket, key: request.key?.string, settings.addressing)
        var headers: [(name: String, value: String)] = [
            ("Host", authority), ("x-amz-content-sha256", payloadHash), ("x-amz-date", timestamp),
        ]
        if let token = credentials.sessionToken { headers.append(("x-amz-security-token", token)) }
        headers += request.headers
        let unsigned = SignatureV4.Request(
            method: request.method.rawValue, path: path, query: request.query, headers: headers,
            payloadHash: payloadHash)
        let signer = SignatureV4(
            accessKey: credentials.accessKey, secretKey: credentials.secretKey, region: learned.region)
        headers.append(("Authorization", signer.authorization(for: unsigned, timestamp: timestamp)))
        let query = SignatureV4.canonicalQuery(unsigned)
        let url =
            "\(endpoint.scheme)://\(authority)\(URIEncoding.path(path))" + (query.isEmpty ? "" : "?\(query)")
        return HTTPRequest(request.method, url, headers: headers)
    }

    /// `20150830T123600Z`
    private static func timestamp(_ seconds: Int64) -> String {
        var seconds = time_t(seconds)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        var text = [CChar](repeating: 0, count: 32)
        strftime(&text, text.count, "%Y%m%dT%H%M%SZ", &parts)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private var maximumIdleSeconds: Int {
        learned.withLock { learned in
            guard let from = learned.freshFrom else { return 30 }
            let age = (ContinuousClock.now - from) / .seconds(1)
            if age > 120 { learned.freshFrom = nil }
            // Only what has become idle since then.
            return min(30, max(0, Int(age)))
        }
    }

    // MARK: Learning

    /// Takes over what a refusal says about region, host or time. True when the same request may succeed now.
    ///
    /// `before`: what was known when the request was made. Of several that are refused at once each has to be sent again, not only
    /// the first that learns.
    private func learn(from response: HTTPResponse, knowing before: Learned) -> Bool {
        let document = XMLTree(response.body)
        let word = document?["Code"]
        let offset = response.header("date").flatMap(HTTPDate.seconds).map { $0 - Int64(time(nil)) }
        // An answer to HEAD has no word.
        let isSkewed =
            response.status == 403 && response.body.isEmpty
            && abs((offset ?? 0) - before.clockOffset) > Self.toleratedSkewSeconds
        if word == "RequestTimeTooSkewed" || word == "RequestExpired" || isSkewed {
            guard let offset else { return false }
            guard abs(offset - before.clockOffset) > 60 else { return false }
            learned.withLock { $0.clockOffset = offset }
            return true
        }
        let isElsewhere = [301, 302, 307, 308].contains(response.status) || word == "AuthorizationHeaderMalformed"
        guard isElsewhere || response.status == 400 else { return false }
        let region = response.header("x-amz-bucket-region") ?? (isElsewhere ? document?["Region"] : nil)
        let host = document?["Endpoint"]
        return learned.withLock { learned in
            var changes = false
            if let region, Self.isRegion(region), region != before.region {
                learned.region = region
                changes = true
            }
            if isElsewhere, let host, let endpoint = before.endpoint.redirected(to: host, bucket: settings.bucket),
                endpoint != before.endpoint
            {
                learned.endpoint = endpoint
                changes = true
            }
            return changes
        }
    }

    /// It goes into a header of each request from then on.
    private static func isRegion(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count) && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x2f }
    }

    /// What the server's clock is ahead of ours, as far as it had to be learned.
    var clockOffsetSeconds: Int64 { learned.withLock { $0.clockOffset } }

    // MARK: Waiting

    private func pause(after failure: S3Failure, attempt: Int) -> Duration {
        let limit = min(Self.longestPause, Self.firstPause * Double(1 << min(attempt, 16)))
        var pause = Duration.milliseconds(Double.random(in: 0...limit))
        if let seconds = failure.retryAfter { pause = max(pause, .seconds(min(seconds, Self.longestRetryAfter))) }
        return max(pause, availability.takeToken())
    }

    // MARK: Probing

    private func startProbing() {
        let isFirst = isProbing.withLock { isProbing in
            defer { isProbing = true }
            return !isProbing
        }
        guard isFirst else { return }
        NativeThread(name: "s3-probe") { [self] in probe() }.detach()
    }

    private func probe() {
        while true {
            var request = HTTPRequest(.head, "")
            request = signed(
                S3Request(.head, nil, patience: .zero), payloadHash: SHA256Hasher.digest(of: [UInt8]()).hexadecimal)
            request.totalMilliseconds = Self.probeMilliseconds
            request.maximumIdleSeconds = 0
            if (try? transport.perform(request)) != nil {
                // Before anybody is told: the next silence starts probes of its own.
                isProbing.withLock { $0 = false }
                learned.withLock { $0.freshFrom = ContinuousClock.now }
                return availability.noteReturn()
            }
            guard availability.pause(.seconds(1)) else { return }
        }
    }
}
