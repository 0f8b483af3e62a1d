internal import CryptoPrimitives

/// Decrypts a stream from front to back, in two buffers of one chunk each. Only what is authenticated is given to the sink.
/// After an error, its own or the sink's, every call throws that error again. One thread at a time.
package struct AgeDecryptor: ~Copyable {
    private let credential: AgeCredential
    /// Header and nonce as far as they have come.
    private var head: [UInt8] = []
    private var opened: (headerByteCount: Int, fileKey: SecretBytes)?
    private var cipher: PayloadCipher?
    private var sealed = [UInt8](repeating: 0, count: PayloadLayout.sealedChunkByteCount)
    private var filledByteCount = 0
    private var plaintext = [UInt8](repeating: 0, count: PayloadLayout.chunkByteCount)
    private var nextChunk: UInt64 = 0
    /// Where in the file the next chunk starts.
    private var chunkOffset: UInt64 = 0
    private var failure: (any Error)?

    package init(identities: [AgeIdentity]) { self.init(.identities(identities)) }

    package init(_ credential: AgeCredential) { self.credential = credential }

    /// Takes the next bytes of the file, any number. What the sink is given is valid during its call only.
    package mutating func update(
        _ ciphertext: UnsafeRawBufferPointer, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        if let failure { throw failure }
        do {
            let payload = cipher == nil ? try readHead(ciphertext) : ciphertext
            try readPayload(payload, into: sink)
        } catch {
            failure = error
            throw error
        }
    }

    /// Opens the last chunk: only now is the file known to be whole.
    package mutating func finish(into sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        if let failure { throw failure }
        do {
            try openLast(into: sink)
        } catch {
            failure = error
            throw error
        }
        failure = AgeError(.payload, "the file is over", archiveOffset: chunkOffset)
    }

    // MARK: Header

    /// Takes header and nonce; returns what follows them.
    private mutating func readHead(_ bytes: UnsafeRawBufferPointer) throws(AgeError) -> UnsafeRawBufferPointer {
        // Beyond this `parse` has an answer or has thrown.
        let limit = AgeHeader.maximumByteCount + PayloadLayout.nonceByteCount
        let part = bytes.first(min(bytes.count, limit - head.count))
        head += part
        if opened == nil, let header = try AgeHeader.parse(head) {
            opened = (header.byteCount, try header.fileKey(credential))
        }
        guard let opened, head.count >= opened.headerByteCount + PayloadLayout.nonceByteCount else {
            return bytes.dropping(bytes.count)
        }
        let end = opened.headerByteCount + PayloadLayout.nonceByteCount
        let nonce = Array(head[opened.headerByteCount..<end])
        cipher = PayloadCipher(key: nonce.withUnsafeBytes { PayloadKey(fileKey: opened.fileKey, nonce: $0) })
        chunkOffset = UInt64(end)
        // The head was too short before this call, so all that is too much came with it.
        let surplus = head.count - end
        head = []
        return bytes.dropping(part.count - surplus)
    }

    // MARK: Payload

    private mutating func readPayload(
        _ bytes: UnsafeRawBufferPointer, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var rest = bytes
        while rest.count > 0 {
            // A chunk is known not to be the last once a byte follows it.
            if filledByteCount == PayloadLayout.sealedChunkByteCount {
                filledByteCount = 0
                let full = sealed
                try full.withUnsafeBytes { try openInner($0, into: sink) }
            }
            if filledByteCount == 0, rest.count > PayloadLayout.sealedChunkByteCount {
                try openInner(rest.first(PayloadLayout.sealedChunkByteCount), into: sink)
                rest = rest.dropping(PayloadLayout.sealedChunkByteCount)
                continue
            }
            let part = rest.first(min(rest.count, PayloadLayout.sealedChunkByteCount - filledByteCount))
            sealed.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[filledByteCount...]).copyMemory(from: part)
            }
            filledByteCount += part.count
            rest = rest.dropping(part.count)
        }
    }

    private mutating func openInner(
        _ chunk: UnsafeRawBufferPointer, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        if try opens(chunk, .inner, into: sink) {
            nextChunk += 1
            chunkOffset += UInt64(chunk.count)
            return
        }
        // Genuine as the last chunk: then what follows is not ours.
        guard try opens(chunk, .last, into: sink) else { throw notAuthentic }
        throw AgeError(.payload, "bytes follow the last chunk", archiveOffset: chunkOffset + UInt64(chunk.count))
    }

    private mutating func openLast(into sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        guard cipher != nil else {
            throw AgeError(.header, "the file ends inside the header or the nonce", archiveOffset: UInt64(head.count))
        }
        let end = chunkOffset + UInt64(filledByteCount)
        guard filledByteCount >= PayloadLayout.tagByteCount else {
            throw AgeError(.payload, "the file ends inside a chunk", archiveOffset: end)
        }
        guard nextChunk == 0 || filledByteCount > PayloadLayout.tagByteCount else {
            throw AgeError(.payload, "the last chunk is empty", archiveOffset: chunkOffset)
        }
        let count = filledByteCount
        let full = sealed
        try full.withUnsafeBytes { full in
            let chunk = full.first(count)
            if try opens(chunk, .last, into: sink) { return }
            // What is genuine is released, though the file was cut behind it.
            guard try count == PayloadLayout.sealedChunkByteCount && opens(chunk, .inner, into: sink) else {
                throw notAuthentic
            }
            throw AgeError(.payload, "the file ends before its last chunk", archiveOffset: end)
        }
    }

    private var notAuthentic: AgeError {
        AgeError(.payload, "chunk \(nextChunk) is not authentic", archiveOffset: chunkOffset)
    }

    /// False where the chunk is not authentic in this position; nothing reached the sink then.
    private mutating func opens(
        _ chunk: UnsafeRawBufferPointer, _ position: ChunkPosition,
        into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> Bool {
        let index = nextChunk
        let count = chunk.count - PayloadLayout.tagByteCount
        let isAuthentic = plaintext.withUnsafeMutableBytes {
            cipher?.opens(
                chunk: index, position, ciphertext: chunk, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]))
        }
        guard isAuthentic == true else { return false }
        try plaintext.withUnsafeBytes { try sink($0.first(count)) }
        return true
    }
}
