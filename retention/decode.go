package retention

import (
	"encoding/json"
	"fmt"
	"time"
)

// Decode reads facts as the view mvscheduler.prune_facts gives them: the fields of [Facts] by name, zones by name.
// ids are views.id of the readers, by name; a reader that mvscheduler does not manage has none. Changes of leaves are
// not among the facts: who can read them adds them to Dirt. A zone that this program does not know counts as UTC.
func Decode(text []byte) (f Facts, ids map[string]int64, err error) {
	var wire struct {
		Now      Timestamp
		Zone     string
		Relation Relation
		Policy   Policy
		Readers  []struct {
			Reader
			ID   int64
			Zone string
		}
	}
	if err := json.Unmarshal(text, &wire); err != nil {
		return Facts{}, nil, fmt.Errorf("read the facts of retention: %w", err)
	}
	zone := func(name string) *time.Location {
		if location, err := time.LoadLocation(name); err == nil {
			return location
		}
		return nil
	}
	f = Facts{Now: wire.Now, Relation: wire.Relation, Policy: wire.Policy}
	f.Policy.Zone = zone(wire.Zone)
	ids = make(map[string]int64)
	for _, r := range wire.Readers {
		r.Reader.Zone = zone(r.Zone)
		f.Readers = append(f.Readers, r.Reader)
		if r.ID != 0 {
			ids[r.Name] = r.ID
		}
	}
	return f, ids, nil
}
