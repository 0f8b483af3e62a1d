/// A request as it goes over the wire.
package struct HTTPRequest: Sendable {
    package enum Method: String, Sendable, CaseIterable {
        case get = "GET"
        case head = "HEAD"
        case put = "PUT"
        case post = "POST"
        case delete = "DELETE"
    }

    package var method: Method
    /// Absolute, with everything encoded as it shall be sent: dots in the path are left alone.
    package var url: String
    package var headers: [(name: String, value: String)]
    /// A kept connection that was idle for longer is not used: where it leads, nobody may be any more. 0 demands a new one.
    package var maximumIdleSeconds = 30
    /// Never sent again unasked, for what it does twice is not what it does once. Other requests are, when a kept connection ends
    /// without a byte of the answer: without this the caller would not learn that it may have been carried out already.
    package var isSentOnce = false
    /// For the whole exchange; nil leaves it to the transport's limits, which look at progress only.
    package var totalMilliseconds: Int?

    package init(_ method: Method, _ url: String, headers: [(name: String, value: String)] = []) {
        self.method = method
        self.url = url
        self.headers = headers
    }
}

/// What a server answered.
package struct HTTPResponse: Sendable {
    package var status: Int
    /// Names in lower case, in the order they came.
    package var headers: [(name: String, value: String)] = []
    /// How much of the body lies in the buffer that the caller gave: only a success (2xx) writes there.
    package var bufferedByteCount = 0
    /// Any other body, up to the limit.
    package var body: [UInt8] = []

    package init(status: Int, headers: [(name: String, value: String)] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    package var isSuccess: Bool { 200..<300 ~= status }

    /// The first header of that name (lower case).
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}

/// A request that got no answer, or none that could be taken.
package struct HTTPFailure: Error, Hashable, CustomStringConvertible {
    package enum Code: Sendable, Hashable, CaseIterable {
        /// The name is not known, nobody listens there, or no connection came about in time.
        case unreachable
        /// The connection broke, or the answer ended early: the server may have acted all the same.
        case interrupted
        /// No byte came or went for too long.
        case stalled
        /// The server's certificate does not prove who it is.
        case untrusted
        /// The answer does not fit the buffer or the limits for headers and bodies.
        case tooLong
        /// The URL or a header cannot be sent.
        case invalidRequest
        /// The caller gave up, or the transport was closed.
        case cancelled
    }

    package let code: Code
    package let detail: String

    package var description: String { detail }
}
