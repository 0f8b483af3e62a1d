internal import BackupEngine
internal import Glibc
internal import Workers

/// One pass over an image on a server: extents are asked for ahead, what is data is read by many requests at once into the frames
/// to be, and the frames are given in order.
///
/// One thread drives all connections; while it waits for the sink the servers work on. At most `FrameWindow.frameLimit` buffers are
/// held, and two stretches of extents.
///
/// What of an image lies in its file as it is (`plain`) is read there. Now and then the server is asked for the same, and both have to
/// agree.
struct NBDStream<Sink: FrameSink>: ~Copyable {
    /// A part of the image that is on its way; the window has them in order.
    private enum Slot {
        case zeros(frames: UInt64)
        case frame(Buffer, count: Int, missing: Int)
    }

    private struct Request {
        let connection: Int
        let cookie: Int64
        /// The slot's number since the beginning.
        let slot: Int
        let offset: UInt64
        let part: UnsafeMutableRawBufferPointer
        /// Where the same bytes are said to lie in the image's file, and how often both were compared.
        let place: UInt64?
        let comparisons: Int
    }

    /// One in so many parts that are read from the file is asked of the server, too, beginning with the first.
    private static var checkInterval: Int { 16 }
    /// So often both may differ: where no lock keeps others out, somebody may write between the two looks.
    private static var comparisonLimit: Int { 100 }

    private let name: String
    private let byteCount: UInt64
    private let connections: [NBDConnection]
    /// How many of them, from the first, are read from.
    private let readerCount: Int
    /// Which of them are asked what is zero, one after the other: what all call zero is.
    private let tellers: [Int]
    private let patience: Duration
    private let requestByteCount: Int
    private let sink: Sink
    private let plain: PlainExtents?
    private let frame: UInt64

    private var window: [Slot] = []
    /// The number of the first slot of the window.
    private var firstSlot = 0
    private var heldFrames = 0
    private var requests: [Request] = []
    /// Raw offsets: what the sink has, and up to where the window goes.
    private var given: UInt64 = 0
    private var planned: UInt64 = 0
    /// What `planned` is in, and what comes after it.
    private var maps: [AllocationMap] = []
    private var asked: UInt64 = 0
    /// The question under way, and where it began.
    private var question: (cookie: Int64, offset: UInt64)?
    /// The place in `tellers` of who is asked about the last map.
    private var teller = 0
    private var hasReadEnd = false
    private var nextConnection = 0
    private var plainPartCount = 0
    private var lastSign = ContinuousClock.now

    init(
        name: String, byteCount: UInt64, connections: [NBDConnection], readerCount: Int, tellers: [Int],
        patience: Duration, requestByteCount: Int, plain: PlainExtents?, sink: Sink
    ) {
        self.name = name
        self.byteCount = byteCount
        self.connections = connections
        self.readerCount = readerCount
        self.tellers = tellers
        self.patience = patience
        self.requestByteCount = requestByteCount
        self.plain = plain
        self.sink = sink
        frame = UInt64(sink.frameByteCount)
    }

    consuming func run(_ progress: ProgressReport) throws {
        while given < byteCount {
            let hasGiven = try giveFirst(progress)
            try askExtents()
            let hasPlanned = try planNext()
            // A turn that had something to do only looks whether answers are there.
            try exchange(isIdle: !hasGiven && !hasPlanned)
        }
        try checkEnd()
    }

    // MARK: Giving

    /// Gives the first slot to the sink if it is whole.
    private mutating func giveFirst(_ progress: ProgressReport) throws -> Bool {
        guard let first = window.first else { return false }
        switch first {
        case .zeros(let frames):
            // In steps, so that the progress of a large hole shows.
            let step = min(frames, max(1, (1 << 30) / frame))
            try sink.submitZeroBlocks(step)
            given += step * frame
            if step < frames {
                window[0] = .zeros(frames: frames - step)
            } else {
                dropFirst()
            }
        case .frame(let buffer, let count, let missing):
            guard missing == 0 else { return false }
            dropFirst()
            heldFrames -= 1
            try sink.submit(buffer, count: count)
            given += UInt64(count)
        }
        // The sink may have let us wait, and nobody has looked at the servers meanwhile.
        lastSign = .now
        try progress(given, byteCount)
        return true
    }

    private mutating func dropFirst() {
        window.removeFirst()
        firstSlot += 1
    }

    // MARK: Asking

    /// Keeps one stretch of extents ahead.
    private mutating func askExtents() throws {
        guard question == nil else { return }
        if let last = maps.last, !last.isComplete {
            return try ask(maps.removeLast())
        }
        guard maps.count < 2, asked < byteCount else { return }
        let stretch = AllocationMap.stretch(
            at: asked, frameByteCount: sink.frameByteCount, imageByteCount: byteCount)
        asked = stretch.upperBound
        try ask(AllocationMap(stretch, frameByteCount: sink.frameByteCount))
    }

    private mutating func ask(_ map: AllocationMap) throws {
        let connection = connections[tellers[teller]]
        guard connection.tellsExtents else {
            var map = map
            map.noteRestAsData()
            return note(map)
        }
        do {
            question = (try connection.startExtents(map), map.notedEnd)
        } catch {
            throw broken(error)
        }
    }

    /// Keeps a map that somebody has told something of; the next is asked when this one has told all.
    private mutating func note(_ map: AllocationMap) {
        var map = map
        if map.isComplete {
            teller = (teller + 1) % tellers.count
            if teller > 0 { map.beginAgain() }
        }
        maps.append(map)
    }

    /// Puts the next frame, or a run of zeros, into the window.
    private mutating func planNext() throws -> Bool {
        if let first = maps.first, planned == first.range.upperBound { maps.removeFirst() }
        guard planned < byteCount, let map = maps.first, map.isComplete, heldFrames < FrameWindow.frameLimit else {
            return false
        }
        let zeros = map.zeroByteCount(at: planned) / frame
        if zeros > 0 {
            planned += zeros * frame
            hasReadEnd = false
            if case .zeros(let frames) = window.last {
                window[window.count - 1] = .zeros(frames: frames + zeros)
            } else {
                window.append(.zeros(frames: zeros))
            }
            return true
        }
        try planFrame(map)
        return true
    }

    private mutating func planFrame(_ map: AllocationMap) throws {
        let count = Int(min(frame, byteCount - planned))
        let buffer = try sink.takeFrameBuffer()
        heldFrames += 1
        var missing = 0
        let slot = firstSlot + window.count
        let end = planned + UInt64(count)
        var offset = planned
        while offset < end {
            let start = Int(offset - planned)
            let zeroEnd = min(end, map.runEnd(at: offset, ofData: false))
            if zeroEnd > offset {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[start..<Int(zeroEnd - planned)])
                part.initializeMemory(as: UInt8.self, repeating: 0)
                offset = zeroEnd
                continue
            }
            let dataEnd = min(end, map.runEnd(at: offset, ofData: true))
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[start..<Int(dataEnd - planned)])
            let done = try fill(rest, offset, slot: slot)
            if !done.isComplete { missing += 1 }
            offset += UInt64(done.byteCount)
        }
        window.append(.frame(buffer, count: count, missing: missing))
        planned = end
        hasReadEnd = map.runEnd(at: end - 1, ofData: true) == end
    }

    /// Reads or asks for the first bytes of `rest`: how many, and whether they are there already.
    private mutating func fill(
        _ rest: UnsafeMutableRawBufferPointer, _ offset: UInt64, slot: Int
    ) throws -> (byteCount: Int, isComplete: Bool) {
        var part = UnsafeMutableRawBufferPointer(rebasing: rest.prefix(requestByteCount))
        guard let run = plain?.run(at: offset) else {
            try read(offset, into: part, slot: slot)
            return (part.count, false)
        }
        if plainPartCount % Self.checkInterval == 0 {
            part = UnsafeMutableRawBufferPointer(rebasing: part.prefix(Int(min(run.byteCount, UInt64(part.count)))))
            try read(offset, into: part, slot: slot, place: run.place)
            plainPartCount += 1
            return (part.count, false)
        }
        let whole = UnsafeMutableRawBufferPointer(rebasing: rest.prefix(Int(min(run.byteCount, UInt64(rest.count)))))
        guard plain?.read(at: run.place, into: whole) == true else {
            try read(offset, into: part, slot: slot)
            return (part.count, false)
        }
        plainPartCount += 1
        // The disk may have let us wait, and nobody has looked at the servers meanwhile.
        lastSign = .now
        return (whole.count, true)
    }

    /// A server that follows a file which became shorter may say of the lost part that it is a hole. So the image's last sector is
    /// read, hole or not: behind the end of its file that fails.
    private mutating func checkEnd() throws {
        // Where others tell what is zero, it is also what shows that those are still of the same point.
        guard !hasReadEnd || tellers != [0] else { return }
        let sector = max(512, connections[0].smallestReadByteCount)
        let offset = (byteCount - 1) / sector * sector
        let buffer = try sink.takeFrameBuffer()
        let count = Int(byteCount - offset)
        guard count <= buffer.bytes.count else { return }
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<count])
        try read(offset, into: part, slot: firstSlot)
        window.append(.frame(buffer, count: count, missing: 1))
        while !requests.isEmpty { try exchange(isIdle: true) }
    }

    private mutating func read(
        _ offset: UInt64, into part: UnsafeMutableRawBufferPointer, slot: Int, place: UInt64? = nil,
        comparisons: Int = 0
    ) throws {
        do {
            let cookie = try connections[nextConnection].startRead(at: offset, into: part)
            requests.append(
                Request(
                    connection: nextConnection, cookie: cookie, slot: slot, offset: offset, part: part, place: place,
                    comparisons: comparisons))
        } catch {
            throw failure(at: offset, error)
        }
        nextConnection = (nextConnection + 1) % readerCount
    }

    // MARK: Answers

    /// Moves bytes; an idle turn waits for some.
    private mutating func exchange(isIdle: Bool) throws {
        // libnbd may have got an answer already, while it sent a request.
        if try collect() { return }
        var waiting = connections.map(\.waitingFor)
        let left = patience - (ContinuousClock.now - lastSign)
        let milliseconds = isIdle ? Int32(max(0, min(60_000, left / .milliseconds(1) + 1))) : 0
        let ready = poll(&waiting, nfds_t(waiting.count), milliseconds)
        guard ready > 0 else {
            guard ready == 0 || errno == EINTR else { throw broken(NBDFailure(description: "poll: \(errno)")) }
            if isIdle, ContinuousClock.now - lastSign >= patience {
                throw broken(NBDFailure(description: "the server sent nothing for \(patience)"))
            }
            return
        }
        for (index, connection) in connections.enumerated() where waiting[index].revents != 0 {
            if Int32(waiting[index].revents) & POLLIN != 0 { lastSign = .now }
            do {
                try connection.notice(waiting[index].revents)
            } catch {
                // What came before the end may say more.
                _ = try collect()
                throw broken(error)
            }
        }
        _ = try collect()
    }

    private mutating func collect() throws -> Bool {
        var hasSome = false
        for (index, connection) in connections.enumerated() {
            while let (cookie, failure) = connection.finished() {
                hasSome = true
                if index == tellers[teller], cookie == question?.cookie {
                    takeExtents(failure)
                } else {
                    try takeRead(index, cookie, failure)
                }
            }
        }
        return hasSome
    }

    private mutating func takeExtents(_ failure: NBDFailure?) {
        guard let asked = question, var map = connections[tellers[teller]].takeExtents() else { return }
        question = nil
        // One that cannot tell, or tells nothing, is read: where reading fails, too, that has its own error.
        if failure != nil || map.notedEnd == asked.offset { map.noteRestAsData() }
        note(map)
    }

    private mutating func takeRead(_ connection: Int, _ cookie: Int64, _ failure: NBDFailure?) throws {
        guard let index = requests.firstIndex(where: { $0.connection == connection && $0.cookie == cookie }) else {
            preconditionFailure("internal error: an answer that nobody waits for")
        }
        if let failure {
            throw self.failure(at: requests[index].offset, failure)
        }
        let request = requests.remove(at: index)
        guard try agrees(request) else { return }
        guard case .frame(let buffer, let count, let missing) = window[request.slot - firstSlot] else {
            preconditionFailure("internal error: data for a hole")
        }
        window[request.slot - firstSlot] = .frame(buffer, count: count, missing: missing - 1)
    }

    /// Whether what the server gave is what lies in the file. Where it is not, both are looked at again; a place that is wrong stays
    /// wrong, and ends the pass.
    private mutating func agrees(_ request: Request) throws -> Bool {
        guard let plain, let place = request.place else { return true }
        let same = UnsafeMutableRawBufferPointer.allocate(byteCount: request.part.count, alignment: 4096)
        defer { same.deallocate() }
        guard plain.read(at: place, into: same), memcmp(same.baseAddress!, request.part.baseAddress!, same.count) != 0
        else { return true }
        guard request.comparisons + 1 < Self.comparisonLimit else {
            throw EngineError(
                .source,
                "\"\(name)\" cannot be read at \(request.offset): its file has other bytes there than QEMU reads",
                hint: "does something write it meanwhile? qemu-img check looks at it")
        }
        try read(
            request.offset, into: request.part, slot: request.slot, place: place, comparisons: request.comparisons + 1)
        return false
    }

    // MARK: Errors

    private func failure(at offset: UInt64, _ failure: NBDFailure) -> EngineError {
        EngineError(.source, "\"\(name)\" cannot be read at \(offset): \(failure)", cause: failure)
    }

    /// The connection is no good any more: what is missing is named by its first byte.
    private func broken(_ failure: NBDFailure) -> EngineError {
        self.failure(at: requests.map(\.offset).min() ?? given, failure)
    }
}
