import SystemIO
import Testing

@Suite("Users and groups", .timeLimit(.minutes(1)))
struct AccountTests {
    @Test func `names are looked up, and what is not there is nil`() throws {
        #expect(try Accounts.userID(named: "root") == 0)
        #expect(try Accounts.groupID(named: "root") == 0)
        #expect(try Accounts.userID(named: "no-such-user-here") == nil)
        #expect(try Accounts.groupID(named: "no-such-group-here") == nil)
        #expect(try Accounts.userID(named: "") == nil)
    }
}
