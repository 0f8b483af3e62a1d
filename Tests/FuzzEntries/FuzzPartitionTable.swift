import DiskImage

/// Partition tables and the sizes that file systems claim: nothing is read outside the image, and nothing found lies outside it.
///
/// The first two bytes say where in the image the rest goes, which checksums are made to fit (a fuzzer does not guess those), and how
/// much larger than the input the image is.
package func fuzzPartitionTable(_ bytes: UnsafeRawBufferPointer) {
    var input = FuzzInput(bytes)
    let mode = input.byte()
    let shift = UInt64(input.byte() % 43)
    // btrfs keeps its superblock at 64 KiB; the space before it would only be in the way of mutations.
    var image = [UInt8](repeating: 0, count: mode & 7 == 2 ? 64 << 10 : 0) + Array(input.rest)
    image += [UInt8](repeating: 0, count: (512 - image.count % 512) % 512)
    switch mode & 7 {
    case 1: sealGPT(&image)
    case 2: seal(&image, 65536..<69632, at: 65536, Checksum.crc32c, from: 65568)
    case 3: seal(&image, 1024..<2044, at: 2044, Checksum.crc32cNotInverted, from: 1024)
    case 4: sealXFS(&image)
    default: break
    }
    let byteCount = UInt64(image.count) + (shift == 0 ? 0 : 1 << shift)
    checkTable(image, byteCount)
    checkHead(image)
}

private func checkTable(_ image: [UInt8], _ byteCount: UInt64) {
    var readByteCount = 0
    var readCount = 0
    let table: PartitionTable?
    do {
        table = try PartitionTable.read(imageByteCount: byteCount) { offset, buffer in
            demand(offset <= byteCount && UInt64(buffer.count) <= byteCount - offset, "a read is inside the image")
            readByteCount += buffer.count
            readCount += 1
            for index in buffer.indices {
                let position = offset + UInt64(index)
                buffer[index] = position < UInt64(image.count) ? image[Int(position)] : 0
            }
        }
    } catch {
        demand(error is DiskImageError, "only a damaged GPT is an error")
        return
    }
    // Six headers and the entries of each; the links of logical partitions.
    demand(readByteCount <= 6 * (4 << 20) + (1 << 20) && readCount <= 1000, "little is read")
    guard let table else { return }
    demand(table.scheme == .gpt || !table.partitions.isEmpty, "an MBR without partitions is none")
    demand(table.partitions.count <= 255, "there are no more partitions than Linux numbers")
    demand(Set(table.partitions.map(\.number)).count == table.partitions.count, "a number names one partition")
    for partition in table.partitions {
        demand((1...255).contains(partition.number), "a partition has a number as Linux has it")
        demand(partition.byteCount > 0 && partition.rawOffset > 0, "a partition has bytes behind the table")
        demand(
            partition.rawOffset <= byteCount && partition.byteCount <= byteCount - partition.rawOffset,
            "a partition is inside the image")
        demand(partition.name.utf16.count <= 36, "a name has its limit")
        demand(partition.typeIdentifier.utf8.count == (table.scheme == .gpt ? 36 : 4), "a type is whole")
    }
}

private func checkHead(_ image: [UInt8]) {
    image.withUnsafeBytes { bytes in
        let head = UnsafeRawBufferPointer(rebasing: bytes.prefix(ImageHead.byteCount))
        for size in ImageHead.declaredSizes(in: head) {
            demand(size.byteCount > 0 && !size.structure.isEmpty, "a size that is declared is one")
        }
        // Of a cut image the head may end anywhere.
        for count in [0, 1, 511, 513, 1025, 2047, 4097, 65537] where count < head.count {
            _ = ImageHead.declaredSizes(in: UnsafeRawBufferPointer(rebasing: head[..<count]))
        }
    }
}

// MARK: Checksums that fit

private func put(_ value: UInt32, _ image: inout [UInt8], at offset: Int) {
    withUnsafeBytes(of: value.littleEndian) { image.replaceSubrange(offset..<offset + 4, with: $0) }
}

private func number(_ image: [UInt8], at offset: Int) -> Int {
    (0..<4).reduce(0) { $0 | Int(image[offset + $1]) << (8 * $1) }
}

private func seal(
    _ image: inout [UInt8], _ block: Range<Int>, at offset: Int, _ checksum: (ArraySlice<UInt8>) -> UInt32,
    from start: Int
) {
    guard image.count >= max(block.upperBound, offset + 4) else { return }
    put(checksum(image[start..<block.upperBound]), &image, at: offset)
}

private func sealXFS(_ image: inout [UInt8]) {
    guard image.count >= 512 else { return }
    let size = Int(image[102]) << 8 | Int(image[103])
    guard (512...image.count).contains(size) else { return }
    put(0, &image, at: 224)
    put(Checksum.crc32c(image[..<size]), &image, at: 224)
}

/// Every header of a GPT that starts a sector: first the checksum of its entries, then its own.
private func sealGPT(_ image: inout [UInt8]) {
    for start in stride(from: 512, to: image.count - 511, by: 512)
    where image[start..<start + 8].elementsEqual("EFI PART".utf8) {
        let headerByteCount = number(image, at: start + 12)
        guard (92...512).contains(headerByteCount) else { continue }
        for sector in [512, 4096] {
            let entries = number(image, at: start + 72) * sector
            let size = min(number(image, at: start + 80), 1 << 20) * min(number(image, at: start + 84), 1 << 20)
            guard entries <= image.count, size <= image.count - entries, start % sector == 0 else { continue }
            put(Checksum.crc32(image[entries..<entries + size]), &image, at: start + 88)
        }
        put(0, &image, at: start + 16)
        put(Checksum.crc32(image[start..<start + headerByteCount]), &image, at: start + 16)
    }
}
