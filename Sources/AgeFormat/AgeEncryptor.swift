package import CryptoPrimitives

/// Encrypts a stream from front to back, in two buffers of one chunk each. One thread at a time.
package struct AgeEncryptor: ~Copyable {
    private var cipher: PayloadCipher
    /// Header and nonce, until they were written.
    private var head: [UInt8]
    private var chunk = [UInt8](repeating: 0, count: PayloadLayout.chunkByteCount)
    private var filledByteCount = 0
    private var sealed = [UInt8](repeating: 0, count: PayloadLayout.sealedChunkByteCount)
    private var nextChunk: UInt64 = 0
    private var isFinished = false

    package init(recipients: [AgeRecipient], random: any RandomSource = SystemRandomSource()) throws(AgeError) {
        let fileKey = SecretBytes(count: AgeHeader.fileKeyByteCount) { random.fill($0) }
        var nonce = [UInt8](repeating: 0, count: PayloadLayout.nonceByteCount)
        nonce.withUnsafeMutableBytes { random.fill($0) }
        let header = try AgeHeader.make(fileKey: fileKey, recipients: recipients, random: random)
        let key = nonce.withUnsafeBytes { PayloadKey(fileKey: fileKey, nonce: $0) }
        self.init(headerBytes: header, nonce: nonce, key: key)
    }

    /// Takes a header from `AgeHeader.make`, and the nonce that `key` was derived with.
    package init(headerBytes: [UInt8], nonce: [UInt8], key: PayloadKey) {
        precondition(
            nonce.count == PayloadLayout.nonceByteCount, "internal error: a payload nonce of \(nonce.count) bytes")
        head = headerBytes + nonce
        cipher = PayloadCipher(key: key)
    }

    /// Gives the sink whole chunks as they become full; what it is given is valid during the call only.
    package mutating func update(
        _ plaintext: UnsafeRawBufferPointer, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        precondition(!isFinished, "internal error: a finished age file is continued")
        var rest = plaintext
        while rest.count > 0 {
            // A full chunk waits until more comes: it may be the last.
            if filledByteCount == PayloadLayout.chunkByteCount { try sealFilled(.inner, into: sink) }
            if filledByteCount == 0, rest.count > PayloadLayout.chunkByteCount {
                try seal(rest.first(PayloadLayout.chunkByteCount), .inner, into: sink)
                rest = rest.dropping(PayloadLayout.chunkByteCount)
                continue
            }
            let part = rest.first(min(rest.count, PayloadLayout.chunkByteCount - filledByteCount))
            chunk.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[filledByteCount...]).copyMemory(from: part)
            }
            filledByteCount += part.count
            rest = rest.dropping(part.count)
        }
    }

    /// Writes the last chunk; without it no reader accepts the file.
    package mutating func finish(into sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        precondition(!isFinished, "internal error: an age file is finished twice")
        isFinished = true
        try sealFilled(.last, into: sink)
    }

    private mutating func sealFilled(
        _ position: ChunkPosition, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let count = filledByteCount
        filledByteCount = 0
        // The buffer stays put while it is sealed: nothing else touches it until `update` fills it again.
        let full = chunk
        try full.withUnsafeBytes { try seal($0.first(count), position, into: sink) }
    }

    private mutating func seal(
        _ plaintext: UnsafeRawBufferPointer, _ position: ChunkPosition,
        into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        if !head.isEmpty {
            try head.withUnsafeBytes(sink)
            head = []
        }
        let index = nextChunk
        nextChunk += 1
        let count = plaintext.count + PayloadLayout.tagByteCount
        sealed.withUnsafeMutableBytes {
            cipher.seal(
                chunk: index, position, plaintext: plaintext,
                into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]))
        }
        try sealed.withUnsafeBytes { try sink($0.first(count)) }
    }
}

extension UnsafeRawBufferPointer {
    func first(_ count: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self[..<count]) }
    func dropping(_ count: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self[count...]) }
}
