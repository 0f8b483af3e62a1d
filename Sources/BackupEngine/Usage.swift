package import BackupNames
package import Retention

/// What backups take up and cost: sums of values, no catalog and no clock. Money is added exactly and rounded where it is shown.
package struct Usage: Sendable {
    /// One backup at one backend.
    package struct Item: Sendable, Hashable {
        package let org: ResourceName
        package let vm: ResourceName
        package let backend: ResourceName
        package let rawByteCount: UInt64
        package let storedByteCount: UInt64
        /// Seconds for which the backend goes on billing it if it is removed now.
        package let boundSeconds: Int64

        package init(
            org: ResourceName, vm: ResourceName, backend: ResourceName, rawByteCount: UInt64, storedByteCount: UInt64,
            boundSeconds: Int64 = 0
        ) {
            self.org = org
            self.vm = vm
            self.backend = backend
            self.rawByteCount = rawByteCount
            self.storedByteCount = storedByteCount
            self.boundSeconds = boundSeconds
        }
    }

    /// A sum of items.
    package struct Sum: Sendable, Hashable {
        package private(set) var count = 0
        package private(set) var rawByteCount: UInt64 = 0
        package private(set) var storedByteCount: UInt64 = 0
        /// A month of it.
        package private(set) var month = Money.nothing
        /// What removing all of it today would not save.
        package private(set) var bound = Money.nothing

        package init() {}

        package mutating func add(_ item: Item, _ price: Price) {
            count += 1
            rawByteCount += item.rawByteCount
            storedByteCount += item.storedByteCount
            month = month + price.month(of: item.storedByteCount)
            bound = bound + price.charge(of: item.storedByteCount, seconds: item.boundSeconds)
        }
    }

    package struct Key: Sendable, Hashable, Comparable {
        package let org: ResourceName
        package let vm: ResourceName
        package let backend: ResourceName

        package static func < (left: Key, right: Key) -> Bool {
            (left.org, left.vm, left.backend) < (right.org, right.vm, right.backend)
        }
    }

    /// By org, vm and backend.
    package let rows: [(key: Key, sum: Sum)]
    package let orgs: [(org: ResourceName, sum: Sum)]
    package let backends: [(backend: ResourceName, sum: Sum)]
    package let total: Sum

    package init(_ items: [Item], price: (ResourceName) -> Price) {
        var rows: [Key: Sum] = [:]
        var orgs: [ResourceName: Sum] = [:]
        var backends: [ResourceName: Sum] = [:]
        var total = Sum()
        for item in items {
            let price = price(item.backend)
            rows[Key(org: item.org, vm: item.vm, backend: item.backend), default: Sum()].add(item, price)
            orgs[item.org, default: Sum()].add(item, price)
            backends[item.backend, default: Sum()].add(item, price)
            total.add(item, price)
        }
        self.rows = rows.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        self.orgs = orgs.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        self.backends = backends.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        self.total = total
    }
}
