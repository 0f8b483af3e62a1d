import BackupNames
import Testing

@Suite("Dates of backups")
struct BackupDateTests {
    @Test(arguments: [
        (0, "1970-01-01T00-00-00Z"), (951_782_400, "2000-02-29T00-00-00Z"), (951_868_799, "2000-02-29T23-59-59Z"),
        (951_868_800, "2000-03-01T00-00-00Z"), (1_709_164_800, "2024-02-29T00-00-00Z"),
        (1_795_140_000, "2026-11-20T02-00-00Z"), (4_107_542_400, "2100-03-01T00-00-00Z"),
        (4_107_542_399, "2100-02-28T23-59-59Z"), (253_402_300_799, "9999-12-31T23-59-59Z"),
    ])
    func `seconds and text are two forms of one date`(_ seconds: Int64, _ text: String) throws {
        #expect(BackupDate(secondsSince1970: seconds).description == text)
        #expect(try BackupDate(text).secondsSince1970 == seconds)
    }

    @Test(arguments: [
        "", "2026-11-20", "2026-11-20T02:00:00Z", "2026-11-20T02-00-00", "2026-11-20t02-00-00Z", "2026-11-20T02-00-00z",
        "2026-11-20 02-00-00Z", "2026-11-20T02-00-00ZZ", " 2026-11-20T02-00-00Z", "+026-11-20T02-00-00Z",
        "2026-1--20T02-00-00Z", "2026-11-2 T02-00-00Z", "２026-11-20T02-00-0Z",
        "1969-12-31T23-59-59Z", "0000-01-01T00-00-00Z", "2026-00-20T02-00-00Z", "2026-13-20T02-00-00Z",
        "2026-11-00T02-00-00Z", "2026-11-31T02-00-00Z", "2026-01-32T02-00-00Z", "2026-11-99T02-00-00Z",
        "2023-02-29T00-00-00Z", "2100-02-29T00-00-00Z", "2024-02-30T00-00-00Z",
        "2026-11-20T24-00-00Z", "2026-11-20T02-60-00Z", "2026-11-20T02-00-60Z", "9999-12-32T00-00-00Z", "latest",
    ])
    func `text that is no date of the calendar is refused`(_ text: String) {
        #expect(throws: NameError.self) { try BackupDate(text) }
    }

    @Test func `every day from 1970 to 2400 follows the one before`() throws {
        var (year, month, day) = (1970, 1, 1)
        func lengthOfMonth() -> Int {
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            return [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
        }
        func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        var number: Int64 = 0
        while year <= 2400 {
            let date = BackupDate(secondsSince1970: number * 86400 + 86399)
            try #require(date.description == "\(year)-\(padded(month))-\(padded(day))T23-59-59Z")
            number += 1
            day += 1
            if day > lengthOfMonth() { (month, day) = (month + 1, 1) }
            if month > 12 { (year, month) = (year + 1, 1) }
        }
    }

    @Test func `random seconds come back from their text, and text sorts as time does`() throws {
        var dates: [BackupDate] = []
        for _ in 0..<20_000 {
            let date = BackupDate(secondsSince1970: .random(in: 0...253_402_300_799))
            try #require(try BackupDate(date.description) == date, "seconds \(date.secondsSince1970)")
            dates.append(date)
        }
        #expect(dates.sorted().map(\.description) == dates.map(\.description).sorted())
    }

    @Test func `seconds out of range are brought to the nearer end`() {
        #expect(BackupDate(secondsSince1970: .min).description == "1970-01-01T00-00-00Z")
        #expect(BackupDate(secondsSince1970: -1).secondsSince1970 == 0)
        #expect(BackupDate(secondsSince1970: 253_402_300_800).description == "9999-12-31T23-59-59Z")
        #expect(BackupDate(secondsSince1970: .max).secondsSince1970 == 253_402_300_799)
    }

    @Test func `the next date is a second later`() throws {
        #expect(try BackupDate("2024-02-28T23-59-59Z").next().description == "2024-02-29T00-00-00Z")
        #expect(try BackupDate("2026-12-31T23-59-59Z").next() > BackupDate("2026-12-31T23-59-59Z"))
    }
}
