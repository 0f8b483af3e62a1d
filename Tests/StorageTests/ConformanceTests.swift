import StorageTesting
import Testing

@testable import Storage

@Suite(.timeLimit(.minutes(1))) struct ConformanceTests {
    @Test(arguments: ObjectStoreConformance.checks)
    func `the store in memory keeps the contract`(check: ObjectStoreConformance.Check) throws {
        try check.run(on: InMemoryStore())
    }

    @Test(arguments: ObjectStoreConformance.checks)
    func `the store in memory keeps the contract with short pages`(check: ObjectStoreConformance.Check) throws {
        let store = InMemoryStore()
        store.limitPages(to: 3)
        // Thousands of objects in pages of three take too long in a model that sorts for each page.
        if check.name != "pages show each of many objects once" { try check.run(on: store) }
    }

    @Test(arguments: ObjectStoreConformance.checks)
    func `a local folder keeps the contract`(check: ObjectStoreConformance.Check) throws {
        let folder = try TemporaryFolder(.memory)
        try check.run(on: LocalDirectoryStore(name: "local", path: folder.path))
    }

    @Test(arguments: [PublicationMethod.hardLink, .renameUnderLock], ObjectStoreConformance.checks)
    func `a local folder keeps the contract where the file system can do less`(
        method: PublicationMethod, check: ObjectStoreConformance.Check
    ) throws {
        let folder = try TemporaryFolder(.memory)
        try check.run(on: LocalDirectoryStore(name: "local", path: folder.path, publishingBy: method))
    }

    @Test(arguments: ObjectStoreConformance.checks)
    func `a store that injects no fault keeps the contract`(check: ObjectStoreConformance.Check) throws {
        try check.run(on: FaultInjectingStore(InMemoryStore()))
    }

    @Test func `the suite finds a store that breaks the contract`() throws {
        let failures = try ObjectStoreConformance.run {
            let store = FaultInjectingStore(InMemoryStore())
            store.flipBit(0, at: 0, of: try ObjectKey("a/b"))
            return store
        }
        #expect(failures.contains { $0.check == "every range within an object is read exactly" })
    }
}
