import Glibc

/// Users and groups by name, from wherever the system has them (nsswitch.conf(5)).
package enum Accounts {
    /// nil: there is no user of that name. The corresponding C function is `getpwnam_r`.
    package static func userID(named name: String) throws(Errno) -> UInt32? {
        var entry = passwd()
        return try find { buffer, count, isFound in
            var found: UnsafeMutablePointer<passwd>?
            let status = getpwnam_r(name, &entry, buffer, count, &found)
            isFound = found != nil
            return status
        } ? entry.pw_uid : nil
    }

    /// nil: there is no group of that name. The corresponding C function is `getgrnam_r`.
    package static func groupID(named name: String) throws(Errno) -> UInt32? {
        var entry = group()
        return try find { buffer, count, isFound in
            var found: UnsafeMutablePointer<group>?
            let status = getgrnam_r(name, &entry, buffer, count, &found)
            isFound = found != nil
            return status
        } ? entry.gr_gid : nil
    }

    /// A group of this machine may have thousands of members; no entry is longer.
    private static let largestEntryByteCount = 16 << 20

    /// Calls with buffers that grow as long as the entry does not fit.
    private static func find(
        _ call: (UnsafeMutablePointer<CChar>, Int, inout Bool) -> Int32
    ) throws(Errno) -> Bool {
        var byteCount = 4096
        while true {
            let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: byteCount)
            defer { buffer.deallocate() }
            var isFound = false
            let status = call(buffer, byteCount, &isFound)
            switch status {
            case 0: return isFound
            // What getpwnam(3) lists as said of a name that is not there.
            case ENOENT, ESRCH: return false
            case EINTR: continue
            case ERANGE where byteCount < largestEntryByteCount: byteCount *= 4
            default: throw Errno(status)
            }
        }
    }
}
