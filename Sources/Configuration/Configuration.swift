package import BackupNames
package import Retention

/// What the configuration file says, checked: DESIGN's TOML, or the embedded default where there is no file.
package struct Configuration: Sendable, Equatable {
    package struct Backend: Sendable, Equatable {
        package enum Place: Sendable, Equatable {
            case directory(path: String)
            case bucket(Bucket)
        }

        package var name: ResourceName
        package var place: Place
        /// Components before `<org>/…` in every object key.
        package var prefix: [String] = []
        package var region: String?
        package var country: String?
        /// Whether it counts as disaster recovery: another provider, another country.
        package var isDisasterRecovery = false
        /// Days for which the provider bills an object, however early it goes.
        package var minimumBilledDays = 0
        /// nil: `Prices.backup`.
        package var price: Price?

        /// Whether its archives can be locked: it is a bucket, and says how.
        package var locksObjects: Bool {
            if case .bucket(let bucket) = place { bucket.objectLockMode != nil } else { false }
        }

        /// The folder of a directory backend.
        package var path: String? {
            if case .directory(let path) = place { path } else { nil }
        }
    }

    package struct Cache: Sendable, Equatable {
        /// Ranges of archives kept on disk, in bytes; 0 keeps none.
        package var diskByteCount = 10 << 30
        /// What stays free on that file system; nil: the larger of a twentieth of it and 1 GiB.
        package var minimumFreeByteCount: Int?
        /// Local copies of foreign archives, for reading at random, in bytes; 0 keeps none.
        package var foreignByteCount = 20 << 30
    }

    package struct Org: Sendable, Equatable {
        package var name: ResourceName
        package var recoveryRecipients: [String] = []
        /// Where its backups go unless said otherwise.
        package var backend: ResourceName?
        package var drills = Drills()
        /// Of drills, by the vm's name.
        package var vms: [ResourceName: Drills] = [:]
        /// Of automatic backups.
        package var auto = AutoBackup()
        package var vmAutos: [ResourceName: AutoBackup] = [:]
        package var status = Status()
        /// nil: its folders are as the mount says.
        package var access: Access?
    }

    package struct Archive: Sendable, Equatable {
        package var level = 2
        package var frameByteCount = 1 << 20
    }

    /// `[prices]`: what a terabyte (10^12 bytes) of stored bytes costs a month.
    package struct Prices: Sendable, Equatable {
        package var backup = Price(centsPerTerabyteMonth: 3500)
        package var snapshot = Price(centsPerTerabyteMonth: 5000)
    }

    package struct CatalogCare: Sendable, Equatable {
        /// Copies of the catalog kept at each backend; 0 makes none.
        package var copyCount = 8
        /// How often a mount looks for other hosts' backups; 0: never.
        package var refreshSeconds = 300
    }

    package var stateDirectory: String
    package var keysDirectory: String
    package var backends: [Backend]
    package var orgs: [Org] = []
    package var archive = Archive()
    package var cache = Cache()
    package var catalog = CatalogCare()
    package var memoryBudgetByteCount = 256 << 20
    package var drills = Drills()
    package var status = Status()
    /// Those that can be backed up without being told where they are.
    package var disks: [Disk] = []
    package var pools: [Pool] = []
    package var agent = Agent()
    package var prices = Prices()
    /// No file was there: the folders are ours to make.
    package var isEmbeddedDefault = false
}
