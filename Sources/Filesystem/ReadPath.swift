internal import Archive
internal import BackupEngine
internal import BackupNames
internal import Logging
internal import SeekableZstd
internal import Workers

/// Gets frames into the cache: one at a time for whoever waits, in runs for read-ahead.
///
/// A demanded frame is fetched on the thread that needs it and decoded by a worker at the highest priority. Read-ahead is
/// queued before the demand waits, fetched by the fetch threads, decoded by the workers behind what is urgent, and
/// given up where memory is short. It is decoded at the priority of backups, for somebody may already wait for it.
final class ReadPath: Sendable {
    /// Frames decoded by one job of read-ahead: so few that two workers share even a short window.
    static let framesPerRun = 4
    static let archiveBytesPerRun: UInt64 = 4 << 20
    /// A load without any progress for this long is an error. Local reads take milliseconds.
    static let patienceMilliseconds = 60_000

    let engine: Engine
    let cache: FrameCache
    let windowByteCount: Int

    init(engine: Engine) {
        self.engine = engine
        cache = FrameCache(capacityByteCount: engine.memory.frameCacheByteCount)
        // A quarter of the cache at most for one stream, so that several streams do not push out each other's frames.
        windowByteCount = min(16 << 20, engine.memory.frameCacheByteCount / 4)
    }

    /// How many frames of this size one stream may have ahead.
    func windowLimit(frameByteCount: Int) -> Int {
        max(1, windowByteCount / max(1, frameByteCount))
    }

    // MARK: Demand

    /// A data frame: from the cache, from a load under way, or loaded now. Blocks.
    func frame(_ index: Int, of disk: OpenDisk) throws -> Buffer {
        let key = FrameCache.Key(disk: disk.serial, frame: index)
        while true {
            switch cache.claim(key) {
            case .ready(let buffer):
                return buffer
            case .loading(let flight):
                do {
                    guard let buffer = try cache.wait(for: flight, milliseconds: Self.patienceMilliseconds) else {
                        throw FileSystemError(.timedOut, "\(disk.backup.identifier): frame \(index) does not come")
                    }
                    return buffer
                } catch FrameCache.LoadFailure.shed {
                    continue
                } catch FrameCache.LoadFailure.failed(let error) {
                    throw error
                }
            case .claimed(let flight):
                do {
                    let buffer = try load(index, of: disk)
                    cache.fulfil(flight, buffer)
                    return buffer
                } catch {
                    let failure = FileSystemError(reading: error, disk.backup.identifier)
                    cache.fail(flight, .failed(failure))
                    engine.log.error("\(disk.backup.identifier): frame \(index) cannot be read: \(error)")
                    throw failure
                }
            }
        }
    }

    private func load(_ index: Int, of disk: OpenDisk) throws -> Buffer {
        let reader = disk.backup.reader
        let run = reader.layout.run(ofFrames: index..<index + 1)
        let rawByteCount = Int(disk.table[index].rawByteCount)
        guard
            let raw = cache.takeBuffer(byteCount: max(1, rawByteCount), milliseconds: Self.patienceMilliseconds)
        else { throw FileSystemError(.noMemory, "the memory budget has no room for a frame of \(rawByteCount) bytes") }
        guard
            let ciphertext = engine.fetchBuffers.waitForReturn(
                byteCount: run.ciphertextByteCount, milliseconds: Self.patienceMilliseconds)
        else { throw FileSystemError(.noMemory, "the memory budget has no room to fetch a frame") }
        let fetched = UnsafeMutableRawBufferPointer(rebasing: ciphertext.bytes[0..<run.ciphertextByteCount])
        try reader.fetch(run, into: fetched)
        let outcome = Monitor<Result<Void, ArchiveError>?>(nil)
        let decoders = engine.decoders
        engine.workers.submit(.urgent) {
            let result = Self.decode(run, of: reader, ciphertext, decoders, into: [(index, raw)]) { _ in }
            outcome.withLock { $0 = result }
        }
        try outcome.wait { $0 }.get()
        return raw
    }

    // MARK: Read-ahead

    /// Queues what is absent of the next `window` data frames behind `frame`.
    func readAhead(_ disk: OpenDisk, after frame: Int, window: Int) {
        let table = disk.table
        var keys: [FrameCache.Key] = []
        var next = frame + 1
        // A hole does not count, but looking for its end does not go on for ever: 64 zero frames can be 64 GiB.
        let end = min(table.frameCount, frame + 1 + window + 64)
        while keys.count < window, next < end {
            if !table.isZeroFrame(next) { keys.append(FrameCache.Key(disk: disk.serial, frame: next)) }
            next += 1
        }
        // Whole runs, so that fetches stay large as the window slides on frame by frame.
        let flights = cache.claimAbsent(keys, minimum: min(Self.framesPerRun, max(1, keys.count / 2)))
        var start = 0
        while start < flights.count {
            var stop = start + 1
            while stop < flights.count, stop - start < Self.framesPerRun,
                flights[stop].key.frame == flights[stop - 1].key.frame + 1
            {
                stop += 1
            }
            let group = Array(flights[start..<stop])
            engine.fetchers(of: disk.backup.identifier.backend).submit(.readAhead) { self.loadAhead(group, of: disk) }
            start = stop
        }
    }

    /// On a fetch thread: takes memory, fetches, and leaves the decoding to a worker.
    private func loadAhead(_ flights: [FrameCache.Flight], of disk: OpenDisk) {
        guard let first = flights.first?.key.frame else { return }
        let reader = disk.backup.reader
        // Frames of unusual size are fetched in smaller runs; the rest of the group follows.
        let run = reader.layout.nextRun(
            from: first, before: first + flights.count, Self.framesPerRun, Self.archiveBytesPerRun)
        let now = Array(flights.prefix(run.frames.count))
        if now.count < flights.count {
            let later = Array(flights.dropFirst(run.frames.count))
            engine.fetchers(of: disk.backup.identifier.backend).submit(.readAhead) { self.loadAhead(later, of: disk) }
        }
        var targets: [(Int, Buffer)] = []
        for flight in now {
            guard let raw = cache.takeBuffer(byteCount: max(1, Int(disk.table[flight.key.frame].rawByteCount))) else {
                for flight in now { cache.fail(flight, .shed) }
                return
            }
            targets.append((flight.key.frame, raw))
        }
        guard run.ciphertextByteCount <= engine.fetchBuffers.capacityByteCount / 2,
            let ciphertext = engine.fetchBuffers.waitForReturn(byteCount: run.ciphertextByteCount, milliseconds: 1000)
        else {
            for flight in now { cache.fail(flight, .shed) }
            return
        }
        do throws(ArchiveError) {
            try reader.fetch(
                run, into: UnsafeMutableRawBufferPointer(rebasing: ciphertext.bytes[0..<run.ciphertextByteCount]))
        } catch {
            // Not an error yet: whoever needs a frame of these asks for it alone and gets the error, logged once.
            for flight in now { cache.fail(flight, .shed) }
            return
        }
        let decoders = engine.decoders
        engine.workers.submit(.ordinary) { [cache, targets] in
            var done = 0
            _ = Self.decode(run, of: reader, ciphertext, decoders, into: targets) { index in
                cache.fulfil(now[index], targets[index].1)
                done = index + 1
            }
            for flight in now[done...] { cache.fail(flight, .shed) }
        }
    }

    /// Decrypts a run and decompresses the frames that are wanted of it, telling of each as soon as it is there.
    private static func decode(
        _ run: FrameRun, of reader: ArchiveReader, _ ciphertext: Buffer, _ decoders: FrameDecoderPool,
        into targets: [(frame: Int, buffer: Buffer)], finished: (Int) -> Void
    ) -> Result<Void, ArchiveError> {
        decoders.withDecoder { decoder in
            do throws(ArchiveError) {
                let stream = try reader.decrypt(run, ciphertext.prefix(run.ciphertextByteCount), with: decoder)
                for (index, target) in targets.enumerated() {
                    let count = Int(reader.seekTable[target.frame].rawByteCount)
                    try reader.decompress(
                        frame: target.frame, of: run, stream: stream, with: decoder,
                        into: UnsafeMutableRawBufferPointer(rebasing: target.buffer.bytes[0..<count]))
                    finished(index)
                }
                return .success(())
            } catch {
                return .failure(error)
            }
        }
    }
}
