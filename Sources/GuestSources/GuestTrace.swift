/// What backups of ours have in a guest's QEMU, and how it is taken away, in the one order that QEMU allows.
///
/// | order | what | why then |
/// |---|---|---|
/// | 1 | the export | its client may be gone; nothing reads any more |
/// | 2 | the NBD server, if nobody else has an export there | |
/// | 3 | the snapshot node | while it is there the filter lets nobody else write to the disk's node |
/// | 4 | the guest's device goes back to the node below the filter | from here on the guest writes as before |
/// | 5 | the filter, then the overlay | nothing uses them any more; the overlay's memory is free |
/// | 6 | the descriptor of the overlay | |
///
/// The node below the filter is asked for each time: somebody may have put another one there, and the guest must not lose that.
struct GuestTrace {
    private static let exportPatience = Duration.seconds(10)

    private let monitor: QMPConnection
    private let concerns: (GuestToken) -> Bool
    /// Whether a server of ours may run that nothing else shows.
    private let hasServer: Bool

    init(_ monitor: QMPConnection, hasServer: Bool, of concerns: @escaping (GuestToken) -> Bool) {
        self.monitor = monitor
        self.hasServer = hasServer
        self.concerns = concerns
    }

    /// Removes it, as far as that can be done. Throws the first of what could not.
    func remove() throws {
        var failure: (any Error)?
        func attempt(_ body: () throws -> Void) {
            do { try body() } catch { failure = failure ?? error }
        }
        let nodes = try nodes()
        attempt { try removeExports(hasServer: hasServer || !nodes.isEmpty) }
        for node in nodes where node.role == .snapshot { attempt { try delete(node.name) } }
        for node in nodes where node.role == .filter {
            attempt {
                try giveBack(filter: node.name)
                try delete(node.name)
            }
        }
        for node in nodes where node.role == .overlay { attempt { try delete(node.name) } }
        attempt { try removeDescriptors() }
        if let failure { throw failure }
    }

    private func nodes() throws -> [(name: String, role: GuestToken.Role)] {
        try monitor.execute("query-named-block-nodes", ["flat": true]).elements.compactMap { node in
            guard let name = node["node-name"].string, let (token, role) = GuestToken.parse(name), concerns(token)
            else {
                return nil
            }
            return (name, role)
        }
    }

    private func delete(_ node: String) throws { try monitor.execute("blockdev-del", ["node-name": .text(node)]) }

    // MARK: Exports

    private func exports() throws -> (own: [String], others: Int) {
        let identifiers = try monitor.execute("query-block-exports").elements.compactMap { $0["id"].string }
        let own = identifiers.filter { GuestToken.parse($0).map { concerns($0.token) } ?? false }
        return (own, identifiers.count - own.count)
    }

    private func removeExports(hasServer: Bool) throws {
        var (own, others) = try exports()
        let hasServer = hasServer || !own.isEmpty
        for identifier in own {
            try monitor.execute("block-export-del", ["id": .text(identifier), "mode": "hard"])
        }
        // It is gone when its connections are.
        let deadline = ContinuousClock.now + Self.exportPatience
        while !own.isEmpty {
            (own, others) = try exports()
            guard own.isEmpty || ContinuousClock.now < deadline else {
                throw ConversationFailure(description: "the export of its disk does not end")
            }
        }
        guard hasServer, others == 0 else { return }
        // A server that does not run is no failure.
        do { try monitor.execute("nbd-server-stop") } catch is QMPRefusal {}
    }

    // MARK: The guest's device

    /// Puts whatever is on a filter onto the node below it.
    private func giveBack(filter: String) throws {
        for device in try GuestDevice.all(monitor) where device.node == filter {
            guard let path = device.path else { continue }
            guard let below = try node(below: filter) else {
                throw ConversationFailure(description: "nothing is below \"\(filter)\"")
            }
            try monitor.execute("qom-set", ["path": .text(path), "property": "drive", "value": .text(below)])
        }
    }

    /// The node that a filter reads from and writes to, as QEMU's graph has it now. Also asked for before anything is made: an old or new
    /// QEMU may not tell it.
    func node(below filter: String) throws -> String? {
        let graph = try monitor.execute("x-debug-query-block-graph")
        let nodes = graph["nodes"].elements
        guard let number = nodes.first(where: { $0["name"].string == filter && $0["type"] == "block-driver" })?["id"]
        else { return nil }
        let edge = graph["edges"].elements.first { $0["parent"] == number && $0["name"] == "file" }
        guard let child = edge?["child"] else { return nil }
        return nodes.first { $0["id"] == child && $0["type"] == "block-driver" }?["name"].string
    }

    // MARK: Descriptors

    private func removeDescriptors() throws {
        for set in try monitor.execute("query-fdsets").elements {
            let isOurs = set["fds"].elements.contains { descriptor in
                descriptor["opaque"].string.flatMap { GuestToken.parse($0) }.map { concerns($0.token) } ?? false
            }
            if isOurs { try monitor.execute("remove-fd", ["fdset-id": set["fdset-id"]]) }
        }
    }
}
