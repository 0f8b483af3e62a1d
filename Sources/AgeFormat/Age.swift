package import CryptoPrimitives

/// Small documents in one piece.
package enum Age {
    package static func encrypt(
        _ plaintext: [UInt8], to recipients: [AgeRecipient], random: any RandomSource = SystemRandomSource()
    ) throws(AgeError) -> [UInt8] {
        var encryptor = try AgeEncryptor(recipients: recipients, random: random)
        var output: [UInt8] = []
        do {
            try plaintext.withUnsafeBytes { try encryptor.update($0) { output += $0 } }
            try encryptor.finish { output += $0 }
        } catch {
            preconditionFailure("internal error: encrypting into memory fails: \(error)")
        }
        return output
    }

    /// Throws `.payload` for a document of more than `maximumByteCount` bytes, before memory for more is taken.
    package static func decrypt(
        _ ciphertext: [UInt8], identities: [AgeIdentity], maximumByteCount: Int
    ) throws(AgeError) -> [UInt8] {
        var decryptor = AgeDecryptor(identities: identities)
        var output: [UInt8] = []
        func keep(_ bytes: UnsafeRawBufferPointer) throws {
            guard bytes.count <= maximumByteCount - output.count else {
                throw AgeError(.payload, "the document is larger than \(maximumByteCount) bytes")
            }
            output += bytes
        }
        do {
            try ciphertext.withUnsafeBytes { try decryptor.update($0, into: keep) }
            try decryptor.finish(into: keep)
        } catch let error as AgeError {
            throw error
        } catch {
            preconditionFailure("internal error: decrypting in memory fails: \(error)")
        }
        return output
    }
}
