internal import CCurl
internal import Glibc
internal import Workers

/// One request and its answer.
///
/// Safe because: `easy`, `response` and the bodies are touched by the driving thread only, from the start of the exchange
/// until `end`; before and after that by the caller only. `result` passes between the two through the monitor.
final class Exchange: @unchecked Sendable {
    private static let headerLimit = 64 << 10

    let easy: UnsafeMutableRawPointer
    private var headerList: UnsafeMutablePointer<curl_slist>?
    private let errorText = UnsafeMutableBufferPointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
    private let buffer: UnsafeMutableRawBufferPointer?
    private let limit: Int
    private let stallSeconds: Int
    /// How much had gone and come when that last changed, and when that was.
    private var progress: (byteCount: curl_off_t, at: ContinuousClock.Instant)?
    private var response = HTTPResponse(status: 0)
    private var headerByteCount = 0
    /// How often libcurl has begun to send the request.
    private var startCount = 0
    /// Why a callback refused to go on.
    private var refusal: HTTPFailure?
    private let result = Monitor<Result<HTTPResponse, HTTPFailure>?>(nil)

    init(
        _ request: HTTPRequest, body: UnsafeRawBufferPointer?, buffer: UnsafeMutableRawBufferPointer?, limit: Int,
        settings: HTTPTransport.Settings
    ) throws(HTTPFailure) {
        guard let easy = curl_easy_init() else { throw HTTPFailure(code: .invalidRequest, detail: "out of memory") }
        self.easy = easy
        self.buffer = buffer
        self.limit = limit
        stallSeconds = settings.stallSeconds
        errorText.initialize(repeating: 0)
        for (name, value) in request.headers {
            // A line break would be another header.
            let isLine = (name + value).utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f } && !name.isEmpty
            guard isLine else {
                throw HTTPFailure(code: .invalidRequest, detail: "the header \"\(name)\" holds control characters")
            }
            // `name;` is libcurl's way to send a header without a value.
            append(value.isEmpty ? "\(name);" : "\(name): \(value)")
        }
        // No waiting for a permission to send, and no type that nobody chose.
        append("Expect:")
        if !request.headers.contains(where: { $0.name.lowercased() == "content-type" }) { append("Content-Type:") }
        set(CURLOPT_HTTPHEADER, pointer: headerList)
        holdfast_curl_set_string(easy, CURLOPT_URL, request.url)
        set(CURLOPT_PATH_AS_IS, 1)
        holdfast_curl_set_string(easy, CURLOPT_PROTOCOLS_STR, "http,https")
        set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_CONNECTTIMEOUT_MS, settings.connectMilliseconds)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        if request.maximumIdleSeconds > 0 {
            set(CURLOPT_MAXAGE_CONN, request.maximumIdleSeconds)
        } else {
            set(CURLOPT_FRESH_CONNECT, 1)
        }
        if let limit = request.totalMilliseconds { set(CURLOPT_TIMEOUT_MS, limit) }
        set(CURLOPT_BUFFERSIZE, 512 << 10)
        set(CURLOPT_UPLOAD_BUFFERSIZE, 512 << 10)
        set(CURLOPT_ERRORBUFFER, pointer: errorText.baseAddress)
        if let path = settings.certificateAuthorityPath { holdfast_curl_set_string(easy, CURLOPT_CAINFO, path) }
        switch request.method {
        case .get: set(CURLOPT_HTTPGET, 1)
        case .head: set(CURLOPT_NOBODY, 1)
        case .delete: holdfast_curl_set_string(easy, CURLOPT_CUSTOMREQUEST, "DELETE")
        case .put, .post:
            // As fields: libcurl can send memory again by itself when a kept connection turns out to be dead; see `starts`.
            set(CURLOPT_POST, 1)
            holdfast_curl_set_string(easy, CURLOPT_CUSTOMREQUEST, request.method.rawValue)
            holdfast_curl_set_large(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(body?.count ?? 0))
            // An empty body is still a body.
            set(CURLOPT_POSTFIELDS, pointer: body?.baseAddress ?? UnsafeRawPointer(errorText.baseAddress!))
        }
        let me = Unmanaged.passUnretained(self).toOpaque()
        set(CURLOPT_HEADERDATA, pointer: me)
        set(CURLOPT_WRITEDATA, pointer: me)
        // Not libcurl's own low-speed limit: that looks at the average of the last seconds.
        set(CURLOPT_NOPROGRESS, 0)
        set(CURLOPT_XFERINFODATA, pointer: me)
        holdfast_curl_set_progress(easy) { me, _, received, _, sent in
            guard let me else { return 1 }
            return Unmanaged<Exchange>.fromOpaque(me).takeUnretainedValue().goesOn(received, sent) ? 0 : 1
        }
        if request.isSentOnce {
            set(CURLOPT_PREREQDATA, pointer: me)
            holdfast_curl_set_before_request(easy) { me, _, _, _, _ in
                guard let me else { return CURL_PREREQFUNC_ABORT }
                return Unmanaged<Exchange>.fromOpaque(me).takeUnretainedValue().starts()
                    ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT
            }
        }
        holdfast_curl_set_receiver(easy, CURLOPT_HEADERFUNCTION) { bytes, size, count, me in
            guard let bytes, let me else { return 0 }
            let line = UnsafeRawBufferPointer(start: bytes, count: size * count)
            return Unmanaged<Exchange>.fromOpaque(me).takeUnretainedValue().takeHeader(line) ? line.count : 0
        }
        holdfast_curl_set_receiver(easy, CURLOPT_WRITEFUNCTION) { bytes, size, count, me in
            guard let bytes, let me else { return 0 }
            let part = UnsafeRawBufferPointer(start: bytes, count: size * count)
            return Unmanaged<Exchange>.fromOpaque(me).takeUnretainedValue().takeBody(part) ? part.count : 0
        }
    }

    deinit {
        curl_easy_cleanup(easy)
        curl_slist_free_all(headerList)
        errorText.deallocate()
    }

    private func append(_ line: String) { headerList = curl_slist_append(headerList, line) }

    private func set(_ option: CURLoption, _ value: Int) { holdfast_curl_set_long(easy, option, value) }

    private func set(_ option: CURLoption, pointer: UnsafeRawPointer?) {
        holdfast_curl_set_pointer(easy, option, pointer)
    }

    /// Asked before each start of a request that is sent once. A kept connection that ends without an answer makes libcurl send
    /// the request again, unasked, and nobody would know that it was carried out twice.
    private func starts() -> Bool {
        startCount += 1
        guard startCount > 1 else { return true }
        refusal = HTTPFailure(code: .interrupted, detail: "the kept connection was closed without an answer")
        return false
    }

    // MARK: The answer, as it comes

    private func takeHeader(_ bytes: UnsafeRawBufferPointer) -> Bool {
        headerByteCount += bytes.count
        guard headerByteCount <= Self.headerLimit else { return refuse("the server sends too many headers") }
        let line = String(decoding: bytes.prefix { $0 != 13 && $0 != 10 }, as: UTF8.self)
        if line.hasPrefix("HTTP/") {
            // A new head: what came before belonged to an interim answer (1xx).
            response = HTTPResponse(status: Int(line.split(separator: " ").dropFirst().first ?? "") ?? 0)
        } else if let colon = line.firstIndex(of: ":") {
            let value = line[line.index(after: colon)...].drop { $0.isWhitespace }
            response.headers.append((name: line[..<colon].lowercased(), value: String(value)))
        }
        return true
    }

    private func takeBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        if let buffer, response.isSuccess {
            let start = response.bufferedByteCount
            guard bytes.count <= buffer.count - start else {
                return refuse("the server sends more than the \(buffer.count) bytes that were asked for")
            }
            UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + bytes.count]).copyMemory(from: bytes)
            response.bufferedByteCount += bytes.count
        } else {
            guard response.body.count + bytes.count <= limit else {
                return refuse("the server's answer is longer than \(limit) bytes")
            }
            response.body += bytes
        }
        return true
    }

    /// Asked at least once a second while the exchange has a connection or makes one.
    private func goesOn(_ received: curl_off_t, _ sent: curl_off_t) -> Bool {
        let (now, byteCount) = (ContinuousClock.now, received + sent + curl_off_t(headerByteCount))
        guard let last = progress, last.byteCount == byteCount else {
            progress = (byteCount, now)
            return true
        }
        guard now - last.at >= .seconds(stallSeconds) else { return true }
        let isConnected = isConnected
        refusal = HTTPFailure(
            code: isConnected ? .stalled : .unreachable,
            detail: "\(isConnected ? "not a byte" : "no connection") for \(stallSeconds) seconds")
        return false
    }

    /// Whether there was a connection that the request could go over.
    private var isConnected: Bool {
        var microseconds: curl_off_t = 0
        holdfast_curl_get_large(easy, CURLINFO_PRETRANSFER_TIME_T, &microseconds)
        return microseconds > 0
    }

    private func refuse(_ detail: String) -> Bool {
        refusal = HTTPFailure(code: .tooLong, detail: detail)
        return false
    }

    // MARK: The end

    /// Called by the driving thread when libcurl is done.
    func finish(_ code: CURLcode) {
        if code == CURLE_OK { return end(.success(response)) }
        end(.failure(refusal ?? HTTPFailure(code: meaning(of: code), detail: text(of: code))))
    }

    /// Wakes the caller. The last thing that the driving thread does with the exchange.
    func end(_ outcome: Result<HTTPResponse, HTTPFailure>) {
        result.withLock { $0 = outcome }
    }

    func wait() throws(HTTPFailure) -> HTTPResponse {
        switch result.wait(until: { $0 }) {
        case .success(let response): return response
        case .failure(let failure): throw failure
        }
    }

    private func text(of code: CURLcode) -> String {
        let own = String(decoding: errorText.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let text = own.isEmpty ? String(cString: curl_easy_strerror(code)) : own
        return text.prefix(1).lowercased() + text.dropFirst()
    }

    private func meaning(of code: CURLcode) -> HTTPFailure.Code {
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_CONNECT: .unreachable
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CONNECT_ERROR, CURLE_SSL_ISSUER_ERROR,
            CURLE_SSL_INVALIDCERTSTATUS:
            .untrusted
        case CURLE_OPERATION_TIMEDOUT: isConnected ? .stalled : .unreachable
        // Also what does not begin like HTTP.
        case CURLE_UNSUPPORTED_PROTOCOL: isConnected ? .interrupted : .invalidRequest
        case CURLE_URL_MALFORMAT, CURLE_BAD_FUNCTION_ARGUMENT, CURLE_OUT_OF_MEMORY:
            .invalidRequest
        default: .interrupted
        }
    }
}
