internal import Archive
internal import BackupEngine
internal import BackupNames
internal import Logging
internal import Storage
internal import Synchronization
internal import Workers

/// Carries loads out: fetches runs of ciphertext on the backend's threads, decodes frames on the workers. Nobody waits in it.
///
/// | step | thread | memory it takes | if that is short |
/// |---|---|---|---|
/// | fetch | one of the backend's fetchers | ciphertext of the run | ahead: what waits longest is dropped, else the run is shed; demanded: waits |
/// | wait for the decoder | none | keeps the ciphertext | |
/// | decode, one job a frame | a worker | the raw frame | ahead: the frame waits on; demanded: a fetcher waits for it, then a worker goes on |
///
/// | failure | those who wait get | those who do not |
/// |---|---|---|
/// | the store does not answer or refuses | its error | shed |
/// | the bytes of a run of several frames cannot be had | shed: each loads its frame alone | shed |
/// | a frame is not authentic, the bytes came from a cached copy | the frame, fetched once more | the same |
/// | a frame is not authentic | the error, logged | shed, found again when it is needed |
///
/// A worker never waits: neither for a store nor for memory. So a dead backend holds its own fetchers and nothing else.
final class FrameLoader: Sendable {
    /// A wait for memory without any coming back is an error.
    static let patienceMilliseconds = 60_000
    static let archiveBytesPerRequest = 4 << 20

    let engine: Engine
    let cache: FrameCache
    private let links: [ResourceName: BackendLink]
    private let decoders: FrameDecoderPool
    /// Nothing is submitted any more once it is set: the pools are about to end.
    private let isClosed = Mutex(false)

    init(engine: Engine, cache: FrameCache) {
        self.engine = engine
        self.cache = cache
        decoders = engine.decoders
        let own = engine.memory.fetchReserveByteCount
        links = Dictionary(
            uniqueKeysWithValues: engine.backends.keys.map { name in
                let memory = FetchMemory(shared: engine.fetchBuffers, ownByteCount: own)
                return (
                    name,
                    BackendLink(
                        fetchers: engine.fetchers(of: name), memory: memory,
                        patience: .seconds(engine.backends[name]?.readPatienceSeconds ?? 60))
                )
            })
    }

    func link(of backend: ResourceName) -> BackendLink {
        guard let link = links[backend] else {
            preconditionFailure("internal error: a read of a backend that is not configured")
        }
        return link
    }

    /// No request starts any more; what is queued is shed.
    func close() { isClosed.withLock { $0 = true } }

    /// Queues a job on the fetchers of a backend; false when the end has come.
    func submit(_ priority: WorkerPool.Priority, to link: BackendLink, _ job: @escaping @Sendable () -> Void) -> Bool {
        // Inside the lock, so that nothing comes to a pool after `close`.
        isClosed.withLock { isClosed in
            if !isClosed { link.fetchers.submit(priority, job) }
            return !isClosed
        }
    }

    // MARK: Asking

    /// Loads claimed frames, in order, neighbours together. `wanting` says how much each is wanted.
    func load(
        _ flights: [FrameFlight], of disk: OpenDisk, isDemand: Bool, frameLimit: Int = .max,
        wanting: (FrameFlight) -> FrameFlight.Want
    ) {
        var start = 0
        while start < flights.count {
            let end = runEnd(flights, from: start, of: disk.content, frameLimit)
            let request = FetchRequest(Array(flights[start..<end]), of: disk, isDemand: isDemand)
            var want = FrameFlight.Want.later
            for flight in request.flights {
                flight.attach(request, wanting: wanting(flight))
                want = max(want, flight.want)
            }
            queue(request, want == .now ? .urgent : .readAhead)
            start = end
        }
    }

    /// Says that a frame under way is wanted sooner.
    func want(_ flight: FrameFlight, _ want: FrameFlight.Want, of disk: OpenDisk) {
        carryOut(flight.raise(to: want), flight, disk)
    }

    /// Gives up what was fetched of a disk and not decoded: nobody has it open any more.
    func dropParked(of disk: OpenDisk) {
        for request in link(of: disk.backup.identifier.backend).takeParked(ofDisk: disk.serial) { drop(request) }
    }

    /// How far a run goes: over neighbours and the holes between them, up to a size.
    private func runEnd(
        _ flights: [FrameFlight], from start: Int, of content: any FrameContent, _ frameLimit: Int
    ) -> Int {
        let first = flights[start].key.frame
        var end = start + 1
        while end < flights.count, end - start < frameLimit {
            let gap = flights[end - 1].key.frame + 1..<flights[end].key.frame
            guard gap.allSatisfy(content.isHole) else { break }
            let size = content.storedRange(ofFrames: first...flights[end].key.frame).count
            guard size <= Self.archiveBytesPerRequest else { break }
            end += 1
        }
        return end
    }

    private func queue(_ request: FetchRequest, _ priority: WorkerPool.Priority) {
        let link = link(of: request.disk.backup.identifier.backend)
        let isQueued = submit(priority, to: link) {
            if request.begin() { self.fetch(request, over: link) }
        }
        if !isQueued, request.begin() { shed(request.flights) }
    }

    private func shed(_ flights: [FrameFlight]) {
        for flight in flights {
            flight.end()
            cache.fail(flight, .shed)
        }
    }

    private func drop(_ request: FetchRequest) {
        for flight in request.flights where flight.dropParked() { cache.fail(flight, .shed) }
    }

    // MARK: Fetching

    /// On a fetch thread.
    private func fetch(_ request: FetchRequest, over link: BackendLink) {
        let flights = request.flights
        // Whoever waited has been interrupted; whoever read on has closed the file.
        let isPointless = request.isDemand || request.disk.isUnviewed
        if isClosed.withLock({ $0 }) || isPointless && !flights.contains(where: cache.isAwaited) {
            shed(flights)
            return
        }
        let count = request.stored.count
        let isUrgent = flights.contains { $0.want == .now }
        guard let memory = takeMemory(count, isUrgent: isUrgent, of: link) else {
            // Whoever has come to wait for what was to be ahead of him asks again, and then memory is waited for.
            guard isUrgent else { return shed(flights) }
            fail(request, FileSystemError(.noMemory, "the memory budget has no room to fetch \(count) bytes"))
            return
        }
        do {
            try link.measuring(byteCount: count) {
                try request.disk.content.fetch(request.stored, into: memory.bytes, attempt: flights.attempt)
            }
        } catch {
            fail(request, error)
            return
        }
        let ciphertext = Ciphertext(request.stored, memory)
        for flight in flights { carryOut(flight.fetched(ciphertext), flight, request.disk) }
        if request.hasParked { link.noteParked(request) }
        if request.disk.isUnviewed { dropParked(of: request.disk) }
    }

    private func takeMemory(_ byteCount: Int, isUrgent: Bool, of link: BackendLink) -> FetchMemory.Block? {
        if isUrgent { return link.memory.take(byteCount, milliseconds: Self.patienceMilliseconds) }
        while true {
            if let block = link.memory.takeAhead(byteCount) { return block }
            guard let oldest = link.takeOldestParked() else { return nil }
            drop(oldest)
        }
    }

    private func fail(_ request: FetchRequest, _ error: any Error) {
        let disk = request.disk
        let failure = FileSystemError(reading: error, disk.backup.identifier)
        let isAlone = request.flights.count == 1
        for flight in request.flights {
            flight.end()
            // Bytes that are not there may be those of a neighbour; a store that does not answer would not the next time.
            guard cache.isAwaited(flight), isAlone || failure.code != .notAuthentic && failure.code != .noMemory else {
                cache.fail(flight, .shed)
                continue
            }
            engine.log.error("\(disk.backup.identifier): frame \(flight.key.frame) cannot be read: \(error)")
            cache.fail(flight, .failed(failure))
        }
    }

    // MARK: Decoding

    private func carryOut(_ action: FrameFlight.Action, _ flight: FrameFlight, _ disk: OpenDisk) {
        switch action {
        case .nothing: break
        case .hurry(let request): queue(request, .urgent)
        case .decode(let ciphertext):
            // Ahead of backups only when somebody waits, but never behind them.
            engine.workers.submit(flight.want == .now ? .urgent : .ordinary) {
                self.decode(flight, of: disk, ciphertext)
            }
        }
    }

    /// On a worker.
    private func decode(_ flight: FrameFlight, of disk: OpenDisk, _ ciphertext: Ciphertext) {
        let byteCount = max(1, disk.content.range(ofFrame: flight.key.frame).count)
        if flight.want == .now {
            if let raw = cache.takeBuffer(byteCount: byteCount) {
                decode(flight, of: disk, ciphertext, into: raw)
            } else {
                waitForMemory(flight, of: disk, ciphertext, byteCount)
            }
        } else if let raw = cache.takeBufferAhead(byteCount: byteCount) {
            decode(flight, of: disk, ciphertext, into: raw)
        } else {
            carryOut(flight.park(ciphertext), flight, disk)
        }
    }

    /// Readers that are just being answered hold all memory: a fetcher waits for it, for it may.
    private func waitForMemory(_ flight: FrameFlight, of disk: OpenDisk, _ ciphertext: Ciphertext, _ byteCount: Int) {
        let isQueued = submit(.urgent, to: link(of: disk.backup.identifier.backend)) { [self] in
            guard let raw = cache.takeBuffer(byteCount: byteCount, milliseconds: Self.patienceMilliseconds) else {
                flight.end()
                let detail = "the memory budget has no room for a frame of \(byteCount) bytes"
                cache.fail(flight, .failed(FileSystemError(.noMemory, detail)))
                return
            }
            engine.workers.submit(.urgent) { self.decode(flight, of: disk, ciphertext, into: raw) }
        }
        if !isQueued { shed([flight]) }
    }

    private func decode(_ flight: FrameFlight, of disk: OpenDisk, _ ciphertext: Ciphertext, into raw: Buffer) {
        let frame = flight.key.frame
        let content = disk.content
        let target = UnsafeMutableRawBufferPointer(rebasing: raw.bytes[0..<content.range(ofFrame: frame).count])
        do throws(ArchiveError) {
            let stored = ciphertext.part(content.storedRange(ofFrames: frame...frame))
            try content.decode(frame, stored, with: decoders, into: target)
        } catch {
            return failDecoding(flight, of: disk, error)
        }
        flight.end()
        cache.fulfil(flight, raw)
    }

    private func failDecoding(_ flight: FrameFlight, of disk: OpenDisk, _ error: ArchiveError) {
        let identifier = disk.backup.identifier
        let isBad = error.code == .payload || error.code == .frame
        if isBad, let next = disk.content.discard(flight.key.frame, attempt: flight.attempt) {
            engine.log.warning("\(identifier): a copy of frame \(flight.key.frame) was bad: \(error); another is read")
            flight.tryAgain(attempt: next)
            load([flight], of: disk, isDemand: false) { $0.want }
            return
        }
        flight.end()
        guard cache.isAwaited(flight) else {
            cache.fail(flight, .shed)
            return
        }
        engine.log.error("\(identifier): frame \(flight.key.frame) cannot be read: \(error)")
        cache.fail(flight, .failed(FileSystemError(reading: error, identifier)))
    }
}

extension [FrameFlight] {
    /// A frame that is fetched anew is fetched alone.
    fileprivate var attempt: Int { count == 1 ? self[0].attempt : 0 }
}
