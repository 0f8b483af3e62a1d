internal import BackupNames
internal import Retention

extension RetentionLocks {
    /// `lock = { daily = "7d", weekly = "5w", monthly = "1y", yearly = "3y" }`; `{}` takes away what a table above says.
    init(_ table: ConfigurationTable) throws(ConfigurationError) {
        try table.allow(Set(RetentionClass.allCases.map(\.rawValue)))
        var seconds: [RetentionClass: Int64] = [:]
        for retentionClass in RetentionClass.allCases {
            let key = retentionClass.rawValue
            guard let text = try table.optionalString(key) else { continue }
            guard let length = DurationText.seconds(text), length <= 100 * 366 * 86_400 else {
                throw table.error(
                    .invalidValue, key, "must be a length of time such as \"7d\", \"5w\" or \"3y\", 100 years at most")
            }
            seconds[retentionClass] = length
        }
        self.init(seconds)
    }
}

extension Configuration {
    /// Locks need a backend that can: said here, not in the night.
    func demandLocks(_ root: ConfigurationTable) throws(ConfigurationError) {
        for org in orgs {
            let top = ["orgs", org.name.description]
            let topKey = top + ["auto", "lock"]
            try demandLocks(org.auto, of: org.name, at: topKey, root)
            for (vm, auto) in org.vmAutos.sorted(by: { $0.key < $1.key }) {
                let key = top + ["vms", vm.description, "auto", "lock"]
                try demandLocks(auto.over(org.auto), of: org.name, at: auto.locks == nil ? topKey : key, root)
            }
            for disk in disks where disk.name.org == org.name {
                let vm = top + ["vms", disk.name.vm.description]
                let vmAuto = org.vmAutos[disk.name.vm] ?? AutoBackup()
                let key =
                    disk.auto.locks != nil
                    ? vm + ["disks", disk.name.disk.description, "auto", "lock"]
                    : vmAuto.locks != nil ? vm + ["auto", "lock"] : topKey
                try demandLocks(disk.auto.over(vmAuto.over(org.auto)), of: org.name, at: key, root)
            }
        }
    }

    private func demandLocks(
        _ automation: AutoBackup, of org: ResourceName, at keys: [String], _ root: ConfigurationTable
    ) throws(ConfigurationError) {
        guard automation.locks?.isEmpty == false, let target = automaticTarget(automation, of: org) else { return }
        let names =
            switch target {
            case .backend(let name): [name]
            case .random: disasterRecoveryBackends
            }
        if let unable = backends.first(where: { names.contains($0.name) && !$0.locksObjects }) {
            throw root.error(
                .invalidValue, at: keys,
                "backups go to \"\(unable.name)\", which locks nothing: it needs object_lock_mode")
        }
    }
}
