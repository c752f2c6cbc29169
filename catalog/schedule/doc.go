// Package schedule says when a view is due. It is pure: no clock, no database.
//
// A slot is an instant at which a view should be refreshed. There are three kinds of clock:
//
//   - an interval is exact: its slots are the multiples of the interval since 1970-01-01 00:00 UTC, so that
//     intervals which divide each other meet on the same ticks and a restart moves nothing;
//   - cron is read on the wall clock of a time zone;
//   - a calendar is a list of rules that are read on it, and is due when any of them says so.
//
// # Daylight saving
//
// A cron line that names hours fires once for each wall time that it names, on every day: a wall time
// that the clock skips in spring fires once, at the instant at which the clock jumps; one that the clock
// shows twice in autumn fires once, the first time. A cron line whose hour field is * means elapsed time
// (every five minutes, half past every hour): it fires whenever the wall clock shows a minute that
// matches, so an hour that comes twice is served twice and one that is skipped is not made up.
// A rule of a calendar is the same: it means elapsed time if it fires in every hour of the day.
//
// # Jitter
//
// Views with the same interval would all be due at once. A view is due at its slot plus a jitter that
// depends on [Spec.JitterKey] alone and is less than a tenth of the interval and less than 10 s. Cron
// and calendars have none: who writes 06:30 means 06:30.
package schedule
