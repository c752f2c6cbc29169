package retention

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFactsAreReadAsTheCatalogGivesThem(t *testing.T) {
	t.Parallel()
	f, ids, err := Decode([]byte(`{"Now": 839350861000001, "Zone": "Europe/Berlin",
		"Relation": {"Name": "a.t", "Kind": "source", "Strategy": "r", "Key": [{"Name": "ts", "Type": "timestamptz"}], "TimeColumn": "ts", "Frozen": null,
			"Partitions": [{"OID": 4294967295, "Name": "a.t1", "Bound": "DEFAULT", "DetachedAt": null, "RestoredAt": -1, "SubPartitions": 2, "DetachPending": false,
				"Foreign": true, "OtherOwner": "", "ReferencedBy": null, "Rows": -1, "Bytes": 9223372036854775807}]},
		"Policy": {"Enabled": true, "LegalHold": false, "RetentionPeriod": {"Months": 1, "Days": 2, "Microseconds": 3}, "GracePeriod": {"Months": 0, "Days": 7, "Microseconds": 0}},
		"Readers": [{"ID": 7, "Name": "a.v", "Method": "incremental", "Direct": true, "Windowed": true, "Label": "date", "BucketWidth": {}, "RetentionPeriod": null, "Zone": "Nowhere/Land",
			"Paused": null, "Failures": 0, "Tracking": "trigger", "FilledFrom": -9223372036854775808, "MaterializedUntil": 5, "Frozen": null, "Dirt": [{"From": 1, "To": 9223372036854775807}]},
			{"ID": 0, "Name": "a.m", "Zone": ""}]}`))
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"a.v": 7}, ids)
	require.Equal(t, "Europe/Berlin", f.Policy.Zone.String())
	require.Equal(t, Interval{Months: 1, Days: 2, Microseconds: 3}, *f.Policy.RetentionPeriod)
	require.Equal(t, Timestamp(839350861000001), f.Now)
	require.Equal(t, uint32(4294967295), f.Relation.Partitions[0].OID)
	require.Nil(t, f.Readers[0].Zone)
	require.Equal(t, NegInfinity, *f.Readers[0].FilledFrom)
	require.Equal(t, []Range{{From: 1, To: Infinity}}, f.Readers[0].Dirt)
	_, _, err = Decode([]byte(`{"Now": "soon"}`))
	require.ErrorContains(t, err, "read the facts of retention")
}
