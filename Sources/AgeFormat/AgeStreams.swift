package import CryptoPrimitives

/// Encrypts a stream from front to back.
package struct AgeEncryptor: ~Copyable {
    private var cipher: PayloadCipher
    private var pending: [UInt8]
    private var chunk: [UInt8] = []
    private var nextChunk: UInt64 = 0

    package init(recipients: [AgeRecipient], random: any RandomSource = SystemRandomSource()) throws(AgeError) {
        let fileKey = SecretBytes(count: AgeHeader.fileKeyByteCount) { random.fill($0) }
        var nonce = [UInt8](repeating: 0, count: PayloadLayout.nonceByteCount)
        nonce.withUnsafeMutableBytes { random.fill($0) }
        pending = try AgeHeader.make(fileKey: fileKey, recipients: recipients, random: random) + nonce
        cipher = PayloadCipher(key: nonce.withUnsafeBytes { PayloadKey(fileKey: fileKey, nonce: $0) })
    }

    package mutating func update(
        _ plaintext: UnsafeRawBufferPointer, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var rest = plaintext[...]
        while !rest.isEmpty {
            // A full chunk waits until more comes: it may be the last.
            if chunk.count == PayloadLayout.chunkByteCount { try seal(.inner, into: sink) }
            let part = rest.prefix(PayloadLayout.chunkByteCount - chunk.count)
            chunk += part
            rest = rest.dropFirst(part.count)
        }
    }

    package mutating func finish(into sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        try seal(.last, into: sink)
    }

    private mutating func seal(
        _ position: ChunkPosition, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        if !pending.isEmpty {
            try pending.withUnsafeBytes(sink)
            pending = []
        }
        var sealed = [UInt8](repeating: 0, count: chunk.count + PayloadLayout.tagByteCount)
        chunk.withUnsafeBytes { plaintext in
            sealed.withUnsafeMutableBytes { cipher.seal(chunk: nextChunk, position, plaintext: plaintext, into: $0) }
        }
        try sealed.withUnsafeBytes(sink)
        nextChunk += 1
        chunk.removeAll(keepingCapacity: true)
    }
}

/// Decrypts a stream from front to back. Only what is authenticated is given to the sink.
package struct AgeDecryptor: ~Copyable {
    private let identities: [AgeIdentity]
    /// Bytes not yet used.
    private var pending: [UInt8] = []
    private var cipher: PayloadCipher?
    private var nextChunk: UInt64 = 0

    package init(identities: [AgeIdentity]) { self.identities = identities }

    package mutating func update(
        _ ciphertext: UnsafeRawBufferPointer, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        pending += ciphertext
        if cipher == nil { try readHeader() }
        var start = 0
        defer { pending.removeFirst(start) }
        // A chunk is known not to be the last once a byte follows it.
        while cipher != nil, pending.count - start > PayloadLayout.sealedChunkByteCount {
            let end = start + PayloadLayout.sealedChunkByteCount
            if try open(start..<end, .inner, into: sink) {
                nextChunk += 1
                start = end
                continue
            }
            // Genuine as the last chunk: then what follows is not ours.
            let isLast = try open(start..<end, .last, into: sink)
            throw AgeError(
                .payload, isLast ? "bytes follow the last chunk" : "chunk \(nextChunk) is not authentic")
        }
    }

    package mutating func finish(into sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        if cipher == nil { try readHeader() }
        guard cipher != nil else { throw AgeError(.header, "the file ends inside the header") }
        guard pending.count >= PayloadLayout.tagByteCount else {
            throw AgeError(.payload, "the file ends inside a chunk")
        }
        guard nextChunk == 0 || pending.count > PayloadLayout.tagByteCount else {
            throw AgeError(.payload, "the last chunk is empty")
        }
        if try open(0..<pending.count, .last, into: sink) { return }
        let isInner = try pending.count == PayloadLayout.sealedChunkByteCount && open(0..<pending.count, .inner, into: sink)
        throw AgeError(.payload, isInner ? "the file ends before its last chunk" : "chunk \(nextChunk) is not authentic")
    }

    /// Waits for the whole header and the nonce.
    private mutating func readHeader() throws(AgeError) {
        guard let header = try AgeHeader.parse(pending) else { return }
        let end = header.byteCount + PayloadLayout.nonceByteCount
        guard pending.count >= end else { return }
        let fileKey = try header.fileKey(identities: identities)
        let key = pending.withUnsafeBytes {
            PayloadKey(fileKey: fileKey, nonce: UnsafeRawBufferPointer(rebasing: $0[header.byteCount..<end]))
        }
        cipher = PayloadCipher(key: key)
        pending.removeFirst(end)
    }

    private mutating func open(
        _ range: Range<Int>, _ position: ChunkPosition, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> Bool {
        var plaintext = [UInt8](repeating: 0, count: range.count - PayloadLayout.tagByteCount)
        do {
            try pending.withUnsafeBytes { pending in
                try plaintext.withUnsafeMutableBytes { plaintext in
                    try cipher?.open(
                        chunk: nextChunk, position, ciphertext: UnsafeRawBufferPointer(rebasing: pending[range]),
                        into: plaintext)
                }
            }
        } catch {
            return false
        }
        try plaintext.withUnsafeBytes(sink)
        return true
    }
}

/// Reads any part of an age file. The last chunk is authenticated at opening, and with it the length.
package final class AgeRandomAccessReader {
    private let layout: PayloadLayout
    private var cipher: PayloadCipher
    private let readArchive: (UInt64, UnsafeMutableRawBufferPointer) throws -> Void

    package var plaintextByteCount: UInt64 { layout.plaintextByteCount }

    /// `read` fills a buffer from an offset of the file, or throws.
    package init(
        archiveByteCount: UInt64, identities: [AgeIdentity],
        read: @escaping (UInt64, UnsafeMutableRawBufferPointer) throws -> Void
    ) throws {
        let limit = AgeHeader.maximumByteCount + PayloadLayout.nonceByteCount
        var prefix = [UInt8](repeating: 0, count: Int(min(archiveByteCount, UInt64(limit))))
        try prefix.withUnsafeMutableBytes { try read(0, $0) }
        guard let header = try prefix.withUnsafeBytes({ try AgeHeader.parse(prefix: $0) }) else {
            throw AgeError(.header, "the file ends inside the header")
        }
        let layout = try PayloadLayout(headerByteCount: header.byteCount, archiveByteCount: archiveByteCount)
        let fileKey = try header.fileKey(identities: identities)
        let nonceEnd = header.byteCount + PayloadLayout.nonceByteCount
        cipher = PayloadCipher(
            key: prefix.withUnsafeBytes {
                PayloadKey(fileKey: fileKey, nonce: UnsafeRawBufferPointer(rebasing: $0[header.byteCount..<nonceEnd]))
            })
        self.layout = layout
        readArchive = read
        _ = try chunk(layout.chunkCount - 1)
    }

    /// Fills the buffer with plaintext from `offset` on, which must lie inside.
    package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        guard offset <= plaintextByteCount, UInt64(buffer.count) <= plaintextByteCount - offset else {
            throw AgeError(.payload, "plaintext beyond the end was asked for")
        }
        guard buffer.count > 0 else { return }
        let wanted = offset..<offset + UInt64(buffer.count)
        for index in layout.chunks(covering: wanted) {
            let range = layout.plaintextRange(ofChunk: index)
            let part = range.clamped(to: wanted)
            let bytes = try chunk(index)
            let from = Int(part.lowerBound - range.lowerBound)
            let to = Int(part.lowerBound - offset)
            UnsafeMutableRawBufferPointer(rebasing: buffer[to..<to + part.count])
                .copyBytes(from: bytes[from..<from + part.count])
        }
    }

    private func chunk(_ index: UInt64) throws -> [UInt8] {
        let range = layout.archiveRange(ofChunk: index)
        var ciphertext = [UInt8](repeating: 0, count: range.count)
        try ciphertext.withUnsafeMutableBytes { try readArchive(range.lowerBound, $0) }
        var plaintext = [UInt8](repeating: 0, count: range.count - PayloadLayout.tagByteCount)
        try ciphertext.withUnsafeBytes { ciphertext in
            try plaintext.withUnsafeMutableBytes {
                try cipher.open(chunk: index, layout.position(ofChunk: index), ciphertext: ciphertext, into: $0)
            }
        }
        return plaintext
    }
}

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

    /// Throws `.payload` for a document larger than `maximumByteCount`.
    package static func decrypt(
        _ ciphertext: [UInt8], identities: [AgeIdentity], maximumByteCount: Int
    ) throws(AgeError) -> [UInt8] {
        guard ciphertext.count <= maximumByteCount + AgeHeader.maximumByteCount else {
            throw AgeError(.payload, "a document of \(ciphertext.count) bytes is too large")
        }
        var decryptor = AgeDecryptor(identities: identities)
        var output: [UInt8] = []
        do {
            try ciphertext.withUnsafeBytes { try decryptor.update($0) { output += $0 } }
            try decryptor.finish { output += $0 }
        } catch let error as AgeError {
            throw error
        } catch {
            preconditionFailure("internal error: decrypting in memory fails: \(error)")
        }
        return output
    }
}
