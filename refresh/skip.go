package refresh

import (
	"fmt"
	"time"
)

// SkipFacts are what decides whether a run may be skipped since nothing changed.
type SkipFacts struct {
	Asked           bool          // a person asked for it, or it is the first after an edit: always refreshed
	Tracking        string        // change_tracking: auto, counters or none
	Before          string        // Token.Value of the last refresh; empty = it had none
	BeforeContents  string        // Result.Contents of the last refresh; empty = unknown
	BeforeAsOf      time.Time     // data_as_of of the view now; zero = it has no contents
	BeforeBegan     time.Time     // when the last refresh began
	Token           Token         // now
	Horizon         Horizon       // read before Token
	UpstreamUnknown bool          // a managed view below is of unknown age
	UpstreamAsOf    *time.Time    // oldest data_as_of of the managed views below; nil = there are none
	Skips           int           // in a row so far
	MaxSkips        int           // settings.max_skips
	Target          time.Duration // staleness that is promised; zero = none
}

// Skip says whether a run is skipped, up to which instant the contents are proved to be whole, and why.
type Skip struct {
	Skip   bool
	AsOf   time.Time
	Reason string // never empty but for the first refresh
}

// DecideSkip is pure.
func DecideSkip(f SkipFacts) Skip {
	no := func(format string, args ...any) Skip { return Skip{Reason: fmt.Sprintf(format, args...)} }
	switch {
	case f.BeforeAsOf.IsZero():
		return Skip{}
	case f.UpstreamUnknown:
		return no("not skipped: how old a managed view below it is, is not known")
	case f.Asked:
		return no("refreshed as asked")
	case f.Tracking == "none":
		return no("never skipped, change_tracking is none")
	case f.Token.Unknown != "":
		return no("never skipped: %s", f.Token.Unknown)
	case !f.Token.Populated:
		return no("refreshed, it had no contents")
	case f.Horizon.Unknown != "":
		return no("not skipped: %s", f.Horizon.Unknown)
	case f.Before == "":
		return no("what the last refresh saw is not known")
	case f.BeforeContents == "":
		return no("what the last refresh left is not known")
	case f.Token.Contents != f.BeforeContents:
		return no("refreshed, its contents were changed by somebody else (a REFRESH by hand, a rewrite), or the server lost its counters (a crash, a reset)")
	case f.Token.Value != f.Before:
		return no("the tables below changed")
	case f.MaxSkips <= 0:
		return no("never skipped, settings.max_skips is 0")
	case f.Skips >= f.MaxSkips:
		return no("nothing seems to have changed, but after %d skips a run refreshes all the same", f.Skips)
	case !f.Horizon.Streams.Before(f.BeforeBegan) && !f.Horizon.Streams.IsZero():
		return no("nothing seems to have changed, but a replication session that streams since %s may hide what it committed before", f.Horizon.Streams.UTC().Format("15:04:05 UTC"))
	case f.Target > 0 && f.Horizon.Now.Sub(f.Horizon.At) > f.Target:
		return no("nothing seems to have changed, but a session that has been busy since %s may hide what it committed", f.Horizon.At.UTC().Format("15:04:05 UTC"))
	}
	asOf := f.Horizon.At
	if f.UpstreamAsOf != nil && f.UpstreamAsOf.Before(asOf) {
		asOf = *f.UpstreamAsOf
	}
	if asOf.Before(f.BeforeAsOf) {
		asOf = f.BeforeAsOf
	}
	return Skip{Skip: true, AsOf: asOf, Reason: fmt.Sprintf("nothing changed in %s below, up to %s", relations(f.Token.Relations), asOf.UTC().Format("15:04:05 UTC"))}
}

func relations(n int) string {
	if n == 1 {
		return "the relation"
	}
	return fmt.Sprintf("the %d relations", n)
}
