import Glibc
import Testing

@testable import SystemIO

@Suite(.timeLimit(.minutes(1))) struct OwnedFileTests {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    func open(_ name: String, _ options: OwnedFile.Options = .create) throws -> OwnedFile {
        try OwnedFile(opening: folder.path + "/" + name, for: .readWrite, options: options)
    }

    func read(_ file: borrowing OwnedFile, at offset: UInt64, count: Int) throws -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
        defer { buffer.deallocate() }
        let done = try file.read(at: offset, into: buffer)
        return Array(buffer[..<done])
    }

    func write(_ file: borrowing OwnedFile, _ bytes: [UInt8], at offset: UInt64) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { buffer.deallocate() }
        buffer.copyBytes(from: bytes)
        try file.write(UnsafeRawBufferPointer(buffer), at: offset)
    }

    @Test func `what is written at an offset is read there, and a short read means the end`() throws {
        let file = try open("f")
        try write(file, [1, 2, 3, 4], at: 10)
        #expect(try read(file, at: 10, count: 4) == [1, 2, 3, 4])
        #expect(try read(file, at: 8, count: 100) == [0, 0, 1, 2, 3, 4])
        #expect(try read(file, at: 14, count: 1) == [])
        #expect(try read(file, at: 0, count: 0) == [])
        #expect(try file.facts().byteCount == 14)
    }

    @Test func `an offset that no file has is invalid`() throws {
        let file = try open("f")
        #expect(throws: Errno.invalidArgument) { try read(file, at: .max, count: 1) }
        #expect(throws: Errno.invalidArgument) { try write(file, [1], at: UInt64(Int64.max)) }
    }

    @Test func `a missing file and a file that must be new are told apart`() throws {
        #expect(throws: Errno.noEntry) { _ = try open("missing", []) }
        _ = try open("f")
        #expect(throws: Errno.exists) { _ = try open("f", [.create, .exclusive]) }
        #expect(Errno.noEntry.description == "No such file or directory")
    }

    @Test func `a closed file gives its descriptor back, by call or by going out of scope`() throws {
        let number: Int32
        do {
            let file = try open("f")
            number = file.descriptor
            #expect(fcntl(number, F_GETFD) & FD_CLOEXEC != 0)
        }
        #expect(fcntl(number, F_GETFD) == -1)
        let file = try open("f")
        let second = file.descriptor
        try file.close()
        #expect(fcntl(second, F_GETFD) == -1)
    }

    @Test func `data and holes are found with the virtual hole at the end`() throws {
        let file = try open("f")
        try file.truncate(to: 3 << 20)
        try write(file, [UInt8](repeating: 7, count: 65_536), at: 1 << 20)
        #expect(try file.seekData(from: 0) == 1 << 20)
        #expect(try file.seekHole(from: 1 << 20) == (1 << 20) + 65_536)
        #expect(try file.seekData(from: 2 << 20) == nil)
        #expect(try file.seekHole(from: 3 << 20) == nil)
        #expect(try file.byteCount() == 3 << 20)
    }

    @Test func `a zeroed range reads as zeros and the size stays`() throws {
        let file = try open("f")
        try write(file, [UInt8](repeating: 7, count: 100_000), at: 0)
        try file.zeroRange(10..<90_000)
        let expected =
            [UInt8](repeating: 7, count: 10) + [UInt8](repeating: 0, count: 89_990)
            + [UInt8](repeating: 7, count: 10_000)
        #expect(try read(file, at: 0, count: 200_000) == expected)
        try file.zeroRange(99_999..<200_000)
        #expect(try file.byteCount() == 100_000)
        #expect(try read(file, at: 99_998, count: 10) == [7, 0])
    }

    @Test func `write-back of a range keeps the bytes`() throws {
        let file = try open("f")
        try write(file, [UInt8](repeating: 9, count: 100_000), at: 0)
        try file.startWriteBack(0..<100_000)
        try file.finishWriteBack(0..<100_000)
        try file.synchronize()
        try file.synchronizeData()
        #expect(try read(file, at: 99_999, count: 2) == [9])
    }

    @Test func `a lock is held by one open file at a time`() throws {
        let first = try open("f")
        #expect(try first.tryLock())
        do {
            let second = try open("f")
            #expect(try !second.tryLock())
        }
        try first.close()
        let third = try open("f")
        #expect(try third.tryLock())
    }

    @Test func `a pipe is read to its end over many short reads`() throws {
        var ends: (Int32, Int32) = (0, 0)
        #expect(withUnsafeMutableBytes(of: &ends) { pipe($0.assumingMemoryBound(to: Int32.self).baseAddress!) } == 0)
        let reader = OwnedFile(adopting: ends.0)
        let writer = OwnedFile(adopting: ends.1)
        try [UInt8](repeating: 5, count: 3000).withUnsafeBytes { bytes in
            try writer.write(bytes)
            try writer.write(bytes)
        }
        try writer.close()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 10_000, alignment: 1)
        defer { buffer.deallocate() }
        #expect(try reader.read(into: buffer) == 6000)
        #expect(throws: Errno.illegalSeek) { try reader.byteCount() }
    }
}
