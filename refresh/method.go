package refresh

// Methods of a refresh.
const (
	Full       = "full"       // REFRESH MATERIALIZED VIEW: locks readers out while it runs
	Concurrent = "concurrent" // REFRESH MATERIALIZED VIEW CONCURRENTLY: readers go on
)

// Facts are what the choice of a method depends on.
type Facts struct {
	Wanted    string // auto, full or concurrent
	Populated bool   // the view has contents
	UniqueKey bool   // it has a unique index that CONCURRENTLY can use
}

// ChooseMethod picks the method and says why. The reason is empty where there was nothing to choose. The
// error is a [PreconditionError] when the wanted method is impossible.
func ChooseMethod(f Facts) (method, reason string, err error) {
	switch {
	case f.Wanted == Full:
		return Full, "", nil
	case !f.Populated:
		return Full, "full: the first refresh fills the view", nil
	case f.UniqueKey:
		return Concurrent, "", nil
	case f.Wanted == Concurrent:
		return "", "", &PreconditionError{Reason: "method concurrent needs a unique index that is valid and has neither a predicate nor an expression, and the view has none"}
	}
	return Full, "full: there is no unique index for a concurrent refresh; readers wait while it runs", nil
}

// PreconditionError says that the view is not in a state in which it can be refreshed as wanted.
type PreconditionError struct{ Reason string }

func (e *PreconditionError) Error() string { return e.Reason }

// ChangedMuch says whether the planner's statistics of a view with so many rows are out of date, when
// they were gathered at the given number of rows (nil = never) and one refresh changed so many: more than
// a tenth and more than 50, as autovacuum_analyze_scale_factor and _threshold have it by default.
func ChangedMuch(analyzed *int64, rows, changed int64) bool {
	if analyzed == nil {
		return true
	}
	delta := max(rows-*analyzed, *analyzed-rows, changed)
	return delta > 50+rows/10
}
