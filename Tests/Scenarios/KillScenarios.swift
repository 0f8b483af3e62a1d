import Foundation
import Testing

extension Scenarios {
    @Suite("SIGKILL at any moment", .serialized)
    struct Kills {
        @Test(.timeLimit(.minutes(10)), arguments: BenchPlace.all)
        func `the daemon, killed while an image is written, registers nothing partial and loses nothing`(
            place: BenchPlace
        ) throws {
            let bench = try MountBench(on: place)
            let seed = UInt64.random(in: 0...UInt64.max)
            print("seed of the kills: \(seed)")
            var state = seed
            func random(_ limit: UInt64) -> UInt64 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return (state >> 33) % limit
            }
            _ = try bench.makeImage("a.raw", mebibytes: 16)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            var registered = 1
            for round in 0..<(place == .directory ? 50 : 15) {
                let milliseconds = random(500)
                // The writer may have ended before the kill: then its backup counts, if `cp` said so.
                let copied = try bench.shell(
                    """
                    (sleep \(Double(milliseconds) / 1000); kill -KILL \(try bench.daemon)) &
                    cp a.raw '\(bench.staging)/d\(round).raw'; s=$?; wait; exit $s
                    """)
                try bench.killDaemon()
                try bench.startMount()
                let backups = try bench.backups.count
                if copied.status == 0 { #expect(backups == registered + 1, "round \(round), after \(milliseconds) ms") }
                #expect(backups == registered || backups == registered + 1, "round \(round), after \(milliseconds) ms")
                registered = backups
                // A creation whose answer came after the end is in no journal; it has to be of an earlier second.
                if place != .directory { try bench.run("sleep 1; holdfast backend gc --days 0 --config c.toml") }
                try bench.expectClean(registered, "round \(round), after \(milliseconds) ms")
            }
            for backup in try bench.backups { try bench.run("holdfast verify '\(backup)' --config c.toml") }
        }

        @Test(.timeLimit(.minutes(3)), arguments: BenchPlace.usual)
        func `a writer, killed ten times, leaves nothing`(place: BenchPlace) throws {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 24)
            for round in 0..<10 {
                _ = try bench.shell(
                    "timeout -s KILL \(0.03 + Double(round) * 0.01) dd if=a.raw of='\(bench.staging)/disk.raw' bs=64k")
                let backups = try bench.backups.count
                // One that was fast enough is whole.
                try bench.expectClean(backups, "round \(round)", within: 30)
                for backup in try bench.backups { try bench.run("holdfast verify '\(backup)' --config c.toml") }
                try bench.run("rm -f '\(bench.staging)/disk.raw'")
            }
        }
    }
}
