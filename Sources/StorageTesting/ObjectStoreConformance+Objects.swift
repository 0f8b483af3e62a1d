internal import Storage

extension ObjectStoreConformance {
    static let readChecks: [Check] = [
        Check("every range within an object is read exactly") { store in
            let bytes = type(of: store).sample(70_001)
            try store.put("a/b", bytes)
            for offset in [0, 1, 4095, 4096, 65_535, 65_536, 70_000, 70_001] {
                for count in [0, 1, 2, 4096, 65_536, 70_001] where offset + count <= bytes.count {
                    try Expectation.that(
                        try store.bytes("a/b", at: UInt64(offset), count: count)
                            == Array(bytes[offset..<offset + count]),
                        "\(count) bytes at \(offset) are wrong")
                }
            }
        },
        Check("a range beyond the end is refused, not shortened") { store in
            try store.put("a/b", [1, 2, 3])
            for (offset, count) in [(0, 4), (3, 1), (4, 0), (4, 1), (UInt64.max, 1), (UInt64.max, 0), (1 << 62, 5)] {
                var bytes = [UInt8](repeating: 0, count: count)
                try Expectation.fails(.rangeNotSatisfiable, "\(count) bytes at \(offset)") { () throws(StorageError) in
                    let key = try ObjectKey("a/b")
                    var failure: StorageError?
                    bytes.withUnsafeMutableBytes { buffer in
                        do throws(StorageError) { try store.read(key, at: offset, into: buffer) } catch {
                            failure = error
                        }
                    }
                    if let failure { throw failure }
                }
            }
        },
        Check("what is not there is absent to read and head") { store in
            try store.put("a/b/c")
            for key in ["x", "x/y", "a/x", "a", "a/b", "a/b/c/d"] {
                try Expectation.fails(.absent, "head of \(key)") { () throws(StorageError) in
                    _ = try store.head(ObjectKey(key))
                }
                try Expectation.fails(.absent, "read of \(key)") { () throws(StorageError) in
                    try store.read(ObjectKey(key), at: 0, into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
                }
            }
        },
        Check("upload, head and listing tell the same facts") { store in
            let put = try store.put("a/b", [1, 2, 3])
            try Expectation.equal(put.byteCount, 3, "the size")
            try Expectation.equal(try store.head(ObjectKey("a/b")), put, "head")
            try Expectation.equal(try store.list(prefix: "a/", after: nil, limit: 10).objects, [put], "the listing")
        },
        Check("a deleted and new object has its own bytes and version") { store in
            let first = try store.put("a/b", [1, 2, 3])
            try Expectation.equal(try store.bytes("a/b", at: 0, count: 3), [1, 2, 3], "the first")
            try store.delete(ObjectKey("a/b"))
            let second = try store.put("a/b", [4, 5, 6])
            try Expectation.equal(try store.bytes("a/b", at: 0, count: 3), [4, 5, 6], "the second")
            try Expectation.that(first.version != second.version, "the version did not change")
        },
    ]

    static let deleteChecks: [Check] = [
        Check("a deleted object is gone for all") { store in
            try store.put("a/b")
            try store.put("a/c")
            _ = try store.bytes("a/b", at: 0, count: 1)
            try store.delete(ObjectKey("a/b"))
            try Expectation.that(try store.isAbsent("a/b"), "head sees it")
            try Expectation.fails(.absent, "read") { () throws(StorageError) in
                try store.read(ObjectKey("a/b"), at: 0, into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
            }
            try Expectation.equal(try store.keys(), ["a/c"], "the listing")
        },
        Check("deleting what is not there is success and touches nothing else") { store in
            try store.put("a/b/c")
            for key in ["a/b/c/d", "a/b", "a", "x/y"] { try store.delete(ObjectKey(key)) }
            try Expectation.equal(try store.keys(), ["a/b/c"], "the listing")
        },
        Check("a prefix is free for other uses when its last object is gone") { store in
            try store.put("a/b/c")
            try store.delete(ObjectKey("a/b/c"))
            try store.put("a")
            try store.delete(ObjectKey("a"))
            try store.put("a/b")
            try Expectation.equal(try store.keys(), ["a/b"], "the listing")
        },
        Check("the room in the store is not more than the whole") { store in
            guard let space = try store.space() else { return }
            try Expectation.that(space.availableByteCount <= space.totalByteCount, "\(space)")
        },
    ]

    static let listChecks: [Check] = [
        Check("an empty store lists nothing") { store in
            let page = try store.list(prefix: "", after: nil, limit: 1)
            try Expectation.that(page.objects.isEmpty && page.next == nil, "\(page)")
        },
        Check("objects are sorted by the bytes of their keys") { store in
            // "-" and "." sort before "/", "0" after it: folders must come where their keys do.
            let keys = ["a-b/x", "a.b", "a/b", "a/b-c", "a/c/d", "a0", "aé/1", "b", "ä"]
            for key in keys.reversed() { try store.put(key) }
            for limit in [1, 2, 3, 8, 9, 10] {
                try Expectation.equal(try store.keys(limit: limit), keys, "the listing by \(limit)")
            }
        },
        Check("a prefix need not end at a slash") { store in
            for key in ["a/b", "ab/c", "ab/d", "abc", "b"] { try store.put(key) }
            try Expectation.equal(try store.keys(prefix: "ab"), ["ab/c", "ab/d", "abc"], "prefix ab")
            try Expectation.equal(try store.keys(prefix: "ab/"), ["ab/c", "ab/d"], "prefix ab/")
            try Expectation.equal(try store.keys(prefix: "ab/c"), ["ab/c"], "prefix ab/c")
            try Expectation.equal(try store.keys(prefix: "x"), [], "prefix x")
            try Expectation.equal(try store.keys(prefix: "a//"), [], "prefix a//")
            try Expectation.equal(try store.keys(prefix: "../"), [], "prefix ../")
        },
        Check("a listing goes on after any string, also one that is no key") { store in
            for key in ["a/1", "a/2", "b/1"] { try store.put(key) }
            func after(_ string: String) throws -> [String] {
                try store.list(prefix: "", after: string, limit: 10).objects.map(\.key.string)
            }
            try Expectation.equal(try after("a/"), ["a/1", "a/2", "b/1"], "after a/")
            try Expectation.equal(try after("a/1"), ["a/2", "b/1"], "after a/1")
            try Expectation.equal(try after("a/1x"), ["a/2", "b/1"], "after a/1x")
            try Expectation.equal(try after("a0"), ["b/1"], "after a0")
            try Expectation.equal(try after("c"), [], "after c")
        },
        Check("pages show each of many objects once") { store in
            let keys = (0..<2500).map { number in
                let digits = String(number)
                return "org/vm\(number % 7)/" + String(repeating: "0", count: 6 - digits.count) + digits
            }.sorted()
            // Side by side, for a store over a network takes its time for each.
            _ = try inParallel(8) { number in
                for index in stride(from: number, to: keys.count, by: 8) { try store.put(keys[index], []) }
                return nil
            }
            for limit in [1000, 333, 2500, 5000] {
                try Expectation.that(try store.keys(limit: limit) == keys, "the listing by \(limit) is wrong")
            }
            try Expectation.equal(
                try store.keys(prefix: "org/vm3/", limit: 100).count, keys.count { $0.hasPrefix("org/vm3/") },
                "the number with a prefix")
        },
        Check("an object deleted between pages does not disturb the listing") { store in
            for key in ["a/1", "a/2", "a/3", "a/4"] { try store.put(key) }
            let first = try store.list(prefix: "a/", after: nil, limit: 2)
            try store.delete(ObjectKey("a/2"))
            try store.delete(ObjectKey("a/3"))
            let second = try store.list(prefix: "a/", after: first.next, limit: 2)
            try Expectation.equal(second.objects.map(\.key.string), ["a/4"], "the second page")
        },
    ]
}
