/// Whose an org's folders are in a mount, and what others may do there. The kernel enforces it.
package struct OrgAccess: Sendable, Hashable {
    /// nil: the mount's.
    package var userID: UInt32?
    /// nil: the mount's.
    package var groupID: UInt32?
    /// Permission bits of folders; files have the same without execution.
    package var folderMode: UInt32

    package init(userID: UInt32? = nil, groupID: UInt32? = nil, folderMode: UInt32) {
        self.userID = userID
        self.groupID = groupID
        self.folderMode = folderMode
    }
}
