import AgeFormat
import Archive
import SeekableZstd

/// The seek table: what parses serialises to the same bytes, and all its answers agree with its entries.
package func fuzzSeekTable(_ bytes: UnsafeRawBufferPointer) {
    // The sizes that are listed, so that a table fits its stream; the first byte says by how much it does not.
    var input = FuzzInput(bytes)
    let excess = UInt64(input.byte() & 1)
    let table = input.rest
    let listed = stride(from: 8, to: max(8, table.count - SeekTable.footerByteCount), by: 12).reduce(UInt64(0)) {
        $1 + 4 <= table.count
            ? $0 + UInt64(UInt32(littleEndian: table.loadUnaligned(fromByteOffset: $1, as: UInt32.self))) : $0
    }
    let streamByteCount = listed + UInt64(table.count) + excess
    do throws(SeekableZstdError) {
        let seekTable = try SeekTable(
            parsing: table, streamByteCount: streamByteCount,
            maximumDataFrameRawByteCount: ArchiveReader.maximumDataFrameByteCount)
        demand(excess == 0, "a table that does not fit its stream is refused")
        demand(seekTable.serialized().elementsEqual(table), "a table has one form")
        demand(seekTable.streamByteCount == streamByteCount, "a table describes its stream")
        checkFrames(seekTable)
        checkHoles(seekTable)
        checkLayout(seekTable)
    } catch {
        demand(error.code == .seekTable, "the error is the table's")
        demand((error.streamOffset ?? 0) <= streamByteCount, "the error's place is inside")
    }
}

private func checkFrames(_ table: SeekTable) {
    var rawOffset: UInt64 = 0
    var streamOffset: UInt64 = 0
    for index in 0..<table.frameCount {
        let (raw, stream) = (table.rawRange(ofFrame: index), table.streamRange(ofFrame: index))
        demand(raw.lowerBound == rawOffset && stream.lowerBound == streamOffset, "frames follow each other")
        demand(!raw.isEmpty && !stream.isEmpty, "no frame is empty")
        demand(
            table.frameIndex(containingRawOffset: raw.lowerBound) == index
                && table.frameIndex(containingRawOffset: raw.upperBound - 1) == index, "a byte is in its frame")
        demand(
            raw.count <= ArchiveReader.maximumDataFrameByteCount || table.isZeroFrame(index), "a frame has a limit")
        (rawOffset, streamOffset) = (raw.upperBound, stream.upperBound)
    }
    demand(rawOffset == table.rawByteCount && streamOffset == table.compressedByteCount, "the sums are the frames'")
}

/// The walk of SEEK_DATA and SEEK_HOLE.
private func checkHoles(_ table: SeekTable) {
    var offset: UInt64 = 0
    var dataByteCount: UInt64 = 0
    while let data = table.nextData(at: offset) {
        demand(data >= offset && data < table.rawByteCount, "data lies ahead")
        let hole = table.nextHole(at: data)
        demand(hole > data && hole <= table.rawByteCount, "a hole lies behind its data")
        dataByteCount += hole - data
        offset = hole
    }
    demand(dataByteCount == table.dataByteCount, "the walk finds all data")
}

/// The whole chunks around the frames.
private func checkLayout(_ table: SeekTable) {
    guard table.frameCount > 0 else { return }
    let size = PayloadLayout.archiveByteCount(headerByteCount: 200, plaintextByteCount: table.streamByteCount)
    let layout: ArchiveLayout
    do {
        layout = try ArchiveLayout(
            payload: PayloadLayout(headerByteCount: 200, archiveByteCount: size), seekTable: table)
    } catch {
        fatalError("broken promise: a table fits its own size: \(error)")
    }
    var next = 0
    for run in layout.runs(ofFrames: 0..<table.frameCount, frameLimit: 8, archiveByteLimit: 4 << 20) {
        demand(run.frames.lowerBound == next && !run.frames.isEmpty, "runs follow each other")
        demand(run.archiveRange.upperBound <= size, "a run is inside the archive")
        demand(run.archiveRange.count > run.streamRange.count, "a run holds its stream")
        next = run.frames.upperBound
    }
    demand(next == table.frameCount, "runs cover all frames")
    demand(layout.seekTableRun.archiveRange.upperBound == size, "the table ends the archive")
}
