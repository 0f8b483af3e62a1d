package import CryptoPrimitives

/// Secrets under a passphrase, as `age -p` writes and `age -d` opens them. What is decrypted is in guarded memory only.
extension Age {
    /// The secrets that are encrypted here are one chunk at most.
    package static let maximumSecretByteCount = PayloadLayout.chunkByteCount

    package static func encrypt(
        _ secret: SecretBytes, passphrase: SecretBytes, workFactor: Int = AgeHeader.passphraseWorkFactor,
        random: any RandomSource = SystemRandomSource()
    ) throws(AgeError) -> [UInt8] {
        precondition(secret.count <= maximumSecretByteCount, "internal error: a secret of \(secret.count) bytes")
        let fileKey = SecretBytes(count: AgeHeader.fileKeyByteCount) { random.fill($0) }
        var nonce = [UInt8](repeating: 0, count: PayloadLayout.nonceByteCount)
        nonce.withUnsafeMutableBytes { random.fill($0) }
        let header = try AgeHeader.make(
            fileKey: fileKey, passphrase: passphrase, workFactor: workFactor, random: random)
        var cipher = PayloadCipher(key: nonce.withUnsafeBytes { PayloadKey(fileKey: fileKey, nonce: $0) })
        var sealed = [UInt8](repeating: 0, count: secret.count + PayloadLayout.tagByteCount)
        secret.withUnsafeBytes { plaintext in
            sealed.withUnsafeMutableBytes { cipher.seal(chunk: 0, .last, plaintext: plaintext, into: $0) }
        }
        return header + nonce + sealed
    }

    /// Throws `.noMatch` for another passphrase, and for a file that no passphrase opens; `.payload` for a secret of more than
    /// `maximumSecretByteCount` bytes.
    package static func decrypt(
        _ file: UnsafeRawBufferPointer, passphrase: SecretBytes
    ) throws(AgeError) -> SecretBytes {
        guard let header = try AgeHeader.parse(prefix: file) else {
            throw AgeError(.header, "the file ends inside the header", archiveOffset: UInt64(file.count))
        }
        let fileKey = try header.fileKey(.passphrase(passphrase))
        let layout = try PayloadLayout(headerByteCount: header.byteCount, archiveByteCount: UInt64(file.count))
        guard layout.chunkCount == 1 else {
            throw AgeError(.payload, "the secret is larger than \(maximumSecretByteCount) bytes")
        }
        let nonce = file[header.byteCount..<Int(layout.payloadOffset)]
        var cipher = PayloadCipher(key: PayloadKey(fileKey: fileKey, nonce: UnsafeRawBufferPointer(rebasing: nonce)))
        var isAuthentic = false
        let secret = SecretBytes(count: Int(layout.plaintextByteCount)) { output in
            isAuthentic = cipher.opens(
                chunk: 0, .last, ciphertext: file.dropping(Int(layout.payloadOffset)), into: output)
        }
        guard isAuthentic else { throw AgeError(.payload, "chunk 0 is not authentic") }
        return secret
    }

    /// Whether a file is one that a passphrase opens, by its header.
    package static func isUnderPassphrase(_ file: UnsafeRawBufferPointer) -> Bool {
        guard let header = try? AgeHeader.parse(prefix: file) else { return false }
        return header.stanzas.contains { $0.arguments.first == AgeHeader.passphraseType }
    }
}
