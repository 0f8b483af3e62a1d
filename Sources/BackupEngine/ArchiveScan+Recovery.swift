internal import Archive
internal import SeekableZstd
internal import Workers

/// Frames that are on the target of a restore already.
///
/// What it gives is checked by it, not believed; `false` has the frame fetched.
protocol FrameSupply: Sendable {
    func has(frame: Int) -> Bool
    /// Reads a frame into exactly its raw size. Blocks.
    func read(frame: Int, into buffer: UnsafeMutableRawBufferPointer) -> Bool
}

/// What a scan does where bytes are wrong or missing.
///
/// A frame is tried with the bytes in hand, then with those of each other copy that the source knows. So of two damaged copies
/// each gives what it has, frame by frame.
extension ArchiveScan {
    /// On a fetch thread: a run that did not decode, or could not be fetched.
    func recover(_ run: FrameRun, _ ciphertext: Buffer?, _ position: Int) {
        var pieces: [RawPiece] = []
        for index in run.frames where !hasFailed {
            do {
                pieces.append(try recover(frame: index, of: run, ciphertext))
            } catch {
                fail(error)
            }
        }
        handOn(hasFailed ? [] : pieces, position)
    }

    /// On a fetch thread: a run that the supply has.
    func takeSupplied(_ run: FrameRun, _ position: Int) {
        var pieces: [RawPiece] = []
        for index in run.frames where !hasFailed {
            let count = Int(reader.seekTable[index].rawByteCount)
            if reader.seekTable.isZeroFrame(index) {
                // Its content is known; that the target has it is not: whoever is handed it writes it again.
                pieces.append(.zeros(UInt64(count)))
                continue
            }
            let raw = memory.takeWaiting(byteCount: max(1, count))
            if let supply = options.supply,
                supply.read(frame: index, into: UnsafeMutableRawBufferPointer(rebasing: raw.bytes[0..<count]))
            {
                pieces.append(.data(raw, count))
                continue
            }
            do {
                pieces.append(try recover(frame: index, of: run, nil))
            } catch {
                fail(error)
            }
        }
        handOn(hasFailed ? [] : pieces, position)
    }

    private func recover(frame index: Int, of run: FrameRun, _ ciphertext: Buffer?) throws -> RawPiece {
        let own = reader.layout.run(ofFrames: index..<index + 1)
        var bytes = ciphertext.map { ciphertext in
            let start = Int(own.archiveRange.lowerBound - run.archiveRange.lowerBound)
            return UnsafeRawBufferPointer(rebasing: ciphertext.bytes[start..<start + own.ciphertextByteCount])
        }
        var fetched: Buffer?
        var attempt = 0
        var first: (any Error)?
        while true {
            do {
                if bytes == nil { fetched = try fetch(own.archiveRange, attempt: attempt) }
                let ciphertext = bytes ?? fetched?.prefix(own.ciphertextByteCount) ?? .init(start: nil, count: 0)
                let decoded = try clock.decode.measuring {
                    try decoders.withDecoder { decoder in
                        let stream = try reader.decrypt(own, ciphertext, with: decoder)
                        return try piece(ofFrame: index, of: own, stream, decoder)
                    }
                }
                if let first { note(first, own, index, isHealed: true) }
                return decoded
            } catch {
                first = first ?? error
                bytes = nil
                guard let next = source.discard(own.archiveRange, attempt: attempt) else { break }
                attempt = next
            }
        }
        guard let first else { preconditionFailure("internal error: a frame that failed without an error") }
        try checkSourceIsThere(after: first)
        guard options.toleratesDamage else { throw first }
        note(first, own, index, isHealed: false)
        return .zeros(UInt64(reader.seekTable[index].rawByteCount))
    }

    private func fetch(_ range: Range<UInt64>, attempt: Int) throws -> Buffer {
        let buffer = memory.takeWaiting(byteCount: max(1, range.count))
        try clock.fetch.measuring {
            try source.read(
                at: range.lowerBound, into: UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[0..<range.count]),
                attempt: attempt)
        }
        clock.addFetched(range.count)
        return buffer
    }

    private func note(_ error: any Error, _ run: FrameRun, _ index: Int, isHealed: Bool) {
        // From the first chunk that is not authentic on; what is behind it may be right or wrong.
        var archiveRange = run.archiveRange
        if let offset = (error as? ArchiveError)?.archiveOffset, archiveRange.contains(offset) {
            archiveRange = offset..<archiveRange.upperBound
        }
        // What a hole holds is known without its frame.
        let table = reader.seekTable
        let raw = table.rawRange(ofFrame: index)
        let lost = isHealed || table.isZeroFrame(index) ? raw.lowerBound..<raw.lowerBound : raw
        damage.add(
            ArchiveDamage(
                archiveRange: archiveRange, frame: index, rawRange: lost, detail: "\(error)", isHealed: isHealed))
    }

    /// The seek table in use is pinned by the manifest; that in the archive is for whoever has nothing else.
    func checkSeekTable(_ ciphertext: Buffer?) throws {
        let tail = reader.layout.seekTableRun
        var bytes = ciphertext
        var attempt = 0
        var first: (any Error)?
        while true {
            do {
                let ciphertext = try bytes ?? fetch(tail.archiveRange, attempt: attempt)
                try decoders.withDecoder { decoder in
                    let stream = try reader.decrypt(tail, ciphertext.prefix(tail.ciphertextByteCount), with: decoder)
                    guard stream.elementsEqual(reader.seekTable.serialized()) else {
                        throw ArchiveError(
                            .seekTable, "the seek table in the archive differs from the one in use",
                            archiveOffset: tail.archiveRange.lowerBound)
                    }
                }
                break
            } catch {
                first = first ?? error
                bytes = nil
                guard let next = source.discard(tail.archiveRange, attempt: attempt) else {
                    try checkSourceIsThere(after: error)
                    guard options.toleratesDamage else { throw first ?? error }
                    addTailDamage(first ?? error, isHealed: false)
                    return
                }
                attempt = next
            }
        }
        if let first { addTailDamage(first, isHealed: true) }
    }

    private func addTailDamage(_ error: any Error, isHealed: Bool) {
        let end = reader.rawByteCount
        damage.add(
            ArchiveDamage(
                archiveRange: reader.layout.seekTableRun.archiveRange, frame: nil, rawRange: end..<end,
                detail: "\(error)", isHealed: isHealed))
    }

    func checkSourceIsThere(after error: any Error) throws { try source.checkIsThere(after: error) }
}
