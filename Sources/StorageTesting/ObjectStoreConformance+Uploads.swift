internal import Storage

extension ObjectStoreConformance {
    static let uploadChecks: [Check] = [
        Check("an upload in uneven pieces is read back as one object") { store in
            let bytes = type(of: store).sample(300_007)
            let upload = try store.upload(ObjectKey("acme/web/date/disk"))
            var rest = bytes[...]
            for step in [0, 1, 4095, 4096, 4097, 65_536, 131_073, bytes.count] {
                try upload.append(Array(rest.prefix(step)))
                rest = rest.dropFirst(step)
            }
            let facts = try upload.complete()
            try Expectation.equal(facts.byteCount, UInt64(bytes.count), "the size")
            try Expectation.equal(facts.key.string, "acme/web/date/disk", "the key")
            try Expectation.that(
                try store.bytes("acme/web/date/disk", at: 0, count: bytes.count) == bytes, "other bytes came back")
        },
        Check("a range of another object is appended as its bytes would be") { store in
            // Longer than two parts of any store, so that some of it can be copied and not read.
            let source = type(of: store).sample(12_300_007, seed: 3)
            let upload = try store.upload(ObjectKey("a/source"))
            try upload.append(source)
            _ = try upload.complete()
            let head = type(of: store).sample(233, seed: 4)
            for (number, range) in [200..<12_300_007, 7..<5000, 300..<300].enumerated() {
                let copy = try store.upload(ObjectKey("a/copy\(number)"))
                try copy.append(head)
                try copy.append(copying: ObjectKey("a/source"), UInt64(range.lowerBound)..<UInt64(range.upperBound))
                // What follows is appended behind it.
                try copy.append([1, 2, 3])
                let expected = head + source[range] + [1, 2, 3]
                let facts = try copy.complete()
                try Expectation.equal(facts.byteCount, UInt64(expected.count), "the size of \(range)")
                let bytes = try store.bytes("a/copy\(number)", at: 0, count: expected.count)
                try Expectation.that(bytes == expected, "other bytes came back of \(range)")
            }
        },
        Check("what is not there is not copied, and nothing comes of the upload") { store in
            let source = type(of: store).sample(6_000_000, seed: 5)
            let first = try store.upload(ObjectKey("a/source"))
            try first.append(source)
            _ = try first.complete()
            let cases: [(key: String, range: Range<UInt64>, code: StorageError.Code)] = [
                ("a/none", 0..<5_900_000, .absent), ("a/none", 0..<10, .absent),
                ("a/source", 10..<6_000_001, .rangeNotSatisfiable),
                ("a/source", 5_999_999..<6_000_001, .rangeNotSatisfiable),
            ]
            for (key, range, code) in cases {
                let upload = try store.upload(ObjectKey("a/copy"))
                try upload.append([1])
                // A store may say it when the upload is completed.
                try Expectation.fails(code, "copying \(range) of \(key)") { () throws(StorageError) in
                    try upload.append(copying: ObjectKey(key), range)
                    _ = try upload.complete()
                }
                upload.abort()
                try Expectation.that(try store.isAbsent("a/copy"), "there is an object of \(range) of \(key)")
            }
        },
        Check("an upload of nothing is an empty object") { store in
            let facts = try store.upload(ObjectKey("a/empty")).complete()
            try Expectation.equal(facts.byteCount, 0, "the size")
            try Expectation.equal(try store.head(ObjectKey("a/empty")).byteCount, 0, "the size by head")
            try Expectation.equal(try store.bytes("a/empty", at: 0, count: 0), [], "the content")
        },
        Check("nothing is seen of an upload before it is completed") { store in
            let upload = try store.upload(ObjectKey("a/b"))
            try upload.append([1, 2, 3])
            try Expectation.that(try store.isAbsent("a/b"), "head sees it")
            try Expectation.equal(try store.keys(), [], "the listing")
            try Expectation.fails(.absent, "read") { () throws(StorageError) in
                try store.read(ObjectKey("a/b"), at: 0, into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
            }
            _ = try upload.complete()
            try Expectation.equal(try store.keys(), ["a/b"], "the listing")
        },
        Check("an aborted upload leaves nothing and can be aborted again") { store in
            let upload = try store.upload(ObjectKey("a/b"))
            try upload.append([1, 2, 3])
            upload.abort()
            upload.abort()
            try Expectation.that(try store.isAbsent("a/b"), "head sees it")
            try Expectation.fails(.changed, "complete") { () throws(StorageError) in _ = try upload.complete() }
            try Expectation.fails(.changed, "append") { () throws(StorageError) in
                try upload.append(UnsafeRawBufferPointer(start: nil, count: 0))
            }
            try Expectation.equal(try store.keys(), [], "the listing")
        },
        Check("abort after complete keeps the object") { store in
            let upload = try store.upload(ObjectKey("a/b"))
            try upload.append([7])
            _ = try upload.complete()
            upload.abort()
            try store.abortUpload(identifier: upload.identifier, key: ObjectKey("a/b"))
            try Expectation.equal(try store.bytes("a/b", at: 0, count: 1), [7], "the content")
        },
        Check("a journal's identifier aborts an upload, and a second time is success") { store in
            let upload = try store.upload(ObjectKey("a/b"))
            try upload.append([7])
            try store.abortUpload(identifier: upload.identifier, key: ObjectKey("a/b"))
            try store.abortUpload(identifier: upload.identifier, key: ObjectKey("a/b"))
            try Expectation.fails(.changed, "complete") { () throws(StorageError) in _ = try upload.complete() }
            try Expectation.equal(try store.keys(), [], "the listing")
        },
        Check("identifiers of uploads differ, also for one key") { store in
            let uploads = try (0..<20).map { _ in try store.upload(ObjectKey("a/b")) }
            try Expectation.equal(Set(uploads.map(\.identifier)).count, 20, "the number of identifiers")
            for upload in uploads { upload.abort() }
        },
        Check("an upload that is dropped is aborted") { store in
            var upload: (any ObjectUpload)? = try store.upload(ObjectKey("a/b"))
            try upload?.append([1])
            upload = nil
            try Expectation.equal(try store.keys(), [], "the listing")
            try store.put("a/b", [2])
        },
        Check("a key may have several components, spaces, dots and any letters") { store in
            let keys = ["a", "b/c", "b/c d/.e", "b/ü…/日本", "z/" + String(repeating: "x", count: 255)]
            for key in keys { try store.put(key, Array(key.utf8)) }
            try Expectation.equal(try store.keys(), keys, "the listing")
            for key in keys {
                try Expectation.equal(
                    try store.bytes(key, at: 0, count: key.utf8.count), Array(key.utf8), "the content")
            }
        },
        Check("keys that differ in Unicode normalization only are two objects") { store in
            try store.put("o/\u{e9}", [1])
            try store.put("o/e\u{301}", [2])
            try Expectation.equal(try store.bytes("o/\u{e9}", at: 0, count: 1), [1], "the composed one")
            try Expectation.equal(try store.bytes("o/e\u{301}", at: 0, count: 1), [2], "the decomposed one")
            try Expectation.equal(try store.keys().count, 2, "the number of objects")
        },
    ]
}
