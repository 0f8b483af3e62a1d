/// What a store could not do, and to what.
package struct StorageError: Error, CustomStringConvertible {
    /// Failures that somebody must tell apart. Each store maps its own errors to these and to nothing else.
    package enum Code: Hashable, Sendable, CaseIterable {
        /// No object of that key, or no such upload. Only ever said when the store itself was reached.
        case absent
        /// There is an object of that key, and it was not touched.
        case alreadyExists
        /// The store is read-only, or does not let us.
        case denied
        /// The store is full, or a quota is used up.
        case noSpace
        /// The store itself cannot be reached or used: a missing folder, a device error, a network that is down. May be
        /// tried again later.
        case unavailable
        /// The store made no progress for too long, and every repetition too. May be tried again later.
        case timedOut
        /// The store asks for fewer requests, and went on doing so through every repetition.
        case throttled
        /// The clocks of this host and the store differ by more than the store allows.
        case clockSkew
        /// The store was reached, and has no such bucket.
        case noSuchStore
        /// The store gave what cannot be right.
        case corrupt
        /// The object or upload was replaced or removed while it was used.
        case changed
        /// No object can have that name here.
        case invalidKey
        /// The object ends before the range does.
        case rangeNotSatisfiable

        /// Whether the same request may succeed later with nothing changed on this host.
        package var mayPassByItself: Bool {
            switch self {
            case .noSpace, .unavailable, .timedOut, .throttled: true
            case .absent, .alreadyExists, .denied, .clockSkew, .noSuchStore, .corrupt, .changed, .invalidKey,
                .rangeNotSatisfiable:
                false
            }
        }
    }

    package let code: Code
    /// The key, upload, or store that it is about.
    package let subject: String
    package let detail: String
    /// What to do about it, where that is known.
    package let hint: String?
    package let cause: (any Error)?

    package init(
        _ code: Code, _ subject: String, _ detail: String, hint: String? = nil, cause: (any Error)? = nil
    ) {
        self.code = code
        self.subject = subject
        self.detail = detail
        self.hint = hint
        self.cause = cause
    }

    package var description: String {
        "\"\(subject)\": \(detail)" + (cause.map { ": \($0)" } ?? "")
    }
}
