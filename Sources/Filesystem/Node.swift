package import BackupNames
internal import Synchronization

/// A vm at a backend: what a folder of dates, or of staged images, belongs to.
package struct VMPath: Hashable, Sendable {
    package let backend: ResourceName
    package let org: ResourceName
    package let vm: ResourceName
}

/// A name below `staging/<backend>/<org>/<vm>/`.
package struct StagedName: Hashable, Sendable {
    package let folder: VMPath
    /// `disk.raw`, or `.disk.raw` with an optional further ending.
    package let fileName: String
    package let disk: ResourceName

    /// The form for scripts: uploaded at close, registered by `mv` to its final name.
    package var isHidden: Bool { fileName.hasPrefix(".") }

    /// nil when the name is none for a staged image.
    init?(_ fileName: String, in folder: VMPath) {
        self.folder = folder
        self.fileName = fileName
        let visible = fileName.hasPrefix(".") ? fileName.dropFirst() : fileName[...]
        let ending = ".raw"
        let diskPart: Substring
        if visible.hasSuffix(ending) {
            diskPart = visible.dropLast(ending.count)
        } else if fileName.hasPrefix("."), let range = visible.firstRange(of: ending + ".") {
            // rsync's `.disk.raw.XXXXXX` and the like.
            diskPart = visible[..<range.lowerBound]
        } else {
            return nil
        }
        guard let disk = try? ResourceName(String(diskPart)) else { return nil }
        self.disk = disk
    }

    var diskName: DiskName { DiskName(org: folder.org, vm: folder.vm, disk: disk) }
}

/// Everything that has a name in the mount. The identity of a node is its value.
package enum Node: Hashable, Sendable {
    case root
    case status
    case metrics
    case backend(ResourceName)
    case org(ResourceName, ResourceName)
    case vm(VMPath)
    case latest(VMPath)
    case date(VMPath, BackupDate)
    case raw(BackupIdentifier)
    case partition(BackupIdentifier, Int)
    case archive(BackupIdentifier)
    case manifest(BackupIdentifier)
    case sums(VMPath, BackupDate)
    case staging
    case stagingBackend(ResourceName)
    case stagingOrg(ResourceName, ResourceName)
    case stagingVM(VMPath)
    case staged(StagedName)
    case stagedStatus(StagedName)
    case snapshot(SnapshotNode)
}

/// The numbers by which the kernel knows nodes, for as long as it does.
///
/// A number is given at the first lookup and taken back when the kernel has forgotten it as often as it was told.
final class NodeTable: Sendable {
    static let rootNumber: UInt64 = 1

    private struct State {
        var nodes: [UInt64: (node: Node, lookups: UInt64)] = [NodeTable.rootNumber: (.root, 1)]
        var numbers: [Node: UInt64] = [.root: NodeTable.rootNumber]
        var nextNumber = NodeTable.rootNumber + 1
    }

    private let state = Mutex(State())

    /// The number of a node, one more lookup counted.
    func remember(_ node: Node) -> UInt64 {
        state.withLock { state in
            if let number = state.numbers[node] {
                state.nodes[number]?.lookups += 1
                return number
            }
            let number = state.nextNumber
            state.nextNumber += 1
            state.numbers[node] = number
            state.nodes[number] = (node, 1)
            return number
        }
    }

    func forget(_ number: UInt64, lookups: UInt64) {
        guard number != Self.rootNumber else { return }
        state.withLock { state in
            guard let entry = state.nodes[number] else { return }
            if entry.lookups > lookups {
                state.nodes[number]?.lookups -= lookups
            } else {
                state.nodes[number] = nil
                if state.numbers[entry.node] == number { state.numbers[entry.node] = nil }
            }
        }
    }

    func node(_ number: UInt64) throws -> Node {
        guard let entry = state.withLock({ $0.nodes[number] }) else {
            throw FileSystemError(.notFound, "the node \(number) is not known")
        }
        return entry.node
    }

    /// After a rename the old number is the new name's: whoever has the file open goes on with it.
    func rename(_ old: Node, to new: Node) {
        state.withLock { state in
            guard let number = state.numbers.removeValue(forKey: old) else { return }
            if let replaced = state.numbers[new] { state.nodes[replaced]?.node = old }
            state.numbers[new] = number
            state.nodes[number]?.node = new
        }
    }

    /// The number a node has, without counting; for directory listings.
    func knownNumber(of node: Node) -> UInt64? { state.withLock { $0.numbers[node] } }
}
