import AgeFormat
import CryptoPrimitives
import Synchronization

/// One identity, file key, header and nonce for all inputs: what a fuzzer finds must happen again.
enum FuzzKeys {
    static let identity = AgeIdentity(secretKey: SecretBytes(count: 32) { counting.fill($0) })
    static let fileKey = SecretBytes(count: 16) { counting.fill($0) }
    static let sealKey = SecretBytes(count: 32) { counting.fill($0) }
    static let nonce = [UInt8](repeating: 0x6e, count: PayloadLayout.nonceByteCount)

    static let header: [UInt8] = {
        do throws(AgeError) {
            return try AgeHeader.make(fileKey: fileKey, recipients: [identity.recipient], random: counting)
        } catch {
            preconditionFailure("internal error: a header of our own: \(error)")
        }
    }()

    private static let counting = CountingBytes()

    /// An age file of that plaintext.
    static func sealed(_ plaintext: UnsafeRawBufferPointer) -> [UInt8] {
        let key = nonce.withUnsafeBytes { PayloadKey(fileKey: fileKey, nonce: $0) }
        var encryptor = AgeEncryptor(headerBytes: header, nonce: nonce, key: key)
        var file: [UInt8] = []
        do {
            try encryptor.update(plaintext) { file += $0 }
            try encryptor.finish { file += $0 }
        } catch {
            preconditionFailure("internal error: encrypting into memory fails: \(error)")
        }
        return file
    }
}

/// 1, 2, 3 …: the same for every buffer.
private struct CountingBytes: RandomSource {
    func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        for index in buffer.indices { buffer[index] = UInt8(truncatingIfNeeded: index + 1) }
    }
}

/// Takes numbers off the front of an input; zeros behind its end.
struct FuzzInput {
    private(set) var rest: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

    mutating func byte() -> UInt8 {
        guard let first = rest.first else { return 0 }
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
        return first
    }

    /// Little-endian.
    mutating func number(ofBytes count: Int) -> UInt64 {
        (0..<count).reduce(0) { value, index in value | UInt64(byte()) << (8 * UInt64(index)) }
    }

    /// At most that many bytes.
    mutating func take(_ count: Int) -> UnsafeRawBufferPointer {
        let part = UnsafeRawBufferPointer(rebasing: rest.prefix(count))
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(part.count))
        return part
    }
}
