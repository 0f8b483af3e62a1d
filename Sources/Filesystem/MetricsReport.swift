internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import RangeCache
internal import Storage
internal import Synchronization

/// `metrics.prom`: what `status.json` says, for Prometheus.
extension BackupFilesystem {
    func metricsText() throws -> [UInt8] {
        typealias Sample = PrometheusText.Sample
        var text = PrometheusText()
        text.add(try resources.current(), engine, now: engine.clock.secondsSince1970)
        let stores = engine.backends.values.sorted { $0.name < $1.name }.map { backend in
            (labels: [(name: "backend", value: "\(backend.name)")], condition: backend.store.condition)
        }
        text.add(
            "holdfast_backend_up", .gauge, "0 while a backend does not answer.",
            stores.map { Sample($0.labels, $0.condition.isThere ? 1 : 0) })
        text.add(
            "holdfast_backend_requests_total", .counter, "Requests to a backend.",
            stores.map { Sample($0.labels, $0.condition.requests) })
        text.add(
            "holdfast_backend_repeated_requests_total", .counter, "Requests that had to be repeated.",
            stores.map { Sample($0.labels, $0.condition.repetitions) })
        text.add(
            "holdfast_backend_throttled_total", .counter, "Answers by which a backend asked for fewer requests.",
            stores.map { Sample($0.labels, $0.condition.throttled) })
        text.add(
            "holdfast_backend_outages_total", .counter, "How often a backend stopped to answer.",
            stores.map { Sample($0.labels, $0.condition.outages) })
        if let cache = engine.rangeCache?.status {
            text.add(
                "holdfast_cache_reads_total", .counter, "Reads of the disk cache.",
                [
                    Sample([("result", "hit")], cache.hitCount),
                    Sample([("result", "partial")], cache.partialHitCount),
                    Sample([("result", "miss")], cache.missCount),
                ])
            text.add(
                "holdfast_cache_bad_blocks_total", .counter, "Blocks of the disk cache that were damaged.",
                [Sample([], cache.badBlockCount)])
        }
        let files = staging.all.map(\.snapshot.state)
        func count(_ isCounted: (StagedFile.State) -> Bool) -> Int { files.count(where: isCounted) }
        text.add(
            "holdfast_staged_images", .gauge, "Images in staging that are no backup yet, by what becomes of them.",
            [
                Sample(
                    [("state", "streaming")],
                    count { if case .streaming = $0 { true } else { false } }),
                Sample(
                    [("state", "committing")],
                    count { if case .committing = $0 { true } else { false } }),
                Sample([("state", "held")], count { if case .held = $0 { true } else { false } }),
                Sample([("state", "failed")], count { if case .failed = $0 { true } else { false } }),
            ])
        return text.bytes
    }
}

/// What the catalog knows about the recovery of disks, looked up again only when the catalog has changed.
final class ResourceList: Sendable {
    private let engine: Engine
    private let known = Mutex<(token: Int64, list: [ResourceStatus])?>(nil)

    init(engine: Engine) {
        self.engine = engine
    }

    func current() throws -> [ResourceStatus] {
        let token = try engine.catalog.changeToken()
        if let known = known.withLock({ $0 }), known.token == token { return known.list }
        let list = try engine.resources()
        known.withLock { $0 = (token, list) }
        return list
    }
}
