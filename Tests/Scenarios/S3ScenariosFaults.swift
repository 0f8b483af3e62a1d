import Foundation
import TestSupport
import Testing

extension StoreScenarios {
    /// What the user sees when the store misbehaves: right bytes or an error, in time, and afterwards a daemon that works.
    @Suite("Each fault in each phase, over S3", .serialized)
    struct S3Faults {
        struct Case: Sendable {
            let fault: Fault
            /// Once, and nobody notices.
            var isSurvived = true
            init(_ fault: Fault, isSurvived: Bool = true) {
                self.fault = fault
                self.isSurvived = isSurvived
            }
        }

        /// Long enough for a fault to be got over, on a busy machine too; or short, so that what never succeeds is told soon.
        private static func settings(isPatient: Bool) -> String {
            """
            connect_seconds = 1
            stall_seconds = 1
            patience_seconds = \(isPatient ? 4 : 1)
            upload = { part_size = "5MiB", patience_seconds = \(isPatient ? 5 : 2) }
            """
        }
        /// An operation takes at most some patience for each of its requests in turn.
        private static let limitSeconds = 30

        private static let anywhere = [
            Case(.slowDown), Case(.internalError), Case(.status(502)),
            Case(.status(503, code: "SlowDown", retryAfter: 1)),
            Case(.resetBefore), Case(.resetAfter), Case(.stallRequest()), Case(.duplicateHeaders()),
            Case(.reorderHeaders), Case(.clockSkew(hours: 5)),
            Case(.status(403, code: "AccessDenied"), isSurvived: false),
            Case(.status(404, code: "NoSuchBucket"), isSurvived: false), Case(.status(418), isSurvived: false),
        ]
        private static let readFaults =
            anywhere + [
                Case(.resetBody(after: 100_000)), Case(.stallBody(after: 100_000)), Case(.shortBody(after: 100_000)),
                Case(.shortBody(after: 100_000, lie: true)), Case(.wrongRange(.claim)),
                Case(.wrongRange(.bytesAndClaim)),
                Case(.ignoreRange), Case(.errorIn200(), isSurvived: false),
                Case(.flipBit(at: 70_000), isSurvived: false),
                Case(.wrongRange(.bytes, by: 7), isSurvived: false), Case(.wrongETag, isSurvived: false),
                Case(.status(404, code: "NoSuchKey"), isSurvived: false),
            ]
        private static let endless = [
            Fault.internalError, .stallRequest(), .shortBody(after: 1000), .flipBit(at: 70_000),
            .wrongRange(.bytes, by: 7), .status(404, code: "NoSuchKey"),
        ]

        private func withBench(isPatient: Bool = true, _ body: (MountBench, LabProxy) throws -> Void) throws {
            let lab = try LabProxy(to: S3Server.shared(.ceph), seed: 11)
            defer { lab.stop() }
            let bench = try MountBench(
                on: .ceph, through: lab, bucketSettings: Self.settings(isPatient: isPatient),
                config: "[cache]\ndisk = 0")
            _ = try bench.makeImage("a.raw", mebibytes: 12)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            try body(bench, lab)
            try lab.clearRules()
            // Nothing is wrong with the daemon, and nothing is left.
            try bench.run("cp a.raw '\(bench.staging)/last.raw' && cmp a.raw '\(bench.staging)/last.raw'")
            try bench.unmount()
            try bench.run("sleep 1; holdfast backend gc --days 0 --config c.toml")
            try bench.expectClean(try bench.backups.count)
            for backup in try bench.backups { try bench.run("holdfast verify '\(backup)' --config c.toml") }
        }

        /// Runs `work` under a rule, which has to fire, and gives its result.
        private func spoil(
            _ lab: LabProxy, _ rule: FaultRule, _ what: String, _ work: () throws -> ShellResult
        ) throws -> ShellResult {
            let number = try lab.add(rule)
            let start = ContinuousClock.now
            let result = try work()
            // What `timeout` says when it had to end something.
            #expect(result.status != 124 && result.status != 137, "\(what) hangs: \(result)")
            #expect(try lab.counters().fired(number) > 0, "\(what) was never worked")
            try lab.clearRules()
            #expect(ContinuousClock.now - start < .seconds(Self.limitSeconds), "\(what) took too long")
            return result
        }

        @Test(
            .timeLimit(.minutes(4)),
            arguments: [
                FaultRule.Operation.createUpload, .uploadPart, .completeUpload, .head, .put,
            ])
        func `an image that is staged meanwhile is registered whole, or its writer has an error`(
            operation: FaultRule.Operation
        ) throws {
            try withBench { bench, lab in
                for (index, fault) in Self.anywhere.enumerated() {
                    let what = "\(fault.fault) at \(operation)"
                    let before = try bench.backups.count
                    let target = "\(bench.staging)/d\(index).raw"
                    let result = try spoil(lab, FaultRule(fault.fault, on: operation, count: 1), what) {
                        try bench.shell("cp a.raw '\(target)'", seconds: Self.limitSeconds)
                    }
                    let isRegistered = try bench.backups.count == before + 1
                    #expect(isRegistered == (result.status == 0), "\(what): \(result)")
                    #expect(result.status == 0 || !fault.isSurvived, "\(what): \(result)")
                    if isRegistered {
                        try bench.run("cmp a.raw '\(target)'")
                    } else {
                        #expect(try bench.backups.count == before, "\(what)")
                        #expect(try bench.run("cat '\(target).status'").contains("state: failed"), "\(what)")
                    }
                }
            }
        }

        @Test(
            .timeLimit(.minutes(4)), arguments: [FaultRule.Operation.createUpload, .uploadPart, .completeUpload, .put])
        func `an image that cannot be stored for good fails its writer in time`(operation: FaultRule.Operation) throws {
            try withBench(isPatient: false) { bench, lab in
                let faults = [Fault.internalError, .resetAfter, .errorIn200()]
                for (index, fault) in faults.enumerated() {
                    let what = "\(fault) at each \(operation)"
                    let before = try bench.backups.count
                    let result = try spoil(lab, FaultRule(fault, on: operation), what) {
                        try bench.shell("cp a.raw '\(bench.staging)/d\(index).raw'", seconds: Self.limitSeconds)
                    }
                    #expect(try (bench.backups.count == before + 1) == (result.status == 0), "\(what): \(result)")
                }
            }
        }

        /// A way to read an image: what it does, and what it says.
        enum Reader: CaseIterable, Sendable {
            case inOrder, atRandom, restore
        }

        /// 0: all bytes came and are right. 3: bytes came that are wrong. Anything else: an error.
        private func read(_ bench: MountBench, _ reader: Reader) throws -> ShellResult {
            switch reader {
            case .inOrder:
                // What came before the error counts, too.
                try bench.shell(
                    """
                    rm -f out; dd if='\(bench.latest)/disk.raw' of=out bs=1M; status=$?
                    cmp -n "$(stat -c %s out)" a.raw out || exit 3
                    test $status -ne 0 || cmp a.raw out || exit 3
                    exit $((status ? 1 : 0))
                    """, seconds: Self.limitSeconds)
            case .atRandom:
                try bench.python(
                    """
                    import random
                    good=open('a.raw','rb').read(); r=random.Random(5); failed=0
                    f=os.open('\(bench.latest)/disk.raw',os.O_RDONLY)
                    for i in range(40):
                        o=r.randrange(len(good)); n=r.choice((1,512,4096,70000,1500000))
                        try: got=os.pread(f,n,o)
                        except OSError as e:
                            assert e.errno in (errno.EIO,errno.ETIMEDOUT,errno.EACCES), e
                            failed+=1
                            if failed==2: break
                            continue
                        if got!=good[o:o+n]: print(o,n); sys.exit(3)
                    sys.exit(1 if failed else 0)
                    """, seconds: Self.limitSeconds)
            case .restore:
                try bench.shell(
                    """
                    rm -f out; holdfast restore acme/web/latest out --config c.toml; status=$?
                    if test -e out; then cmp a.raw out || exit 3; test $status -eq 0 || exit 3; fi
                    test $status -ne 0 || test -e out || exit 3
                    exit $((status ? 1 : 0))
                    """, seconds: Self.limitSeconds)
            }
        }

        @Test(.timeLimit(.minutes(5)), arguments: Reader.allCases)
        func `who reads meanwhile gets the right bytes or an error, and then the right bytes`(reader: Reader) throws {
            try withBench { bench, lab in
                for fault in Self.readFaults {
                    // Nothing of it is in memory.
                    if reader != .restore {
                        try bench.unmount()
                        try bench.startMount()
                    }
                    let what = "\(fault.fault), \(reader)"
                    let result = try spoil(lab, FaultRule(fault.fault, on: .get, count: 1), what) {
                        try read(bench, reader)
                    }
                    #expect(result.status == 0 || result.status == 1, "\(what): \(result)")
                    #expect(result.status == 0 || !fault.isSurvived, "\(what): \(result)")
                    let after = try read(bench, reader)
                    #expect(after.status == 0, "after \(what): \(after)")
                }
            }
        }

        @Test(.timeLimit(.minutes(5)), arguments: Reader.allCases)
        func `what never succeeds is an error for who reads, in time, and only as long as it lasts`(
            reader: Reader
        ) throws {
            try withBench(isPatient: false) { bench, lab in
                for fault in Self.endless {
                    if reader != .restore {
                        try bench.unmount()
                        try bench.startMount()
                    }
                    let result = try spoil(lab, FaultRule(fault, on: .get), "\(fault), \(reader)") {
                        try read(bench, reader)
                    }
                    #expect(result.status == 1, "\(fault), \(reader): \(result)")
                    let after = try read(bench, reader)
                    #expect(after.status == 0, "after \(fault), \(reader): \(after)")
                }
            }
        }
    }
}
