import Foundation
import TestSupport
import Testing

extension StoreScenarios {
    /// A writer that waits for a store which is away can be ended, and what it began with it.
    @Suite("Interrupted writers, over S3", .serialized)
    struct Interrupted {
        private static let settings = """
            connect_seconds = 2
            stall_seconds = 2
            upload = { patience_seconds = 120 }
            """

        private func withBench(_ body: (MountBench, LabProxy) throws -> Void) throws {
            let lab = try LabProxy(to: S3Server.shared(.ceph), seed: 5)
            defer { lab.stop() }
            let bench = try MountBench(
                on: .ceph, through: lab, bucketSettings: Self.settings)
            // More than the memory holds, and no zeros.
            try bench.run("head -c 120M /dev/urandom > a.raw; head -c 12M a.raw > b.raw")
            try body(bench, lab)
            try lab.setNetwork(.working)
            try bench.run("cp b.raw '\(bench.staging)/last.raw' && cmp b.raw '\(bench.staging)/last.raw'")
            try bench.unmount()
            try bench.run("holdfast backend gc --days 0 --config c.toml")
            try bench.expectClean(try bench.backups.count)
        }

        /// Runs a program that takes signals: a shell's background job ignores SIGINT, and this process's threads block all.
        private static let heeding = """
            python3 -c 'import os,signal,sys; signal.pthread_sigmask(signal.SIG_SETMASK,[]); \
            [signal.signal(s,signal.SIG_DFL) for s in (2,3)]; os.execvp(sys.argv[1],sys.argv[1:])'
            """

        /// Starts `line` in the background, lets the store go away in the midst of it, and sends it a signal when it waits.
        private static func end(_ line: String, with signal: String, waitsFor seconds: Int = 4) -> String {
            """
            \(line) & writer=$!
            sleep \(seconds); kill -0 $writer || { echo 'it ended by itself'; exit 9; }
            kill -\(signal) $writer; start=$(date +%s%N)
            wait $writer; status=$?
            echo "status $status after $(( ($(date +%s%N) - start) / 1000000 )) ms"
            test $(( ($(date +%s%N) - start) / 1000000 )) -lt 3000
            """
        }

        @Test(.timeLimit(.minutes(3)), arguments: ["INT", "TERM", "KILL", "QUIT"], [false, true])
        func `a writer that waits is freed at once, and makes no backup`(signal: String, hasBegun: Bool) throws {
            try withBench { bench, lab in
                if hasBegun {
                    // Parts are sent slowly, and then not at all.
                    try bench.run("cp b.raw '\(bench.staging)/first.raw'")
                    try lab.add(FaultRule(.stallRequest(), on: .uploadPart))
                } else {
                    try lab.setNetwork(.dead)
                }
                let line = "\(Self.heeding) dd if=a.raw of='\(bench.staging)/disk.raw' bs=1M"
                let result = try bench.shell(Self.end(line, with: signal))
                #expect(result.status == 0, "\(result)")
                #expect(result.output.contains("status 1"), "\(result)")
                if hasBegun {
                    let status = try bench.run("cat '\(bench.staging)/disk.raw.status'")
                    #expect(status.contains("state: failed"), "\(status)")
                }
                #expect(try bench.backups.count == (hasBegun ? 1 : 0))
                try lab.clearRules()
            }
        }

        @Test(.timeLimit(.minutes(3)), arguments: ["INT", "KILL"])
        func `so is one that waits in its close`(signal: String) throws {
            try withBench { bench, lab in
                try bench.run("cp b.raw '\(bench.staging)/first.raw'")
                try lab.add(FaultRule(.stallRequest(), on: .uploadPart))
                let line = "\(Self.heeding) cp b.raw '\(bench.staging)/disk.raw'"
                let result = try bench.shell(Self.end(line, with: signal))
                #expect(result.status == 0, "\(result)")
                let status = try bench.run("cat '\(bench.staging)/disk.raw.status'")
                #expect(status.contains("state: failed") && status.contains("ended by a signal"), "\(status)")
                #expect(try bench.backups.count == 1)
                try lab.clearRules()
            }
        }

        @Test(.timeLimit(.minutes(3)))
        func `a program that handles the signal hears of it at once, goes on, and its backup is whole`() throws {
            try withBench { bench, lab in
                try lab.setNetwork(.dead)
                try """
                import os,signal
                os.closerange(3,256)    # the test waits for those who have its pipe open
                signal.pthread_sigmask(signal.SIG_SETMASK,[])
                signal.signal(signal.SIGTERM,lambda *a: print('heard',flush=True))
                signal.signal(signal.SIGWINCH,lambda *a: None)
                f=os.open('\(bench.staging)/disk.raw',os.O_WRONLY|os.O_CREAT|os.O_TRUNC)
                data=open('a.raw','rb').read(); done=0
                while done<len(data): done+=os.write(f,data[done:done+(1<<20)])
                os.close(f)
                print('closed',flush=True)
                """.write(toFile: bench.folder + "/writer.py", atomically: true, encoding: .utf8)
                let started = try bench.shell(
                    """
                    python3 writer.py > heard.txt 2>&1 & echo $! > writer.pid
                    sleep 4; kill -WINCH $(cat writer.pid); sleep 0.5; kill -TERM $(cat writer.pid); sleep 1.5
                    cat heard.txt; kill -0 $(cat writer.pid)
                    """)
                #expect(started.status == 0 && started.output == "heard", "\(started)")
                try lab.setNetwork(.working)
                try bench.run(
                    "for i in $(seq 300); do grep -q closed heard.txt && break; sleep 0.1; done; grep closed heard.txt")
                try bench.run("cmp a.raw '\(bench.staging)/disk.raw'")
                #expect(try bench.backups.count == 1)
            }
        }
    }
}
