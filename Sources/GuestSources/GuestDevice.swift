internal import BackupEngine

/// A disk of a guest as QEMU's query-block shows it.
struct GuestDevice: Hashable, Sendable {
    /// The id or path of the device; nil: nothing in the guest has it.
    let device: String?
    /// The name of the block device, if it has one.
    let block: String
    /// The node that the device is on; nil: it has no medium.
    let node: String?
    let byteCount: UInt64

    init(_ entry: QMPValue) {
        device = entry["qdev"].string
        block = entry["device"].string ?? ""
        node = entry["inserted"]["node-name"].string
        byteCount = UInt64(max(0, entry["inserted"]["image"]["virtual-size"].integer ?? 0))
    }

    private static let peripheral = "/machine/peripheral/"

    /// Its path in QEMU's tree of objects; its property `drive` is the node it is on.
    var path: String? { device.map { $0.hasPrefix("/") ? $0 : Self.peripheral + $0 } }

    /// What a user may call it by, best first.
    var names: [String] {
        var names: [String] = []
        if let path {
            // A device of virtio is one within another; only the outer has the user's id.
            let id = path.hasPrefix(Self.peripheral) ? path.dropFirst(Self.peripheral.count).prefix { $0 != "/" } : ""
            if !id.isEmpty { names.append(String(id)) }
            names.append(path)
        }
        return names + [node, block].compactMap { $0 }.filter { !$0.isEmpty }
    }

    /// All of a guest.
    static func all(_ monitor: QMPConnection) throws -> [GuestDevice] {
        try monitor.execute("query-block").elements.map { GuestDevice($0) }
    }

    /// The disk that a user means.
    static func find(_ name: String, among devices: [GuestDevice]) throws(EngineError) -> GuestDevice {
        let found = devices.filter { $0.names.contains(name) }
        guard let device = found.first, found.count == 1 else {
            let known = devices.filter { $0.node != nil && $0.device != nil }.compactMap(\.names.first)
            throw EngineError(
                .source,
                found.isEmpty ? "the guest has no drive \"\(name)\"" : "the guest has several drives \"\(name)\"",
                hint: known.isEmpty ? "it has none at all" : "it has: \(known.joined(separator: ", "))")
        }
        guard device.node != nil else { throw EngineError(.source, "the drive \"\(name)\" has no medium") }
        guard device.device != nil else {
            throw EngineError(
                .source, "no device of the guest uses the drive \"\(name)\"",
                hint: "what no guest writes to can be backed up as an image")
        }
        return device
    }

    /// The iothread that its requests are served by; nil: QEMU's main loop. Virtio's disks have a property that says so, those of SCSI
    /// have a controller that has it.
    func iothread(_ monitor: QMPConnection) throws -> String? {
        guard let path else { return nil }
        func property(_ name: String, of path: String) throws -> String? {
            do {
                return try monitor.execute("qom-get", ["path": .text(path), "property": .text(name)]).string
            } catch is QMPRefusal {
                return nil
            }
        }
        if let own = try property("iothread", of: path) { return own.isEmpty ? nil : own }
        guard let bus = try property("parent_bus", of: path), let slash = bus.lastIndex(of: "/") else { return nil }
        let controller = try property("iothread", of: String(bus[..<slash]))
        return controller?.isEmpty == true ? nil : controller
    }
}
