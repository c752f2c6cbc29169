package jobs

import (
	"context"
	"errors"
	"regexp"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

// In quotes, whatever the language of the server has for them.
var quoted = regexp.MustCompile(`["“”„«»]\s?([^"“”„«»]+?)\s?["“”„«»]`)

// saidByQuery tells whether an error is about a parameter that the query itself gives, such as the name of a zone that there is
// not: no other data and no later time mends that. One that a column gives other data may mend.
func (w *RefreshWorker) saidByQuery(ctx context.Context, view int64, err error) (bool, error) {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refresh.SQLState(err) != "22023" {
		return false, nil
	}
	var words []string
	for _, m := range quoted.FindAllStringSubmatch(refused.Message, -1) {
		words = append(words, m[1])
	}
	return catalog.QuerySays(ctx, w.control, view, words)
}
