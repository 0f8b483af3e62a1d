import BackupNames
import Testing

@testable import Filesystem

@Suite("Nodes and names of the tree")
struct NodeTests {
    private func folder() throws -> VMPath {
        VMPath(backend: try ResourceName("b"), org: try ResourceName("o"), vm: try ResourceName("v"))
    }

    @Test(arguments: [
        ("disk.raw", "disk"), ("data.raw", "data"), (".disk.raw", "disk"), (".disk.raw.AbC123", "disk"),
        (".data.raw.tmp", "data"), ("a.b.raw", "a.b"),
    ])
    func `names of staged images tell their disk`(name: String, disk: String) throws {
        #expect(StagedName(name, in: try folder())?.disk.description == disk)
    }

    @Test(arguments: ["disk", "disk.img", ".raw", "raw", "disk.raw.tmp", ".hidden", "..raw", ""])
    func `other names are none`(name: String) throws {
        #expect(StagedName(name, in: try folder()) == nil)
    }

    @Test func `a node keeps its number until it is forgotten as often as it was told`() throws {
        let table = NodeTable()
        let node = Node.backend(try ResourceName("b"))
        let number = table.remember(node)
        #expect(table.remember(node) == number)
        table.forget(number, lookups: 1)
        #expect(try table.node(number) == node)
        table.forget(number, lookups: 1)
        #expect(throws: FileSystemError.self) { try table.node(number) }
        #expect(table.remember(node) != number)
        table.forget(NodeTable.rootNumber, lookups: 100)
        #expect(try table.node(NodeTable.rootNumber) == .root)
    }

    @Test func `a renamed node keeps its number`() throws {
        let table = NodeTable()
        let old = Node.staged(try #require(StagedName(".disk.raw", in: folder())))
        let new = Node.staged(try #require(StagedName("disk.raw", in: folder())))
        let number = table.remember(old)
        table.rename(old, to: new)
        #expect(try table.node(number) == new)
        #expect(table.remember(new) == number)
    }
}
