package refresh

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Ways to find out what changed below an incremental view.
const (
	ByTrigger  = "trigger"
	ByCounters = "counters"
	ByLateness = "none"
)

// ChooseTracking picks the way and says why; made = the triggers have just been made, so what has none now will have
// none. The error is a [PreconditionError] when triggers were asked for and cannot be made.
func ChooseTracking(asked, owner string, leaves map[uint32]Leaf, made bool) (tracking, reason string, err error) {
	if asked == ByCounters || asked == ByLateness {
		return asked, "", nil
	}
	var refused, hidden, far, off []string
	for _, oid := range sortedKeys(leaves) {
		switch leaf := leaves[oid]; {
		case leaf.Kind != "r" && leaf.Kind != "p":
		case leaf.Hidden:
			hidden = append(hidden, leaf.Name)
		case leaf.Far:
			far = append(far, leaf.Name)
		case refusedOn(leaf):
			refused = append(refused, leaf.Name)
		case !leaf.Covered && made:
			off = append(off, leaf.Name)
		}
	}
	switch {
	case len(hidden) > 0 && asked == ByTrigger:
		return "", "", untracked(fmt.Sprintf("change_tracking trigger does not see what is written through the table of which %s is a part: take counters, or let the view read that table", hidden[0]))
	case len(hidden) > 0:
		return ByCounters, fmt.Sprintf("changes are found by the server's counters, since triggers do not see what is written through the table of which %s is a part", hidden[0]), nil
	case len(far) > 0 && asked == ByTrigger:
		return "", "", untracked(fmt.Sprintf("change_tracking trigger would keep foreign tables that are parts of %s from being written to: take counters", far[0]))
	case len(far) > 0:
		return ByCounters, fmt.Sprintf("changes are found by the server's counters, since triggers would keep foreign tables that are parts of %s from being written to", far[0]), nil
	case len(off) > 0 && len(refused) == 0:
		why := fmt.Sprintf("triggers mvscheduler_changed_... on %s are disabled, or others have their names: ALTER TABLE %s ENABLE TRIGGER USER, or rename those", some(off), off[0])
		if asked == ByTrigger {
			return "", "", untracked("change_tracking trigger: " + why)
		}
		return ByCounters, "changes are found by the server's counters, since " + why, nil
	case len(refused) == 0 && asked == ByTrigger:
		return ByTrigger, "", nil
	case len(refused) == 0:
		return ByTrigger, "changes are noted by triggers", nil
	case asked == ByTrigger:
		return "", "", untracked(fmt.Sprintf("change_tracking trigger needs triggers, which role %s may not make on %s: %s", owner, some(refused), grantTriggers(leaves, refused, owner)))
	}
	return ByCounters, fmt.Sprintf("changes are found by the server's counters, since role %s may not make triggers on %s", owner, some(refused)), nil
}

// refusedOn says that triggers are missing on a table for want of a privilege alone.
func refusedOn(leaf Leaf) bool {
	return (leaf.Kind == "r" || leaf.Kind == "p") && !leaf.Hidden && !leaf.Far && !leaf.Covered && !leaf.Trackable
}

// GrantTriggers is the statement after which the owner of a view may make triggers on all that is below it; empty = no privilege is missing.
func GrantTriggers(leaves map[uint32]Leaf, owner string) string {
	var refused []string
	for _, oid := range sortedKeys(leaves) {
		if leaf := leaves[oid]; refusedOn(leaf) {
			refused = append(refused, leaf.Name)
		}
	}
	if len(refused) == 0 {
		return ""
	}
	return grantTriggers(leaves, refused, owner)
}

// mostGranted is how many tables a GRANT names.
const mostGranted = 20

// grantTriggers is the statement after which the owner of a view may make triggers on all that is refused. Where a GRANT would be too
// long to read, it looks the parts of the tables up itself.
func grantTriggers(leaves map[uint32]Leaf, refused []string, owner string) string {
	if len(refused) <= mostGranted {
		return fmt.Sprintf("GRANT TRIGGER ON %s TO %s", strings.Join(refused, ", "), owner)
	}
	var roots []string
	for _, oid := range sortedKeys(leaves) {
		leaf := leaves[oid]
		if root := literal(leaves[leaf.Root].Name); slices.Contains(refused, leaf.Name) && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	// Names are others' to choose, and end no string by quotes that are doubled, as they end a dollar quote.
	return "DO " + literal(fmt.Sprintf("BEGIN EXECUTE (WITH RECURSIVE part(oid) AS (SELECT unnest(ARRAY[%s]::regclass[]) UNION SELECT i.inhrelid::regclass FROM pg_inherits AS i JOIN part AS p ON p.oid = i.inhparent) "+
		"SELECT format('GRANT TRIGGER ON %%s TO %%s', string_agg(oid::text, ', '), %s) FROM part); END", strings.Join(roots, ", "), literal(owner)))
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// untracked says why triggers are not possible for a view that asks for them.
func untracked(reason string) error {
	return &PreconditionError{Reason: reason, Advice: "Do what the message says, or set change_tracking to auto."}
}

// Untracked is on how many of the leaves triggers are to be made, or, whatever the tracking is, made harmless: see
// [Leaf].
func Untracked(leaves map[uint32]Leaf, tracking string) (n int) {
	for _, leaf := range leaves {
		if leaf.Trackable && !leaf.Covered && (leaf.Far || tracking == ByTrigger) {
			n++
		}
	}
	return n
}

func some(names []string) string {
	if more := len(names) - 3; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), more)
	}
	return strings.Join(names, ", ")
}

// Changed says whether something is below that is new, gone, or another one than before.
func Changed(before, after map[uint32]Leaf) bool {
	return !maps.EqualFunc(before, after, func(was, is Leaf) bool { return was.Identity == is.Identity })
}

// Covered says whether something is watched that was not before, or not all the time: who wrote to it until now may not have known.
func Covered(before, after map[uint32]Leaf) bool {
	for oid, leaf := range after {
		if was, known := before[oid]; known && leaf.Covered && leaf.Kind != "v" && (!was.Covered || was.Identity != leaf.Identity) {
			return true
		}
	}
	return false
}

// Replaced says whether a view that a query is made of is another one than before, or none of them is known.
func Replaced(before, after map[uint32]Leaf) bool {
	return OtherViews(before, after) || !slices.ContainsFunc(slices.Collect(maps.Values(after)), isView)
}

// OtherViews says whether a view that a query is made of is new, gone, or another one than before.
func OtherViews(before, after map[uint32]Leaf) bool {
	views := func(leaves map[uint32]Leaf) map[uint32]Leaf {
		leaves = maps.Clone(leaves)
		maps.DeleteFunc(leaves, func(_ uint32, leaf Leaf) bool { return !isView(leaf) })
		return leaves
	}
	return Changed(views(before), views(after))
}

func isView(leaf Leaf) bool { return leaf.Kind == "v" }
