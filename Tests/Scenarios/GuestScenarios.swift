import Foundation
import Glibc
import TestSupport
import Testing

extension Scenarios {
    /// Disks of a running guest, by the real program: its guest writes a rising number to two places without a pause.
    @Suite("Running guests", .serialized)
    struct Guests {
        /// Starts a guest with a disk of `mebibytes`, does what `body` says, and ends the guest. `look FILE` says whether an image is of one
        /// moment, `left` what of ours is in QEMU, `goes_on` whether the guest writes.
        private func begin(
            _ bench: MountBench, mebibytes: Int = 64, holds body: String, seconds: Int = 150
        ) throws -> String {
            try Data(BootSector.counting).write(to: URL(fileURLWithPath: bench.folder + "/sector"))
            return try bench.run(
                """
                { cat sector; head -c \(mebibytes << 20) /dev/urandom; } | head -c \(mebibytes << 20) > guest.raw
                cat > look.py <<'PY'
                import struct, sys
                f = open(sys.argv[1], 'rb')
                def number(sector):
                    f.seek(sector * 512)
                    return struct.unpack('<I', f.read(4))[0]
                first, second = number(\(BootSector.first)), number(\(BootSector.second))
                print('one point' if first - second in (0, 1) else f'torn: {first} {second}')
                PY
                cat > left.py <<'PY'
                import json, socket
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(20)
                s.connect('control.qmp')
                f = s.makefile('r')
                def ask(command, **arguments):
                    s.sendall(json.dumps({'execute': command, 'arguments': arguments, 'id': command}).encode() + b'\\n')
                    while True:
                        answer = json.loads(f.readline())
                        if answer.get('id') == command:
                            return answer.get('return')
                f.readline()
                ask('qmp_capabilities')
                nodes = [n['node-name'] for n in ask('query-named-block-nodes', flat=True) if 'holdfast' in n['node-name']]
                found = nodes + ask('query-block-exports') + ask('query-block-jobs') + ask('query-fdsets')
                print(len(found) and f'{len(found)} left' or 'nothing left', ask('query-status')['status'])
                PY
                look() { python3 look.py "$1"; }
                left() { python3 left.py; }
                goes_on() {
                    local before; before=$(dd if=guest.raw bs=512 skip=\(BootSector.first) count=1 2>/dev/null | sha256sum)
                    for i in $(seq 200); do
                        [ "$(dd if=guest.raw bs=512 skip=\(BootSector.first) count=1 2>/dev/null | sha256sum)" != "$before" ] \
                            && echo "goes on" && return
                        sleep 0.1
                    done
                    echo stands
                }
                uri="qmp+unix:///vda?socket=$PWD/vm.qmp"
                qemu-system-x86_64 -nodefaults -no-user-config -display none -machine q35 -accel tcg -cpu max -nic none -m 32M \
                    -qmp unix:vm.qmp,server=on,wait=off -qmp unix:control.qmp,server=on,wait=off \
                    -drive file=guest.raw,if=none,id=hd0,format=raw \
                    -device virtio-blk-pci,id=vda,drive=hd0,bootindex=0 >qemu.log 2>&1 &
                qemu=$!
                trap 'kill -KILL $qemu 2>/dev/null; wait $qemu 2>/dev/null' EXIT
                for i in $(seq 100); do [ -S control.qmp ] && break; sleep 0.1; done
                goes_on >/dev/null
                \(body)
                """, seconds: seconds)
        }

        @Test(.timeLimit(.minutes(4)))
        func `a backup is of one moment, says how it was reached, and leaves the guest as it was, twice in a row`()
            throws
        {
            let bench = try MountBench(mounts: false)
            let output = try begin(
                bench,
                holds: """
                    for i in 1 2; do
                        holdfast backup "$uri" --org acme --vm web --config c.toml --require-consistency --json \
                            | jq -r .consistency
                        holdfast restore acme/web/latest out.raw --config c.toml --force >restore.log
                        look out.raw; left; goes_on
                    done
                    holdfast backup "$uri" --org acme --vm web --config c.toml --dry-run | grep -c 'stored      nothing'
                    left
                    ls state/guests | grep -c json || true
                    """)
            let once = ["qmp", "one point", "nothing left running", "goes on"]
            #expect(
                output.split(separator: "\n").map(String.init) == once + once + ["1", "nothing left running", "0"],
                "\(output)")
        }

        @Test(.timeLimit(.minutes(4)))
        func `killed in the middle, the guest goes on, and the next backup removes what was left and works`() throws {
            let bench = try MountBench(mounts: false)
            let output = try begin(
                bench, mebibytes: 384,
                holds: """
                    begin_and_signal() {
                        holdfast backup "$uri" --org acme --vm web --config c.toml >b.log 2>&1 & pid=$!
                        for i in $(seq 400); do left | grep -q '7 left' && break; sleep 0.02; done
                        kill -$1 $pid; wait $pid; echo "status $?"
                    }
                    begin_and_signal KILL 2>/dev/null
                    left; goes_on; ls state/guests | grep -c json
                    holdfast backup "$uri" --org acme --vm web --config c.toml --json | jq -r .consistency
                    left; goes_on; ls state/guests | grep -c json || true
                    holdfast restore acme/web/latest out.raw --config c.toml >restore.log; look out.raw
                    begin_and_signal KILL 2>/dev/null
                    rm state/guests/*.json
                    holdfast backup "$uri" --org acme --vm web --config c.toml --dry-run >dry.log
                    left
                    begin_and_signal INT
                    left; goes_on; ls state/guests | grep -c json || true
                    begin_and_signal KILL 2>/dev/null
                    { kill -KILL $qemu; wait $qemu; } 2>/dev/null
                    truncate -s 1M small.raw
                    holdfast backup small.raw --org acme --vm other --config c.toml >small.log
                    ls state/guests | grep -c json || true
                    holdfast list --json --config c.toml | jq -r '.[].backup' | wc -l
                    """)
            let lines = output.split(separator: "\n").map(String.init)
            // Overlay, filter, snapshot, three exports and the descriptor.
            #expect(lines.prefix(4) == ["status 137", "7 left running", "goes on", "1"], "\(output)")
            #expect(
                lines.dropFirst(4).prefix(5) == ["qmp", "nothing left running", "goes on", "0", "one point"],
                "\(output)")
            // By the names alone, without a note.
            #expect(lines.dropFirst(9).prefix(2) == ["status 137", "nothing left running"], "\(output)")
            #expect(
                lines.dropFirst(11).prefix(4) == ["status 12", "nothing left running", "goes on", "0"], "\(output)")
            #expect(lines.dropFirst(15) == ["status 137", "0", "2"], "\(output)")
        }

        @Test(.timeLimit(.minutes(3)))
        func `the agent takes the disk of a guest that the configuration names`() throws {
            let bench = try MountBench(
                mounts: false,
                config: """
                    [backends.dr]
                    type = "directory"
                    path = "far"
                    dr = true
                    [orgs.acme.auto]
                    preset = "basic"
                    require_consistency = true
                    [orgs.acme.vms.web.disks.disk]
                    source = "qmp+unix:///vda?socket=vm.qmp"
                    """)
            try bench.run("mkdir far")
            let output = try begin(
                bench,
                holds: """
                    holdfast agent --once --config c.toml 2>agent.log | cut -c1-20
                    holdfast show acme/web/latest --config c.toml --json | jq -r '[.. | .consistency? | strings][0]'
                    holdfast restore acme/web/latest out.raw --config c.toml >restore.log; look out.raw; left; goes_on
                    """)
            #expect(
                output.split(separator: "\n") == [
                    "good    acme/web/dis", "qmp", "one point", "nothing left running", "goes on",
                ], "\(output)")
        }

        @Test(.timeLimit(.minutes(3)))
        func `what cannot be backed up is said before any work`() throws {
            let bench = try MountBench(mounts: false)
            let output = try begin(
                bench,
                holds: """
                    try() { holdfast backup "$1" --org acme --vm web --config c.toml $2 2>&1; echo "status $?"; }
                    try "qmp+unix:///vdb?socket=$PWD/vm.qmp"
                    try "qmp+unix:///vda?socket=$PWD/absent.qmp"
                    try "qmp+unix:///vda?socket=$PWD/vm.qmp&agent=$PWD/absent.qga"
                    try "qmp+unix:///vda"
                    try "$uri" --format=qcow2
                    left
                    """)
            #expect(output.components(separatedBy: "status 7").count == 6, "\(output)")
            for words in [
                "no drive \"vdb\"", "hint: it has: vda", "there is no socket", "absent.qga",
                "must be qmp+unix:///DRIVE",
                "leave the format away", "nothing left running",
            ] { #expect(output.contains(words), "\(words): \(output)") }
            #expect(try bench.archives.isEmpty)
        }
    }
}
