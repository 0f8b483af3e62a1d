internal import CSodium
internal import Glibc

/// Secret bytes in guarded memory: between inaccessible pages, locked where the limit allows, left out of core dumps, and
/// wiped when the last reference goes (sodium_malloc(3)). Their description does not show them.
///
/// Safe because: filled by the initialiser only, then read.
package final class SecretBytes: @unchecked Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    package let count: Int
    private let memory: UnsafeMutableRawPointer

    /// Takes `count` bytes that `body` fills; they are zero before.
    package init(count: Int, initializingWith body: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
        Sodium.start()
        guard let memory = sodium_malloc(max(1, count)) else {
            preconditionFailure("internal error: no guarded memory")
        }
        sodium_memzero(memory, max(1, count))
        self.memory = memory
        self.count = count
        try body(UnsafeMutableRawBufferPointer(start: memory, count: count))
        sodium_mprotect_readonly(memory)
    }

    package convenience init(copying bytes: UnsafeRawBufferPointer) {
        self.init(count: bytes.count) { $0.copyMemory(from: bytes) }
    }

    /// Random bytes from the system.
    package static func random(count: Int) -> SecretBytes {
        SecretBytes(count: count) { SystemRandom.fill($0) }
    }

    deinit { sodium_free(memory) }

    package func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(start: memory, count: count))
    }

    /// Compares in constant time; the lengths are no secret.
    package func isEqual(to other: SecretBytes) -> Bool {
        count == other.count && sodium_memcmp(memory, other.memory, count) == 0
    }

    /// Zeroes secret bytes that had to pass through ordinary memory; the compiler cannot leave it out (sodium_memzero(3)).
    package static func wipe(_ bytes: UnsafeMutableRawBufferPointer) {
        if let base = bytes.baseAddress { sodium_memzero(base, bytes.count) }
    }

    package var description: String { "<\(count) secret bytes>" }
    package var debugDescription: String { description }
}

/// libsodium, started once.
enum Sodium {
    static func start() { _ = started }

    private static let started: Bool = {
        precondition(sodium_init() >= 0, "internal error: libsodium does not start")
        return true
    }()
}

/// The system's random numbers (randombytes_buf(3)).
package enum SystemRandom {
    package static func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        Sodium.start()
        guard let base = buffer.baseAddress else { return }
        randombytes_buf(base, buffer.count)
    }
}

/// Where random bytes come from; replaceable in tests that need the same bytes twice.
package protocol RandomSource: Sendable {
    func fill(_ buffer: UnsafeMutableRawBufferPointer)
}

package struct SystemRandomSource: RandomSource {
    package init() {}
    package func fill(_ buffer: UnsafeMutableRawBufferPointer) { SystemRandom.fill(buffer) }
}

/// What the primitives refuse.
package struct CryptoError: Error, Hashable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// An X25519 public key of small order: the shared secret would be zero (RFC 7748 section 6.1).
        case lowOrderPoint
        /// There is no room for what a derivation has to hold.
        case outOfMemory
    }

    package let code: Code
    package var description: String {
        switch code {
        case .lowOrderPoint: "the public key is a point of low order"
        case .outOfMemory: "there is not enough memory"
        }
    }
}

/// Compares public bytes that an attacker may choose, in constant time.
func equalInConstantTime(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    left.count == right.count && sodium_memcmp(left, right, left.count) == 0
}

extension UnsafeRawBufferPointer {
    /// The start of a buffer that is not empty, as C wants it.
    var octets: UnsafePointer<UInt8> {
        guard let baseAddress else { preconditionFailure("internal error: an empty buffer has no start") }
        return baseAddress.assumingMemoryBound(to: UInt8.self)
    }
}

extension UnsafeMutableRawBufferPointer {
    /// The start of a buffer that is not empty, as C wants it.
    var octets: UnsafeMutablePointer<UInt8> {
        guard let baseAddress else { preconditionFailure("internal error: an empty buffer has no start") }
        return baseAddress.assumingMemoryBound(to: UInt8.self)
    }
}
