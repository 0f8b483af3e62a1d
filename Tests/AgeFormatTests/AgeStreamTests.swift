import AgeFormat
import CryptoPrimitives
import Testing

@Suite("Age streams")
struct AgeStreamTests {
    static let chunk = PayloadLayout.chunkByteCount
    static let sizes = [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk - 1, 2 * chunk, 2 * chunk + 7, 5 * chunk]
    let identity = AgeIdentity.generate()

    private func plaintext(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 131 &+ $0 >> 8) }
    }

    private func decrypt(_ file: [UInt8], step: Int, released: inout [UInt8]) throws {
        var decryptor = AgeDecryptor(identities: [identity])
        var output: [UInt8] = []
        defer { released = output }
        for start in stride(from: 0, to: file.count, by: step) {
            try Array(file[start..<min(file.count, start + step)]).withUnsafeBytes {
                try decryptor.update($0) { output += $0 }
            }
        }
        try decryptor.finish { output += $0 }
    }

    private func reader(_ file: [UInt8]) throws -> AgeRandomAccessReader {
        try AgeRandomAccessReader(archiveByteCount: UInt64(file.count), identities: [identity]) { offset, buffer in
            buffer.copyBytes(from: file[Int(offset)..<Int(offset) + buffer.count])
        }
    }

    @Test(
        .timeLimit(.minutes(1)), arguments: sizes, [997, chunk - 1, chunk, chunk + 16, chunk + 17, 3 * chunk, 1 << 30])
    func `what is encrypted comes back at every size, whatever the steps`(size: Int, step: Int) throws {
        let plaintext = plaintext(size)
        var encryptor = try AgeEncryptor(recipients: [identity.recipient])
        var file: [UInt8] = []
        for start in stride(from: 0, to: size, by: step) {
            try Array(plaintext[start..<min(size, start + step)]).withUnsafeBytes {
                try encryptor.update($0) { file += $0 }
            }
        }
        try encryptor.finish { file += $0 }
        let header = try #require(try AgeHeader.parse(file))
        #expect(
            UInt64(file.count)
                == PayloadLayout.archiveByteCount(headerByteCount: header.byteCount, plaintextByteCount: UInt64(size)))
        var released: [UInt8] = []
        try decrypt(file, step: step, released: &released)
        #expect(released == plaintext)
        #expect(try Age.decrypt(file, identities: [identity], maximumByteCount: size) == plaintext)
    }

    @Test(.timeLimit(.minutes(1)), arguments: sizes)
    func `any range is read at random`(size: Int) throws {
        let plaintext = plaintext(size)
        let reader = try reader(try Age.encrypt(plaintext, to: [identity.recipient]))
        #expect(reader.plaintextByteCount == UInt64(size))
        for start in [0, 1, Self.chunk - 1, Self.chunk, Self.chunk + 1, 2 * Self.chunk, size] where start <= size {
            for count in [0, 1, Self.chunk - 1, Self.chunk, Self.chunk + 1, size - start] where start + count <= size {
                var bytes = [UInt8](repeating: 0, count: count)
                try bytes.withUnsafeMutableBytes { try reader.read(at: UInt64(start), into: $0) }
                #expect(bytes == Array(plaintext[start..<start + count]))
            }
        }
        var byte: [UInt8] = [0]
        #expect(throws: AgeError.self) {
            try byte.withUnsafeMutableBytes { try reader.read(at: UInt64(size), into: $0) }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func
        `a flipped bit in any byte of the header or any part of the payload is refused, and releases only what is before`()
        throws
    {
        let plaintext = plaintext(2 * Self.chunk + 100)
        let file = try Age.encrypt(plaintext, to: [identity.recipient])
        let headerCount = try #require(try AgeHeader.parse(file)).byteCount
        let payload = headerCount + 16
        let sealed = PayloadLayout.sealedChunkByteCount
        var offsets = Array(0..<payload)
        for index in 0..<3 {
            let start = payload + index * sealed
            let end = min(start + sealed, file.count)
            offsets += [start, start + 50, end - 17, end - 16, end - 1]
        }
        for offset in offsets {
            var broken = file
            broken[offset] ^= UInt8(1 << (offset % 8))
            var released: [UInt8] = []
            let error = #expect(throws: AgeError.self, "byte \(offset)") {
                try decrypt(broken, step: 50_000, released: &released)
            }
            let chunksBefore = max(0, (offset - payload) / sealed)
            #expect(released == Array(plaintext.prefix(offset < payload ? 0 : chunksBefore * Self.chunk)))
            switch offset {
            case ..<headerCount:
                #expect([.header, .noMatch, .headerAuthentication].contains(error?.code))
            default:
                #expect(error?.code == .payload)
                #expect(error?.archiveOffset == UInt64(payload + chunksBefore * sealed))
            }
            let randomError = #expect(throws: AgeError.self, "byte \(offset) at random") {
                let reader = try reader(broken)
                var bytes = [UInt8](repeating: 0, count: plaintext.count)
                try bytes.withUnsafeMutableBytes { try reader.read(at: 0, into: $0) }
            }
            // The random reader begins with the last chunk; the nonce spoils all of them.
            #expect(randomError?.code == error?.code)
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a file cut anywhere is refused by both readers`() throws {
        let file = try Age.encrypt(plaintext(2 * Self.chunk + 100), to: [identity.recipient])
        let payload = try #require(try AgeHeader.parse(file)).byteCount + 16
        let sealed = PayloadLayout.sealedChunkByteCount
        var cuts = Array(0...payload)
        for index in 0...2 {
            cuts += [1, 15, 16, 17, 100, sealed - 1, sealed].map { payload + index * sealed + $0 }
        }
        for cut in cuts where cut < file.count {
            let part = Array(file[..<cut])
            var released: [UInt8] = []
            let error = #expect(throws: AgeError.self, "cut at \(cut)") {
                try decrypt(part, step: 1 << 20, released: &released)
            }
            let randomError = #expect(throws: AgeError.self, "cut at \(cut)") { _ = try reader(part) }
            #expect(error?.code == (cut < payload ? .header : .payload))
            #expect(randomError?.code == error?.code)
        }
    }

    @Test func `chunks cannot change places`() throws {
        let file = try Age.encrypt(plaintext(3 * Self.chunk), to: [identity.recipient])
        let payload = try #require(try AgeHeader.parse(file)).byteCount + 16
        let sealed = PayloadLayout.sealedChunkByteCount
        let swapped =
            file[..<payload] + file[(payload + sealed)..<(payload + 2 * sealed)] + file[payload..<(payload + sealed)]
            + file[(payload + 2 * sealed)...]
        var released: [UInt8] = []
        let error = #expect(throws: AgeError.self) { try decrypt(Array(swapped), step: 1 << 20, released: &released) }
        #expect(error?.code == .payload)
        #expect(released.isEmpty)
    }

    @Test func `after a failure nothing more is released`() throws {
        var file = try Age.encrypt(plaintext(3 * Self.chunk), to: [identity.recipient])
        let payload = try #require(try AgeHeader.parse(file)).byteCount + 16
        file[payload] ^= 1
        var decryptor = AgeDecryptor(identities: [identity])
        var released = 0
        func feed(_ bytes: [UInt8]) throws {
            try bytes.withUnsafeBytes { try decryptor.update($0) { released += $0.count } }
        }
        #expect(throws: AgeError.self) { try feed(file) }
        file[payload] ^= 1
        // The genuine chunks, which would open.
        #expect(throws: AgeError.self) { try feed(Array(file[payload...])) }
        #expect(throws: AgeError.self) { try decryptor.finish { released += $0.count } }
        #expect(released == 0)
    }

    @Test func `a document larger than its limit is refused`() throws {
        let file = try Age.encrypt(plaintext(1001), to: [identity.recipient])
        let error = #expect(throws: AgeError.self) {
            _ = try Age.decrypt(file, identities: [identity], maximumByteCount: 1000)
        }
        #expect(error?.code == .payload)
        #expect(try Age.decrypt(file, identities: [identity], maximumByteCount: .max).count == 1001)
    }

    @Test func `chunks sealed one by one in any order make the same file`() throws {
        let plaintext = plaintext(3 * Self.chunk + 5)
        let fileKey = SecretBytes.random(count: 16)
        let header = try AgeHeader.make(
            fileKey: fileKey, recipients: [identity.recipient], random: SystemRandomSource())
        let nonce = [UInt8](repeating: 9, count: 16)
        let key = nonce.withUnsafeBytes { PayloadKey(fileKey: fileKey, nonce: $0) }
        var sequential: [UInt8] = []
        var encryptor = AgeEncryptor(headerBytes: header, nonce: nonce, key: key)
        try plaintext.withUnsafeBytes { try encryptor.update($0) { sequential += $0 } }
        try encryptor.finish { sequential += $0 }
        let byteCount = PayloadLayout.archiveByteCount(
            headerByteCount: header.count, plaintextByteCount: UInt64(plaintext.count))
        let layout = try PayloadLayout(headerByteCount: header.count, archiveByteCount: byteCount)
        var file = header + nonce + [UInt8](repeating: 0, count: Int(byteCount) - header.count - 16)
        var cipher = PayloadCipher(key: key)
        for index in (0..<layout.chunkCount).reversed() {
            let source = layout.plaintextRange(ofChunk: index)
            let target = layout.archiveRange(ofChunk: index)
            plaintext.withUnsafeBytes { plaintext in
                file.withUnsafeMutableBytes { file in
                    cipher.seal(
                        chunk: index, layout.position(ofChunk: index),
                        plaintext: UnsafeRawBufferPointer(
                            rebasing: plaintext[Int(source.lowerBound)..<Int(source.upperBound)]),
                        into: UnsafeMutableRawBufferPointer(
                            rebasing: file[Int(target.lowerBound)..<Int(target.upperBound)]))
                }
            }
        }
        #expect(file == sequential)
    }

    @Test func `the format page's example has the sizes it says`() throws {
        let file = try Age.encrypt(plaintext(100_000), to: [identity.recipient])
        let header = try #require(try AgeHeader.parse(file))
        let layout = try PayloadLayout(headerByteCount: header.byteCount, archiveByteCount: UInt64(file.count))
        #expect(header.byteCount == 168)
        #expect(layout.archiveRange(ofChunk: 0) == 184..<65_736)
        #expect(layout.archiveRange(ofChunk: 1) == 65_736..<100_216)
        #expect(file.count == 100_216)
    }

    @Test(arguments: [0, 1, 15, 65_553, 65_567, 65_568, 196_672] as [UInt64])
    func `a size that no age file has is refused`(sealedByteCount: UInt64) {
        let error = #expect(throws: AgeError.self) {
            _ = try PayloadLayout(headerByteCount: 168, archiveByteCount: 184 + sealedByteCount)
        }
        #expect(error?.code == .payload)
    }

    @Test func `the largest size makes no overflow`() throws {
        // The largest that leaves a whole last chunk.
        let size = UInt64.max - (UInt64.max - 184) % 65_552
        let layout = try PayloadLayout(headerByteCount: 168, archiveByteCount: size)
        #expect(layout.archiveRange(ofChunk: layout.chunkCount - 1).upperBound == size)
        #expect(layout.plaintextRange(ofChunk: layout.chunkCount - 1).upperBound == layout.plaintextByteCount)
        let error = #expect(throws: AgeError.self) {
            _ = try PayloadLayout(headerByteCount: 168, archiveByteCount: 183)
        }
        #expect(error?.code == .header)
    }
}
