internal import BackupNames
package import Catalog
internal import Logging
internal import OrgKeys
internal import Storage
internal import SystemIO

/// What making a damaged catalog anew came to.
package struct CatalogRepair: Sendable {
    private static let problemLimit = 100

    /// What was wrong.
    package let finding: String
    /// Where the damaged file is kept; nil where it was gone.
    package fileprivate(set) var keptPath: String?
    /// Backups by where they came from, in this order.
    package fileprivate(set) var fromCopies = 0
    package fileprivate(set) var fromSidecars = 0
    package fileprivate(set) var fromDamaged = 0
    /// Rows of the damaged catalog that could not be read, or do not prove right.
    package fileprivate(set) var lostRowCount = 0
    /// Checks, damage and runs.
    package fileprivate(set) var historyCount = 0
    /// What could not be asked or taken in; the first of it.
    package private(set) var problems: [String] = []

    fileprivate mutating func note(_ problem: String) {
        if problems.count < Self.problemLimit { problems.append(problem) }
    }

    /// For people, a line each.
    package var report: [String] {
        let count = fromCopies + fromSidecars + fromDamaged
        return [
            "the catalog was damaged: \(finding)",
            "it \(keptPath.map { "is kept as \($0)" } ?? "is gone"); the new one has \(count) backups: \(fromCopies) from copies of the catalog, "
                + "\(fromSidecars) from sidecars, \(fromDamaged) from what could be read of the damaged one; "
                + "\(historyCount) checks and runs",
        ] + (lostRowCount > 0 ? ["\(lostRowCount) rows of the damaged one are not readable or not authentic"] : [])
            + problems
    }
}

/// A damaged catalog is set aside and made anew, from its copies at the backends, from the sidecars, and from its own rows that are
/// authentic. It stays in its place until the new one is whole, so nobody ever sees a list with holes.
extension Engine {
    /// Looks at the whole file of the catalog; makes one that is damaged anew. nil for a sound one. Throws when no backend can be asked:
    /// then everything stays as it is.
    package func repairCatalogIfDamaged() throws(EngineError) -> CatalogRepair? {
        let path = catalog.path
        do {
            guard try isDamaged() != nil else { return nil }
            return try Self.repairing(path) {
                // Another process may have been faster: then the path names a sound one by now.
                guard let finding = try isDamaged() else { return nil }
                let new = try Catalog.replacement(for: path)
                let repair = try with(new) { try $0.replaceCatalog(at: path, readingFrom: catalog, finding) }
                // From now on this process, too, works with the new one.
                _ = try catalog.changeToken()
                return repair
            }
        } catch {
            throw EngineError(error, subject: "the damaged catalog")
        }
    }

    /// Checks and runs that are taken over in one transaction.
    private static let factLimit = 500

    private func isDamaged() throws(CatalogError) -> CatalogError? {
        do throws(CatalogError) {
            try catalog.checkIntegrity()
            return nil
        } catch  where error.code == .corrupt {
            return error
        }
    }

    /// One process repairs at a time.
    package static func repairing<Result>(_ path: String, _ body: () throws -> Result) throws -> Result {
        let file = try OwnedFile(opening: path + ".repair", for: .write, options: [.create, .noFollow])
        try file.lock()
        return try body()
    }

    /// Fills this engine's catalog, a new one (`Catalog.replacement`), and puts it in the place of the damaged one at `path`, which stays
    /// beside it. `damaged` is nil where that does not even open.
    package func replaceCatalog(
        at path: String, readingFrom damaged: Catalog?, _ finding: CatalogError
    ) throws(EngineError) -> CatalogRepair {
        let date = BackupDate(secondsSince1970: clock.secondsSince1970)
        var repair = CatalogRepair(finding: finding.detail)
        do {
            try takeOverJournal(of: damaged, &repair)
            try takeInFromBackends(&repair)
            if let damaged { try takeInRows(of: damaged, &repair) }
            let keptPath = "\(path).damaged-\(date)"
            if try catalog.takePlace(of: path, keeping: keptPath) { repair.keptPath = keptPath }
        } catch {
            throw EngineError(error, subject: "the damaged catalog")
        }
        return repair
    }

    private func takeOverJournal(of damaged: Catalog?, _ repair: inout CatalogRepair) throws {
        var uploads: [UploadRecord] = []
        var folders: [StagingFolder] = []
        do throws(CatalogError) {
            uploads = try damaged?.uploads() ?? []
            folders = try damaged?.folders() ?? []
        } catch {
            repair.note("the journal of uploads is lost, `holdfast backend gc` removes what they left: \(error)")
        }
        try catalog.takeOver(uploads, folders, secondsSince1970: clock.secondsSince1970)
    }

    private func takeInFromBackends(_ repair: inout CatalogRepair) throws {
        for org in try keys.list() where (try? readingKey(of: org)) != nil {
            do throws(EngineError) {
                let restored = try restoreCatalog(of: org, from: Array(backends.values))
                repair.fromCopies += restored.registered.count
                repair.historyCount += restored.historyCount
                for refused in restored.refusedCopies { repair.note("refused: \(refused.error)") }
            } catch {
                repair.note("copies of the catalog of org \"\(org)\": \(error)")
            }
        }
        var failure: EngineError?
        var isAsked = false
        for backend in backends.values.sorted(by: { $0.name < $1.name }) {
            do throws(EngineError) {
                let rebuilt = try rebuildCatalog(from: backend)
                isAsked = true
                repair.fromSidecars += rebuilt.registered.count
                for refused in rebuilt.refused { repair.note("refused: \(refused.error)") }
            } catch {
                repair.note("\(error): what it has beyond the copies comes in when it is there again")
                failure = failure ?? error
            }
        }
        if let failure, !isAsked { throw failure }
    }

    /// Rows that nothing at a backend has told of: those of a backend that is away, or whose sidecar is gone, or all on a host that
    /// cannot read sidecars. Each is sealed by the org and pins its archive; what the archive is worth now a check says.
    private func takeInRows(of damaged: Catalog, _ repair: inout CatalogRepair) throws {
        var failure: (any Error)?
        let unreadableCount = damaged.forEachReadableBackup { record in
            guard failure == nil else { return }
            do {
                guard try catalog.backup(record.identifier) == nil else { return }
                guard (try? authenticManifest(of: record)) != nil else {
                    repair.lostRowCount += 1
                    return
                }
                try catalog.register(record, finishing: nil)
                repair.fromDamaged += 1
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        repair.lostRowCount += unreadableCount
        do {
            for org in try damaged.copiedOrgs() {
                var facts: [CopiedFact] = []
                try CatalogContent(catalog: damaged, org: org).forEachOfHistory { line in
                    if case .fact(let fact) = line { facts.append(fact) }
                    guard facts.count >= Self.factLimit else { return }
                    repair.historyCount += try catalog.merge(facts)
                    facts.removeAll(keepingCapacity: true)
                }
                repair.historyCount += try catalog.merge(facts)
            }
        } catch {
            repair.note("not all checks and runs could be read: \(error)")
        }
    }
}
