package import BackupEngine
internal import Catalog
package import Configuration
package import Logging
internal import SystemIO

/// The catalog before anything works with it.
extension Composition {
    /// Looks at the whole file of the catalog (SQLite's integrity check: 500 MB take 0.2 s). One that is damaged is kept under another name and
    /// made anew; without `repairs` it is an error. nil for a sound one, and where there is none yet.
    package static func checkCatalog(
        _ configuration: Configuration, repairs: Bool, log: Logger
    ) throws -> CatalogRepair? {
        let path = catalogPath(configuration)
        guard try exists(path) else { return nil }
        try StateFolder.makePrivate(configuration.stateDirectory, log)
        guard let damage = try CatalogDamage.found(path) else { return nil }
        guard repairs else { throw damage.finding }
        return try Engine.repairing(path) {
            // Another process may have been faster.
            guard let damage = try CatalogDamage.found(path) else { return nil }
            let engine = try engine(configuration, Catalog.replacement(for: path), log)
            defer { engine.close() }
            return try engine.replaceCatalog(at: path, readingFrom: damage.catalog, damage.finding)
        }
    }

    private static func exists(_ path: String) throws -> Bool {
        do throws(Errno) {
            _ = try FileFacts.of(path)
            return true
        } catch {
            if error == .noEntry { return false }
            throw error
        }
    }
}

/// A catalog that is damaged, and how.
private struct CatalogDamage {
    let finding: CatalogError
    /// nil if it does not even open.
    let catalog: Catalog?

    /// nil for a sound one. Throws what is no damage: a later version, a file that cannot be read.
    static func found(_ path: String) throws -> CatalogDamage? {
        let catalog: Catalog
        do throws(CatalogError) {
            catalog = try Catalog(path: path)
        } catch {
            guard error.code == .corrupt else { throw error }
            return CatalogDamage(finding: error, catalog: nil)
        }
        do throws(CatalogError) {
            try catalog.checkIntegrity()
        } catch {
            guard error.code == .corrupt else { throw error }
            return CatalogDamage(finding: error, catalog: catalog)
        }
        return nil
    }
}
