internal import SystemIO

extension Configuration {
    /// Who may read an org's folders in the mount, and write into its staging: `uid`, `gid` and `mode` of `[orgs.NAME]`.
    package struct Access: Sendable, Equatable {
        /// nil: the mount's.
        package var userID: UInt32?
        /// nil: the mount's.
        package var groupID: UInt32?
        /// Permission bits of folders, at most 0777. An owner that is named is not named for all to read: 0750 where the file
        /// says nothing.
        package var folderMode: UInt32 = 0o750

        /// nil where the table has none of the keys.
        init?(_ table: ConfigurationTable) throws(ConfigurationError) {
            userID = try table.account("uid", Accounts.userID(named:))
            groupID = try table.account("gid", Accounts.groupID(named:))
            let mode = try table.permissions("mode")
            guard userID != nil || groupID != nil || mode != nil else { return nil }
            folderMode = mode ?? folderMode
        }
    }
}
