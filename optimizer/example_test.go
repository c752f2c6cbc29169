package optimizer_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/mvscheduler/mvscheduler/optimizer"
)

// What would each way to schedule a view have cost on five weeks of recorded reads?
func ExampleSimulate() {
	f, err := os.Open("testdata/office_5min.csv.gz")
	if err != nil {
		panic(err)
	}
	defer func() { _ = f.Close() }()
	reads, err := optimizer.ReadTrace(f)
	if err != nil {
		panic(err)
	}
	report, err := optimizer.Simulate(context.Background(), optimizer.Simulation{
		Reads: reads, RefreshCost: 30 * time.Second, Target: time.Hour, Policies: []string{"mvscheduler", "best_fixed"},
	})
	if err != nil {
		panic(err)
	}
	for _, r := range report.Results {
		fmt.Printf("%s: %.0f %% above the optimum\n", r.Policy, 100*r.Regret)
	}
	// Output:
	// mvscheduler: 14 % above the optimum
	// best_fixed: 46 % above the optimum
}
