import AgeFormat
import CryptoPrimitives
import Testing

@Suite("Published age vectors")
struct AgeVectorTests {
    @Test func `the vectors are there`() {
        #expect(AgeVector.all.count >= 70)
    }

    /// Each of what the vector names opens it, or none does; where it names nothing, there is no identity.
    private func credentials(_ vector: AgeVector) throws -> [AgeCredential] {
        var credentials = vector.passphrases.map { text in
            AgeCredential.passphrase(Array(text.utf8).withUnsafeBytes { SecretBytes(copying: $0) })
        }
        if let identity = vector.identity {
            credentials.append(
                .identities([try Array(identity.utf8).withUnsafeBytes { try AgeIdentity(bech32: $0) }]))
        }
        return credentials.isEmpty ? [.identities([])] : credentials
    }

    private func className(_ error: any Error) -> String {
        switch (error as? AgeError)?.code {
        case .noMatch: "no match"
        case .headerAuthentication: "HMAC failure"
        case .header: "header failure"
        case .payload: "payload failure"
        default: "another error: \(error)"
        }
    }

    @Test(.timeLimit(.minutes(1)), arguments: AgeVector.all, [1, 1000, 65552, Int.max])
    func `the sequential reader releases what it may and names the failure`(vector: AgeVector, step: Int) throws {
        // One byte at a time is for headers; chunks of 64 KiB would make it slow and tell nothing more.
        let step = step == 1 && vector.file.count > 5000 ? 997 : step
        for credential in try credentials(vector) { try read(vector, credential, step) }
    }

    private func read(_ vector: AgeVector, _ credential: AgeCredential, _ step: Int) throws {
        var decryptor = AgeDecryptor(credential)
        var hasher = SHA256Hasher()
        var outcome = "success"
        do {
            var offset = 0
            while offset < vector.file.count {
                let end = step == Int.max ? vector.file.count : min(vector.file.count, offset + step)
                try Array(vector.file[offset..<end]).withUnsafeBytes { try decryptor.update($0) { hasher.update($0) } }
                offset = end
            }
            try decryptor.finish { hasher.update($0) }
        } catch {
            outcome = className(error)
        }
        #expect(outcome == vector.expect)
        if let payload = vector.payloadSHA256 { #expect(hasher.finalize().hexadecimal == payload) }
    }

    @Test(.timeLimit(.minutes(1)), arguments: AgeVector.all)
    func `the random-access reader opens the same files and names the same failures`(vector: AgeVector) throws {
        for credential in try credentials(vector) { try readAtRandom(vector, credential) }
    }

    private func readAtRandom(_ vector: AgeVector, _ credential: AgeCredential) throws {
        var outcome = "success"
        do {
            let file = vector.file
            let reader = try AgeRandomAccessReader(
                archiveByteCount: UInt64(file.count), credential
            ) { offset, buffer in
                buffer.copyBytes(from: file[Int(offset)..<Int(offset) + buffer.count])
            }
            var plaintext = [UInt8](repeating: 0, count: Int(reader.plaintextByteCount))
            // From the back to the front, in steps that cross chunks.
            var end = plaintext.count
            while end > 0 {
                let start = max(0, end - 70_001)
                try plaintext.withUnsafeMutableBytes {
                    try reader.read(at: UInt64(start), into: UnsafeMutableRawBufferPointer(rebasing: $0[start..<end]))
                }
                end = start
            }
            if let payload = vector.payloadSHA256 { #expect(SHA256Hasher.digest(of: plaintext).hexadecimal == payload) }
        } catch {
            outcome = className(error)
        }
        #expect(outcome == vector.expect)
    }
}
