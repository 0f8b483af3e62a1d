/// Real-mode code for the first sector of a disk, which its guest runs for ever.
package enum BootSector {
    /// The sectors that the counter is written to: 1 MiB from the start, and 1 MiB before the end of 64 MiB.
    package static let first: UInt64 = 2048
    package static let second: UInt64 = 63 * 2048

    /// Writes a rising number, 32 bits, to `first`, then to `second`, by the BIOS (INT 13h, function 43h: a packet with the sector).
    package static var counting: [UInt8] {
        let loop: [UInt8] = [
            0x66, 0xff, 0x06, 0x00, 0x80,  // inc dword [0x8000]
            0xbe, 0x80, 0x7d, 0xb8, 0x00, 0x43, 0xcd, 0x13,  // si = the packet at 0x7d80; ax = 0x4300; int 0x13
            0xbe, 0x90, 0x7d, 0xb8, 0x00, 0x43, 0xcd, 0x13,  // the one at 0x7d90
            0xeb, 0xe9,  // again
        ]
        return sector(loop, packets: [first, second])
    }

    /// Writes one sector in each 64 KiB of the first 64 MiB, over and over.
    package static var sweeping: [UInt8] {
        let loop: [UInt8] = [
            0x66, 0x81, 0x06, 0x88, 0x7d, 0x80, 0x00, 0x00, 0x00,  // add dword [0x7d88], 128: the packet's sector
            0x66, 0x81, 0x26, 0x88, 0x7d, 0xff, 0xff, 0x01, 0x00,  // and dword [0x7d88], 0x1ffff
            0x66, 0xff, 0x06, 0x00, 0x80,  // inc dword [0x8000]
            0xbe, 0x80, 0x7d, 0xb8, 0x00, 0x43, 0xcd, 0x13,  // si = the packet; ax = 0x4300; int 0x13
            0xeb, 0xdf,  // again
        ]
        return sector(loop, packets: [1])
    }

    /// The code, packets of one sector from 0x8000 at 0x7d80 and behind it, a partition table.
    private static func sector(_ loop: [UInt8], packets: [UInt64]) -> [UInt8] {
        // cli; ds = es = ss = 0; sp = 0x7c00; sti
        let start: [UInt8] = [0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfb]
        var sector = start + loop
        precondition(sector.count <= 0x180)
        sector += [UInt8](repeating: 0, count: 0x180 - sector.count)
        for packet in packets {
            sector += [0x10, 0, 1, 0, 0x00, 0x80, 0, 0]
            withUnsafeBytes(of: packet.littleEndian) { sector += $0 }
        }
        sector += [UInt8](repeating: 0, count: 446 - sector.count)
        sector += [0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0xff, 7, 0, 0]
        return sector + [UInt8](repeating: 0, count: 510 - sector.count) + [0x55, 0xaa]
    }
}
