internal import BackupNames
internal import Catalog

extension PrometheusText {
    /// What `holdfast status` knows, as metrics.
    package mutating func add(_ resources: [ResourceStatus], _ engine: Engine, now: Int64) {
        add("holdfast_info", .gauge, "Version of holdfast.", [Sample([("version", Engine.toolVersion)], 1)])
        let without = engine.orgsWithoutBackup(resources)
        add(
            "holdfast_org_without_backup", .gauge, "1 for an org of the configuration that has no backup at all.",
            without.map { Sample([("org", "\($0)")], 1) })

        /// One sample for each disk that has the value.
        func gauge(_ name: String, _ help: String, _ value: (ResourceStatus) -> Double?) {
            add(
                "holdfast_disk_" + name, .gauge, help,
                resources.compactMap { resource in value(resource).map { Sample(resource.labels, $0) } })
        }
        gauge("last_good_backup_timestamp_seconds", "Consistent point of the newest good backup.") {
            $0.lastGood.map { Double($0.createdAt) }
        }
        gauge("rpo_seconds", "Age of the newest good backup.") { $0.recoveryPoint(now: now).map(Double.init) }
        add(
            "holdfast_disk_rto_seconds", .gauge, "How long a restore takes: measured by a drill, or estimated.",
            resources.compactMap { resource in
                resource.recoveryTime.milliseconds.map { milliseconds in
                    Sample(
                        resource.labels + [("source", resource.recoveryTime.source)], Double(milliseconds) / 1000)
                }
            })
        gauge("last_drill_timestamp_seconds", "When the newest drill began, however it went.") {
            $0.lastDrill.map { Double($0.startedAt) }
        }
        gauge("last_drill_good", "Whether the newest drill went well.") { $0.lastDrill.map { $0.isGood ? 1 : 0 } }
        gauge("last_drill_duration_seconds", "How long the newest drill took.") {
            $0.lastDrill.map { Double($0.totalMilliseconds) / 1000 }
        }
        gauge("last_verify_timestamp_seconds", "When a backup of the disk was last verified and found right.") {
            $0.verifiedAt.map(Double.init)
        }
        add(
            "holdfast_disk_overdue", .gauge, "1 if the newest good backup, the last verification or drill is too old.",
            resources.flatMap { resource in
                let overdue = resource.overdue(now: now, engine.thresholds(of: resource.disk.org))
                return OverdueCare.allCases.map { care in
                    Sample(resource.labels + [("what", care.rawValue)], overdue.contains(care) ? 1 : 0)
                }
            })
        gauge("bad_backups", "Backups that a check has found something wrong with.") {
            Double($0.badBackups.count)
        }
        gauge("raw_bytes", "Size of the disk at its newest backup.") { Double($0.newest.rawByteCount) }
        add(
            "holdfast_disk_backups", .gauge, "Backups of the disk at a backend.",
            resources.flatMap { resource in
                resource.places.map { Sample(resource.labels + [("backend", "\($0.backend)")], $0.backupCount) }
            })
        add(
            "holdfast_disk_backend_rpo_seconds", .gauge, "Age of the newest good backup at a backend.",
            resources.flatMap { resource in
                resource.places.compactMap { place in
                    place.lastGood.map { backup in
                        Sample(
                            resource.labels + [("backend", "\(place.backend)")],
                            RecoveryFigures.recoveryPoint(createdAt: backup.createdAt, now: now))
                    }
                }
            })
    }
}

extension ResourceStatus {
    fileprivate var labels: PrometheusText.Labels {
        [("org", "\(disk.org)"), ("vm", "\(disk.vm)"), ("disk", "\(disk.disk)")]
    }
}
